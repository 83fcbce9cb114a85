"""Scripts whose results are kept: they are run by hand, and must not break unseen meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def test_what_they_import_is_there() -> None:
    """Whatever was renamed since they were last run."""
    for needed in ("torch", "matplotlib", "fastapi", "playwright"):
        pytest.importorskip(needed)
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert len(names) > 20
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(names)}"], cwd=FOLDER, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
