"""CSV as programs write it: cells between commas, or between semicolons as where a comma is
decimal."""

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
    """The header of CSV text, read by `csv.reader` with `form`; and each row with its place for
    messages, `where` and the line, or what is wrong with it. Blank rows are left out."""
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
    """The rows of CSV text, by `csv.reader` with `form`; what separates cells is seen from the
    first line."""
    lines = iter(lines)
    first = next(lines, "")
    separator = ";" if ";" in first and "," not in first else ","
    return csv.reader(itertools.chain([first], lines), delimiter=separator, **form)
