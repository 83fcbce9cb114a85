"""One family of errors: whatever a user can cause is a `SemblanteError`."""

from __future__ import annotations


def printable(text: str) -> str:
    """What would move a terminal's cursor, end a line or hide is shown escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def reason_of(error: BaseException) -> str:
    """What another library says is wrong, as one line of 200 letters at most."""
    said = " ".join(str(error).split())[:200]
    return said or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)


class SemblanteError(Exception):
    """Base of the family. Its text is one line, `printable` whatever a file's name or content
    holds: what was expected and what came."""

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


class RunFolderError(ModelError, OptionError):
    """A run folder that holds another run than the one that was asked for."""


class UnknownModelError(ModelError, OptionError):
    """Neither the name of a model that ships nor a file."""


class MissingExtraError(SemblanteError):
    """A part of semblante was asked for whose optional packages are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs more packages: pip install "semblante[{extra}]"')
        self._asked = (what, extra)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Of use where one was raised in another process."""
        return type(self), self._asked
