"""What the documentation shows is what the program does."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import semblante
from browser import free_port
from conftest import EXAMPLE, ROOT, wait_until
from faces import head
from films import canvas, write_video
from semblante import EMOTIONS
from semblante.models import MODELS
from semblante.server.jobs import _MAX_JOBS
from semblante.server.settings import Settings
from semblante.tabular import COLUMNS, TRACK_COLUMNS
from semblante.train.released import RELEASED


def test_generated_pages_are_up_to_date() -> None:
    """When this fails: `make docs`, and look at the change."""
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    for path, text in generate["pages"]().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, path


def test_the_released_path_is_as_long_as_the_readme_says() -> None:
    kinds = [kind for stage in RELEASED for kind in stage.kinds]
    runs = sum(kind.folds or kind.runs for kind in kinds)
    epochs = sum((kind.folds or kind.runs) * kind.options({}).epochs for kind in kinds)
    for page, words in (("README.md", "runs epochs"), ("README.es.md", "ejecuciones épocas")):
        text = (ROOT / page).read_text(encoding="utf-8")
        for number, word in zip((runs, epochs), words.split(), strict=True):
            assert re.search(rf"\b{number}\s+{word}\b", text), (page, number, word)


@pytest.mark.parametrize(
    ("page", "heading"), [("server.md", "Limits"), ("server.es.md", "Límites")]
)
def test_limits_of_the_server_are_those_of_its_settings(page: str, heading: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    _, limits, *_ = text.partition(f"## {heading}\n\n")[2].split("\n\n")
    have = Settings()
    mb = 1_000_000
    assert [int(number) for number in re.findall(r"\d+", limits)] == [
        have.max_body // mb, have.max_pictures, have.max_pixels // mb, have.max_video // mb,
        have.max_frame // mb, have.max_streams,
        have.max_waiting, _MAX_JOBS, have.max_intake // mb, have.max_video_intake // mb,
        have.body_s,
        have.answer_s,
    ]  # fmt: skip
    assert (have.video_s, have.job_s) == (10 * 60, 60 * 60)  # which are written in words


def test_figures_are_those_of_the_weights_that_ship() -> None:
    """When this fails: `make bench`, then `make docs`."""
    results = ROOT / "benchmarks" / "results"
    rows = json.loads((results / "accuracy.json").read_text())
    weights = {(row["model"], row["sha256"]) for row in rows}
    for path in (results / "robustness.json", *results.glob("latency*.json")):
        weights |= set(json.loads(path.read_text())["sha256"].items())
    for name in MODELS:
        early_exit = json.loads((results / f"early-exit-{name}.json").read_text())
        weights.add((early_exit["model"], early_exit["sha256"]))
    for name in ("failures.json", "evidence.json"):
        of_one = json.loads((results / name).read_text())
        weights.add((of_one["model"], of_one["sha256"]))
    assert weights == {(name, entry.sha256) for name, entry in MODELS.items()}
    assert set(json.loads((results / "robustness.json").read_text())["accuracy"]) == set(MODELS)
    one_view = {
        (row["model"], row["split"]): row["accuracy"]
        for row in rows
        if (row["tta"], row["labels"]) == ("none", "fer2013")
    }
    for name, entry in MODELS.items():  # what `semblante models` and the server say of them
        assert round(one_view[name, "PublicTest"], 4) == entry.public_test
        assert round(one_view[name, "PrivateTest"], 4) == entry.private_test


@pytest.mark.parametrize("page", ["README.md", "README.es.md"])
def test_python_of_the_readme_runs(page: str) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.match(r"(happy|alegría) 0\.\d+ Box\(left=\d+", done.stdout)


@pytest.mark.parametrize("page", ["python.md", "python.es.md"])
def test_python_of_the_manual_runs(page: str, tmp_path: Path, patterns_csv: Path) -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.S
    )
    code = "\n".join(blocks)
    shutil.copy(EXAMPLE, tmp_path / "face.jpg")
    shutil.copy(patterns_csv, tmp_path / "fer2013.csv")
    write_video(tmp_path / "party.mp4", 20, lambda n: canvas((head(135), 20 + n, 40)))
    code += "\nprint(len(table), len(sure), cut[0].shape)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].split()[0] in ("happy", "alegría")
    assert lines[-2].endswith("[(1, 'happy')]")
    assert lines[-1].startswith("2 1 (")  # a row for the picture that is not there


@pytest.mark.parametrize("page", ["server.md", "server.es.md"])
def test_python_of_the_servers_manual_runs(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    port = free_port()
    client, server = (
        code.replace("8000", str(port)) for code in re.findall(r"```python\n(.*?)```", text, re.S)
    )
    for name in ("photo.jpg", "foto.jpg"):
        shutil.copy(EXAMPLE, tmp_path / name)
    with subprocess.Popen([sys.executable, "-c", server]) as process:
        try:
            wait_until(lambda: accepts(port), step=0.05)
            done = subprocess.run(
                [sys.executable, "-c", client], cwd=tmp_path, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
        finally:
            process.terminate()
    assert "'emotion': 'happy'" in done.stdout


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_manual_has_all_columns() -> None:
    for page in ("python.md", "python.es.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for column in {*COLUMNS, *TRACK_COLUMNS} - {*EMOTIONS[1:-1]}:
            middle = column.removesuffix("_share") in EMOTIONS[1:-1]
            assert middle or f"`{column}`" in text, column


def test_a_network_of_ones_own(tmp_path: Path, patterns_csv: Path) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    network, code, detector = re.findall(r"```python\n(.*?)```", text, re.S)
    (tmp_path / "mine.py").write_text(network)
    shutil.copy(patterns_csv, tmp_path / "fer2013.csv")
    shutil.copy(EXAMPLE, tmp_path / "face.jpg")
    assert '"epochs": 20' in code
    code = code.replace('"epochs": 20', '"epochs": 1, "warmup_epochs": 0.0')
    for example in (code, detector):
        done = subprocess.run(
            [sys.executable, "-c", example],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Face(" in done.stdout


PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
MANUALS = [page for page in PAGES if page.name != "experiments.md"]  # a diary: of former flags too


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            name, _, heading = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            if target.suffix == ".md" and heading:
                assert heading in anchors(target), link


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", MANUALS, ids=lambda page: page.name)
def test_every_command_of_the_pages_exists(page: Path) -> None:
    known = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if match := re.match(r" {4,}(?:\.venv/bin/)?semblante (\w+)(.*)", line):
            command, rest = match.groups()
            if command in ("data", "models"):
                command = f"{command} {rest.split()[0]}"
            section = re.split(rf"#+ `semblante {command}`\n", known)[1].split("\n## ")[0]
            for flag in re.findall(r"--[\w-]+", rest):
                assert re.search(f"`{flag}[ `]", section), f"{command} {flag}"
        if match := re.match(r" {4}make (\w+)", line):
            assert re.search(rf"^{match.group(1)}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("page", ["README.md", "README.es.md"])
def test_the_readme_names_every_extra(page: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / page).read_text(encoding="utf-8")
    # pandas is for those who have it; torch and what else training needs comes with `make dev`.
    for extra in set(project["optional-dependencies"]) - {"pandas", "tensorboard", "train"}:
        assert f'".[{extra}]"' in text, extra


def test_the_version_is_in_the_changelog() -> None:
    assert f"## {semblante.__version__}" in (ROOT / "CHANGELOG.md").read_text()
