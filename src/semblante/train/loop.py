"""The training loop: forward pass, error, back-propagation, a step of gradient descent.

`train_epoch` is the core; `train` is everything around it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.emotions import EMOTIONS, N_EMOTIONS, check_language
from semblante.errors import ModelError, OptionError
from semblante.files import write_json
from semblante.metrics import confusion_matrix
from semblante.plots import draw_counts
from semblante.train.batches import Faces, occlude
from semblante.train.curves import describe_confusion, diagnose, draw_curves, run_title
from semblante.train.device import autocast, keep_freed_memory, this_device, to_device, use_bf16
from semblante.train.distributed import ALONE, Processes, all_processes, check_norms
from semblante.train.initial import network_of, start_from, weights_sha256
from semblante.train.interrupt import interruptible
from semblante.train.measure import logits_of, loss_and_accuracy
from semblante.train.networks import build_network, check_fits, check_outputs, n_outputs
from semblante.train.objective import Objective, class_weights, mixed
from semblante.train.options import TrainOptions
from semblante.train.reporter import Record, Reporter
from semblante.train.run_folder import (
    CONFUSION,
    CURVES,
    LOG,
    RunConfig,
    begin_run,
    check_free,
    check_same,
    holds_run,
    read_end,
)
from semblante.train.seeds import epoch_seed
from semblante.train.state import EpochProgress, TrainingState
from semblante.train.targets import load_or_compute_targets, read_estimates
from semblante.train.trained import is_over, load_best
from semblante.train.user_code import absolute_name, own_sha256
from semblante.train.views import SavedViews, TaughtViews
from semblante.wording import figures

# Accuracy on Training is measured on this many of its faces, without augmentation and with the same
# averaged weights as on PublicTest. Only then is the gap between the two curves meaningful: the
# loss of augmented, mixed batches cannot be compared with that on PublicTest.
_TRAINING_SAMPLE: Final = 2000


def train_epoch(
    state: TrainingState,
    faces: Faces,
    objective: Objective,
    epoch: int,
    processes: Processes = ALONE,
) -> Iterator[float]:
    """One pass over Training, or the rest of an interrupted pass: yields the loss of each step, and
    keeps it in `state.progress`.

    `epoch` counts from 1. Raises `ModelError` if the loss is no longer finite.
    """
    options = state.options
    losses, norms = state.progress.losses, state.progress.gradient_norms
    state.network.train()
    for inputs, targets in faces.augmented_batches(
        options, len(losses), state.progress.random_state, state.side(epoch)
    ):
        if state.mixes(epoch):
            inputs, targets = mixed(inputs, targets, options)
        # A part of some faces is hidden from the network, but not from its teachers.
        covered = occlude(inputs, options.cover_probability)
        seen = processes.shard(covered).contiguous(memory_format=state.layout)
        teacher_inputs = processes.shard(inputs).contiguous(memory_format=state.layout)
        targets = processes.shard(targets)

        with autocast(seen.device, state.bf16):
            # Forward pass and error.
            loss = objective(state.step_logits, seen, targets, teacher_inputs)
        state.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # back-propagation: dE/dw for every w
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), options.clip_norm)
        losses.append(loss.item())
        norms.append(norm.item())
        _check_finite(losses[-1] + norms[-1], "the loss or its gradient", epoch, len(losses))

        state.set_learning_rate(state.step)
        state.optimiser.step()  # w <- w - alpha * v
        state.step += 1
        state.update_ema()
        yield losses[-1]


def _check_finite(value: float, what: str, epoch: int, step: int) -> None:
    """Raise `ModelError` before a value that is not finite reaches the weights or a checkpoint."""
    if not math.isfinite(value):
        raise ModelError(
            f"{what} is no longer a finite number in epoch {epoch}, step {step}: "
            "start a new run with a smaller learning rate"
        )


def train(
    dataset: Dataset,
    options: TrainOptions,
    run_dir: str | os.PathLike[str],
    reporter: Reporter,
    *,
    source: Mapping[str, Any],
    votes: FerPlus | None = None,
    resume: bool = False,
    language: str = "en",
) -> dict[str, Any]:
    """Train `options.network` on the Training split; returns the run's summary:
    `epochs` and `hours` that it took; the `best_epoch` on PublicTest, and of its weights `training`
    and `public`, each `n`, `loss` and `accuracy`, and `confusion` (7, 7) on PublicTest, true label
    by prediction; `diagnosis` and `by_emotion`, in words.

    Creates the run folder (see `run_folder.py`). `source`, where the dataset came from, is saved
    there: `semblante export` reads the dataset again, from the `path` in it or the one that --data
    names.

    Ctrl-C saves the run in mid-epoch and raises `KeyboardInterrupt`. With `resume` an interrupted
    run goes on from there, and a killed one after its last complete epoch. On the same CPU (not
    GPU) with the same number of threads it ends with the same weights as an uninterrupted run: all
    random numbers of an epoch follow from the seed and the number of the epoch. If the folder
    contains no run yet, `resume` begins one.

    `votes`, of the dataset's rows, are needed if the recipe uses FER+ (`needs_votes`). The
    summary's sentences and the pictures are in `language`, one of `emotions.LANGUAGES`.

    Raises `RunFolderError` if the folder holds another run, `OptionError` for a recipe that cannot
    be followed, for instance because votes are missing, `DataError` for a dataset without Training
    or PublicTest, and `ModelError` if the loss is no longer finite.
    """
    check_language(language)
    run_dir = Path(run_dir)
    processes = all_processes()
    if not processes.first:
        reporter = Reporter()  # reports nothing
    options = options.with_places(_absolute_place, absolute_name)
    training, public = dataset.split("Training"), dataset.split("PublicTest")
    votes = votes_of_training(dataset, options, votes)
    config = RunConfig(
        options,
        dataset.fingerprint(),
        None if votes is None else votes.fingerprint(),
        dict(source),
        bf16=False,  # a new run decides in `_prepare`
        weights_sha256=weights_sha256(
            filter(None, (options.initial, *options.teachers, options.estimates))
        ),
        own_sha256=own_sha256([options.network, options.error]),
    )
    resume = resume and processes.broadcast(holds_run(run_dir))
    if resume:
        config = check_same(run_dir, config)
        ended = read_end(run_dir)
        if ended is not None:  # there is nothing left to do
            history, summary = ended
            reporter.resumed(history)
            return {**summary, **_sentences(history, np.array(summary["confusion"]), language)}

    run = _prepare(run_dir, config, training, public, votes, processes, reporter, resume=resume)
    _train_epochs(run)
    return _finish(run, language)


def votes_of_training(
    dataset: Dataset, options: TrainOptions, votes: FerPlus | None
) -> FerPlus | None:
    """The votes of Training's faces, or None if the recipe uses none. Raises `OptionError` if they
    are missing, `DataError` if they are of other rows than the dataset's."""
    if not options.needs_votes:
        return None
    if votes is None:
        raise OptionError("FER+'s votes are needed for ferplus_weight and relabel_weight")
    votes.check_rows_of(dataset)
    return votes.where(dataset.is_in("Training"))


