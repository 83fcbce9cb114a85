"""Faces by OpenCV's Haar cascades; FER2013's own faces were cut in the boxes of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
_MOST_PIXELS_TURNED: Final = 900**2  # more than is searched of them
_FRONTAL: Final = "haarcascade_frontalface_alt2.xml"
_PROFILE: Final = "haarcascade_profileface.xml"


class HaarDetector:
    """OpenCV's cascades for faces from the front and the side (Viola & Jones 2001; Lienhart 2002).

    A cascade slides a window over the picture at many sizes; a face is where several neighbouring
    windows agree. On a face of the usual size 5 to 60 of them do, on a chance pattern 2 to
    25, so the count is its score: votes / (votes + 2), which is 0.5 with the fewest. A small
    network then looks at each place (`last_stage.py`), and votes and network decide together.

    The cascades know upright faces in good light of 20 pixels or more, with something around them.
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
    _LEAST_LIKELY: Final = 0.2  # to the network, however many windows agree
    TILTS: Final = (-30.0, 30.0)  # degrees; the cascade itself bears about 15 either way
    _WINDOW: Final = 20  # pixels a side, the cascades' own
    _STEP: Final = 1.2  # from one size of the window to the next
    _LEAST_SIDE: Final = 640  # smaller pictures are enlarged to this, four times at most
    # Tilted heads and profiles are looked for at this size, from so many pixels on.
    _SECOND_SIDE: Final = 640
    _TILTED_FACE: Final = 30
    _PROFILE_FACE: Final = 34
    # Where a glance shows one, a closer look follows: so far around, at such sizes, both in its
    # sides, and at so many pixels a side, since only windows of 40 and more move by single pixels.
    _CLOSER_ROOM: Final = 1.6
    _CLOSER_SIZES: Final = (0.75, 1.4)
    _CLOSER_SIDE: Final = 44
    # FER2013's frame in the box of a profile, in its sides: the nose is to the left
    # (docs/experiments.md, "faces from the side").
    _PROFILE_SIDE: Final = 0.85
    _PROFILE_LEFT: Final = 0.15
    _PROFILE_DOWN: Final = 0.025
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
        heads and profiles too, which takes about as long again."""
        check_limits(min_face, min_score, max_side)
        self.min_face = min_face
        self.min_score = min_score
        self.max_side = max_side
        self.tilted = tilted
        self._cascades = PerThread()  # one keeps its place while it looks
        # Whatever is wrong with their files shows now.
        for name in (_FRONTAL, _PROFILE):
            self._cascade(name)
        face_probabilities(np.zeros((1, FACE_SIZE, FACE_SIZE), np.uint8))

    def detect(
        self, image: RgbImage, max_side: int | None = None, *, upright: bool = False
    ) -> list[Detection]:
        """See `Detector.detect`."""
        grey = _lit(to_grey(image))
        places = self.proposals(grey, max_side, upright=upright)
        cuts = [crop_face(grey, place.box, roll=place.roll) for place in places]
        likely = face_probabilities(np.array(cuts, np.uint8))
        found = non_maximum_suppression(
            place
            for place, probability in zip(places, likely, strict=True)
            if self._is_face(place, float(probability))
        )
        return sorted(found, key=lambda detection: -detection.score)

    def votes(self, place: Detection) -> int:
        """How many windows agreed on what it found."""
        return round(self.VOTES_AT_HALF * place.score / (1 - place.score))

    def _is_face(self, place: Detection, probability: float) -> bool:
        odds = (self.votes(place) / self._EVEN_VOTES) ** self._WORTH_OF_VOTES
        odds *= self._WORTH_OF_TILT if place.roll else 1
        return probability >= self._LEAST_LIKELY and probability * odds >= 1 - probability

    def proposals(
        self, grey: npt.NDArray[np.uint8], max_side: int | None = None, *, upright: bool = False
    ) -> list[Detection]:
        """All that the cascades take for a face in a grey picture, uint8 (H, W), however often, the
        surest first, those in profile after the others, which are framed better; the options as in
        `Detector.detect`."""
        smallest = smallest_face(grey, self.min_face)
        side = min(self.max_side, max_side or self.max_side)
        found = self._search(grey, side, smallest) + self._close(grey, side, smallest)
        profiles: list[Detection] = []
        if self.tilted and not upright:
            side, shown = min(side, self._SECOND_SIDE), max(grey.shape) / self._SECOND_SIDE
            found += self._tilted(grey, side, max(smallest, round(self._TILTED_FACE * shown)))
            profiles = self._profiles(grey, side, max(smallest, round(self._PROFILE_FACE * shown)))
        for places in (found, profiles):
            places.sort(key=lambda place: -place.score)
        return found + profiles

    def _search(self, grey: npt.NDArray[np.uint8], side: int, smallest: int) -> list[Detection]:
        """Upright faces from the front."""
        searched, scale = scaled(grey, side, self._LEAST_SIDE)
        sizes = (round(smallest * scale), max(searched.shape))
        return self._windows(_FRONTAL, searched, scale, (0, 0), sizes, self._STEP)

    def _close(self, grey: npt.NDArray[np.uint8], side: int, smallest: int) -> list[Detection]:
        """Upright faces of half the picture's shorter side and more, beyond its edges too."""
        small, scale = scaled(grey, min(side, self._CLOSE_SIDE), self._CLOSE_SIDE)
        margin = round(self._CLOSE_MARGIN * min(small.shape))
        beyond = np.pad(small, margin, "edge")
        sizes = (max(min(small.shape) // 2, round(smallest * scale)), max(beyond.shape))
        return self._windows(_FRONTAL, beyond, scale, (-margin, -margin), sizes, self._CLOSE_STEP)

    def _tilted(self, grey: npt.NDArray[np.uint8], side: int, smallest: int) -> list[Detection]:
        """Faces from the front in turned copies."""
        found = []
        for roll in self.TILTS:
            copy, scale, back = _turned(grey, roll)
            least = max(1, round(smallest * scale))
            for one in self._glance(_FRONTAL, copy, side, least):
                found.append(replace(one, box=_moved(one.box, back, 1 / scale), roll=roll))
        return found

    def _profiles(self, grey: npt.NDArray[np.uint8], side: int, smallest: int) -> list[Detection]:
        """Upright faces from the left and, in a mirror, from the right."""
        found = []
        for mirrored in (False, True):
            seen = np.ascontiguousarray(grey[:, ::-1]) if mirrored else grey
            for one in self._glance(_PROFILE, seen, side, round(smallest / self._PROFILE_SIDE)):
                wide = one.box.width
                x = one.box.left + wide / 2 - self._PROFILE_LEFT * wide
                y = one.box.top + wide / 2 + self._PROFILE_DOWN * wide
                if mirrored:
                    x = grey.shape[1] - x
                framed = max(1, round(self._PROFILE_SIDE * wide))
                box = Box(round(x - framed / 2), round(y - framed / 2), framed, framed)
                found.append(replace(one, box=box))
        return found

    def _glance(
        self, cascade: str, grey: npt.NDArray[np.uint8], side: int, smallest: int
    ) -> list[Detection]:
        """What `_search` would find, but for some of it, in less than half of the time: in large
        steps first, and only where that shows something in small ones."""
        searched, scale = scaled(grey, side, self._LEAST_SIDE)
        least = round(smallest * scale)
        found = []
        for window in self._taken(cascade, searched, least):
            around = window.grown(self._CLOSER_ROOM).within(searched.shape[1], searched.shape[0])
            cut = searched[around.top :, around.left :][: around.height, : around.width]
            shrunk = min(1.0, self._CLOSER_SIDE / window.width)
            if shrunk < 1:
                cut = _shrunk(cut, shrunk)
            low, high = (round(size * shrunk * window.width) for size in self._CLOSER_SIZES)
            corner = (around.left * shrunk, around.top * shrunk)
            sizes = (max(low, round(least * shrunk)), high)
            found += self._windows(cascade, cut, scale * shrunk, corner, sizes, self._STEP)
        return found

    def _taken(self, cascade: str, searched: npt.NDArray[np.uint8], least: int) -> Iterator[Box]:
        """The windows of `least` pixels a side and more that the cascade takes for a face, those
        close to each other as one.

        OpenCV moves windows of less than 40 pixels by a tenth of their side, larger ones by half
        as much, and takes four times as long; so those are looked for in halved copies.
        """
        taken: list[list[int]] = []
        times, picture, last = 1, searched, False
        while not last:
            least = max(self._WINDOW, least)
            last = min(picture.shape) < 2 * self._WINDOW
            most = max(picture.shape) if last else 2 * self._WINDOW - 1
            if least <= min(most, *picture.shape):
                windows = self._cascade(cascade).detectMultiScale(
                    picture, scaleFactor=self._STEP, minNeighbors=0,
                    minSize=(least, least), maxSize=(most, most),
                )  # fmt: skip
                taken += (times * np.reshape(windows, (-1, 4))).tolist()
            if not last:
                picture, times, least = _shrunk(picture, 0.5), 2 * times, math.ceil(least / 2)
        # Each twice, since OpenCV leaves out those that stand alone.
        together, _ = cv2.groupRectangles(taken * 2, 1, 0.2)
        for left, top, width, height in together:
            yield Box(int(left), int(top), int(width), int(height))

    def _windows(
        self,
        cascade: str,
        searched: npt.NDArray[np.uint8],
        scale: float,
        corner: tuple[float, float],
        sizes: tuple[int, int],
        step: float,
    ) -> list[Detection]:
        """Where windows of such sizes, in pixels, agree in a part of a picture whose size was
        changed by `scale`; `corner`: where it lies in that (x, y). Boxes of the picture as it was.
        """
        least, most = max(self._WINDOW, sizes[0]), sizes[1]
        if min(most, *searched.shape) < least:
            return []
        boxes, votes = self._cascade(cascade).detectMultiScale2(
            searched, scaleFactor=step, minNeighbors=1, minSize=(least, least), maxSize=(most, most)
        )
        found = []
        for (left, top, width, height), count in zip(boxes, votes, strict=True):
            score = float(count / (count + self.VOTES_AT_HALF))
            if score >= self.min_score:
                place = (left + corner[0], top + corner[1], width, height)
                found.append(Detection(Box(*(round(float(v) / scale) for v in place)), score))
        return found

    def _cascade(self, name: str) -> cv2.CascadeClassifier:
        """This thread's own."""
        if not hasattr(self._cascades, name):
            path = Path(cv2.__file__).parent / "data" / name
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
            setattr(self._cascades, name, cascade)
        found: cv2.CascadeClassifier = getattr(self._cascades, name)
        return found


def _shrunk(picture: npt.NDArray[np.uint8], by: float) -> npt.NDArray[np.uint8]:
    """Made smaller."""
    # By the factors, not to a size, that a half is a half, and quick, where a side is odd.
    small = cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


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
    scale = min(1.0, _MOST_TURNED / max(grey.shape), math.sqrt(_MOST_PIXELS_TURNED / grey.size))
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
