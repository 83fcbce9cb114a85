"""The notebooks: what is in them runs, in both languages alike, and they tell of no machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import EXAMPLE

FOLDER = EXAMPLE.parent
NOTEBOOKS = ["first-steps", "primeros-pasos"]


def cells(name: str, kind: str) -> list[dict[str, Any]]:
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def without_words(name: str) -> list[str]:
    """Its code without comments, and without the language in which it speaks."""
    sources = ("".join(cell["source"]) for cell in cells(name, "code"))
    return [re.sub(r'  # .*|"e[ns]"', "", source) for source in sources]


def test_both_languages_have_the_same_code() -> None:
    first, second = map(without_words, NOTEBOOKS)
    assert first == second
    assert len(first) > 10


def test_the_code_runs(patterns_csv: Path, tmp_path: Path) -> None:
    """In Spanish: the other notebook has the same code."""
    for needed in ("torch", "matplotlib", "pandas"):
        pytest.importorskip(needed)
    shutil.copy(EXAMPLE, tmp_path)
    shutil.copy(patterns_csv, tmp_path / "fer2013.csv")
    code = "\n\n".join("".join(cell["source"]) for cell in cells("primeros-pasos", "code"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "alegría" in done.stdout
    assert "mine.onnx: " in done.stdout


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_it_shows_was_made_by_one_run(name: str) -> None:
    code = cells(name, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    shown = json.dumps([cell["outputs"] for cell in code])
    assert '"output_type": "error"' not in shown
    assert not re.search(r"/(work|home|tmp|root|Users)/", shown)
    assert not any(
        kind.startswith("image/")
        for cell in code
        if cell["id"] == "faces"  # FER2013's, which are not ours to hand on
        for output in cell["outputs"]
        for kind in output.get("data", {})
    )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_it_points_to_is_there(name: str) -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells(name, "markdown"))
    links = re.findall(r"\]\((.*?)\)", text)
    assert len(links) == 4
    assert all((FOLDER / link).is_file() for link in links)
