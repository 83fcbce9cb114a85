"""FER2013 as Kaggle ships it: `fer2013.csv` with the columns emotion, pixels and Usage."""

from __future__ import annotations

import csv
import os
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import FACE_SIZE, SPLITS, Dataset
from semblante.emotions import EMOTIONS
from semblante.errors import DataError

COLUMNS: Final = ("emotion", "pixels", "Usage")
_N_PIXELS: Final = FACE_SIZE * FACE_SIZE


def load_fer2013(path: str | os.PathLike[str]) -> Dataset:
    """Read Kaggle's `fer2013.csv` (35,887 rows, 301 MB) and check every row.

    Raises `DataError` naming the line of the file: for a header other than
    `emotion,pixels,Usage`, a label outside 0..6, a row without exactly 2,304 pixels of
    0..255, or a Usage that is none of the official splits.
    """
    path = Path(path)
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    splits: list[int] = []
    try:
        # utf-8-sig drops the byte-order mark that spreadsheet programs write.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            _check_header(next(rows, []), path)
            for row in rows:
                if not row:  # a blank line, at the end say
                    continue
                where = f"{path}, line {rows.line_num}"
                if len(row) != len(COLUMNS):
                    raise DataError(
                        f"{where}: expected {len(COLUMNS)} columns "
                        f"({','.join(COLUMNS)}), found {len(row)}"
                    )
                labels.append(_label(row[0], where))
                images.append(_face(row[1], where))
                splits.append(_split(row[2], where))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected a CSV text file, found binary data") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: not valid CSV: {error}") from None
    if not labels:
        raise DataError(f"{path}: there is a header but no row")
    return Dataset(np.stack(images), np.array(labels, np.int64), np.array(splits, np.uint8))


def _check_header(header: list[str], path: Path) -> None:
    if tuple(header) != COLUMNS:
        found = ",".join(header)
        found = found if len(found) <= 60 else found[:60] + "..."
        raise DataError(f"{path}: expected the header {','.join(COLUMNS)}, found {found!r}")


def _label(text: str, where: str) -> int:
    if text not in {str(label) for label in range(len(EMOTIONS))}:
        raise DataError(f"{where}: expected a label 0..{len(EMOTIONS) - 1}, found {text[:20]!r}")
    return int(text)


def _face(text: str, where: str) -> npt.NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            # At a word that is no number numpy raises; before 2.4 it stopped there and warned.
            warnings.simplefilter("error", DeprecationWarning)
            pixels = np.fromstring(text, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        pixels = np.empty(0, np.int64)
    if len(pixels) != _N_PIXELS or text.count(" ") != _N_PIXELS - 1:
        words = text.split()
        odd = [word for word in words if not word.removeprefix("-").isdecimal()]
        raise DataError(
            f"{where}: expected {_N_PIXELS} whole numbers ({FACE_SIZE}x{FACE_SIZE} pixels) "
            f"between single spaces, found {len(words)} words"
            + (f", among them {odd[0][:20]!r}" if odd else "")
        )
    if pixels.min() < 0 or pixels.max() > 255:
        wrong = pixels[(pixels < 0) | (pixels > 255)][0]
        raise DataError(f"{where}: expected pixels of 0..255, found {wrong}")
    return pixels.astype(np.uint8).reshape(FACE_SIZE, FACE_SIZE)


def _split(text: str, where: str) -> int:
    if text not in SPLITS:
        raise DataError(f"{where}: expected a Usage of {', '.join(SPLITS)}, found {text[:20]!r}")
    return SPLITS.index(text)
