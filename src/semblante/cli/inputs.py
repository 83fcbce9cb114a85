"""Which pictures and videos a command works on, and where their annotated copies go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from semblante.cli.checks import complain
from semblante.errors import OptionError
from semblante.files import files_below, identity, key_of_name
from semblante.images import SUFFIXES, is_own, is_picture, saved_name
from semblante.recognise import video, video_writer


@dataclass(frozen=True)
class Picture:
    """A picture to read."""

    path: Path
    below: Path  # its place below the folder that was named, or just its name


@dataclass(frozen=True)
class Clip:
    """A video to read."""

    path: Path
    below: Path


@dataclass(frozen=True)
class Unreadable:
    """Something named by the user, or found, that holds no picture for us."""

    path: Path
    error: str


Input = Picture | Clip | Unreadable
_ADDRESSES: Final = ("http:", "https:", "ftp:", "file:")  # how they begin


def find_inputs(
    paths: Iterable[Path], own: Iterable[Path] = (), *, videos: bool = True
) -> list[Input]:
    """All pictures and videos that `paths` stand for, in their order.

    A file named by the user is tried whatever its name; where its suffix does not say so, its
    content tells whether it is a video. In folders, with their sub-folders, files are chosen by
    their suffix and sorted by name. Hidden ones are left out, and what lies in hidden sub-folders
    (thumbnails, a bin); so is what this program has written: folders among `own`, copies and plots
    of any earlier run, by their mark, and what a killed one left half done. Without `videos` those
    in folders are left out as well. What is named twice is there once.
    """
    written = list(own)
    folder = cache(os.path.realpath)
    # A link counts by its own name: who links to a picture means one more.
    found: dict[tuple[str, str], Input] = {}
    for path in paths:
        for item in _found(path, written, videos):
            parent, name = os.path.split(item.path)
            found.setdefault((folder(parent), name), item)
    return list(found.values())


def _found(path: Path, own: Sequence[Path], videos: bool) -> Iterator[Input]:
    if not os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir() it never raises
        yield _named(path, Path(path.name))
        return
    denied: list[OSError] = []
    known = SUFFIXES | video.SUFFIXES if videos else SUFFIXES

    def made_by_us(file: Path) -> bool:
        """A copy or a plot. (Of a pipe the beginning would be waited for.)"""
        if not os.path.isfile(file):  # noqa: PTH113
            return False
        return video_writer.is_own(file) if file.suffix.lower() in video.SUFFIXES else is_own(file)

    there = [
        file
        for file in files_below(path, denied.append, leave_out=own)
        if file.suffix.lower() in known
    ]
    files = [file for file in there if not made_by_us(file)]
    if left_out := len(there) - len(files):
        complain(f"{path}: pictures and videos that semblante drew on are left out: {left_out}")
    for error in denied:
        yield Unreadable(
            Path(error.filename), f"{error.filename}: cannot be read: {error.strerror}"
        )
    if not files and not denied:
        nothing = "no pictures or videos in this folder" if videos else "no pictures in this folder"
        yield Unreadable(path, f"{path}: {nothing}")
    for file in sorted(files):
        if os.path.exists(file) and not os.path.isfile(file):  # noqa: PTH110, PTH113 - as above
            yield Unreadable(file, f"{file}: expected a file, found a pipe or a device")
        else:
            yield _named(file, file.relative_to(path))


def _named(path: Path, below: Path) -> Input:
    suffix = path.suffix.lower()
    if path.parts[0].lower() in _ADDRESSES and not os.path.exists(path):  # noqa: PTH110
        return Unreadable(path, f"{path}: expected a file or a folder, not an address on the web")
    if suffix in video.SUFFIXES:
        return Clip(path, below)
    if suffix in SUFFIXES or not os.path.isfile(path) or is_picture(path):  # noqa: PTH113
        return Picture(path, below)
    if video.is_video(path):
        return Clip(path, below)
    if path.stat().st_size:
        return Unreadable(path, f"{path}: neither a picture nor a video in a known format")
    return Picture(path, below)  # which says that it is empty


def annotated_places(
    found: Sequence[Input], folder: Path, option: str = "--annotate"
) -> dict[int, Path]:
    """For the position of each input in `found`, where its annotated copy is to be written.

    The copies lie as the pictures lay in their folders; of two with one name the one that had it
    keeps it, else the first; the other is called with the ending that it had, or NAME-2. Raises
    `OptionError` where a copy would overwrite one of the pictures.
    """
    originals = {identity(item.path) for item in found if not isinstance(item, Unreadable)}
    items = [(k, item) for k, item in enumerate(found) if not isinstance(item, Unreadable)]
    # Stable: first those that keep their whole name. A copy of `a.avi` is called `a.mp4`.
    items.sort(key=lambda one: _copy_name(one[1], one[1].below) != one[1].below)
    places: dict[int, Path] = {}
    taken: dict[str, int] = {}  # and the last number that was tried for each
    for position, item in items:
        place = _copy_name(item, folder / item.below)
        if isinstance(item, Clip) and key_of_name(str(place)) in taken:
            suffix = item.below.suffix.removesuffix(".mp4")
            place = place.with_suffix(f"{suffix}.mp4")  # `a.mov.mp4` beside `a.mp4`
        wanted = key_of_name(str(place))
        number = taken.get(wanted, 1)
        while key_of_name(str(place)) in taken:
            number += 1
            other = item.below.with_stem(f"{item.below.stem}-{number}")
            place = _copy_name(item, folder / other)
        if identity(place) in originals:
            raise OptionError(f"{option} {folder} would overwrite {place}")
        taken[wanted] = number
        taken.setdefault(key_of_name(str(place)), 1)
        places[position] = place
    return places


def _copy_name(item: Picture | Clip, place: Path) -> Path:
    return place.with_suffix(".mp4") if isinstance(item, Clip) else saved_name(place)
