"""Synthetic films for tests: pictures on a wall, 320x240 pixels, 20 frames a second."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

FPS = 20
SIZE = (320, 240)


def canvas(*placed: tuple[np.ndarray, int, int]) -> np.ndarray:
    """Return a frame, RGB (240, 320, 3): a textured grey wall with each picture at (left, top)."""
    wall = _wall().copy()
    for picture, left, top in placed:
        height, width = picture.shape[:2]
        x0, x1 = max(0, left), min(SIZE[0], left + width)
        y0, y1 = max(0, top), min(SIZE[1], top + height)
        if x0 < x1 and y0 < y1:
            wall[y0:y1, x0:x1] = picture[y0 - top : y1 - top, x0 - left : x1 - left]
    return wall


@cache
def _wall() -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.integers(90, 130, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0)


def write_video(path: Path, n: int, frame: Callable[[int], np.ndarray], code: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), FPS, SIZE)
    assert writer.isOpened()
    for number in range(n):
        writer.write(cv2.cvtColor(frame(number), cv2.COLOR_RGB2BGR))
    writer.release()
    return path
