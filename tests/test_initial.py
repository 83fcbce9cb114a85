"""Weights to start a run from."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from conftest import ferplus_votes
from semblante.data import Dataset
from semblante.errors import ModelError, OptionError
from semblante.recognise.classifier import Classifier
from semblante.train.batches import Faces
from semblante.train.calibration import calibrated
from semblante.train.export import export
from semblante.train.initial import start_from
from semblante.train.loop import train
from semblante.train.measure import logits_of, loss_and_accuracy
from semblante.train.networks import build_network
from semblante.train.recurrent import RecurrentConvolution, RecurrentNetwork
from semblante.train.trained import load_best, load_last
from semblante.train.transfer import is_wider, layer_of, narrowed, read_by, widened
from training import QUICK, Silent, Stops, assert_same, run, tiny


def public_loss(patterns: Dataset, network: nn.Module) -> float:
    public = Faces(patterns.split("PublicTest"), torch.device("cpu"))
    return loss_and_accuracy(logits_of(network, public), public)[0]


def assert_says_the_same(exported: Path, network: nn.Module, patterns: Dataset) -> None:
    classifier, public = Classifier(exported), patterns.split("PublicTest")
    faces = Faces(public, torch.device("cpu"))
    with torch.no_grad():
        logits = network.eval()(next(faces.batches(20)))[:, :7]
    wanted = calibrated(logits, torch.tensor(classifier.about["temperatures"][-1]).log())
    np.testing.assert_allclose(classifier.logits(public.images[:20]), wanted, atol=1e-3)


@pytest.fixture(scope="module")
def first(patterns: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has learnt something."""
    folder = tmp_path_factory.mktemp("first") / "run"
    run(patterns, replace(QUICK, epochs=8), folder)
    return folder


def in_form(first: Path, form: str, patterns: Dataset, tmp_path: Path) -> str:
    """Where the weights of a run are, as a run folder or exported."""
    if form == "run folder":
        return str(first)
    export(first, tmp_path / "first.onnx", patterns, form)
    return str(tmp_path / "first.onnx")


@pytest.mark.parametrize("form", ["run folder", "fp32", "fp16"])
def test_initial_weights_say_what_they_said(
    patterns: Dataset, first: Path, tmp_path: Path, form: str
) -> None:
    before = public_loss(patterns, load_best(first)[0])
    initial = in_form(first, form, patterns, tmp_path)
    # A step so small that nothing changes; FER+'s head is new, its outputs come after the seven.
    votes = ferplus_votes(patterns)
    options = replace(
        QUICK, epochs=1, initial=initial, learning_rate=1e-9, ferplus_weight=0.1, ema_decay=0.9
    )
    run(patterns, options, tmp_path / "second", votes=votes)
    network = load_best(tmp_path / "second")[0]
    assert public_loss(patterns, network) == pytest.approx(before, rel=0.05)
    # It says so in training as well, where normalisation goes by the batch.
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    start = build_network("rcnn-tiny")
    start_from(start, initial, faces)
    inputs = next(faces.batches(256))
    with torch.no_grad():
        in_evaluation = start.eval().stem_norm(start.stem(inputs))  # type: ignore[operator,union-attr]
        in_training = start.train().stem_norm(start.stem(inputs))  # type: ignore[operator,union-attr]
    assert (in_training - in_evaluation).abs().mean() < 0.2 * in_evaluation.abs().mean()


def test_initial_weights_of_another_network(patterns: Dataset, tmp_path: Path) -> None:
    gated = replace(QUICK, network="rcnn-tiny-gated", initial="rcnn-medium")
    with pytest.raises(
        ModelError,
        match="rcnn-medium: not the weights of this network, but of rcnn-medium: classifier",
    ):
        run(patterns, gated, tmp_path / "run")
    with pytest.raises(ModelError, match="unknown model 'rcnn-mediu'"):
        run(patterns, replace(QUICK, initial="rcnn-mediu"), tmp_path / "other")
    assert list(tmp_path.iterdir()) == []  # the right command can follow


