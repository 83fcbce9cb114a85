"""The training loop: forward pass, error, back-propagation, a step of gradient descent.

Read `_train_epoch` first; everything else is around it.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import semblante
from semblante.data import SPLITS, Dataset
from semblante.data.ferplus import FerPlus
from semblante.emotions import EMOTIONS
from semblante.errors import ModelError, OptionError
from semblante.evaluation import draw_counts
from semblante.files import write_json
from semblante.metrics import confusion_matrix
from semblante.train.batches import Faces
from semblante.train.checkpoint import load_tensors, read_config, read_json, save_tensors
from semblante.train.curves import describe_confusion, diagnose, draw_curves
from semblante.train.distributed import ALONE, Processes, check_norms, processes
from semblante.train.initial import start_from
from semblante.train.networks import build_network, count_parameters
from semblante.train.objective import N_EMOTIONS, Objective, class_weights, mixed, smoothed
from semblante.train.options import TrainOptions
from semblante.train.relabel import likely_labels
from semblante.train.reporter import Record, Reporter
from semblante.train.state import (
    Epoch,
    TrainingState,
    check_fits,
    keep_freed_memory,
    load_best,
    use_bf16,
)

# Training accuracy is followed on this many of its faces, without augmentation and with the
# same averaged weights as PublicTest: only then does the gap between the two curves mean
# anything (the loss of augmented, mixed batches is of another kind).
_TRAINING_SAMPLE: Final = 2000
_EVALUATION_BATCH: Final = 256


def train(
    dataset: Dataset,
    options: TrainOptions,
    run_dir: Path,
    reporter: Reporter,
    *,
    source: Mapping[str, Any],
    votes: FerPlus | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train `options.network` on the Training split; returns the run's summary.

    Under torchrun the summary is the first process's; others may return an empty one.

    The run folder (see `checkpoint.py`) is made here; it notes `source`, where the dataset came
    from. Ctrl-C saves the run in mid-epoch and raises `KeyboardInterrupt`. With `resume` an
    interrupted run goes on from there, a killed one after its last whole epoch, and ends, on the
    same processor (not GPU) with the same number of threads, with the weights the uninterrupted run
    would have had: all random numbers of an epoch follow from the seed and the epoch's number.
    `votes`, of the dataset's rows, are needed where the recipe uses FER+ (`needs_votes`).
    Raises `ModelError` where the folder holds another run, or the loss is no longer finite.
    """
    n = int((dataset.splits == SPLITS.index("Training")).sum())
    with processes() as together:
        together.check_shares(min(options.batch_size, n))
        return _train(
            dataset, options, run_dir, reporter, together, source=source, votes=votes, resume=resume
        )


