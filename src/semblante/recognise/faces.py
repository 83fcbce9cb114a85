"""From a face that was found to the network's view of it, and from its word to a `Face`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS
from semblante.preprocess import crop_face
from semblante.recognise.detection import Detection
from semblante.recognise.tracks import Track
from semblante.results import Box, Face


def face_crops(
    grey: npt.NDArray[np.uint8], faces: Sequence[Detection | Track], size: int
) -> npt.NDArray[np.uint8]:
    """The network's view of each face in a grey picture (H, W): uint8 (n, size, size)."""
    crops = np.empty((len(faces), size, size), np.uint8)
    for crop, face in zip(crops, faces, strict=True):
        crop[:] = crop_face(grey, face.box, size, face.roll)
    return crops


def estimated_face(
    box: Box, score: float, probabilities: npt.NDArray[Any], track: int | None = None
) -> Face:
    """A face with the network's `probabilities` (7,) of it."""
    return Face(
        box=box,
        detection_score=score,
        emotion=EMOTIONS[int(probabilities.argmax())],
        probabilities=dict(zip(EMOTIONS, map(float, probabilities), strict=True)),
        track=track,
    )
