"""Skips that fail a run where everything should be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import skips

HERE = Path(__file__).parent
SKIPPED = """
import pytest

@pytest.mark.skipif(True, reason={!r})
def test_it():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of tests of which one runs, and the others miss what any machine may."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_fine.py").write_text("def test_it(): pass")
    for number, reason in enumerate(skips.ALLOWED):
        (tmp_path / f"test_allowed_{number}.py").write_text(SKIPPED.format(reason))
    return tmp_path


def run(folder: Path, *options: str, no_skips: str = "1") -> subprocess.CompletedProcess[str]:
    """Run the tests in a folder. Other plugins than these would take seconds to import."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": str(HERE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "skips", "-p", "xdist", *options], cwd=folder,
        env={**env, "SEMBLANTE_NO_SKIPS": no_skips}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--numprocesses", "2")])
def test_skips_fail_the_run(folder: Path, options: tuple[str, ...]) -> None:
    """Those of tests, and those of whole modules."""
    (folder / "test_a.py").write_text(SKIPPED.format("no dragons"))
    (folder / "test_b.py").write_text("import pytest; pytest.importorskip('no_elves')")
    done = run(folder, *options)
    assert done.returncode == 1, done.stdout
    _, said = done.stdout.split(" skipped, though SEMBLANTE_NO_SKIPS=1 ")
    assert said.split("\n")[1:4] == [
        "test_a.py::test_it: no dragons",
        "test_b.py: could not import 'no_elves': No module named 'no_elves'",
        "",
    ]
    assert run(folder, *options, no_skips="").returncode == 0


def test_what_any_machine_may_miss_fails_no_run(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 0, done.stdout
    assert f"1 passed, {len(skips.ALLOWED)} skipped" in done.stdout