@pytest.mark.parametrize("training", [False, True])
def test_a_wider_network_starts_by_saying_the_same(patterns: Dataset, training: bool) -> None:
    narrow = RecurrentNetwork(stem=4, channels=(5, 6), steps=(1, 2), strides=(2, 2), dropout=0)
    wide = RecurrentNetwork(stem=4, channels=(12, 9), steps=(1, 2), strides=(2, 2), dropout=0)
    faces = next(Faces(patterns.split("Training"), torch.device("cpu")).batches(84))
    with torch.no_grad():
        narrow.train()(faces)  # for statistics that are not those of a new network
        wide.load_state_dict(widened(narrow.state_dict(), wide.state_dict()))
        for ours, theirs in zip(
            wide.train(training).all_steps(faces),
            narrow.train(training).all_steps(faces),
            strict=True,
        ):
            assert torch.allclose(ours, theirs, atol=1e-5)
    # Copies are told apart by what is read of them, or they would learn the same for ever.
    first, second = wide.layers
    assert isinstance(first, RecurrentConvolution)
    assert isinstance(second, RecurrentConvolution)
    received, read = first.feed_forward.weight, second.feed_forward.weight
    copied = [(i, j) for i in range(12) for j in range(i) if torch.equal(received[i], received[j])]
    assert len(copied) == 3 * 1 + 2 * 3  # of 5 units 3 are there twice and 2 three times
    assert all(not torch.allclose(read[:, i], read[:, j]) for i, j in copied)


