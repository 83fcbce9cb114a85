"""The whole path of the released weights, in one call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from conftest import ferplus_votes
from semblante.data import Dataset
from semblante.errors import OptionError
from semblante.recognise.classifier import Classifier
from semblante.train import series
from semblante.train.networks import NETWORKS
from semblante.train.options import TrainOptions
from semblante.train.presets import PRESETS
from semblante.train.released import RELEASED, Stage
from semblante.train.series import train_released
from semblante.train.targets import read_estimates
from semblante.train.task import Task
from training import Silent, tiny

SHORT = (
    Stage("standard"),
    Stage("robust", initial_share=0.35),
    Stage("polish", runs=2, model="model"),
)
SMALL = {"network": "rcnn-tiny", "epochs": 1, "batch_size": 16, "precision": "fp32", "seed": 4}


class Notebook:
    """What was said of the runs of a series."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.steps: list[int] = []  # that each run took

    @contextmanager
    def reporter(self, _: TrainOptions, title: str) -> Iterator[Silent]:
        silent = Silent()
        self.titles.append(title)
        yield silent
        self.steps.append(len(silent.steps))

    def train(
        self, dataset: Dataset, out: Path, **changes: Any
    ) -> tuple[list[Path], dict[str, dict[str, Any]]]:
        task = Task(dataset, out, self.reporter, {"path": "x"}, ferplus_votes(dataset))
        return train_released(task, {**SMALL, **changes})


def test_each_stage_starts_from_what_the_one_before_left(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "RELEASED", SHORT)
    notebook = Notebook()
    (model,), summaries = notebook.train(patterns, tmp_path)
    names = ["1-standard", "2-robust", "3-polish-1", "3-polish-2"]
    assert list(summaries) == names
    assert notebook.titles == [f"run {k} of 4: {name}" for k, name in enumerate(names, start=1)]
    options = [json.loads((tmp_path / n / "config.json").read_text())["options"] for n in names]
    first, second = str(tmp_path / "1-standard.onnx"), str(tmp_path / "2-robust.onnx")
    assert [of["initial"] for of in options] == ["", first, second, second]
    assert [of["seed"] for of in options] == [4, 4, 4, 5]
    assert Classifier(second).about["training"]["initial_share"] == 0.35
    assert model == tmp_path / "model.onnx"
    assert [of["seed"] for of in Classifier(model).about["training"]["runs"]] == [4, 5]
    assert notebook.steps == [5, 5, 5, 5]

    said = Classifier(model).probabilities(patterns.images)
    model.unlink()  # killed before it was written
    assert notebook.train(patterns, tmp_path) == ([model], summaries)
    assert notebook.steps[4:] == [0, 0, 0, 0]
    np.testing.assert_allclose(Classifier(model).probabilities(patterns.images), said, atol=1e-6)


def test_a_stage_may_have_another_network_and_a_teacher(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS, "wider", lambda n: tiny(n, channels=(20, 24, 36)))
    monkeypatch.setitem(NETWORKS, "shorter", lambda n: tiny(n, steps=(1, 1, 2)))
    first = Stage("polish", changes={"network": "rcnn-tiny", "epochs": 1})
    taught = {"mirrored_teachers": True, "distill_weight": 0.5}
    wider = Stage("finish", changes={"network": "wider", "epochs": 2}, taught=taught)
    shorter = replace(wider, changes={"network": "shorter", "epochs": 1}, after=1)
    again = replace(shorter, after=None, teacher=2, model="small")
    stages = (first, replace(wider, model="model"), shorter, again)
    monkeypatch.setattr(series, "RELEASED", stages)

    @contextmanager
    def reporter(*_: Any) -> Iterator[Silent]:
        yield Silent()

    changes = {name: SMALL[name] for name in ("batch_size", "precision", "seed")}
    task = Task(patterns, tmp_path, reporter, {"path": "x"}, ferplus_votes(patterns))
    (model, small), summaries = train_released(task, changes)
    options = json.loads((tmp_path / "2-finish" / "config.json").read_text())["options"]
    assert (options["network"], options["epochs"]) == ("wider", 2)
    assert options["teachers"] == [options["initial"]] == [str(tmp_path / "1-polish.onnx")]
    assert (options["mirrored_teachers"], options["distill_weight"]) == (True, 0.5)
    assert Classifier(model).about["network"] == "wider"
    assert list(summaries) == ["1-polish", "2-finish", "3-finish", "4-finish"]
    for name, initial in (("3-finish", "1-polish.onnx"), ("4-finish", "3-finish.onnx")):
        options = json.loads((tmp_path / name / "config.json").read_text())["options"]
        assert options["initial"] == str(tmp_path / initial)
        assert options["teachers"] == [str(model)]
    assert (model.name, small.name) == ("model.onnx", "small.onnx")
    assert Classifier(small).about["steps"] == [1, 1, 2]
    # What the caller changes comes first.
    assert wider.options({"network": "rcnn-tiny"}).network == "rcnn-tiny"
    assert wider.options({"initial": "a", "teachers": ("b",)}, teacher="c").teachers == ("b",)


