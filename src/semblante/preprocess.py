"""From a picture and a box to the network's input, shared by training and recognition.

FER2013's faces are crops at the boxes of OpenCV's Haar cascade, in grey, resized to 48x48. A face
found in a photograph is cropped, converted to grey and resized in the same way (`crop_face`), and
both are then standardised by the same function (`standardise`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from semblante.errors import ModelError
from semblante.results import Box

# numpy arrays in recognition, torch tensors in training: `standardise` uses only methods of both.
_Array = TypeVar("_Array", bound=Any)

FACE_SIZE: Final = 48  # side of FER2013's faces, in pixels
PER_IMAGE: Final = "per-image"


@dataclass(frozen=True)
class InputSpec:
    """The input that a network expects; it is stored in the exported file."""

    size: int = FACE_SIZE  # side of the square grey face, in pixels
    normalisation: str = PER_IMAGE  # subtract the mean, divide by sqrt(variance + floor)
    variance_floor: float = 1.0  # added to the variance, in grey levels squared

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> InputSpec:
        """Return the spec stored in a file; raises `ModelError` if this version does not support
        it."""
        try:
            spec = cls(
                size=int(values["size"]),
                normalisation=str(values["normalisation"]),
                variance_floor=float(values["variance_floor"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"the model's input description is incomplete: {error!r}") from None
        known = spec.normalisation == PER_IMAGE and 1 <= spec.size <= 1024
        if not (known and 0 < spec.variance_floor < math.inf):
            raise ModelError(
                f"the model's input {spec} is unknown here; expected a size of 1..1024, "
                f"normalisation {PER_IMAGE!r} and a positive variance_floor"
            )
        return spec


def standardise(faces: _Array, spec: InputSpec = InputSpec()) -> _Array:
    """Standardise each face by itself, to zero mean and a variance just below 1.

    `faces`: float, (..., H, W), grey levels 0..255, a numpy array or a torch tensor; the
    result has the same shape and type. The variance floor keeps a constant image at zero
    instead of dividing by zero, and keeps the sensor noise of a black frame from being
    amplified into something like a face.
    """
    centred = faces - faces.mean(axis=(-2, -1), keepdims=True)
    variance = (centred * centred).mean(axis=(-2, -1), keepdims=True)
    standardised: _Array = centred / (variance + spec.variance_floor) ** 0.5
    return standardised


def to_grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGB uint8 (H, W, 3) -> grey uint8 (H, W), with the weights of ITU-R BT.601."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def crop_face(
    grey: npt.NDArray[np.uint8], box: Box, size: int = FACE_SIZE, roll: float = 0.0
) -> npt.NDArray[np.uint8]:
    """Crop `box` from a grey picture, uint8 (H, W), and resize it to uint8 (size, size).

    A head that is tilted by `roll` degrees clockwise is levelled by a rotation around the centre of
    its box. Beyond the picture's edge, the edge's pixels are repeated. Shrinking averages over
    areas, so that no pixel of a large face is skipped (aliasing); enlarging interpolates linearly.
    """
    if roll:
        # A square of 1.5 times the longer side contains the box at any rotation, as sqrt(2) < 1.5.
        longer = max(box.width, box.height)
        wide, tall = longer - box.width, longer - box.height
        square = Box(box.left - wide // 2, box.top - tall // 2, longer, longer)
        around = square.grown(1.5)
        face = _cut(grey, around)
        # The centre of the box, in coordinates where whole numbers are the centres of pixels.
        left, top = box.left - around.left, box.top - around.top
        middle = left + (box.width - 1) / 2, top + (box.height - 1) / 2
        level = cv2.getRotationMatrix2D(middle, roll, 1.0)
        level[:, 2] -= left, top
        face = np.asarray(cv2.warpAffine(face, level, (box.width, box.height)), np.uint8)
    else:
        face = _cut(grey, box)
    shrinks = box.width > size and box.height > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(face, (size, size), interpolation=method), dtype=np.uint8)


def network_input(
    faces: npt.NDArray[np.uint8],
    spec: InputSpec = InputSpec(),
) -> npt.NDArray[np.float32]:
    """Grey faces, uint8 (n, size, size) -> the network's input, float32 (n, 1, size, size)."""
    return standardise(faces.astype(np.float32)[:, None], spec)


def _cut(grey: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.uint8]:
    height, width = grey.shape
    rows = np.clip(np.arange(box.top, box.top + box.height), 0, height - 1)
    columns = np.clip(np.arange(box.left, box.left + box.width), 0, width - 1)
    return grey[rows[:, None], columns[None, :]]