@pytest.fixture(scope="module")
def halved(patterns: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained rcnn-tiny that has learnt FER+'s votes too, in half precision."""
    folder = tmp_path_factory.mktemp("halved")
    votes = ferplus_votes(patterns)
    run(patterns, replace(QUICK, ferplus_weight=0.1), folder / "run", votes=votes)
    export(folder / "run", folder / "tiny.onnx", patterns, "fp16", votes=votes)
    return folder / "tiny.onnx"


def test_a_run_starts_from_a_narrower_network(patterns: Dataset, halved: Path) -> None:
    network = tiny(channels=(20, 30, 44))
    start_from(network, str(halved), Faces(patterns.split("Training"), torch.device("cpu")))
    assert_says_the_same(halved, network, patterns)


def test_a_run_starts_from_a_network_of_more_steps(patterns: Dataset, halved: Path) -> None:
    """In the last layer, whose every step is classified, it says what the other says by then."""
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    plain, shorter, first_layer = tiny(), tiny(steps=(1, 2, 1)), tiny(steps=(0, 2, 2))
    for start in (plain, shorter, first_layer):
        start_from(start, str(halved), faces)
    inputs = next(faces.batches(84))
    with torch.no_grad():
        expected = plain.eval().all_steps(inputs)[:2]
        for ours, theirs in zip(shorter.eval().all_steps(inputs), expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)
    later = r"layers\.0\.norms\.2\."
    with pytest.raises(
        ModelError, match=f"not the weights of this network, but of rcnn-tiny: {later}"
    ):
        start_from(tiny(steps=(2, 2, 2)), str(halved), faces)


@pytest.mark.parametrize("training", [False, True])
def test_the_same_weights_for_larger_faces(patterns: Dataset, halved: Path, training: bool) -> None:
    """The stem's norm is made again from what larger faces give."""
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    network, plain = tiny(enlargement=64 / 48), tiny()
    for start in (network, plain):
        start_from(start, str(halved), faces)
    inputs = next(faces.batches(84))
    larger = interpolate(inputs, size=(64, 64), mode="bilinear", align_corners=False)
    plain.eval()
    with torch.no_grad():
        expected = plain.stem_norm(plain.stem(larger))
        network.train(training)
        found = network.stem_norm(network.first_maps(inputs))
    tolerance = 0.2 if training else 1e-3  # statistics of a batch, and of all faces
    assert (found - expected).abs().mean() < tolerance * expected.abs().mean()


@pytest.mark.parametrize("other", ["lrn", "shared-norm", "gated"])
def test_no_network_starts_from_one_with_other_norms(
    patterns: Dataset, halved: Path, other: str
) -> None:
    faces = Faces(patterns.split("PublicTest"), torch.device("cpu"))
    with pytest.raises(ModelError, match=r"not the weights of this network, .*: layers\.0") as told:
        start_from(build_network(f"rcnn-tiny-{other}", 15), str(halved), faces)
    # Norms that are not in the file may be inside its kernels.
    assert ("norms inside its kernels: give the run" in str(told.value)) == (other == "gated")


def test_no_network_starts_from_eight_bits(patterns: Dataset) -> None:
    faces = Faces(patterns.split("PublicTest"), torch.device("cpu"))
    with pytest.raises(ModelError, match="int8: expected an export in fp32 or fp16, found int8"):
        start_from(build_network("rcnn-small", 15), "rcnn-small-int8", faces)


def test_the_mean_of_several_runs_is_exported(
    patterns: Dataset, first_run: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    shutil.copytree(first_run, first)
    runs = [tmp_path / f"soup-{seed}" for seed in (5, 6)]
    for seed, path, rotation in zip((5, 6), runs, (12.0, 5.0), strict=True):
        options = replace(QUICK, epochs=2, seed=seed, initial=str(first), rotation=rotation)
        run(patterns, options, path)
    about = export(runs, tmp_path / "mean.onnx", patterns)
    assert about["training"]["options"]["rotation"] == 12
    other = {"seed": 6, "epoch": 2, "rotation": 5.0}
    assert about["training"]["runs"] == [{"seed": 5, "epoch": 2}, other]
    states = [load_last(path)[0].state_dict() for path in runs]
    assert not torch.equal(states[0]["stem.weight"], states[1]["stem.weight"])
    network = build_network("rcnn-tiny")
    network.load_state_dict({name: (a + states[1][name]) / 2 for name, a in states[0].items()})
    assert_says_the_same(tmp_path / "mean.onnx", network, patterns)


def test_weights_that_are_others_now_are_no_start(
    patterns: Dataset, first_run: Path, tmp_path: Path
) -> None:
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "mixed.onnx"
    options = replace(QUICK, epochs=1, initial=str(first))
    shutil.copytree(first_run, first)
    run(patterns, options, second)
    shutil.rmtree(first)
    run(patterns, replace(QUICK, epochs=1, seed=8), first)  # other weights in the same place
    with pytest.raises(ModelError, match=f"{first} holds other weights now"):
        export(second, out, patterns, initial_share=0.5)
    with pytest.raises(ModelError, match=f"second began with other weights than {first} holds now"):
        run(patterns, options, second, resume=True)
    assert not out.exists()


def test_no_mean_with_a_run_that_was_interrupted(
    patterns: Dataset, first_run: Path, tmp_path: Path
) -> None:
    class Presses(Silent):
        def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
            if (epoch, step) == (2, 3):
                os.kill(os.getpid(), signal.SIGINT)

    shutil.copytree(first_run, tmp_path / "first")
    options = replace(QUICK, epochs=2, initial=str(tmp_path / "first"))
    run(patterns, options, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(patterns, options, tmp_path / "cut", Presses(), source={"path": "x.csv"})
    with pytest.raises(KeyboardInterrupt):
        train(patterns, options, tmp_path / "killed", Stops(), source={"path": "x.csv"})
    for name in ("cut", "killed"):
        with pytest.raises(ModelError, match=rf"{name} was interrupted in epoch 2: `train --res"):
            export([tmp_path / "whole", tmp_path / name], tmp_path / "mean.onnx", patterns)


def test_a_run_goes_on_from_another_folder(
    patterns: Dataset, first_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its weights came from is kept; what is handed on does not tell where that was."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(first_run, first)
    options = replace(QUICK, epochs=1, initial="first", teachers=("first",))
    monkeypatch.chdir(tmp_path)
    run(patterns, options, second)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    again = replace(options, initial="../first", teachers=(str(first),))
    with pytest.raises(ModelError, match=r"initial .* -> "):
        run(patterns, again, second, resume=True)
    run(patterns, replace(again, initial=str(first)), second, resume=True)
    monkeypatch.chdir(tmp_path)
    third = replace(options, teachers=())
    run(patterns, third, tmp_path / "third")
    first.rename("moved")
    run(patterns, third, tmp_path / "third", resume=True)  # which needs it no longer
    Path("moved").rename(first)
    about = export(second, tmp_path / "model.onnx", patterns, initial_share=0.5)
    assert about["training"]["options"]["initial"] == "first"
    assert about["training"]["options"]["teachers"] == ["first"]
    assert str(tmp_path).encode() not in (tmp_path / "model.onnx").read_bytes()


def test_exported_between_the_start_and_the_end_of_a_run(
    patterns: Dataset, first_run: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(first_run, first)
    run(patterns, replace(QUICK, epochs=2, seed=5, initial=str(first)), second)
    start, end = (load_best(path)[0] for path in (first, second))
    about = export(second, tmp_path / "mixed.onnx", patterns, initial_share=0.25)
    assert about["training"]["initial_share"] == 0.25
    states = (start.state_dict(), end.state_dict())
    mixed = {name: 0.25 * a + 0.75 * states[1][name] for name, a in states[0].items()}
    network = build_network("rcnn-tiny")
    network.load_state_dict(mixed)
    assert_says_the_same(tmp_path / "mixed.onnx", network, patterns)
    with pytest.raises(OptionError, match="needs a run that started from weights"):
        export(first, tmp_path / "other.onnx", patterns, initial_share=0.25)


def among_others(narrow: RecurrentNetwork, wide: RecurrentNetwork) -> None:
    """Give `wide` the units of `narrow`, scattered among others of its own that nobody reads."""
    ours, theirs = narrow.state_dict(), wide.state_dict()
    places = {"stem": torch.randperm(len(theirs["stem.weight"]))[: len(ours["stem.weight"])]}
    for name in ours:
        if name.endswith("feed_forward.weight"):
            places[layer_of(name)] = torch.randperm(len(theirs[name]))[: len(ours[name])]
    for name, tensor in ours.items():
        rows = places.get(layer_of(name).removesuffix("_norm"))
        before = read_by(name, layers=len(places) - 1)
        if tensor.dim() == 0:
            continue
        if before is not None:
            theirs[name].zero_()
            rows = torch.arange(len(tensor)) if rows is None else rows
            theirs[name][rows[:, None], places[before]] = tensor
        elif rows is not None:
            theirs[name][rows] = tensor
        else:
            theirs[name].copy_(tensor)


def test_a_narrower_network_keeps_the_units_that_are_read(patterns: Dataset) -> None:
    narrow = tiny(stem=5, channels=(7, 9, 11))
    wide = tiny()
    faces = next(Faces(patterns.split("Training"), torch.device("cpu")).batches(84))
    with torch.no_grad():
        narrow.train()(faces)
        wide.train()(faces)
        among_others(narrow, wide)
        assert is_wider(wide.state_dict(), narrow.state_dict())
        cut = tiny(stem=5, channels=(7, 9, 11))
        cut.load_state_dict(narrowed(wide.state_dict(), cut.state_dict()))
        for ours, theirs in zip(
            cut.eval().all_steps(faces), narrow.eval().all_steps(faces), strict=True
        ):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_what_units_say_on_average_stays_where_they_go(patterns: Dataset) -> None:
    """Units of the first layer that say the same of every face, the second layer must not miss."""
    wide, cut = tiny(), tiny(channels=(13, 24, 32))
    inputs = next(Faces(patterns.split("Training"), torch.device("cpu")).batches(84))

    def received(network: RecurrentNetwork) -> torch.Tensor:
        first, second = network.eval().layers[:2]
        assert isinstance(second, RecurrentConvolution)
        maps = first(torch.relu(network.stem_norm(network.stem(inputs))))
        # At the edges a kernel sees what is beyond them, where no unit says anything.
        return second.feed_forward(maps)[:, :, 1:-1, 1:-1]

    with torch.no_grad():
        wide.train()(inputs)
        first = wide.layers[0]
        assert isinstance(first, RecurrentConvolution)
        first.recurrent.weight[:, 3:6] = 0.0
        for norm in first.norms:
            assert isinstance(norm, nn.BatchNorm2d)
            norm.weight[3:6], norm.bias[3:6] = 0.0, 2.0
        cut.load_state_dict(narrowed(wide.state_dict(), cut.state_dict()))
        assert torch.allclose(received(cut), received(wide), atol=1e-5)


@pytest.mark.parametrize("form", ["run folder", "fp16"])
def test_a_run_starts_from_a_wider_network(
    patterns: Dataset, first: Path, tmp_path: Path, form: str
) -> None:
    knows = public_loss(patterns, load_best(first)[0])
    initial = in_form(first, form, patterns, tmp_path)
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    cut, again, fresh = (tiny(7, stem=6, channels=(12, 20, 28)) for _ in range(3))
    start_from(tiny(7, channels=(12, 20, 28), steps=(0, 2, 1)), initial, faces)
    start_from(cut, initial, faces)
    start_from(again, initial, faces)
    assert_same(cut.state_dict(), again.state_dict())
    loss, unlearnt = public_loss(patterns, cut), public_loss(patterns, fresh)
    assert loss < knows + 0.4 * (unlearnt - knows)


@pytest.mark.parametrize("channels", [(12, 24, 40), (12, 30, 32)])
def test_a_network_is_not_widened_and_cut_at_once(
    patterns: Dataset, halved: Path, channels: tuple[int, ...]
) -> None:
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    with pytest.raises(ModelError, match="not the weights of this network, but of rcnn-tiny"):
        start_from(tiny(channels=channels), str(halved), faces)


def test_networks_of_other_layers_are_not_cut_down(patterns: Dataset, halved: Path) -> None:
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    fewer = {"channels": (12, 20), "steps": (1, 2), "strides": (2, 2)}  # layers
    for other in ({"gated": True}, {"norm": "lrn"}, fewer):
        network = tiny(**{"channels": (12, 20, 28), **other})
        with pytest.raises(ModelError, match="not the weights of this network"):
            start_from(network, str(halved), faces)
