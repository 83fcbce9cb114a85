"""Annotated copies of films: H.264 in an .mp4 file, as browsers and telephones play it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from semblante.errors import VideoError, reason_of
from semblante.files import replace_file
from semblante.images import MAX_PIXELS, RgbImage
from semblante.recognise.video import Video
from semblante.recognise.video_file import BT709, PUT_BACK_S, open_container, packets_of

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# Half-written copies' names begin so: they are hidden, and no inputs of a later run.
_UNFINISHED: Final = ".semblante-"
# The end of each copy that this program writes: a box that players skip (ISO/IEC 14496-12, 8.1.2).
_OWN: Final = b"\0\0\0\x11freesemblante"
# Ticks a second, in which frames' times are written. With finer ones, a day between two frames
# would not fit into 32 bits, and a clock may jump by a day.
_CLOCK: Final = 16_000
# Constant quality, hardly distinguishable from the original, encoded so fast that finding faces
# takes most of the time; no frame waits for a later one, whose time may be far away.
_QUALITY: Final = {"crf": "20", "preset": "veryfast", "bf": "0"}
# Decoder names of the sound that all players expect in an .mp4 file, and the least samples a second
# that it must have there to be copied as it is; other sound is encoded anew.
_LEAST_HZ: Final = {"aac": 1, "mp3": 16_000, "mp3float": 16_000}
_USUAL_HZ: Final = 48_000
_LONGEST_SIDE: Final = 16_384  # pixels of a frame that the encoder accepts
_LONGEST_DRIFT_S: Final = 0.1  # of sound that is encoded anew, from its own timestamps


class VideoWriter:
    """Writes frames to an .mp4 file, with the sound of the film it copies; the file appears only
    when it is complete."""

    def __init__(self, path: Path, fps: float, original: Video | None = None) -> None:
        """`fps`: about how many frames a second will be written. Each is shown at its own time, the
        last for 1 / `fps` seconds, though not beyond the film's end."""
        self.path = path
        self.fps = fps
        self.original = original
        self.lost_sound = False  # whether some of it could not be copied
        # The same in every run, so that a resumed run replaces what a killed one has left, and
        # short, however long the path's own name is.
        name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        self._unfinished = path.with_name(f"{_UNFINISHED}{name}.mp4")
        self._container: OutputContainer | None = None
        self._pictures: VideoStream
        self._sound: _Sound | None = None
        self._start_offset_s = 0.0  # seconds by which the picture begins after the sound
        self._size = (0, 0)  # of the first frame; others are resized to it
        self._last_tick = -1  # at which the last frame is shown
        self._failed = False

    def write(self, image: RgbImage, time_s: float) -> None:
        """Write the frame shown from `time_s` on; another size than the first one's is resized.

        Raises `VideoError` where the file cannot be written.
        """
        import av

        try:
            if self._container is None:
                self._begin(image)
            # The copy begins with the film, which may have sound before its first frame.
            tick = round((self._start_offset_s + time_s) * _CLOCK)
            if tick <= self._last_tick:
                return
            self._last_tick = tick
            self._take_sound(tick / _CLOCK)
            self._put(self._pictures.encode(self._frame(image, tick)))
        except (OSError, av.FFmpegError) as error:
            self._failed = True
            raise self._unwritten(error) from error

    def close(self, *, done: bool) -> None:
        """If all frames are `done`, and there were any, complete the file, else leave nothing.

        Raises `VideoError` where it could not be written to its end.
        """
        import av

        if self._container is None:
            return
        done = done and not self._failed and self._last_tick >= 0
        try:
            if done:
                self._take_sound(math.inf)
                self._put(self._pictures.encode(None), self._left_s())
                self._container.close()
                with self._unfinished.open("ab") as file:
                    file.write(_OWN)
                replace_file(self._unfinished, self.path)
        except (OSError, av.FFmpegError) as error:
            raise self._unwritten(error) from error
        finally:
            self._drop_sound()
            with contextlib.suppress(OSError, av.FFmpegError):
                self._container.close()  # still open if it is unwanted or incomplete
            with contextlib.suppress(OSError):  # another program may hold it open
                self._unfinished.unlink(missing_ok=True)

    def _unwritten(self, error: Exception) -> VideoError:
        reason = getattr(error, "strerror", None) or reason_of(error)
        return VideoError(f"{self.path}: cannot be written: {reason}")

    def _begin(self, image: RgbImage) -> None:
        """Open the file with the film's sound, or without it if it cannot be written."""
        import av

        height, width = image.shape[:2]
        if max(width, height) > _LONGEST_SIDE:
            raise VideoError(
                f"{self.path}: cannot be written: frames of {width}x{height} pixels; "
                f"H.264 takes at most {_LONGEST_SIDE} a side"
            )
        try:
            self._open(image, self.original)
        except av.FFmpegError as error:
            if self._sound is None or isinstance(error, OSError):
                raise
            self._drop_sound()
            with contextlib.suppress(av.FFmpegError):  # the file has no header
                self._container.close()  # type: ignore[union-attr]
            self._start_offset_s = 0.0
            self._open(image, None)
            self.lost_sound = True

    def _open(self, image: RgbImage, original: Video | None) -> None:
        import av

        self.path.parent.mkdir(parents=True, exist_ok=True)
        # What players need first is put at the file's beginning, for those that download it.
        self._container = av.open(
            f"file:{self._unfinished}", "w", format="mp4", options={"movflags": "+faststart"}
        )
        rate = Fraction(self.fps).limit_denominator(1001)
        self._pictures = pictures = self._container.add_stream("h264", rate=rate, options=_QUALITY)
        self._size = (image.shape[1], image.shape[0])
        # Colours are stored for two by two pixels: sides must be even.
        pictures.width, pictures.height = (side + side % 2 for side in self._size)
        pictures.pix_fmt = "yuv420p"
        # As all films of today have them.
        pictures.colorspace = pictures.color_primaries = pictures.color_trc = BT709
        pictures.codec_context.time_base = Fraction(1, _CLOCK)
        if original is not None:
            self._sound = _Sound(original)
            self._start_offset_s = self._sound.start_offset_s
            self.lost_sound = self._sound.incomplete
            self._sound.begin(self._container)
        self._container.start_encoding()

    def _frame(self, image: RgbImage, tick: int) -> VideoFrame:
        import av

        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        odd = [(0, side % 2) for side in image.shape[:2]]
        if any(more for _, more in odd):
            image = np.pad(image, [*odd, (0, 0)], "edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=BT709)
        frame.pts = tick
        frame.time_base = Fraction(1, _CLOCK)
        return frame

    def _put(self, packets: list[Packet[VideoStream]], lasts_s: float = 0.0) -> None:
        """Write packets. `lasts_s`: how long the last frame is shown; others until the next."""
        assert self._container is not None
        for packet in packets:
            packet.duration = round(lasts_s * _CLOCK)
            self._container.mux(packet)

    def _left_s(self) -> float:
        """Seconds for which the last frame is shown: not beyond the film's end, if known."""
        ends_s = (self.original.duration_s if self.original is not None else None) or math.inf
        left_s = ends_s - self._last_tick / _CLOCK
        return min(1 / self.fps, left_s if left_s > 0 else math.inf)

    def _take_sound(self, until_s: float) -> None:
        """Write the sound up to the time of the picture, so that neither waits for the other."""
        import av

        if self._sound is None or self._container is None:
            return
        try:
            for packet in self._sound.packets(until_s):
                self._container.mux(packet)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):  # in writing the copy, on a full disk say
                raise
            self.lost_sound = True
            self._drop_sound()

    def _drop_sound(self) -> None:
        if self._sound is not None:
            self._sound.close()
            self._sound = None


