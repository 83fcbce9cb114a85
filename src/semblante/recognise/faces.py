"""From a detected face to the network's input, and from the network's output to a `Face`."""

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
    """The crop of each face in a grey picture (H, W) for the network: uint8 (n, size, size)."""
    crops = np.empty((len(faces), size, size), np.uint8)
    for crop, face in zip(crops, faces, strict=True):
        crop[:] = crop_face(grey, face.box, size, face.roll)
    return crops


def estimated_face(
    box: Box, score: float, probabilities: npt.NDArray[Any], track: int | None = None
) -> Face:
    """The `Face` for which the network gives `probabilities` (7,), in the order of `EMOTIONS`."""
    return Face(
        box=box,
        detection_score=score,
        emotion=EMOTIONS[int(probabilities.argmax())],
        probabilities=dict(zip(EMOTIONS, map(float, probabilities), strict=True)),
        track=track,
    )
