"""Where are the faces? OpenCV's Haar cascade, which also cut FER2013's own faces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from semblante.errors import ModelError, OptionError
from semblante.results import Box


@dataclass(frozen=True)
class Detection:
    """A face's place and how sure the detector is of it."""

    box: Box
    score: float  # 0..1


class Detector(Protocol):
    """Anything that finds faces in a grey picture."""

    def detect(self, grey: npt.NDArray[np.uint8]) -> list[Detection]:
        """Grey uint8 (H, W) -> the faces in it, surest first; none is an empty list."""


class HaarDetector:
    """The cascade `haarcascade_frontalface_alt2` (Viola & Jones 2001; Lienhart 2002).

    It slides a window over the picture at many sizes; a face is where several neighbouring
    windows agree. On a face of the usual size 10 to 60 of them do, on a chance pattern 1 to
    5, so the count is its score: votes / (votes + 4), which is 0.5 at the threshold.
    """

    VOTES_AT_HALF: Final = 4

    def __init__(self, *, min_face: int = 24, min_score: float = 0.5, max_side: int = 1280) -> None:
        """`min_face`: smallest side of a face in pixels; `min_score`: 0..1, exclusive of both;
        `max_side`: larger pictures are searched at this size, so that time is bounded."""
        if min_face < 1 or max_side < 1 or not 0 < min_score < 1:
            raise OptionError(
                "expected min_face and max_side of at least 1 and min_score between 0 and 1, "
                f"found {min_face}, {max_side} and {min_score}"
            )
        self.min_face = min_face
        self.min_score = min_score
        self.max_side = max_side
        path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise ModelError(f"{path}: OpenCV's face cascade is missing")

    def detect(self, grey: npt.NDArray[np.uint8]) -> list[Detection]:
        """See `Detector.detect`."""
        height, width = grey.shape
        shrink = min(1.0, self.max_side / max(height, width))
        if shrink < 1:
            size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
        smallest = max(20, round(self.min_face * shrink))  # the cascade's own window is 20x20
        if min(grey.shape) < smallest:
            return []
        boxes, votes = self._cascade.detectMultiScale2(
            grey, scaleFactor=1.1, minNeighbors=1, minSize=(smallest, smallest)
        )
        found = [
            Detection(
                Box(*(round(float(value) / shrink) for value in box)),
                float(count / (count + self.VOTES_AT_HALF)),
            )
            for box, count in zip(boxes, votes, strict=True)
        ]
        sure = [detection for detection in found if detection.score >= self.min_score]
        return without_doubles(sorted(sure, key=lambda detection: -detection.score))


def largest_face(detector: Detector) -> Callable[[npt.NDArray[np.uint8]], Box | None]:
    """A function that says where in a grey picture the largest face is; None where none is."""

    def find(grey: npt.NDArray[np.uint8]) -> Box | None:
        boxes = [detection.box for detection in detector.detect(grey)]
        return max(boxes, key=lambda box: box.width * box.height, default=None)

    return find


def without_doubles(detections: Iterable[Detection], overlap: float = 0.3) -> list[Detection]:
    """Of boxes that share more than `overlap` of their union, only the first (the surest)."""
    kept: list[Detection] = []
    for detection in detections:
        if all(detection.box.overlap(other.box) <= overlap for other in kept):
            kept.append(detection)
    return kept
