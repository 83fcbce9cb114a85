"""Reads the files in a folder, a .zip or a .tar.gz, without unpacking anything to disk.

FER2013 is distributed in all three. The rest of the package sees only members: a name and an open
stream.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from semblante.errors import DataError
from semblante.files import files_below, is_hidden

# The largest size of a member after decompression: six times the whole fer2013.csv. A member
# that declares more, or inflates to more than it declares, is refused before it fills the memory.
MAX_MEMBER_BYTES: Final = 2_000_000_000

_LINK: Final = "a link, give the archive the files themselves (tar -h --hard-dereference)"
_ZIP: Final = b"PK\x03\x04"  # how a .zip starts
_IS_UTF8: Final = 0x800  # flag of a member's name: APPNOTE.TXT, 4.4.4, bit 11
_DAMAGE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,  # a compression method that zipfile does not know
)


@dataclass(frozen=True)
class Member:
    """One file: its name, and its bytes as a stream that stands at the start."""

    name: str  # path below the folder or inside the archive, with forward slashes
    where: str  # for messages: the archive's path and the name
    stream: IO[bytes]

    @property
    def suffix(self) -> str:
        """The suffix of the name in lower case, such as `.csv`."""
        return PurePosixPath(self.name).suffix.lower()


@contextmanager
def as_data_errors(path: Path | str) -> Iterator[None]:
    """Turn any error from reading the members of `path`, or `path` as a member, into a `DataError`
    that names the path."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{path}: the archive is damaged or cut off: {error}") from None
    except RuntimeError as error:  # what zipfile raises for an encrypted member
        raise DataError(f"{path}: cannot be read: {error}") from None
    except OSError as error:
        place = error.filename or path
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from None


def members(path: Path) -> Generator[Member]:
    """Yield each file of a folder or an archive, or the file itself. Its stream is open only until
    the next one is asked for.

    Files in a folder or a .zip are sorted by name; those in a .tar or .tar.gz keep their order,
    since it can only be read once, from the start. Links in them are not followed: reading one
    raises `OSError`. Raises `DataError` for a member whose name leads out of the archive or that is
    larger than `MAX_MEMBER_BYTES`. Use `as_data_errors` around the loop for all other errors, here
    or from reading a member's stream.
    """
    if path.is_dir():
        yield from _of_folder(path)
    elif zipfile.is_zipfile(path):
        yield from _of_zip(path)
    elif _is_tar(path):
        yield from _of_tar(path)
    else:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) == _ZIP:  # but its list of members, at its end, is missing
                raise zipfile.BadZipFile("it ends before its list of members")
            file.seek(0)
            yield Member(path.name, str(path), file)


def _of_folder(path: Path) -> Iterator[Member]:
    # Sorted as text, since Windows ignores case when it compares paths.
    for file in sorted(files_below(path, _raise), key=Path.as_posix):
        # A broken link is kept, so that reading it raises an error; pipes and devices are skipped.
        if not file.is_file() and not (file.is_symlink() and not file.exists()):
            continue
        try:
            stream: IO[bytes] = file.open("rb")
        except OSError as error:
            stream = _Unreadable(error)
        with stream:
            yield Member(file.relative_to(path).as_posix(), str(file), stream)


def _raise(error: OSError) -> None:
    """Raise the error of a folder that cannot be read: else a class would be missing silently."""
    raise error


class _Unreadable(io.BytesIO):
    """The stream of a file that cannot be opened. It raises the error only when it is read, so that
    the other files can be read."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        raise self._error


def _of_zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            # Some Windows programs write backslashes.
            name = _name(info).replace("\\", "/")
            if info.is_dir() or is_hidden(name):
                continue
            where = _checked(path, name, info.file_size)
            with archive.open(info) as stream:
                yield Member(name, where, stream)


def _name(info: zipfile.ZipInfo) -> str:
    """The name of a member. macOS writes names in UTF-8 without setting the flag for it; without
    that flag zipfile decodes them as cp437, as the standard says."""
    if not info.flag_bits & _IS_UTF8:
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _of_tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r:*") as archive:
        for info in archive:
            link = info.islnk() or info.issym()
            if not (info.isfile() or link) or is_hidden(info.name):
                continue
            where = _checked(path, info.name, info.size)
            stream = _Unreadable(OSError(0, _LINK)) if link else archive.extractfile(info)
            assert stream is not None  # it is a file
            with stream:
                yield Member(info.name.removeprefix("./"), where, stream)
        # Read to the very end, where a .gz holds a checksum, so that damage is detected.
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass


def _is_tar(path: Path) -> bool:
    try:
        return path.is_file() and tarfile.is_tarfile(path)
    except EOFError:  # a .gz that is cut off: the error is raised when it is read
        return True


def _checked(path: Path, name: str, size: int) -> str:
    where = f"{path}, member {name}"
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"{where}: its name leads out of the archive")
    if size > MAX_MEMBER_BYTES:
        raise DataError(
            f"{where}: {size / 1e9:.1f} GB once inflated; at most "
            f"{MAX_MEMBER_BYTES / 1e9:.0f} GB are read"
        )
    return where
