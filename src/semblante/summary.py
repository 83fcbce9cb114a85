"""Summaries of videos: what each track (a person, while they could be followed) showed overall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from semblante.emotions import EMOTIONS
from semblante.errors import OptionError, VideoError
from semblante.results import Analysis

_DIGITS: Final = 5  # of shares and probabilities in files


@dataclass(frozen=True)
class TrackSummary:
    """One track: a person, for as long as they could be followed.

    `first_s` and `last_s`: when they were first and last seen, in seconds. `frames`: the number of
    analysed frames in which they were seen. `probabilities`: the mean of each of
    `semblante.EMOTIONS` over these frames, and `emotion` the most probable. `shares`: of these
    frames, in which each was the most probable. Both add up to 1.
    """

    track: int
    first_s: float
    last_s: float
    frames: int
    emotion: str
    probabilities: dict[str, float] = field(hash=False)
    shares: dict[str, float] = field(hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is written in JSON; probabilities and shares are rounded to 5 digits."""
        return {
            "track": self.track,
            "first_s": self.first_s,
            "last_s": self.last_s,
            "frames": self.frames,
            "emotion": self.emotion,
            "probabilities": _rounded(self.probabilities),
            "shares": _rounded(self.shares),
        }


@dataclass(frozen=True)
class VideoSummary:
    """A whole video, or the part of it that could be read.

    `path`: None for a camera. `frames`: the number of analysed frames. `tracks`: in the order of
    their numbers. `error`: one line, why it was not read to its end, or its copy not written.
    """

    path: str | None
    frames: int
    tracks: tuple[TrackSummary, ...]
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is written in JSON."""
        return {
            "path": self.path,
            "frames": self.frames,
            "tracks": [track.to_dict() for track in self.tracks],
            "error": self.error,
        }


class SummaryBuilder:
    """Builds a video's summary frame by frame; memory grows only with the number of tracks."""

    def __init__(self) -> None:
        self._tracks: dict[int, _TrackSums] = {}
        self._path: str | None = None
        self.frames = 0  # added so far
        self._error: str | None = None

    def add(self, analysis: Analysis) -> None:
        """Add the next frame, or the last analysis, which says why the video could not be read.
        A frame that could not be read (of `analyze_frames`) does not count."""
        self._path = analysis.path
        if analysis.frame is None:
            self._error = self._error or analysis.error
        if analysis.frame is None or analysis.error is not None:
            return
        self.frames += 1
        time_s = analysis.time_s or 0.0
        for face in analysis.faces:
            number = face.track or 0  # faces without a track number are counted as one track
            sums = self._tracks.setdefault(number, _TrackSums(time_s))
            sums.last_s = time_s
            sums.frames += 1
            sums.showing[face.emotion] += 1
            for emotion, probability in face.probabilities.items():
                sums.probabilities[emotion] += probability

    def summary(self) -> VideoSummary:
        """Return the summary of all frames added, with tracks in the order of their numbers."""
        tracks = tuple(sums.summary(track) for track, sums in sorted(self._tracks.items()))
        return VideoSummary(self._path, self.frames, tracks, self._error)


def summarize(frames: Iterable[Analysis]) -> VideoSummary:
    """Return what each track showed in a video; `frames` are what `Analyzer.analyze_video` gives.

    A video that breaks off is summarised as far as it could be read, with its `error`; where
    `frames` raises `VideoError` before any frame, so does this. Raises `OptionError` for what is
    not the frames of one video in order, such as the `Analysis` of a picture.
    """
    builder = SummaryBuilder()
    try:
        for analysis in _frames_of_one_video(frames):
            builder.add(analysis)
    except VideoError as error:
        if not builder.frames:
            raise
        return replace(builder.summary(), error=str(error))
    return builder.summary()


def _frames_of_one_video(frames: Iterable[Analysis]) -> Iterator[Analysis]:
    """Yield `frames`; raises `OptionError` unless they are frames of one video in order."""
    if not isinstance(frames, Iterable):
        raise OptionError(
            "expected the frames that `analyze_video` gives, found a single "
            f"{type(frames).__name__}"
        )
    before: Analysis | None = None
    for analysis in frames:
        found = None
        if not isinstance(analysis, Analysis):
            found = type(analysis).__name__
        elif analysis.frame is None and analysis.error is None:
            found = "a picture"
        elif any(face.track is None for face in analysis.faces):
            found = "faces without a track"
        if found is not None:
            raise OptionError(f"expected the frames that `analyze_video` gives, found {found}")
        if before is not None and not _follows(analysis, before):
            raise OptionError(
                f"expected the frames of one video in order, found frame {analysis.frame} of "
                f"{analysis.path} after frame {before.frame} of {before.path}"
            )
        yield analysis
        before = analysis


def _follows(analysis: Analysis, before: Analysis) -> bool:
    if analysis.path != before.path or before.frame is None:
        return False
    return analysis.frame is None or analysis.frame > before.frame


@dataclass
class _TrackSums:
    """The sums over the frames of one track."""

    first_s: float
    last_s: float = 0.0
    frames: int = 0
    showing: Counter[str] = field(default_factory=Counter)
    probabilities: dict[str, float] = field(default_factory=lambda: dict.fromkeys(EMOTIONS, 0.0))

    def summary(self, track: int) -> TrackSummary:
        mean = {emotion: total / self.frames for emotion, total in self.probabilities.items()}
        shares = {emotion: self.showing[emotion] / self.frames for emotion in EMOTIONS}
        likeliest = max(EMOTIONS, key=lambda emotion: mean[emotion])
        return TrackSummary(track, self.first_s, self.last_s, self.frames, likeliest, mean, shares)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in values.items()}
