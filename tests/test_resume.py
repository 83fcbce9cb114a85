"""Interrupted, killed and damaged runs, which are resumed as if nothing had happened."""

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

import pytest
import torch

from conftest import ferplus_votes
from semblante.data import Dataset
from semblante.errors import ModelError
from semblante.train import device
from semblante.train.checkpoint import load_tensors, save_tensors
from semblante.train.loop import train
from semblante.train.objective import Objective
from semblante.train.reporter import Record
from semblante.train.state import EpochProgress, TrainingState
from semblante.train.trained import load_best, load_last
from training import QUICK, Silent, Stops, assert_same, run, weights

_TRAIN_SLOWLY = """
import sys, time
from dataclasses import replace
from pathlib import Path
from typing import Any
sys.path.insert(0, {tests!r})
from training import QUICK, Silent
from semblante.data import load_fer2013
from semblante.train.loop import train

class Slow(Silent):
    def step(self, epoch, step, steps, loss):
        print(epoch, step, flush=True)
        time.sleep(0.2 if epoch == 2 else 0)

data = Path(sys.argv[1])
train(load_fer2013(data), QUICK, Path(sys.argv[2]), Slow(), source={{"path": str(data)}})
"""


@pytest.fixture(scope="module")
def whole(patterns: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, not to be changed, of a run of `QUICK` that nothing interrupted."""
    folder = tmp_path_factory.mktemp("resume") / "whole"
    run(patterns, QUICK, folder)
    return folder


def public_of(folder: Path) -> object:
    return json.loads((folder / "log.json").read_text())["summary"]["public"]


@pytest.mark.pictures
def test_a_run_that_has_ended_is_not_measured_again(patterns: Dataset, tmp_path: Path) -> None:
    options, folder = replace(QUICK, epochs=2), tmp_path / "run"
    summary, _ = run(patterns, options, folder)
    picture = (folder / "confusion.png").read_bytes()
    (folder / "confusion.png").unlink()  # killed just before the last picture
    assert run(patterns, options, folder, resume=True)[0] == summary
    assert (folder / "confusion.png").read_bytes() == picture
    written = (folder / "confusion.png").stat().st_mtime_ns
    assert run(patterns, options, folder, resume=True)[0] == summary
    assert (folder / "confusion.png").stat().st_mtime_ns == written
    with pytest.raises(ModelError, match="seed 0 -> 1"):
        run(patterns, replace(options, seed=1), folder, resume=True)


def test_killed_in_mid_epoch_and_resumed_ends_like_the_whole_run(
    patterns: Dataset, patterns_csv: Path, whole: Path, tmp_path: Path
) -> None:
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
    assert_same(weights(whole), weights(tmp_path / "killed"))
    assert resumed["public"] == public_of(whole)


def test_ctrl_c_saves_in_mid_epoch_and_the_rest_is_the_same(
    patterns: Dataset, tmp_path: Path
) -> None:
    options = replace(QUICK, network="rcnn-tiny", batch_size=12)
    run(patterns, options, tmp_path / "whole")

    class Presses(Silent):
        def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
            super().step(epoch, step, steps, loss)
            if (epoch, step) in ((1, 3), (2, 7)):  # in the middle of an epoch, and at its last step
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
    assert ends == [((1, 1), (1, 3)), ((1, 4), (2, 7)), ((3, 1), (3, 7))]
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert_same(whole, parts)
    logs = [json.loads((tmp_path / n / "log.json").read_text()) for n in ("whole", "run")]
    figures = [[{**r, "seconds": 0} for r in log["history"]] for log in logs]
    assert figures[0] == figures[1]


def test_likely_labels_are_found_once(patterns: Dataset, first_run: Path, tmp_path: Path) -> None:
    """They take two passes over all of Training, which a resumed run does not repeat."""
    shutil.copytree(first_run, tmp_path / "first")
    options = replace(QUICK, epochs=2, initial=str(tmp_path / "first"), relabel_weight=0.5)
    votes = ferplus_votes(patterns)
    _, reporter = run(patterns, options, tmp_path / "whole", votes=votes)
    assert reporter.looks == 1

    cut, source = tmp_path / "cut", {"path": "x.csv"}
    with pytest.raises(KeyboardInterrupt):
        train(patterns, options, cut, Stops(), source=source, votes=votes)
    others = replace(votes, votes=votes.votes[:, ::-1].copy())
    with pytest.raises(ModelError, match=r"cut was trained with other FER\+ votes"):
        run(patterns, options, cut, resume=True, votes=others)
    _, reporter = run(patterns, options, cut, resume=True, votes=votes)
    assert reporter.looks == 0
    one, other = weights(tmp_path / "whole"), weights(cut)
    assert_same(one, other)


def test_a_disk_that_is_full_keeps_the_last_checkpoint(
    patterns: Dataset, whole: Path, tmp_path: Path
) -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FillsTheDisk(Silent):
        def epoch(self, record: dict[str, float]) -> None:
            super().epoch(record)
            if record["epoch"] == 2:  # the disk has room for a part of the next checkpoint only
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
    assert_same(weights(whole), weights(out))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "sgd", "momentum": 0.0},
        {"optimiser": "adam", "learning_rate": 1e-3},
        {"optimiser": "adamw", "learning_rate": 1e-3},
        {"optimiser": "muon", "learning_rate": 1e-3},
    ],
)
def test_other_optimisers_resume_exactly(
    patterns: Dataset, tmp_path: Path, changes: dict[str, Any]
) -> None:
    options = replace(QUICK, schedule="constant", **changes)
    run(patterns, options, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(patterns, options, tmp_path / "cut", Stops(), source={"path": "x.csv"})
    kept = any(name.startswith("optimiser") for name in weights(tmp_path / "cut"))
    assert kept == (options.momentum > 0)  # plain gradient descent has no optimiser state
    run(patterns, options, tmp_path / "cut", resume=True)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_resume_before_the_first_checkpoint_and_after_the_last(
    patterns: Dataset, whole: Path, tmp_path: Path
) -> None:
    ended = shutil.copytree(whole, tmp_path / "run")
    again, reporter = run(patterns, QUICK, ended, resume=True)
    assert reporter.records == []
    assert again["public"] == public_of(whole)
    for name in ("checkpoint.safetensors", "best.safetensors", "log.json"):
        (ended / name).unlink()
    run(patterns, QUICK, ended, resume=True)
    assert_same(weights(whole), weights(ended))


def test_a_run_that_has_ended_needs_its_teacher_no_longer(
    patterns: Dataset, first_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(first_run, Path("teacher"))
    taught = replace(QUICK, epochs=1, teachers=("teacher",), distill_weight=0.5)
    whole, _ = run(patterns, taught, Path("run"))
    shutil.rmtree("teacher")
    again, reporter = run(patterns, taught, Path("run"), resume=True)
    assert reporter.records == []
    assert again["public"] == whole["public"]


def test_a_run_folder_is_not_mixed_up_with_another(
    patterns: Dataset, first_run: Path, tmp_path: Path
) -> None:
    options = replace(QUICK, epochs=1)
    shutil.copytree(first_run, tmp_path / "run")
    with pytest.raises(ModelError, match="already holds a run"):
        run(patterns, options, tmp_path / "run")
    with pytest.raises(ModelError, match="seed 0 -> 5, epochs 1 -> 2"):
        run(patterns, replace(options, epochs=2, seed=5), tmp_path / "run", resume=True)
    smaller = Dataset(patterns.images[:-1], patterns.labels[:-1], patterns.splits[:-1])
    with pytest.raises(ModelError, match="another dataset"):
        run(smaller, options, tmp_path / "run", resume=True)


def test_resume_begins_a_run_that_was_not_begun(patterns: Dataset, tmp_path: Path) -> None:
    """So the same command can be repeated, for instance in a queue."""
    options = replace(QUICK, epochs=1)
    summary, reporter = run(patterns, options, tmp_path / "run", resume=True)
    assert len(reporter.records) == 1
    again, reporter = run(patterns, options, tmp_path / "run", resume=True)
    assert (again, reporter.records) == (summary, [])


def test_a_run_of_before_an_option_existed_goes_on(
    patterns: Dataset, first_run: Path, tmp_path: Path
) -> None:
    options = replace(QUICK, epochs=1)
    shutil.copytree(first_run, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["options"]["small_until"]
    path.write_text(json.dumps(config))
    run(patterns, options, tmp_path / "run", resume=True)
    with pytest.raises(ModelError, match=r"small_until 0\.0 -> 0\.5"):
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
    ("config", "found"),
    [
        ("{}", "expected an object with options"),
        ("[]", "expected an object with options"),
        ("{", "not valid JSON"),
        ('{"options": null, "dataset_sha256": "x", "source": {}}', "expected an object with"),
        # As of a version to come, which knows other options, or other values of one.
        (
            '{"options": {"new": 1}, "dataset_sha256": "x", "source": {}, "bf16": false}',
            "not the options of a run: .*unexpected keyword argument 'new'",
        ),
        (
            '{"options": {"epochs": 2.5}, "dataset_sha256": "x", "source": {}, "bf16": false}',
            r"not the options of a run: expected epochs to be of type int, found 2\.5",
        ),
    ],
)
def test_damaged_config(patterns: Dataset, tmp_path: Path, config: str, found: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=rf"config\.json: {found}"):
        run(patterns, QUICK, tmp_path, resume=True)


def test_tensors_of_something_else(patterns: Dataset, first_run: Path, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=1)
    shutil.copytree(first_run, tmp_path / "run")
    best, checkpoint = (tmp_path / "run" / f"{n}.safetensors" for n in ("best", "checkpoint"))
    kept = checkpoint.read_bytes()
    (tmp_path / "run" / "confusion.png").unlink()  # a run that has ended needs no checkpoint
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
    with pytest.raises(ModelError, match="of the network 'vit', which is none of semblante's"):
        load_best(tmp_path / "run")


def a_state(**changes: Any) -> TrainingState:
    """A state after the first of two steps per epoch."""
    options = replace(QUICK, network="rcnn-tiny", epochs=4, warmup_epochs=0, **changes)
    state = TrainingState(options, torch.device("cpu"), steps_per_epoch=2)
    state.network(torch.randn(4, 1, 48, 48)).sum().backward()
    state.optimiser.step()
    return state


def records(*accuracies: float) -> list[Record]:
    return [{"epoch": n, "public_accuracy": x} for n, x in enumerate(accuracies, 1)]


def test_the_best_epoch_is_the_last_of_those_that_are_as_good(tmp_path: Path) -> None:
    state = a_state()
    found = []
    accuracies = (0.3, 0.5, 0.4, 0.5, 0.2)
    for epoch in range(1, len(accuracies) + 1):
        state.save(tmp_path, records(*accuracies[:epoch]))
        network, about = load_best(tmp_path)
        found.append(about["epoch"])
        assert not network.training
    assert found == [1, 2, 2, 4, 4]
    # In mid-epoch the average is no longer that of the epoch before.
    state.progress.losses.append(1.0)
    state.save(tmp_path, records(0.3, 0.9))
    assert load_best(tmp_path)[1]["epoch"] == 4


def test_an_interrupted_epoch_is_found_again_as_far_as_it_went(tmp_path: Path) -> None:
    state = a_state()
    state.progress = EpochProgress([3.0], [0.5], torch.get_rng_state(), 7.0)
    state.save(tmp_path, records(0.3, 0.5))
    again = a_state()
    assert again.load(tmp_path) == records(0.3, 0.5)
    assert again.step == 2 * 2 + 1
    assert (again.progress.losses, again.progress.gradient_norms, again.progress.seconds) == (
        [3.0],
        [0.5],
        7.0,
    )
    assert again.progress.random_state is not None
    assert state.progress.random_state is not None
    assert torch.equal(again.progress.random_state, state.progress.random_state)
    # Alpha is that of the last step taken.
    alphas = [group["lr"] for group in again.optimiser.param_groups]
    state.set_learning_rate(4)
    assert alphas == [group["lr"] for group in state.optimiser.param_groups]
    fresh = a_state()
    assert fresh.load(tmp_path / "nowhere") == []
    assert fresh.step == 0


def test_a_checkpoint_with_other_tensors_or_words(tmp_path: Path) -> None:
    state = a_state()
    state.save(tmp_path, records(0.3))
    path = tmp_path / "checkpoint.safetensors"
    tensors, about = load_tensors(path)
    damaged: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({n: t for n, t in tensors.items() if n != "network.stem.weight"}, about),
        ({n: t for n, t in tensors.items() if n != "average.stem.weight"}, about),
        (tensors, {k: v for k, v in about.items() if k != "norms"}),
    ]
    for kept, said in damaged:
        save_tensors(path, kept, said)
        with pytest.raises(ModelError, match="not a checkpoint of this run: ") as caught:
            a_state().load(tmp_path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < len(str(path)) + 200
    save_tensors(path, tensors, about)
    assert a_state().load(tmp_path) == records(0.3)


def test_the_best_weights_of_an_older_version(tmp_path: Path) -> None:
    a_state().save(tmp_path, records(0.3))
    path = tmp_path / "best.safetensors"
    tensors, about = load_tensors(path)
    save_tensors(path, tensors, {k: v for k, v in about.items() if k != "outputs"})
    assert load_best(tmp_path)[0](torch.zeros(1, 1, 48, 48)).shape == (1, 7)
    for damage in ({"epoch": None}, {"epoch": "first"}, {"outputs": "seven"}):
        save_tensors(path, tensors, {**about, **damage})
        with pytest.raises(ModelError, match="not the weights of a run: "):
            load_best(tmp_path)


def test_the_last_weights_of_a_run_are_its_average(patterns: Dataset, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=1, batch_size=84, ferplus_weight=0.5, warmup_epochs=0)
    run(patterns, options, tmp_path, votes=ferplus_votes(patterns))
    network, history = load_last(tmp_path)
    assert not network.training
    assert [record["epoch"] for record in history] == [1]
    path = tmp_path / "checkpoint.safetensors"
    tensors, about = load_tensors(path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, tensors[f"average.{name}"])
    assert not torch.equal(tensors["average.stem.weight"], tensors["network.stem.weight"])
    save_tensors(path, tensors, {**about, "history": []})
    with pytest.raises(ModelError, match="was interrupted in epoch 1: `train --resume` first"):
        load_last(tmp_path)
    save_tensors(path, tensors, {"losses": about["losses"]})
    with pytest.raises(ModelError, match="not a checkpoint of a run: KeyError 'history'"):
        load_last(tmp_path)
    save_tensors(path, {n: t for n, t in tensors.items() if n != "average.stem.weight"}, about)
    with pytest.raises(ModelError, match="not a checkpoint of a run: RuntimeError"):
        load_last(tmp_path)


def test_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(1000)}, {"n": 1})
    tensors, about = load_tensors(path)
    assert about == {"n": 1}
    assert torch.equal(tensors["a"], torch.ones(1000))
    if (maps := Path("/proc/self/maps")).exists():  # Windows cannot replace a mapped file
        assert str(path) not in maps.read_text()
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match="not a file of semblante's training"):
        load_tensors(path)
    with pytest.raises(ModelError, match="no such file"):
        load_tensors(tmp_path / "y.safetensors")
    save_tensors(path, tensors, ["n", 1])  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="its description is no object"):
        load_tensors(path)


def test_precision_is_measured_once_and_kept_on_resuming(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(QUICK, epochs=1, precision="auto")
    config = tmp_path / "run" / "config.json"
    for quicker in (True, False):
        monkeypatch.setattr(device, "bf16_is_quicker", lambda quicker=quicker: quicker)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run(patterns, options, tmp_path / "run")
        assert json.loads(config.read_text())["bf16"] is quicker
        before = weights(tmp_path / "run")
        monkeypatch.setattr(device, "bf16_is_quicker", lambda quicker=quicker: not quicker)
        for name in ("checkpoint.safetensors", "best.safetensors", "log.json"):
            (tmp_path / "run" / name).unlink()
        run(patterns, options, tmp_path / "run", resume=True)
        after = weights(tmp_path / "run")
        assert_same(before, after)


def test_the_measurement_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    device.bf16_is_quicker.__wrapped__()
    assert torch.equal(before, torch.get_rng_state())
