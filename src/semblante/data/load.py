"""Reads labelled faces, FER2013 or a user's own, in whichever form they come."""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from semblante.data.cache import through_cache
from semblante.data.class_names import NUMBERED_EMOTIONS, ClassNames, checked_map
from semblante.data.dataset import Dataset, OnBad, Row, collect
from semblante.data.folders import check_folders, read_folders
from semblante.data.forms import FORMS, START_BYTES, Contents, first_line, survey
from semblante.data.listing import (
    Listing,
    is_listing,
    listed_files,
    read_archived_listings,
    read_listings,
)
from semblante.data.members import as_data_errors, members
from semblante.data.parquet import MAGIC, parquet_rows
from semblante.data.pictures import SPLIT_NAMES, FaceFinder, FaceReader, named_split
from semblante.data.table import n_known_columns, read_table
from semblante.errors import DataError, OptionError
from semblante.images import SUFFIXES

# The words that the name of a Parquet file or of a list may start with, and the split that each
# stands for.
_SPLIT_STARTS: Final = {**SPLIT_NAMES, "public": 1, "private": 2}
_MAX_LISTING: Final = 100_000_000  # characters: about two million pictures; kept in memory


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
    `DataError`; with `on_bad` the error is passed to it instead, and reading continues. If some
    numeric classes are known and others are not, it raises `OptionError` even with `on_bad`: the
    numbering is probably not FER2013's. With `cache` a file is read only once and
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
                start = file.read(START_BYTES)
        # A list's pictures are other files: its own content does not tell whether they changed.
        if start and not is_listing(first_line(start)):
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


def load_fer2013(path: str | os.PathLike[str], *, cache: bool = False) -> Dataset:
    """Read FER2013 in any form that `load_dataset` reads, usually Kaggle's `fer2013.csv` (301 MB).

    Each row of a table of pixels is checked: a label of 0..6, 2,304 pixels of 0..255, an official
    Usage; without a Usage column all rows are Training. Other forms and `cache` are as for
    `load_dataset`. Raises `DataError`, which names the line of the file.
    """
    return load_dataset(path, cache=cache)


def _load(
    path: Path, mapped: Mapping[str, str], find_face: FaceFinder | None, on_bad: OnBad | None
) -> tuple[Dataset, bool]:
    """Return the dataset, and whether its classes were guessed from numbers. `mapped`: what classes
    stand for, from `checked_map`."""
    contents = survey(path)
    in_table = contents.form == "table"
    if in_table and find_face is not None:
        raise OptionError(f"{path}: a table of pixels holds faces, none are to be found in it")
    classes = ClassNames(mapped, in_table=in_table, skips_bad=on_bad is not None)
    dataset = _read(path, contents, classes, FaceReader(find_face), on_bad)
    classes.check_map_used(str(path))
    return dataset, classes.guessed


def _read(
    path: Path, contents: Contents, classes: ClassNames, faces: FaceReader, on_bad: OnBad | None
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


def picture_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of the pictures that `load_dataset` would read; none for those that are in an
    archive, in Parquet or in a table. Of a list that leaves open in which folder a picture is, all
    files that it may mean, whether they exist or not."""
    path = Path(path)
    with as_data_errors(path):
        contents = survey(path)
        if contents.form == "folders" and path.is_dir():
            return [path / name for name in contents.pictures]
        root = _folder_of_listings(path, contents)
        if contents.form == "listing" and root is not None:
            return list(listed_files(_listings(path, contents), root))
    return []


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
    path: Path, contents: Contents, classes: ClassNames, faces: FaceReader, on_bad: OnBad | None
) -> Dataset:
    listings = _listings(path, contents)
    where = listings[0].where if len(listings) == 1 else str(path)
    root = _folder_of_listings(path, contents)
    if root is not None:
        return read_listings(listings, root, where, classes, faces, on_bad)
    pictures = [*contents.pictures, *contents.loose]
    return read_archived_listings(listings, members(path), pictures, where, classes, faces, on_bad)


def _folder_of_listings(path: Path, contents: Contents) -> Path | None:
    """The folder that the lists' places are relative to; None if they are in an archive."""
    if path.is_dir():
        return path
    return path.parent if path.name in contents.listings else None


def _listings(path: Path, contents: Contents) -> list[Listing]:
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
    path: Path, contents: Contents, classes: ClassNames, faces: FaceReader
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
