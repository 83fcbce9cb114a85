"""Does a network learn better without the faces that the audit advises to drop?

    python benchmarks/cleaning.py --data fer2013.csv --work runs/cleaning

Networks trained on folds of Training, which never see a test split, judge its labels. Then one
recipe is trained on three variants of Training: as it is; without copies and images that show no
face; and without the likely mislabelled faces either. The test splits stay as they are. Measures
the averaged weights of the last epoch on PublicTest, one view: on all faces, on those of which
Training has no exact copy, and with FER+'s majority instead of the labels. Writes
results/cleaning.json after every run; an interrupted call goes on when it is made again.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import describe

from semblante.data import Dataset, load_dataset
from semblante.data.audit import Audit, audit
from semblante.data.duplicates import seen_in
from semblante.data.ferplus import FERPLUS_INDICES, NO_MAJORITY, FerPlus, load_ferplus
from semblante.files import write_json
from semblante.train.batches import Faces
from semblante.train.crossval import fold_recipe, out_of_fold_predictions
from semblante.train.loop import train
from semblante.train.measure import logits_of
from semblante.train.options import TrainOptions
from semblante.train.reporter import Reporter
from semblante.train.task import Task
from semblante.train.trained import load_last

RESULT = Path(__file__).parent / "results" / "cleaning.json"
MISLABELLED = "likely mislabelled"
VARIANTS = ("as it is", "without copies and no faces", "and without likely wrong labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fer2013new.csv lies beside it")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--network", default="rcnn-tiny")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--fold-epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="runs trained at the same time")
    arguments = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) // arguments.processes)
    torch.set_num_threads(threads)
    reasons = found_in(arguments).to_drop()
    runs = [(name, seed) for seed in range(arguments.seeds) for name in VARIANTS]
    accuracies: dict[str, list[dict[str, float]]] = collections.defaultdict(list)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        waiting = {
            pool.submit(one_run, arguments, name, seed, reasons, threads): (name, seed)
            for name, seed in runs
        }
        for run in as_completed(waiting):
            name, seed = waiting[run]
            accuracies[name].append({"seed": seed, **run.result()})
            print(f"{name}, seed {seed}: {run.result()}", flush=True)
            write(arguments, reasons, accuracies)


def found_in(arguments: argparse.Namespace) -> Audit:
    """The audit, with each label of Training judged by a network that was not trained on it."""
    dataset = load_dataset(arguments.data, cache=True)
    training = np.flatnonzero(dataset.splits == 0)
    recipe = fold_recipe(arguments.network, arguments.fold_epochs)

    def reporter(*_: object) -> AbstractContextManager[Reporter]:
        return nullcontext(Reporter())

    estimates = np.full((len(dataset), 7), np.nan, np.float32)
    task = Task(dataset.where(training), arguments.work, reporter, source={})
    estimates[training] = out_of_fold_predictions(task, recipe, arguments.folds)
    right = (estimates[training].argmax(axis=1) == dataset.labels[training]).mean()
    print(f"the judges are right on {right:.1%} of Training, out of sample", flush=True)
    return audit(dataset, votes=votes_of(arguments), probabilities=estimates)


def votes_of(arguments: argparse.Namespace) -> FerPlus:
    return load_ferplus(arguments.data.with_name("fer2013new.csv"))


def kept(dataset: Dataset, reasons: dict[int, str], variant: str) -> npt.NDArray[np.bool_]:
    """Which rows a variant keeps, (n,); rows of the test splits are always kept."""
    mask = np.ones(len(dataset), np.bool_)
    if variant != VARIANTS[0]:
        rows = [
            row
            for row, reason in reasons.items()
            if variant == VARIANTS[2] or reason != MISLABELLED
        ]
        mask[rows] = False
    tested: npt.NDArray[np.bool_] = dataset.splits != 0
    return mask | tested


def one_run(
    arguments: argparse.Namespace, name: str, seed: int, reasons: dict[int, str], threads: int
) -> dict[str, float]:
    torch.set_num_threads(threads)
    dataset = load_dataset(arguments.data, cache=True)
    part = dataset.where(kept(dataset, reasons, name))
    options = TrainOptions(network=arguments.network, epochs=arguments.epochs, seed=seed)
    run_dir = arguments.work / f"{VARIANTS.index(name)}-{seed}"
    train(part, options, run_dir, Reporter(), source={}, resume=True)
    network, _ = load_last(run_dir)
    public = dataset.split("PublicTest")
    fresh = ~seen_in(public.images, dataset.split("Training").images)
    majority = votes_of(arguments).majority()[dataset.splits == 1]
    said = logits_of(network, Faces(public, torch.device("cpu"))).argmax(dim=1).numpy()
    right = said == public.labels
    agreed = (FERPLUS_INDICES[said] == majority)[majority != NO_MAJORITY]
    return {
        "training": int((part.splits == 0).sum()),
        "public": float(right.mean()),
        "leak_free": float(right[fresh].mean()),
        "ferplus": float(agreed.mean()),
    }


def write(
    arguments: argparse.Namespace,
    reasons: dict[int, str],
    accuracies: dict[str, list[dict[str, float]]],
) -> None:
    write_json(
        RESULT,
        {
            "network": arguments.network,
            "epochs": arguments.epochs,
            "folds": arguments.folds,
            "fold_epochs": arguments.fold_epochs,
            "machine": describe("torch", "numpy", "cleanlab"),
            "dropped": dict(collections.Counter(reasons.values())),
            "variants": {
                name: {
                    "runs": sorted(found, key=lambda run: run["seed"]),
                    **{
                        f"{figure}_{kind}": float(function([run[figure] for run in found]))
                        for figure in ("public", "leak_free", "ferplus")
                        for kind, function in (("mean", np.mean), ("sd", spread))
                    },
                }
                for name, found in accuracies.items()
            },
        },
    )


def spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
