"""Networks of somebody's own, by `FILE.py:FUNCTION`: a function, or a class, that is called with
the number of outputs and gives the network."""

from __future__ import annotations

import functools
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from torch import nn

from semblante.errors import OptionError, reason_of
from semblante.models import sha256


def file_of(network: str) -> Path | None:
    """The file that a network's name speaks of; None for one of semblante's."""
    file, colon, _ = network.rpartition(":")
    return Path(file) if colon and file.endswith(".py") else None


def absolute(network: str) -> str:
    """The same name from any folder."""
    file = file_of(network)
    return network if file is None else f"{file.absolute()}:{network.rpartition(':')[2]}"


def short(network: str) -> str:
    """As it is shown, and told to others: without the file's folder."""
    file = file_of(network)
    return network if file is None else f"{file.name}:{network.rpartition(':')[2]}"


def network_sha256(network: str) -> str | None:
    """Of the file; None for one of semblante's. Raises `OptionError` where there is none."""
    file = file_of(network)
    if file is None:
        return None
    _check_there(file)
    return sha256(file)


def build_own(network: str, n_outputs: int) -> nn.Module:
    """Raises `OptionError` where the file cannot be run, or gives no network by this name."""
    file, function = file_of(network), network.rpartition(":")[2]
    assert file is not None
    names = _run(file.absolute())
    if not callable(names.get(function)):
        raise OptionError(f"{network}: there is no function or class {function!r} in {file}")
    try:
        made = names[function](n_outputs)
    except Exception as error:
        raise OptionError(
            f"{network}: cannot be made with {n_outputs} outputs: {_told(error, file)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise OptionError(f"{network}: expected a torch.nn.Module, found {type(made).__name__}")
    return made


@functools.cache
def _run(file: Path) -> dict[str, Any]:
    """What the file defines. It may import what lies beside it."""
    _check_there(file)
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise OptionError(f"{file}: cannot be run: {_told(error, file)}") from error
    finally:
        sys.path.remove(str(file.parent))
    return vars(module)


def _check_there(file: Path) -> None:
    if not file.is_file():
        raise OptionError(f"{file}: there is no such file")


def _told(error: BaseException, file: Path) -> str:
    """What is wrong, and in which line of the file."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"line {error.lineno}: {error.msg}"
    said = f"{type(error).__name__}: {reason_of(error)}"
    inside = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file.absolute())
    ]
    return f"line {inside[-1]}: {said}" if inside else said
