"""Finds out in which form labelled faces come: what a file, a folder or an archive holds."""

from __future__ import annotations

import codecs
import csv
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from semblante.data.listing import is_listing
from semblante.data.members import as_data_errors, members
from semblante.data.parquet import MAGIC
from semblante.data.table import is_table
from semblante.data.text import csv_reader
from semblante.images import SUFFIXES

FORMS: Final[dict[str, str]] = {
    "table": "a table of pixels (CSV with a header like emotion,pixels,Usage)",
    "listing": "a list of pictures (CSV with a header like path,label,split)",
    "parquet": "Parquet with a picture and a label column",
    "folders": "pictures in folders named after their class",
}
_TABULAR: Final = frozenset({".csv", ".tsv", ".txt", ".parquet"})
START_BYTES: Final = 4096  # of each file, from which its form is recognised


@dataclass
class Contents:
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


def form_of(path: str | os.PathLike[str]) -> str | None:
    """The key in `FORMS` of the form in which `load_dataset` would read a path; None if it would
    not read it."""
    with as_data_errors(Path(path)):
        return survey(Path(path)).form


def survey(path: Path) -> Contents:
    """Look at the start of each member of a path. Raises as `members` does."""
    contents = Contents()
    for member in members(path):
        if member.suffix in SUFFIXES:
            if "/" in member.name:
                contents.pictures[member.name] = member.where
            else:
                contents.loose.append(member.name)
            continue
        try:
            start = member.stream.read(START_BYTES)
        except OSError as error:  # for example a link in an archive
            if member.suffix in _TABULAR:  # it may be the table or list that the user means
                raise
            contents.others.append(f"{member.name} (cannot be read: {error.strerror or error})")
            continue
        if start.startswith(MAGIC):
            contents.parquets.append(member.name)
            continue
        header = first_line(start)
        if is_table(header):
            contents.tables[member.name] = header
        elif is_listing(header):
            contents.listings.append(member.name)
        else:
            contents.others.append(member.name + _description(start, header))
    return contents


def first_line(start: bytes) -> list[str]:
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
