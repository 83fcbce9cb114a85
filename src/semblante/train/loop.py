"""The training loop: forward pass, error, back-propagation, a step of gradient descent.

Read `train_epoch` first; `train` is what is around it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import ModelError, OptionError
from semblante.files import write_json
from semblante.metrics import confusion_matrix
from semblante.plots import draw_counts
from semblante.train.batches import Faces, cover
from semblante.train.curves import describe_confusion, diagnose, draw_curves, run_title
from semblante.train.distributed import ALONE, Processes, all_processes, check_norms
from semblante.train.initial import network_of, start_from, weights_sha256
from semblante.train.interrupt import interruptible
from semblante.train.measure import logits_of, loss_and_accuracy
from semblante.train.networks import build_network, check_fits, check_outputs
from semblante.train.objective import N_EMOTIONS, Objective, class_weights, mixed
from semblante.train.options import TrainOptions
from semblante.train.own import absolute, own_sha256
from semblante.train.processor import autocast, keep_freed_memory, placed, this_device, use_bf16
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
from semblante.train.state import TrainingState, Unfinished, is_over, load_best, n_outputs
from semblante.train.targets import kept_targets, read_estimates
from semblante.train.views import TaughtViews, check_looks, teachers_are_needed

# Training accuracy is followed on this many of its faces, without augmentation and with the
# same averaged weights as PublicTest: only then does the gap between the two curves mean
# anything (the loss of augmented, mixed batches is of another kind).
_TRAINING_SAMPLE: Final = 2000


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

    The run folder (see `run_folder.py`) is made here; it notes `source`, where the dataset came
    from: `semblante export` reads it again, from the `path` in it or the one that --data names.
    Ctrl-C saves the run in mid-epoch and raises `KeyboardInterrupt`. With `resume` an interrupted
    run goes on from there, a killed one after its last whole epoch, and ends, on the same processor
    (not GPU) with the same number of threads, with the weights the uninterrupted run would have
    had: all random numbers of an epoch follow from the seed and the epoch's number. A folder
    without a run gets one then, too.
    `votes`, of the dataset's rows, are needed where the recipe uses FER+ (`needs_votes`). The
    summary's sentences and the pictures are in `language`, one of `emotions.LANGUAGES`.
    Raises `RunFolderError` where the folder holds another run, `OptionError` for a recipe that
    cannot be followed, votes that are missing say, `DataError` for a dataset without one of both
    splits, and `ModelError` where the loss is no longer finite.
    """
    emotion_name("neutral", language)  # is there such a language?
    run_dir = Path(run_dir)
    processes = all_processes()
    if not processes.first:
        reporter = Reporter()  # which keeps it to itself
    options = options.with_places(_absolute_place, absolute)
    training, public = dataset.split("Training"), dataset.split("PublicTest")
    votes = votes_of_training(dataset, options, votes)
    config = RunConfig(
        options,
        dataset.fingerprint(),
        None if votes is None else votes.fingerprint(),
        dict(source),
        bf16=False,  # of a new run it is measured below
        weights_sha256=weights_sha256(
            filter(None, (options.initial, *options.teachers, options.estimates))
        ),
        own_sha256=own_sha256([options.network, options.error]),
    )
    resume = resume and processes.from_first(holds_run(run_dir))
    if resume:
        config = check_same(run_dir, config)
        ended = read_end(run_dir)
        if ended is not None:  # nothing is left to do
            history, summary = ended
            reporter.resumed(history)
            return {**summary, **_sentences(history, np.array(summary["confusion"]), language)}

    estimates = read_estimates(Path(options.estimates), training) if options.estimates else None
    device = this_device()
    faces, public_faces = Faces(training, device), Faces(public, device)
    teachers = []
    if processes.from_first(teachers_are_needed(run_dir, options, resume=resume)):
        teachers = [network_of(teacher, faces) for teacher in options.teachers]
    untrained = build_network(options.network, n_outputs(options))
    check_outputs(options.network, untrained, n_outputs(options))
    check_fits(untrained, options, min(options.batch_size, len(training)), teachers)
    processes.check_shares(options.batch_size, len(training))
    if processes.count > 1:
        check_norms(untrained)
    if not resume:
        check_free(run_dir)
    check_looks(run_dir, config, resume=resume)
    bf16 = processes.from_first(config.bf16 if resume else use_bf16(options.precision, device))

    keep_freed_memory()
    torch.manual_seed(options.seed)
    steps_per_epoch = options.steps_per_epoch(len(training))
    run = TrainingState(options, device, steps_per_epoch, processes, bf16)
    history = run.load(run_dir) if resume else []
    reporter.begins(bf16)
    if history:
        reporter.resumed(history)
    objective = Objective(
        options,
        weights=class_weights(faces.labels) if options.class_weights else None,
        teachers=[placed(teacher, device, bf16) for teacher in teachers],
        device=device,
    )
    if options.initial and run.step == 0:
        # The average, whose norms are plain ones however many processes there are.
        start_from(run.average, options.initial, faces)
        run.network.load_state_dict(run.average.state_dict())
    # Whatever could not be done has been refused by now, and has left no folder: the first process
    # makes it when none can refuse any more.
    processes.wait()
    if not resume and processes.first:
        begin_run(run_dir, replace(config, bf16=bf16), run.network, device)
    targets = kept_targets(
        run_dir, faces, votes, options, processes, bf16, reporter,
        estimates=estimates, resume=resume,
    )  # fmt: skip
    faces.targets = targets.to(device)
    views = None
    if options.teacher_views:
        views = TaughtViews(run_dir, faces, objective, processes, bf16=bf16, resume=resume)
    sample = Faces(_sample(training), device)
    with interruptible() as interrupted:
        while not processes.from_first(is_over(history, options)):
            epoch = len(history) + 1
            if views is not None:
                views.show(epoch, reporter, interrupted)
            started = time.perf_counter() - run.unfinished.seconds
            torch.manual_seed(options.seed * 1_000_003 + epoch)
            for losses in train_epoch(run, faces, objective, epoch, processes):
                reporter.step(epoch, len(losses), run.steps_per_epoch, losses[-1])
                if processes.from_first(interrupted()):
                    run.unfinished.random_state = torch.get_rng_state()
                    run.unfinished.seconds = time.perf_counter() - started
                    if processes.first:
                        run.save(run_dir, history)
                    raise KeyboardInterrupt
            record = _record(run, epoch, public_faces, sample, started)
            if views is not None:
                record["teacher_seconds"] = views.seconds(epoch)
            history.append(record)
            run.unfinished = Unfinished()
            if processes.first:
                run.save(run_dir, history)
            reporter.epoch(record)
            if processes.from_first(interrupted()):
                raise KeyboardInterrupt
    processes.wait()  # until the last checkpoint is written
    return _finish(run_dir, history, options, faces, public_faces, language, write=processes.first)


