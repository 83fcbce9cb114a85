"""Face detection by the network YuNet, with boxes converted to FER2013's framing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from semblante.errors import ModelError, reason_of
from semblante.images import RgbImage
from semblante.models import yunet_path
from semblante.recognise.detection import (
    OVERLAP,
    Detection,
    Landmarks,
    LimitedDetector,
    PerThread,
    resized_for_search,
    smallest_face,
)
from semblante.results import Box


class YuNetDetector(LimitedDetector):
    """OpenCV's small detection network YuNet (Wu, Peng & Yu, Machine Intelligence Research 2023).

    It finds turned, small and dark faces better than the cascade, and five landmarks in each, which
    turn too little with a turned face: by 11 degrees of 45. Its boxes run from the hairline to the
    chin, and are converted to FER2013's framing by two numbers fitted on 1,330 faces of FER2013's
    Training split, where the frame is known (`benchmarks/framing.py`): the frame's side is 1.30
    times YuNet's width, and its centre lies 0.065 of a side above the middle between eyes and
    mouth.
    """

    SIDE: Final = 1.30  # of FER2013's frame, in widths of YuNet's box
    RISE: Final = 0.065  # of the frame's centre above the middle between eyes and mouth, in sides
    _LEAST_SIDE: Final = 320  # smaller pictures are enlarged to this, four times at most
    _THINNEST: Final = 64  # pixels a side; OpenCV reads beyond a picture of 32 and less
    _LEAST_FACE: Final = 10  # pixels a side of the smallest faces that the network has learnt
    _MOST: Final = 5000  # most boxes that are kept before non-maximum suppression

    def __init__(
        self,
        path: Path | None = None,
        *,
        min_face: int | None = None,
        min_score: float = 0.7,
        max_side: int = 640,
    ) -> None:
        """`path`: the network's file, else the one that `semblante models pull yunet` fetched;
        the others as in `CnnDetector`. Raises `ModelError` where there is no such file."""
        super().__init__(min_face, min_score, max_side)
        self.path = yunet_path() if path is None else path
        # The input's size is set before each picture. Raises now if the file is damaged.
        make = partial(_network, self.path, (max_side, max_side), min_score, self._MOST)
        self._networks = PerThread(make)

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        searched, scale = resized_for_search(image, self.side(max_side), self._LEAST_SIDE)
        if min(searched.shape[:2]) < self._LEAST_FACE:
            return []  # padding one pixel by millions would take gigabytes
        missing = [max(0, self._THINNEST - side) for side in searched.shape[:2]]
        searched = np.pad(searched, ((0, missing[0]), (0, missing[1]), (0, 0)))
        height, width = searched.shape[:2]
        network = self._networks.own
        network.setInputSize((width, height))
        _, rows = network.detect(np.ascontiguousarray(searched[:, :, ::-1]))  # BGR
        if rows is None:
            return []
        found = [self._detection(row, scale) for row in rows]
        smallest = smallest_face(image, self.min_face)
        large = [detection for detection in found if detection.box.width >= smallest]
        return sorted(large, key=lambda detection: -detection.score)

    def _detection(self, row: npt.NDArray[np.float32], scale: float) -> Detection:
        """From a row: the box, five points from the picture's left eye on, and the score."""
        values = [float(value) / scale for value in row[:14]]
        points = [(values[i], values[i + 1]) for i in range(4, 14, 2)]
        landmarks = Landmarks(*points)
        side = self.SIDE * values[2]
        x, y = np.mean([points[0], points[1], points[3], points[4]], axis=0).tolist()
        left, top = x - side / 2, y - (0.5 + self.RISE) * side
        box = Box(round(left), round(top), round(side), round(side))
        return Detection(box, float(row[14]), landmarks)


def _network(path: Path, size: tuple[int, int], min_score: float, most: int) -> cv2.FaceDetectorYN:
    try:
        # The file's bytes, for the reason given in `haar._cascade`.
        data, nothing = np.fromfile(path, np.uint8), np.empty(0, np.uint8)
        return cv2.FaceDetectorYN.create("onnx", data, nothing, size, min_score, OVERLAP, most)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except cv2.error as error:
        raise ModelError(f"{path}: not YuNet's network: {reason_of(error)}") from None