@dataclass(frozen=True)
class _Run:
    """A run that has been checked and loaded, ready for its next epoch."""

    folder: Path
    options: TrainOptions
    processes: Processes
    reporter: Reporter
    faces: Faces  # of Training, with their targets
    sample: Faces  # of the part of Training on which accuracy is measured after each epoch
    public: Faces
    objective: Objective
    views: TaughtViews | None
    state: TrainingState
    history: list[Record]  # of all epochs so far; grows with each epoch


def _prepare(
    run_dir: Path,
    config: RunConfig,
    training: Dataset,
    public: Dataset,
    votes: FerPlus | None,
    processes: Processes,
    reporter: Reporter,
    *,
    resume: bool,
) -> _Run:
    """Refuse what cannot be done, load what is needed, and create the run folder.

    `config`: with `resume` the configuration that is saved in the folder, which `check_same` has
    compared with what is asked for now.
    """
    options, device = config.options, this_device()
    # First everything that may be refused, because a refused run must not leave a folder.
    estimates = read_estimates(Path(options.estimates), training) if options.estimates else None
    faces = Faces(training, device)
    saved_views = SavedViews.read(run_dir, options, processes, resume=resume)
    teachers = []
    if not processes.broadcast(saved_views.complete):
        teachers = [network_of(teacher, faces) for teacher in options.teachers]
    _check_network(options, len(training), teachers, processes)
    if not resume:
        check_free(run_dir)
    saved_views.check(config)
    bf16 = processes.broadcast(config.bf16 if resume else use_bf16(options.precision, device))
    keep_freed_memory()
    objective = Objective(
        options,
        weights=class_weights(faces.labels) if options.class_weights else None,
        teachers=[to_device(teacher, device, bf16) for teacher in teachers],
        device=device,
    )
    state, history = _starting_state(run_dir, options, faces, processes, bf16, resume=resume)
    reporter.begins(bf16)
    if history:
        reporter.resumed(history)

    # Only now the folder: the first process creates it when no process can refuse any more.
    processes.barrier()
    if not resume and processes.first:
        begin_run(run_dir, replace(config, bf16=bf16), state.network, device)
    targets = load_or_compute_targets(
        run_dir, faces, votes, options, processes, bf16, reporter,
        estimates=estimates, resume=resume,
    )  # fmt: skip
    faces.targets = targets.to(device)
    views = None
    if options.teacher_views:
        views = TaughtViews(run_dir, faces, objective, processes, saved_views, bf16=bf16)
    return _Run(
        folder=run_dir, options=options, processes=processes, reporter=reporter,
        faces=faces, sample=Faces(_sample(training), device), public=Faces(public, device),
        objective=objective, views=views, state=state, history=history,
    )  # fmt: skip


