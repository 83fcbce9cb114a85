"""Face detection by OpenCV's Haar cascade, the detector that FER2013 was cropped with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2

from semblante.errors import ModelError
from semblante.images import RgbImage
from semblante.preprocess import to_grey
from semblante.recognise.detection import (
    Detection,
    LimitedDetector,
    PerThread,
    brightened,
    resized_for_search,
    smallest_face,
    without_overlaps,
)
from semblante.results import Box

_CASCADE: Final = "haarcascade_frontalface_alt2.xml"


class HaarDetector(LimitedDetector):
    """A cascade of simple features (Viola & Jones, CVPR 2001; Lienhart & Maydt, ICIP 2002).

    It slides a window over the picture at many sizes; a face is where several neighbouring windows
    agree. Their number gives its score: votes / (votes + 4), which is 0.5 with four. It finds
    upright, frontal faces in good light, of 20 pixels or more, with some surroundings; so small
    pictures are enlarged and dark ones brightened.
    """

    VOTES_AT_HALF: Final = 4
    _WINDOW: Final = 20  # pixels a side, the cascade's own
    _STEP: Final = 1.1  # from one size of the window to the next
    _LEAST_SIDE: Final = 640  # smaller pictures are enlarged to this, four times at most

    def __init__(
        self,
        *,
        min_face: int | None = None,
        min_score: float = 0.5,
        max_side: int = 1280,
    ) -> None:
        """The options are those of `CnnDetector`."""
        super().__init__(min_face, min_score, max_side)
        # A cascade has state while it searches: one per thread. Raises now if its file is damaged.
        self._cascades = PerThread(_cascade)

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        grey = brightened(to_grey(image))
        searched, scale = resized_for_search(grey, self.side(max_side), self._LEAST_SIDE)
        least = max(self._WINDOW, round(smallest_face(grey, self.min_face) * scale))
        if min(searched.shape) < least:
            return []
        boxes, votes = self._cascades.own.detectMultiScale2(
            searched, scaleFactor=self._STEP, minNeighbors=1, minSize=(least, least)
        )
        found = []
        for place, count in zip(boxes, votes, strict=True):
            score = float(count / (count + self.VOTES_AT_HALF))
            if score >= self.min_score:
                found.append(Detection(Box(*(round(float(v) / scale) for v in place)), score))
        return without_overlaps(found)


def _cascade() -> cv2.CascadeClassifier:
    path = Path(cv2.__file__).parent / "data" / _CASCADE
    cascade = cv2.CascadeClassifier()
    try:
        # Not read by OpenCV, which on Windows cannot open a file in a folder with an accent.
        text = path.read_text(encoding="utf-8")
        file = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        known = cascade.read(file.getFirstTopLevelNode())
    except (OSError, ValueError, cv2.error):
        known = False
    if not known:
        raise ModelError(f"{path}: OpenCV's face cascade is missing")
    return cascade
