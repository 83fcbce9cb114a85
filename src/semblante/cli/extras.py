"""Optional packages: say what to install instead of showing an import error."""

from __future__ import annotations

from importlib.util import find_spec

from semblante.errors import MissingExtraError


def require(extra: str, what: str, *packages: str) -> None:
    """Raise `MissingExtraError` unless all `packages` are installed."""
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError(what, extra)
