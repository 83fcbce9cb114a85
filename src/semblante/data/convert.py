"""Converts a dataset to another form without loss: read back, all pixels are the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from semblante.data.dataset import SPLITS, UNLABELLED, Dataset
from semblante.data.folders import face_name
from semblante.data.parquet import pyarrow_parquet, write_parquet
from semblante.emotions import EMOTIONS
from semblante.errors import DataError, OptionError
from semblante.files import FOLDER_PAUSES_S, replace_file, write_atomically
from semblante.images import RgbImage
from semblante.picture_writing import encoded_png
from semblante.preprocess import FACE_SIZE


def convert(dataset: Dataset, out: Path) -> None:
    """Write `dataset` to `out`: a .csv or .parquet file, or a folder if the name has no suffix.

    Raises `DataError` for faces without a label, `OptionError` for another suffix or a folder
    that is not empty.
    """
    check_out(out)
    if (dataset.labels == UNLABELLED).any():
        raise DataError("faces without a label cannot be converted")
    _writers()[out.suffix.lower()](dataset, out)


def check_out(out: Path) -> None:
    """Raise the errors that `convert` would raise for this path, before any long work."""
    if out.suffix.lower() not in _writers():
        raise OptionError(
            f"expected a name that ends in .csv or .parquet, or a folder's name, found {out}"
        )
    if out.suffix.lower() == ".parquet":
        pyarrow_parquet()
    if not out.suffix and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"{out}: expected a new or an empty folder")


def _writers() -> dict[str, Callable[[Dataset, Path], None]]:
    """The function that writes each form, by the suffix of the path."""
    return {".csv": write_table, ".parquet": write_parquet, "": write_folders}


def write_table(dataset: Dataset, path: Path) -> None:
    """Write a table like Kaggle's fer2013.csv: emotion,pixels,Usage."""
    levels = [str(level) for level in range(256)]

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write("emotion,pixels,Usage\n")
            for _, row in dataset.rows():
                pixels = " ".join([levels[level] for level in row.image.ravel().tolist()])
                file.write(f"{row.label},{pixels},{SPLITS[row.split]}\n")

    write_atomically(path, write)


def write_folders(dataset: Dataset, path: Path) -> None:
    """Write PNG files such as `PublicTest/happy/PublicTest_028710.png`, named by row number."""
    path = path.resolve()  # the name of `.` would be empty
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        for number, row in dataset.rows():
            file = beside / face_name(number, row.label, row.split)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded_png(row.image))
        if path.exists():  # it may be somebody's current folder: keep and fill it
            for child in beside.iterdir():
                replace_file(child, path / child.name, FOLDER_PAUSES_S)
        else:
            replace_file(beside, path, FOLDER_PAUSES_S)
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def faces_by_emotion(dataset: Dataset, columns: int = 24) -> RgbImage:
    """A contact sheet (H, W, 3): a row of `columns` random faces for each of `EMOTIONS`."""
    rng = np.random.default_rng(0)
    sheet = np.full((len(EMOTIONS) * FACE_SIZE, columns * FACE_SIZE), 255, np.uint8)
    for label in range(len(EMOTIONS)):
        rows = np.flatnonzero(dataset.labels == label)
        for column, row in enumerate(rng.permutation(rows)[:columns]):
            top, left = label * FACE_SIZE, column * FACE_SIZE
            sheet[top : top + FACE_SIZE, left : left + FACE_SIZE] = dataset.images[row]
    return np.repeat(sheet[:, :, None], 3, axis=2)
