"""What is given on the command line arrives where it counts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from conftest import EXAMPLE
from semblante import evaluation
from semblante.cli import evaluate as evaluating
from semblante.cli import options
from semblante.cli.analyze import PictureTta
from semblante.cli.app import app
from semblante.cli.export import Precision
from semblante.data import SPLITS, Dataset
from semblante.emotions import LANGUAGES
from semblante.recognise import pipeline
from semblante.recognise.classifier import HEADS
from semblante.recognise.detectors import DETECTORS
from semblante.train.options import TrainOptions
from semblante.train.precision import PRECISIONS
from training import QUICK, run


class Arrived(Exception):  # noqa: N818
    """Ends a command where what it was given is known."""


def called(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> dict[str, Any]:
    """By which keywords a command calls what is called `name`."""
    given: dict[str, Any] = {}

    def stand_in(*positional: object, **keywords: Any) -> None:
        given.update(keywords, positional=positional)
        raise Arrived

    monkeypatch.setattr(name, stand_in)
    monkeypatch.setattr("semblante.cli.serve.listen", lambda *_: None)  # nobody would close it
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert isinstance(done.exception, Arrived), done.output
    return given


def test_choices_are_those_that_are_known() -> None:
    assert get_args(options.Language) == LANGUAGES
    assert get_args(options.DetectorName) == tuple(DETECTORS)
    assert get_args(options.Head) == HEADS
    assert get_args(PictureTta) == pipeline.TTA
    assert get_args(evaluating.Tta) == evaluation.TTA
    assert get_args(evaluating.Split) == SPLITS
    assert get_args(Precision) == PRECISIONS


@pytest.mark.parametrize("command", ["analyze", "explain", "watch", "serve"])
def test_the_head_and_the_detector(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    if command == "serve":
        pytest.importorskip("fastapi")
    what = {"serve": ["--port", 0], "watch": ["0"]}.get(command, [EXAMPLE])
    if command == "explain":
        what += ["--out", tmp_path / "pages"]
    given = called(
        monkeypatch, f"semblante.cli.{command}.Analyzer", command, *what, "--head", "fer2013",
        "--detector", "haar", "--model", "rcnn-small-int8", "--min-face", 30, "--min-score", 0.7,
    )  # fmt: skip
    assert given["positional"] == ("rcnn-small-int8",)
    known = {"head": "fer2013", "detector": "haar", "min_face": 30, "min_score": 0.7}
    assert given.items() >= known.items()


@pytest.mark.parametrize("command", ["analyze", "watch"])
def test_how_many_threads_work(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    what = "0" if command == "watch" else EXAMPLE
    given = called(monkeypatch, f"semblante.cli.{command}.Analyzer", command, what, "--threads", 3)
    assert given["threads"] == 3


def test_over_what_time_a_track_is_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    given = called(
        monkeypatch, "semblante.cli.analyze.Work", "analyze", EXAMPLE, "--smoothing", 1.5
    )
    assert given["positional"][4] == 1.5


def test_the_head_that_is_measured(monkeypatch: pytest.MonkeyPatch, patterns_csv: Path) -> None:
    given = called(
        monkeypatch, "semblante.cli.evaluate.Classifier", "evaluate", "--data", patterns_csv,
        "--head", "ferplus", "--steps", 2, "--early-exit", 0.9,
    )  # fmt: skip
    assert {name: given[name] for name in ("head", "steps", "early_exit")} == {
        "head": "ferplus", "steps": 2, "early_exit": 0.9,
    }  # fmt: skip


def test_who_may_call_and_how_many_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    given = called(
        monkeypatch, "semblante.server.app.create_app", "serve", "--port", 0, "--workers", 3,
        "--origin", "https://example.org", "--origin", "https://example.com", "--token", "abc",
    )  # fmt: skip
    settings, _ = given["positional"]
    assert (settings.workers, settings.token) == (3, "abc")
    assert settings.origins == ("https://example.org", "https://example.com")


def test_the_share_of_the_initial_weights(
    monkeypatch: pytest.MonkeyPatch, patterns: Dataset, patterns_csv: Path, tmp_path: Path
) -> None:
    run(patterns, QUICK, tmp_path / "run")
    given = called(
        monkeypatch, "semblante.train.export.export", "export", tmp_path / "run", "--data",
        patterns_csv, "--out", tmp_path / "x.onnx", "--initial-share", 0.35, "--precision", "fp16",
    )  # fmt: skip
    assert given["positional"][3:] == ("fp16", None, 0.35)


@pytest.mark.parametrize("option", fields(TrainOptions), ids=lambda option: option.name)
def test_each_option_of_a_recipe(
    monkeypatch: pytest.MonkeyPatch, patterns_csv: Path, tmp_path: Path, option: Any
) -> None:
    taken: list[dict[str, Any]] = []

    def stand_in(preset: str, changes: dict[str, Any]) -> None:
        taken.append(changes)
        raise Arrived

    monkeypatch.setattr("semblante.cli.train.options_from", stand_in)
    flag, kind = "--" + option.name.replace("_", "-"), type(option.default)
    values = {bool: [], tuple: ["a", "b"], str: ["a"]}.get(kind, ["1"])
    given = [part for value in values for part in (flag, value)] or [flag]
    done = CliRunner().invoke(
        app, ["train", "--data", str(patterns_csv), "--out", str(tmp_path / "run"), *given]
    )
    assert isinstance(done.exception, Arrived), done.output
    expected = {bool: True, tuple: ["a", "b"], str: "a"}.get(kind, 1)
    assert taken == [{option.name: expected}]
    assert type(taken[0][option.name]) is (list if kind is tuple else kind)