def _check_network(
    options: TrainOptions, n: int, teachers: Sequence[nn.Module], processes: Processes
) -> None:
    """Raise `OptionError` if the network cannot follow the recipe on `n` faces of Training."""
    untrained = build_network(options.network, n_outputs(options))
    check_outputs(options.network, untrained, n_outputs(options))
    check_fits(untrained, options, min(options.batch_size, n), teachers)
    processes.check_shares(options.batch_size, n)
    if processes.count > 1:
        check_norms(untrained)


def _starting_state(
    run_dir: Path,
    options: TrainOptions,
    faces: Faces,
    processes: Processes,
    bf16: bool,
    *,
    resume: bool,
) -> tuple[TrainingState, list[Record]]:
    """The state that the next epoch starts from, with `resume` the last checkpoint's, and the
    history so far. `faces`: Training's."""
    torch.manual_seed(options.seed)
    steps_per_epoch = options.steps_per_epoch(len(faces))
    state = TrainingState(options, faces.images.device, steps_per_epoch, processes, bf16)
    history = state.load(run_dir) if resume else []
    if options.initial and state.step == 0:
        # Into the average first: with several processes, `network` already has synchronised norms.
        start_from(state.ema, options.initial, faces)
        state.network.load_state_dict(state.ema.state_dict())
    return state, history


def _train_epochs(run: _Run) -> None:
    """Train until the run is over; saves it after each epoch and when it is interrupted."""
    options, processes, state, history = run.options, run.processes, run.state, run.history
    with interruptible() as interrupted:
        while not processes.broadcast(is_over(history, options)):
            epoch = len(history) + 1
            faces = run.faces
            if run.views is not None:
                faces = run.views.shown_in(epoch, run.reporter, interrupted)
            started = time.perf_counter() - state.progress.seconds
            torch.manual_seed(epoch_seed(options, epoch))
            for loss in train_epoch(state, faces, run.objective, epoch, processes):
                step = len(state.progress.losses)
                run.reporter.step(epoch, step, state.steps_per_epoch, loss)
                if processes.broadcast(interrupted()):
                    state.progress.random_state = torch.get_rng_state()
                    state.progress.seconds = time.perf_counter() - started
                    if processes.first:
                        state.save(run.folder, history)
                    raise KeyboardInterrupt
            record = _record(run, epoch, started)
            history.append(record)
            state.progress = EpochProgress()
            if processes.first:
                state.save(run.folder, history)
            run.reporter.epoch(record)
            if processes.broadcast(interrupted()):
                raise KeyboardInterrupt
    processes.barrier()  # until the last checkpoint is written


