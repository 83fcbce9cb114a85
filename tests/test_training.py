"""The training loop: its formulas, its options, that it learns, and its verdict on a run."""

from __future__ import annotations

import io
import json
import math
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from semblante.cli.progress import RunProgress
from semblante.data import Dataset
from semblante.errors import OptionError
from semblante.train.batches import Faces
from semblante.train.curves import describe_confusion, diagnose, draw_curves
from semblante.train.device import quick_layout, use_bf16
from semblante.train.loop import _sample, train, train_epoch
from semblante.train.measure import logits_of, loss_and_accuracy
from semblante.train.muon import Muon
from semblante.train.networks import NETWORKS
from semblante.train.objective import Objective, class_weights, smoothed
from semblante.train.options import TrainOptions
from semblante.train.presets import PRESETS, options_from
from semblante.train.state import TrainingState, learning_rate
from semblante.train.trained import load_best
from training import QUICK, Silent, assert_same, run, weights

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

# -- formulas ---------------------------------------------------------------------------------


def test_learning_rate_rises_linearly_then_falls_as_half_a_cosine() -> None:
    rates = [learning_rate(step, warmup=10, total=110, peak=0.5) for step in range(111)]
    for step in range(10):
        assert rates[step] == pytest.approx(0.05 * (step + 1))
    for step in range(10, 111):
        assert rates[step] == pytest.approx(0.25 * (1 + math.cos(math.pi * (step - 10) / 100)))
    assert rates[110] == pytest.approx(0)


def test_no_warm_up() -> None:
    assert learning_rate(0, warmup=0, total=10, peak=0.1) == pytest.approx(0.1)


def test_nothing_but_a_warm_up() -> None:
    assert learning_rate(9, warmup=10, total=10, peak=0.1) == pytest.approx(0.1)
    assert learning_rate(10, warmup=10, total=10, peak=0.1) == pytest.approx(0.1)


def test_a_state_follows_its_options() -> None:
    options = replace(
        QUICK, epochs=4, warmup_epochs=0.5, schedule="constant", learning_rate=0.2,
        mixup_until=0.5, small_until=0.25, small_side=24,
    )  # fmt: skip
    state = TrainingState(options, torch.device("cpu"), steps_per_epoch=3)
    alphas = []
    for step in range(12):
        state.set_learning_rate(step)
        alphas.append([group["lr"] for group in state.optimiser.param_groups])
    assert alphas == [[0.1] * 2] + [[0.2] * 2] * 11  # a warm-up of 1.5 steps is rounded to 2
    assert [state.mixes(epoch) for epoch in (1, 2, 3, 4)] == [True, True, False, False]
    assert [state.side(epoch) for epoch in (1, 2, 3, 4)] == [24, 48, 48, 48]
    start, average = state.network.state_dict(), state.ema.state_dict()
    assert_same(start, average)
    assert not any(parameter.requires_grad for parameter in state.ema.parameters())
    # 0.29 of 100 is less than 29 in floating point.
    state.options = replace(options, epochs=100, mixup_until=0.29, small_until=0.29)
    assert [state.mixes(epoch) for epoch in (29, 30)] == [True, False]
    assert [state.side(epoch) for epoch in (29, 30)] == [24, 48]
    assert not state.bf16
    assert TrainingState(options, torch.device("cpu"), steps_per_epoch=3, bf16=True).bf16


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (torch.optim.SGD, {"momentum": 0.9, "nesterov": True})),
        ({"momentum": 0.0}, (torch.optim.SGD, {"momentum": 0.0, "nesterov": False})),
        ({"optimiser": "adam"}, (torch.optim.Adam, {"decoupled_weight_decay": False})),
        ({"optimiser": "adamw"}, (torch.optim.AdamW, {"decoupled_weight_decay": True})),
        ({"optimiser": "muon"}, (Muon, {"momentum": 0.9})),
    ],
)
def test_only_kernels_decay(changes: dict[str, Any], expected: tuple[type, dict]) -> None:
    options = replace(QUICK, weight_decay=0.03, **changes)
    state = TrainingState(options, torch.device("cpu"), steps_per_epoch=1, bf16=True)
    kind, settings = expected
    assert type(state.optimiser) is kind
    kernels, others = state.optimiser.param_groups
    for group, decay in ((kernels, 0.03), (others, 0.0)):
        assert group["weight_decay"] == decay
        assert group["lr"] == options.learning_rate
        assert {name: group[name] for name in settings} == settings
    assert {parameter.ndim for parameter in kernels["params"]} == {2, 4}
    assert {parameter.ndim for parameter in others["params"]} == {1}
    if isinstance(state.optimiser, Muon):
        assert state.optimiser.precision is torch.bfloat16


