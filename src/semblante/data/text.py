"""CSV as programs write it: cells between commas, or between semicolons as where a comma is
decimal."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _csv import Reader


def csv_rows(lines: Iterable[str], **form: Any) -> Reader:
    """The rows of CSV text, by `csv.reader` with `form`; what separates cells is seen from the
    first line."""
    lines = iter(lines)
    first = next(lines, "")
    separator = ";" if ";" in first and "," not in first else ","
    return csv.reader(itertools.chain([first], lines), delimiter=separator, **form)
