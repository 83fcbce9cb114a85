"""Estimates for faces by networks that have not learnt from them: k-fold cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semblante.data import Dataset
from semblante.data.dataset import UNLABELLED
from semblante.data.ferplus import FerPlus
from semblante.data.folds import fold_numbers
from semblante.errors import DataError, OptionError
from semblante.files import write_json
from semblante.metrics import accuracy
from semblante.train.batches import Faces
from semblante.train.distributed import all_processes
from semblante.train.loop import train
from semblante.train.measure import probabilities_of
from semblante.train.objective import N_EMOTIONS
from semblante.train.options import TrainOptions
from semblante.train.processor import placed, this_device
from semblante.train.reporter import Reporter
from semblante.train.run_folder import read_config
from semblante.train.state import load_last
from semblante.train.targets import write_estimates
from semblante.translation import translated


def fold_recipe(network: str, epochs: int) -> TrainOptions:
    """For short runs of a network that is only to judge labels; every network can follow it."""
    return TrainOptions(network=network, epochs=epochs, mixup_probability=0.0, warmup_epochs=1.0)


def cross_fit(
    dataset: Dataset,
    options: TrainOptions,
    folds: int,
    out: Path,
    reporter: Callable[[TrainOptions, str], AbstractContextManager[Reporter]],
    *,
    source: Mapping[str, Any],
    votes: FerPlus | None = None,
    language: str = "en",
) -> dict[str, Any]:
    """Networks' word on each face of Training that they did not learn from, kept in `out`.

    There the option `estimates` finds it. A network knows by heart some of the labels that it
    learnt from, so its own word makes poor targets for the next one; the word of networks that
    never saw the label does not err so (cross-fitting: Dao et al., "Knowledge distillation as
    semiparametric inference", ICLR 2021). The rest as in `out_of_fold_predictions`.

    Returns accuracies with two views, the mean over the networks: `held_out`, on the faces of
    Training that each did not learn from, and `public`, on PublicTest. Where the first is much
    higher, the weights that they started from have learnt from those faces, and still know it.
    """
    rows = dataset.is_in("Training")
    training, public = dataset.split("Training"), dataset.split("PublicTest")
    estimates = out_of_fold_predictions(
        training, options, folds, out, reporter, source=source, mirrored=True,
        votes=None if votes is None else votes.where(rows), language=language,
    )  # fmt: skip
    on_public = [
        _predicted(_fold_folder(out, fold, folds), public, mirrored=True) for fold in range(folds)
    ]
    right = [accuracy(public.labels, said.argmax(axis=1)) for said in on_public]
    found = {
        "folds": folds,
        "held_out": {
            "n": len(training),
            "accuracy": accuracy(training.labels, estimates.argmax(axis=1)),
        },
        "public": {"n": len(public), "accuracy": float(np.mean(right))},
    }
    if all_processes().first:
        write_estimates(out, training, estimates)
        write_json(out / "cross-fit.json", found)
    all_processes().wait()  # others may read them at once
    return found


def out_of_fold_predictions(
    dataset: Dataset,
    options: TrainOptions,
    folds: int,
    work_dir: Path,
    reporter: Callable[[TrainOptions, str], AbstractContextManager[Reporter]],
    *,
    source: Mapping[str, Any],
    votes: FerPlus | None = None,
    mirrored: bool = False,
    language: str = "en",
) -> npt.NDArray[np.float32]:
    """Probabilities (n, 7) for every face; NaN for faces without a label, which take no part.

    `folds` networks are trained, each on the faces outside one fold and asked about those in it,
    and, where `mirrored`, about their mirror images too. Copies, near copies and the dataset's
    groups stay in one fold, so that no network has seen the same photograph under another row.
    Each keeps its weights after the last epoch: choosing the best would let the fold in, as would
    `patience`, which is refused. Run folders lie in `work_dir`; a call that was interrupted goes on
    when it is made again. `reporter` is given the recipe and a title for each fold; `votes` are of
    the dataset's rows; what a person reads of a fold is in `language`.
    """
    check_folds(options, folds)
    numbers = fold_numbers(dataset, folds, options.seed)
    probabilities = np.full((len(dataset), N_EMOTIONS), np.nan, np.float32)
    labelled = dataset.labels != UNLABELLED
    sizes = np.bincount(numbers[labelled], minlength=folds)
    if not sizes.all():
        raise DataError(
            f"too few faces for {folds} folds: fold {int(sizes.argmin())} has none, since copies "
            "and the dataset's groups stay in one"
        )
    for fold in range(folds):
        inside = numbers == fold
        part = replace(dataset, splits=inside.astype(np.uint8)).where(labelled)
        run_dir = _fold_folder(work_dir, fold, folds)
        title = f"without fold {fold + 1} of {folds}, which is called PublicTest below"
        with reporter(options, translated(title, language)) as progress:
            train(
                part, options, run_dir, progress,
                source={**source, "fold": fold}, language=language,
                votes=None if votes is None else replace(votes.where(labelled), splits=part.splits),
                resume=True,
            )  # fmt: skip
        held_out = part.split("PublicTest")
        probabilities[inside & labelled] = _predicted(run_dir, held_out, mirrored=mirrored)
    return probabilities


def check_folds(options: TrainOptions, folds: int) -> None:
    """Raise `OptionError` where networks of so many folds cannot follow the recipe."""
    if folds < 2:
        raise OptionError(f"expected at least 2 folds, found {folds}")
    if options.patience:
        raise OptionError("patience would stop a network by the faces that it must not know")


def _fold_folder(work_dir: Path, fold: int, folds: int) -> Path:
    return work_dir / f"fold-{fold}-of-{folds}"


def _predicted(run_dir: Path, faces: Dataset, *, mirrored: bool) -> npt.NDArray[np.float32]:
    """Probabilities (n, 7) by a run's last weights, the mean over both views where `mirrored`."""
    bf16 = read_config(run_dir).bf16
    device = this_device()
    network = placed(load_last(run_dir)[0], device, bf16)
    found = probabilities_of(network, Faces(faces, device), bf16, mirrored=mirrored)
    return np.asarray(found.cpu().numpy(), np.float32)
