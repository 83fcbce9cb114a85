"""Estimates for faces by networks that have not learnt from them: k-fold cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from semblante.data import Dataset
from semblante.data.dataset import UNLABELLED
from semblante.data.duplicates import exact_groups, joined, near_pairs
from semblante.errors import DataError, OptionError
from semblante.train.batches import Faces
from semblante.train.loop import train
from semblante.train.measure import logits_of
from semblante.train.options import TrainOptions
from semblante.train.reporter import Reporter
from semblante.train.state import load_last


def fold_recipe(network: str, epochs: int) -> TrainOptions:
    """For short runs of a network that is only to judge labels; every network can follow it."""
    return TrainOptions(network=network, epochs=epochs, mixup_probability=0.0, warmup_epochs=1.0)


def out_of_sample(
    dataset: Dataset,
    options: TrainOptions,
    folds: int,
    work_dir: Path,
    reporter: Callable[[int], AbstractContextManager[Reporter]],
    *,
    source: Mapping[str, Any],
) -> npt.NDArray[np.float32]:
    """Probabilities (n, 7) for every face; NaN for faces without a label, which take no part.

    `folds` networks are trained, each on the faces outside one fold and asked about those in it.
    Copies, near copies and the dataset's groups stay in one fold, so that no network has seen the
    same photograph under another row. Each keeps its weights after the last epoch: choosing the
    best would let the fold in. Run folders lie in `work_dir`; a call that was interrupted goes on
    when it is made again. `reporter` makes one for each fold's number.
    """
    if folds < 2:
        raise OptionError(f"expected at least 2 folds, found {folds}")
    numbers = fold_numbers(dataset, folds, options.seed)
    probabilities = np.full((len(dataset), 7), np.nan, np.float32)
    for fold in range(folds):
        inside = numbers == fold
        labelled = dataset.labels != UNLABELLED
        if not (inside & labelled).any() or not (~inside & labelled).any():
            raise DataError(f"too few faces for {folds} folds: fold {fold} has none")
        part = replace(dataset, splits=inside.astype(np.uint8)).where(labelled)
        run_dir = work_dir / f"fold-{fold}-of-{folds}"
        resume = (run_dir / "config.json").exists()
        with reporter(fold) as progress:
            train(part, options, run_dir, progress, source=source, resume=resume)
        network, _ = load_last(run_dir)
        logits = logits_of(network, Faces(part.split("PublicTest"), torch.device("cpu")))
        probabilities[inside & labelled] = torch.softmax(logits, dim=1).numpy()
    return probabilities


def fold_numbers(dataset: Dataset, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """(n,): the fold of each face, 0..folds-1; what belongs together has the same."""
    pairs, _ = near_pairs(dataset.images)
    together: list[list[int]] = [*exact_groups(dataset.images), *pairs.tolist()]
    if dataset.groups is not None:
        names, inverse = np.unique(dataset.groups, return_inverse=True)
        together += [
            np.flatnonzero(inverse == number).tolist()
            for number, name in enumerate(names.tolist())
            if name
        ]
    first = joined(len(dataset), together)
    kinds, kind = np.unique(first, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(kinds))
    return np.asarray(shuffled[kind] % folds, np.int64)
