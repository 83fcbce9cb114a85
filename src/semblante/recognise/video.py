"""Frames of a video file or a camera, with their times, in constant memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import cv2
import numpy as np
import numpy.typing as npt

from semblante.errors import OptionError, VideoError, reason_of
from semblante.images import MAX_PIXELS, RgbImage

SUFFIXES: Final = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv"),
        *(".3gp", ".ts", ".mts", ".m2ts", ".m2v", ".ogv", ".asf", ".vob", ".f4v", ".mxf"),
    }
)
# What half-written copies are called: hidden, and no inputs of a later run.
_UNFINISHED: Final = ".semblante-"
LEAST_EVERY_S: Final = 1e-6  # between frames
_LAST_CAMERA: Final = 2**31 - 1
# Decoded ahead of whoever works on them: enough for the decoder to use the other core.
_AHEAD: Final = 4
_USUAL_FPS: Final = 25.0  # where a stream does not say, or nothing that can be
_MOST_FPS: Final = 240.0
# A copy stays in time with its sound by repeating frames, but not over more than this: a stream's
# clock may jump by hours.
LONGEST_GAP_S: Final = 300.0
# Stands at the end of the copies that this program writes: a box that players pass over (ISO/IEC
# 14496-12, 8.1.2).
_OWN: Final = b"\0\0\0\x11freesemblante"
_LAST: Final = 4096  # bytes of a file, which are not all zero where it is whole
_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
# A file that ends before this share of what it announces breaks off; fewer frames are missing where
# a container only estimates their number.
_ENOUGH: Final = 0.9
# OpenCV takes a packet without a picture for the end: a damaged one, or an empty one, by which
# Theora repeats the picture before. Behind so many in a row nothing is looked for; behind what a
# file announces only a few more, since each try at its end costs 20 microseconds.
_MOST_LOST: Final = 10_000
_FEW_LOST: Final = 50


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
        next(Video(path).frames())
    except VideoError:
        return False
    return True


class Video:
    """A video file, or a camera by its number.

    Any file that OpenCV's FFmpeg reads. Raises `VideoError` where there is none, or no camera.
    """

    def __init__(
        self, source: str | os.PathLike[str] | int, *, max_pixels: int = MAX_PIXELS
    ) -> None:
        """`max_pixels` of a frame."""
        self.name = f"camera {source}" if isinstance(source, int) else str(source)
        self.is_camera = isinstance(source, int)
        # OpenCV and FFmpeg would print what they find odd; what matters of it is in our errors.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        getattr(cv2.utils, "logging", cv2).setLogLevel(
            0
        )  # in OpenCV before 4.13 it stands elsewhere
        if isinstance(source, int):
            if not 0 <= source <= _LAST_CAMERA:  # OpenCV crashes where it is asked for one
                raise VideoError(f"{self.name}: there is no such camera")
            self._capture = cv2.VideoCapture(source)
        else:
            path = Path(source)
            try:
                if path.is_fifo():  # OpenCV opens it anew, and would wait for ever
                    raise VideoError(f"{path}: expected a file, found a pipe")
                with path.open("rb") as file:
                    if not file.read(1):
                        raise VideoError(f"{path}: an empty file")
            except OSError as error:
                raise VideoError(f"{path}: cannot be read: {error.strerror}") from None
            except ValueError as error:  # a NUL in its name
                raise VideoError(f"{source!r}: cannot be read: {error}") from None
            self._capture = cv2.VideoCapture(_for_opencv(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoError(
                f"{self.name}: there is no such camera, another program uses it, or the system's "
                "privacy settings keep it from us"
                if self.is_camera
                else f"{self.name}: not a video that can be read"
            )
        self.width, self.height, announced = (
            int(self._capture.get(what))
            for what in (
                cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT
            )
        )  # fmt: skip
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.n_frames = announced if announced > 0 and not self.is_camera else None
        self._announced_s = (self.n_frames or 0) / fps if fps > 0 else 0.0
        self.fps = usable_rate(fps)
        stored, shown = (self.width, self.height), self._true_size()
        self._stretch_to = None if shown == stored else shown
        self.width, self.height = shown
        self._opened_s = 0.0  # a camera's own clock, at its first frame
        self._stopped = threading.Event()
        self._read = False  # whether `frames` has begun
        if self.width * self.height > max_pixels:
            self._capture.release()
            raise VideoError(f"{self.name}: frames of {self.width}x{self.height} pixels")

    def _true_size(self) -> tuple[int, int]:
        """Width and height at which pixels are as wide as high, where they are not in the file.

        Films for television have wider ones, or narrower. Enlarged, so that nothing is lost.
        """
        wide, tall = (
            self._capture.get(what) for what in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN)
        )
        if self.is_camera or not (wide > 0 and tall > 0) or not 0.2 < wide / tall < 5:
            return self.width, self.height
        if self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180:  # OpenCV turns the frames
            wide, tall = tall, wide
        return round(self.width * max(1, wide / tall)), round(self.height * max(1, tall / wide))

    @property
    def duration_s(self) -> float | None:
        """Seconds, as the file announces them; None where it does not."""
        return self._announced_s or None

    def stop(self) -> None:
        """From any thread: no further frame, and `frames` comes to its end."""
        self._stopped.set()

    def frames(
        self, every_s: float | None = None, passed_s: float | None = None
    ) -> Iterator[Frame]:
        """All frames in order, or one every `every_s` seconds; decoded on a thread of its own.

        With `passed_s` there is one every so many seconds between them too, which is marked as
        `passed`. Once. Raises `VideoError` the second time, and at the end where the file has no
        frame or breaks off.
        """
        check_every(every_s)
        if self._read:
            raise VideoError(f"{self.name}: its frames have been read: open it again")
        self._read = True
        ready: queue.Queue[Frame | VideoError | None] = queue.Queue(_AHEAD)

        def put(item: Frame | VideoError | None) -> bool:
            while not self._stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                except queue.Full:
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
            self._capture.release()

    def _decoded(self, every_s: float | None, passed_s: float | None) -> Iterator[Frame]:
        number, due, time_s, seen_s = -1, 0.0, -1.0, -math.inf
        while not self._stopped.is_set() and self._grab(number + 1):
            number += 1
            time_s = self._time_of(number, time_s)
            passed = time_s + 1e-6 < due
            if passed and (passed_s is None or time_s + 1e-6 < seen_s + passed_s):
                continue
            if every_s is not None and not passed:
                # Counted from the start, so that no error adds up.
                due = (int((time_s + 1e-6) / every_s) + 1) * every_s
            seen_s = time_s
            read, pixels = self._capture.retrieve()
            if not read and passed:
                continue
            if not read:
                break
            if self._stretch_to is not None:
                pixels = cv2.resize(pixels, self._stretch_to, interpolation=cv2.INTER_LINEAR)
            image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(number, time_s, image, passed)
        if number < 0:
            raise VideoError(f"{self.name}: no frame in it can be read")
        # By time too: where the frame rate varies, or frames are empty, the number is an estimate.
        few = number + 1 < _ENOUGH * (self.n_frames or 0)  # of a camera never
        early = time_s + 1 / self.fps < _ENOUGH * self._announced_s
        # In a file that holds all that its own structure announces, fewer frames than OpenCV counts
        # are no damage: editors hide frames of a film that they shorten, and sound may go on after
        # the picture.
        if few and early and not is_whole(Path(self.name)):
            raise VideoError(
                f"{self.name}: breaks off after {time_s:.1f} of {self._announced_s:.1f} s, "
                f"{number + 1} frames"
            )

    def _grab(self, so_far: int) -> bool:
        """Whether there is a next frame, after `so_far`; packets without one are passed over."""
        if self._capture.grab():
            return True
        if self.is_camera:
            return False
        missing = min(max(_FEW_LOST, (self.n_frames or 0) - so_far), _MOST_LOST)
        return any(not self._stopped.is_set() and self._capture.grab() for _ in range(missing))

    def _time_of(self, number: int, before: float) -> float:
        """The stream's own time, where it has one that moves on, else from the frame rate."""
        time_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        if self.is_camera:  # whose clock may have been started with the machine
            if number == 0:
                self._opened_s = time_s
            time_s -= self._opened_s
        if not (time_s > before and (number == 0 or time_s > 0)):
            time_s = 0.0 if number == 0 else before + 1 / self.fps
        return round(time_s, 6)


