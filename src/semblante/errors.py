"""The package's exceptions: every error that a user can cause is a `SemblanteError`."""

from __future__ import annotations

import math
from numbers import Integral, Real


def printable(text: str) -> str:
    """Return `text` with all characters escaped that move a cursor, end a line or are invisible."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def reason_of(error: BaseException) -> str:
    """Return another library's error message as one line of at most 200 characters; for an error
    without a message, its type."""
    said = " ".join(str(error).split())[:200]
    return said or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)


class SemblanteError(Exception):
    """The base class. The message is one line that says what was expected and what was found; it
    is made `printable`, because it may quote a file's name or content."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class ImageError(SemblanteError):
    """A picture that cannot be read."""


class VideoError(SemblanteError):
    """A video or a camera that cannot be read."""


class DataError(SemblanteError):
    """A dataset, or a list of its rows, that is not what it should be."""


class ModelError(SemblanteError):
    """A model, or a run folder, that cannot be used."""


class OptionError(SemblanteError, ValueError):
    """An option outside its range, or options that contradict each other."""


def check_number(
    name: str, value: object, least: float, most: float = math.inf, *, whole: bool = False
) -> None:
    """Raise `OptionError` unless the option `name` is a number, and `whole` if so required, from
    `least` to `most`."""
    if whole and not isinstance(value, Integral):
        raise OptionError(f"expected {name} to be a whole number, found {value!r}")
    if not isinstance(value, Real) or not least <= value <= most:  # type: ignore[operator]
        if most < math.inf:
            raise OptionError(f"expected {name} between {least:g} and {most:g}, found {value!r}")
        raise OptionError(f"expected {name} of at least {least:g}, found {value!r}")


class RunFolderError(ModelError, OptionError):
    """A run folder that holds a different run from the requested one."""


class UnknownModelError(ModelError, OptionError):
    """Neither the name of a shipped model nor a file."""


class MissingExtraError(SemblanteError):
    """A feature was requested whose optional packages are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs more packages: pip install "semblante[{extra}]"')
        self._asked = (what, extra)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Let the error be pickled, since it may have been raised in another process."""
        return type(self), self._asked
