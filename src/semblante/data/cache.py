"""A dataset that was read once opens at once: arrays on disk, mapped into memory.

    ~/.cache/semblante/datasets/       (see `files.user_folder`)
        <sha256 of the file>-N/        images.npy, labels.npy, splits.npy, and names.npy and
                                       groups.npy where the file tells them, and `guessed` where
                                       its classes are numbers; N is `VERSION`; -N-VARIANT where
                                       more than the content has a say
        seen/<file's identity>         that sha256, so that an unchanged file is not hashed again

A file's identity is its path, size, inode and times of last change, of its content and (on Unix)
of anything about it. Where any of them differs the content is hashed, so a copy or a moved file
finds its arrays too, and a changed one never does.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from semblante.data.dataset import SPLITS, UNLABELLED, Dataset
from semblante.emotions import EMOTIONS
from semblante.files import user_folder, write_atomically
from semblante.preprocess import FACE_SIZE

# To be raised when the reading of any form changes its result.
VERSION: Final = 8
_ARRAYS: Final = ("images", "labels", "splits")
_OPTIONAL: Final = ("names", "groups")
_GUESSED: Final = "guessed"
_NUMBERS = itertools.count()


def through_cache(
    path: Path, read: Callable[[], tuple[Dataset, bool]], variant: str = ""
) -> tuple[Dataset, bool]:
    """The dataset of the file `path`, and whether its classes were guessed from numbers: from the
    cache, or by `read` and then into the cache.

    `variant` tells apart what `read` makes of files with the same content, where their names have
    a say. Raises what `read` raises. A cache that cannot be written or read only costs time.
    """
    try:
        place = user_folder("datasets") / f"{_content_hash(path)}-{VERSION}{variant}"
    except OSError:
        return read()
    found = _open(place)
    if found is not None:
        return found, (place / _GUESSED).exists()
    dataset, guessed = read()
    _store(dataset, place, guessed=guessed)
    return dataset, guessed


def _content_hash(path: Path) -> str:
    state = path.stat()
    times = f"{state.st_mtime_ns} {state.st_ctime_ns}"  # the former can be set back, and is
    identity = f"{path.resolve()} {state.st_size} {times} {state.st_ino}"
    seen = user_folder("datasets") / "seen" / hashlib.sha256(os.fsencode(identity)).hexdigest()
    try:
        noted = seen.read_text(encoding="ascii")
    except (OSError, ValueError):
        noted = ""
    if re.fullmatch("[0-9a-f]{64}", noted):  # or a power cut has left it empty, say
        return noted
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if path.stat().st_mtime_ns == state.st_mtime_ns:  # not changed while it was hashed
        with suppress(OSError):
            seen.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(seen, lambda beside: beside.write_text(digest, encoding="ascii"))
    return digest


def _open(place: Path) -> Dataset | None:
    try:
        arrays = {
            name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in (*_ARRAYS, *_OPTIONAL)
            if name in _ARRAYS or (place / f"{name}.npy").exists()
        }
    except (OSError, ValueError, EOFError):
        return None
    if not all(isinstance(array, np.ndarray) and array.ndim for array in arrays.values()):
        return None
    n = len(arrays["images"])
    shapes = {"images": (n, FACE_SIZE, FACE_SIZE)}
    if any(array.shape != shapes.get(name, (n,)) for name, array in arrays.items()):
        return None
    kinds = {"images": np.uint8, "labels": np.int64, "splits": np.uint8}
    if any(arrays[name].dtype != kind for name, kind in kinds.items()):
        return None
    limits = {"labels": (UNLABELLED, len(EMOTIONS) - 1), "splits": (0, len(SPLITS) - 1)}
    for name, (least, most) in limits.items():
        if n and not (least <= arrays[name].min() and arrays[name].max() <= most):
            return None
    return Dataset(**arrays)


def _store(dataset: Dataset, place: Path, *, guessed: bool) -> None:
    """Under another name, then renamed; failing only costs time."""
    if place.exists():  # damaged, or another process was quicker
        shutil.rmtree(place, ignore_errors=True)
    beside = place.with_name(f".{os.getpid()}-{next(_NUMBERS)}.tmp")
    try:
        beside.mkdir(parents=True)
        for name in (*_ARRAYS, *_OPTIONAL):
            if (array := getattr(dataset, name)) is not None:
                np.save(beside / f"{name}.npy", array, allow_pickle=False)
        if guessed:
            (beside / _GUESSED).touch()
        beside.replace(place)  # fails where another process put its own meanwhile
    except OSError:
        pass
    finally:
        shutil.rmtree(beside, ignore_errors=True)
