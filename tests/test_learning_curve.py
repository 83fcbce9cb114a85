"""Would more data help? Asked of data whose answer is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from conftest import pattern_dataset
from program import semblante
from semblante.cli.reading import Source, votes_beside
from semblante.data import Dataset, load_dataset
from semblante.train import learning_curve as module
from semblante.train.learning_curve import (
    SHARES,
    learning_curve,
    share_of_training,
    would_more_help,
)
from semblante.train.loop import train
from semblante.train.options import TrainOptions
from semblante.train.task import Task
from training import QUICK, Silent


def test_the_smaller_lies_within_the_larger(patterns: Dataset) -> None:
    before: set[int] = set()
    for share in SHARES:
        rows = share_of_training(patterns, share)
        training = set(rows[patterns.splits[rows] == 0].tolist())
        assert before <= training
        assert np.array_equal(rows, np.unique(rows))
        assert len(training) == max(1, round(84 * share))
        assert (patterns.splits[rows] != 0).sum() == 168
        before = training


def test_runs_on_a_few_faces_have_equal_steps_too(tmp_path: Path) -> None:
    """Where a share of them is less than a batch."""
    steps = []

    @contextmanager
    def reporter(scaled: TrainOptions, title: str) -> Iterator[Silent]:
        silent = Silent()
        yield silent
        steps.append(len(silent.steps))

    options = replace(QUICK, epochs=2, batch_size=40)
    learning_curve(Task(pattern_dataset(per_class=24), tmp_path, reporter, {}), options)
    assert steps == [8] * len(SHARES)


def test_one_epoch_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of the smaller parts are rounded; their warm-up must not be longer."""
    recipes: list[TrainOptions] = []
    monkeypatch.setattr(
        Task, "train", lambda self, part, votes, scaled, *_, **__: recipes.append(scaled)
    )
    end = {"training": 0.5, "public": 0.5, "n_public": 168}
    monkeypatch.setattr(module, "_at_its_end", lambda *_: end)
    options = replace(QUICK, epochs=1, batch_size=24, warmup_epochs=1.0)
    task = Task(
        pattern_dataset(per_class=24), tmp_path, lambda scaled, title: nullcontext(Silent()), {}
    )
    learning_curve(task, options)
    # Half of the faces are seen seven thirds as often, which is two epochs and no more.
    assert [recipe.epochs for recipe in recipes] == [7, 7, 7, 2, 1]
    assert [recipe.warmup_epochs for recipe in recipes] == [7, 7, 7, 2, 1]


@pytest.mark.pictures
def test_curve_of_runs_with_equal_steps(tmp_path: Path) -> None:
    dataset = pattern_dataset(per_class=24)
    options = replace(QUICK, epochs=1, batch_size=8, warmup_epochs=0.5, patience=2)
    steps: dict[str, int] = {}
    patience = []

    @contextmanager
    def reporter(scaled: TrainOptions, title: str) -> Iterator[Silent]:
        silent = Silent()
        patience.append(scaled.patience)
        yield silent
        steps[title] = len(silent.steps)

    found = learning_curve(Task(dataset, tmp_path, reporter, {}), options)
    assert list(steps) == [
        "5% of Training, 8 faces", "10% of Training, 17 faces", "25% of Training, 42 faces",
        "50% of Training, 84 faces", "100% of Training, 168 faces",
    ]  # fmt: skip
    assert patience == [42, 21, 8, 4, 2]
    assert max(steps.values()) - min(steps.values()) <= 1  # as many for all
    for point in found["points"]:  # which are the ends of runs, not their best epochs
        folder = tmp_path / f"{round(100 * point['share']):03d}-percent"
        last = json.loads((folder / "log.json").read_text())["history"][-1]
        assert point["public"] == pytest.approx(last["public_accuracy"])
    assert json.loads((tmp_path / "learning-curve.json").read_text()) == found
    assert (tmp_path / "learning-curve.png").exists()
    again = learning_curve(Task(dataset, tmp_path, reporter, {}), options)
    assert again == found
    assert set(steps.values()) == {0}  # nothing was trained again


@pytest.mark.parametrize(
    ("training", "n_public", "verdict"),
    [(0.26, 3589, "The networks have hardly learnt"), (0.9, 70, "PublicTest has too few faces")],
)
def test_where_there_is_nothing_to_say_yet(training: float, n_public: int, verdict: str) -> None:
    points = [
        {"faces": faces, "public": 0.25, "training": training, "n_public": n_public}
        for faces in (500, 1000)
    ]
    assert would_more_help(points).startswith(verdict)


@pytest.mark.parametrize(
    ("public", "training", "verdict", "spanish"),
    [
        (
            (0.50, 0.60),
            0.95,
            "More data would help: the curve still rises. From 500 to 1,000 faces",
            "Más datos ayudarían: la curva todavía sube. De 500 a 1000 rostros",
        ),
        (
            (0.60, 0.61),
            0.95,
            "more faces of the same kind would help little",
            "más rostros del mismo tipo ayudarían poco",
        ),
        (
            (0.60, 0.61),
            0.63,
            "a larger network or a longer run would help more",
            "una red más grande o una ejecución más larga ayudarían más",
        ),
    ],
)
def test_verdicts(public: tuple[float, float], training: float, verdict: str, spanish: str) -> None:
    points = [
        {"faces": faces, "public": accuracy, "training": training, "n_public": 3589}
        for faces, accuracy in zip((500, 1000), public, strict=True)
    ]
    assert verdict in would_more_help(points)
    assert spanish in would_more_help(points, "es")


def test_a_run_on_a_share_is_exported(tmp_path: Path, patterns_csv: Path) -> None:
    """Compared on the same faces, of which only some were learnt from."""
    dataset = load_dataset(patterns_csv)
    part = dataset.where(share_of_training(dataset, 0.5))
    source = {**Source(patterns_csv).to_dict(), "share": 0.5}
    train(part, replace(QUICK, epochs=1), tmp_path / "run", Silent(), source=source)
    done = semblante("export", tmp_path / "run", "--out", tmp_path / "model.onnx")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.onnx").exists()


def test_votes_lie_beside_the_folder_one_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    root = Path(__file__).parents[1]
    assert votes_beside(Path()) == root / "fer2013new.csv"
    assert votes_beside(Path("..")) == root.parent / "fer2013new.csv"
    assert votes_beside(Path("x.csv")) == root / "tests" / "fer2013new.csv"
