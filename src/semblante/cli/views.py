"""What `semblante analyze` makes of all it found: contact sheet, timelines, a table of tracks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from semblante.cli.checks import complain
from semblante.cli.formats import follows, write_tracks
from semblante.errors import ImageError, VideoError
from semblante.files import identity, key_of_name, write_atomically
from semblante.images import RgbImage, load_image, save_picture
from semblante.recognise.sheets import Tile, clock, contact_sheet, tile_of, timeline
from semblante.recognise.video import Video
from semblante.results import Analysis, Face
from semblante.summary import Summing, VideoSummary

_MOST_TILES = 2000  # they are kept in memory until the end


class Views:
    """Give it every result, in order, and let it write at the end."""

    def __init__(
        self,
        sheet: Path | None,
        timelines: Path | None,
        language: str,
        below: Mapping[str, Path] = MappingProxyType({}),
        others: Iterable[Path] = (),
        every_s: float | None = None,
        tracks: Path | None = None,
    ) -> None:
        """`sheet`: a `saved_name`. Timelines lie as the videos lay in their folders: `below` says
        where, by path; those of others are called as these are. None replaces one of the `others`:
        what is read or written besides. `every_s`: between the frames of videos that are given.
        `tracks`: see `write_tracks`."""
        self._sheet = sheet
        self._timelines = timelines
        self._language = language
        self._below = below
        self._tiles: list[Tile] = []
        self._faces: Counter[str] = Counter()  # of each emotion, with those that get no tile
        self._every_s = every_s
        self._clip: list[Analysis] = []  # the frames of the video at hand, for its timeline
        self._last: Analysis | None = None  # of its frames, or what says why it broke off
        # In which frame each of its tracks showed each emotion most clearly.
        self._moments: dict[tuple[int | None, str], tuple[int, Face]] = {}
        self._tracks = tracks
        self._summing = Summing()  # the video at hand
        self._summaries: list[VideoSummary] = []
        self._taken = {name for path in others for name in _known_as(path)} if timelines else set()
        self.failed = 0  # timelines that could not be written

    def add(self, analysis: Analysis) -> None:
        """A picture, or a frame of a video."""
        if self._last is not None and not follows(analysis, self._last):
            self._end_clip()
        if analysis.path is None:
            return
        if analysis.frame is not None or analysis.path in self._below:
            self._last = analysis
            self._summing.add(analysis)
            if self._timelines is not None and analysis.frame is not None:
                self._clip.append(analysis)
            if self._sheet is not None and analysis.frame is not None:
                self._keep_moments(analysis.frame, analysis.faces)
        elif self._sheet is not None and analysis.faces:
            self._faces.update(face.emotion for face in analysis.faces)
            if len(self._tiles) >= _MOST_TILES:
                return
            if not Path(analysis.path).is_file():
                return  # a pipe is read once
            try:
                image = load_image(analysis.path)
            except ImageError:
                return  # it was there a moment ago, and its faces are in the results
            name = Path(analysis.path).name
            self._tiles += [_tile(image, face, name) for face in analysis.faces]

    def write(self) -> None:
        """Whatever was asked for and is not written yet."""
        self._end_clip()
        if self._sheet is not None:
            page = contact_sheet(self._tiles, self._language, self._faces)
            save_picture(page, self._sheet)
            if hidden := self._faces.total() - len(self._tiles):
                complain(f"--contact-sheet {self._sheet}: {hidden} more faces are not shown on it")
        if (tracks := self._tracks) is not None:
            kind = tracks.suffix.lower()
            write_atomically(tracks, lambda beside: write_tracks(self._summaries, beside, kind))
        for option, place in (("--timeline", self._timelines), ("--tracks", self._tracks)):
            if place is not None and not self._summaries:
                complain(f"{option} {place}: there is no video among the inputs")

    def _keep_moments(self, frame: int, faces: Iterable[Face]) -> None:
        for face in faces:
            shown = (face.track, face.emotion)
            before = self._moments.get(shown)
            if before is None or _how_clearly(face) > _how_clearly(before[1]):
                self._moments[shown] = frame, face

    def _end_clip(self) -> None:
        """No more frames of the video at hand will come."""
        if self._timelines is not None and self._clip:
            self._write_timeline(self._timelines)
        if self._last is not None and self._last.path is not None:
            self._add_moments(Path(self._last.path))
            self._summaries.append(self._summing.summary())
        self._last, self._moments, self._summing = None, {}, Summing()

    def _add_moments(self, clip: Path) -> None:
        """A tile for each, of its frame: the video is read once more, as far as is needed."""
        self._faces.update(emotion for _, emotion in self._moments)
        wanted: dict[int, list[Face]] = {}
        for number, face in self._moments.values():
            wanted.setdefault(number, []).append(face)
        if not wanted or len(self._tiles) >= _MOST_TILES:
            return
        try:
            for frame in Video(clip).frames(self._every_s):
                when = clock(frame.time_s)
                for face in wanted.pop(frame.number, []):
                    self._tiles.append(_tile(frame.image, face, clip.name, when))
                if not wanted:
                    break
        except VideoError:
            return  # as with pictures

    def _write_timeline(self, folder: Path) -> None:
        path = self._clip[0].path or ""
        clip, number = self._below.get(path, Path(Path(path).name)), 1
        place = folder / f"{clip}.png"
        # Of two with one name the second becomes NAME-2.
        while _known_as(place) & self._taken:
            number += 1
            place = folder / f"{clip.with_stem(f'{clip.stem}-{number}')}.png"
        self._taken |= _known_as(place)
        try:
            save_picture(timeline(self._clip, self._language), place)
        except ImageError as error:  # the videos that follow are still wanted
            complain(str(error))
            self.failed += 1
        self._clip = []


def _how_clearly(face: Face) -> float:
    return face.probabilities[face.emotion]


def _tile(image: RgbImage, face: Face, name: str, when: str = "") -> Tile:
    return tile_of(image, face.box, face.emotion, _how_clearly(face), when, name)


def _known_as(path: Path) -> set[Hashable]:
    """What tells a file from others, before it is written and afterwards."""
    return {identity(path), key_of_name(os.path.realpath(path))}
