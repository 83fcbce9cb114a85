"""Files: telling whether two names mean the same one, listing folders, and atomic writes."""

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
_PAUSES_S = (0.05, 0.2, 0.8)  # before a file that another program holds is tried again
# The same for a folder of new files, of which there may be thousands: a virus scanner reads each.
FOLDER_PAUSES_S = (*_PAUSES_S, 2.0, 4.0, 8.0, 16.0)
# Names that systems and file managers add beside the data, and that do not begin with a dot.
_SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information")
# The folder of macOS's Photos: it holds each picture several times, in several sizes.
_PHOTOS_LIBRARY = ".photoslibrary"


def user_folder(kind: str) -> Path:
    """Return this user's folder for files of a `kind`: below `$SEMBLANTE_CACHE`, else below
    semblante's folder in `$XDG_CACHE_HOME` or ~/.cache. The folder is not created. Raises `OSError`
    if no home folder is known."""
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
    """Return a value that is equal for two names of the same file or folder, also on file systems
    that ignore case, such as macOS's. If nothing exists there yet, it is equal for two names that
    might become the same file."""
    try:
        state = os.stat(path)  # noqa: PTH116
        if state.st_ino:  # some network drives have no inode numbers
            return state.st_dev, state.st_ino
    except (OSError, ValueError):
        pass
    return key_of_name(os.path.realpath(path))


def identities(path: str | os.PathLike[str]) -> set[Hashable]:
    """Return the `identity` that a file has now and the one it would have if it were not there yet:
    two names of the same file have one of them in common, whenever each is asked."""
    return {identity(path), key_of_name(os.path.realpath(path))}


def key_of_name(name: str) -> str:
    """Return a key that is equal for names that some systems treat as the same: names that differ
    only in case, or in whether accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()


def lies_in(path: Path, folder: Path) -> PurePosixPath | None:
    """Return the relative path of `path`, which need not exist, in `folder`; None if it is not in
    it."""
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
    """Yield all files in `folder` and its sub-folders that are not hidden. Links to folders are
    followed, and each folder is visited once. `onerror` is called for folders that cannot be read;
    the sub-folders in `leave_out` are skipped."""
    seen = {identity(path) for path in leave_out} - {identity(folder)}
    for place, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        this = identity(place)
        if this in seen:  # reached by another link, or by a cycle of links
            folders.clear()
            continue
        seen.add(this)
        folders[:] = sorted(
            name for name in folders if not is_hidden(name) and not _is_windows_own(place, name)
        )
        yield from (Path(place, name) for name in names if not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Whether a relative path is hidden, or in something that systems and file managers add, or in
    a library of macOS's Photos."""
    return any(
        part.lower() in _SYSTEM_FOLDERS
        or part.lower().endswith(_PHOTOS_LIBRARY)
        or (part.startswith(".") and bool(part.strip(".")))
        for part in PurePosixPath(name).parts
    )


def _is_windows_own(folder: str, name: str) -> bool:
    """Whether Windows marks it as hidden and as the system's own: for example the links from
    Documents to My Pictures, which nobody is allowed to list."""
    try:
        attributes = getattr(Path(folder, name).lstat(), "st_file_attributes", 0)
    except OSError:
        return False
    own = stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM
    return attributes & own == own


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` create a file next to `path`, then rename it: a reader never sees half a file.

    A symbolic link stays, and its target is replaced. The new file gets the permissions of the
    file that it replaces. A device or a pipe is written directly. Raises `OSError` naming `path`.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        write(path)  # not by its real path: a pipe in /dev/fd has none that can be opened
        return
    real = Path(os.path.realpath(path))
    # Not the process id: containers that share a folder often have the same one.
    # Short, for Windows: many programs cannot use paths of more than 260 characters.
    beside = real.with_name(f".semblante-{secrets.token_hex(4)}")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        if real.is_file() and not _WINDOWS:  # where the mode is only a read-only flag
            with suppress(OSError):  # some network drives have no modes
                shutil.copymode(real, beside)
        replace_file(beside, real)
    except OSError as error:
        if error.filename not in (None, str(beside)):
            raise  # the error is about another file that `write` used
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):  # a read-only disk, for example
            beside.unlink(missing_ok=True)


def replace_file(beside: Path, real: Path, pauses_s: Iterable[float] = _PAUSES_S) -> None:
    """Call `beside.replace(real)`; on Windows again after each of the pauses if it is denied."""
    _patiently(lambda: beside.replace(real), pauses_s)


def delete_file(path: Path) -> None:
    """Delete a file; on Windows with retries, as `replace_file`."""
    _patiently(path.unlink, _PAUSES_S)


def _patiently(act: Callable[[], object], pauses_s: Iterable[float]) -> None:
    """Call `act`, on Windows with retries: a virus scanner or a cloud client may keep a file open
    for a moment there."""
    for pause_s in pauses_s if _WINDOWS else ():
        try:
            act()
            return
        except PermissionError:
            time.sleep(pause_s)
    act()


def write_json(path: Path, values: Any) -> None:
    """Write `values` as indented JSON, atomically."""

    def write(beside: Path) -> None:
        beside.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    write_atomically(path, write)
