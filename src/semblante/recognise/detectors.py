"""Where are the faces? Boxes in the framing of FER2013, whoever finds them.

FER2013's own faces were cut by OpenCV's Haar cascade, so its boxes are the framing that the network
knows. Other detectors' boxes are brought to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from semblante.errors import ModelError, OptionError
from semblante.images import RgbImage
from semblante.models import DETECTOR_FILES, detector_path
from semblante.preprocess import crop_face, to_grey
from semblante.results import Box

Point = tuple[float, float]  # x to the right and y down, in pixels


@dataclass(frozen=True)
class Landmarks:
    """Places in a face; left and right as the picture shows them."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


@dataclass(frozen=True)
class Detection:
    """A face's place and how sure the detector is of it."""

    box: Box  # as FER2013 frames faces
    score: float  # 0..1
    landmarks: Landmarks | None = None  # where the detector knows them


class Detector(Protocol):
    """Anything that finds faces in a picture."""

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """RGB uint8 (H, W, 3) -> the faces in it, surest first; none is an empty list.

        `max_side`: pixels a side at which it is enough to look, where that can save time.
        """


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
        _check(min_face, min_score, max_side)
        self.min_face = min_face
        self.min_score = min_score
        self.max_side = max_side
        self._cascades = threading.local()  # one keeps its place while it looks
        self._cascade()  # whatever is wrong with its file shows now

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        grey, shrink = _shrunk(to_grey(image), max_side or self.max_side)
        smallest = max(20, round(self.min_face * shrink))  # the cascade's own window is 20x20
        if min(grey.shape) < smallest:
            return []
        boxes, votes = self._cascade().detectMultiScale2(
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

    def _cascade(self) -> cv2.CascadeClassifier:
        """This thread's own."""
        if not hasattr(self._cascades, "cascade"):
            path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
            cascade = cv2.CascadeClassifier(str(path))
            if cascade.empty():
                raise ModelError(f"{path}: OpenCV's face cascade is missing")
            self._cascades.cascade = cascade
        found: cv2.CascadeClassifier = self._cascades.cascade
        return found


class YuNetDetector:
    """OpenCV's small detection network YuNet (Wu, Peng & Yu, Machine Intelligence Research 2023).

    It finds turned, small and dark faces better than the cascade, and five landmarks in each (which
    do not turn with a turned face as they should: of 45 degrees they show 11). Its
    boxes run from the hairline to the chin, and are brought to FER2013's framing by two numbers
    fitted on 1,330 faces of FER2013's Training split, where the frame is known (`benchmarks/
    framing.py`): the frame's side is 1.30 times YuNet's width, and its centre lies 0.065 of a side
    above the middle between eyes and mouth.
    """

    SIDE: Final = 1.30  # of FER2013's frame, in widths of YuNet's box
    RISE: Final = 0.065  # of the frame's centre above the middle between eyes and mouth, in sides
    _OVERLAP: Final = 0.3  # of the network's own suppression of doubles
    _MOST: Final = 5000  # boxes that are looked at before that

    def __init__(
        self,
        path: Path | None = None,
        *,
        min_face: int = 24,
        min_score: float = 0.7,
        max_side: int = 640,
    ) -> None:
        """`path`: the network's file, else the one that `semblante models pull yunet` fetched;
        the others as in `HaarDetector`. Raises `ModelError` where there is no such file."""
        _check(min_face, min_score, max_side)
        self.min_face = min_face
        self.min_score = min_score
        self.max_side = max_side
        self.path = detector_path("yunet") if path is None else path
        self._networks = threading.local()  # the input's size is set before each picture
        self._network()  # whatever is wrong with its file shows now

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        small, shrink = _shrunk(image, max_side or self.max_side)
        height, width = small.shape[:2]
        network = self._network()
        network.setInputSize((width, height))
        _, rows = network.detect(np.ascontiguousarray(small[:, :, ::-1]))  # BGR
        if rows is None:
            return []
        found = [self._detection(row, shrink) for row in rows]
        large = [detection for detection in found if detection.box.width >= self.min_face]
        return sorted(large, key=lambda detection: -detection.score)

    def _network(self) -> cv2.FaceDetectorYN:
        """This thread's own."""
        if not hasattr(self._networks, "network"):
            size = (self.max_side, self.max_side)
            try:
                self._networks.network = cv2.FaceDetectorYN.create(
                    str(self.path), "", size, self.min_score, self._OVERLAP, self._MOST
                )
            except cv2.error as error:
                reason = " ".join(str(error).split())[:120]
                raise ModelError(f"{self.path}: not YuNet's network: {reason}") from None
        found: cv2.FaceDetectorYN = self._networks.network
        return found

    def _detection(self, row: npt.NDArray[np.float32], shrink: float) -> Detection:
        """A row holds the box, five points from the picture's left eye on, and the score."""
        values = [float(value) / shrink for value in row[:14]]
        points = [(values[i], values[i + 1]) for i in range(4, 14, 2)]
        landmarks = Landmarks(*points)
        side = self.SIDE * values[2]
        x, y = np.mean([points[0], points[1], points[3], points[4]], axis=0).tolist()
        left, top = x - side / 2, y - (0.5 + self.RISE) * side
        box = Box(round(left), round(top), round(side), round(side))
        return Detection(box, float(row[14]), landmarks)


class WholePicture:
    """Every picture is a face, cropped already."""

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        height, width = image.shape[:2]
        return [Detection(Box(0, 0, width, height), 1.0)]


DETECTORS: Final = ("haar", *DETECTOR_FILES, "none")


def make_detector(name: str, **options: Any) -> Detector:
    """A detector of `DETECTORS` by name; `options` as its class takes them.

    Raises `OptionError` for another name.
    """
    if name == "haar":
        return HaarDetector(**options)
    if name == "yunet":
        return YuNetDetector(**options)
    if name == "none":
        return WholePicture()
    raise OptionError(f"unknown detector {name!r}; known: {', '.join(DETECTORS)}")


def detected_in(detector: Detector, image: RgbImage, part: Box, max_side: int) -> list[Detection]:
    """Faces in a part of a picture, their boxes in the whole picture's pixels; no landmarks."""
    left, top = max(0, part.left), max(0, part.top)
    seen = image[top : max(0, part.top + part.height), left : max(0, part.left + part.width)]
    if seen.size == 0:
        return []
    return [
        Detection(
            replace(found.box, left=left + found.box.left, top=top + found.box.top), found.score
        )
        for found in detector.detect(seen, max_side)
    ]


def largest_face(
    detector: Detector, size: int = 48
) -> Callable[[RgbImage], npt.NDArray[np.uint8] | None]:
    """A function that crops the largest face of a picture, (size, size); None where none is."""

    def crop(image: RgbImage) -> npt.NDArray[np.uint8] | None:
        found = detector.detect(image)
        if not found:
            return None
        largest = max(found, key=lambda detection: detection.box.width * detection.box.height)
        return crop_face(to_grey(image), largest.box, size)

    return crop


def without_doubles(detections: Iterable[Detection], overlap: float = 0.3) -> list[Detection]:
    """Of boxes that share more than `overlap` of their union, only the first (the surest)."""
    kept: list[Detection] = []
    for detection in detections:
        if all(detection.box.overlap(other.box) <= overlap for other in kept):
            kept.append(detection)
    return kept


def _shrunk(image: npt.NDArray[np.uint8], max_side: int) -> tuple[npt.NDArray[np.uint8], float]:
    """A picture of at most `max_side` a side, and by what factor it was made smaller (<= 1)."""
    height, width = image.shape[:2]
    shrink = min(1.0, max_side / max(height, width))
    if shrink < 1:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image, shrink


def _check(min_face: int, min_score: float, max_side: int) -> None:
    if min_face < 1 or max_side < 1 or not 0 < min_score < 1:
        raise OptionError(
            "expected min_face and max_side of at least 1 and min_score between 0 and 1, "
            f"found {min_face}, {max_side} and {min_score}"
        )
