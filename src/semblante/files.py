"""Files: which names mean one, what lies in a folder, and writing them whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import time
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

_WINDOWS = os.name == "nt"
# What systems and file managers add beside the data, whose names do not begin with a dot.
_SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information")


def user_folder(kind: str) -> Path:
    """Where files of a `kind` are kept for this user: in `$SEMBLANTE_CACHE`, else in semblante's
    folder of `$XDG_CACHE_HOME` or ~/.cache. Nothing is made here. Raises `OSError` where no home
    is known."""
    if chosen := os.environ.get("SEMBLANTE_CACHE"):
        return Path(chosen) / kind
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise OSError(
            errno.ENOENT, "no home folder is known; SEMBLANTE_CACHE can name a folder for files"
        ) from None
    return Path(home) / "semblante" / kind


def identity(path: str | os.PathLike[str]) -> Hashable:
    """The same for two names of one file or folder, where letters' case does not count, as on
    macOS, too; of what does not exist, for two names that might be of one."""
    try:
        state = os.stat(path)  # noqa: PTH116
        if state.st_ino:  # some network drives have no numbers
            return state.st_dev, state.st_ino
    except (OSError, ValueError):
        pass
    return key_of_name(os.path.realpath(path))


def key_of_name(name: str) -> str:
    """The same for names that some systems take for one: in another case, accents apart or not."""
    return unicodedata.normalize("NFC", name).casefold()


def lies_in(path: Path, folder: Path) -> PurePosixPath | None:
    """The place of `path`, which need not exist, below `folder`; None where it lies elsewhere."""
    real, wanted = Path(os.path.realpath(path)), identity(folder)
    for above in (real, *real.parents):
        if identity(above) == wanted:
            return PurePosixPath(real.relative_to(above).as_posix())
    return None


def files_below(
    folder: Path,
    onerror: Callable[[OSError], object] | None = None,
    leave_out: Iterable[Path] = (),
) -> Iterator[Path]:
    """All that is no folder in `folder` and its sub-folders, links to folders too, each of them
    once, but for what is hidden; `onerror` is told of folders that cannot be read, `leave_out` are
    sub-folders."""
    seen = {identity(path) for path in leave_out} - {identity(folder)}
    for place, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        this = identity(place)
        if this in seen:  # by another way, or in a circle
            folders.clear()
            continue
        seen.add(this)
        folders[:] = sorted(
            name for name in folders if not is_hidden(name) and not _is_windows_own(place, name)
        )
        yield from (Path(place, name) for name in names if not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Is it, by its place below a folder, what systems and file managers add beside the data?"""
    return any(
        part.lower() in _SYSTEM_FOLDERS or (part.startswith(".") and bool(part.strip(".")))
        for part in PurePosixPath(name).parts
    )


def _is_windows_own(folder: str, name: str) -> bool:
    """Hidden and of the system, as Documents' links to My Pictures, which nobody may list."""
    try:
        attributes = getattr(Path(folder, name).lstat(), "st_file_attributes", 0)
    except OSError:
        return False
    own = stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM
    return attributes & own == own


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then rename it: a reader never sees half a file.

    A symbolic link stays and its target is replaced; a file that is replaced hands its
    permissions on; a device or a pipe is written directly. Raises `OSError` naming `path`.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        write(path)  # by this name: that of a pipe among the open files leads nowhere else
        return
    real = Path(os.path.realpath(path))
    # Process numbers would not do: containers that share a folder often have the same ones.
    beside = real.with_name(f".semblante-{secrets.token_hex(8)}.tmp")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        if real.is_file() and not _WINDOWS:  # where a file's mode can only keep us from writing
            shutil.copymode(real, beside)
        replace_file(beside, real)
    except OSError as error:
        if error.filename not in (None, str(beside)):
            raise  # of another file that `write` worked on
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):  # of a disk that may not be written to
            beside.unlink(missing_ok=True)


def replace_file(beside: Path, real: Path) -> None:
    """`beside.replace(real)`, more than once on Windows, where a virus scanner, or what copies
    files to a cloud, may hold one for a moment."""
    for pause_s in (0.05, 0.2, 0.8) if _WINDOWS else ():
        try:
            beside.replace(real)
            return
        except PermissionError:
            time.sleep(pause_s)
    beside.replace(real)


def write_json(path: Path, values: Any) -> None:
    """`values` as indented JSON, atomically."""

    def write(beside: Path) -> None:
        beside.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    write_atomically(path, write)
