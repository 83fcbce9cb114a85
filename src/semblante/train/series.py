"""The whole way of the released weights: run after run, each from what one before came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.errors import OptionError
from semblante.train.crossval import check_folds, cross_fit
from semblante.train.distributed import all_processes
from semblante.train.export import export
from semblante.train.loop import train, votes_of_training
from semblante.train.networks import build_network, check_fits
from semblante.train.options import TrainOptions
from semblante.train.released import RELEASED
from semblante.train.reporter import Reporter
from semblante.translation import translated


def train_released(
    dataset: Dataset,
    changes: Mapping[str, Any],
    out: Path,
    reporter: Callable[[TrainOptions, str], AbstractContextManager[Reporter]],
    *,
    source: Mapping[str, Any],
    votes: FerPlus | None = None,
    language: str = "en",
) -> tuple[list[Path], dict[str, dict[str, Any]]]:
    """Train as the released weights were trained; returns the ONNX files of the models, and the
    summary of each run by its folder's name.

    `changes` to the presets hold for every run; the first starts from their `initial`, if there is
    one, each later stage from the file of an earlier one, mostly of that before, which may be its
    teacher. The n-th run of a stage has their seed plus n - 1. A stage of folds leaves estimates,
    by which later ones find likely labels; where `changes` want none of these (`relabel_weight` of
    0) it is left out. Run folders and a stage's file (`1-standard`, `1-standard.onnx`, ...) are
    written to `out`, the models as `model.onnx` and `small.onnx`; a call that was interrupted goes
    on when made again.
    `reporter` is given each run's options and a title; what a person reads is in `language`.
    Raises before the first run where a later one could not follow its recipe.
    """
    if changes.get("estimates"):
        raise OptionError("estimates is of no use here: these runs make their own")
    n = int(dataset.is_in("Training").sum())
    relabels = changes.get("relabel_weight") != 0
    stages = {k: stage for k, stage in enumerate(RELEASED, start=1) if relabels or not stage.folds}
    kinds = [kind for stage in stages.values() for kind in stage.kinds]
    first_seed = int(changes.get("seed", TrainOptions.seed))
    last_seed = first_seed + max(sum(kind.runs for kind in stage.kinds) for stage in RELEASED) - 1
    for kind in kinds:
        options = kind.options({**changes, "seed": last_seed})
        check_fits(build_network(options.network), options, min(options.batch_size, n))
        votes_of_training(dataset, options, votes)  # raises where it needs some and there are none
        if kind.folds:
            check_folds(options, kind.folds)
    processes = all_processes()
    total = sum(kind.folds or kind.runs for kind in kinds)
    begun = 0
    files = {0: str(changes.get("initial", ""))}  # by the number of the stage that left them
    models = []
    estimates = ""
    summaries: dict[str, dict[str, Any]] = {}

    def titled(
        options: TrainOptions, fold: str = "", *, name: str
    ) -> AbstractContextManager[Reporter]:
        nonlocal begun
        begun += 1
        title = translated(f"run {begun} of {total}: {name}", language)
        return reporter(options, f"{title}, {fold}" if fold else title)

    for number, stage in stages.items():
        name = f"{number}-{stage.preset}"
        initial = files[stage.after or max(files)]
        teacher = files[stage.teacher or max(files)]
        if stage.folds:
            options = stage.options({**changes, "initial": initial})
            cross_fit(
                dataset, options, stage.folds, out / name,
                partial(titled, name=name),
                source=source, votes=votes, language=language,
            )  # fmt: skip
            estimates = str(out / name)
            continue
        folders = []
        runs = [kind for kind in stage.kinds for _ in range(kind.runs)]
        for k, kind in enumerate(runs):
            folder = out / (name if len(runs) == 1 else f"{name}-{k + 1}")
            its_own = {"seed": first_seed + k, "initial": initial, "estimates": estimates}
            options = kind.options({**changes, **its_own}, teacher)
            with titled(options, name=folder.name) as progress:
                summaries[folder.name] = train(
                    dataset, options, folder, progress, source=source, votes=votes,
                    resume=True, language=language,
                )  # fmt: skip
            folders.append(folder)
        file = out / f"{stage.model or name}.onnx"
        if processes.first and not file.exists():
            export(folders, file, dataset, votes=votes, initial_share=stage.initial_share)
        processes.wait()  # other stages start from it
        files[number] = str(file)
        if stage.model:
            models.append(file)
    return models, summaries
