"""Frames of a video file or a camera, with their times, in constant memory."""

from __future__ import annotations

import math
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from semblante.errors import OptionError, VideoError, reason_of
from semblante.images import MAX_PIXELS, RgbImage
from semblante.recognise.camera import Camera, is_address
from semblante.recognise.film import Film

SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv"),
        *(".3gp", ".ts", ".mts", ".m2ts", ".m2v", ".ogv", ".asf", ".vob", ".f4v", ".mxf"),
    }
)
LEAST_EVERY_S: Final = 1e-6  # between frames
# Decoded ahead of whoever works on them: enough for the decoder to use the other core. Of a camera
# only the newest frame waits, or what is seen would lag behind what happens.
_AHEAD: Final = 4


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    number: int  # from 0, counting frames that were passed over as well
    time_s: float  # seconds since the first frame, as the file says, to the microsecond
    image: RgbImage
    passed: bool = False  # between two that were asked for, see `Video.frames`


def is_video(path: Path) -> bool:
    """Can its frames be read?"""
    try:
        Film(path, MAX_PIXELS).close()
    except VideoError:
        return False
    return True


class Video:
    """A video file, or a camera by its number, or by its address in a network (`rtsp://...`).

    Any file that FFmpeg reads. Raises `VideoError` where there is none, or no camera, and
    `OptionError` for something else.
    """

    def __init__(
        self, source: str | os.PathLike[str] | int, *, max_pixels: int = MAX_PIXELS
    ) -> None:
        """`max_pixels` of a frame."""
        if isinstance(source, bool) or not isinstance(source, (str, os.PathLike, int, np.integer)):
            raise OptionError(
                f"expected a video's path or a camera's number, found {type(source).__name__}"
            )
        self._source: Camera | Film
        if isinstance(source, (int, np.integer)):
            self._source = Camera(int(source))
        elif is_address(source):
            self._source = Camera(str(source))
        else:
            self._source = Film(Path(source), max_pixels)
        self.is_camera = isinstance(self._source, Camera)
        self.name = self._source.name
        self.width, self.height = self._source.width, self._source.height
        self.fps = self._source.fps
        self.n_frames = self._source.n_frames  # as announced, where it is
        self.duration_s = self._source.duration_s  # as announced, where it is
        # By which the first frame comes after the file's beginning, which may be sound.
        self.late_s = self._source.late_s
        self._stopped = threading.Event()
        self._read = False  # whether `frames` has begun

    def stop(self) -> None:
        """From any thread: no further frame, and `frames` comes to its end."""
        self._stopped.set()

    def frames(
        self, every_s: float | None = None, passed_s: float | None = None
    ) -> Iterator[Frame]:
        """All frames in order, or one every `every_s` seconds; decoded on a thread of its own. Of a
        camera those that come while one is worked on are left out, but for the newest.

        With `passed_s` there is one every so many seconds between them too, which is marked as
        `passed`. Once. Raises `VideoError` the second time, and at the end where the file has no
        frame or breaks off.
        """
        check_every(every_s)
        if self._read:
            raise VideoError(f"{self.name}: its frames have been read: open it again")
        self._read = True
        ahead = 1 if self.is_camera else _AHEAD
        ready: queue.Queue[Frame | VideoError | None] = queue.Queue(ahead)

        def put(item: Frame | VideoError | None) -> bool:
            replaces = self.is_camera and isinstance(item, Frame)
            while not self._stopped.is_set():
                try:
                    ready.put(item, timeout=0.0 if replaces else 0.1)
                except queue.Full:
                    if self.is_camera and isinstance(item, Frame):
                        if item.passed:  # it was not asked for, and what waits may be
                            return True
                        with suppress(queue.Empty):  # it was taken a moment ago
                            ready.get_nowait()
                    continue
                return True
            return False

        def decode() -> None:
            try:
                for frame in self._decoded(every_s, passed_s):
                    if not put(frame):
                        return
                put(None)
            except VideoError as error:
                put(error)
            except Exception as error:  # who waits for frames must hear of it, whatever it is
                put(VideoError(f"{self.name}: cannot be decoded: {reason_of(error)}"))

        thread = threading.Thread(target=decode, daemon=True)
        thread.start()
        try:
            while not self._stopped.is_set():
                try:
                    item = ready.get(timeout=0.1)
                except queue.Empty:
                    continue
                if isinstance(item, VideoError):
                    raise item
                if item is None:
                    return
                yield item
        finally:
            self._stopped.set()
            thread.join()
            self._source.close()

    def _decoded(self, every_s: float | None, passed_s: float | None) -> Iterator[Frame]:
        due, seen_s = 0.0, -math.inf
        for number, (time_s, pixels) in enumerate(self._source.pictures()):
            if self._stopped.is_set():
                return
            passed = time_s + 1e-6 < due
            if passed and (passed_s is None or time_s + 1e-6 < seen_s + passed_s):
                continue
            if every_s is not None and not passed:
                # Counted from the start, so that no error adds up.
                due = (int((time_s + 1e-6) / every_s) + 1) * every_s
            seen_s = time_s
            yield Frame(number, time_s, pixels(), passed)


def check_every(every_s: float | None) -> None:
    """Raise `OptionError` for what is no time between frames; None is for all of them."""
    if every_s is None:
        return
    number = isinstance(every_s, (int, float, np.integer, np.floating))
    if not number or not LEAST_EVERY_S <= every_s < math.inf:
        raise OptionError(f"expected every_s of at least {LEAST_EVERY_S:g}, found {every_s!r}")
