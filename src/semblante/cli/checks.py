"""What is checked before a command starts to work, and how it says what is wrong."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from semblante.cli.language import localised
from semblante.data import Dataset
from semblante.data.load import form_of
from semblante.errors import MissingExtraError, OptionError, printable
from semblante.files import identity, is_hidden, lies_in
from semblante.images import SUFFIXES, saved_name


def require(extra: str, what: str, *packages: str) -> None:
    """Raise `MissingExtraError` unless all `packages` are installed."""
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError(what, extra)


def check_output_file(option: str, path: Path) -> None:
    """Raise `OptionError` unless `path` can be the name of a file: long work may come first."""
    if path.is_dir():
        raise OptionError(f"{option} {path}: expected a file's name, found a folder")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {path.parent}")


def check_output_folder(option: str, path: Path) -> None:
    """Raise `OptionError` where `path` is something else than a folder."""
    if path.exists() and not path.is_dir():
        raise OptionError(f"{option} {path}: expected a folder, found a file")


def check_png_file(option: str, path: Path) -> None:
    """As `check_output_file`, for a file that is a PNG whatever its name says."""
    check_output_file(option, path)
    if path.suffix.lower() != ".png":
        raise OptionError(f"{option} {path}: expected a name that ends in .png")


def checked_picture_file(option: str, path: Path) -> Path:
    """As `check_output_file`; returns where the picture is to be written: a name without an ending
    gets .png. Raises `OptionError` for that of another format."""
    check_output_file(option, path)
    written = saved_name(path)
    if written != path:
        if path.suffix:
            raise OptionError(f"{option} {path}: expected a name that ends in .png or .jpg")
        check_output_file(option, written)
    return written


def detector_options(
    detector: str, min_face: int | None, min_score: float | None
) -> dict[str, Any]:
    """What is asked of a detector, as `Analyzer` takes it; raises `OptionError` where that is of no
    use to it."""
    asked = {"min_face": min_face, "min_score": min_score}
    given = [name for name, value in asked.items() if value is not None]
    if given and detector == "none":
        name = given[0].replace("_", "-")
        raise OptionError(f"--{name} is of no use with --detector none: each picture is a face")
    return asked


def check_not_an_input(option: str, path: Path, *inputs: Path | None) -> None:
    """Raise `OptionError` where writing `path` would replace one of the files that are read."""
    for read in inputs:
        try:
            same = read is not None and path.samefile(read)
        except OSError:  # one of them does not exist
            continue
        if same:
            raise OptionError(f"{option} {path} would overwrite {read}, which is read")


def check_not_part_of_dataset(option: str, path: Path, data: Path, dataset: Dataset) -> None:
    """Raise `OptionError` where writing `path` would replace something that `dataset` was read from
    in the folder `data`, or beside the list `data`: one of its pictures, or a table."""
    folder = data if data.is_dir() else data.absolute().parent
    if not path.is_file() or lies_in(path, folder) is None:
        return
    names = [] if dataset.names is None else dataset.names.tolist()
    a_table = data.is_dir() and path.suffix.lower() not in SUFFIXES
    if a_table or identity(path) in {identity(folder / name) for name in names}:
        raise OptionError(f"{option} {path} would overwrite a part of {data}, which is read")


def check_not_among_pictures(option: str, path: Path, data: Path) -> None:
    """Raise `OptionError` where `path` lies in `data`, a folder of pictures named after their
    class: the next command would read a picture that is written there, or into the folder `path`,
    as a face."""
    below = lies_in(path, data) if data.is_dir() else None
    if below is None or is_hidden(str(below)):
        return
    if form_of(data) == "folders":
        raise OptionError(
            f"{option} {path} lies in {data}, all pictures of which are read as faces: "
            "choose a place outside"
        )


def complain(reason: str) -> None:
    """One line on stderr, in the language of who reads it; `printable` whatever a file's name
    holds."""
    print(f"semblante: {localised(printable(reason))}", file=sys.stderr)


def complain_of(error: Exception) -> None:
    """As `complain`; what the system refused is said of the file that it was refused for."""
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        complain(f"{place}{error.strerror or error}")
    else:
        complain(str(error))
