"""Analyse the inputs one after another, and write their annotated copies on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2

from semblante.cli.checks import complain
from semblante.cli.inputs import Input, Picture, Unreadable
from semblante.errors import ImageError, VideoError, reason_of
from semblante.files import identities
from semblante.images import RgbImage, colour_profile
from semblante.picture_writing import encoded_png, save_file, save_picture
from semblante.recognise.annotate import annotate, pixelated
from semblante.recognise.pipeline import SEARCH_EVERY_S, Analyzer
from semblante.recognise.tracks import tracker_for
from semblante.recognise.video import Video
from semblante.recognise.video_writer import VideoWriter
from semblante.results import Analysis, Box

# Lowest frame rate of a video's copy, 1/s: the copy's last frame is shown for 1 / rate seconds.
_LEAST_RATE: Final = 0.1


@dataclass(frozen=True)
class Result:
    """The result of an input, or of a frame of a video."""

    number: int  # of the input, from 0
    analysis: Analysis | None  # None if this only tells that a video has ended
    ended: bool
    share: float = 0.0  # 0..1: how much of the input is done; 0 if a video's length is unknown


@dataclass(frozen=True)
class Work:
    """The inputs to analyse, and the settings."""

    analyzer: Analyzer
    inputs: Sequence[Input]
    places: dict[int, Path]  # of annotated copies, by the input's number
    crops: dict[int, Path]  # as `places`: what the names of its faces' pictures begin with
    every_s: float | None
    smoothing_s: float | None
    lang: str
    blur: bool
    # `identities` of files that no face's picture may overwrite.
    kept: frozenset[Hashable] = frozenset()

    def results(self, first: int = 0) -> Iterator[Result]:
        """Yield all results from the input `first` on; annotated copies are written on the way."""
        numbered = list(enumerate(self.inputs))[first:]
        for kind, group in itertools.groupby(numbered, key=lambda item: type(item[1])):
            if kind is Picture:
                yield from self._pictures(list(group))
                continue
            for number, item in group:
                if isinstance(item, Unreadable):
                    analysis = Analysis(str(item.path), None, None, error=item.error)
                    yield Result(number, analysis, ended=True)
                else:
                    yield from self._clip(number, item.path)

    def _pictures(self, items: list[tuple[int, Input]]) -> Iterator[Result]:
        results = self.analyzer.analyze_many_with_pixels(item.path for _, item in items)
        for (number, item), (analysis, pixels) in zip(items, results, strict=True):
            if pixels is not None:  # it was read
                unwritten = self._save(number, item.path, analysis, pixels)
                analysis = replace(analysis, error="; ".join(unwritten) or None)
            yield Result(number, analysis, ended=True)

    def _save(self, number: int, path: Path, analysis: Analysis, pixels: RgbImage) -> Iterator[str]:
        """Write a picture's copy and its faces, as far as asked for; yield why one is not."""
        wanted = number in self.places or number in self.crops
        profile = colour_profile(path) if wanted else None
        if number in self.crops:
            boxes = enumerate((face.box for face in analysis.faces), start=1)
            pictures = {nth: encoded_png(box.crop(pixels), profile) for nth, box in boxes}
            yield from self._save_faces(number, pictures)
        if number in self.places:
            drawn = self._drawn(pixels, analysis, [face.box for face in analysis.faces])
            try:
                save_picture(drawn, self.places[number], profile)
            except ImageError as error:
                yield str(error)

    def _save_faces(self, number: int, pictures: Mapping[int, bytes]) -> Iterator[str]:
        """Write the pictures of an input's faces, by their number or track; yield why one is
        not."""
        name = self.crops[number]
        for nth, data in pictures.items():
            place = name.with_name(f"{name.name}-{nth}.png")
            if not self.kept.isdisjoint(identities(place)):
                yield f"{place}: not overwritten by a face, since it is read or written otherwise"
                continue
            try:
                save_file(data, place)
            except ImageError as error:
                yield str(error)

    def _clip(self, number: int, path: Path) -> Iterator[Result]:
        """Yield the results of a video's frames as they come, at the end an error of the video or
        of its copy, if there is one."""
        try:
            video = Video(path)
        except VideoError as failure:
            yield Result(number, Analysis(str(path), None, None, error=str(failure)), ended=True)
            return
        copy = _Copy(self._writer(number, video), path)
        tracker = tracker_for(self.every_s, self.smoothing_s)
        frames = self.analyzer.analyze_video_with_pixels(
            video,
            every_s=self.every_s,
            # A face that is to be hidden must be found in its first frame.
            search_every_s=0.0 if self.blur else SEARCH_EVERY_S,
            tracker=tracker,
        )
        unread: str | None = None  # what is wrong with the video
        clearest = _ClearestFaces()
        try:
            with copy:
                for analysis, pixels in frames:
                    if number in self.crops:
                        clearest.add(analysis, pixels)
                    time_s = analysis.time_s or 0.0
                    if copy.is_wanted:
                        # Also hides faces whose track does not count yet, or is lost for a moment.
                        copy.write(self._drawn(pixels, analysis, tracker.boxes), time_s)
                    share = time_s / (video.duration_s or math.inf)
                    yield Result(number, analysis, ended=False, share=min(1.0, share))
        except VideoError as failure:
            unread = str(failure)
        except (cv2.error, MemoryError) as failure:  # because of a frame's size, for example
            unread = f"{path}: could not be searched: {reason_of(failure)}"
        unwritten = self._save_faces(number, clearest.pictures) if number in self.crops else ()
        error = "; ".join(filter(None, (unread, copy.error, *unwritten)))
        at_end = None
        if unread is not None:
            at_end = Analysis(str(path), None, None, error=error)
        elif error:  # with the video's size, which tells that it was read
            at_end = Analysis(str(path), video.width, video.height, error=error)
        yield Result(number, at_end, ended=True)

    def _writer(self, number: int, video: Video) -> VideoWriter | None:
        """The writer of a video's annotated copy, if one is asked for."""
        if number not in self.places:
            return None
        rate = video.fps
        if self.every_s is not None:
            rate = min(rate, max(_LEAST_RATE, 1 / self.every_s))
        return VideoWriter(self.places[number], rate, video)

    def _drawn(self, pixels: RgbImage, analysis: Analysis, hidden: Sequence[Box]) -> RgbImage:
        if self.blur:
            pixels = pixelated(pixels, hidden)
        return annotate(pixels, analysis.faces, self.lang)