def test_stages_after_folds_learn_what_these_say(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = Stage("finish", cross_fitted=True, beside=Stage("polish"), model="model")
    stages = (Stage("standard"), Stage("cross-fit", folds=2), last)
    monkeypatch.setattr(series, "RELEASED", stages)
    notebook = Notebook()
    (model,), summaries = notebook.train(patterns, tmp_path)
    assert list(summaries) == ["1-standard", "3-finish-1", "3-finish-2"]
    folds = [
        f"2-cross-fit, without fold {fold} of 2, which is called PublicTest below"
        for fold in (1, 2)
    ]
    names = ["1-standard", *folds, "3-finish-1", "3-finish-2"]
    assert notebook.titles == [f"run {k} of 5: {name}" for k, name in enumerate(names, start=1)]
    folders = ["2-cross-fit/fold-0-of-2", "2-cross-fit/fold-1-of-2", *names[3:]]
    options = [json.loads((tmp_path / n / "config.json").read_text())["options"] for n in folders]
    first = str(tmp_path / "1-standard.onnx")
    assert [of["initial"] for of in options] == [first] * 4
    assert [of["estimates"] for of in options] == ["", "", str(tmp_path / "2-cross-fit"), ""]
    assert [of["degrade_probability"] for of in options[2:]] == [0.15, 0.3]  # finish, polish
    assert [of["seed"] for of in Classifier(model).about["training"]["runs"]] == [4, 5]
    assert Classifier(model).about["training"]["options"]["estimates"] == "2-cross-fit"
    found = json.loads((tmp_path / "2-cross-fit" / "cross-fit.json").read_text())
    assert found["held_out"]["n"] == (patterns.splits == 0).sum()

    made = read_estimates(tmp_path / "2-cross-fit", patterns.split("Training"))
    (tmp_path / "2-cross-fit" / "estimates.safetensors").unlink()  # killed before it was written
    assert notebook.train(patterns, tmp_path) == ([model], summaries)
    assert notebook.steps[5:] == [0] * 5
    with pytest.raises(OptionError, match="these runs make their own"):
        notebook.train(patterns, tmp_path, estimates="x")
    again = read_estimates(tmp_path / "2-cross-fit", patterns.split("Training"))
    assert torch.equal(again, made)


def test_what_a_later_run_cannot_do_is_said_before_the_first(
    patterns: Dataset, tmp_path: Path
) -> None:
    assert {stage.preset for stage in RELEASED} <= set(PRESETS)
    changes = {**SMALL, "network": "course-cnn"}
    task = Task(patterns, tmp_path, lambda *_: Silent(), {})  # type: ignore[arg-type, return-value]
    with pytest.raises(OptionError, match="all_steps_weight is above 0, but course-cnn has no"):
        train_released(task, changes)
    changes |= {"teachers": ("nowhere",), "small_until": 0.5}  # teachers are not loaded for it
    with pytest.raises(OptionError, match="but course-cnn takes no faces of 32 pixels"):
        train_released(task, changes)
    with pytest.raises(OptionError, match="FER\\+'s votes are needed"):
        train_released(task, SMALL)
    seeds = {**SMALL, "network": "rcnn-tiny", "seed": 1_000_000_000}  # the last of one run alone
    with pytest.raises(OptionError, match="expected seed of at most"):
        train_released(task, seeds)
    with pytest.raises(OptionError, match="patience would use the held-out fold"):
        Notebook().train(patterns, tmp_path, patience=2)
    assert list(tmp_path.iterdir()) == []


def test_without_votes_nothing_is_relabelled(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = Stage("finish", cross_fitted=True, changes={"relabel_weight": 0.85}, model="model")
    stages = (Stage("standard"), Stage("cross-fit", folds=2), last)
    monkeypatch.setattr(series, "RELEASED", stages)
    notebook = Notebook()
    (model,), _ = notebook.train(patterns, tmp_path, relabel_weight=0.0, ferplus_weight=0.0)
    assert Classifier(model).about["training"]["options"]["estimates"] == ""
    assert notebook.titles == ["run 1 of 2: 1-standard", "run 2 of 2: 3-finish"]
