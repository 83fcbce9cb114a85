"""Reads a CSV that lists pictures, `path,label[,split,group]`: a common form of one's own faces.

Paths are relative to the CSV file, in a folder as in an archive. `split` is one of FER2013's names
or train, val, test; without this column all faces are Training. Faces with the same `group`, for
example of one person, belong together. Other columns are ignored.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from semblante.data.dataset import Dataset, OnBad, Row, collect
from semblante.data.members import Member, as_data_errors
from semblante.data.pictures import (
    GROUP_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    PictureReader,
    split_number,
)
from semblante.data.text import csv_table
from semblante.errors import DataError

# Each column with the names it may have in the file.
_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "path": (
        "path", "pth", "file", "filename", "file_name", "image", "image_path", "img", "image_name",
        "filepath", "file_path", "subdirectory_filepath",
    ),
    "label": LABEL_COLUMNS,
    "split": SPLIT_COLUMNS,
    "group": GROUP_COLUMNS,
}  # fmt: skip


@dataclass(frozen=True)
class _ListedPicture:
    """A line of the list."""

    path: str  # as written in the list
    label: int  # 0..6
    split: int  # index into `SPLITS`, or TEST
    group: str
    where: str  # for messages: the list's path, the line and the picture


def is_listing(header: list[str]) -> bool:
    """Whether this is the first line of a list of pictures."""
    columns = _columns(header)
    # The output of `semblante analyze` has these columns too, but with estimates instead of labels.
    return "path" in columns and "label" in columns and "detection_score" not in header


def read_listing(
    lines: Iterable[str],
    where: str,
    folder: Path,
    reader: PictureReader,
    on_bad: OnBad | None = None,
) -> Dataset:
    """Read the faces of pictures in `folder`, in the list's order."""
    rows = (
        line if isinstance(line, DataError) else _of_file(line, folder, reader)
        for line in _listed_pictures(lines, where, reader)
    )
    return collect(rows, on_bad, where)


def read_archived_listing(
    lines: Iterable[str],
    where: str,
    name: str,
    members: Iterable[Member],
    reader: PictureReader,
    on_bad: OnBad | None = None,
) -> Dataset:
    """Read the faces of pictures among the `members` of an archive whose member `name` is the list.

    The faces are in the list's order, although an archive is read once, from its start.
    """
    rows: list[Row | DataError] = []
    places: dict[str, list[tuple[int, _ListedPicture]]] = {}
    for line in _listed_pictures(lines, where, reader):
        if isinstance(line, DataError):
            rows.append(line)
            continue
        path = _normalised(PurePosixPath(name).parent / line.path.replace("\\", "/"))
        places.setdefault(path, []).append((len(rows), line))
        rows.append(DataError(f"{line.where}: there is no such picture in the archive"))
    for member in members:
        wanted = places.get(_normalised(member.name))
        if wanted:
            try:
                with as_data_errors(member.where):
                    data = reader.read(member.stream)
            except DataError as error:
                for number, _ in wanted:
                    rows[number] = error
                continue
            for number, line in wanted:
                rows[number] = _row(line, data, reader)
    return collect(rows, on_bad, where)


def _normalised(path: str | PurePosixPath) -> str:
    """A member's path in the form in which paths are compared: archives made on macOS store an
    accent as a character of its own."""
    return unicodedata.normalize("NFC", posixpath.normpath(path))


def _columns(header: list[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    found: dict[str, int] = {}
    for column, aliases in _COLUMNS.items():
        for alias in aliases:
            if alias in names:
                found.setdefault(column, names.index(alias))
    return found


def _listed_pictures(
    lines: Iterable[str], where: str, reader: PictureReader
) -> Iterator[_ListedPicture | DataError]:
    """The lines of the list, without those whose class the map drops: their pictures may be
    missing."""
    header, rows = csv_table(lines, where)
    columns = _columns(header)
    for found in rows:
        if isinstance(found, DataError):
            yield found
            continue
        place, row = found
        try:
            if len(row) != len(header):
                raise DataError(f"{place}: expected {len(header)} columns, found {len(row)}")
            values = {column: row[number].strip() for column, number in columns.items()}
            line = _listed_picture(values, place, reader)
        except DataError as error:
            yield error
        else:
            if line is not None:
                yield line


def _listed_picture(
    values: dict[str, str], place: str, reader: PictureReader
) -> _ListedPicture | None:
    """The picture that a line lists; None if the map drops its class."""
    path = values["path"]
    place = f"{place} ({path if len(path) < 100 else path[:100] + '...'})"
    if not values["label"].isascii() and any("\udc80" <= c <= "\udcff" for c in values["label"]):
        raise DataError(f"{place}: its class is not in UTF-8: save the list as UTF-8")
    label = reader.label(values["label"], place)
    if label is None:
        return None
    split = split_number(values["split"], place) if "split" in values else 0
    return _ListedPicture(path, label, split, values.get("group", ""), place)


def _of_file(line: _ListedPicture, folder: Path, reader: PictureReader) -> Row | DataError:
    try:
        path = folder / line.path
        if "\\" in line.path and not path.exists():  # the list was made on Windows
            path = folder / line.path.replace("\\", "/")
        if path.exists() and not path.is_file():  # a pipe would block for ever
            return DataError(f"{line.where}: expected a file, found something else")
        with path.open("rb") as file:
            data = reader.read(file)
    except OSError as error:
        return DataError(f"{line.where}: cannot be read: {error.strerror or error}")
    except ValueError as error:  # the path contains a NUL
        return DataError(f"{line.where}: cannot be read: {error}")
    return _row(line, data, reader)


def _row(line: _ListedPicture, picture: bytes, reader: PictureReader) -> Row | DataError:
    try:
        face = reader.face(picture, line.where)
    except DataError as error:
        return error
    return Row(face, line.label, line.split, line.path, line.group)