class _ClearestFaces:
    """A picture of each track's face, from the frame where the estimate is the surest."""

    def __init__(self) -> None:
        self._faces: dict[int, tuple[float, bytes]] = {}  # probability and PNG file, by track

    def add(self, analysis: Analysis, pixels: RgbImage) -> None:
        """Look at the next frame."""
        for face in analysis.faces:
            track = face.track or 0
            if track not in self._faces or face.probability > self._faces[track][0]:
                self._faces[track] = face.probability, encoded_png(face.box.crop(pixels))

    @property
    def pictures(self) -> dict[int, bytes]:
        """PNG files, by track."""
        return {track: picture for track, (_, picture) in self._faces.items()}


class _Copy:
    """The annotated copy of a video, if there is a `writer`. Why it cannot be written is noted in
    `error` and not raised, since the results are still wanted.

    The `with` block reads the video: the copy is complete when it ends, or when the video breaks
    off (`VideoError`); any other exception discards it.
    """

    def __init__(self, writer: VideoWriter | None, original: Path) -> None:
        self._writer = writer
        self._original = original
        self.error: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether more frames are to be written."""
        return self._writer is not None and self.error is None

    def write(self, frame: RgbImage, time_s: float) -> None:
        """See `VideoWriter.write`."""
        assert self._writer is not None
        try:
            self._writer.write(frame, time_s)
        except VideoError as failure:
            self.error = str(failure)

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, raised: BaseException | None, __: object) -> None:
        if self._writer is None:
            return
        done = raised is None or isinstance(raised, VideoError)
        try:
            self._writer.close(done=done)
        except VideoError as failure:
            self.error = self.error or str(failure)
            return
        if done and self._writer.lost_sound:
            place = self._writer.path
            complain(f"{place}: its sound could not be taken over from {self._original}")
