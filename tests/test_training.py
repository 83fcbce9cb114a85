"""The loop: its formulas, that it learns, and that an interrupted run ends like a whole one."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.errors import ModelError, OptionError
from semblante.train import loop
from semblante.train.checkpoint import load_tensors, save_tensors
from semblante.train.curves import diagnose
from semblante.train.loop import train
from semblante.train.objective import Objective, smoothed
from semblante.train.options import PRESETS, TrainOptions, options_from
from semblante.train.state import TrainingState, learning_rate, load_best

QUICK = TrainOptions(
    network="rcnn-tiny", epochs=3, batch_size=16, warmup_epochs=1, precision="fp32"
)


class Silent:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []
        self.records: list[dict[str, float]] = []

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self.steps.append((epoch, step, steps))

    def epoch(self, record: dict[str, float]) -> None:
        self.records.append(record)


def run(
    dataset: Dataset,
    options: TrainOptions,
    out: Path,
    *,
    resume: bool = False,
    votes: FerPlus | None = None,
) -> tuple[dict[str, object], Silent]:
    reporter = Silent()
    source = {"path": "x.csv"}
    return train(
        dataset, options, out, reporter, source=source, votes=votes, resume=resume
    ), reporter


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run_dir / "checkpoint.safetensors")[0]


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
        state.update_average()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, tensor in state.network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    for name, tensor in state.average.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], atol=1e-4, rtol=1e-4)


def test_first_step_is_gradient_descent_written_out(patterns: Dataset) -> None:
    """w <- w - alpha (g + mu g) for the first Nesterov step, g with weight decay on kernels."""
    options = replace(QUICK, epochs=1, batch_size=84, warmup_epochs=0, mixup_probability=0,
                      clip_norm=1e9, ema_decay=0)  # fmt: skip
    device = torch.device("cpu")
    faces = loop.Faces(patterns.split("Training"), device)
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
    list(loop._train_epoch(state, faces, Objective(options), 1))
    for name, parameter in state.network.named_parameters():
        decay = options.weight_decay if parameter.ndim > 1 else 0
        gradient = gradients[name] + decay * before[name]
        expected = before[name] - options.learning_rate * (1 + options.momentum) * gradient
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-6, rtol=1e-4)


def test_faces_are_small_at_first(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []
    real = Objective.__call__

    def watched(self: Objective, outputs: Any, inputs: torch.Tensor, targets: Any) -> torch.Tensor:
        sides.append(inputs.shape[-1])
        return real(self, outputs, inputs, targets)

    monkeypatch.setattr(Objective, "__call__", watched)
    options = replace(QUICK, epochs=4, batch_size=84, small_side=24, small_until=0.75)
    run(patterns, options, tmp_path / "run")
    assert sides == [24, 24, 24, 48]
    with pytest.raises(OptionError, match="course-cnn takes no faces of 24 pixels"):
        run(patterns, replace(options, network="course-cnn"), tmp_path / "other")


# -- runs -------------------------------------------------------------------------------------


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
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    network, record = load_best(tmp_path / "run")
    assert record["epoch"] == summary["best_epoch"]
    _, accuracy = loop.evaluate(
        network, loop.Faces(patterns.split("PublicTest"), torch.device("cpu"))
    )
    assert accuracy == summary["public"]["accuracy"]


def test_the_same_seed_gives_the_same_weights(patterns: Dataset, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(patterns, replace(QUICK, epochs=2, seed=seed), tmp_path / name)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["network.stem.weight"], c["network.stem.weight"])


_TRAIN_SLOWLY = """
import sys, time
from dataclasses import replace
from pathlib import Path
from typing import Any
sys.path.insert(0, {tests!r})
from test_training import QUICK, Silent
from semblante.data import load_fer2013
from semblante.train.loop import train

class Slow(Silent):
    def step(self, epoch, step, steps, loss):
        print(epoch, step, flush=True)
        time.sleep(0.2 if epoch == 2 else 0)

