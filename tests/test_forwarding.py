"""What is given on the command line arrives where it counts, and what comes of it is printed."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from conftest import EXAMPLE
from semblante import evaluation
from semblante.cli import evaluate as evaluating
from semblante.cli import options
from semblante.cli.analyze import PictureTta
from semblante.cli.app import app
from semblante.cli.export import Precision
from semblante.cli.reading import Source
from semblante.data import SPLITS, Dataset
from semblante.data.exclusion import write_exclusion
from semblante.data.ferplus import FERPLUS_INDICES, VOTES
from semblante.emotions import LANGUAGES
from semblante.models import MODELS, YUNET_FILE, model_path, sha256
from semblante.recognise import pipeline
from semblante.recognise.classifier import HEADS
from semblante.recognise.detectors import DETECTORS
from semblante.train.crossval import fold_recipe
from semblante.train.options import TrainOptions
from semblante.train.precision import PRECISIONS
from semblante.train.presets import options_from


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


def returning(
    monkeypatch: pytest.MonkeyPatch, name: str, result: object, *arguments: object
) -> tuple[tuple[Any, ...], str]:
    """Run a command in which what is called `name` returns `result` at once; return the arguments
    that it was called by, and what the command printed."""
    given: list[tuple[Any, ...]] = []

    def stand_in(*positional: object) -> object:
        given.append(positional)
        return result

    monkeypatch.setattr(name, stand_in)
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, (done.output, done.exception)
    [positional] = given
    return positional, done.stdout


def votes_of(dataset: Dataset, path: Path, undecided: int = 0) -> Path:
    """Write FER+'s votes as its file has them: ten for each face's label, except for the first
    `undecided` faces of each split."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Usage", "Image name", *VOTES])
        left = dict.fromkeys(SPLITS, undecided)
        for number, label in zip(dataset.splits, dataset.labels, strict=True):
            votes = [0] * len(VOTES)
            votes[FERPLUS_INDICES[label]] = 0 if left[SPLITS[number]] > 0 else 10
            left[SPLITS[number]] -= 1
            rows.writerow([SPLITS[number], "face.png", *votes])
    return path


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


def test_how_a_face_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    given = called(
        monkeypatch, "semblante.cli.analyze.Analyzer", "analyze", EXAMPLE, "--steps", 2,
        "--early-exit", 0.9, "--tta", "none",
    )  # fmt: skip
    assert given.items() >= {"steps": 2, "early_exit": 0.9, "tta": "none"}.items()


