"""Fixtures that tests share: datasets (synthetic, and FER2013 if it is there), films, a server."""

from __future__ import annotations

import atexit
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from films import canvas, write_video
from semblante import Analyzer
from semblante.data import SPLITS, Dataset
from semblante.data.convert import write_table
from semblante.data.ferplus import VOTES, FerPlus
from semblante.images import load_image

# If several processes run the tests (pytest-xdist), each uses one thread: threads that wait for
# each other on cores that other processes use make training six times as slow. This must be set
# before torch is loaded; programs that tests start inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
# The tests' cache of datasets is separate from the user's.
os.environ["SEMBLANTE_CACHE"] = tempfile.mkdtemp(prefix="semblante-tests-")
atexit.register(shutil.rmtree, os.environ["SEMBLANTE_CACHE"], ignore_errors=True)
# Tests compare output in English, whatever the user's language.
os.environ.pop("SEMBLANTE_LANG", None)
# They compare it without colours or progress bars, which these variables would turn on.
for asked in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "CLICOLOR_FORCE"):
    os.environ.pop(asked, None)
os.environ["LC_ALL"] = "C.UTF-8"
# Servers that tests start are not asked through a proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# Fixtures for the tests of the page; skips that fail the run.
pytest_plugins = ["browser", "skips"]

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "eileen-collins.jpg"
SHARED = Path(os.environ.get("SEMBLANTE_SHARED", ROOT.parent / "shared"))

needs_fer2013 = pytest.mark.skipif(
    not (SHARED / "fer2013").is_dir(), reason="the real FER2013 is not at hand"
)
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
needs_photos = pytest.mark.skipif(
    not (SHARED / "photos").is_dir(), reason="the group photographs are not at hand"
)
needs_pyarrow = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="pyarrow, which reads Parquet, is not installed"
)


def wait_until(holds: Callable[[], object], seconds: float = 60, step: float = 0.001) -> None:
    """Wait until `holds()` is true, called every `step` seconds; raise `AssertionError` after
    `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(step)


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def pattern_dataset(per_class: int = 12, seed: int = 0) -> Dataset:
    """Return noise with a bright bar whose place tells the class: `per_class` images of each class
    in each split."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(7), per_class * len(SPLITS)).astype(np.int64)
    images = rng.integers(60, 120, (len(labels), 48, 48)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[6 * label + 2 : 6 * label + 8] += 120
    splits = np.repeat(np.arange(len(SPLITS)), 7 * per_class).astype(np.uint8)
    return Dataset(images, labels, splits)


def write_csv(path: Path, dataset: Dataset) -> Path:
    write_table(dataset, path)
    return path


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Return the example, (512, 512, 3), rotated clockwise about the middle of the face."""
    turn = cv2.getRotationMatrix2D((225.5, 114.5), -degrees, 1)
    return cv2.warpAffine(picture, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """The pixels of the example picture."""
    return load_image(EXAMPLE)


@pytest.fixture(scope="session", autouse=True)
def _no_pictures_of_figures() -> Iterator[Any]:
    """In this process, save a blank pixel for each figure. Drawing the two figures of a training
    run takes longer than a run on a few patterns does. Yields what draws them."""
    if find_spec("matplotlib") is None:
        yield None
        return
    from matplotlib.figure import Figure

    drawing = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _blank)
        yield drawing


@pytest.fixture(autouse=True)
def _pictures_of_figures(
    request: pytest.FixtureRequest, _no_pictures_of_figures: Any
) -> Iterator[None]:
    """Draw figures in tests that are marked `pictures`."""
    with pytest.MonkeyPatch.context() as patch:  # separate: a test may undo its own midway
        if request.node.get_closest_marker("pictures") and _no_pictures_of_figures is not None:
            patch.setattr("matplotlib.figure.Figure.savefig", _no_pictures_of_figures)
        yield


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Seed torch, so that random numbers do not depend on which tests the process ran before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of `training.LINEAR`."""
    from torch import nn

    from semblante.train.networks import NETWORKS

    def build(n_outputs: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, n_outputs))

    monkeypatch.setitem(NETWORKS, "linear", build)


def _blank(_: object, file: Path, **__: object) -> None:
    Image.new("L", (1, 1)).save(file, format="png")


