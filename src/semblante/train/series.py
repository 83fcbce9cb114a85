"""Train as the released weights were trained: runs that start from each other's weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.errors import OptionError
from semblante.train.crossval import check_folds, cross_fit
from semblante.train.distributed import all_processes
from semblante.train.export import export
from semblante.train.loop import votes_of_training
from semblante.train.networks import build_network, check_fits
from semblante.train.options import TrainOptions
from semblante.train.released import RELEASED, Stage
from semblante.train.reporter import Reporter
from semblante.train.task import Task
from semblante.translation import translated


def train_released(
    task: Task, changes: Mapping[str, Any]
) -> tuple[list[Path], dict[str, dict[str, Any]]]:
    """Run all stages of `RELEASED`; return the models' ONNX files and the summaries of the runs, by
    the names of their folders.

    `changes` to the presets apply to every run. The first stage starts from their `initial`, if
    given; each later stage starts from the file of an earlier stage, usually the one before, and
    may have an earlier stage's file as its teacher. The n-th run of a stage has the seed in
    `changes` plus n - 1. A stage of folds writes estimates, from which later stages compute likely
    labels; it is left out if `changes` set `relabel_weight` to 0. Run folders and each stage's file
    (`1-standard`, `1-standard.onnx`, ...) are written to `task.out`, the models as `model.onnx` and
    `small.onnx`; repeating an interrupted call resumes it.

    Raises before the first run if a later one could not follow its recipe.
    """
    if changes.get("estimates"):
        raise OptionError("estimates is of no use here: these runs make their own")
    dataset, votes, out = task.dataset, task.votes, task.out
    relabels = changes.get("relabel_weight") != 0
    stages = {k: stage for k, stage in enumerate(RELEASED, start=1) if relabels or not stage.folds}
    kinds = [kind for stage in stages.values() for kind in stage.kinds]
    first_seed = int(changes.get("seed", TrainOptions.seed))
    _check_all(kinds, changes, first_seed, dataset, votes)
    processes = all_processes()
    total = sum(kind.folds or kind.runs for kind in kinds)
    counter = itertools.count(1)
    files = {0: str(changes.get("initial", ""))}  # by the stage that wrote them; 0: the start
    latest = 0  # the last stage that wrote a file
    models = []
    estimates = ""
    summaries: dict[str, dict[str, Any]] = {}

    def numbered(name: str, fold: str = "") -> str:
        title = translated(f"run {next(counter)} of {total}: {name}", task.language)
        return f"{title}, {fold}" if fold else title

    def of_fold(name: str, options: TrainOptions, fold: str) -> AbstractContextManager[Reporter]:
        return task.reporter(options, numbered(name, fold))

    for number, stage in stages.items():
        name = f"{number}-{stage.preset}"
        initial = files[latest if stage.after is None else stage.after]
        teacher = files[latest if stage.teacher is None else stage.teacher]
        if stage.folds:
            options = stage.options({**changes, "initial": initial})
            fold_task = replace(task, out=out / name, reporter=partial(of_fold, name))
            cross_fit(fold_task, options, stage.folds)
            estimates = str(out / name)
            continue
        folders = []
        runs = [kind for kind in stage.kinds for _ in range(kind.runs)]
        for k, kind in enumerate(runs):
            folder = out / (name if len(runs) == 1 else f"{name}-{k + 1}")
            its_own = {"seed": first_seed + k, "initial": initial, "estimates": estimates}
            options = kind.options({**changes, **its_own}, teacher)
            title = numbered(folder.name)
            summaries[folder.name] = task.train(dataset, votes, options, folder, title)
            folders.append(folder)
        file = out / f"{stage.model or name}.onnx"
        if processes.first and not file.exists():
            export(folders, file, dataset, votes=votes, initial_share=stage.initial_share)
        processes.barrier()  # the next stages start from the file
        files[number] = str(file)
        latest = number
        if stage.model:
            models.append(file)
    return models, summaries


def _check_all(
    kinds: Sequence[Stage],
    changes: Mapping[str, Any],
    first_seed: int,
    dataset: Dataset,
    votes: FerPlus | None,
) -> None:
    """Raise what any run of these recipes would raise before it begins."""
    n = int(dataset.is_in("Training").sum())
    last_seed = first_seed + max(sum(kind.runs for kind in stage.kinds) for stage in RELEASED) - 1
    for kind in kinds:
        options = kind.options({**changes, "seed": last_seed})
        check_fits(build_network(options.network), options, min(options.batch_size, n))
        votes_of_training(dataset, options, votes)  # raises if it needs missing votes
        if kind.folds:
            check_folds(options, kind.folds)