def test_over_what_time_a_track_is_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    given = called(
        monkeypatch, "semblante.cli.analyze.Work", "analyze", EXAMPLE, "--smoothing", 1.5
    )
    assert given["smoothing_s"] == 1.5


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
    monkeypatch: pytest.MonkeyPatch, first_run: Path, patterns_csv: Path, tmp_path: Path
) -> None:
    given = called(
        monkeypatch, "semblante.train.export.export", "export", first_run, "--data",
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


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_how_a_dataset_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    faces = tmp_path / "faces"
    (faces / "glee").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg"):
        shutil.copy(EXAMPLE, faces / "glee" / name)
    Image.new("L", (60, 60), 99).save(faces / "glee" / "3.png")  # in which no face is found
    source = Source(faces, {"glee": "happy"}, True, True, tmp_path / "rows.csv")
    whole = source.read()
    assert len(whole) == 2
    write_exclusion(tmp_path / "rows.csv", whole, {0: "a copy"})
    name = {"train": "semblante.train.loop.train", "evaluate": "semblante.evaluation.evaluate"}
    given = called(
        monkeypatch, name[command], command, "--data", faces, "--map", "glee=happy", "--skip-bad",
        "--find-faces", "--exclude", tmp_path / "rows.csv",
        *(["--out", tmp_path / "run"] if command == "train" else []),
    )  # fmt: skip
    if command == "train":
        dataset, *_ = given["positional"]
        assert np.array_equal(dataset.images, whole.images[1:])  # the face, not the whole picture
        assert given["source"] == source.to_dict()
    else:
        _, dataset, _ = given["positional"]
        assert np.array_equal(dataset.images, whole.images)
        assert given["kept"].tolist() == [False, True]


def test_the_majority_of_ferplus(patterns: Dataset, patterns_csv: Path, tmp_path: Path) -> None:
    votes = votes_of(patterns, tmp_path / "votes.csv", undecided=4)
    done = CliRunner().invoke(
        app,
        ["evaluate", "--data", str(patterns_csv), "--model", "rcnn-small-int8", "--labels",
         "ferplus", "--votes", str(votes), "--reliability", str(tmp_path / "r.png")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    # PublicTest has twelve faces of each emotion.
    assert "on PublicTest, n=80, test-time views: none, labels: ferplus, head: ferplus" in (
        done.stdout.replace("\n", " ")
    )
    with Image.open(tmp_path / "r.png") as picture:
        picture.verify()


def test_all_models_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = called(
        monkeypatch, "semblante.recognise.timing.time_recognisers", "bench", "--rounds", 7,
        "--no-peers",
    )  # fmt: skip
    assert given == {"positional": (list(MODELS),), "rounds": 7, "peers": False}


def test_a_detector_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched = tmp_path / "fetched"
    fetched.write_bytes(b"a network")
    monkeypatch.setattr("semblante.pull.YUNET_SHA256", sha256(fetched))
    monkeypatch.setenv("SEMBLANTE_CACHE", str(tmp_path / "cache"))
    done = CliRunner().invoke(app, ["models", "pull", "yunet", "--from", str(fetched)])
    assert done.exit_code == 0, done.output
    kept = tmp_path / "cache" / "models" / YUNET_FILE
    assert done.stdout == f"yunet: {kept} (MIT licence)\n"
    assert kept.read_bytes() == b"a network"


RECIPE = ("--network", "rcnn-tiny", "--epochs", 2, "--warmup-epochs", 1)


def test_a_learning_curve(
    monkeypatch: pytest.MonkeyPatch, patterns: Dataset, patterns_csv: Path, tmp_path: Path
) -> None:
    points = [
        {"faces": 617, "training": 0.75, "public": 0.5},
        {"faces": 1234, "training": 0.625, "public": 0.5125},
    ]
    (task, options), said = returning(
        monkeypatch, "semblante.train.learning_curve.learning_curve",
        {"points": points, "verdict": "More faces would help."},
        "train", "--data", patterns_csv, "--out", tmp_path / "run", "--learning-curve", *RECIPE,
    )  # fmt: skip
    assert (task.out, task.votes) == (tmp_path / "run", None)
    assert np.array_equal(task.dataset.images, patterns.images)
    assert options == options_from(
        "standard", {"network": "rcnn-tiny", "epochs": 2, "warmup_epochs": 1.0}
    )
    rows = [line.split() for line in said.splitlines()]
    assert ["617", "75.00%", "50.00%"] in rows
    assert ["1,234", "62.50%", "51.25%"] in rows
    assert "More faces would help." in said
    assert said.endswith(f"curve: {tmp_path / 'run' / 'learning-curve.png'}\n")


def test_estimates_for_likely_labels(
    monkeypatch: pytest.MonkeyPatch, patterns_csv: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    found = {
        "folds": 3, "held_out": {"n": 84, "accuracy": 0.75}, "public": {"n": 83, "accuracy": 0.5}
    }  # fmt: skip
    (task, options, folds), said = returning(
        monkeypatch, "semblante.train.crossval.cross_fit", found,
        "train", "--data", patterns_csv, "--out", out, "--cross-fit", 3, *RECIPE,
    )  # fmt: skip
    assert (task.out, options.network, options.epochs, folds) == (out, "rcnn-tiny", 2, 3)
    assert "Training 75.00% (n=84), PublicTest 50.00% (n=83)." in said
    assert said.endswith(f"to learn from these predictions: --estimates {out}\n")


def test_the_runs_of_the_released_weights(
    monkeypatch: pytest.MonkeyPatch, patterns: Dataset, patterns_csv: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copy(model_path("rcnn-small-int8"), tmp_path / "small.onnx"))
    summary = {
        "best_epoch": 7, "public": {"accuracy": 0.5, "n": 84},
        "training": {"accuracy": 0.75, "n": 9}, "diagnosis": "The run is fine.",
        "by_emotion": "happy is right most often",
    }  # fmt: skip
    (task, changes), said = returning(
        monkeypatch, "semblante.train.series.train_released",
        ([model], {"1-course": summary}),
        "train", "--data", patterns_csv, "--out", tmp_path / "run", "--preset", "released",
        "--votes", votes_of(patterns, tmp_path / "votes.csv"), "--epochs", 5,
    )  # fmt: skip
    assert (task.out, changes) == (tmp_path / "run", {"epochs": 5})
    assert np.array_equal(task.votes.majority(), FERPLUS_INDICES[patterns.labels])
    name, best, diagnosis, emotions, measured, *_ = said.splitlines()
    assert (name, diagnosis) == ("1-course:", "The run is fine.")
    assert best.startswith("best epoch 7: PublicTest 50.00% (n=84), Training 75.00% (n=9)")
    assert emotions == "PublicTest by emotion. happy is right most often"
    assert measured.startswith(f"{model}: PublicTest ")
    assert "(n=84), single view" in measured
    assert (tmp_path / "small-confusion.png").is_file()


@pytest.mark.parametrize("work", [None, "runs of mine"])
def test_an_audit_in_folds(
    monkeypatch: pytest.MonkeyPatch,
    patterns: Dataset,
    patterns_csv: Path,
    tmp_path: Path,
    work: str | None,
) -> None:
    pytest.importorskip("cleanlab")
    out = tmp_path / "audit"
    likely = np.full((len(patterns), 7), 0.01, np.float32)
    likely[np.arange(len(patterns)), patterns.labels] = 0.94
    likely[5] = np.roll(likely[5], 1)  # the networks are sure of another emotion
    (task, recipe, folds), said = returning(
        monkeypatch, "semblante.train.crossval.out_of_fold_predictions", likely,
        "data", "audit", patterns_csv, "--out", out, "--folds", 2, "--network", "rcnn-tiny",
        "--epochs", 3, *(["--work", tmp_path / work] if work else []),
    )  # fmt: skip
    assert task.out == (tmp_path / work if work else out / "runs")
    assert (recipe, folds) == (fold_recipe("rcnn-tiny", 3), 2)
    found = json.loads((out / "rows.json").read_text())["mislabelled"]
    assert (found["judge"], found["n_judged"]) == ("2 folds of rcnn-tiny, 3 epochs", len(patterns))
    assert [row["row"] for row in found["rows"]] == [5]
    assert (out / "report.html").is_file()
    assert f"row numbers: {out / 'rows.json'}" in said
