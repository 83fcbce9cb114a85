"""Where are the faces? Boxes in the framing of FER2013, whoever finds them.

FER2013's own faces were cut by OpenCV's Haar cascade, so its boxes are the framing that the network
knows. Other detectors' boxes are brought to it.
"""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from semblante.errors import ModelError, OptionError, reason_of
from semblante.images import RgbImage
from semblante.models import DETECTOR_FILES, detector_path
from semblante.preprocess import FACE_SIZE, crop_face, to_grey
from semblante.recognise.last_stage import face_probabilities
from semblante.results import Box

# Of two boxes with an IoU above the first, or of which more than the second of the smaller one lies
# in the other, one is no face.
_OVERLAP: Final = 0.3
_MOST_OF_ONE: Final = 0.5
# OpenCV turns no picture of 32,767 pixels a side, and this is more than is searched anyway.
_MOST_TURNED: Final = 8192
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
    """A face's place and how sure the detector is of it.

    Raises `OptionError` unless the box is of whole numbers, and at least a pixel wide and high, and
    the score within its range.
    """

    box: Box  # as FER2013 frames faces; it may reach beyond the picture
    score: float  # 0..1
    landmarks: Landmarks | None = None  # where the detector knows them
    roll: float = 0.0  # degrees by which the head is tilted clockwise; 0 where nobody knows

    def __post_init__(self) -> None:
        try:  # numpy's numbers become Python's
            box = Box(*map(operator.index, self.box.to_list()))
        except TypeError:
            box = None
        if box is None or box.width < 1 or box.height < 1:
            raise OptionError(
                "expected a face's box in whole pixels, at least one wide and high, "
                f"found {self.box}"
            )
        if not 0 <= self.score <= 1:
            raise OptionError(f"expected a detection's score between 0 and 1, found {self.score}")
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "score", float(self.score))


class Detector(Protocol):
    """Anything that finds faces in a picture."""

    def detect(
        self, image: RgbImage, max_side: int | None = None, *, upright: bool = False
    ) -> list[Detection]:
        """RGB uint8 (H, W, 3) -> the faces in it, surest first; none is an empty list.

        Where that can save time: `max_side`, pixels a side at which it is enough to look;
        `upright`, heads that are not tilted are enough. A detector with an attribute `tilted` that
        is false finds the same with and without `upright`, and is asked once.
        """


