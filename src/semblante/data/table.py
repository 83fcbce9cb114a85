"""Reads FER2013 as a table of pixels, in any of the CSV files in which it is distributed:

fer2013.csv         emotion,pixels,Usage        Kaggle's, the usual one
icml_face_data.csv  emotion, Usage, pixels      with spaces in the header
train.csv           emotion,pixels              the competition's, without splits
test.csv            pixels                      the competition's, without splits and labels
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.data.class_names import ClassNames
from semblante.data.dataset import SPLITS, UNLABELLED, Dataset, OnBad, Row, collect
from semblante.data.text import csv_table
from semblante.errors import DataError
from semblante.preprocess import FACE_SIZE

_N_PIXELS: Final = FACE_SIZE * FACE_SIZE
_COLUMNS: Final = ("emotion", "pixels", "usage")
_INDEX: Final = ("", "unnamed: 0")  # the column of row numbers that pandas writes; ignored


def is_table(header: list[str]) -> bool:
    """Whether this is the first line of a table of pixels."""
    return "pixels" in _names(header)


def n_known_columns(header: list[str]) -> int:
    """How many columns of a table's header are read."""
    return len(set(_names(header)) & set(_COLUMNS))


def read_table(
    lines: Iterable[str], where: str, classes: ClassNames, on_bad: OnBad | None = None
) -> Dataset:
    """Read a table of pixels and check every row.

    Raises `DataError`, which names `where` and the line, for another header, a label that is
    neither 0..6 nor in the map, a row without exactly 2,304 pixels of 0..255, or a Usage that is
    not an official split. With `on_bad` bad rows are passed to it and left out. Without a Usage
    column all faces are Training; without an emotion column they have no label.
    """
    # A line is a row, and no cell needs quotes: a stray opening quote would swallow all rows up to
    # the next quote.
    header, rows = csv_table(lines, where, quoting=csv.QUOTE_NONE)
    header = [cell.strip('"') for cell in header]
    columns = _columns(header, where)
    return collect(_rows(rows, header, columns, classes), on_bad, where)


def _rows(
    rows: Iterable[tuple[str, list[str]] | DataError],
    header: list[str],
    columns: dict[str, int],
    classes: ClassNames,
) -> Iterator[Row | DataError]:
    for found in rows:
        if isinstance(found, DataError):
            yield found
            continue
        place, row = found[0], [cell.strip('"') for cell in found[1]]
        try:
            if len(row) != len(header):
                raise DataError(
                    f"{place}: expected {len(header)} columns "
                    f"({','.join(_names(header))}), found {len(row)}"
                )
            label: int | None = UNLABELLED
            if "emotion" in columns:
                label = classes.label(row[columns["emotion"]], place)
            if label is None:  # the map drops this class
                continue
            split = _split(row[columns["usage"]], place) if "usage" in columns else 0
            yield Row(_face(row[columns["pixels"]], place), label, split)
        except DataError as error:
            yield error


def _names(header: list[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def _columns(header: list[str], where: str) -> dict[str, int]:
    places = [(name, place) for place, name in enumerate(_names(header)) if name not in _INDEX]
    columns = dict(places)
    if "pixels" not in columns or columns.keys() - set(_COLUMNS) or len(columns) < len(places):
        found = ",".join(header)
        found = found if len(found) <= 60 else found[:60] + "..."
        raise DataError(
            f"{where}: expected a header of emotion,pixels,Usage (emotion and Usage may be "
            f"missing), found {found!r}"
        )
    return columns


def _face(text: str, place: str) -> npt.NDArray[np.uint8]:
    text = text.strip()
    try:
        with warnings.catch_warnings():
            # At a word that is not a number, numpy raises ValueError; before 2.4 it stopped reading
            # and issued this warning.
            warnings.simplefilter("error", DeprecationWarning)
            pixels = np.fromstring(text, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        pixels = np.empty(0, np.int64)
    if len(pixels) != _N_PIXELS or text.count(" ") != _N_PIXELS - 1:
        words = text.split()
        odd = [word for word in words if not word.removeprefix("-").isdecimal()]
        raise DataError(
            f"{place}: expected {_N_PIXELS} whole numbers ({FACE_SIZE}x{FACE_SIZE} pixels) "
            f"between single spaces, found {len(words)} words"
            + (f", among them {odd[0][:20]!r}" if odd else "")
        )
    if pixels.min() < 0 or pixels.max() > 255:
        wrong = pixels[(pixels < 0) | (pixels > 255)][0]
        raise DataError(f"{place}: expected pixels of 0..255, found {wrong}")
    return pixels.astype(np.uint8).reshape(FACE_SIZE, FACE_SIZE)


def _split(text: str, place: str) -> int:
    if text.strip() not in SPLITS:
        raise DataError(f"{place}: expected a Usage of {', '.join(SPLITS)}, found {text[:20]!r}")
    return SPLITS.index(text.strip())
