"""Accuracy, F1, calibration and confidence intervals of a classifier, with numpy only.

Labels are whole numbers from 0, as in `Dataset.labels` (but its -1 is no label); whatever else is
given raises `OptionError`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS
from semblante.errors import OptionError

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.floating[Any]]
_BINS: Final = 15  # of equal width over the confidence, as in Guo et al.
_DRAWS: Final = 1000  # of `chance_calibration_error`
_Z95: Final = 1.959964  # 95 % of a normal distribution lies within this many standard deviations


def accuracy(labels: Labels, predicted: Labels) -> float:
    """Return the share of `predicted` (n,) that equals `labels` (n,), 0..1."""
    _check_labels(labels, predicted)
    return float((labels == predicted).mean())


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval, within 0..1, of a share (0..1) seen in n >= 1 trials (Wilson
    1927)."""
    z = _Z95
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class PairedDifference:
    """The accuracies of two models on the same faces, and how they differ."""

    n: int
    accuracy: tuple[float, float]  # the first's and the second's, 0..1
    difference: float  # the first's minus the second's
    ci95: tuple[float, float]  # of the difference: Agresti & Min, Statistics in Medicine 2005
    only_right: tuple[int, int]  # faces of which only the first, or only the second, was right
    # McNemar's exact test (Psychometrika 1947): the probability that two equally good models differ
    # at least this much, in either direction, by chance.
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, with lists instead of tuples."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def paired_difference(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]
) -> PairedDifference:
    """Compare two models on the same faces. `first` (n,) and `second` (n,): whether each model was
    right about each face."""
    n = len(first)
    ours, theirs = int((first & ~second).sum()), int((second & ~first).sum())
    # Half a face is added to each of the four cells, so that the interval is valid for small n.
    b, c, m = ours + 0.5, theirs + 0.5, n + 2
    half = _Z95 * math.sqrt(b + c - (b - c) ** 2 / m) / m
    middle = (b - c) / m
    return PairedDifference(
        n=n,
        accuracy=(float(first.mean()), float(second.mean())),
        difference=(ours - theirs) / n,
        ci95=(max(-1.0, middle - half), min(1.0, middle + half)),
        only_right=(ours, theirs),
        p=_mcnemar_p(ours, theirs),
    )


def confusion_matrix(
    labels: Labels, predicted: Labels, n_classes: int = len(EMOTIONS)
) -> npt.NDArray[np.int64]:
    """Return counts (n_classes, n_classes): a row per true label, a column per prediction."""
    _check_labels(labels, predicted)
    for numbers in (labels, predicted):
        if not 0 <= int(numbers.min()) <= int(numbers.max()) < n_classes:
            raise OptionError(
                f"expected labels 0..{n_classes - 1}, found {numbers.min()}..{numbers.max()}"
            )
    matrix = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def per_class(confusion: npt.NDArray[np.int64]) -> list[dict[str, float]]:
    """Return precision, recall, F1 and n of each class of a `confusion_matrix`; 0 instead of a
    division by zero."""
    hits = np.diag(confusion).astype(float)
    said, true = confusion.sum(axis=0), confusion.sum(axis=1)
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(hits), where=both > 0)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
        for p, r, f, n in zip(precision, recall, f1, true, strict=True)
    ]


def macro_f1(confusion: npt.NDArray[np.int64]) -> float:
    """Return the mean F1 over the classes that occur among the true labels."""
    return float(np.mean([row["f1"] for row in per_class(confusion) if row["n"] > 0]))


