"""Reads a CSV that lists pictures, `path,label[,split,group]`: a common form of one's own faces.

Paths are relative to the CSV file, in a folder as in an archive; a file's name alone may also be
that of a picture in some folder below, unless that folder names another split. `split` is one of
FER2013's names or train, val, test. Without this column all faces are Training's; if there are
several lists, such as train.csv and test.csv, those of the split that each list's name begins with.
Faces with the same `group`, for example of one person, belong together. Other columns are ignored.
"""

from __future__ import annotations

import io
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Final

from semblante.data.class_names import ClassNames
from semblante.data.dataset import SPLITS, TEST, Dataset, OnBad, Row, collect
from semblante.data.members import Member, as_data_errors
from semblante.data.pictures import (
    GROUP_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    FaceReader,
    named_split,
    split_number,
)
from semblante.data.text import csv_table
from semblante.errors import DataError
from semblante.files import files_below

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


# The splits that each split may also be called: "test" may be either of FER2013's.
_SAME_SPLITS: Final[dict[int, set[int]]] = {
    SPLITS.index("Training"): {SPLITS.index("Training")},
    SPLITS.index("PublicTest"): {SPLITS.index("PublicTest"), TEST},
    SPLITS.index("PrivateTest"): {SPLITS.index("PrivateTest"), TEST},
    TEST: {SPLITS.index("PublicTest"), SPLITS.index("PrivateTest"), TEST},
}


@dataclass(frozen=True)
class Listing:
    """A list of pictures that has been read as text."""

    text: str
    where: str  # for messages
    folder: PurePosixPath  # the list's own, below the dataset's folder or in its archive
    # Index into `SPLITS`, or TEST: of all faces, unless a column tells it. None: it is not told.
    split: int | None


@dataclass(frozen=True)
class _ListedPicture:
    """A line of the list."""

    path: str  # as written in the list
    label: int  # 0..6
    split: int | None  # index into `SPLITS`, or TEST; None if neither line nor list tells it
    group: str
    where: str  # for messages: the list's path, the line and the picture
    folder: PurePosixPath  # the list's


def is_listing(header: list[str]) -> bool:
    """Whether this is the first line of a list of pictures."""
    columns = _columns(header)
    # The output of `semblante analyze` has these columns too, but with estimates instead of labels.
    return "path" in columns and "label" in columns and "detection_score" not in header


def read_listings(
    listings: list[Listing],
    root: Path,
    where: str,
    classes: ClassNames,
    faces: FaceReader,
    on_bad: OnBad | None = None,
) -> Dataset:
    """Read the faces of pictures in the folder `root`, in the lists' order.

    Pictures that a list names without a folder are looked for in all folders below the list's if
    they are not beside it.
    """
    below = cache(_files_by_name)  # only when it is needed: there may be many files
    rows = (
        line if isinstance(line, DataError) else _of_file(line, root, below, faces)
        for line in _listed_pictures(listings, classes)
    )
    return collect(rows, on_bad, where)


def read_archived_listings(
    listings: list[Listing],
    members: Iterable[Member],
    pictures: Iterable[str],
    where: str,
    classes: ClassNames,
    faces: FaceReader,
    on_bad: OnBad | None = None,
) -> Dataset:
    """Read the faces of pictures among the `members` of an archive, as `read_listings` does.
    `pictures`: the names of all pictures in it.

    The faces are in the lists' order, although an archive is read once, from its start.
    """
    existing: dict[str, list[str]] = {}  # the pictures' paths by the name of the file
    for name in map(_normalised, pictures):
        existing.setdefault(posixpath.basename(name), []).append(name)
    rows: list[Row | DataError] = []
    places: dict[str, list[tuple[int, _ListedPicture]]] = {}
    for line in _listed_pictures(listings, classes):
        if isinstance(line, DataError):
            rows.append(line)
            continue
        path = _normalised(line.folder / line.path.replace("\\", "/"))
        if _is_bare(line.path):
            same_name = existing.get(posixpath.basename(path), [])
            folder = PurePosixPath(_normalised(line.folder))
            found = [name for name in same_name if _may_be(PurePosixPath(name), folder, line.split)]
            if path not in found and len(found) > 1:
                rows.append(_ambiguous(line))
                continue
            if path not in found and found:
                [path] = found
        places.setdefault(path, []).append((len(rows), line))
        rows.append(DataError(f"{line.where}: there is no such picture in the archive"))
    for member in members:
        wanted = places.get(_normalised(member.name))
        if wanted:
            try:
                with as_data_errors(member.where):
                    data = faces.read(member.stream)
            except DataError as error:
                for number, _ in wanted:
                    rows[number] = error
                continue
            for number, line in wanted:
                rows[number] = _row(line, data, faces)
    return collect(rows, on_bad, where)


