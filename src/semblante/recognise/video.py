"""Frames of a video file or a camera, with their times, in constant memory."""

from __future__ import annotations

import math
import os
import queue
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from semblante.errors import OptionError, VideoError, check_number, reason_of
from semblante.images import MAX_PIXELS, RgbImage
from semblante.recognise.camera import Camera, is_address
from semblante.recognise.video_file import VideoFile

SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".f4v"),
        *(".3gp", ".3g2", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts"),
        *(".m2t", ".ogv", ".mxf", ".dv"),
    }
)
LEAST_EVERY_S: Final = 1e-6  # least interval between frames
# Frames decoded ahead of the analysis: enough for the decoder to use another core. Of a camera only
# the newest frame waits, or the analysis would lag behind.
_AHEAD: Final = 4


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    number: int  # from 0; frames that were left out count as well
    time_s: float  # seconds since the first frame, as the file says, to the microsecond
    image: RgbImage
    in_between: bool = False  # lies between two that were asked for, see `Video.frames`


def is_video(path: Path) -> bool:
    """Whether frames of the file can be read."""
    try:
        VideoFile(path, MAX_PIXELS, threading.Event()).close()
    except VideoError:
        return False
    return True


class Video:
    """A video file that FFmpeg can read, or a camera, by its number or by its address in a network
    (`rtsp://...`).

    Raises `VideoError` where there is no such file or camera, and `OptionError` for a source of
    another type.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | int,
        *,
        max_pixels: int = MAX_PIXELS,
        stopped: threading.Event | None = None,
    ) -> None:
        """`max_pixels`: the most pixels of a frame. `stopped`: if any thread sets it, reading ends,
        as by `stop`, even while the first frame of a file is looked for, which may be far in it. It
        is set when this video ends: each video needs its own."""
        if isinstance(source, bool) or not isinstance(source, (str, os.PathLike, int, np.integer)):
            raise OptionError(
                f"expected a video's path or a camera's number, found {type(source).__name__}"
            )
        self._stopped = threading.Event() if stopped is None else stopped
        self._source: Camera | VideoFile
        if isinstance(source, (int, np.integer)):
            self._source = Camera(int(source))
        elif is_address(source):
            self._source = Camera(str(source))
        else:
            self._source = VideoFile(Path(source), max_pixels, self._stopped)
        self.is_camera = isinstance(self._source, Camera)
        self.name = self._source.name
        self.width, self.height = self._source.width, self._source.height
        self.fps = self._source.fps
        self.n_frames = self._source.n_frames  # as announced, or None
        self.duration_s = self._source.duration_s  # as announced, or None
        # Seconds from the file's beginning, which may be only sound, to the first frame.
        self.start_offset_s = self._source.start_offset_s
        self._read = False  # whether `frames` has begun
        # Closes once: when asked to, or when nothing refers to this video any more. `VideoFile` and
        # its decoder refer to each other: without this the file would stay open until garbage is
        # collected.
        self._close_source = weakref.finalize(self, self._source.close)
        self._close_source.atexit = False  # a thread may still be decoding then

    def __enter__(self) -> Video:
        """Close it when the `with` ends."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """End `frames`, without a further frame; any thread may call this."""
        self._stopped.set()

    def close(self) -> None:
        """Close the file or camera. If `frames` has begun, it only ends, and closes it then, since
        a thread of its own may be decoding."""
        self.stop()
        if not self._read:
            self._read = True
            self._close_source()

    def frames(
        self, every_s: float | None = None, follow_every_s: float | None = None
    ) -> Iterator[Frame]:
        """Yield all frames in order, or one every `every_s` seconds, decoded on a thread of their
        own. A camera's frames that arrive while the caller works on one are dropped, except the
        newest.

        `follow_every_s`: also yield a frame every so many seconds between these, marked as
        `in_between`. Can be read once: raises `VideoError` the second time, and at the end where
        the file has no frame or breaks off.
        """
        check_every(every_s)
        if self._read:
            raise VideoError(f"{self.name}: its frames have been read: open it again")
        self._read = True
        ready = _NewestFrame() if self.is_camera else _Ready(_AHEAD)

        def put(item: Frame | VideoError | None) -> bool:
            while not self._stopped.is_set():
                with suppress(queue.Full):
                    ready.put(item, timeout=0.1)
                    return True
            return False

        def decode() -> None:
            try:
                for frame in self._decoded(every_s, follow_every_s):
                    if not put(frame):
                        return
                put(None)
            except VideoError as error:
                put(error)
            except Exception as error:  # the caller waits for frames and must be told
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
            self._close_source()

    def _decoded(self, every_s: float | None, follow_every_s: float | None) -> Iterator[Frame]:
        due, seen_s = 0.0, -math.inf
        for number, (time_s, pixels) in enumerate(self._source.pictures()):
            if self._stopped.is_set():
                return
            in_between = time_s + 1e-6 < due
            if in_between and (follow_every_s is None or time_s + 1e-6 < seen_s + follow_every_s):
                continue
            if every_s is not None and not in_between:
                # Counted from the start, so that rounding errors do not add up.
                due = (int((time_s + 1e-6) / every_s) + 1) * every_s
            seen_s = time_s
            yield Frame(number, time_s, pixels(), in_between)


_Ready = queue.Queue[Frame | VideoError | None]


class _NewestFrame(_Ready):
    """A queue of one: a requested frame replaces the waiting one; an in-between frame is dropped if
    one waits; errors and the end wait their turn."""

    def __init__(self) -> None:
        super().__init__(1)

    def put(
        self, item: Frame | VideoError | None, block: bool = True, timeout: float | None = None
    ) -> None:
        if not isinstance(item, Frame):
            super().put(item, block, timeout)
            return
        while True:
            try:
                super().put(item, block=False)
                return
            except queue.Full:
                if item.in_between:  # it was not requested, the waiting one may be
                    return
            with suppress(queue.Empty):  # the caller may just have taken it
                self.get_nowait()


def check_every(every_s: float | None) -> None:
    """Raise `OptionError` unless `every_s` can be a time between frames; None is for all frames."""
    if every_s is None:
        return
    check_number("every_s", every_s, LEAST_EVERY_S)
    if every_s == math.inf:
        raise OptionError("expected every_s in seconds, found infinity")
