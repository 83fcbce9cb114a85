"""Find the pictures and videos to work on, and the places of what is made of them."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from semblante.cli.checks import complain
from semblante.errors import OptionError
from semblante.files import files_below, identity, key_of_name
from semblante.images import SUFFIXES, is_picture
from semblante.picture_writing import is_own, saved_name
from semblante.recognise import video, video_writer


@dataclass(frozen=True)
class Picture:
    """A picture to read."""

    path: Path
    below: Path  # path relative to the folder that the user named, or just the file's name


@dataclass(frozen=True)
class Clip:
    """A video to read."""

    path: Path
    below: Path


@dataclass(frozen=True)
class Unreadable:
    """A path, named by the user or found in a folder, that cannot be read; and why."""

    path: Path
    error: str


Input = Picture | Clip | Unreadable
_WINDOWS: Final = os.name == "nt"
_ADDRESSES: Final = ("http:", "https:", "ftp:", "file:")  # how web addresses begin


def find_inputs(
    paths: Iterable[Path], own: Iterable[Path] = (), *, videos: bool = True
) -> list[Input]:
    """Find all pictures and videos that `paths` name, in their order.

    A file that the user named is tried whatever its name; if its suffix does not tell whether it is
    a video, its content does. In folders and their sub-folders, files are chosen by their suffix
    and sorted by name. Left out are hidden files and those in hidden sub-folders (thumbnails, a
    bin), libraries of macOS's Photos, and what this program has written: folders in `own`, copies
    and plots of any earlier run, which carry a mark, and unfinished files of a killed run. With
    `videos=False`, videos in folders are left out as well. A file that is named twice is returned
    once.
    """
    written = list(own)
    folder = cache(os.path.realpath)
    # Keyed by the real folder and the file's own name: a link to a picture is an input of its own.
    found: dict[tuple[str, str], Input] = {}
    for path in itertools.chain.from_iterable(map(_matching, paths)):
        for item in _found(path, written, videos):
            parent, name = os.path.split(item.path)
            found.setdefault((folder(parent), name), item)
    return list(found.values())


def _matching(path: Path) -> list[Path]:
    """The files and folders that a path with * or ? stands for on Windows, whose shells leave that
    to programs; else the path itself."""
    pattern = str(path)
    if not _WINDOWS or not {"*", "?"} & set(pattern) or os.path.exists(path):  # noqa: PTH110
        return [path]
    # A [ is no part of a pattern: browsers call a second download `photo[1].jpg`.
    return sorted(map(Path, glob.glob(pattern.replace("[", "[[]"), recursive=True))) or [path]  # noqa: PTH207


def _found(path: Path, own: Sequence[Path], videos: bool) -> Iterator[Input]:
    if not os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir() it never raises
        yield _named(path, Path(path.name))
        return
    denied: list[OSError] = []
    known = SUFFIXES | video.SUFFIXES if videos else SUFFIXES

    def made_by_us(file: Path) -> bool:
        """Whether the file is a copy or a plot of ours. (Reading a pipe could wait for ever.)"""
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
    return Picture(path, below)  # reading it reports that it is empty


def annotated_places(
    found: Sequence[Input], folder: Path, option: str = "--annotate"
) -> dict[int, Path]:
    """Map the position of each input in `found` to the path of its annotated copy.

    Copies keep the sub-folders of their originals. If two copies would get the same name, the input
    that has this name already keeps it, else the first; the other keeps its ending within the name
    (`a.mov.mp4`) or is called NAME-2. Raises `OptionError` if a copy would overwrite an input.
    """
    originals = {identity(item.path) for item in found if not isinstance(item, Unreadable)}
    items = [(k, item) for k, item in enumerate(found) if not isinstance(item, Unreadable)]
    # A stable sort: inputs whose copy keeps the whole name first. A copy of `a.avi` is `a.mp4`.
    items.sort(key=lambda one: _copy_name(one[1], one[1].below) != one[1].below)
    places: dict[int, Path] = {}
    taken: set[str] = set()
    left: dict[tuple[type[Input], Path], Iterator[Path]] = {}  # candidates by kind and name
    for position, item in items:
        # Inputs of one name go on where the last one stopped: there may be thousands.
        candidates = left.setdefault((type(item), item.below), _copy_places(item, folder))
        place = next(place for place in candidates if key_of_name(str(place)) not in taken)
        if identity(place) in originals:
            raise OptionError(f"{option} {folder} would overwrite {place}")
        taken.add(key_of_name(str(place)))
        places[position] = place
    return places


def _copy_places(item: Picture | Clip, folder: Path) -> Iterator[Path]:
    for number, below in enumerate(numbered(item.below)):
        yield _copy_name(item, folder / below)
        if isinstance(item, Clip) and number == 0:  # `a.mov.mp4` beside `a.mp4`
            yield folder / below.with_suffix(f"{below.suffix.removesuffix('.mp4')}.mp4")


def crop_names(found: Sequence[Input], folder: Path) -> dict[int, Path]:
    """Map the position of each input in `found` to what the names of its faces' pictures begin
    with: its own place below `folder`, or NAME-2 if another input has this one."""
    names: dict[int, Path] = {}
    taken: set[str] = set()
    left: dict[Path, Iterator[Path]] = {}  # as in `annotated_places`
    for position, item in enumerate(found):
        if not isinstance(item, Unreadable):
            candidates = left.setdefault(item.below, numbered(folder / item.below))
            name = next(name for name in candidates if key_of_name(str(name)) not in taken)
            taken.add(key_of_name(str(name)))
            names[position] = name
    return names


def numbered(path: Path) -> Iterator[Path]:
    """Yield names for a file until one is free: NAME, NAME-2, NAME-3, ..."""
    yield path
    for number in itertools.count(2):
        yield path.with_stem(f"{path.stem}-{number}")


def _copy_name(item: Picture | Clip, place: Path) -> Path:
    return place.with_suffix(".mp4") if isinstance(item, Clip) else saved_name(place)
