"""Summaries of all that `semblante analyze` found: a page of faces, plots, a table of tracks."""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
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
from semblante.cli.inputs import Clip, Input, Picture, numbered
from semblante.errors import ImageError, VideoError
from semblante.files import identity, key_of_name, write_atomically
from semblante.images import load_image
from semblante.picture_writing import save_picture
from semblante.recognise.sheets import Tile, contact_sheet, tile_of, timeline
from semblante.recognise.video import Video
from semblante.results import Analysis, Face
from semblante.summary import SummaryBuilder, VideoSummary
from semblante.wording import clock

_MOST_TILES = 2000  # tiles are kept in memory until the end


class Overview(ABC):
    """One summary. It gets all results in order, and is told where each input ends."""

    option: ClassVar[str]
    at_the_end: ClassVar[bool] = True  # whether it is written at the end; else input by input

    def __init__(self, place: Path) -> None:
        """`place`: the file to write, or the folder for several files."""
        self.place = place

    @abstractmethod
    def add(self, item: Input, analysis: Analysis) -> None:
        """Add a result of the input `item`: a picture, a frame, or an error."""

    @abstractmethod
    def end(self, item: Input) -> None:
        """The last result of `item` has been added. Raises `ImageError` or `OSError` if a file
        cannot be written, as `write` does."""

    @abstractmethod
    def write(self) -> None:
        """All inputs have ended: write what is not written yet."""


class Overviews:
    """All summaries that the user asked for."""

    def __init__(self, inputs: Sequence[Input], each: Sequence[Overview]) -> None:
        self._inputs = inputs
        self._each = each
        self._at: int | None = None  # the current input
        self.failed = 0  # files that could not be written

    def add(self, number: int, analysis: Analysis) -> None:
        """Add the next result, which is of the input `number`."""
        if number != self._at:
            self._end()
        self._at = number
        for one in self._each:
            one.add(self._inputs[number], analysis)

    def write(self) -> None:
        """Write whatever is not written yet. A file that cannot be written is reported and counted
        in `failed`; the others are still written."""
        self._end()
        for one in self._each:
            self._try(one.write)

    def complain_of_unwritten(self) -> None:
        """Tell the user which summaries are not written because of an interruption."""
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
            if isinstance(error, PermissionError) and os.name == "nt":  # a table open in Excel
                complain(f"{error.filename}: is it open in another program?")
            self.failed += 1


class ContactSheet(Overview):
    """A page of faces by emotion: all faces of pictures, of a video's tracks each emotion once."""

    option = "--contact-sheet"

    def __init__(self, path: Path, language: str, every_s: float | None = None) -> None:
        """`every_s`: seconds between the frames of a video that are analysed. Raises `OptionError`
        if no picture can be written to `path`."""
        super().__init__(checked_picture_file(self.option, path))
        self._language = language
        self._every_s = every_s
        self._tiles: list[Tile] = []
        self._faces: Counter[str] = Counter()  # faces of each emotion, also those without a tile
        # (track, emotion) of the current video: the frame that shows it most clearly, and the face.
        self._moments: dict[tuple[int | None, str], tuple[int, Face]] = {}

    def add(self, item: Input, analysis: Analysis) -> None:
        """Keep a picture's faces; of a frame only those that are clearer than before."""
        if analysis.frame is not None:
            self._keep_moments(analysis.frame, analysis.faces)
        elif isinstance(item, Picture) and analysis.faces:
            self._faces.update(face.emotion for face in analysis.faces)
            if len(self._tiles) >= _MOST_TILES or not item.path.is_file():
                return  # a pipe cannot be read again
            try:
                image = load_image(item.path)
            except ImageError:
                return  # it could be read a moment ago, and its faces are in the results
            self._tiles += [tile_of(image, face, str(item.below)) for face in analysis.faces]

    def end(self, item: Input) -> None:
        """Make a tile for each kept moment of a video, which is read again as far as needed."""
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
            return  # as with a picture in `add`

    def write(self) -> None:
        """Write the page; report how many faces are not on it."""
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
        """Raises `OptionError` if `folder` is a file."""
        check_output_folder(self.option, folder)
        super().__init__(folder)
        self._language = language
        self._frames: list[Analysis] = []  # of the current video
        self._seen = False
        self._taken: set[Hashable] = set()
        self._left: dict[Path, Iterator[Path]] = {}  # names for plots that may be free, by video

    def avoid(self, others: Iterable[Path]) -> None:
        """Overwrite none of these files, which are read, or written by other options."""
        self._taken |= {name for path in others for name in _known_as(path)}

    def add(self, item: Input, analysis: Analysis) -> None:
        """Keep the frames of a video."""
        self._seen |= isinstance(item, Clip)
        if analysis.frame is not None:
            self._frames.append(analysis)

    def end(self, item: Input) -> None:
        """Write the plot of a video; plots keep the sub-folders of their videos."""
        frames, self._frames = self._frames, []
        if not isinstance(item, Clip) or not frames:
            return
        # Videos of one name go on where the last one stopped, as in `annotated_places`.
        names = self._left.setdefault(item.below, numbered(item.below))
        candidates = (self.place / f"{name}.png" for name in names)
        place = next(place for place in candidates if not _known_as(place) & self._taken)
        self._taken |= _known_as(place)
        save_picture(timeline(frames, self._language), place)

    def write(self) -> None:
        """Report if there was no video; the plots are written already."""
        if not self._seen:
            _complain_of_no_video(self)


class TrackTable(Overview):
    """A row for each track of each video."""

    option = "--tracks"

    def __init__(self, path: Path) -> None:
        """Raises `OptionError` if no such table can be written to `path`."""
        check_output_file(self.option, path)
        super().__init__(path)
        self._format = format_of(self.option, path, but=[Format.table])
        self._summing = SummaryBuilder()  # of the current video
        self._summaries: list[VideoSummary] = []

    def add(self, item: Input, analysis: Analysis) -> None:
        """Take in a frame of a video, or its error."""
        if isinstance(item, Clip):
            self._summing.add(analysis)

    def end(self, item: Input) -> None:
        """Keep the summary of a video that has ended."""
        if isinstance(item, Clip):
            self._summaries.append(self._summing.summary())
            self._summing = SummaryBuilder()

    def write(self) -> None:
        """Write the table; without a video, an existing file stays as it is."""
        if not self._summaries:
            _complain_of_no_video(self)
            return
        write_atomically(
            self.place, lambda beside: write_tracks(self._summaries, beside, self._format)
        )


def _complain_of_no_video(overview: Overview) -> None:
    complain(f"{overview.option} {overview.place}: not written: no video among the inputs")


def _known_as(path: Path) -> set[Hashable]:
    """Keys that identify a file: the same before and after it is written."""
    return {identity(path), key_of_name(os.path.realpath(path))}
