"""Estimates by networks that have not learnt from the face they judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from conftest import ferplus_votes
from semblante.data import Dataset
from semblante.data.folds import fold_numbers, held_out
from semblante.errors import DataError, ModelError, OptionError
from semblante.train.batches import Faces
from semblante.train.crossval import cross_fit, out_of_fold_predictions
from semblante.train.export import export
from semblante.train.loop import train
from semblante.train.targets import read_estimates, targets_of
from semblante.train.task import Task
from training import LINEAR, QUICK, Silent


@contextmanager
def silent(*_: object) -> Iterator[Silent]:
    yield Silent()


def test_folds_keep_together_what_belongs_together(patterns: Dataset) -> None:
    images = patterns.images.copy()
    images[40] = images[3]  # an exact copy
    images[41] = images[4][:, ::-1] // 2 + 40  # a near copy, mirrored
    groups = np.full(len(patterns), "", "U4")
    groups[[5, 99, 200]] = "anna"
    numbers = fold_numbers(replace(patterns, images=images, groups=groups), 5, seed=0)
    assert numbers[40] == numbers[3]
    assert numbers[41] == numbers[4]
    assert len(set(numbers[[5, 99, 200]].tolist())) == 1
    sizes = np.bincount(numbers)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 4


def test_whole_persons_are_held_out(patterns: Dataset) -> None:
    """Each person shows every emotion three times."""
    labels = np.tile(np.arange(7), 30)
    groups = np.repeat([f"person {number}" for number in range(10)], 21)
    images = patterns.images[: len(labels)]
    everybody = Dataset(images, labels, np.zeros(len(labels), np.uint8), groups=groups)
    public = held_out(everybody, 0.2).is_in("PublicTest")
    assert np.bincount(labels[public]).tolist() == [6] * 7
    assert len(set(groups[public])) == 2
    alone = Dataset(images, labels, everybody.splits, groups=np.full(len(labels), "anna"))
    with pytest.raises(DataError, match=r"can be held out to a share of 0\.2"):
        held_out(alone, 0.2)


def test_faces_are_held_out_of_each_emotion_with_their_copies(patterns: Dataset) -> None:
    flat = patterns.where(patterns.is_in("Training") | patterns.is_in("PublicTest"))
    images = flat.images.copy()
    images[3:80:7] = images[3]  # eleven copies, of 24 faces of their emotion
    groups = np.full(len(flat), "", "U4")
    groups[[0, 7, 14]] = "anna"
    flat = Dataset(images, flat.labels, np.zeros(len(flat), np.uint8), groups=groups)
    split = held_out(flat, 0.25, seed=1)
    public = split.is_in("PublicTest")
    assert np.bincount(flat.labels[public]).tolist() == [6] * 7
    assert len(set(public[3:80:7])) == len(set(public[[0, 7, 14]])) == 1
    assert (held_out(flat, 0.25, seed=1).splits == split.splits).all()
    assert (held_out(flat, 0.25, seed=2).splits != split.splits).any()
    for share in (0, 1, -0.1, 20):
        with pytest.raises(OptionError, match="share to hold out between 0 and 1"):
            held_out(flat, share)
    again = held_out(split, 0.25)  # as of a dataset that came as train and test
    assert (again.is_in("PrivateTest") == public).all()
    assert np.bincount(flat.labels[again.is_in("PublicTest")]).min() > 0
    with pytest.raises(OptionError, match=r"found \d+ in PublicTest and others in PrivateTest"):
        held_out(again, 0.25)
    elsewhere = np.where(np.arange(len(flat)) == 3, 2, 0).astype(np.uint8)
    some = held_out(Dataset(images, flat.labels, elsewhere), 0.9)
    assert not some.is_in("PublicTest")[3:80:7].any()  # PrivateTest has a copy of them


@pytest.mark.usefixtures("linear")
def test_every_face_is_judged_by_a_network_that_has_not_seen_it(
    patterns: Dataset, tmp_path: Path
) -> None:
    """A wrong label of a single face cannot be learnt from other faces: it stays unlikely."""
    labels = patterns.labels.copy()
    labels[10] = (labels[10] + 3) % 7
    labels[20] = -1
    wrong = replace(patterns, labels=labels)
    options = replace(LINEAR, epochs=6, batch_size=8)
    found = out_of_fold_predictions(Task(wrong, tmp_path, silent, {}), options, 3)
    assert found.shape == (len(patterns), 7)
    assert np.isnan(found[20]).all()
    judged = np.delete(np.arange(len(patterns)), 20)
    np.testing.assert_allclose(found[judged].sum(axis=1), 1, atol=1e-5)
    right = found[judged].argmax(axis=1) == patterns.labels[judged]
    assert right.mean() > 0.8
    assert found[10, labels[10]] < 0.3
    # Called again, it continues from the existing runs: the same result without training.
    before = (tmp_path / "fold-0-of-3" / "checkpoint.safetensors").stat().st_mtime_ns
    assert np.array_equal(
        out_of_fold_predictions(Task(wrong, tmp_path, silent, {}), options, 3),
        found,
        equal_nan=True,
    )
    assert (tmp_path / "fold-0-of-3" / "checkpoint.safetensors").stat().st_mtime_ns == before


def test_what_cross_fitting_cannot_do_is_refused_before_it_trains(
    patterns: Dataset, tmp_path: Path
) -> None:
    blind = patterns.where(patterns.splits != 1)
    with pytest.raises(DataError, match="the dataset has no PublicTest rows"):
        cross_fit(Task(blind, tmp_path / "blind", silent, {}), QUICK, 2)
    task = Task(patterns, tmp_path / "blind", silent, {})
    with pytest.raises(OptionError, match="patience would use the held-out fold"):
        cross_fit(task, replace(QUICK, patience=1), 2)
    assert not (tmp_path / "blind").exists()


def test_a_fold_speaks_the_language_that_was_asked_for_and_is_not_exported(
    patterns: Dataset, tmp_path: Path
) -> None:
    options = replace(QUICK, epochs=1)
    task = Task(patterns, tmp_path, silent, {"path": "x"}, language="es")
    cross_fit(task, options, 2)
    fold = tmp_path / "fold-1-of-2"
    log = json.loads((fold / "log.json").read_text())
    assert "época" in log["summary"]["diagnosis"]
    with pytest.raises(ModelError, match="was trained on part of Training for --cross-fit"):
        export(fold, tmp_path / "fold.onnx", patterns)


def test_too_few_folds_or_faces(patterns: Dataset, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least 2 folds, found 1"):
        out_of_fold_predictions(Task(patterns, tmp_path, silent, {}), QUICK, 1)
    with pytest.raises(DataError, match="too few faces for 5 folds"):
        out_of_fold_predictions(Task(patterns.where(np.arange(3)), tmp_path, silent, {}), QUICK, 5)
    four = replace(patterns, groups=np.array([f"person {row % 4}" for row in range(len(patterns))]))
    with pytest.raises(DataError, match="too few faces for 5 folds: fold 4 has none, since"):
        out_of_fold_predictions(Task(four, tmp_path, silent, {}), QUICK, 5)
    assert list(tmp_path.iterdir()) == []  # no network was trained before


def test_a_label_that_others_know_better_is_not_learnt_by_heart(
    patterns: Dataset, tmp_path: Path
) -> None:
    """Cross-fitting: the likely label of a mislabelled face is what other faces teach of it."""
    wrong = np.flatnonzero(patterns.splits == 0)[10]
    labels = patterns.labels.copy()
    labels[wrong] = (labels[wrong] + 3) % 7
    dataset = replace(patterns, labels=labels)
    silence = np.ones((len(dataset), 10), np.int64)
    votes = replace(ferplus_votes(dataset), votes=silence)
    options = replace(QUICK, epochs=16, batch_size=8, relabel_weight=0.1)
    out = tmp_path / "folds"
    found = cross_fit(Task(dataset, out, silent, {}, votes), options, 3)
    training = dataset.split("Training")
    assert found["held_out"]["n"] == len(training)
    assert found["public"]["n"] == len(dataset.split("PublicTest"))
    assert found["held_out"]["accuracy"] > 0.75  # 0.80 on a processor with bfloat16
    assert found["public"]["accuracy"] > 0.75
    estimates = read_estimates(out, training)
    right = (estimates.argmax(dim=1).numpy() == training.labels).mean()
    assert found["held_out"]["accuracy"] == right
    assert estimates[10, training.labels[10]] < 0.3

    learnt = replace(options, epochs=1, relabel_weight=1.0, estimates=str(out))
    train(dataset, learnt, tmp_path / "run", Silent(), source={}, votes=votes)
    noted = json.loads((tmp_path / "run" / "config.json").read_text())
    assert noted["weights_sha256"].keys() == {str(out)}
    of_training = votes.where(dataset.splits == 0)
    targets = targets_of(Faces(training, torch.device("cpu")), of_training, learnt, estimates)
    assert targets[10].argmax() == patterns.labels[wrong]
    # Estimates for other faces, and no estimates at all.
    fewer = dataset.where(np.delete(np.arange(len(dataset)), wrong))
    with pytest.raises(DataError, match=r"expected estimates of these \d+ faces of Training"):
        train(fewer, learnt, tmp_path / "other", Silent(), source={}, votes=ferplus_votes(fewer))
    nowhere = replace(learnt, estimates=str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="there is no such file"):
        train(dataset, nowhere, tmp_path / "other", Silent(), source={}, votes=votes)
    assert not (tmp_path / "other").exists()
