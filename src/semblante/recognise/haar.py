"""Faces by OpenCV's Haar cascade, in whose boxes FER2013's own faces were cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from semblante.errors import ModelError
from semblante.images import RgbImage
from semblante.preprocess import FACE_SIZE, crop_face, to_grey
from semblante.recognise.detection import (
    Detection,
    PerThread,
    check_limits,
    non_maximum_suppression,
    scaled,
    smallest_face,
)
from semblante.recognise.last_stage import face_probabilities
from semblante.results import Box

# OpenCV turns no picture of 32,767 pixels a side, and this is more than is searched anyway.
_MOST_TURNED: Final = 8192


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
        check_limits(min_face, min_score, max_side)
        self.min_face = min_face
        self.min_score = min_score
        self.max_side = max_side
        self.tilted = tilted
        self._cascades = PerThread()  # one keeps its place while it looks
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
        searched, scale = scaled(grey, side, self._LEAST_SIDE)
        return self._windows(searched, scale, 0, round(smallest * scale), self._STEP)

    def _close(self, grey: npt.NDArray[np.uint8], side: int, smallest: int) -> list[Detection]:
        """Upright faces of half the picture's shorter side and more, beyond its edges too."""
        small, scale = scaled(grey, min(side, self._CLOSE_SIDE), self._CLOSE_SIDE)
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