def test_average_of_weights_by_hand() -> None:
    torch.manual_seed(0)
    state = TrainingState(replace(QUICK, ema_decay=0.9), torch.device("cpu"), steps_per_epoch=5)
    expected = {n: t.clone().double() for n, t in state.network.state_dict().items()}
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in state.network.parameters():
                parameter.add_(torch.randn_like(parameter))
            for buffer in state.network.buffers():
                buffer.add_(1)
        state.step = step
        state.update_ema()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, tensor in state.network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    for name, tensor in state.ema.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], atol=1e-4, rtol=1e-4)


def test_first_step_is_gradient_descent_written_out(patterns: Dataset) -> None:
    """w <- w - alpha (g + mu g) for the first Nesterov step, g with weight decay on kernels."""
    options = replace(QUICK, epochs=1, batch_size=84, warmup_epochs=0, mixup_probability=0,
                     clip_norm=1e9, ema_decay=0)  # fmt: skip
    device = torch.device("cpu")
    faces = Faces(patterns.split("Training"), device)
    torch.manual_seed(7)
    state = TrainingState(options, device, steps_per_epoch=1)
    before = {n: p.detach().clone() for n, p in state.network.named_parameters()}
    torch.manual_seed(8)
    [(inputs, labels)] = faces.augmented_batches(options)  # the targets are labels here
    logits = state.network.train()(inputs)
    F.cross_entropy(logits, smoothed(labels, options.label_smoothing)).backward()
    gradients = {n: p.grad.clone() for n, p in state.network.named_parameters()}
    torch.manual_seed(8)
    faces.targets = smoothed(faces.labels, options.label_smoothing)
    list(train_epoch(state, faces, Objective(options), 1))
    for name, parameter in state.network.named_parameters():
        decay = options.weight_decay if parameter.ndim > 1 else 0
        gradient = gradients[name] + decay * before[name]
        expected = before[name] - options.learning_rate * (1 + options.momentum) * gradient
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-6, rtol=1e-4)


def test_a_long_gradient_is_shortened(patterns: Dataset) -> None:
    """Its own length is what is reported."""
    options = replace(QUICK, epochs=1, batch_size=84, warmup_epochs=0, mixup_probability=0,
                     momentum=0, weight_decay=0, clip_norm=1e-3)  # fmt: skip
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    faces.targets = smoothed(faces.labels, options.label_smoothing)
    state = TrainingState(options, torch.device("cpu"), steps_per_epoch=1)
    before = torch.cat([p.detach().flatten() for p in state.network.parameters()])
    list(train_epoch(state, faces, Objective(options), 1))
    after = torch.cat([p.detach().flatten() for p in state.network.parameters()])
    assert float((after - before).norm()) == pytest.approx(options.learning_rate * 1e-3, rel=1e-2)
    assert state.progress.gradient_norms[0] > 0.1