def check_every(every_s: float | None) -> None:
    """Raise `OptionError` for what is no time between frames; None is for all of them."""
    if every_s is not None and not LEAST_EVERY_S <= every_s < math.inf:
        raise OptionError(f"expected every_s of at least {LEAST_EVERY_S:g}, found {every_s}")


def usable_rate(said: float) -> float:
    """Frames a second: what OpenCV says, or a usual rate where nobody films like that.

    Of a stream whose frames come as they like it says the unit of their times, 1000 a second.
    """
    return said if 0 < said <= _MOST_FPS else _USUAL_FPS


def _for_opencv(path: Path) -> str:
    """The whole path: of `12:30.mp4` alone FFmpeg would take `12` for a protocol.

    Raises `VideoError` for a name that is not UTF-8, on which OpenCV crashes.
    """
    whole = str(path.absolute())
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise VideoError(
            f"{path}: expected a name in UTF-8, other videos cannot be opened"
        ) from None
    return whole


class VideoWriter:
    """Writes frames as an .mp4 file that appears whole, with the sound of another where ffmpeg is
    installed."""

    def __init__(self, path: Path, fps: float, sound_of: Path | None = None) -> None:
        self.path = path
        self.fps = fps
        self.sound_of = sound_of
        # The same in every run, so that one that goes on replaces what a killed one has left, and
        # short, however long the path's own name is. Absolute: see `_for_opencv`.
        name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        self._beside = path.absolute().with_name(f"{_UNFINISHED}{name}.mp4")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._shown: npt.NDArray[np.uint8] | None = None  # the frame before, BGR
        self._written = 0  # frames
        self._skipped_s = 0.0  # of gaps that are not filled
        self.lost_sound = False  # whether there was sound that could not be taken over

    def write(self, image: RgbImage, time_s: float) -> None:
        """The frame shown from `time_s` on; one of another size is brought to the first one's.

        The file has a constant rate: where the frames' own is not, each is repeated until the next
        one's time, or left out, so that picture and sound stay together.
        """
        if self._writer is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise VideoError(f"{self.path}: cannot be written: {error.strerror}") from error
            self._size = (image.shape[1], image.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(_for_opencv(self._beside), code, self.fps, self._size)
            if not self._writer.isOpened():
                raise VideoError(f"{self.path}: cannot be written")
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        gap_s = time_s - self._skipped_s - self._written / self.fps
        if gap_s > LONGEST_GAP_S:
            self._skipped_s += gap_s
        place = round((time_s - self._skipped_s) * self.fps)
        while self._written <= place:
            before = bgr if self._shown is None else self._shown
            self._writer.write(bgr if self._written == place else before)
            self._written += 1
        self._shown = bgr

    def close(self, *, done: bool) -> None:
        """Where all frames are `done`, and there were any, the file appears, else nothing stays.

        Raises `VideoError` where it could not be written, or not whole, which OpenCV does not tell.
        """
        if self._writer is None:
            return
        self._writer.release()
        try:
            if done and self._written:
                self._check_whole()
                self._add_sound()
                with self._beside.open("ab") as file:
                    file.write(_OWN)
                self._beside.replace(self.path)
        except OSError as error:
            raise VideoError(f"{self.path}: cannot be written: {error.strerror}") from error
        finally:
            self._beside.unlink(missing_ok=True)

    def _check_whole(self) -> None:
        written = cv2.VideoCapture(str(self._beside), cv2.CAP_FFMPEG)
        try:
            frames = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        finally:
            written.release()
        if frames != self._written:
            raise VideoError(
                f"{self.path}: expected {self._written} frames in it, found {frames}: "
                "is the disk full?"
            )

    def _add_sound(self) -> None:
        ffmpeg = shutil.which("ffmpeg")
        if ffmpeg is None or self.sound_of is None:
            return
        both = self._beside.with_suffix(".sound.mp4")
        late_s = picture_late_s(self.sound_of)
        try:
            for codec in ("copy", "aac"):  # not every sound may stand in an .mp4 as it is
                command = [
                    ffmpeg, "-v", "error", "-nostdin", "-y", "-itsoffset", f"{late_s:.6f}",
                    "-i", str(self._beside), "-i", str(self.sound_of.absolute()),
                    "-map", "0:v", "-map", "1:a?", "-c:v", "copy", "-c:a", codec, str(both),
                    # Of a stream (.ts, .mpg) FFmpeg would else let the sound alone begin at 0.
                    "-map", "1:v:0", "-c", "copy", "-f", "null", "-",
                ]  # fmt: skip
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, check=False
                )
                if done.returncode == 0:
                    both.replace(self._beside)
                    return
        finally:
            both.unlink(missing_ok=True)
        self.lost_sound = True


