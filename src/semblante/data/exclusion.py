"""Lists of rows to leave out: what `semblante data audit --drop` writes and `--exclude` reads.

    # rows to leave out of the dataset with the fingerprint 5db5b9de...
    row,reason
    12,extra copy

Rows are numbered from 0 in the dataset's order.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import Dataset
from semblante.data.text import csv_reader
from semblante.errors import DataError
from semblante.files import write_atomically

_START: Final = "# rows to leave out of the dataset with the fingerprint "
_HEADER: Final = ["row", "reason"]


def write_exclusion(path: Path, dataset: Dataset, reasons: Mapping[int, str]) -> None:
    """Write a list of rows of `dataset`, each with the reason for leaving it out."""

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write(f"{_START}{dataset.fingerprint()}\n")
            csv.writer(file, lineterminator="\n").writerows([_HEADER, *reasons.items()])

    write_atomically(path, write)


def is_exclusion(path: Path) -> bool:
    """Whether a file is a list of rows to leave out, of any dataset."""
    try:
        with path.open("rb") as file:
            return file.read(len(_START)) == _START.encode()
    except OSError:
        return False


def read_exclusion(path: Path, dataset: Dataset) -> npt.NDArray[np.bool_]:
    """(n,): which rows of `dataset` the list names.

    Raises `DataError` for a list of another dataset's rows and for a bad line, which it names.
    """
    excluded = np.zeros(len(dataset), np.bool_)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # A spreadsheet pads each line to the widest row, with its own separator.
            first = file.readline().rstrip(",; \t\r\n")
            rows = csv_reader(file)
            if not first.startswith(_START) or next(rows, []) != _HEADER:
                raise DataError(
                    f"{path}: expected a list of rows that `semblante data audit --drop` wrote, "
                    f"found {first[:60]!r}"
                )
            if first.removeprefix(_START) != dataset.fingerprint():
                raise DataError(f"{path}: lists rows of another dataset than the one given")
            for row in rows:
                number = int(row[0]) if row and row[0].isdecimal() and len(row[0]) < 10 else -1
                if not 0 <= number < len(dataset):
                    raise DataError(
                        f"{path}, line {rows.line_num + 1}: expected a row number of "
                        f"0..{len(dataset) - 1}, found {','.join(row)[:60]!r}"
                    )
                excluded[number] = True
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path}: expected a CSV text file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    return excluded