def expected_calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the ECE, 0..1, of labels (n,) and probabilities (n, n_classes): the mean over bins,
    weighted by their size, of |confidence - accuracy| (Guo et al., ICML 2017, section 2)."""
    bins = reliability(labels, probabilities)
    return sum(share * abs(right - confidence) for share, confidence, right in bins)


def chance_calibration_error(probabilities: Probabilities) -> tuple[float, float]:
    """Return mean and 95 % quantile of the ECE that `probabilities` (n, n_classes) would show by
    chance if they were perfectly calibrated.

    It is above 0, because each bin holds only a finite number of faces. In each of 1,000 draws,
    with a fixed seed, every prediction is right with a probability equal to its confidence (after
    consistency resampling: Broecker & Smith, Weather and Forecasting 2007).
    """
    rng = np.random.default_rng(2013)
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = _bins(confidence)
    gaps = np.zeros(_DRAWS)
    for b in np.unique(bins):
        here = confidence[bins == b]
        right = [np.count_nonzero(rng.random(len(here)) < here) for _ in range(_DRAWS)]
        gaps += np.abs(np.array(right) - here.sum()) / len(confidence)
    return float(gaps.mean()), float(np.quantile(gaps, 0.95))


def reliability(labels: Labels, probabilities: Probabilities) -> list[tuple[float, float, float]]:
    """Return, for each bin that is not empty, its share of the predictions, and their mean
    confidence and accuracy.

    `labels`: (n,); `probabilities`: (n, n_classes). The confidence of a prediction is its largest
    probability; predictions are sorted by it into 15 bins of equal width.
    """
    _check_probabilities(labels, probabilities)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = _bins(confidence)
    return [
        (float(here.mean()), float(confidence[here].mean()), float(correct[here].mean()))
        for here in (bins == b for b in range(_BINS))
        if here.any()
    ]


def selective_accuracy(
    labels: Labels, probabilities: Probabilities, least: float
) -> tuple[float, float | None]:
    """Return the share of the predictions whose confidence is at least `least`, 0..1, and the
    accuracy of these, or None if there are none (selective prediction: Geifman & El-Yaniv, NeurIPS
    2017).

    `labels`: (n,); `probabilities`: (n, n_classes).
    """
    _check_probabilities(labels, probabilities)
    sure = probabilities.max(axis=1) >= least
    right = probabilities.argmax(axis=1) == labels
    return float(sure.mean()), float(right[sure].mean()) if sure.any() else None


def _check_labels(labels: Labels, predicted: Labels) -> None:
    """Raise `OptionError` unless both are whole numbers (n,), of the same n >= 1 faces."""
    for numbers in (labels, predicted):
        is_row = isinstance(numbers, np.ndarray) and numbers.ndim == 1
        if not is_row or numbers.dtype.kind not in "iu":
            raise OptionError(f"expected an array (n,) of whole numbers, found {_kind(numbers)}")
    if len(labels) != len(predicted) or not len(labels):
        raise OptionError(
            f"expected a prediction for each label, found {len(labels)} labels and "
            f"{len(predicted)} predictions"
        )
    if (least := int(labels.min())) < 0:
        raise OptionError(f"expected labels from 0, found {least}: faces without one do not count")


def _check_probabilities(labels: Labels, probabilities: Probabilities) -> None:
    """Raise `OptionError` unless they are labels (n,) and probabilities (n, n_classes)."""
    is_table = isinstance(probabilities, np.ndarray) and probabilities.ndim == 2
    if not is_table or not probabilities.shape[1]:
        raise OptionError(f"expected an array (n, n_classes), found {_kind(probabilities)}")
    _check_labels(labels, probabilities.argmax(axis=1))


def _kind(found: object) -> str:
    shape = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else ""
    return f"{type(found).__name__} {shape}".strip()


def _mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p of McNemar's exact test: both tails of a binomial distribution."""
    apart = only_first + only_second
    tail = choices = 1  # (apart choose 0) + (apart choose 1) + ...
    for k in range(1, min(only_first, only_second) + 1):
        # (apart choose k), from that for k - 1: `math.comb` for each k takes minutes if n is large.
        choices = choices * (apart - k + 1) // k
        tail += choices
    return min(1.0, 2 * tail / (1 << apart))


def _bins(confidence: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    """Return the number of each prediction's bin: bin k holds (k / 15, (k + 1) / 15]."""
    numbers: npt.NDArray[np.int64] = (
        np.ceil(confidence.astype(np.float64) * _BINS).astype(np.int64) - 1
    )
    return numbers.clip(0, _BINS - 1)
