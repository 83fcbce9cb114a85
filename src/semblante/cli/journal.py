"""Keep what a long analysis has found so far in a file beside its output, until all is done.

A run that was killed goes on from this file, and its output is the same as without interruption:

    {"semblante": {...}}                                        the inputs and settings
    {"input": 0, "ended": true, "analysis": {...}}              a picture
    {"input": 1, "ended": false, "analysis": {...}}             a frame of a video
    {"input": 1, "ended": true, "analysis": null}               its end

A video that was interrupted starts again, since its tracks depend on all earlier frames.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from semblante.errors import OptionError
from semblante.files import delete_file
from semblante.results import Analysis

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# The place of the byte that is locked on Windows, where locked bytes cannot be read: after the end.
_LOCKED: Final = 1 << 30
_KEYS: Final = {"input", "ended", "analysis"}


class Journal:
    """The file `out`.partial; `out` itself is written when all is done."""

    def __init__(self, out: Path, about: dict[str, Any], *, resume: bool) -> None:
        """`about`: inputs and settings, which must be the same when a run goes on. With `resume` a
        run that was not begun begins. Raises `OptionError` with `resume` if `about` differs or the
        run has ended, without `resume` if results of an unfinished run would be lost, and if
        another run is at work on the file."""
        self.path = out.with_name(out.name + ".partial")
        self.next_input = 0
        head = {"semblante": json.loads(json.dumps(about))}
        begun = self.path.exists() and self.path.stat().st_size > 0
        if resume and not begun and out.exists():
            raise OptionError(f"{out} is already complete; omit --resume to replace it")
        # Reads and writes use one file object: some locks would keep a second one from reading.
        self._file = _alone(self.path)
        try:
            if not resume and self._holds_something():
                raise OptionError(
                    f"{self.path} holds the results of an unfinished run: continue it with "
                    "--resume, or delete the file"
                )
            end = self._read(head) if resume and begun else 0
            self._file.truncate(end)
            if not end:
                self._write(head)
        except BaseException:
            self._let_go()
            raise

    def add(self, number: int, analysis: Analysis | None, *, ended: bool) -> None:
        """Add a result of the input `number`; it is kept even if the process is killed now."""
        # Unrounded, so that what is computed from it does not depend on the journal.
        found = None if analysis is None else analysis.to_dict(rounded=False)
        self._write({"input": number, "ended": ended, "analysis": found})

    def found(self) -> Iterator[tuple[int, Analysis]]:
        """Yield all results from the beginning, each with the number of its input."""
        lines = self._lines()
        next(lines)
        for entry in map(json.loads, lines):
            if entry["analysis"] is not None:
                yield entry["input"], Analysis.from_dict(entry["analysis"])

    def close(self, *, done: bool) -> None:
        """Close the file, and delete it if all is `done`."""
        if done and sys.platform != "win32":  # Windows deletes no open file
            self.path.unlink()  # while it is still locked: no other run may go on with it
        self._let_go()
        if done and sys.platform == "win32":
            try:
                delete_file(self.path)
            except PermissionError:  # another program holds it open
                with suppress(OSError):
                    os.truncate(self.path, 0)  # as if it were not there, see `__init__`

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines of the file, even if it is read or written elsewhere meanwhile."""
        at = 0
        while True:
            self._file.seek(at)
            line = self._file.readline()
            if not line:
                return
            at = self._file.tell()
            yield line

    def _holds_something(self) -> bool:
        """Whether the file holds more than the head of a run that was killed before it found
        anything."""
        head, more, *_ = *itertools.islice(self._lines(), 2), b"", b""
        return more != b"" or not (head.startswith(b'{"semblante": ') or head == b"")

    def _read(self, head: dict[str, Any]) -> int:
        """Set `next_input`; return the position in the file where the last finished input ends."""
        lines = self._lines()
        first = next(lines, b"")
        found_head = _entry(first)
        if found_head is None:
            if not _line(head).startswith(first):  # else it was cut off while it was written
                raise OptionError(
                    f"--resume: expected the results of an unfinished run in {self.path}, found "
                    "something else"
                )
            return 0
        if found_head != head:
            raise OptionError(
                f"--resume: {self.path} belongs to a run with other inputs or settings: use the "
                "same, or delete the file"
            )
        end = place = len(first)
        for line in lines:
            place += len(line)
            entry = _entry(line)
            if not (isinstance(entry, dict) and entry.keys() >= _KEYS):
                break  # cut off while it was written
            if entry["ended"]:
                end, self.next_input = place, entry["input"] + 1
        return end

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.write(_line(entry))
            self._file.flush()
        except OSError as error:  # a full disk: say which file it is about
            raise OSError(error.errno or 0, error.strerror or str(error), str(self.path)) from error

    def _let_go(self) -> None:
        if sys.platform == "win32":
            with suppress(OSError):  # it was not locked; and writing may have failed, see below
                self._file.seek(_LOCKED)
                msvcrt.locking(self._file.fileno(), msvcrt.LK_UNLCK, 1)
        # On a full disk `close` fails again on the line that `_write` could not write.
        with suppress(OSError):
            self._file.close()


def _alone(path: Path) -> IO[bytes]:
    """Open the file, which is made if need be, and lock it. Raises `OptionError` if another process
    has locked it, or has just deleted or replaced it. (On a file system without locks nothing is
    checked.)"""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    if not _is_ours(file, path):
        file.close()
        raise OptionError(f"{path}: another run is using it")
    return file


def _is_ours(file: IO[bytes], path: Path) -> bool:
    """Lock the open file; return False if another process has locked, deleted or replaced it."""
    try:
        if sys.platform == "win32":
            file.seek(_LOCKED)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.EACCES:
            return False
    return True  # locked, or on a file system without locks


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _entry(line: bytes) -> Any:
    """Parse what `_line` wrote; None if it is something else, or only a part of it."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
