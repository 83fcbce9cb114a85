"""Evaluate a model on one split of a dataset, and compare two evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from semblante.data import Dataset
from semblante.data.duplicates import seen_in
from semblante.data.ferplus import FERPLUS_EMOTIONS, FERPLUS_INDICES, NO_MAJORITY, FerPlus
from semblante.emotions import EMOTIONS
from semblante.errors import DataError, OptionError
from semblante.metrics import (
    PairedDifference,
    accuracy,
    chance_calibration_error,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    paired_difference,
    per_class,
    reliability,
    selective_accuracy,
    wilson_interval,
)

TTA: Final = ("none", "flip", "ten-crop")
# The thresholds of `Evaluation.selective`.
_CONFIDENCES: Final = (0.5, 0.6, 0.7, 0.8, 0.9)
# Side of the crops of "ten-crop", in pixels: 44 of 48, as in many FER2013 papers.
_CROP: Final = 44


class FaceClassifier(Protocol):
    """What can be evaluated: a `Classifier`, or another recogniser, as in benchmarks/peers.py."""

    @property
    def head(self) -> str:
        """The one of `HEADS` that `probabilities` uses."""

    @property
    def max_steps(self) -> int | None:
        """The most steps of the last recurrent layer; None if their number cannot be chosen."""

    def probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Grey faces, uint8 (n, 48, 48) -> probabilities (n, 7)."""

    def ferplus_probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Grey faces, uint8 (n, 48, 48) -> probabilities (n, 8), if `head` is FER+'s."""

    def steps_taken(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Grey faces, uint8 (n, 48, 48) -> steps taken (n,), if `max_steps` is not None."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate`. Shares are 0..1; `n`, `leak_free_n`, `confusion` and the n of
    `per_class` count faces, `mean_steps` counts steps."""

    model: str
    split: str
    tta: str
    labels: str  # "fer2013", or "ferplus" for the majorities of FER+'s votes
    head: str  # which of the network's outputs was used, see `HEADS`
    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]  # Wilson
    macro_f1: float
    ece: float  # 15 bins
    # Mean and 95 % quantile of the ECE that perfectly calibrated probabilities have by chance.
    ece_by_chance: tuple[float, float]
    per_class: dict[str, dict[str, float]]  # precision, recall, f1, n
    confusion: npt.NDArray[np.int64]  # (classes, classes), true label by prediction
    reliability: list[tuple[float, float, float]]  # see `metrics.reliability`, 15 bins
    # For each threshold in `_CONFIDENCES`, of the answers with at least this confidence: their
    # share of all answers, their accuracy, and their accuracy on faces without an exact copy in
    # Training.
    selective: dict[float, tuple[float, float | None, float | None]]
    # Number and accuracy of the split's faces without an exact copy in Training. Both are None if
    # the dataset has no Training rows to compare with; the accuracy also if no such face is left.
    leak_free_n: int | None
    leak_free_accuracy: float | None
    # Mean steps that a face (unaltered, whatever `tta`) takes in the last recurrent layer; None if
    # their number cannot be chosen.
    mean_steps: float | None
    # For each evaluated face: its row in the dataset (n,), its label (n,), its probabilities
    # (n, classes), averaged over the views, and whether Training holds a copy (n,) (None as above).
    rows: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.floating[Any]]
    in_training: npt.NDArray[np.bool_] | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels, in the order of `probabilities`."""
        return EMOTIONS if self.labels == "fer2013" else FERPLUS_EMOTIONS

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each face's most probable class is its label, (n,)."""
        answers: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return np.asarray(answers == self.truth, np.bool_)

    def to_dict(self) -> dict[str, Any]:
        """The figures, as `semblante evaluate --format json` prints them."""
        return {
            "model": self.model,
            "split": self.split,
            "tta": self.tta,
            "labels": self.labels,
            "head": self.head,
            "n": self.n,
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "macro_f1": self.macro_f1,
            "ece": self.ece,
            "ece_by_chance": {"mean": self.ece_by_chance[0], "q95": self.ece_by_chance[1]},
            "per_class": self.per_class,
            "confusion": self.confusion.tolist(),
            "selective": [
                {"confidence": least, "share": share, "accuracy": right, "leak_free": leak_free}
                for least, (share, right, leak_free) in self.selective.items()
            ],
            "mean_steps": self.mean_steps,
            "leak_free": {"n": self.leak_free_n, "accuracy": self.leak_free_accuracy},
        }


def evaluate(
    classifier: FaceClassifier,
    dataset: Dataset,
    split: str = "PublicTest",
    *,
    tta: str = "none",
    model: str = "model",
    votes: FerPlus | None = None,
    kept: npt.NDArray[np.bool_] | None = None,
) -> Evaluation:
    """Classify the faces of `split` and compare the answers with the labels.

    `tta`, test-time augmentation: the probabilities of several views are averaged. "none"
    is the face as it is; "flip" adds its mirror image; "ten-crop" takes the four corners
    and the centre, 44x44 each, enlarged to 48x48, and their mirror images.

    With `votes` the labels are FER+'s by its official rule for testing (`FerPlus.majority`): top-1
    over its eight classes, on the rows that have a majority for one of them. A classifier whose
    `head` is FER+'s chooses among these eight, any other among its seven emotions. `kept` (n,),
    a mask over the rows of `dataset`, limits which are classified; copies are looked for in all of
    Training. `model` is the name given in the result. Raises `OptionError` for an unknown `tta`,
    `DataError` if no face is left or the votes belong to other rows.
    """
    if tta not in TTA:
        raise OptionError(f"unknown tta {tta!r}; known: {', '.join(TTA)}")
    dataset.split(split)  # raises `DataError` if it is empty or has faces without a label
    mask = dataset.is_in(split)
    if kept is not None:
        mask &= kept
    classes, truth, label_source = EMOTIONS, dataset.labels, "fer2013"
    if votes is not None:
        votes.check_rows_of(dataset)
        classes, truth, label_source = FERPLUS_EMOTIONS, votes.majority(), "ferplus"
        mask &= truth != NO_MAJORITY
    if not mask.any():
        raise DataError(f"not one face of {split} is left to evaluate on")
    faces, truth = dataset.where(mask), truth[mask]
    probabilities = _answers(classifier, faces.images, tta, ferplus=votes is not None)
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(truth, predicted, len(classes))
    share = accuracy(truth, predicted)
    training = dataset.images[dataset.is_in("Training")]
    leak_free = ~seen_in(faces.images, training) if len(training) else None
    any_leak_free = leak_free is not None and bool(leak_free.any())
    return Evaluation(
        model=model,
        split=split,
        tta=tta,
        labels=label_source,
        head=classifier.head,
        n=len(faces),
        accuracy=share,
        accuracy_ci95=wilson_interval(share, len(faces)),
        macro_f1=macro_f1(confusion),
        ece=expected_calibration_error(truth, probabilities),
        ece_by_chance=chance_calibration_error(probabilities),
        per_class=dict(zip(classes, per_class(confusion), strict=True)),
        confusion=confusion,
        reliability=reliability(truth, probabilities),
        selective=_selective(truth, probabilities, leak_free if any_leak_free else None),
        leak_free_n=None if leak_free is None else int(leak_free.sum()),
        leak_free_accuracy=(
            accuracy(truth[leak_free], predicted[leak_free]) if any_leak_free else None
        ),
        mean_steps=(
            None
            if classifier.max_steps is None
            else float(classifier.steps_taken(faces.images).mean())
        ),
        rows=np.flatnonzero(mask),
        truth=truth.astype(np.int64),
        probabilities=probabilities,
        in_training=None if leak_free is None else ~leak_free,
    )


def compare(first: Evaluation, second: Evaluation) -> PairedDifference:
    """Compare the accuracies of two models on the same faces, with a test of whether the difference
    may be chance. Raises `OptionError` if the faces differ, or the source of their labels."""
    same = first.labels == second.labels and np.array_equal(first.rows, second.rows)
    if not same or first.split != second.split:
        raise OptionError("expected two evaluations of the same faces by the same labels")
    return paired_difference(first.right, second.right)


def _answers(
    classifier: FaceClassifier, faces: npt.NDArray[np.uint8], tta: str, *, ferplus: bool
) -> npt.NDArray[np.float32]:
    """Return the mean probabilities over all views, (n, 7), or (n, 8) if the labels are FER+'s."""
    by_votes = ferplus and classifier.head == "ferplus"
    classify = classifier.ferplus_probabilities if by_votes else classifier.probabilities
    mean = np.mean(np.stack([classify(view) for view in _views(faces, tta)]), axis=0)
    if by_votes or not ferplus:
        return np.asarray(mean, np.float32)
    eight = np.zeros((len(faces), len(FERPLUS_EMOTIONS)), np.float32)
    eight[:, FERPLUS_INDICES] = mean  # contempt, FER+'s eighth class, keeps probability 0
    return eight


def _selective(
    truth: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    leak_free: npt.NDArray[np.bool_] | None,
) -> dict[float, tuple[float, float | None, float | None]]:
    """Return `Evaluation.selective`. `leak_free` (n,): which faces have no copy in Training; None
    if all have one, or it is unknown."""
    found = {}
    for least in _CONFIDENCES:
        share, right = selective_accuracy(truth, probabilities, least)
        right_leak_free = None
        if leak_free is not None:
            _, right_leak_free = selective_accuracy(
                truth[leak_free], probabilities[leak_free], least
            )
        found[least] = share, right, right_leak_free
    return found


def _views(faces: npt.NDArray[np.uint8], tta: str) -> list[npt.NDArray[np.uint8]]:
    if tta == "none":
        return [faces]
    if tta == "flip":
        return [faces, np.ascontiguousarray(faces[:, :, ::-1])]
    size = faces.shape[1]
    edge = size - _CROP
    views = []
    for top, left in ((0, 0), (0, edge), (edge, 0), (edge, edge), (edge // 2, edge // 2)):
        crops = faces[:, top : top + _CROP, left : left + _CROP]
        enlarged = np.stack(
            [cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR) for crop in crops]
        ).astype(np.uint8)
        views += [enlarged, np.ascontiguousarray(enlarged[:, :, ::-1])]
    return views
