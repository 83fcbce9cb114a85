"""The files inside a folder, a .zip or a .tar.gz, read without unpacking anything to disk.

People hold FER2013 in all three. What comes after sees only members: a name and a way to
open it.
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

# A member may be this large once inflated: six times the whole fer2013.csv. Archives that
# declare more, or inflate to more than they declare, are refused before they fill the memory.
MAX_MEMBER_BYTES: Final = 2_000_000_000

_LINK: Final = "a link, give the archive the files themselves (tar -h --hard-dereference)"
_ZIP: Final = b"PK\x03\x04"  # as such an archive begins
_IS_UTF8: Final = 0x800  # APPNOTE.TXT, 4.4.4, bit 11: of a member's name
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
    """One file: its place, and its bytes as a stream from the beginning."""

    name: str  # path below the folder or inside the archive, with forward slashes
    where: str  # for messages: the archive's path and the name
    stream: IO[bytes]

    @property
    def suffix(self) -> str:
        """The name's end in small letters, such as `.csv`."""
        return PurePosixPath(self.name).suffix.lower()


@contextmanager
def as_data_errors(path: Path | str) -> Iterator[None]:
    """Whatever reading the members of `path`, or one of them, may raise becomes a `DataError` that
    names it."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{path}: the archive is damaged or cut off: {error}") from None
    except RuntimeError as error:  # zipfile's word for an encrypted member
        raise DataError(f"{path}: cannot be read: {error}") from None
    except OSError as error:
        place = error.filename or path
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from None


def members(path: Path) -> Generator[Member]:
    """Each file of a folder or an archive, or the file itself, open while it is the current one.

    Folders and .zip come sorted by name, .tar and .tar.gz in their own order (they can only be
    read once, from the front; links in them are not followed, and say so when they are read).
    Raises `DataError` where a member climbs out of the archive with its name or is larger than
    `MAX_MEMBER_BYTES`; for what else can be wrong, here or while a member's stream is read, see
    `as_data_errors`.
    """
    if path.is_dir():
        yield from _of_folder(path)
    elif zipfile.is_zipfile(path):
        yield from _of_zip(path)
    elif _is_tar(path):
        yield from _of_tar(path)
    else:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) == _ZIP:  # and its list of members, at its end, is not there
                raise zipfile.BadZipFile("it ends before its list of members")
            file.seek(0)
            yield Member(path.name, str(path), file)


def _of_folder(path: Path) -> Iterator[Member]:
    # Not as paths, which Windows sorts without regard to case.
    for file in sorted(files_below(path, _raise), key=Path.as_posix):
        # A link to nowhere cannot be read, which is said; a pipe or a device is no data.
        if not file.is_file() and not (file.is_symlink() and not file.exists()):
            continue
        try:
            stream: IO[bytes] = file.open("rb")
        except OSError as error:
            stream = _Unreadable(error)
        with stream:
            yield Member(file.relative_to(path).as_posix(), str(file), stream)


def _raise(error: OSError) -> None:
    """Of a folder that cannot be read, or a class would be missing without a word."""
    raise error


class _Unreadable(io.BytesIO):
    """Of a file that cannot be opened: says so when it is read, so that the others can be."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        raise self._error


def _of_zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            # Windows' own programs have been known to write the other slash.
            name = _name(info).replace("\\", "/")
            if info.is_dir() or is_hidden(name):
                continue
            where = _checked(path, name, info.file_size)
            with archive.open(info) as stream:
                yield Member(name, where, stream)


def _name(info: zipfile.ZipInfo) -> str:
    """macOS writes names in UTF-8 without saying so, and the standard has them in IBM's letters."""
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
        # To the very end, where a .gz holds the sum of what came before.
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass


def _is_tar(path: Path) -> bool:
    try:
        return path.is_file() and tarfile.is_tarfile(path)
    except EOFError:  # a .gz without its end: say so when it is read
        return True


def _checked(path: Path, name: str, size: int) -> str:
    where = f"{path}, member {name}"
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"{where}: its name climbs out of the archive")
    if size > MAX_MEMBER_BYTES:
        raise DataError(
            f"{where}: {size / 1e9:.1f} GB once inflated; at most "
            f"{MAX_MEMBER_BYTES / 1e9:.0f} GB are read"
        )
    return where