def _train(
    dataset: Dataset,
    options: TrainOptions,
    run_dir: Path,
    reporter: Reporter,
    together: Processes,
    *,
    source: Mapping[str, Any],
    votes: FerPlus | None,
    resume: bool,
) -> dict[str, Any]:
    options = replace(
        options,
        initial=_absolute(options.initial),
        teachers=tuple(map(_absolute, options.teachers)),
    )
    if together.count > 1:
        check_norms(build_network(options.network))
    training, public = dataset.split("Training"), dataset.split("PublicTest")
    teachers = [load_best(Path(teacher))[0] for teacher in options.teachers]
    if options.needs_votes:
        if votes is None:
            raise OptionError("FER+'s votes are needed for ferplus_weight and relabel_weight")
        votes.check_rows_of(dataset)
        votes = votes.where(dataset.splits == SPLITS.index("Training"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    keep_freed_memory()
    bf16 = False
    if together.first:
        known = None if votes is None else hashlib.sha256(votes.votes.tobytes()).hexdigest()
        bf16 = _open_run(run_dir, options, dataset, known, teachers, source, device, resume)
    bf16 = together.agreed(bf16)
    summary = _summary(run_dir) if resume and together.first else None
    if together.agreed(summary is not None):
        return summary or {}  # nothing is left to do
    torch.manual_seed(options.seed)
    steps_per_epoch = max(1, len(training) // options.batch_size)
    run = TrainingState(options, device, steps_per_epoch, together, bf16)
    history = run.load(run_dir) if resume else []

    faces, public_faces = Faces(training, device), Faces(public, device)
    targets = _kept_targets(run_dir, faces, votes, options, together, bf16, reporter)
    faces.targets = targets.to(device)
    if options.initial and run.step == 0:
        start_from(run.network, options.initial, faces)
        run.average.load_state_dict(run.network.state_dict())
    objective = Objective(
        options,
        weights=class_weights(faces.labels) if options.class_weights else None,
        teachers=[teacher.to(device) for teacher in teachers],
    )
    sample = Faces(_sample(training), device)
    with _interruptible() as interrupted:
        while len(history) < options.epochs and not together.agreed(
            _settled(history, options.patience)
        ):
            epoch = len(history) + 1
            started = time.perf_counter() - run.epoch.seconds
            torch.manual_seed(options.seed * 1_000_003 + epoch)
            for losses in _train_epoch(run, faces, objective, epoch, together):
                if together.first:
                    reporter.step(epoch, len(losses), run.steps_per_epoch, losses[-1])
                if together.agreed(interrupted()):
                    run.epoch.random_state = torch.get_rng_state()
                    run.epoch.seconds = time.perf_counter() - started
                    if together.first:
                        run.save(run_dir, history)
                    raise KeyboardInterrupt
            public_loss, public_accuracy = evaluate(run.average, public_faces, run.bf16)
            _check_finite(public_loss, "the loss on PublicTest", epoch, run.steps_per_epoch)
            training_loss, training_accuracy = evaluate(run.average, sample, run.bf16)
            history.append(
                {
                    "epoch": epoch,
                    "alpha": run.optimiser.param_groups[0]["lr"],
                    "step_loss": float(np.mean(run.epoch.losses)),
                    "gradient_norm": float(np.mean(run.epoch.norms)),
                    "training_loss": training_loss,
                    "training_accuracy": training_accuracy,
                    "public_loss": public_loss,
                    "public_accuracy": public_accuracy,
                    "seconds": time.perf_counter() - started,
                }
            )
            run.epoch = Epoch()
            if together.first:
                run.save(run_dir, history)
                reporter.epoch(history[-1])
            if together.agreed(interrupted()):
                raise KeyboardInterrupt
    together.wait()  # until the last checkpoint is written
    return _finish(run_dir, history, options, faces, public_faces, write=together.first)


def _train_epoch(
    run: TrainingState,
    faces: Faces,
    objective: Objective,
    epoch: int,
    together: Processes = ALONE,
) -> Iterator[list[float]]:
    """One pass over Training, or the rest of one; yields all its losses after each step."""
    options = run.options
    losses, norms = run.epoch.losses, run.epoch.norms
    run.network.train()
    for inputs, targets in faces.augmented_batches(
        options, len(losses), run.epoch.random_state, run.side(epoch)
    ):
        if run.mixes(epoch):
            inputs, targets = mixed(inputs, targets, options)
        inputs = together.part(inputs).contiguous(memory_format=run.layout)
        targets = together.part(targets)

        with _autocast(inputs.device, run.bf16):
            loss = objective(run.outputs, inputs, targets)  # forward pass, and the error
        run.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # back-propagation: dE/dw for every w
        norm = nn.utils.clip_grad_norm_(run.network.parameters(), options.clip_norm)
        losses.append(loss.item())
        norms.append(norm.item())
        _check_finite(losses[-1] + norms[-1], "the loss or its gradient", epoch, len(losses))

        run.set_alpha(run.step)
        run.optimiser.step()  # w <- w - alpha * v
        run.step += 1
        run.update_average()
        yield losses


def _kept_targets(
    run_dir: Path,
    faces: Faces,
    votes: FerPlus | None,
    options: TrainOptions,
    together: Processes,
    bf16: bool,
    reporter: Reporter,
) -> Tensor:
    """`_targets`, kept in the run folder where they cost two looks at all of Training: a run that
    goes on has the very same, at once."""
    if not (options.relabel_weight and options.initial):
        return _targets(faces, votes, options, bf16)
    path = run_dir / "targets.safetensors"
    if path.exists():
        return load_tensors(path)[0]["targets"]
    reporter.note("looking at all of Training first: what is each face likely to be labelled?")
    targets = _targets(faces, votes, options, bf16)
    together.wait()  # for those that would find the file: all compute, or none
    if together.first:
        save_tensors(path, {"targets": targets}, {})
    return targets


def _targets(faces: Faces, votes: FerPlus | None, options: TrainOptions, bf16: bool) -> Tensor:
    """What the network is to say of each face of Training, see `objective.py`."""
    labels = faces.labels.cpu()
    targets = smoothed(labels, options.label_smoothing)
    if not options.needs_votes:
        return targets
    assert votes is not None  # and they are of these faces: `_train` has looked
    if options.relabel_weight > 0:
        estimates = None
        if options.initial:
            network = build_network(options.network).to(faces.images.device)
            start_from(network, options.initial, faces)
            views = [logits_of(network, view, bf16) for view in (faces, faces.mirrored())]
            estimates = torch.stack(views)[:, :, :N_EMOTIONS].softmax(dim=2).mean(dim=0).cpu()
        likely = likely_labels(labels, torch.from_numpy(votes.votes), estimates)
        targets = (1 - options.relabel_weight) * targets + options.relabel_weight * likely
    if options.ferplus_weight > 0:
        targets = torch.cat([targets, torch.from_numpy(votes.distributions()).float()], dim=1)
    return targets


def _settled(history: list[Record], patience: int) -> bool:
    """Has PublicTest not improved for `patience` epochs?"""
    if patience == 0 or not history:
        return False
    best = int(np.argmax([record["public_accuracy"] for record in history]))
    return len(history) - 1 - best >= patience


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C lets the step in hand end, and is then asked for; a second one does not wait."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread hears signals
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _check_finite(value: float, what: str, epoch: int, step: int) -> None:
    """Before the weights, or the checkpoint, take harm."""
    if not math.isfinite(value):
        raise ModelError(
            f"{what} is no longer a finite number in epoch {epoch}, step {step}: "
            "start a new run with a smaller learning rate"
        )


def evaluate(network: nn.Module, faces: Faces, bf16: bool = False) -> tuple[float, float]:
    """Cross-entropy (nats) and accuracy (0..1) on faces as they are, one view each."""
    return _figures(logits_of(network, faces, bf16), faces)


def _figures(logits: Tensor, faces: Faces) -> tuple[float, float]:
    logits = logits[:, :N_EMOTIONS]
    right = logits.argmax(dim=1) == faces.labels
    return float(F.cross_entropy(logits, faces.labels)), int(right.sum()) / len(faces)


@torch.no_grad()
def logits_of(network: nn.Module, faces: Faces, bf16: bool = False) -> Tensor:
    """The network's outputs (n, classes) for faces as they are, float32."""
    network.eval()
    parts = []
    for inputs, _ in faces.batches(_EVALUATION_BATCH):
        with _autocast(inputs.device, bf16):
            parts.append(network(inputs).float())
    return torch.cat(parts)


@contextmanager
def _autocast(device: torch.device, bf16: bool) -> Iterator[None]:
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        yield


def _sample(training: Dataset) -> Dataset:
    """The same faces of Training for every run, whatever its seed."""
    n = min(_TRAINING_SAMPLE, len(training))
    rows = np.sort(np.random.default_rng(2013).permutation(len(training))[:n])
    return training.where(rows)


def _absolute(place: str) -> str:
    """So that a run can go on from any folder; the name of a model as it is."""
    return str(Path(place).absolute()) if place and Path(place).exists() else place


def _open_run(
    run_dir: Path,
    options: TrainOptions,
    dataset: Dataset,
    votes_sha256: str | None,
    teachers: Sequence[nn.Module],
    source: Mapping[str, Any],
    device: torch.device,
    resume: bool,
) -> bool:
    """Make the run folder, or check that it holds this very run; says whether it is in bfloat16."""
    path = run_dir / "config.json"
    # As they come back from the file: JSON knows no tuples.
    chosen: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    ours = {
        "options": chosen, "dataset_sha256": dataset.fingerprint(), "votes_sha256": votes_sha256
    }  # fmt: skip
    if not resume:
        if path.exists():
            raise ModelError(
                f"{run_dir} already holds a run: continue it with --resume or choose another folder"
            )
        network = build_network(options.network)  # an unknown name leaves no folder behind,
        training = dataset.split("Training")
        # nor does a recipe that it cannot follow,
        check_fits(network, options, min(options.batch_size, len(training)), teachers)
        if options.initial:  # nor weights that are not there, or not this network's
            some = Faces(_sample(training), torch.device("cpu"))
            start_from(network, options.initial, some)
        bf16 = use_bf16(options.precision, device)
        run_dir.mkdir(parents=True, exist_ok=True)
        about = {
            "source": dict(source),  # where `export` finds the faces to compare on
            "parameters": count_parameters(network),
            "device": device.type,
            "bf16": bf16,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "semblante": semblante.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        write_json(path, {**ours, **about})
        return bf16
    theirs = read_config(run_dir)
    if theirs["dataset_sha256"] != ours["dataset_sha256"]:
        raise ModelError(f"{run_dir} was trained on another dataset than the one given")
    if theirs.get("votes_sha256", votes_sha256) != votes_sha256:
        raise ModelError(f"{run_dir} was trained with other FER+ votes than the ones given")
    # An option that did not exist when the run began was what its default is.
    before = {**json.loads(json.dumps(asdict(TrainOptions()))), **theirs["options"]}
    before["initial"] = _absolute(before["initial"])  # noted as they were given, once
    before["teachers"] = [_absolute(teacher) for teacher in before["teachers"]]
    changed = [name for name, value in chosen.items() if before[name] != value]
    if changed:
        differences = ", ".join(f"{name} was {before[name]}, is {chosen[name]}" for name in changed)
        raise ModelError(f"{run_dir} holds a run with other options: {differences}")
    return bool(theirs["bf16"])  # whatever measures quicker now


def _summary(run_dir: Path) -> dict[str, Any] | None:
    """Of a run that has come to its end and has all that `_finish` leaves."""
    if not (run_dir / "confusion.png").exists():  # the last of it
        return None
    try:
        summary: dict[str, Any] | None = read_json(run_dir / "log.json").get("summary")
    except ModelError:  # damaged: it is made again
        return None
    return summary


def _finish(
    run_dir: Path,
    history: list[Record],
    options: TrainOptions,
    faces: Faces,
    public: Faces,
    *,
    write: bool,
) -> dict[str, Any]:
    """Measure the best weights in fp32 on all of Training and PublicTest, draw, diagnose."""
    network, record = load_best(run_dir)
    network.to(faces.images.device)
    training_loss, training_accuracy = evaluate(network, faces)
    logits = logits_of(network, public)
    public_loss, public_accuracy = _figures(logits, public)
    said = logits[:, :N_EMOTIONS].argmax(dim=1).cpu().numpy()
    confusion = confusion_matrix(public.labels.cpu().numpy(), said, N_EMOTIONS)
    summary = {
        "best_epoch": int(record["epoch"]),
        "training": {"n": len(faces), "loss": training_loss, "accuracy": training_accuracy},
        "public": {"n": len(public), "loss": public_loss, "accuracy": public_accuracy},
        "hours": sum(record["seconds"] for record in history) / 3600,
        "diagnosis": diagnose(history),
        "confusion": confusion.tolist(),  # of PublicTest, true label by prediction
        "by_emotion": describe_confusion(confusion),
    }
    if write:
        write_json(run_dir / "log.json", {"history": history, "summary": summary})
        title = f"{options.network}, seed {options.seed}"
        draw_curves(history, run_dir / "curves.png", title)
        title += f", PublicTest: {public_accuracy:.1%} (n={len(public)})"
        draw_counts(confusion, EMOTIONS, run_dir / "confusion.png", title, "fer2013")
    return summary
