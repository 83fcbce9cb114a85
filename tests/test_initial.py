"""Weights to start a run from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import ferplus_votes
from semblante.data import Dataset
from semblante.errors import ModelError
from semblante.train.batches import Faces
from semblante.train.export import export
from semblante.train.initial import start_from
from semblante.train.loop import evaluate
from semblante.train.networks import build_network
from semblante.train.state import load_best
from test_training import QUICK, run


def public_loss(patterns: Dataset, network: nn.Module) -> float:
    return evaluate(network, Faces(patterns.split("PublicTest"), torch.device("cpu")))[0]


@pytest.mark.parametrize("form", ["run folder", "fp32", "fp16"])
def test_initial_weights_say_what_they_said(patterns: Dataset, tmp_path: Path, form: str) -> None:
    first = tmp_path / "first"
    run(patterns, replace(QUICK, epochs=3), first)
    before = public_loss(patterns, load_best(first)[0])
    initial = first
    if form != "run folder":
        initial = tmp_path / "first.onnx"
        export(first, initial, patterns, form)
    # A step so small that nothing changes; FER+'s head is new, its outputs come after the seven.
    votes = ferplus_votes(patterns)
    options = replace(
        QUICK, epochs=1, initial=str(initial), learning_rate=1e-9, ferplus_weight=0.1, ema_decay=0.9
    )
    run(patterns, options, tmp_path / "second", votes=votes)
    network = load_best(tmp_path / "second")[0]
    assert public_loss(patterns, network) == pytest.approx(before, rel=0.05)
    # It says so in training as well, where normalisation goes by the batch.
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    start = build_network("rcnn-tiny")
    start_from(start, str(initial), faces)
    inputs, _ = next(faces.batches(256))
    with torch.no_grad():
        in_evaluation = start.eval().stem_norm(start.stem(inputs))  # type: ignore[operator,union-attr]
        in_training = start.train().stem_norm(start.stem(inputs))  # type: ignore[operator,union-attr]
    assert (in_training - in_evaluation).abs().mean() < 0.2 * in_evaluation.abs().mean()


def test_initial_weights_of_another_network(patterns: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="rcnn-small: not the weights of this network: classifier"):
        run(patterns, replace(QUICK, initial="rcnn-small"), tmp_path / "run")
    with pytest.raises(ModelError, match="unknown model 'rcnn-smal'"):
        run(patterns, replace(QUICK, initial="rcnn-smal"), tmp_path / "other")