data = Path(sys.argv[1])
train(load_fer2013(data), QUICK, Path(sys.argv[2]), Slow(), source={{"path": str(data)}})
"""


def test_killed_in_mid_epoch_and_resumed_ends_like_the_whole_run(
    patterns: Dataset, patterns_csv: Path, tmp_path: Path
) -> None:
    whole, _ = run(patterns, QUICK, tmp_path / "whole")
    script = _TRAIN_SLOWLY.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(patterns_csv), str(tmp_path / "killed")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.split() == ["2", "3"]:  # third of five steps of the second epoch
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert json.loads((tmp_path / "killed" / "log.json").read_text()).keys() == {"history"}

    resumed, reporter = run(patterns, QUICK, tmp_path / "killed", resume=True)
    assert [record["epoch"] for record in reporter.records] == [2, 3]
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed["public"] == whole["public"]


def test_ctrl_c_saves_in_mid_epoch_and_the_rest_is_the_same(
    patterns: Dataset, tmp_path: Path
) -> None:
    options = replace(QUICK, network="rcnn-tiny", batch_size=12)
    run(patterns, options, tmp_path / "whole")

    class Presses(Silent):
        def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
            super().step(epoch, step, steps, loss)
            if (epoch, step) in ((1, 3), (2, 5)):
                os.kill(os.getpid(), signal.SIGINT)

    reporters = []
    for resume in (False, True, True):
        reporters.append(Presses() if len(reporters) < 2 else Silent())
        try:
            train(
                patterns, options, tmp_path / "run", reporters[-1], source={"path": "x.csv"},
                resume=resume,
            )  # fmt: skip
        except KeyboardInterrupt:
            assert len(reporters) < 3
    ends = [(r.steps[0][:2], r.steps[-1][:2]) for r in reporters]
    assert ends == [((1, 1), (1, 3)), ((1, 4), (2, 5)), ((2, 6), (3, 7))]
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [json.loads((tmp_path / n / "log.json").read_text()) for n in ("whole", "run")]
    figures = [[{**r, "seconds": 0} for r in log["history"]] for log in logs]
    assert figures[0] == figures[1]


def test_a_disk_that_is_full_keeps_the_last_checkpoint(patterns: Dataset, tmp_path: Path) -> None:
    run(patterns, QUICK, tmp_path / "whole")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FillsTheDisk(Silent):
        def epoch(self, record: dict[str, float]) -> None:
            super().epoch(record)
            if record["epoch"] == 2:  # the next checkpoint finds room for a part of itself
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))

    out = tmp_path / "run"
    try:
        with pytest.raises(ModelError, match="cannot be written, what was saved before is still"):
            train(patterns, QUICK, out, FillsTheDisk(), source={"path": "x.csv"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert not [path for path in out.iterdir() if path.suffix == ".tmp"]
    _, about = load_tensors(out / "checkpoint.safetensors")
    assert [record["epoch"] for record in about["history"]] == [1, 2]
    run(patterns, QUICK, out, resume=True)
    one, other = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_plain_gradient_descent_resumes_too(patterns: Dataset, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=2, momentum=0.0)
    run(patterns, options, tmp_path / "whole")
    short = tmp_path / "short"
    shutil.copytree(tmp_path / "whole", short)
    tensors, _ = load_tensors(short / "checkpoint.safetensors")
    assert not any(name.startswith("optimiser") for name in tensors)
    _, reporter = run(patterns, options, short, resume=True)
    assert reporter.records == []


def test_resume_before_the_first_checkpoint_and_after_the_last(
    patterns: Dataset, tmp_path: Path
) -> None:
    whole, _ = run(patterns, QUICK, tmp_path / "run")
    again, reporter = run(patterns, QUICK, tmp_path / "run", resume=True)
    assert reporter.records == []
    assert again["public"] == whole["public"]
    before = weights(tmp_path / "run")
    for name in ("checkpoint.safetensors", "best.safetensors", "log.json"):
        (tmp_path / "run" / name).unlink()
    run(patterns, QUICK, tmp_path / "run", resume=True)
    after = weights(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_folder_is_not_mixed_up_with_another(patterns: Dataset, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=1)
    run(patterns, options, tmp_path / "run")
    with pytest.raises(ModelError, match="already holds a run"):
        run(patterns, options, tmp_path / "run")
    with pytest.raises(ModelError, match="seed was 0, is 5, epochs was 1, is 2"):
        run(patterns, replace(options, epochs=2, seed=5), tmp_path / "run", resume=True)
    smaller = Dataset(patterns.images[:-1], patterns.labels[:-1], patterns.splits[:-1])
    with pytest.raises(ModelError, match="another dataset"):
        run(smaller, options, tmp_path / "run", resume=True)
    with pytest.raises(ModelError, match="No such file"):
        run(patterns, options, tmp_path / "nothing", resume=True)


def test_a_run_of_before_an_option_existed_goes_on(patterns: Dataset, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=1)
    run(patterns, options, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["options"]["small_until"]
    path.write_text(json.dumps(config))
    run(patterns, options, tmp_path / "run", resume=True)
    with pytest.raises(ModelError, match=r"small_until was 0\.0, is 0\.5"):
        run(patterns, replace(options, small_until=0.5), tmp_path / "run", resume=True)


def test_a_diverging_run_stops_and_keeps_its_checkpoint(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Objective.__call__
    calls = iter(range(1000))

    def poisoned(*arguments: Any) -> torch.Tensor:
        return real(*arguments) * (math.nan if next(calls) == 7 else 1)

    monkeypatch.setattr(Objective, "__call__", poisoned)
    with pytest.raises(ModelError, match="no longer a finite number in epoch 2, step 3"):
        run(patterns, QUICK, tmp_path / "run")
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())


def test_damage_by_the_last_step_of_an_epoch_is_not_saved(
    patterns: Dataset, tmp_path: Path
) -> None:
    options = replace(QUICK, epochs=1, warmup_epochs=0, batch_size=84, learning_rate=1e30)
    with pytest.raises(ModelError, match="PublicTest is no longer a finite number"):
        run(patterns, options, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "config", ["{}", "[]", "{", '{"options": null, "dataset_sha256": "x", "source": {}}']
)
def test_damaged_config(patterns: Dataset, tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"config\.json: (expected an object|not valid JSON)"):
        run(patterns, QUICK, tmp_path, resume=True)


def test_tensors_of_something_else(patterns: Dataset, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=1)
    run(patterns, options, tmp_path / "run")
    best, checkpoint = (tmp_path / "run" / f"{n}.safetensors" for n in ("best", "checkpoint"))
    kept = checkpoint.read_bytes()
    checkpoint.write_bytes(best.read_bytes())
    with pytest.raises(ModelError, match="not a checkpoint of this run"):
        run(patterns, options, tmp_path / "run", resume=True)
    tensors, about = load_tensors(best)
    best.write_bytes(kept)
    with pytest.raises(ModelError, match="not the weights of a run: KeyError 'network'"):
        load_best(tmp_path / "run")
    save_tensors(best, tensors, {**about, "network": "rcnn-small"})
    with pytest.raises(ModelError, match="not the weights of a run: RuntimeError"):
        load_best(tmp_path / "run")
    save_tensors(best, tensors, {**about, "network": "vit"})
    with pytest.raises(ModelError, match="unknown network 'vit'"):
        load_best(tmp_path / "run")


def test_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(1000)}, {"n": 1})
    tensors, about = load_tensors(path)
    assert about == {"n": 1}
    assert torch.equal(tensors["a"], torch.ones(1000))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match="not a file of semblante's training"):
        load_tensors(path)
    with pytest.raises(ModelError, match="no such file"):
        load_tensors(tmp_path / "y.safetensors")


# -- options and diagnosis --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 0}, "epochs at least 1, found 0"),
        ({"batch_size": -5}, "batch_size at least 1"),
        ({"learning_rate": 0.0}, "learning_rate more than 0"),
        ({"learning_rate": math.inf}, "learning_rate to be a finite number"),
        ({"seed": 10**18}, "seed of at most"),
        ({"momentum": 1.5}, "momentum between 0 and 1"),
        ({"ema_decay": math.nan}, "ema_decay to be a finite number"),
        ({"precision": "fp8"}, "precision to be one of auto, fp32, bf16, found fp8"),
        ({"epochs": 1, "warmup_epochs": 2.0}, r"warmup_epochs \(2\) is longer than epochs \(1\)"),
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
    ("history", "expected"),
    [
        (curve([0.5, 0.9, 0.99], [0.5, 0.65, 0.63], [1.3, 1.0, 1.6]), "The run overfits"),
        (curve([0.5, 0.7, 0.85], [0.5, 0.65, 0.68], [1.3, 1.0, 0.95]), "edge of overfitting"),
        (curve([0.3, 0.4, 0.45], [0.3, 0.41, 0.44], [1.7, 1.6, 1.5]), "The run underfits"),
        (curve([0.5, 0.7, 0.74], [0.5, 0.65, 0.68], [1.3, 1.0, 0.95]), "neither"),
    ],
)
def test_diagnosis(history: list[dict[str, float]], expected: str) -> None:
    sentence = diagnose(history)
    assert expected in sentence
    gap = 100 * (history[-1]["training_accuracy"] - history[-1]["public_accuracy"])
    assert f"a gap of {gap:.1f} points" in sentence


def test_bf16_runs_where_it_is_asked_for(patterns: Dataset, tmp_path: Path) -> None:
    _, reporter = run(patterns, replace(QUICK, epochs=1, precision="bf16"), tmp_path / "run")
    assert np.isfinite(reporter.records[0]["step_loss"])
    kinds = {tensor.dtype for tensor in weights(tmp_path / "run").values()}
    assert kinds == {torch.float32, torch.int64}  # weights stay fp32, only products are bf16
