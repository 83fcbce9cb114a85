"""The frames of a video file, one after the other, decoded by FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from semblante.errors import VideoError
from semblante.images import RgbImage
from semblante.recognise.mp4 import check_tables

if TYPE_CHECKING:
    from av import VideoFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_USUAL_FPS: Final = 25.0  # where a file tells no frame rate, or an impossible one
_MOST_FPS: Final = 240.0
# A file that ends before this share of its announced duration breaks off. Some only estimate it.
_ENOUGH: Final = 0.9
_LEAST_STEP_S: Final = 0.001  # from frame to frame
_STANDS_STILL: Final = 3  # frames with the same time, after which the clock is ignored
# A timestamp that jumps back further starts another recording in the same file.
PUT_BACK_S: Final = 1.0
_SAME_SHAPE: Final = 0.99  # of the first frame's sides: what is missing is due to rounding
# Codes of colour matrices (ITU-T H.273): that of high-definition television, and "unspecified".
BT709: Final = 1
_UNSPECIFIED: Final = 2
_MOST_HOLES: Final = 1000  # gaps in a file, where no packet is ready
# Formats, as FFmpeg calls them, that name other files or addresses.
_POINTERS: Final = frozenset(
    {"concat", "hls", "dash", "webm_dash_manifest", "imf", "image2", "sdp", "rtp", "rtsp", "sap"}
)
_PLAYLISTS: Final = (b"ffconcat", b"#EXTM3U")  # first bytes of the usual ones


class VideoFile:
    """A video file. Width and height are those at which it is shown: rotated as its camera was
    held, and with square pixels, enlarged so that no detail is lost."""

    def __init__(self, path: Path, max_pixels: int, stopped: threading.Event) -> None:
        """`max_pixels`: the most in a frame. When `stopped` is set, nothing more is decoded.

        Raises `VideoError` where no frame can be read.
        """
        import av  # imported late: it takes a while, and most inputs are pictures

        self.name = str(path)
        self._max_pixels = max_pixels
        self._stopped = stopped
        _check_readable(path)
        self._container: InputContainer | None = None
        self._decoded: Generator[VideoFrame, None, None] | None = None
        try:
            # A larger limit than `max_pixels`, so that the size of too large frames can be told.
            self._container = open_container(path, 2 * max_pixels + 100_000)
            self._container_name = self._container.format.name
            self._stream = self._picture_stream(self._container)
            self._check_size(self._stream.width, self._stream.height)
            self._starts_s = (self._container.start_time or 0) / av.time_base
            # Seconds from the beginning to the last packet, video packet and decoded frame.
            self._reached_s = self._pictures_reached_s = self._decoded_s = 0.0
            self._decoded = self._frames(self._container)
            first = next(self._decoded, None)
            if first is None:
                raise VideoError(f"{path}: no frame in it can be read")
            self.width, self.height = self._shown_size(first)
            self._check_size(self.width, self.height)
        except av.FFmpegError:
            self.close()
            raise VideoError(f"{path}: not a video that can be read") from None
        except BaseException:
            self.close()
            raise
        self._first = first
        self.fps = usable_rate(float(self._stream.guessed_rate or 0))
        self.duration_s = self._announced_s(self._container.duration)
        estimated = round((self.duration_s or 0.0) * self.fps)
        self.n_frames = self._stream.frames or estimated or None
        # From the file's beginning, which may be only sound, to its first frame.
        offset_s = (self._time_of(first) or 0.0) - self._starts_s
        # In an AVI file both begin together; its first frame is only decoded later.
        self.start_offset_s = 0.0 if self._container_name == "avi" else max(0.0, offset_s)

    def _picture_stream(self, container: InputContainer) -> VideoStream:
        from av.stream import Disposition

        cover = Disposition.attached_pic  # of a song
        streams = [one for one in container.streams.video if not one.disposition & cover]
        streams.sort(key=lambda one: not one.disposition & Disposition.default)  # as players do
        if not streams and container.streams.audio:
            raise VideoError(f"{self.name}: there is only sound in it")
        for stream in streams:
            if stream.codec_context is not None:  # None: unknown codec
                stream.thread_type = "AUTO"
                # A frame may be larger than the file announces. Decoders need some room around it.
                most = self._max_pixels * 5 // 4 + 50_000
                stream.codec_context.options = {"max_pixels": str(most)}
                return stream
        raise VideoError(f"{self.name}: not a video that can be read")

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise VideoError(f"{self.name}: frames of {width}x{height} pixels")

    def _true_size(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height of a frame with square pixels, before it is rotated. Films for
        television have wider or narrower pixels."""
        said = self._stream.sample_aspect_ratio  # of PyAV's own type since version 19, or None
        aspect = Fraction(said.numerator, said.denominator) if said else Fraction(1)
        if not 0.2 < aspect < 5:  # nobody films like that
            return frame.width, frame.height
        wide, tall = aspect.limit_denominator(1000).as_integer_ratio()
        return round(frame.width * max(1, wide / tall)), round(frame.height * max(1, tall / wide))

    def _shown_size(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height of a frame with square pixels, rotated."""
        width, height = self._true_size(frame)
        return (height, width) if _quarter_turns(frame) % 2 else (width, height)

    def _announced_s(self, duration: int | None) -> float | None:
        """The duration in seconds that the file announces; None if it does not."""
        import av

        announced_s = (duration or 0) / av.time_base
        if self._container_name == "avi":  # where FFmpeg reports what is really there
            announced_s = max(announced_s, self._stream.frames / self.fps)
        elif "matroska" in self._container_name and announced_s > self._starts_s:
            announced_s -= max(0.0, self._starts_s)  # it counts from 0, wherever timestamps begin
        return announced_s or None

    def pictures(self) -> Iterator[tuple[float, Callable[[], RgbImage]]]:
        """Yield each frame's time in seconds, counted from the first, and a function that returns
        its pixels, which takes time. Raises `VideoError` at the end where the file breaks off."""
        clock = Clock(self.fps)
        time_s, count = 0.0, 0
        for frame in itertools.chain([self._first], self._decoded or ()):
            time_s = clock.next(self._time_of(frame))
            count += 1
            yield time_s, functools.partial(self._pixels, frame)
        if self._breaks_off():
            raise VideoError(
                f"{self.name}: breaks off after {time_s:.1f} of {self.duration_s or 0.0:.1f} s, "
                f"{count} frames"
            )

    def _time_of(self, frame: VideoFrame) -> float | None:
        """A frame's time in seconds by the file's clock; None where the file has none."""
        # An AVI file has only decoding times; FFmpeg derives wrong presentation times from them.
        at = frame.dts if self._container_name == "avi" else frame.pts
        return None if at is None else float(at * (self._stream.time_base or 0))

    def _frames(self, container: InputContainer) -> Generator[VideoFrame, None, None]:
        """Yield all frames that can be decoded, also those after damaged data.

        A packet that was cut off is not decoded: its error would come while the decoder is flushed,
        and PyAV would not ask for the frames behind it, which threads still hold. (In MPEG
        transport streams the mark only means that some packet was lost.)
        """
        ended = False
        for packet in packets_of(container):
            if self._stopped.is_set():
                return
            self._note_reach(packet)
            if packet.stream.index == self._stream.index:
                ended = packet.size == 0  # the last packet, which flushes the decoder
                if not (packet.is_corrupt and self._container_name != "mpegts"):
                    yield from self._frames_of(packet)
        if not ended:
            yield from self._frames_of(None)

    def _frames_of(self, packet: Packet[Any] | None) -> Iterator[VideoFrame]:
        """Yield the frames decoded from a packet; for None, those that threads still hold."""
        import av

        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:  # the packet is damaged
            return
        for frame in frames:
            self._decoded_s = max(self._decoded_s, (self._time_of(frame) or 0.0) - self._starts_s)
            yield frame

    def _note_reach(self, packet: Packet[Any]) -> None:
        """Note how far the file goes, by the time of a packet."""
        at = packet.dts if packet.pts is None else packet.pts
        if at is None:
            return
        begins_s = float(at * packet.time_base) - self._starts_s
        lasts_s = float((packet.duration or 0) * packet.time_base)
        self._reached_s = max(self._reached_s, begins_s + lasts_s)
        if packet.stream.index == self._stream.index:
            self._pictures_reached_s = max(self._pictures_reached_s, begins_s)

    def _breaks_off(self) -> bool:
        """Whether the file has less than it announces, or much after its last frame that cannot be
        decoded.

        Sound may go on after the last frame, and a stream may not tell its duration.
        """
        frame_s = 1 / self.fps
        return (
            self._reached_s + frame_s < _ENOUGH * (self.duration_s or 0.0)
            or self._decoded_s + frame_s < _ENOUGH * self._pictures_reached_s
        )

    def _pixels(self, frame: VideoFrame) -> RgbImage:
        """A frame as it is shown, at the size of the first one. If its shape differs by more than
        rounding, as where a telephone was turned, it is not stretched: black is added around it."""
        wide, tall = self._shown_size(frame)
        scale = min(self.width / wide, self.height / tall)
        size = max(1, round(scale * wide)), max(1, round(scale * tall))
        if min(size[0] / self.width, size[1] / self.height) >= _SAME_SHAPE:
            size = self.width, self.height
        turns = _quarter_turns(frame)
        width, height = size[::-1] if turns % 2 else size
        pixels = frame.to_ndarray(
            format="rgb24", width=width, height=height, src_colorspace=_colorspace(frame)
        )
        pixels = np.rot90(pixels[::-1] if _is_mirrored(frame) else pixels, turns)
        if size != (self.width, self.height):
            left, top = (self.width - size[0]) // 2, (self.height - size[1]) // 2
            canvas = np.zeros((self.height, self.width, 3), np.uint8)
            canvas[top : top + size[1], left : left + size[0]] = pixels
            pixels = canvas
        return np.ascontiguousarray(pixels, np.uint8)

    def close(self) -> None:
        """Close the file. No thread may be decoding it."""
        if self._decoded is not None:
            self._decoded.close()  # it and `self` refer to each other: neither would be freed
        if self._container is not None:
            self._container.close()


def _quarter_turns(frame: VideoFrame) -> int:
    """The quarter turns to the left by which a frame is to be shown, to the nearest one."""
    return round(frame.rotation / 90)


def _is_mirrored(frame: VideoFrame) -> bool:
    """Whether a frame is to be shown upside down as well, before it is rotated: the matrix of its
    transformation then has a negative determinant."""
    from av.sidedata import sidedata

    # Not `frame.side_data`, which the frame keeps and which refers to the frame: both would stay,
    # with the threads that have scaled the frame, until garbage is collected.
    container: Any = sidedata.SideDataContainer  # its types do not tell what it is made from
    data = container(frame).get("DISPLAYMATRIX")
    if data is None:
        return False
    a, b, _, c, d = map(int, np.frombuffer(data, np.int32)[:5])
    return a * d < b * c


def _colorspace(frame: VideoFrame) -> int:
    """The matrix of a frame's colours (ITU-T H.273). If the file does not tell, players take that
    of high-definition television for large frames."""
    large = frame.width >= 1280 or frame.height > 576
    return BT709 if frame.colorspace == _UNSPECIFIED and large else frame.colorspace


def open_container(path: Path, most_pixels: int) -> InputContainer:
    """Open a file of pictures and sound whose frames have at most `most_pixels` pixels; raises
    `av.FFmpegError`.

    Formats that name other files are refused: whoever sent the file may not be allowed to see
    those, and a file that names itself would be opened until file handles or the stack run out.
    """
    import av

    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(sorted(av.formats_available - _POINTERS)),
        "max_pixels": str(most_pixels),  # FFmpeg decodes some frames to find out what they are
    }
    # With its protocol: FFmpeg would take the part of a name before a colon for another one.
    return av.open(f"file:{path}", "r", options=options)


def _check_readable(path: Path) -> None:
    try:
        if path.is_fifo():  # in which one cannot seek
            raise VideoError(f"{path}: expected a file, found a pipe")
        with path.open("rb") as file:
            head = file.read(16)
            if not head:
                raise VideoError(f"{path}: an empty file")
            if head.startswith(_PLAYLISTS):
                raise VideoError(f"{path}: names other files, as a playlist does: give these")
        check_tables(path)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in its name
        raise VideoError(f"{str(path)!r}: cannot be read: {error}") from None


class Clock:
    """Turns the timestamps of a file or camera into times that always increase."""

    def __init__(self, fps: float) -> None:
        self._frame_s = 1 / fps
        self._now_s: float | None = None
        self._began_s = 0.0  # the timestamp of time 0; changes if the clock is put back
        self._reported_s: float | None = None
        self._still = 0  # frames since the timestamp last changed

    def next(self, reported_s: float | None) -> float:
        """The next frame's time in seconds since the first one, to the microsecond; by the frame
        rate where there is no timestamp, or always the same."""
        if self._now_s is None:
            self._now_s, self._began_s, self._reported_s = 0.0, reported_s or 0.0, reported_s
            return 0.0
        self._still = self._still + 1 if reported_s == self._reported_s else 0
        self._reported_s = reported_s
        by_rate = self._now_s + self._frame_s
        if reported_s is None or self._still >= _STANDS_STILL:
            time_s = by_rate
        else:
            if reported_s - self._began_s < self._now_s - PUT_BACK_S:
                self._began_s = reported_s - by_rate  # another recording begins
            # A frame whose timestamp is too early follows at once, or all after it would be late.
            soonest = self._now_s + min(self._frame_s, _LEAST_STEP_S)
            time_s = max(reported_s - self._began_s, soonest)
        self._now_s = round(time_s, 6)
        return self._now_s


def packets_of(container: InputContainer, *streams: AudioStream) -> Iterator[Packet[Any]]:
    """Yield the packets of a file, or of some of its streams, as far as it can be read. The last
    one of each stream is empty, unless the file breaks off."""
    import av

    for _ in range(_MOST_HOLES):
        try:
            yield from container.demux(*streams)
            return
        except av.error.BlockingIOError:  # nothing for now, but more may follow
            continue
        except av.FFmpegError:  # it ends in the midst of a packet
            return


def usable_rate(rate: float) -> float:
    """`rate`, in frames a second, or a usual one if it is impossible.

    For a stream of variable frame rate, a file may give the unit of timestamps: 1000 a second.
    """
    return rate if 0 < rate <= _MOST_FPS else _USUAL_FPS
