"""A face's place in a picture, the `Detector` protocol, and what detectors share."""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from semblante.errors import OptionError, check_number
from semblante.images import RgbImage
from semblante.results import Box

# Of two boxes the less sure one is dropped if their intersection over union is above `OVERLAP`, or
# if more than `_MOST_OF_ONE` of the smaller box lies in the other.
OVERLAP: Final = 0.3
_MOST_OF_ONE: Final = 0.5
_Made = TypeVar("_Made")
Point = tuple[float, float]  # x to the right and y down, in pixels


@dataclass(frozen=True)
class Landmarks:
    """Points in a face; left and right as the picture shows them."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


@dataclass(frozen=True)
class Detection:
    """A face's bounding box, and how sure the detector is of it.

    `box`: as FER2013 frames faces; it may reach beyond the picture. `score`: 0..1. `landmarks`:
    where the detector knows them. `roll`: tilt to be levelled, degrees clockwise; 0 where it is
    unknown.

    Raises `OptionError` unless the box is in whole numbers and at least a pixel wide and high, the
    score is within its range, and the roll is a finite number.
    """

    box: Box
    score: float
    landmarks: Landmarks | None = None
    roll: float = 0.0

    def __post_init__(self) -> None:
        try:  # numpy's numbers become Python's
            box = Box(*map(operator.index, self.box.to_list()))
        except (AttributeError, TypeError):
            box = None
        if box is None or box.width < 1 or box.height < 1:
            raise OptionError(
                "expected a face's box in whole pixels, at least one wide and high, "
                f"found {self.box}"
            )
        score, roll = _number(self.score), _number(self.roll)
        if not 0 <= score <= 1:
            raise OptionError(f"expected a detection's score between 0 and 1, found {self.score!r}")
        if not math.isfinite(roll):
            raise OptionError(f"expected a detection's roll in degrees, found {self.roll!r}")
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "roll", roll)


def _number(value: Any) -> float:
    """`value` as a float; NaN where it is not a number."""
    try:
        return math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return math.nan


class Detector(Protocol):
    """Anything that finds faces in a picture."""

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """RGB uint8 (H, W, 3) -> the faces in it, surest first; none is an empty list.

        `image` may be the caller's own array: it must not be changed. `max_side`: longer side in
        pixels at which it is enough to search the picture, where that can save time. Faces whose
        box lies wholly outside the picture are left out.
        """


class PerThread(threading.local, Generic[_Made]):
    """An object, `own`, that each thread makes for itself; only `make` is pickled."""

    def __init__(self, make: Callable[[], _Made]) -> None:  # called once in each thread
        self._make = make
        self.own = make()

    def __reduce__(self) -> tuple[Any, ...]:
        return PerThread, (self._make,)


def without_overlaps(detections: Iterable[Detection]) -> list[Detection]:
    """Non-maximum suppression: detections, surest first, whose box has no intersection over union
    above 0.3 with that of a surer one, nor shares most of the smaller box with it: a mouth is not a
    second face."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda detection: -detection.score):
        box = detection.box
        if all(
            box.iou(other.box) <= OVERLAP and box.overlap_of_smaller(other.box) <= _MOST_OF_ONE
            for other in kept
        ):
            kept.append(detection)
    return kept


def smallest_face(image: npt.NDArray[np.uint8], min_face: int | None = None) -> int:
    """The smallest side of a face to search for, in pixels: `min_face`, else 24, or in a small
    picture an eighth of its shorter side."""
    return min_face or max(1, min(24, min(image.shape[:2]) // 8))


def brightened(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Brighten a dark picture so that its brightest 0.5 % of pixels become white."""
    lightest = float(np.percentile(grey[::4, ::4], 99.5))
    if lightest >= 128:
        return grey
    return np.asarray(cv2.convertScaleAbs(grey, alpha=255 / max(lightest, 8)), np.uint8)


def search_scale(image: npt.NDArray[np.uint8], max_side: int) -> float:
    """The factor that makes the longer side of a picture (H, W) or (H, W, 3) `max_side` pixels.

    That would leave too little of a panorama: it gets as many pixels as a picture that is twice as
    long as high.
    """
    height, width = image.shape[:2]
    return float(max(max_side / max(height, width), max_side / math.sqrt(2 * height * width)))


def resized_for_search(
    image: npt.NDArray[np.uint8], max_side: int, least_side: int
) -> tuple[npt.NDArray[np.uint8], float]:
    """A picture resized for a search, and the factor: a large one is reduced by `search_scale`; a
    small one is enlarged to a longer side of `least_side` pixels, four times at most."""
    height, width = image.shape[:2]
    enlarged = max(1.0, min(4.0, least_side / max(height, width)))
    scale = min(search_scale(image, max_side), enlarged)
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
    return image, scale


class LimitedDetector:
    """What limits the search of a detector, whichever it is."""

    def __init__(self, min_face: int | None, min_score: float, max_side: int) -> None:
        """The options are those of `CnnDetector`; raises `OptionError` where one is outside its
        range."""
        if min_face is not None:
            check_number("min_face", min_face, 1, whole=True)
        check_number("max_side", max_side, 1, whole=True)
        if not 0 < _number(min_score) < 1:
            raise OptionError(f"expected min_score above 0 and below 1, found {min_score!r}")
        self.min_face = min_face
        self.min_score = min_score
        self.max_side = max_side

    def side(self, max_side: int | None) -> int:
        """The longer side in pixels at which a picture is searched, see `Detector.detect`."""
        return min(self.max_side, max_side or self.max_side)
