"""What `import semblante` offers besides what other tests are about."""

from __future__ import annotations

import inspect

import pytest

import semblante
from semblante import errors


def test_every_name_that_is_offered_is_there() -> None:
    assert [name for name in semblante.__all__ if not hasattr(semblante, name)] == []


def test_one_except_catches_all_errors() -> None:
    """Those of options also pass for the `ValueError` that Python raises itself."""
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    found = [kind for kind in classes if issubclass(kind, Exception)]
    assert {semblante.ImageError, semblante.MissingExtraError, errors.RunFolderError} <= {*found}
    assert [kind for kind in found if not issubclass(kind, semblante.SemblanteError)] == []
    values = {kind for kind in found if issubclass(kind, ValueError)}
    assert values == {
        semblante.OptionError, errors.RunFolderError, errors.UnknownModelError,
    }  # fmt: skip
    with pytest.raises(ValueError, match="unknown model 'vgg'"):
        semblante.Analyzer("vgg")


def test_models_by_name(astronaut) -> None:
    names = semblante.available_models()
    assert len(names) > 1
    for name in names:
        [found] = semblante.Analyzer(name).analyze(astronaut)
        assert found.emotion == "happy", name
