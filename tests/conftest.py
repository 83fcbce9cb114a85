"""Faces for the tests: seven easy patterns made here, and the real FER2013 where it is at hand."""

from __future__ import annotations

import atexit
import csv
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semblante.data import SPLITS, Dataset
from semblante.data.convert import write_table
from semblante.data.ferplus import VOTES, FerPlus

# Where several processes run the tests (pytest-xdist), each keeps to one core: threads that wait
# for each other on a core that others use make training six times as slow. Set before torch is
# loaded, and handed on to the programs that tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
# Datasets that the tests read are kept apart from the user's own.
os.environ["SEMBLANTE_CACHE"] = tempfile.mkdtemp(prefix="semblante-tests-")
atexit.register(shutil.rmtree, os.environ["SEMBLANTE_CACHE"], ignore_errors=True)
os.environ.pop("SEMBLANTE_LANG", None)  # what is shown is compared in English

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


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def pattern_dataset(per_class: int = 12, seed: int = 0) -> Dataset:
    """Noise with a bright bar whose place tells the class: `per_class` in each split."""
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


@pytest.fixture(scope="session")
def patterns() -> Dataset:
    return pattern_dataset()


@pytest.fixture(scope="session")
def patterns_csv(tmp_path_factory: pytest.TempPathFactory, patterns: Dataset) -> Path:
    return write_csv(tmp_path_factory.mktemp("patterns") / "fer2013.csv", patterns)


@pytest.fixture(scope="session")
def fer2013() -> Dataset:
    """The real one, from its lossless atlases: 64 faces a row, in the order of the rows."""
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
    """All 35,887 rows, as Kaggle ships them (301 MB)."""
    return write_csv(tmp_path_factory.mktemp("fer2013") / "fer2013.csv", fer2013)


def ferplus_votes(dataset: Dataset) -> FerPlus:
    """Every tagger says that row i shows FER+'s emotion i % 8."""
    n = len(dataset)
    votes = np.zeros((n, len(VOTES)), np.int64)
    votes[np.arange(n), np.arange(n) % 8] = 10
    return FerPlus(votes, np.ones(n, bool), dataset.splits)