def listed_files(listings: Iterable[Listing], root: Path) -> Iterator[Path]:
    """Yield the files below `root`, or elsewhere, that the lists mean. Where a list leaves open in
    which folder a picture is, all files of that name are among them; not all files need exist."""
    below = cache(_files_by_name)
    for listing in listings:
        folder = root / listing.folder
        for line in _lines(listing):
            if isinstance(line, DataError) or "\0" in line["path"]:
                continue
            yield from _written(folder, line["path"])
            if _is_bare(line["path"]):
                yield from below(folder).get(_normalised(line["path"]), [])


def _written(folder: Path, path: str) -> tuple[Path, ...]:
    """The files that a list in `folder` may mean by `path`, which may come from Windows."""
    return folder / path, folder / path.replace("\\", "/")


def _is_bare(path: str) -> bool:
    """Whether a list names no folder, so that the picture may be in any."""
    return not {"/", "\\"} & set(path)


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
    listings: list[Listing], classes: ClassNames
) -> Iterator[_ListedPicture | DataError]:
    """The lines of the lists, without those whose class the map drops: their pictures may be
    missing. Unknown classes are an error before any picture is read."""
    classes.check_classes(
        (line["label"], line["where"])
        for listing in listings
        for line in _lines(listing)
        if not isinstance(line, DataError)
    )
    for listing in listings:
        for line in _lines(listing):
            if isinstance(line, DataError):
                yield line
                continue
            try:
                picture = _listed_picture(line, listing, classes)
            except DataError as error:
                yield error
            else:
                if picture is not None:
                    yield picture


def _lines(listing: Listing) -> Iterator[dict[str, str] | DataError]:
    """The values of each line by the keys of `_COLUMNS`, and its place for messages ("where")."""
    header, rows = csv_table(io.StringIO(listing.text, newline=""), listing.where)
    columns = _columns(header)
    for found in rows:
        if isinstance(found, DataError):
            yield found
            continue
        place, row = found
        if len(row) != len(header):
            yield DataError(f"{place}: expected {len(header)} columns, found {len(row)}")
            continue
        values = {column: row[number].strip() for column, number in columns.items()}
        path, label = values["path"], values["label"]
        place = f"{place} ({path if len(path) < 100 else path[:100] + '...'})"
        if not label.isascii() and any("\udc80" <= c <= "\udcff" for c in label):
            yield DataError(f"{place}: its class is not in UTF-8: save the list as UTF-8")
        else:
            yield values | {"where": place}


def _listed_picture(
    values: dict[str, str], listing: Listing, classes: ClassNames
) -> _ListedPicture | None:
    """The picture that a line lists; None if the map drops its class."""
    place = values["where"]
    label = classes.label(values["label"], place)
    if label is None:
        return None
    split = split_number(values["split"], place) if "split" in values else listing.split
    return _ListedPicture(
        values["path"], label, split, values.get("group", ""), place, listing.folder
    )


def _of_file(
    line: _ListedPicture,
    root: Path,
    below: Callable[[Path], dict[str, list[Path]]],
    faces: FaceReader,
) -> Row | DataError:
    """The face of a picture in the folder `root`, or the error in the line. If the line names no
    folder and the picture is not beside the list, it is looked for among `below`, the files below
    a folder by their name."""
    try:
        folder = root / line.folder
        written, of_windows = _written(folder, line.path)
        path = written if written.exists() else of_windows
        if _is_bare(line.path) and not path.exists():
            same_name = below(folder).get(_normalised(line.path), [])
            found = [one for one in same_name if _may_be(one, folder, line.split)]
            if len(found) > 1:
                return _ambiguous(line)
            path = found[0] if found else path
        if path.exists() and not path.is_file():  # a pipe would block for ever
            return DataError(f"{line.where}: expected a file, found something else")
        with path.open("rb") as file:
            data = faces.read(file)
    except OSError as error:
        return DataError(f"{line.where}: cannot be read: {error.strerror or error}")
    except ValueError as error:  # the path contains a NUL
        return DataError(f"{line.where}: cannot be read: {error}")
    return _row(line, data, faces)


def _files_by_name(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in files_below(folder):
        found.setdefault(_normalised(path.name), []).append(path)
    return found


def _may_be(path: PurePath, folder: PurePath, split: int | None) -> bool:
    """Whether a picture at `path` lies below `folder`, and in no folder that names another split
    than `split`."""
    if folder not in path.parents:
        return False
    named = {named_split(part) for part in path.relative_to(folder).parts[:-1]} - {None}
    return split is None or not named or not named.isdisjoint(_SAME_SPLITS[split])


def _ambiguous(line: _ListedPicture) -> DataError:
    return DataError(
        f"{line.where}: it is not beside the list, and several pictures in folders below are "
        "called so: write the folder too"
    )


def _row(line: _ListedPicture, picture: bytes, faces: FaceReader) -> Row | DataError:
    try:
        face = faces.face(picture, line.where)
    except DataError as error:
        return error
    return Row(face, line.label, line.split or 0, line.path, line.group)