@pytest.fixture(scope="session")
def patterns() -> Dataset:
    return pattern_dataset()


@pytest.fixture(scope="session")
def patterns_csv(tmp_path_factory: pytest.TempPathFactory, patterns: Dataset) -> Path:
    return write_csv(tmp_path_factory.mktemp("patterns") / "fer2013.csv", patterns)


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory, patterns: Dataset) -> Path:
    """The folder of a run of one epoch with the options `QUICK`. Tests that need a run to start
    from, to learn from or to spoil copy it: training each its own would take longer."""
    from training import QUICK, run

    folder = tmp_path_factory.mktemp("first") / "run"
    run(patterns, replace(QUICK, epochs=1), folder)
    return folder


@pytest.fixture(scope="session")
def fer2013() -> Dataset:
    """The real FER2013, from its lossless atlases: 64 faces a row, in the CSV's order."""
    folder = SHARED / "fer2013"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row["emotion"]) for row in rows], np.int64)
    splits = np.array([SPLITS.index(row["usage"]) for row in rows], np.uint8)
    images = []
    for number, name in enumerate(SPLITS):
        paths = sorted(folder.glob(f"{name}-*.png"), key=lambda p: int(p.stem.split("-")[1]))
        atlases = np.concatenate([np.asarray(Image.open(path)) for path in paths])
        faces = atlases.reshape(-1, 48, 64, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48)
        images.append(faces[: (splits == number).sum()])
    return Dataset(np.concatenate(images), labels, splits)


@pytest.fixture(scope="session")
def fer2013_csv(tmp_path_factory: pytest.TempPathFactory, fer2013: Dataset) -> Path:
    """The real FER2013 as a CSV file like Kaggle's: all 35,887 rows (301 MB)."""
    return write_csv(tmp_path_factory.mktemp("fer2013") / "fer2013.csv", fer2013)


def ferplus_votes(dataset: Dataset) -> FerPlus:
    """Return votes in which all ten taggers say that row i shows FER+'s emotion i % 8."""
    n = len(dataset)
    votes = np.zeros((n, len(VOTES)), np.int64)
    votes[np.arange(n), np.arange(n) % 8] = 10
    return FerPlus(votes, np.ones(n, bool), dataset.splits)


@pytest.fixture(scope="session")
def face() -> np.ndarray:
    """Eileen Collins's head, (110, 110, 3); the detector's box is its middle."""
    picture = load_image(EXAMPLE)
    return cv2.resize(picture[30:200, 140:310], (110, 110), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    """A video of 3 seconds in which a face moves from left to right, 2 pixels a frame."""
    path = tmp_path_factory.mktemp("video") / "geht über.mp4"
    return write_video(path, 60, lambda n: canvas((face, 10 + 2 * n, 60)))


@pytest.fixture(scope="session")
def uneven(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    """A video with sound, of 3 seconds: ten frames at 20 per second, ten at 5, ten at 20."""
    folder = tmp_path_factory.mktemp("uneven")
    lines = []
    for number in range(30):
        picture = canvas((face, 10 + 4 * number, 60))
        cv2.imwrite(str(folder / f"{number}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        lines += [f"file {number}.png", f"duration {0.2 if 10 <= number < 20 else 0.05}"]
    (folder / "list.txt").write_text("\n".join([*lines, "file 29.png"]))
    ffmpeg(
        "-f", "concat", "-i", folder / "list.txt", "-f", "lavfi", "-i", "sine=440:duration=3.2",
        "-fps_mode", "vfr", "-frames:v", 30, "-c:v", "mpeg4", "-q:v", 3, folder / "uneven.mp4",
    )  # fmt: skip
    return folder / "uneven.mp4"


# -- the HTTP API ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def analyzer() -> Analyzer:
    """An analyzer with the default models and settings."""
    return Analyzer()


@pytest.fixture(scope="module")
def client(analyzer: Analyzer) -> Iterator[Any]:
    """An HTTP client of a server with the default settings."""
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from semblante.server.app import create_app

    with TestClient(create_app(analyzer=analyzer), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of an MP4 file: one second of a face that moves."""
    from faces import head  # which imports this file

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, 20, lambda n: canvas((head(), 20 + n, 40))).read_bytes()
