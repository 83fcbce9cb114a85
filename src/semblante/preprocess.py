"""From a picture and a box to the network's input: written once, for training and recognition.

FER2013's faces are the boxes of OpenCV's Haar cascade, in grey, resized to 48x48. So a
face found in a photograph is cut, turned grey and resized the same way (`crop_face`),
and both are then standardised by the same function (`standardise`).
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

# numpy arrays here, torch tensors in training: `standardise` uses only what both share.
_Array = TypeVar("_Array", bound=Any)

FACE_SIZE: Final = 48  # FER2013's faces, in pixels a side
PER_IMAGE: Final = "per-image"


@dataclass(frozen=True)
class InputSpec:
    """What a network expects at its input; it travels inside the exported file."""

    size: int = FACE_SIZE  # side of the square grey face, in pixels
    normalisation: str = PER_IMAGE  # subtract the mean, divide by sqrt(variance + floor)
    variance_floor: float = 1.0  # added to the variance, in grey levels squared

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> InputSpec:
        """The spec stored in a file; raises `ModelError` where this version cannot follow it."""
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
    """Zero mean, and a variance just below 1, for each face by itself.

    `faces`: float, (..., H, W), grey levels 0..255, a numpy array or a torch tensor; the
    result has the same shape and type. The variance floor keeps a constant image at zero
    instead of dividing by nothing, and keeps sensor noise on a black frame from being
    blown up into a face.
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
    """Cut `box` out of a grey picture, uint8 (H, W), and resize it to uint8 (size, size).

    A head that is tilted by `roll` degrees clockwise is levelled, around the middle of its box.
    What the box holds beyond the picture's edge repeats the edge's pixels. Shrinking
    averages over areas, so that no pixel of a large face is skipped (aliasing); growing
    interpolates linearly.
    """
    if roll:
        # A square of 1.5 times its side holds it however it is turned: the root of 2 is less.
        longer = max(box.width, box.height)
        wide, tall = longer - box.width, longer - box.height
        square = Box(box.left - wide // 2, box.top - tall // 2, longer, longer)
        around = square.grown(1.5)
        face = _cut(grey, around)
        # About the middle of the box; of pixels, whole numbers are the middles.
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
