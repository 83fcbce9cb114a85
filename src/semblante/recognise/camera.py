"""Frames of a camera, of this computer or in a network, as they arrive, read by OpenCV."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

import cv2
import numpy as np

from semblante.errors import VideoError
from semblante.images import RgbImage
from semblante.recognise.video_file import Clock, usable_rate

_LAST: Final = 2**31 - 1
_ADDRESS: Final = re.compile(r"(?i)(rtsps?|https?)://")
_SILENT_MS: Final = 10_000  # a network camera that sends nothing for so long is gone
# macOS asks the user whether a program may use the camera, and meanwhile does not open it.
_DIALOG_S: Final = 15.0
_AGAIN_S: Final = 0.5  # between attempts


def is_address(source: object) -> bool:
    """Whether `source` is the address of a network camera, `rtsp://...` or `http://...`."""
    return isinstance(source, str) and _ADDRESS.match(source) is not None


class Camera:
    """A camera of this computer, opened by its number, or in a network, by its address."""

    n_frames = None
    duration_s = None
    start_offset_s = 0.0

    def __init__(self, source: int | str) -> None:
        """Open the camera; raises `VideoError` where there is none."""
        # Elsewhere OpenCV tells 0, and of a network camera FFmpeg may count frames instead, as if
        # there were 25 a second.
        self._tells_time = isinstance(source, int) and sys.platform == "linux"
        # Keep OpenCV from printing warnings: what matters is in our errors.
        logging = getattr(cv2.utils, "logging", cv2)  # in cv2 itself before OpenCV 4.13
        logging.setLogLevel(0)
        if isinstance(source, int):
            self.name = f"camera {source}"
            if not 0 <= source <= _LAST:  # OpenCV crashes for other numbers
                raise VideoError(f"{self.name}: there is no such camera")
            self._capture = _opened(source)
            if not self._capture.isOpened() and sys.platform == "darwin":
                raise VideoError(
                    f"{self.name}: there is no such camera, another program uses it, or macOS "
                    "keeps it from us: allow it in the dialog that asks for it, or in System "
                    "Settings, Privacy & Security, Camera"
                )
            if not self._capture.isOpened():
                raise VideoError(
                    f"{self.name}: there is no such camera, another program uses it, or the "
                    "system's privacy settings keep it from us"
                )
        else:
            # The name leaves out what stands before and after the host: it may be a password.
            scheme, _, place = source.partition("://")
            self.name = f"{scheme}://{place.partition('/')[0].rpartition('@')[2]}"
            limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
            asked = [part for limit in limits for part in (limit, _SILENT_MS)]
            os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg prints nothing
            self._capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, asked)
            if not self._capture.isOpened():
                raise VideoError(f"{self.name}: no camera answers there")
        self.width, self.height = (
            int(self._capture.get(what))
            for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.fps = usable_rate(float(self._capture.get(cv2.CAP_PROP_FPS)))

    def pictures(self) -> Iterator[tuple[float, Callable[[], RgbImage]]]:
        """Yield each frame's time in seconds, counted from the first, and a function that returns
        its pixels.

        Raises `VideoError` when no more frames come: a camera has no end of its own.
        """
        clock = Clock(self.fps)  # the camera's own clock may have started with the computer
        number = -1
        while self._capture.grab():
            number += 1
            if self._tells_time:
                now_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
            else:
                now_s = time.perf_counter()  # on Windows `monotonic` goes in steps of 16 ms
            yield clock.next(now_s), self._pixels
        if number < 0:
            raise VideoError(f"{self.name}: no frame of it can be read")
        raise VideoError(f"{self.name}: it gives no more frames: is it still there?")

    def _pixels(self) -> RgbImage:
        read, pixels = self._capture.retrieve()
        if not read:
            raise VideoError(f"{self.name}: no further frame of it can be read")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """Release the camera for other programs."""
        self._capture.release()


def _opened(number: int) -> cv2.VideoCapture:
    """Open a camera of this computer; on macOS, which may be asking for permission, try for a
    while."""
    capture = cv2.VideoCapture(number)
    if sys.platform == "darwin":
        for _ in range(round(_DIALOG_S / _AGAIN_S)):
            if capture.isOpened():
                break
            time.sleep(_AGAIN_S)
            capture = cv2.VideoCapture(number)
    return capture
