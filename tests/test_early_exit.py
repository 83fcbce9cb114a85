"""Fewer steps and early exit, from the exported file to the command line; FER+'s head beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from conftest import ferplus_votes
from program import semblante
from semblante.data import Dataset
from semblante.data.convert import write_table
from semblante.errors import DataError, ModelError, OptionError
from semblante.evaluation import evaluate
from semblante.preprocess import network_input
from semblante.recognise.classifier import Classifier, import_onnxruntime, softmax
from semblante.recognise.pipeline import Analyzer
from semblante.train.calibration import calibrated, fit_temperatures
from semblante.train.early_exit import add_early_exit
from semblante.train.export import export
from semblante.train.recurrent import RecurrentNetwork
from semblante.train.trained import load_best
from training import QUICK, run


@pytest.fixture(scope="module")
def run_dir(patterns: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("early-exit") / "run"
    options = replace(QUICK, epochs=2, all_steps_weight=0.5, ferplus_weight=0.5)
    run(patterns, options, path, votes=ferplus_votes(patterns))
    return path


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def exported(
    run_dir: Path, patterns: Dataset, tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Path:  # fmt: skip
    out = tmp_path_factory.mktemp("models") / f"{request.param}.onnx"
    export(run_dir, out, patterns, request.param, votes=ferplus_votes(patterns))
    return out


@pytest.fixture(scope="module")
def by_torch(run_dir: Path, patterns: Dataset, exported: Path) -> np.ndarray:
    """Logits after each step, with its temperatures: (3, n, 15)."""
    network, _ = load_best(run_dir)
    assert isinstance(network, RecurrentNetwork)
    with torch.no_grad():
        logits = network.all_steps(torch.from_numpy(network_input(patterns.images)))
    about = Classifier(exported).about
    temperatures = zip(about["temperatures"], about["ferplus_temperatures"], strict=True)
    return np.stack(
        [
            np.hstack(
                [
                    calibrated(step[:, :7], torch.tensor(first).log()),
                    calibrated(step[:, 7:], torch.tensor(second).log()),
                ]
            )
            for step, (first, second) in zip(logits, temperatures, strict=True)
        ]
    )


def close(exported: Path) -> float:
    return 1e-4 if exported.stem == "fp32" else 0.02


def test_any_number_of_steps(exported: Path, patterns: Dataset, by_torch: np.ndarray) -> None:
    classifier = Classifier(exported)
    assert classifier.max_steps == 2
    for steps in (None, 0, 1, 2):
        some = Classifier(exported, steps=steps)
        wanted = 2 if steps is None else steps
        for n in (0, 1, 3, 100):
            faces = patterns.images[:n]
            np.testing.assert_allclose(
                some.all_logits(faces), by_torch[wanted, :n], atol=close(exported)
            )
            assert some.steps_taken(faces).tolist() == [wanted] * n


def test_settled_faces_stop_early_and_the_others_go_on(
    exported: Path, patterns: Dataset, by_torch: np.ndarray
) -> None:
    certainty = np.stack([softmax(logits[:, :7]).max(axis=1) for logits in by_torch])
    for limit in (0.0, float(np.median(certainty[0])), float(np.quantile(certainty, 0.9)), 1.0):
        settled = np.concatenate([certainty[:2] >= limit, np.ones((1, len(patterns)), bool)])
        # Where rounding could decide, nothing is asked.
        clear = (np.abs(certainty[:2] - limit) > 1e-2).all(axis=0)
        first = settled.argmax(axis=0)
        classifier = Classifier(exported, early_exit=limit)
        np.testing.assert_array_equal(
            classifier.steps_taken(patterns.images)[clear], first[clear]
        )  # fmt: skip
        np.testing.assert_allclose(
            classifier.all_logits(patterns.images)[clear],
            by_torch[first, np.arange(len(patterns))][clear],
            atol=close(exported),
        )
    at_most_one = Classifier(exported, steps=1, early_exit=1.0)
    assert at_most_one.steps_taken(patterns.images).max() == 1


def test_a_face_is_settled_from_the_limit_on_and_by_default_never() -> None:
    """Of three emotions, and a number that is none; one face is as sure as there are numbers."""
    shape, make = helper.make_tensor_value_info, helper.make_node
    factors = {name: np.array(value, np.float32) for name, value in (("up", 1), ("down", -1))}
    graph = helper.make_graph(
        [make("Mul", ["faces", "up"], ["step_0"]), make("Mul", ["step_0", "down"], ["step_1"])],
        "g", [shape("faces", 1, ["n", 4])], [shape(f"step_{t}", 1, ["n", 4]) for t in (0, 1)],
        [numpy_helper.from_array(value, name) for name, value in factors.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    add_early_exit(model, ["step_0", "step_1"], "said", 3)
    session = import_onnxruntime().InferenceSession(model.SerializeToString())
    faces = np.array([[200, 0, 0, 500], [0, 0, 0, 500], [1, 0, 0, 0]], np.float32)
    for asked, taken in (
        ({}, [1, 1, 1]),
        ({"settled_at": 1.0}, [0, 1, 1]),
        ({"settled_at": 0.5}, [0, 1, 0]),
        ({"settled_at": 0.0}, [0, 0, 0]),
        ({"steps": 0}, [0, 0, 0]),
    ):
        kinds = {"steps": np.int64, "settled_at": np.float32}
        inputs = {name: np.array(value, kinds[name]) for name, value in asked.items()}
        said, steps = session.run(["said", "steps_taken"], {"faces": faces, **inputs})
        assert steps.tolist() == taken
        assert np.array_equal(said, faces * np.where(taken, -1, 1)[:, None])


def test_steps_and_probabilities_out_of_range(exported: Path, tmp_path: Path) -> None:
    for steps in (-1, 3):
        with pytest.raises(OptionError, match=f"expected steps between 0 and 2, found {steps}"):
            Analyzer(exported, steps=steps)
    with pytest.raises(OptionError, match=r"expected early_exit between 0 and 1, found 1\.5"):
        Analyzer(exported, early_exit=1.5)


def test_ferplus_is_answered_by_its_own_head(
    exported: Path, patterns: Dataset, by_torch: np.ndarray
) -> None:
    votes = ferplus_votes(patterns)
    rows = patterns.splits == 1
    right = by_torch[-1, rows, 7:].argmax(axis=1) == (np.arange(len(patterns)) % 8)[rows]
    found = evaluate(Classifier(exported), patterns, "PublicTest", votes=votes)
    assert found.labels == "ferplus"
    assert found.accuracy == pytest.approx(right.mean(), abs=0.02)
    assert found.mean_steps == 2


def test_ferplus_probabilities_suit_its_majority(
    run_dir: Path, patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = load_best(run_dir)
    public = patterns.split("PublicTest")
    with torch.no_grad():
        logits = network(torch.from_numpy(network_input(public.images))).numpy()[:, 7:]
    # Votes that the second output gets right for three faces of four.
    winners = logits.argmax(axis=1)
    winners[::4] = (winners[::4] + 1) % 8
    votes = ferplus_votes(patterns)
    votes.votes[patterns.splits == 1] = 10 * np.eye(10, dtype=np.int64)[winners]
    reached = iter((0.3, 0.5, 0.4))
    monkeypatch.setattr("semblante.train.export._accuracy", lambda *_: next(reached))
    about = export(run_dir, tmp_path / "model.onnx", patterns, votes=votes)
    assert about["training"]["public_test_by_step"] == [0.3, 0.5, 0.4]
    assert about["training"]["public_test"]["accuracy"] == 0.4  # of all steps
    assert about["training"]["dataset"].endswith(", Training split, and FER+'s votes on it")
    expected = fit_temperatures(winners, logits)
    assert about["ferplus_temperatures"][-1] == pytest.approx(expected)
    between = np.log(expected).mean() - np.log(about["temperatures"][-1]).mean()
    assert abs(between) > 0.1  # the same would not do for both
    said = Classifier(tmp_path / "model.onnx").ferplus_probabilities(public.images)
    wanted = calibrated(torch.from_numpy(logits), torch.tensor(expected).log()).softmax(dim=1)
    np.testing.assert_allclose(said, wanted, atol=1e-4)


def test_votes_that_ferplus_needs_are_not_there(
    run_dir: Path, patterns: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="FER\\+'s votes: they are needed to calibrate it"):
        export(run_dir, tmp_path / "model.onnx", patterns)
    votes = ferplus_votes(patterns)
    ones = np.ones_like(votes.votes)
    of_public = (patterns.splits == 1)[:, None]
    unclear = replace(votes, votes=np.where(of_public, ones, votes.votes))
    with pytest.raises(DataError, match="not one face of PublicTest has a majority"):
        export(run_dir, tmp_path / "model.onnx", patterns, votes=unclear)
    fewer = votes.where(np.arange(len(votes.votes) - 1))
    with pytest.raises(DataError, match="the dataset has 252"):
        export(run_dir, tmp_path / "model.onnx", patterns, votes=fewer)
    with pytest.raises(ModelError, match="was trained with other FER\\+ votes than the ones given"):
        export(run_dir, tmp_path / "model.onnx", patterns, votes=replace(votes, votes=ones))
    assert list(tmp_path.iterdir()) == []


def test_steps_on_the_command_line(exported: Path, patterns: Dataset, tmp_path: Path) -> None:
    write_table(patterns, tmp_path / "faces.csv")
    command = ["evaluate", "--data", str(tmp_path / "faces.csv"), "--model", str(exported)]
    one = semblante(*command, "--steps", 1, "--format", "json")
    assert one.returncode == 0, one.stderr
    assert json.loads(one.stdout)["mean_steps"] == 1
    none = semblante(*command, "--early-exit", 0)
    assert "steps of the last recurrent layer, on average: 0.00" in none.stdout
    many = semblante(*command, "--steps", 9)
    assert many.returncode == 2
    assert "expected steps between 0 and 2, found 9" in many.stderr