def picture_late_s(path: Path) -> float:
    """Seconds by which a video's picture begins after its sound; 0 where ffprobe does not say."""
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        return 0.0
    command = [
        ffprobe, "-v", "error", "-select_streams", "v:0", "-show_entries",
        "stream=start_time:format=start_time", "-of", "json", str(path.absolute()),
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        said = json.loads(done.stdout)
        late_s = float(said["streams"][0]["start_time"]) - float(said["format"]["start_time"])
    except (ValueError, LookupError):
        return 0.0
    return max(0.0, late_s)


def is_own(path: Path) -> bool:
    """Was it written by a `VideoWriter`?"""
    try:
        with path.open("rb") as file:
            file.seek(-len(_OWN), os.SEEK_END)
            return file.read() == _OWN
    except OSError:  # unreadable, or shorter than that
        return False


def is_whole(path: Path) -> bool:
    """Is an MP4, Matroska or AVI file as long as its outermost parts say? False too where another
    kind of file does not tell (an MPEG stream has nothing to tell), and where it ends in zeros, as
    when a copy was interrupted.

    ISO/IEC 14496-12 (boxes), RFC 8794 and 9559 (EBML elements, the segment), RIFF.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _LAST))
        if not any(file.read()):
            return False
        file.seek(0)
        head = file.read(12)
        if head[:4] == b"RIFF":
            return 8 + int.from_bytes(head[4:8], "little") <= size
        if head[:4] == _EBML:
            file.seek(4)
            header = _ebml_size(file)
            file.seek(header or 0, os.SEEK_CUR)
            if header is None or file.read(4) != _SEGMENT:
                return False
            segment = _ebml_size(file)
            return segment is not None and file.tell() + segment <= size
        if head[:4] == b"\0\0\1\xba" or b"\x47" in (head[:1], head[4:5]):
            return True  # MPEG streams: what they announce is the last time found in them
        if head[4:8] != b"ftyp":
            return False
        place, kinds = 0, set()
        while place < size:
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # a long one
                length = int.from_bytes(head[8:16], "big")
            kinds.add(head[4:8])
            if length == 0:  # to the end
                return head[4:8] == b"mdat"
            if length < 8 or len(head) < 8:
                return False
            place += length
        return place == size and b"moov" in kinds


def _ebml_size(file: IO[bytes]) -> int | None:
    """The length that an element declares; None where it is left open, as in a live stream."""
    first = file.read(1)
    if not first or first == b"\0":
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
    return None if value == 2 ** (7 * (more + 1)) - 1 else value