class _PerThread(threading.local):
    """What each thread has of its own; into another process it goes empty."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _PerThread, ()


class HaarDetector:
    """The cascade `haarcascade_frontalface_alt2` (Viola & Jones 2001; Lienhart 2002).

    It slides a window over the picture at many sizes; a face is where several neighbouring
    windows agree. On a face of the usual size 5 to 60 of them do, on a chance pattern 2 to
    25, so the count is its score: votes / (votes + 2), which is 0.5 with the fewest. A small
    network then looks at each place (`last_stage.py`), and votes and network decide together.

    The cascade knows upright faces in good light of 20 pixels or more, with something around them.
    So small pictures are enlarged, dark ones lit, and the picture is searched in turned copies as
    well, for tilted heads, whose `roll` lets them be levelled, and in a small one with its edges
    continued, for a face that fills it (`benchmarks/detection.py` says what is found).
    """

    VOTES_AT_HALF: Final = 2
    # A place is a face where the network's odds, times (votes / 4) ** 3, are 1 or more, in a
    # turned copy 3: most heads are upright (docs/experiments.md, "is it a face?").
    _EVEN_VOTES: Final = 4
    _WORTH_OF_VOTES: Final = 3
    _WORTH_OF_TILT: Final = 1 / 3
    TILTS: Final = (-30.0, 30.0)  # degrees; the cascade itself bears about 15 either way
    _STEP: Final = 1.2  # from one size of the window to the next
    # Turned copies are searched at this size, from 30 pixels on.
    _TILTED_SIDE: Final = 640
    _TILTED_FACE: Final = 30
    _LEAST_SIDE: Final = 640  # smaller pictures are enlarged to this, four times at most
    # Faces of half the picture and more are looked for at this size, beyond its edges too.
    _CLOSE_SIDE: Final = 160
    _CLOSE_STEP: Final = 1.1
    _CLOSE_MARGIN: Final = 0.3  # of its shorter side

    def __init__(
        self,
        *,
        min_face: int | None = None,
        min_score: float = 0.5,
        max_side: int = 1280,
        tilted: bool = True,
    ) -> None:
        """`min_face`: smallest side of a face in pixels, None as in `smallest_face`; `min_score`:
        0..1, exclusive of both; `max_side`: larger pictures are searched at this size
        (panoramas at more for their length), so that time is bounded; `tilted`: search for tilted
        heads too, which takes about as long again."""
        _check(min_face, min_score, max_side)
        self.min_face = min_face
        self.min_score = min_score
        self.max_side = max_side
        self.tilted = tilted
        self._cascades = _PerThread()  # one keeps its place while it looks
        # Whatever is wrong with their files shows now.
        self._cascade()
        face_probabilities(np.zeros((1, FACE_SIZE, FACE_SIZE), np.uint8))

    def detect(
        self, image: RgbImage, max_side: int | None = None, *, upright: bool = False
    ) -> list[Detection]:
        """See `Detector.detect`."""
        grey = _lit(to_grey(image))
        places = self.proposals(grey, max_side, upright=upright)
        cuts = [crop_face(grey, place.box, roll=place.roll) for place in places]
        likely = face_probabilities(np.array(cuts, np.uint8))
        return non_maximum_suppression(
            place
            for place, probability in zip(places, likely, strict=True)
            if self._is_face(place, float(probability))
        )

    def votes(self, place: Detection) -> int:
        """How many windows agreed on what it found."""
        return round(self.VOTES_AT_HALF * place.score / (1 - place.score))

    def _is_face(self, place: Detection, probability: float) -> bool:
        odds = (self.votes(place) / self._EVEN_VOTES) ** self._WORTH_OF_VOTES
        odds *= self._WORTH_OF_TILT if place.roll else 1
        return probability * odds >= 1 - probability

    def proposals(
        self, grey: npt.NDArray[np.uint8], max_side: int | None = None, *, upright: bool = False
    ) -> list[Detection]:
        """All that the cascade takes for a face in a grey picture, uint8 (H, W), however often, the
        surest first; the options as in `Detector.detect`."""
        smallest = smallest_face(grey, self.min_face)
        side = min(self.max_side, max_side or self.max_side)
        found = self._search(grey, side, smallest) + self._close(grey, side, smallest)
        if self.tilted and not upright:
            least = max(smallest, round(self._TILTED_FACE * max(grey.shape) / self._TILTED_SIDE))
            for roll in self.TILTS:
                copy, scale, back = _turned(grey, roll)
                smaller = max(1, round(least * scale))
                for one in self._search(copy, min(side, self._TILTED_SIDE), smaller):
                    found.append(replace(one, box=_moved(one.box, back, 1 / scale), roll=roll))
        return sorted(found, key=lambda detection: -detection.score)

    def _search(self, grey: npt.NDArray[np.uint8], side: int, smallest: int) -> list[Detection]:
        """Upright faces."""
        searched, scale = _scaled(grey, side, self._LEAST_SIDE)
        return self._windows(searched, scale, 0, round(smallest * scale), self._STEP)

    def _close(self, grey: npt.NDArray[np.uint8], side: int, smallest: int) -> list[Detection]:
        """Upright faces of half the picture's shorter side and more, beyond its edges too."""
        small, scale = _scaled(grey, min(side, self._CLOSE_SIDE), self._CLOSE_SIDE)
        margin = round(self._CLOSE_MARGIN * min(small.shape))
        least = max(min(small.shape) // 2, round(smallest * scale))
        return self._windows(np.pad(small, margin, "edge"), scale, margin, least, self._CLOSE_STEP)

    def _windows(
        self, searched: npt.NDArray[np.uint8], scale: float, margin: int, least: int, step: float
    ) -> list[Detection]:
        """What the cascade finds in a picture whose size was changed by `scale`, before `margin`
        pixels were put around it; boxes of the picture as it was."""
        least = max(20, least)  # the cascade's own window is 20x20
        if min(searched.shape) < least:
            return []
        boxes, votes = self._cascade().detectMultiScale2(
            searched, scaleFactor=step, minNeighbors=1, minSize=(least, least)
        )
        found = []
        for (left, top, width, height), count in zip(boxes, votes, strict=True):
            score = float(count / (count + self.VOTES_AT_HALF))
            if score >= self.min_score:
                place = (left - margin, top - margin, width, height)
                found.append(Detection(Box(*(round(float(v) / scale) for v in place)), score))
        return found

    def _cascade(self) -> cv2.CascadeClassifier:
        """This thread's own."""
        if not hasattr(self._cascades, "cascade"):
            path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
            cascade = cv2.CascadeClassifier()
            try:
                # Not by OpenCV itself, which on Windows opens no file whose folder has an accent.
                text = path.read_text(encoding="utf-8")
                file = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
                known = cascade.read(file.getFirstTopLevelNode())
            except (OSError, ValueError, cv2.error):
                known = False
            if not known:
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
    tilted: Final = False  # tilted heads take no search of their own
    _LEAST_SIDE: Final = 320  # smaller pictures are enlarged to this, four times at most
    _THINNEST: Final = 64  # pixels a side; OpenCV reads beyond a picture of 32 and less
    _LEAST_FACE: Final = 10  # pixels a side, of those that the network has learnt from
    _MOST: Final = 5000  # boxes that are looked at before that

    def __init__(
        self,
        path: Path | None = None,
        *,
        min_face: int | None = None,
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
        self._networks = _PerThread()  # the input's size is set before each picture
        self._network()  # whatever is wrong with its file shows now

    def detect(
        self, image: RgbImage, max_side: int | None = None, *, upright: bool = False
    ) -> list[Detection]:
        """See `Detector.detect`."""
        side = min(self.max_side, max_side or self.max_side)
        searched, scale = _scaled(image, side, self._LEAST_SIDE)
        if min(searched.shape[:2]) < self._LEAST_FACE:
            return []  # of one pixel by millions, padding would make gigabytes
        missing = [max(0, self._THINNEST - side) for side in searched.shape[:2]]
        searched = np.pad(searched, ((0, missing[0]), (0, missing[1]), (0, 0)))
        height, width = searched.shape[:2]
        network = self._network()
        network.setInputSize((width, height))
        _, rows = network.detect(np.ascontiguousarray(searched[:, :, ::-1]))  # BGR
        if rows is None:
            return []
        found = [self._detection(row, scale) for row in rows]
        smallest = smallest_face(image, self.min_face)
        large = [detection for detection in found if detection.box.width >= smallest]
        return sorted(large, key=lambda detection: -detection.score)

    def _network(self) -> cv2.FaceDetectorYN:
        """This thread's own."""
        if not hasattr(self._networks, "network"):
            size = (self.max_side, self.max_side)
            try:
                # Its bytes, for the same reason as in `HaarDetector`.
                data, nothing = np.fromfile(self.path, np.uint8), np.empty(0, np.uint8)
                self._networks.network = cv2.FaceDetectorYN.create(
                    "onnx", data, nothing, size, self.min_score, _OVERLAP, self._MOST
                )
            except OSError as error:
                raise ModelError(f"{self.path}: cannot be read: {error.strerror}") from None
            except cv2.error as error:
                raise ModelError(f"{self.path}: not YuNet's network: {reason_of(error)}") from None
        found: cv2.FaceDetectorYN = self._networks.network
        return found

    def _detection(self, row: npt.NDArray[np.float32], scale: float) -> Detection:
        """A row holds the box, five points from the picture's left eye on, and the score."""
        values = [float(value) / scale for value in row[:14]]
        points = [(values[i], values[i + 1]) for i in range(4, 14, 2)]
        landmarks = Landmarks(*points)
        side = self.SIDE * values[2]
        x, y = np.mean([points[0], points[1], points[3], points[4]], axis=0).tolist()
        left, top = x - side / 2, y - (0.5 + self.RISE) * side
        box = Box(round(left), round(top), round(side), round(side))
        return Detection(box, float(row[14]), landmarks)


class WholePicture:
    """Every picture is a face, cropped already."""

    def detect(
        self, image: RgbImage, max_side: int | None = None, *, upright: bool = False
    ) -> list[Detection]:
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


def detected_in(
    detector: Detector, image: RgbImage, part: Box, max_side: int, *, upright: bool = False
) -> list[Detection]:
    """Faces in a part of a picture, their boxes in the whole picture's pixels; no landmarks."""
    left, top = max(0, part.left), max(0, part.top)
    seen = image[top : max(0, part.top + part.height), left : max(0, part.left + part.width)]
    if seen.size == 0:
        return []
    return [
        replace(
            found,
            box=replace(found.box, left=left + found.box.left, top=top + found.box.top),
            landmarks=None,
        )
        for found in detector.detect(seen, max_side, upright=upright)
    ]


def largest_face(detector: Detector) -> Callable[[RgbImage], npt.NDArray[np.uint8] | None]:
    """A function that crops the largest face of a picture, (48, 48); None where none is."""

    def crop(image: RgbImage) -> npt.NDArray[np.uint8] | None:
        found = detector.detect(image)
        if not found:
            return None
        largest = max(found, key=lambda detection: detection.box.width * detection.box.height)
        return crop_face(to_grey(image), largest.box, roll=largest.roll)

    return crop


def non_maximum_suppression(detections: Iterable[Detection]) -> list[Detection]:
    """Of boxes, the surest first, those that have no IoU above 0.3 with one before them, nor share
    most of the smaller one with it: a mouth is no second face."""
    kept: list[Detection] = []
    for detection in detections:
        box = detection.box
        if all(
            box.iou(other.box) <= _OVERLAP and box.shared(other.box) <= _MOST_OF_ONE
            for other in kept
        ):
            kept.append(detection)
    return kept


def smallest_face(image: npt.NDArray[np.uint8], min_face: int | None = None) -> int:
    """Pixels a side from which a face is looked for: `min_face`, else 24, or in a picture that is
    small itself an eighth of its shorter side."""
    return min_face or max(1, min(24, min(image.shape[:2]) // 8))


def _scaled(
    image: npt.NDArray[np.uint8], max_side: int, least_side: int
) -> tuple[npt.NDArray[np.uint8], float]:
    """A picture whose longer side is at most `max_side`, and at least `least_side` if four times
    its size are enough for that; and by what factor its size was changed.

    A panorama, of which that would leave too little to see, keeps as many pixels as a picture that
    is twice as long as high.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    most = max(max_side / longer, max_side / math.sqrt(2 * height * width))
    scale = min(most, max(1.0, min(4.0, least_side / longer)))
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
    return image, scale


def _lit(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A dark picture made light: its lightest pixels, but for 0.5 %, become white."""
    lightest = float(np.percentile(grey[::4, ::4], 99.5))
    if lightest >= 128:
        return grey
    return np.asarray(cv2.convertScaleAbs(grey, alpha=255 / max(lightest, 8)), np.uint8)


def _turned(
    grey: npt.NDArray[np.uint8], degrees: float
) -> tuple[npt.NDArray[np.uint8], float, npt.NDArray[np.float64]]:
    """All of a picture turned anticlockwise, a very large one made smaller first; by what factor
    its size was changed for that; and the map (2, 3) that leads back."""
    scale = min(1.0, _MOST_TURNED / max(grey.shape))
    height, width = (max(1, round(side * scale)) for side in grey.shape)
    small = grey if scale == 1 else cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    there = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cos, sin = abs(there[0, 0]), abs(there[0, 1])
    wide, tall = round(width * cos + height * sin), round(width * sin + height * cos)
    there[:, 2] += (wide - width) / 2, (tall - height) / 2
    copy = cv2.warpAffine(small, there, (wide, tall), borderValue=127)
    back = cv2.invertAffineTransform(there) / scale
    return np.asarray(copy, np.uint8), scale, np.asarray(back, np.float64)


def _moved(box: Box, to: npt.NDArray[np.float64], scale: float) -> Box:
    """A box whose centre went by a map (2, 3), so many times as large."""
    x, y = to @ (box.left + box.width / 2, box.top + box.height / 2, 1.0)
    width, height = round(box.width * scale), round(box.height * scale)
    return Box(round(x - width / 2), round(y - height / 2), width, height)


def _check(min_face: int | None, min_score: float, max_side: int) -> None:
    if min_face is not None and min_face < 1:
        raise OptionError(f"expected min_face of at least 1, found {min_face}")
    if max_side < 1 or not 0 < min_score < 1:
        raise OptionError(
            "expected max_side of at least 1 and min_score between 0 and 1, "
            f"found {max_side} and {min_score}"
        )