def train_epoch(
    run: TrainingState,
    faces: Faces,
    objective: Objective,
    epoch: int,
    processes: Processes = ALONE,
) -> Iterator[list[float]]:
    """One pass over Training, or the rest of one; yields all its losses after each step.

    `epoch` counts from 1. Raises `ModelError` where the loss is no longer finite.
    """
    options = run.options
    losses, norms = run.unfinished.losses, run.unfinished.gradient_norms
    run.network.train()
    for inputs, targets in faces.augmented_batches(
        options, len(losses), run.unfinished.random_state, run.side(epoch)
    ):
        if run.mixes(epoch):
            inputs, targets = mixed(inputs, targets, options)
        # The network sees some faces covered, its teachers see them whole.
        seen, whole = (
            processes.part(views).contiguous(memory_format=run.layout)
            for views in (cover(inputs, options.cover_probability), inputs)
        )
        targets = processes.part(targets)

        with autocast(seen.device, run.bf16):
            loss = objective(run.outputs, seen, targets, whole)  # forward pass, and the error
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


def _record(run: TrainingState, epoch: int, public: Faces, sample: Faces, started: float) -> Record:
    """What there is to say of an epoch that has just ended."""
    public_logits = logits_of(run.average, public, run.bf16)
    public_loss, public_accuracy = loss_and_accuracy(public_logits, public)
    _check_finite(public_loss, "the loss on PublicTest", epoch, run.steps_per_epoch)
    sample_logits = logits_of(run.average, sample, run.bf16)
    training_loss, training_accuracy = loss_and_accuracy(sample_logits, sample)
    return {
        "epoch": epoch,
        "alpha": run.optimiser.param_groups[0]["lr"],
        "step_loss": float(np.mean(run.unfinished.losses)),
        "gradient_norm": float(np.mean(run.unfinished.gradient_norms)),
        "training_loss": training_loss,
        "training_accuracy": training_accuracy,
        "public_loss": public_loss,
        "public_accuracy": public_accuracy,
        "seconds": time.perf_counter() - started,
    }


def votes_of_training(
    dataset: Dataset, options: TrainOptions, votes: FerPlus | None
) -> FerPlus | None:
    """None where the recipe uses none. Raises where they are missing, or of other rows."""
    if not options.needs_votes:
        return None
    if votes is None:
        raise OptionError("FER+'s votes are needed for ferplus_weight and relabel_weight")
    votes.check_rows_of(dataset)
    return votes.where(dataset.is_in("Training"))


def _check_finite(value: float, what: str, epoch: int, step: int) -> None:
    """Raise `ModelError` before such a value reaches the weights, or the checkpoint."""
    if not math.isfinite(value):
        raise ModelError(
            f"{what} is no longer a finite number in epoch {epoch}, step {step}: "
            "start a new run with a smaller learning rate"
        )


def _sample(training: Dataset) -> Dataset:
    """The same faces of Training for every run, whatever its seed."""
    n = min(_TRAINING_SAMPLE, len(training))
    rows = np.sort(np.random.default_rng(2013).permutation(len(training))[:n])
    return training.where(rows)


def _absolute_place(place: str) -> str:
    """So that a run can go on from any folder; the name of a model as it is."""
    return str(Path(place).absolute()) if place and Path(place).exists() else place


def _sentences(
    history: list[Record], confusion: npt.NDArray[np.int64], language: str
) -> dict[str, str]:
    """What the summary says in words."""
    return {
        "diagnosis": diagnose(history, int(confusion.sum()), language),
        "by_emotion": describe_confusion(confusion, language),
    }


def _finish(
    run_dir: Path,
    history: list[Record],
    options: TrainOptions,
    faces: Faces,
    public: Faces,
    language: str,
    *,
    write: bool,
) -> dict[str, Any]:
    """Measure the best weights in fp32 on all of Training and PublicTest, draw, diagnose."""
    network, record = load_best(run_dir)
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
        "confusion": confusion.tolist(),  # of PublicTest, true label by prediction
        **_sentences(history, confusion, language),
    }
    if write:
        write_json(run_dir / LOG, {"history": history, "summary": summary})
        title = run_title(options, language)
        draw_curves(history, run_dir / CURVES, title, language)
        title += f", PublicTest: {public_accuracy:.1%} (n={len(public)})"
        draw_counts(confusion, EMOTIONS, run_dir / CONFUSION, title, "fer2013", language)
    return summary
