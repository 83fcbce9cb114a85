"""What is checked before a command starts to work, and how it says what is wrong."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from semblante.errors import MissingExtraError, OptionError


def require(extra: str, what: str, *packages: str) -> None:
    """Raise `MissingExtraError` unless all `packages` are installed."""
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError(what, extra)


def output_file(option: str, path: Path) -> None:
    """Raise `OptionError` unless `path` can be the name of a file: long work may come first."""
    if path.is_dir():
        raise OptionError(f"{option} {path}: expected a file's name, found a folder")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {path.parent}")


def complain(reason: str) -> None:
    """One line on stderr; what cannot be printed, in a file's name say, is shown escaped."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in reason)
    print(f"semblante: {shown}", file=sys.stderr)
