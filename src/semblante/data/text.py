"""Reads CSV text with commas between cells, or with tabs, or with semicolons, as programs write it
in countries with a decimal comma."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from semblante.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader


def csv_table(
    lines: Iterable[str], where: str, **form: Any
) -> tuple[list[str], Iterator[tuple[str, list[str]] | DataError]]:
    """Return the header of CSV text and an iterator over its rows. Each row comes with its place
    for messages (`where` and the line), or is an error. Blank rows are left out. `form`: options of
    `csv.reader`."""
    rows = csv_reader(lines, **form)
    try:
        header = next(rows, [])
    except csv.Error as error:
        raise _invalid(rows, where, error) from None
    return header, _placed(rows, where)


def _placed(rows: Reader, where: str) -> Iterator[tuple[str, list[str]] | DataError]:
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield _invalid(rows, where, error)
        else:
            if row:
                yield f"{where}, line {rows.line_num}", row


def _invalid(rows: Reader, where: str, error: csv.Error) -> DataError:
    return DataError(f"{where}, line {rows.line_num}: not valid CSV: {error}")


def csv_reader(lines: Iterable[str], **form: Any) -> Reader:
    """A `csv.reader` over CSV text, with `form` as its options. The first line tells whether
    commas, semicolons or tabs separate the cells."""
    lines = iter(lines)
    first = next(lines, "")
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    return csv.reader(itertools.chain([first], lines), delimiter=separator, **form)
