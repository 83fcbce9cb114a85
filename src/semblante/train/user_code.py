"""Loads a network or an error function from a user's own file, named `FILE.py:FUNCTION`."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from semblante.errors import OptionError, reason_of
from semblante.models import sha256


def file_of(name: str) -> Path | None:
    """The file in a name `FILE.py:FUNCTION`; None if the name is one of semblante's own."""
    file, colon, _ = name.rpartition(":")
    return Path(file) if colon and file.endswith(".py") else None


def absolute_name(name: str) -> str:
    """The same name with an absolute path, so that it is valid from any folder."""
    file = file_of(name)
    return name if file is None else f"{file.absolute()}:{name.rpartition(':')[2]}"


def short_name(name: str) -> str:
    """The name without the file's folder, for display and for published files."""
    file = file_of(name)
    return name if file is None else f"{file.name}:{name.rpartition(':')[2]}"


def own_sha256(names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of the files in `names`, by path. Raises `OptionError` if a file is missing."""
    files = list(filter(None, map(file_of, names)))
    for file in files:
        _check_there(file)
    return {str(file): sha256(file) for file in files}


def load_own(name: str) -> Callable[..., Any]:
    """The function or class that a name `FILE.py:FUNCTION` stands for.

    Raises `OptionError` if the file cannot be run, or does not define that name.
    """
    file, function = file_of(name), name.rpartition(":")[2]
    assert file is not None
    _check_there(file)
    found = _run(file.absolute(), sha256(file)).get(function)
    if not callable(found):
        raise OptionError(f"{name}: there is no function or class {function!r} in {file}")
    return found  # type: ignore[no-any-return]


def reason_with_line(name: str, error: BaseException) -> str:
    """The text of an `error` that the function `name` raised, with the line in its file."""
    file = file_of(name)
    assert file is not None
    return _told(error, file.absolute())


@functools.cache
def _run(file: Path, sha256: str) -> dict[str, Any]:
    """What the file defines; the file runs only once until its content, and so `sha256`, changes.
    At its top it may import modules from its own folder."""
    # The module needs a unique name: dataclasses and torch.compile look modules up by name.
    name = f"{file.stem}_{sha256[:12]}"
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise OptionError(f"{file}: cannot be run: {_told(error, file)}") from error
    finally:
        sys.path.remove(str(file.parent))
    return vars(module)


def _check_there(file: Path) -> None:
    if not file.is_file():
        raise OptionError(f"{file}: there is no such file")


def _told(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"line {error.lineno}: {error.msg}"
    said = f"{type(error).__name__}: {reason_of(error)}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f"line {inside[-1]}: {said}" if inside else said
