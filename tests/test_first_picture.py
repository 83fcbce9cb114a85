"""Of an animation, and of a file with several pages, the first picture is read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from semblante import load_image

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_first_picture_is_read(format: str) -> None:
    first, *others = (Image.new("RGB", (40, 20), colour) for colour in COLOURS)
    file = io.BytesIO()
    first.save(file, format, save_all=True, append_images=others)
    with Image.open(file) as pictures:
        assert pictures.n_frames == 3
    found = load_image(file.getvalue())
    assert found.shape == (20, 40, 3)
    assert np.abs(found.astype(int) - COLOURS[0]).max() < 8
