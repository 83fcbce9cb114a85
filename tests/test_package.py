"""What `pip install` of the project brings, other than from a checkout that it links to."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import EXAMPLE

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the files that git knows, as it would be of a fresh clone."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked("src", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    build = "import sys, setuptools.build_meta as s; print(s.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, folder], cwd=folder, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return folder / done.stdout.splitlines()[-1]


def tracked(*places: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *places], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def test_a_wheel_has_all_that_the_package_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        brought = {name for name in archive.namelist() if name.startswith("semblante/")}
    assert brought == {name.removeprefix("src/") for name in tracked("src/semblante")}
    assert {"semblante/py.typed", "semblante/es.toml"} < brought


def test_what_a_wheel_brings_recognises_and_speaks_spanish(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "semblante", "analyze", EXAMPLE, "--lang", "es",
         "--annotate", "marked"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "alegría" in done.stdout
    assert list((tmp_path / "marked").iterdir())
