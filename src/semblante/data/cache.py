"""A cache of datasets that were read: arrays on disk, mapped into memory, which open at once.

    ~/.cache/semblante/datasets/       (see `files.user_folder`)
        <sha256 of the file>-N/        images.npy, labels.npy, splits.npy, and names.npy and
                                       groups.npy if the file has names and groups, and an
                                       empty file `guessed` if its classes are numbers; N is
                                       `VERSION`; -N-VARIANT where the result depends on more
                                       than the file's content
        seen/<file's identity>         holds that sha256: an unchanged file is not hashed again

A file's identity is a hash of its path, size, inode, time of last modification and, on Unix, time
of last change of its metadata. If any of these differs, the content is hashed again. So a copied
or moved file finds its arrays too, and a changed file never finds the old ones.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from semblante.data.dataset import Dataset
from semblante.files import replace_file, user_folder, write_atomically

# Increase this whenever a change to the code alters what is read from any form of dataset.
VERSION: Final = 10
_ARRAYS: Final = ("images", "labels", "splits")
_OPTIONAL: Final = ("names", "groups")
_GUESSED: Final = "guessed"


def through_cache(
    path: Path, read: Callable[[], tuple[Dataset, bool]], variant: str = ""
) -> tuple[Dataset, bool]:
    """Return the dataset in the file `path`, and whether its classes were guessed from numbers.

    Both come from the cache, or else from `read`, and are then stored in the cache. `variant`
    distinguishes files with the same content that `read` understands differently because of their
    names. Raises what `read` raises. A cache that cannot be written or read only costs time.
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
    times = f"{state.st_mtime_ns} {state.st_ctime_ns}"  # programs do set mtime back
    identity = f"{path.resolve()} {state.st_size} {times} {state.st_ino}"
    seen = user_folder("datasets") / "seen" / hashlib.sha256(os.fsencode(identity)).hexdigest()
    try:
        noted = seen.read_text(encoding="ascii")
    except (OSError, ValueError):
        noted = ""
    if re.fullmatch("[0-9a-f]{64}", noted):  # it may be empty after a power cut
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
    except (OSError, ValueError, EOFError):  # missing, cut off, or no array at all
        return None
    return Dataset(**arrays)


def _store(dataset: Dataset, place: Path, *, guessed: bool) -> None:
    """Write the arrays to a temporary folder and rename it. A failure only costs time."""
    # Process ids would not do for its name: containers that share a folder have the same ones.
    beside = place.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        beside.mkdir(parents=True)
    except OSError:
        return
    try:
        for name in (*_ARRAYS, *_OPTIONAL):
            if (array := getattr(dataset, name)) is not None:
                np.save(beside / f"{name}.npy", array, allow_pickle=False)
        if guessed:
            (beside / _GUESSED).touch()
        if _open(place) is not None:  # another process has stored its own meanwhile
            return
        shutil.rmtree(place, ignore_errors=True)  # it is damaged
        replace_file(beside, place)
    except OSError:
        pass
    finally:
        shutil.rmtree(beside, ignore_errors=True)