class _Sound:
    """All sound tracks of a film, for its copy."""

    def __init__(self, original: Video) -> None:
        import av

        self._container = open_container(Path(original.name), MAX_PIXELS)
        # There is no decoder for an unknown codec.
        known = [one for one in self._container.streams.audio if one.codec_context is not None]
        self.incomplete = len(known) < len(self._container.streams.audio)
        self._streams = known
        self.start_offset_s = original.start_offset_s if known else 0.0
        self._began_s = (self._container.start_time or 0) / av.time_base
        self._tracks: dict[int, _Copied | _Encoded] = {}
        self._coming = packets_of(self._container, *known) if known else iter(())
        self._ended: dict[int, int] = {}  # where the last packet of each track ended
        self._put_back: dict[int, int] = {}  # by how much each track's times are shifted
        self._waiting: Packet[Any] | None = None

    def begin(self, copy: OutputContainer) -> None:
        """Add the tracks to a copy whose file has not begun."""
        for stream in self._streams:
            usual = stream.rate >= _LEAST_HZ.get(stream.codec_context.name, math.inf)
            # A file may not tell the number of channels, without which a track cannot be copied.
            kind = _Copied if usual and stream.channels else _Encoded
            self._tracks[stream.index] = kind(stream, copy)
        self._waiting = self._next_packet()

    def close(self) -> None:
        """Close the film."""
        self._coming = iter(())
        self._container.close()

    def packets(self, until_s: float) -> Iterator[Packet[AudioStream]]:
        """Yield the packets to be written, up to `until_s` seconds after the film's beginning."""
        while self._waiting is not None:
            packet = self._waiting
            if packet.dts is not None and float(packet.dts * packet.time_base) > until_s:
                return
            yield from self._tracks[packet.stream.index].packets(packet)
            self._waiting = self._next_packet()

    def _next_packet(self) -> Packet[Any] | None:
        """The next packet, or None at the end. Its times count from the film's beginning, whatever
        time that has in the file; they continue where timestamps jump back, as another recording
        begins in the same file."""
        packet = next(self._coming, None)
        if packet is None or packet.size == 0:
            return packet
        index, began = packet.stream.index, round(self._began_s / packet.time_base)
        ended = self._ended.get(index)
        if packet.dts is None:  # some streams tell it of some packets only
            packet.dts = began if ended is None else ended
        if ended is not None and (ended - packet.dts) * packet.time_base > PUT_BACK_S:
            self._put_back[index] = self._put_back.get(index, 0) + ended - packet.dts
        self._ended[index] = packet.dts + (packet.duration or 0)
        shift = self._put_back.get(index, 0) - began
        packet.pts = (packet.dts if packet.pts is None else packet.pts) + shift
        packet.dts += shift
        return packet


