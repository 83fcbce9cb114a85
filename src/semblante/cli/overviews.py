"""What `semblante analyze` makes of all it found: a page of faces, plots, a table of tracks."""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from semblante.cli.checks import (
    check_output_file,
    check_output_folder,
    checked_picture_file,
    complain,
    complain_of,
)
from semblante.cli.formats import Format, format_of, write_tracks
from semblante.cli.inputs import Clip, Input, Picture
from semblante.errors import ImageError, VideoError
from semblante.files import identity, key_of_name, write_atomically
from semblante.images import load_image, save_picture
from semblante.recognise.sheets import Tile, contact_sheet, tile_of, timeline
from semblante.recognise.video import Video
from semblante.results import Analysis, Face
from semblante.summary import Summing, VideoSummary
from semblante.wording import clock

_MOST_TILES = 2000  # they are kept in memory until the end


class Overview(ABC):
    """One of them. It is given all results in order, and told where each input ends."""

    option: ClassVar[str]
    at_the_end: ClassVar[bool] = True  # when it is written; else bit by bit

    def __init__(self, place: Path) -> None:
        """`place`: the file that it is, or the folder of its files."""
        self.place = place

    @abstractmethod
    def add(self, item: Input, analysis: Analysis) -> None:
        """Found in the input `item`: a picture, a frame, or what is wrong with it."""

    @abstractmethod
    def end(self, item: Input) -> None:
        """No more of it will come. Raises `ImageError` or `OSError` where what is written then
        cannot be, as `write` does."""

    @abstractmethod
    def write(self) -> None:
        """Nothing more will come."""


class Overviews:
    """All that are wanted; nothing is kept that none of them needs."""

    def __init__(self, inputs: Sequence[Input], each: Sequence[Overview]) -> None:
        self._inputs = inputs
        self._each = each
        self._at: int | None = None  # the input at hand
        self.failed = 0  # files that could not be written

    def add(self, number: int, analysis: Analysis) -> None:
        """The next that was found, in the input of this number."""
        if number != self._at:
            self._end()
        self._at = number
        for one in self._each:
            one.add(self._inputs[number], analysis)

    def write(self) -> None:
        """Whatever is not written yet. What cannot be written keeps back nothing else: it is told
        of, and `failed` counts it."""
        self._end()
        for one in self._each:
            self._try(one.write)

    def complain_of_unwritten(self) -> None:
        """Say what an interruption leaves unwritten."""
        for one in self._each:
            if one.at_the_end:
                complain(f"{one.option} {one.place}: not written, since not all inputs are done")

    def _end(self) -> None:
        if self._at is not None:
            for one in self._each:
                self._try(functools.partial(one.end, self._inputs[self._at]))
        self._at = None

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (ImageError, OSError) as error:
            complain_of(error)
            if isinstance(error, PermissionError) and os.name == "nt":  # a table, in Excel
                complain(f"{error.filename}: is it open in another program?")
            self.failed += 1


