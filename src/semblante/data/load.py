"""Finds out in which form labelled faces come, FER2013 or a user's own, and reads them."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from semblante.data.cache import through_cache
from semblante.data.dataset import Dataset, OnBad, Row, collect
from semblante.data.folders import check_folders, read_folders
from semblante.data.listing import (
    Listing,
    is_listing,
    listed_files,
    read_archived_listings,
    read_listings,
)
from semblante.data.members import as_data_errors, members
from semblante.data.parquet import MAGIC, parquet_rows
from semblante.data.pictures import (
    NUMBERED_EMOTIONS,
    SPLIT_NAMES,
    ClassNames,
    FaceFinder,
    FaceReader,
    checked_map,
    named_split,
)
from semblante.data.table import is_table, n_known_columns, read_table
from semblante.data.text import csv_reader
from semblante.errors import DataError, OptionError
from semblante.images import SUFFIXES

FORMS: Final[dict[str, str]] = {
    "table": "a table of pixels (CSV with a header like emotion,pixels,Usage)",
    "listing": "a list of pictures (CSV with a header like path,label,split)",
    "parquet": "Parquet with a picture and a label column",
    "folders": "pictures in folders named after their class",
}
# The words that the name of a Parquet file or of a list may start with, and the split that each
# stands for.
_SPLIT_STARTS: Final = {**SPLIT_NAMES, "public": 1, "private": 2}
_TABULAR: Final = frozenset({".csv", ".tsv", ".txt", ".parquet"})
_START_BYTES: Final = 4096  # read from each file to recognise its form
_MAX_LISTING: Final = 100_000_000  # characters: about two million pictures; kept in memory


@dataclass
class _Contents:
    """The names of the members of a path, by form."""

    tables: dict[str, list[str]] = field(default_factory=dict)  # name: header
    listings: list[str] = field(default_factory=list)
    parquets: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)  # name: place for messages
    loose: list[str] = field(default_factory=list)  # pictures outside folders: they have no class
    others: list[str] = field(default_factory=list)  # members of no form, described for a message

    @property
    def form(self) -> str | None:
        """A key of `FORMS`: the first form with a member, None if there is none. Forms that tell
        more about the faces come first."""
        held = (self.tables, self.listings, self.parquets, self.pictures)
        return next((form for form, some in zip(FORMS, held, strict=True) if some), None)


def load_dataset(
    path: str | os.PathLike[str],
    *,
    on_bad: OnBad | None = None,
    label_map: Mapping[str, str] | str | None = None,
    find_face: FaceFinder | None = None,
    cache: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> Dataset:
    """Read labelled faces in any of `FORMS` from a file, a folder, a .zip or a .tar.gz.

    The form is recognised by the content. Of several tables the one with the most columns is read
    (in the competition's archive `icml_face_data.csv`, not `test.csv`); `DataError` is raised if
    several have that many. Parquet files are read one after the other. Colour pictures become grey,
    and all pictures become 48x48.

    `label_map` gives class names another meaning (`OptionError` if no class has such a name); the
    name of one of `LABEL_MAPS` says that classes are numbered as in that dataset. `find_face` finds
    and crops the face in a picture (see `FaceReader`). The first bad row, file or member raises
    `DataError`; with `on_bad` the error is passed to it instead, and reading continues. Only if
    some classes are numbers that are unknown, and others are numbers that are read, it raises
    `OptionError`: these may mean something else, too. With `cache` a file is read only once and
    opens at once from then on (see `cache.py`); a folder, a list, or a call with any of the other
    options is always read. `on_note` is called with a sentence about what had to be assumed.
    """
    path = Path(path)
    mapped = checked_map(label_map)

    def read() -> tuple[Dataset, bool]:
        return _load(path, mapped, find_face, on_bad)

    with as_data_errors(path):
        plain = on_bad is None and not mapped and find_face is None
        start = b""
        if cache and plain and path.is_file():
            with path.open("rb") as file:
                start = file.read(_START_BYTES)
        # A list's pictures are other files: its own content does not tell whether they changed.
        if start and not is_listing(_first_line(start)):
            variant = f"-{_split_of_parquet(path.name)}" if start.startswith(MAGIC) else ""
            dataset, guessed = through_cache(path, read, variant)
        else:
            dataset, guessed = read()
    if on_note is not None and guessed:
        on_note(
            f"{path}: classes that are numbers are taken for FER2013's, {NUMBERED_EMOTIONS}; "
            "if this is another dataset, give --map rafdb, affectnet or ferplus, or say what each "
            "number is"
        )
    return dataset


def _load(
    path: Path, mapped: Mapping[str, str], find_face: FaceFinder | None, on_bad: OnBad | None
) -> tuple[Dataset, bool]:
    """Return the dataset, and whether its classes were guessed from numbers. `mapped`: what classes
    stand for, from `checked_map`."""
    contents = _survey(path)
    in_table = contents.form == "table"
    if in_table and find_face is not None:
        raise OptionError(f"{path}: a table of pixels holds faces, none are to be found in it")
    classes = ClassNames(mapped, in_table=in_table, skips_bad=on_bad is not None)
    dataset = _read(path, contents, classes, FaceReader(find_face), on_bad)
    classes.check_map_used(str(path))
    return dataset, classes.guessed


def _read(
    path: Path, contents: _Contents, classes: ClassNames, faces: FaceReader, on_bad: OnBad | None
) -> Dataset:
    if contents.form == "table":
        with _open_text(path, _widest_table(path, contents.tables)) as (text, where):
            return read_table(text, where, classes, on_bad)
    if contents.form == "listing":
        return _read_listings(path, contents, classes, faces, on_bad)
    if contents.form == "parquet":
        return collect(_all_parquet_rows(path, contents, classes, faces), on_bad, str(path))
    if contents.form == "folders":
        check_folders(contents.pictures, path, classes)
        pictures = (member for member in members(path) if member.suffix in SUFFIXES)
        return read_folders(pictures, path, classes, faces, on_bad)
    expected = "; or ".join(FORMS.values())
    loose = [f"{name} outside a folder named after its class" for name in contents.loose]
    found = "; ".join([*loose, *contents.others][:3])
    if loose:
        raise DataError(
            f"{path}: expected {expected}; found {found}: write a list of them, "
            "path,label[,split,group]: see docs/data.md"
        )
    if not contents.others:
        raise DataError(f"{path}: expected {expected}; found nothing")
    raise DataError(f"{path}: expected {expected}; found {found}")


def form_of(path: str | os.PathLike[str]) -> str | None:
    """The key in `FORMS` of the form in which `load_dataset` would read a path; None if it would
    not read it."""
    with as_data_errors(Path(path)):
        return _survey(Path(path)).form


def picture_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of the pictures that `load_dataset` would read; none for those that are in an
    archive, in Parquet or in a table. Of a list that leaves open in which folder a picture is, all
    files that it may mean, whether they exist or not."""
    path = Path(path)
    with as_data_errors(path):
        contents = _survey(path)
        if contents.form == "folders" and path.is_dir():
            return [path / name for name in contents.pictures]
        root = _folder_of_listings(path, contents)
        if contents.form == "listing" and root is not None:
            return list(listed_files(_listings(path, contents), root))
    return []


def load_fer2013(path: str | os.PathLike[str], *, cache: bool = False) -> Dataset:
    """Read FER2013 in any form that `load_dataset` reads, usually Kaggle's `fer2013.csv` (301 MB).

    Each row of a table of pixels is checked: a label of 0..6, 2,304 pixels of 0..255, an official
    Usage; without a Usage column all rows are Training. Other forms and `cache` are as for
    `load_dataset`. Raises `DataError`, which names the line of the file.
    """
    return load_dataset(path, cache=cache)


def _survey(path: Path) -> _Contents:
    contents = _Contents()
    for member in members(path):
        if member.suffix in SUFFIXES:
            if "/" in member.name:
                contents.pictures[member.name] = member.where
            else:
                contents.loose.append(member.name)
            continue
        try:
            start = member.stream.read(_START_BYTES)
        except OSError as error:  # for example a link in an archive
            if member.suffix in _TABULAR:  # it may be the table or list that the user means
                raise
            contents.others.append(f"{member.name} (cannot be read: {error.strerror or error})")
            continue
        if start.startswith(MAGIC):
            contents.parquets.append(member.name)
            continue
        header = _first_line(start)
        if is_table(header):
            contents.tables[member.name] = header
        elif is_listing(header):
            contents.listings.append(member.name)
        else:
            contents.others.append(member.name + _description(start, header))
    return contents


def _first_line(start: bytes) -> list[str]:
    """The first line of a file as CSV cells; empty if the file is not UTF-8 text."""
    try:
        line = re.split(rb"[\r\n]", start, maxsplit=1)[0].decode("utf-8-sig")
        return next(csv_reader([line]), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def _description(start: bytes, header: list[str]) -> str:
    """What a file of unknown form looks like, for an error message; "" if it is not text."""
    if not start:
        return " (empty)"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return " (text in UTF-16: save it as UTF-8)"
    line = ",".join(header)
    if not line or not line.replace("\t", " ").isprintable():  # no text
        return ""
    return f" (first line {line if len(line) <= 60 else line[:60] + '...'!r})"


@contextmanager
def _open_text(path: Path, name: str) -> Iterator[tuple[io.TextIOWrapper, str]]:
    """Open the member `name` as text; yields the text and the member's place for messages. Bytes
    that are not UTF-8 are kept (surrogateescape), so that only their row is bad."""
    with closing(members(path)) as found:
        member = next(member for member in found if member.name == name)
        text = io.TextIOWrapper(
            member.stream, encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        try:
            yield text, member.where
        finally:
            text.detach()  # the member closes its own stream


def _widest_table(path: Path, tables: Mapping[str, list[str]]) -> str:
    """The name of the table with the most columns; `DataError` if several have that many."""
    most = max(map(n_known_columns, tables.values()))
    names = [name for name, header in tables.items() if n_known_columns(header) == most]
    if len(names) > 1:
        raise DataError(
            f"{path}: expected one table of pixels, found {', '.join(names)}: name one of them, "
            "or join them, with a column Usage that names each row's split"
        )
    return names[0]


def _read_listings(
    path: Path, contents: _Contents, classes: ClassNames, faces: FaceReader, on_bad: OnBad | None
) -> Dataset:
    listings = _listings(path, contents)
    where = listings[0].where if len(listings) == 1 else str(path)
    root = _folder_of_listings(path, contents)
    if root is not None:
        return read_listings(listings, root, where, classes, faces, on_bad)
    pictures = [*contents.pictures, *contents.loose]
    return read_archived_listings(listings, members(path), pictures, where, classes, faces, on_bad)


def _folder_of_listings(path: Path, contents: _Contents) -> Path | None:
    """The folder that the lists' places are relative to; None if they are in an archive."""
    if path.is_dir():
        return path
    return path.parent if path.name in contents.listings else None


def _listings(path: Path, contents: _Contents) -> list[Listing]:
    names = contents.listings
    splits = [_split_of_name(name) for name in names]
    if len(names) == 1:
        splits = [None]  # such as labels/test.csv alone: nothing says that there is a Training
    elif None in splits or len(set(splits)) < len(splits):
        raise DataError(
            f"{path}: expected one list of pictures, or several whose names begin with different "
            f"splits, found {', '.join(names)}: name one of them"
        )
    listings = []
    for name, split in zip(names, splits, strict=True):
        with _open_text(path, name) as (text, where):
            listed = text.read(_MAX_LISTING + 1)
        if len(listed) > _MAX_LISTING:
            raise DataError(
                f"{where}: expected a list of at most {_MAX_LISTING // 1_000_000} million "
                "characters, found a longer one"
            )
        listings.append(Listing(listed, where, PurePosixPath(name).parent, split))
    return listings


def _all_parquet_rows(
    path: Path, contents: _Contents, classes: ClassNames, faces: FaceReader
) -> Iterator[Row | DataError]:
    for member in members(path):
        if member.name in contents.parquets:
            split = _split_of_parquet(member.name)
            # Parquet is read from its end, and a member of an archive cannot seek cheaply: it is
            # read into memory first.
            stream = io.BytesIO(member.stream.read())
            yield from parquet_rows(stream, member.where, classes, faces, split)


def _split_of_parquet(name: str) -> int:
    """The split of a Parquet file without a split column."""
    return _split_of_name(name) or 0


def _split_of_name(name: str) -> int | None:
    """The split that a file's name starts with, as on the hubs where such files are published
    (train-00000-of-00001.parquet), else that of a folder above it (test/0000.parquet); None if no
    name tells it."""
    path = PurePosixPath(unicodedata.normalize("NFC", name).lower())
    begun = (
        split
        for word, split in _SPLIT_STARTS.items()
        if re.match(rf"{word}(s|sets?)?(?![^\W\d_])", path.stem)  # "testset", not "valentina"
    )
    above = (named_split(part) for part in reversed(path.parts[:-1]))
    return next(begun, next((split for split in above if split is not None), None))