class _Copied:
    """A track that is copied as it is."""

    def __init__(self, track: AudioStream, copy: OutputContainer) -> None:
        self._track = copy.add_stream_from_template(track)
        self._last = -math.inf

    def packets(self, packet: Packet[AudioStream]) -> Iterator[Packet[AudioStream]]:
        if packet.size == 0 or packet.dts is None or packet.dts <= self._last:
            return  # the last one, or it overlaps the one before, as between joined recordings
        self._last = packet.dts
        packet.stream = self._track
        yield packet


class _Encoded:
    """A track that is encoded as AAC, with at most two channels: more do not play everywhere."""

    def __init__(self, track: AudioStream, copy: OutputContainer) -> None:
        import av

        known = av.Codec("aac", "w").audio_rates or ()
        rate = track.rate if track.rate in known else _USUAL_HZ
        self._source = track
        layout = "mono" if track.channels == 1 else "stereo"
        self._track = copy.add_stream("aac", rate=rate, layout=layout)
        self._track.codec_context.open()
        self._resampler: AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None  # of its input
        self._samples = -math.inf  # written so far, by the copy's clock

    def packets(self, packet: Packet[AudioStream]) -> Iterator[Packet[AudioStream]]:
        """Yield the encoded packets; the last `packet` is empty, which flushes what is left."""
        import av

        try:
            heard = self._source.decode(packet)
        except av.FFmpegError:  # damaged
            heard = []
        for frame in heard:
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind != self._kind:  # as between a television film and advertisements
                yield from self._resampled(None)
                self._kind, self._resampler = kind, self._new_resampler()
            yield from self._resampled(frame)
        if packet.size == 0:
            yield from self._resampled(None)
            yield from self._track.encode(None)

    def _new_resampler(self) -> AudioResampler:
        import av

        return av.AudioResampler(
            format=self._track.format,
            layout=self._track.layout,
            rate=self._track.rate,
            frame_size=self._track.frame_size,
        )

    def _resampled(self, frame: AudioFrame | None) -> Iterator[Packet[AudioStream]]:
        """Encode a frame, in frames of the size that AAC needs; None flushes, at the end."""
        for even in self._resampler.resample(frame) if self._resampler else ():
            even.pts, even.time_base = self._place(even), Fraction(1, even.sample_rate)
            yield from self._track.encode(even)

    def _place(self, frame: AudioFrame) -> int:
        """Position of a frame's first sample: after the last one, unless there is a gap. The
        resampler's own times are those of its input frames, which are longer or shorter."""
        reported = round((frame.time or 0.0) * frame.sample_rate)
        if abs(reported - self._samples) > _LONGEST_DRIFT_S * frame.sample_rate:
            self._samples = max(reported, self._samples)
        place = self._samples
        self._samples += frame.samples
        return int(place)


def is_own(path: Path) -> bool:
    """Whether a `VideoWriter` wrote the file."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_OWN), os.SEEK_END)
            return file.read() == _OWN
    except OSError:  # unreadable, or shorter than that
        return False