class ContactSheet(Overview):
    """A page of faces by emotion: of pictures all, of a video's tracks each emotion once."""

    option = "--contact-sheet"

    def __init__(self, path: Path, language: str, every_s: float | None = None) -> None:
        """`every_s`: between the frames of videos that are given. Raises `OptionError` where no
        picture can be written to `path`."""
        super().__init__(checked_picture_file(self.option, path))
        self._language = language
        self._every_s = every_s
        self._tiles: list[Tile] = []
        self._faces: Counter[str] = Counter()  # of each emotion, with those that get no tile
        # In which frame each of a video's tracks showed each emotion most clearly.
        self._moments: dict[tuple[int | None, str], tuple[int, Face]] = {}

    def add(self, item: Input, analysis: Analysis) -> None:
        """A picture's faces; of a frame those that show something more clearly than before."""
        if analysis.frame is not None:
            self._keep_moments(analysis.frame, analysis.faces)
        elif isinstance(item, Picture) and analysis.faces:
            self._faces.update(face.emotion for face in analysis.faces)
            if len(self._tiles) >= _MOST_TILES or not item.path.is_file():
                return  # a pipe is read once
            try:
                image = load_image(item.path)
            except ImageError:
                return  # it was there a moment ago, and its faces are in the results
            self._tiles += [tile_of(image, face, str(item.below)) for face in analysis.faces]

    def end(self, item: Input) -> None:
        """Of a video a tile for each moment: it is read once more, as far as is needed."""
        moments, self._moments = self._moments, {}
        if not isinstance(item, Clip) or not moments:
            return
        self._faces.update(emotion for _, emotion in moments)
        wanted: dict[int, list[Face]] = {}
        for number, face in moments.values():
            wanted.setdefault(number, []).append(face)
        if len(self._tiles) >= _MOST_TILES:
            return
        try:
            for frame in Video(item.path).frames(self._every_s):
                for face in wanted.pop(frame.number, []):
                    when = f"#{face.track} {clock(frame.time_s)}"
                    self._tiles.append(tile_of(frame.image, face, str(item.below), when))
                if not wanted:
                    break
        except VideoError:
            return  # as with pictures

    def write(self) -> None:
        """The page; says how many faces are not on it."""
        page = contact_sheet(self._tiles, self._language, self._faces)
        save_picture(page, self.place)
        if hidden := self._faces.total() - len(self._tiles):
            complain(f"--contact-sheet {self.place}: {hidden} more faces are not shown on it")

    def _keep_moments(self, frame: int, faces: Iterable[Face]) -> None:
        for face in faces:
            shown = (face.track, face.emotion)
            before = self._moments.get(shown)
            if before is None or face.probability > before[1].probability:
                self._moments[shown] = frame, face


class Timelines(Overview):
    """A plot of each video's emotions over time."""

    option = "--timeline"
    at_the_end = False

    def __init__(self, folder: Path, language: str) -> None:
        """Raises `OptionError` where `folder` is none."""
        check_output_folder(self.option, folder)
        super().__init__(folder)
        self._language = language
        self._frames: list[Analysis] = []  # of the video at hand
        self._seen = False
        self._taken: set[Hashable] = set()

    def avoid(self, others: Iterable[Path]) -> None:
        """None is to replace one of these: what is read or written besides."""
        self._taken |= {name for path in others for name in _known_as(path)}

    def add(self, item: Input, analysis: Analysis) -> None:
        """The frames of a video."""
        self._seen |= isinstance(item, Clip)
        if analysis.frame is not None:
            self._frames.append(analysis)

    def end(self, item: Input) -> None:
        """Plots lie as the videos lay in their folders."""
        frames, self._frames = self._frames, []
        if not isinstance(item, Clip) or not frames:
            return
        place, number = self.place / f"{item.below}.png", 1
        # Of two with one name the second becomes NAME-2.
        while _known_as(place) & self._taken:
            number += 1
            place = self.place / f"{item.below.with_stem(f'{item.below.stem}-{number}')}.png"
        self._taken |= _known_as(place)
        save_picture(timeline(frames, self._language), place)

    def write(self) -> None:
        """All are written already; says so if there was no video."""
        if not self._seen:
            _complain_of_no_video(self)


class TrackTable(Overview):
    """A row for each track of each video."""

    option = "--tracks"

    def __init__(self, path: Path) -> None:
        """Raises `OptionError` where no such table can be written to `path`."""
        check_output_file(self.option, path)
        super().__init__(path)
        self._format = format_of(self.option, path, but=[Format.table])
        self._summing = Summing()  # the video at hand
        self._summaries: list[VideoSummary] = []

    def add(self, item: Input, analysis: Analysis) -> None:
        """The frames of a video, or what is wrong with it."""
        if isinstance(item, Clip):
            self._summing.add(analysis)

    def end(self, item: Input) -> None:
        """Adds up the video."""
        if isinstance(item, Clip):
            self._summaries.append(self._summing.summary())
            self._summing = Summing()

    def write(self) -> None:
        """The table; where there was no video, an earlier one stays as it is."""
        if not self._summaries:
            _complain_of_no_video(self)
            return
        write_atomically(
            self.place, lambda beside: write_tracks(self._summaries, beside, self._format)
        )


def _complain_of_no_video(overview: Overview) -> None:
    complain(f"{overview.option} {overview.place}: not written: no video among the inputs")


def _known_as(path: Path) -> set[Hashable]:
    """What tells a file from others, before it is written and afterwards."""
    return {identity(path), key_of_name(os.path.realpath(path))}
