"""One way in: whatever form FER2013, or somebody's own labelled faces, come in."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from semblante.data.cache import through_cache
from semblante.data.dataset import Dataset, OnBad, Row, collect
from semblante.data.folders import class_names, is_picture, read_folders
from semblante.data.members import Member, damage_named, members
from semblante.data.parquet import MAGIC, parquet_rows
from semblante.data.table import is_table, read_table
from semblante.errors import DataError

FORMS: Final[dict[str, str]] = {
    "table": "a table of pixels (CSV with a header like emotion,pixels,Usage)",
    "folders": "pictures in folders named after their class",
    "parquet": "Parquet with a picture and a label column",
}


@dataclass
class _Contents:
    """What a path holds, by form."""

    tables: dict[str, list[str]] = field(default_factory=dict)  # member name -> header
    parquets: list[str] = field(default_factory=list)
    n_pictures: int = 0  # in folders: without one a picture has no class
    others: list[str] = field(default_factory=list)

    @property
    def form(self) -> str | None:
        if self.tables:
            return "table"
        if self.parquets:
            return "parquet"
        return "folders" if self.n_pictures else None


def load_dataset(
    path: str | os.PathLike[str],
    *,
    on_bad: OnBad | None = None,
    label_map: Mapping[str, str] | None = None,
    cache: bool = False,
) -> Dataset:
    """Read labelled faces in any of `FORMS`, as files, in a folder, a .zip or a .tar.gz.

    The form is recognised by the content. Of several tables the one with the most columns is
    taken (in the competition's archive `icml_face_data.csv`, not `test.csv`); several Parquet
    files are read one after the other. `label_map` gives other class names a meaning, see
    `read_folders`. The first bad row, file or member raises `DataError`; with `on_bad` it is
    handed over, and reading goes on. With `cache` a file is read once and opened at once from then
    on (see `cache.py`); a folder, or a call with `on_bad` or `label_map`, is always read.
    """
    path = Path(path)
    class_names(label_map)  # a wrong map is an error whether or not it is needed
    with damage_named(path):
        if cache and path.is_file() and on_bad is None and not label_map:
            return through_cache(path, lambda: _load(path, None, None))
        return _load(path, on_bad, label_map)


def _load(path: Path, on_bad: OnBad | None, label_map: Mapping[str, str] | None) -> Dataset:
    contents = _survey(path)
    if contents.form == "table":
        chosen = max(contents.tables, key=lambda name: len(contents.tables[name]))
        for member in members(path):
            if member.name == chosen:
                return _table(member, on_bad)
    if contents.form == "parquet":
        return collect(_parquets(path, contents, label_map), on_bad, str(path))
    if contents.form == "folders":
        pictures = (member for member in members(path) if is_picture(member))
        return read_folders(pictures, str(path), on_bad, label_map)
    held = ", ".join(contents.others[:3]) or "nothing"
    raise DataError(f"{path}: expected {'; or '.join(FORMS.values())}; found {held}")


def form_of(path: str | os.PathLike[str]) -> str | None:
    """The key in `FORMS` under which `load_dataset` would read a path; None where it would not."""
    with damage_named(Path(path)):
        return _survey(Path(path)).form


def load_fer2013(path: str | os.PathLike[str]) -> Dataset:
    """FER2013 in any form that `load_dataset` reads, Kaggle's `fer2013.csv` (301 MB) the usual.

    Every row is checked: a label of 0..6, 2,304 pixels of 0..255, a Usage that is one of the
    official splits. Raises `DataError` naming the line of the file.
    """
    return load_dataset(path)


def _survey(path: Path) -> _Contents:
    contents = _Contents()
    for member in members(path):
        if is_picture(member):
            if "/" in member.name:
                contents.n_pictures += 1
            else:
                contents.others.append(f"{member.name} outside a folder named after its class")
            continue
        start = member.stream.read(4096)
        if start.startswith(MAGIC):
            contents.parquets.append(member.name)
            continue
        header = _first_line(start)
        if is_table(header):
            contents.tables[member.name] = header
        else:
            contents.others.append(member.name)
    return contents


def _first_line(start: bytes) -> list[str]:
    """The first line of a file as CSV cells, empty where it is no text."""
    try:
        line = start.split(b"\n", 1)[0].decode("utf-8-sig")
        return next(csv.reader([line.rstrip("\r")]), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def _table(member: Member, on_bad: OnBad | None) -> Dataset:
    text = io.TextIOWrapper(member.stream, encoding="utf-8-sig", newline="")
    try:
        return read_table(text, member.where, on_bad)
    except UnicodeDecodeError:
        raise DataError(f"{member.where}: expected a CSV text file, found binary data") from None
    finally:
        text.detach()  # the member closes its own stream


def _parquets(
    path: Path, contents: _Contents, label_map: Mapping[str, str] | None
) -> Iterator[Row | DataError]:
    for member in members(path):
        if member.name in contents.parquets:
            # Without a column for it, the split is what the file's name says, as on the hubs
            # where such files are found: train-00000-of-00001.parquet.
            stem = PurePosixPath(member.name).stem.lower()
            split = 1 if stem.startswith(("test", "val", "dev", "public")) else 0
            # Parquet is read from its end: what cannot seek cheaply is taken into memory first.
            yield from parquet_rows(
                io.BytesIO(member.stream.read()), member.where, label_map, split
            )
