"""Files that appear whole or not at all."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

_NUMBERS = itertools.count()


def user_folder(kind: str) -> Path:
    """Where files of a `kind` are kept for this user: in `$SEMBLANTE_CACHE`, else in semblante's
    folder of `$XDG_CACHE_HOME` or ~/.cache. Nothing is made here."""
    if chosen := os.environ.get("SEMBLANTE_CACHE"):
        return Path(chosen) / kind
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "semblante" / kind


def files_below(
    folder: Path,
    onerror: Callable[[OSError], object] | None = None,
    leave_out: Iterable[str] = (),
) -> Iterator[Path]:
    """All that is no folder in `folder` and its sub-folders, links to folders too, each of them
    once; `onerror` is told of folders that cannot be read, `leave_out` are real paths of
    sub-folders."""
    seen = set(leave_out) - {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # by another way, or in a circle
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(place, name) for name in names)


def is_hidden(name: str) -> bool:
    """Is it, by its place below a folder, what systems and file managers add beside the data?"""
    return any(
        part in ("__MACOSX", "@eaDir") or (part.startswith(".") and bool(part.strip(".")))
        for part in PurePosixPath(name).parts
    )


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then rename it: a reader never sees half a file.

    A symbolic link stays and its target is replaced; a file that is replaced hands its
    permissions on; a device or a pipe is written directly. Raises `OSError` naming `path`.
    """
    real = Path(os.path.realpath(path))
    if real.exists() and not real.is_file() and not real.is_dir():
        write(real)
        return
    beside = real.with_name(f".semblante-{os.getpid()}-{next(_NUMBERS)}.tmp")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        if real.is_file():
            shutil.copymode(real, beside)
        beside.replace(real)
    except OSError as error:
        if error.filename not in (None, str(beside)):
            raise  # of another file that `write` worked on
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    """`values` as indented JSON, atomically."""

    def write(beside: Path) -> None:
        beside.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    write_atomically(path, write)