def test_faces_are_mixed_in_the_first_part_of_a_run(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed_in: list[int] = []
    reporter = Silent()

    def watched(inputs: torch.Tensor, targets: torch.Tensor, options: TrainOptions) -> Any:
        mixed_in.append(len(reporter.records) + 1)
        return inputs, targets

    monkeypatch.setattr("semblante.train.loop.mixed", watched)
    options = replace(QUICK, epochs=4, mixup_probability=1.0, mixup_until=0.5)
    train(patterns, options, tmp_path / "run", reporter, source={"path": "x.csv"})
    assert set(mixed_in) == {1, 2}


def test_accuracy_on_training_is_always_of_the_same_faces() -> None:
    images = np.arange(3000, dtype=np.int64).astype(np.uint8)[:, None, None].repeat(48, 1)
    images = images.repeat(48, 2)
    images[:, 0, 0] = np.arange(3000) // 256
    dataset = Dataset(images, np.zeros(3000, np.uint8), np.zeros(3000, np.uint8))
    one, other = _sample(dataset), _sample(dataset)
    assert len(one) == 2000
    assert one.fingerprint() == other.fingerprint()


def test_faces_are_small_at_first(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []
    real = Objective.__call__

    def watched(self: Objective, outputs: Any, inputs: torch.Tensor, *rest: Any) -> torch.Tensor:
        sides.append(inputs.shape[-1])
        return real(self, outputs, inputs, *rest)

    monkeypatch.setattr(Objective, "__call__", watched)
    options = replace(QUICK, epochs=4, batch_size=84, small_side=24, small_until=0.75)
    run(patterns, options, tmp_path / "run")
    assert sides == [24, 24, 24, 48]
    with pytest.raises(OptionError, match="course-cnn takes no faces of 24 pixels"):
        run(patterns, replace(options, network="course-cnn"), tmp_path / "other")
    teacher = tmp_path / "teacher"
    run(patterns, replace(QUICK, network="course-cnn", epochs=1, batch_size=84), teacher)
    with pytest.raises(OptionError, match="teacher takes no faces of 24 pixels"):
        run(patterns, replace(options, teachers=(str(teacher),)), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    # With `teacher_views` it sees faces of the usual size only.
    run(patterns, replace(options, teachers=(str(teacher),), teacher_views=1), tmp_path / "views")


def test_a_norm_over_one_face_is_refused(patterns: Dataset, tmp_path: Path) -> None:
    options = replace(QUICK, network="course-cnn", epochs=1)
    one = patterns.where(np.flatnonzero((patterns.splits != 0) | (np.arange(len(patterns)) == 0)))
    tiny = replace(QUICK, batch_size=1, small_until=0.5, small_side=8)  # to maps of one pixel
    with pytest.raises(OptionError, match=r"rcnn-tiny normalises .* at least 2 in each, found 1"):
        run(patterns, tiny, tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()
    for dataset, changed in ((patterns, replace(options, batch_size=1)), (one, options)):
        with pytest.raises(OptionError, match="expected at least 2 in each, found 1"):
            run(dataset, changed, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (lambda n: nn.Sequential(nn.Flatten(), nn.Linear(2304, 5)), r"found shape \(2, 5\)"),
        (lambda n: nn.Conv2d(1, n, 48), r"found shape \(2, 7, 1, 1\)"),
        (lambda n: nn.Conv2d(3, n, 48), r"takes no faces of shape \(2, 1, 48, 48\)"),
    ],
)
def test_a_network_of_ones_own_that_does_not_fit_leaves_no_folder(
    network: Any, found: str, patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS, "mine", network)
    with pytest.raises(OptionError, match=f"mine.*{found}"):
        run(patterns, replace(QUICK, network="mine"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_language_is_refused_before_the_run(patterns: Dataset, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown language 'fr'"):
        train(patterns, QUICK, tmp_path / "run", Silent(), source={}, language="fr")
    assert not (tmp_path / "run").exists()


# -- runs -------------------------------------------------------------------------------------


@pytest.mark.pictures
def test_it_learns(patterns: Dataset, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=12, mixup_probability=0, rotation=0, shift=0.02, scale=0,
                     learning_rate=0.05, erase_probability=0.1, ema_decay=0.9)  # fmt: skip
    summary, reporter = run(patterns, options, tmp_path / "run")
    assert summary["public"]["accuracy"] > 0.9
    assert reporter.steps[:2] == [(1, 1, 5), (1, 2, 5)]
    assert len(reporter.records) == 12
    assert reporter.records[-1]["step_loss"] < reporter.records[0]["step_loss"]
    log = json.loads((tmp_path / "run" / "log.json").read_text())
    assert log["history"] == reporter.records
    assert log["summary"]["diagnosis"] == summary["diagnosis"]
    confusion = np.array(log["summary"]["confusion"])
    assert confusion.sum(axis=1).tolist() == [12] * 7
    assert np.trace(confusion) / 84 == summary["public"]["accuracy"]
    assert (tmp_path / "run" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    network, record = load_best(tmp_path / "run")
    assert record["epoch"] == summary["best_epoch"]
    public = Faces(patterns.split("PublicTest"), torch.device("cpu"))
    _, accuracy = loss_and_accuracy(logits_of(network, public), public)
    assert accuracy == summary["public"]["accuracy"]


def test_what_is_known_and_what_confused_in_words() -> None:
    confusion = np.diag([32, 0, 20, 36, 40, 3, 28])
    confusion[2, 4], confusion[3, 6] = 20, 4  # no face is disgusted
    confusion[5, 2] = 1  # surprise has few faces
    assert describe_confusion(confusion) == (
        "Right: angry 100%, sad 100%, neutral 100%, happy 90%, surprise 75%, fear 50%. "
        "Most confused: fear, of which 50% are taken for sad."
    )
    spanish = describe_confusion(confusion, "es").replace("\N{NO-BREAK SPACE}", " ")
    assert spanish == (
        "Aciertos: enfado 100 %, tristeza 100 %, neutral 100 %, alegría 90 %, sorpresa 75 %, "
        "miedo 50 %. Lo que más confunde: miedo, que en el 50 % de los casos toma por tristeza."
    )
    few = np.diag([1, 0, 0, 2, 0, 0, 0])
    assert describe_confusion(few) == "Right: angry 100%, happy 100%."
    few[3, 0] = 8  # of its ten faces
    assert describe_confusion(few) == (
        "Right: angry 100%, happy 20%. It answers angry for 82% of the faces: it has hardly learnt."
    )


@pytest.mark.pictures
def test_curves_of_one_epoch_are_points(tmp_path: Path) -> None:
    names = ("training_loss", "public_loss", "training_accuracy", "public_accuracy", "alpha")
    history = [{"epoch": 1, "gradient_norm": 1.0, **dict.fromkeys(names, 0.5)}]
    drawn = [tmp_path / "one.png", tmp_path / "none.png"]
    draw_curves(history, drawn[0], "x")
    draw_curves(
        [{**history[0], **dict.fromkeys((*names, "gradient_norm"), math.nan)}], drawn[1], "x"
    )
    dark = [int((np.asarray(Image.open(path).convert("L")) < 128).sum()) for path in drawn]
    assert dark[0] > dark[1] + 100


def test_the_same_seed_gives_the_same_weights(patterns: Dataset, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(patterns, replace(QUICK, epochs=2, seed=seed), tmp_path / name)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert_same(a, b)
    assert not torch.equal(a["network.stem.weight"], c["network.stem.weight"])


# -- options and diagnosis --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 0}, "epochs at least 1, found 0"),
        ({"epochs": 2.5}, r"expected epochs to be of type int, found 2\.5"),
        ({"class_weights": 1}, "expected class_weights to be of type bool, found 1"),
        ({"batch_size": -5}, "batch_size at least 1"),
        ({"learning_rate": 0.0}, "learning_rate more than 0"),
        ({"learning_rate": math.inf}, "learning_rate to be a finite number"),
        ({"seed": 10**18}, "seed of at most"),
        ({"momentum": 1.5}, "momentum between 0 and 1"),
        ({"ema_decay": math.nan}, "ema_decay to be a finite number"),
        ({"precision": "fp8"}, "precision to be one of auto, fp32, bf16, found fp8"),
        ({"epochs": 1, "warmup_epochs": 2.0}, r"warmup_epochs \(2\) is longer than epochs \(1\)"),
        ({"mixup_probability": 0.6, "cutmix_probability": 0.6}, "more than 1 in all"),
        ({"scale": 1.0}, "scale below 1, found 1"),
        ({"small_until": 0.5, "small_side": 64}, r"small_side \(64\) is larger than the faces"),
        ({"small_side": 24}, r"small_side \(24\) is of no use without small_until"),
        ({"temperature": 2.0}, r"temperature \(2\.0\) is of no use without teachers"),
        ({"teachers": ("a",), "distill_weight": 0.0}, "of no use with a distill_weight of 0"),
        ({"teachers": ("a",), "teacher_views": 64}, r"teacher_views below epochs \(64\), .* 64"),
        ({"teacher_views": 8}, r"teacher_views \(8\) is of no use without teachers"),
        ({"error": "focal"}, "expected error to be cross_entropy or FILE.py:FUNCTION, found focal"),
        (
            {"error": "a.py:b", "class_weights": True},
            "class_weights .True. is of no use without cr",
        ),
        ({"teachers": ("a",), "teach_votes": True}, "teach_votes .True. is of no use without fer"),
        ({"distill_weight": 0.5}, r"distill_weight \(0\.5\) is of no use without teachers"),
        ({"mixup_probability": 0.0, "mixup_alpha": 0.2}, "is of no use without mixup_probability"),
        (
            {"mixup_probability": 0.0, "mixup_until": 0.5},
            "is of no use without mixup_probability or cutmix_probability",
        ),
        ({"cutmix_alpha": 0.5}, r"cutmix_alpha \(0\.5\) is of no use without cutmix_probability"),
        ({"optimiser": "adam", "momentum": 0.5}, "is of no use without sgd or muon"),
    ],
)
def test_impossible_options(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        TrainOptions(**changes)


def test_another_optimiser_brings_its_alpha() -> None:
    assert options_from("standard", {"optimiser": "muon"}).learning_rate == 0.03
    assert options_from("course", {"optimiser": "sgd"}).learning_rate == 0.1
    assert options_from("refine", {"optimiser": "sgd"}).learning_rate == 0.05  # the preset's own
    chosen = options_from("standard", {"optimiser": "adam", "learning_rate": 0.5})
    assert chosen.learning_rate == 0.5
    with pytest.raises(OptionError, match="expected optimiser to be one of sgd"):
        options_from("standard", {"optimiser": "lion"})


def test_a_short_run_cuts_the_warm_up_of_its_preset() -> None:
    assert options_from("standard", {"epochs": 1}).warmup_epochs == 1
    assert options_from("standard", {"epochs": 9}).warmup_epochs == 2
    with pytest.raises(OptionError, match=r"warmup_epochs \(3\) is longer than epochs \(1\)"):
        options_from("standard", {"epochs": 1, "warmup_epochs": 3.0})


def test_presets() -> None:
    assert options_from("standard", {}) == TrainOptions()
    assert all(options_from(name, {"seed": 3}).seed == 3 for name in PRESETS)
    with pytest.raises(OptionError, match="unknown preset 'best'; known: standard"):
        options_from("best", {})
    with pytest.raises(OptionError, match="unknown option alpha"):
        options_from("standard", {"alpha": 1})


def curve(
    training: list[float], public: list[float], losses: list[float]
) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "training_accuracy": t, "public_accuracy": p, "public_loss": loss}
        for epoch, (t, p, loss) in enumerate(zip(training, public, losses, strict=True), start=1)
    ]


@pytest.mark.parametrize(
    ("history", "expected", "spanish"),
    [
        (curve([0.5, 0.9, 0.99], [0.5, 0.65, 0.63], [1.3, 1.0, 1.6]),
         "The run overfits", "Hay sobreajuste"),
        (curve([0.5, 0.7, 0.85], [0.5, 0.65, 0.68], [1.3, 1.0, 0.95]),
         "edge of overfitting", "al borde del sobreajuste"),
        (curve([0.3, 0.4, 0.45], [0.3, 0.41, 0.44], [1.7, 1.6, 1.5]),
         "The run underfits", "Hay subajuste"),
        (curve([0.5, 0.7, 0.74], [0.5, 0.65, 0.68], [1.3, 1.0, 0.95]),
         "neither", "No hay sobreajuste ni subajuste"),
        (curve([0.9, 1.0], [0.9, 1.0], [0.1, 0.0]),  # nothing is left to learn
         "neither", "No hay sobreajuste ni subajuste"),
    ],
)  # fmt: skip
def test_diagnosis(history: list[dict[str, float]], expected: str, spanish: str) -> None:
    gap = 100 * (history[-1]["training_accuracy"] - history[-1]["public_accuracy"])
    sentence = diagnose(history, 3589)
    assert expected in sentence
    assert f"a gap of {gap:.1f} points" in sentence
    sentence = diagnose(history, 3589, "es")
    assert spanish in sentence
    assert f"{gap:.1f} puntos de diferencia".replace(".", ",") in sentence


@pytest.mark.parametrize(
    ("training", "public", "n", "expected"),
    [
        (0.235, 0.37, 44, "PublicTest has too few faces, 44, to tell"),
        (0.99, 0.40, 100, "The run overfits"),  # a gap of that size is not chance
        (0.45, 0.44, 700, "The run underfits"),
    ],
)
def test_diagnosis_on_few_faces(training: float, public: float, n: int, expected: str) -> None:
    history = curve([0.2, training], [public + 0.02, public], [1.5, 1.6])
    assert diagnose(history, n).startswith(expected)


def test_curves_for_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    names = ("step_loss", "training_accuracy", "public_accuracy", "alpha", "seconds")
    with RunProgress(Console(file=io.StringIO()), 2, tmp_path / "tensorboard") as progress:
        for epoch in (1, 2):
            progress.epoch({"epoch": epoch, **dict.fromkeys(names, epoch / 4)})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(names)
    found = [(scalar.step, scalar.value) for scalar in events.Scalars("public_accuracy")]
    assert found == [(1, 0.25), (2, 0.5)]


def test_a_run_that_began_without_tensorboard_shows_all_epochs_there(
    patterns: Dataset, tmp_path: Path
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options, folder = replace(QUICK, epochs=2), tmp_path / "run"
    run(patterns, options, folder)
    for _ in range(2):  # the second time they are there
        with RunProgress(Console(file=io.StringIO()), 2, folder / "tensorboard") as progress:
            summary = train(
                patterns, options, folder, progress, source={}, resume=True, language="es"
            )
        events = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
        assert [scalar.step for scalar in events.Scalars("public_accuracy")] == [1, 2]
    assert "época" in summary["diagnosis"]  # the run itself was in English
    assert "Aciertos:" in summary["by_emotion"]
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()}
    assert len(modes) == 1  # the weights have the permissions of the other files


def test_compile_and_class_weights_take_part_in_a_run(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile(outputs: torch.nn.Module) -> torch.nn.Module:
        compiled.append(outputs)
        return outputs  # compiling for real takes a minute

    monkeypatch.setattr(torch, "compile", compile)
    weighted = []
    begin = Objective.__init__

    def noted(self: Objective, *given: Any, weights: Any = None, **others: Any) -> None:
        weighted.append(weights)
        begin(self, *given, weights=weights, **others)

    monkeypatch.setattr(Objective, "__init__", noted)
    fewer = patterns.where((patterns.labels != 1) | (np.arange(len(patterns)) % 2 == 0))
    for name, options in (
        ("plain", QUICK),
        ("both", replace(QUICK, compile=True, class_weights=True)),
    ):
        run(fewer, replace(options, epochs=1), tmp_path / name)
    assert len(compiled) == 1
    labels = torch.tensor(fewer.split("Training").labels)
    assert weighted[0] is None
    torch.testing.assert_close(weighted[1], class_weights(labels))
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "both")
    assert not torch.equal(one["network.stem.weight"], other["network.stem.weight"])


def test_bf16_runs_where_it_is_asked_for(patterns: Dataset, tmp_path: Path) -> None:
    _, reporter = run(patterns, replace(QUICK, epochs=1, precision="bf16"), tmp_path / "run")
    assert np.isfinite(reporter.records[0]["step_loss"])
    kinds = {tensor.dtype for tensor in weights(tmp_path / "run").values()}
    assert kinds == {torch.float32, torch.int64}  # weights stay fp32, only products are bf16


@pytest.mark.parametrize("place", ["cpu", "cuda"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_quick_where(place: str, precision: str) -> None:
    """A precision that was asked for is kept anywhere. fp32 on a CPU is the exception among the
    layouts: batch normalisation would be too inexact in the other one."""
    there = torch.device(place)
    bf16 = use_bf16(precision, there)
    assert bf16 == (precision == "bf16")
    exact = (place, precision) == ("cpu", "fp32")
    assert quick_layout(there, bf16) == (torch.contiguous_format if exact else torch.channels_last)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
@pytest.mark.skipif(
    HUGE_PAGES.is_file() and "[always]" in HUGE_PAGES.read_text(), reason="pages are huge here"
)
def test_memory_that_is_freed_is_used_again() -> None:
    """Counts page faults (pages of 4 KiB) of a process of its own."""
    program = """
import resource, sys, torch
from semblante.train.device import keep_freed_memory
if sys.argv[1] == "keep":
   keep_freed_memory()
def pages():
   torch.ones(16 * 2**20)  # 64 MiB, gone at once
   return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = pages()
print([pages() for _ in range(40)][-1] - first)
"""
    taken = {
        way: int(subprocess.check_output([sys.executable, "-c", program, way], text=True))
        for way in ("keep", "usual")
    }
    # The kept memory still grows now and then, until a piece fits between its neighbours.
    assert taken["keep"] < taken["usual"] / 4, taken


def test_accuracy_alone_may_tell_of_overfitting() -> None:
    history = curve([0.5, 0.9, 0.99], [0.5, 0.65, 0.63], [1.3, 1.0, 1.0])
    assert diagnose(history, 3589).startswith("The run overfits")


def test_how_uncertain_few_faces_leave_it() -> None:
    assert "uncertain by +- 14 points" in diagnose(curve([0.235], [0.37], [1.6]), 44)
