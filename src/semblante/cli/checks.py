"""Checks that a command makes before it starts to work, and how it reports problems."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from semblante.cli.language import localised
from semblante.data.forms import form_of
from semblante.data.load import picture_files
from semblante.errors import MissingExtraError, OptionError, printable
from semblante.files import identity, is_hidden, lies_in
from semblante.images import SUFFIXES
from semblante.picture_writing import saved_name


def require(extra: str, what: str, *packages: str) -> None:
    """Raise `MissingExtraError` unless all `packages` are installed."""
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError(what, extra)


def check_output_file(option: str, path: Path) -> None:
    """Raise `OptionError` if `path` is a folder, or its parent is none: to be called before long
    work, whose results could not be written."""
    if path.is_dir():
        raise OptionError(f"{option} {path}: expected a file's name, found a folder")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {path.parent}")


def check_output_folder(option: str, path: Path) -> None:
    """Raise `OptionError` if `path` exists and is not a folder."""
    if path.exists() and not path.is_dir():
        raise OptionError(f"{option} {path}: expected a folder, found a file")


def check_png_file(option: str, path: Path) -> None:
    """As `check_output_file`; also raise `OptionError` unless the name ends in .png."""
    check_output_file(option, path)
    if path.suffix.lower() != ".png":
        raise OptionError(f"{option} {path}: expected a name that ends in .png")


def checked_picture_file(option: str, path: Path) -> Path:
    """As `check_output_file`; return the path to write the picture to: `path`, with .png added if
    it has no ending. Raises `OptionError` for the ending of another format."""
    check_output_file(option, path)
    written = saved_name(path)
    if written != path:
        if path.suffix:
            raise OptionError(f"{option} {path}: expected a name that ends in .png or .jpg")
        check_output_file(option, written)
    return written


def check_not_an_input(option: str, path: Path, *inputs: Path | None) -> None:
    """Raise `OptionError` if writing `path` would overwrite one of `inputs`, which are read."""
    for read in inputs:
        try:
            same = read is not None and path.samefile(read)
        except OSError:  # one of them does not exist
            continue
        if same:
            raise OptionError(f"{option} {path} would overwrite {read}, which is read")


def check_not_part_of_dataset(option: str, path: Path, data: Path) -> None:
    """Raise `OptionError` if writing `path` would overwrite a file that the dataset `data` is read
    from: a picture, wherever it lies, or a table in the folder `data`."""
    if not path.is_file():
        return
    in_folder = data.is_dir() and lies_in(path, data) is not None
    a_table = in_folder and path.suffix.lower() not in SUFFIXES
    if a_table or identity(path) in map(identity, picture_files(data)):
        raise OptionError(f"{option} {path} would overwrite a part of {data}, which is read")


def check_not_among_pictures(option: str, path: Path, data: Path) -> None:
    """Raise `OptionError` if `path` lies in `data` and `data` holds a folder of pictures for each
    class: the next command would read pictures written to `path`, or into it, as faces."""
    below = lies_in(path, data) if data.is_dir() else None
    if below is None or is_hidden(str(below)):
        return
    if form_of(data) == "folders":
        raise OptionError(
            f"{option} {path} lies in {data}, all pictures of which are read as faces: "
            "choose a place outside"
        )


def complain(reason: str) -> None:
    """Print one line to stderr, in the user's language; whatever a file's name holds, it is made
    `printable`."""
    print(f"semblante: {localised(printable(reason))}", file=sys.stderr)


def complain_of(error: Exception) -> None:
    """As `complain`; of an error of the operating system, also name the file."""
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        complain(f"{place}{error.strerror or error}")
    else:
        complain(str(error))
