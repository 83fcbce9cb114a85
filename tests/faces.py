"""Faces for tests: a real head, faces that were found, and what is in pictures of them."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

from conftest import EXAMPLE
from semblante import EMOTIONS, Box, Face, load_image

BOX = Box(3, 4, 20, 20)


@cache
def head(side: int = 150) -> np.ndarray:
    """Return Eileen Collins's head, RGB (side, side, 3), from the example picture; read-only."""
    return np.asarray(Image.fromarray(load_image(EXAMPLE)[0:270, 90:360]).resize((side, side)))


def face(emotion: str, track: int = 1, box: Box = BOX) -> Face:
    """Return a found face that shows an emotion: 82 % of it, and 3 % of each other one."""
    probabilities = {name: 0.82 if name == emotion else 0.03 for name in EMOTIONS}
    return Face(box, 0.9, emotion, probabilities, track)


def colours(image: np.ndarray) -> set[tuple[int, ...]]:
    """Return all colours that occur in an image, RGB (height, width, 3)."""
    return set(map(tuple, np.unique(image.reshape(-1, 3), axis=0).tolist()))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """Return the content of a file of the image."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
