"""Out-of-fold predictions: estimates by networks that were not trained on the face (k folds)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semblante.data import Dataset
from semblante.data.dataset import UNLABELLED
from semblante.data.folds import fold_numbers
from semblante.emotions import N_EMOTIONS
from semblante.errors import DataError, OptionError
from semblante.files import write_json
from semblante.metrics import accuracy
from semblante.train.batches import Faces
from semblante.train.device import this_device, to_device
from semblante.train.distributed import all_processes
from semblante.train.measure import probabilities_of
from semblante.train.options import TrainOptions
from semblante.train.run_folder import read_config
from semblante.train.targets import write_estimates
from semblante.train.task import Task
from semblante.train.trained import load_last
from semblante.translation import translated


def fold_recipe(network: str, epochs: int) -> TrainOptions:
    """The recipe of short runs that only serve to judge labels; it suits every network."""
    return TrainOptions(network=network, epochs=epochs, mixup_probability=0.0, warmup_epochs=1.0)


def cross_fit(task: Task, options: TrainOptions, folds: int) -> dict[str, Any]:
    """Write out-of-fold predictions for all faces of Training to `task.out`, for the option
    `estimates`.

    A network memorises some of the labels that it is trained on, so its own predictions make poor
    targets for the next network; predictions by networks that never saw the label do not have this
    error (cross-fitting: Dao et al., "Knowledge distillation as semiparametric inference", ICLR
    2021). The arguments are those of `out_of_fold_predictions`.

    Returns accuracies with two views, each the mean over the networks: `held_out`, on the faces of
    Training that each network was not trained on, and `public`, on PublicTest. If the first is much
    higher, the weights that the networks started from were trained on those faces and still
    remember them.
    """
    dataset, out = task.dataset, task.out
    rows = dataset.is_in("Training")
    training, public = dataset.split("Training"), dataset.split("PublicTest")
    votes = None if task.votes is None else task.votes.where(rows)
    on_training = replace(task, dataset=training, votes=votes)
    estimates = out_of_fold_predictions(on_training, options, folds, mirrored=True)
    on_public = [
        _predicted(_fold_folder(out, fold, folds), public, mirrored=True) for fold in range(folds)
    ]
    accuracies = [accuracy(public.labels, found.argmax(axis=1)) for found in on_public]
    found = {
        "folds": folds,
        "held_out": {
            "n": len(training),
            "accuracy": accuracy(training.labels, estimates.argmax(axis=1)),
        },
        "public": {"n": len(public), "accuracy": float(np.mean(accuracies))},
    }
    if all_processes().first:
        write_estimates(out, training, estimates)
        write_json(out / "cross-fit.json", found)
    all_processes().barrier()  # other processes may read the files at once
    return found


def out_of_fold_predictions(
    task: Task, options: TrainOptions, folds: int, *, mirrored: bool = False
) -> npt.NDArray[np.float32]:
    """Probabilities (n, 7) for every face; NaN for faces without a label, which are not used.

    `folds` networks are trained. Each is trained on the faces outside one fold and predicts the
    faces in it; if `mirrored`, the mean over each face and its mirror image. Copies, near copies
    and the dataset's groups stay in one fold, so no network is trained on a copy of a face that it
    predicts. The weights after the last epoch are used: choosing the best epoch would use the
    fold's labels, as would `patience`, which is refused.

    Run folders are written to `task.out`; repeating an interrupted call resumes it.
    """
    check_folds(options, folds)
    dataset, votes = task.dataset, task.votes
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
        run_dir = _fold_folder(task.out, fold, folds)
        title = translated(
            f"without fold {fold + 1} of {folds}, which is called PublicTest below", task.language
        )
        its_votes = votes and replace(votes.where(labelled), splits=part.splits)
        task.train(part, its_votes, options, run_dir, title, fold=fold)
        held_out = part.split("PublicTest")
        probabilities[inside & labelled] = _predicted(run_dir, held_out, mirrored=mirrored)
    return probabilities


def check_folds(options: TrainOptions, folds: int) -> None:
    """Raise `OptionError` if the recipe, or the number of folds, does not suit cross-fitting."""
    if folds < 2:
        raise OptionError(f"expected at least 2 folds, found {folds}")
    if options.patience:
        raise OptionError("patience would use the held-out fold for early stopping")


def _fold_folder(out: Path, fold: int, folds: int) -> Path:
    return out / f"fold-{fold}-of-{folds}"


def _predicted(run_dir: Path, faces: Dataset, *, mirrored: bool) -> npt.NDArray[np.float32]:
    """Probabilities (n, 7) by a run's last weights; if `mirrored`, the mean over each face and its
    mirror image."""
    bf16 = read_config(run_dir).bf16
    device = this_device()
    network = to_device(load_last(run_dir)[0], device, bf16)
    found = probabilities_of(network, Faces(faces, device), bf16, mirrored=mirrored)
    return np.asarray(found.cpu().numpy(), np.float32)