def _record(run: _Run, epoch: int, started: float) -> Record:
    """The record of an epoch that has just ended."""
    state, public, sample = run.state, run.public, run.sample
    public_logits = logits_of(state.ema, public, state.bf16)
    public_loss, public_accuracy = loss_and_accuracy(public_logits, public)
    _check_finite(public_loss, "the loss on PublicTest", epoch, state.steps_per_epoch)
    sample_logits = logits_of(state.ema, sample, state.bf16)
    training_loss, training_accuracy = loss_and_accuracy(sample_logits, sample)
    record = {
        "epoch": epoch,
        "alpha": state.optimiser.param_groups[0]["lr"],
        "step_loss": float(np.mean(state.progress.losses)),
        "gradient_norm": float(np.mean(state.progress.gradient_norms)),
        "training_loss": training_loss,
        "training_accuracy": training_accuracy,
        "public_loss": public_loss,
        "public_accuracy": public_accuracy,
        "seconds": time.perf_counter() - started,
    }
    if run.views is not None:
        record["teacher_seconds"] = run.views.seconds(epoch)
    return record


def _sample(training: Dataset) -> Dataset:
    """The same random sample of Training for every run, whatever its seed."""
    n = min(_TRAINING_SAMPLE, len(training))
    rows = np.sort(np.random.default_rng(2013).permutation(len(training))[:n])
    return training.where(rows)


def _absolute_place(place: str) -> str:
    """The absolute path, so that a run can be resumed from any folder; a model's name unchanged."""
    return str(Path(place).absolute()) if place and Path(place).exists() else place


def _sentences(
    history: list[Record], confusion: npt.NDArray[np.int64], language: str
) -> dict[str, str]:
    """The parts of the summary that are sentences."""
    return {
        "diagnosis": diagnose(history, int(confusion.sum()), language),
        "by_emotion": describe_confusion(confusion, language),
    }


def _finish(run: _Run, language: str) -> dict[str, Any]:
    """Measure the best weights in fp32 on all of Training and PublicTest; returns the summary, and
    writes the log and the pictures."""
    faces, public, history = run.faces, run.public, run.history
    network, record = load_best(run.folder)
    network.to(faces.images.device)
    training_loss, training_accuracy = loss_and_accuracy(logits_of(network, faces), faces)
    logits = logits_of(network, public)
    public_loss, public_accuracy = loss_and_accuracy(logits, public)
    predicted = logits[:, :N_EMOTIONS].argmax(dim=1).cpu().numpy()
    confusion = confusion_matrix(public.labels.cpu().numpy(), predicted, N_EMOTIONS)
    summary = {
        "epochs": len(history),
        "best_epoch": int(record["epoch"]),
        "training": {"n": len(faces), "loss": training_loss, "accuracy": training_accuracy},
        "public": {"n": len(public), "loss": public_loss, "accuracy": public_accuracy},
        "hours": sum(r["seconds"] + r.get("teacher_seconds", 0.0) for r in history) / 3600,
        "confusion": confusion.tolist(),  # on PublicTest, true label by prediction
        **_sentences(history, confusion, language),
    }
    if run.processes.first:
        write_json(run.folder / LOG, {"history": history, "summary": summary})
        title = run_title(run.options, language)
        draw_curves(history, run.folder / CURVES, title, language)
        title += f", PublicTest: {figures(f'{public_accuracy:.1%}', language)} (n={len(public)})"
        draw_counts(confusion, EMOTIONS, run.folder / CONFUSION, title, "fer2013", language)
    return summary
