"""The audit of a dataset: copies, leaks between splits, bad images and doubtful labels, by row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from semblante.data.dataset import SPLITS, UNLABELLED, Dataset
from semblante.data.duplicates import NEAR, Rows, UnionFind, exact_groups, near_pairs
from semblante.data.ferplus import FerPlus
from semblante.emotions import EMOTIONS

# The modified z-score beyond which brightness and sharpness are outliers. It measures the distance
# from the median in median absolute deviations: Iglewicz & Hoaglin, How to Detect and Handle
# Outliers (1993). They recommend 3.5; on FER2013 the faces between 3 and 3.5 are worth a look too.
OUTLYING: Final = 3.0
_TRAINING: Final = SPLITS.index("Training")
_TESTS: Final = SPLITS[1:]


@dataclass(frozen=True)
class Suspect:
    """A face whose label is likely to be wrong."""

    row: int
    label: int  # 0..6, as given
    estimate: int  # 0..6, the most probable class by the judge, which has not learnt from this face
    label_probability: float  # 0..1, the judge's probability of the given label
    estimate_probability: float  # 0..1, the judge's probability of `estimate`


@dataclass(frozen=True)
class Audit:
    """The findings about `dataset`, as row numbers that start at 0 in the dataset's order."""

    dataset: Dataset
    exact: list[list[int]]  # groups of rows with identical pixels
    conflicting: list[list[int]]  # groups of `exact` whose labels differ; faces without one aside
    near: list[list[int]]  # groups connected by `near_pairs`: one photograph in several forms
    leaks: dict[str, list[int]]  # for each test split, rows with an exact copy in Training
    near_leaks: dict[str, list[int]]  # ... and rows with only a near copy in Training
    across_tests: list[int]  # PrivateTest rows with an exact copy in PublicTest
    groups_across: list[list[int]]  # rows of each of `Dataset.groups` that spans several splits
    constant: list[int]  # all pixels are the same
    no_face: list[int] | None  # most of FER+'s taggers saw no face; None without votes
    dark: list[int]
    bright: list[int]
    blurred: list[int]
    drawn: list[int]  # sharper than photographs are: mostly drawings and writing
    suspects: list[Suspect] | None  # surest first; None if labels were not judged
    n_judged: int  # faces whose labels were judged
    judge: str = ""  # the name of the model that judged, or a description of the trained networks

    def n_extra_copies(self) -> int:
        """How many faces are exact copies of an earlier row."""
        return sum(len(group) - 1 for group in self.exact)

    def n_leak_free(self, split: str) -> int | None:
        """How many faces of a test split have no exact copy in Training; None if the dataset has
        no Training faces."""
        sizes = self.dataset.split_sizes()
        return sizes[split] - len(self.leaks[split]) if sizes["Training"] else None

    def to_dict(self) -> dict[str, Any]:
        """The content of rows.json, as `semblante data audit` writes it. Rows start at 0."""
        return {
            "dataset_sha256": self.dataset.fingerprint(),
            "n": len(self.dataset),
            "splits": self.dataset.split_sizes(),
            "class_balance": self.dataset.counts(),
            "exact_duplicates": {
                "n_groups": len(self.exact),
                "n_extra_copies": self.n_extra_copies(),
                "groups": self.exact,
            },
            "conflicting_labels": {
                "n_groups": len(self.conflicting),
                "groups": self.conflicting,
            },
            "near_duplicates": {
                "correlation": NEAR,
                "n_groups": len(self.near),
                "groups": self.near,
            },
            "leaks": {
                split: {
                    "n": len(self.leaks[split]),
                    "leak_free_n": self.n_leak_free(split),
                    "rows": self.leaks[split],
                    "near_rows": self.near_leaks[split],
                }
                for split in _TESTS
            },
            "private_test_in_public_test": _with_count(self.across_tests),
            "groups_across_splits": {
                "n_groups": len(self.groups_across),
                "groups": self.groups_across,
            },
            "constant": _with_count(self.constant),
            "no_face": None if self.no_face is None else _with_count(self.no_face),
            "dark": _with_count(self.dark),
            "bright": _with_count(self.bright),
            "blurred": _with_count(self.blurred),
            "drawn": _with_count(self.drawn),
            "mislabelled": None
            if self.suspects is None
            else {
                "judge": self.judge,
                "n_judged": self.n_judged,
                "n": len(self.suspects),
                "rows": [
                    {
                        "row": suspect.row,
                        "label": EMOTIONS[suspect.label],
                        "estimate": EMOTIONS[suspect.estimate],
                        "label_probability": round(suspect.label_probability, 4),
                        "estimate_probability": round(suspect.estimate_probability, 4),
                    }
                    for suspect in self.suspects
                ],
            },
        }

    def to_drop(self) -> dict[int, str]:
        """The rows that a cleaned dataset leaves out, each with its reason.

        Constant images and those without a face are dropped from every split. All others are
        dropped from Training only, so that test figures stay comparable: copies of test faces,
        extra copies (the first one with a label is kept), copies with different labels, and faces
        that are likely mislabelled.
        """
        reasons: dict[int, str] = {}

        def drop(rows: Iterable[int], reason: str, *, training_only: bool = True) -> None:
            for row in rows:
                if not training_only or self.dataset.splits[row] == _TRAINING:
                    reasons.setdefault(row, reason)

        drop(self.constant, "constant", training_only=False)
        drop(self.no_face or [], "no face", training_only=False)
        for group in (*self.exact, *self.near):
            if any(self.dataset.splits[row] != _TRAINING for row in group):
                drop(group, "copy of a test face")
        for group in self.conflicting:
            drop(group, "copies with different labels")
        for group in self.exact:
            labelled = (row for row in group if self.dataset.labels[row] != UNLABELLED)
            kept = next(labelled, group[0])
            drop((row for row in group if row != kept), "extra copy")
        drop((suspect.row for suspect in self.suspects or []), "likely mislabelled")
        return dict(sorted(reasons.items()))


def audit(
    dataset: Dataset,
    *,
    votes: FerPlus | None = None,
    probabilities: npt.NDArray[np.floating[Any]] | None = None,
    judge: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Look for everything that `Audit` lists.

    `votes`: FER+'s votes, which tell the images without a face. `probabilities` (n, 7): the
    estimates of a network that has not learnt from the face; NaN in rows without such an estimate.
    Without `probabilities` no labels are judged. `judge`: the name of that network in the findings.
    `progress` is called with a description of each step.
    """
    if votes is not None:
        votes.check_rows_of(dataset)
    progress("looking for copies")
    exact = exact_groups(dataset.images)
    conflicting = [
        group for group in exact if len({*dataset.labels[group].tolist()} - {UNLABELLED}) > 1
    ]
    progress("looking for near copies")
    training, public, private = (dataset.is_in(split) for split in SPLITS)
    copy_of = UnionFind(len(dataset), exact).find_all()  # (n,): each row's first exact copy
    leaked = np.isin(copy_of, copy_of[training])
    near, near_leaked = _near_copies(dataset, exact, copy_of)
    across_tests = private & np.isin(copy_of, copy_of[public])
    progress("looking at light and sharpness")
    flat = dataset.images.reshape(len(dataset), -1)
    constant = flat.min(axis=1) == flat.max(axis=1)
    brightness = _modified_z_scores(flat.mean(axis=1), ~constant)
    sharpness = _modified_z_scores(_log_sharpness(dataset.images), ~constant)
    no_face = None if votes is None else votes.no_face()
    suspects, n_judged = None, 0
    if probabilities is not None:
        progress("judging labels")
        empty = constant if no_face is None else constant | no_face  # no label is right for these
        judged = np.where(empty[:, None], np.nan, probabilities)
        suspects, n_judged = _suspects(dataset, judged)
    return Audit(
        dataset=dataset,
        exact=exact,
        conflicting=conflicting,
        near=near,
        leaks=_rows_of_tests(dataset, leaked),
        near_leaks=_rows_of_tests(dataset, near_leaked & ~leaked),
        across_tests=np.flatnonzero(across_tests).tolist(),
        groups_across=_groups_across(dataset),
        constant=np.flatnonzero(constant).tolist(),
        no_face=None if no_face is None else np.flatnonzero(no_face).tolist(),
        dark=_far_below(brightness),
        bright=_far_below(-brightness),
        blurred=_far_below(sharpness),
        drawn=_far_below(-sharpness),
        suspects=suspects,
        n_judged=n_judged,
        judge=judge,
    )


def _with_count(rows: list[int]) -> dict[str, Any]:
    return {"n": len(rows), "rows": rows}


def _rows_of_tests(dataset: Dataset, mask: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """The rows of each test split that a mask (n,) picks."""
    return {split: np.flatnonzero(dataset.is_in(split) & mask).tolist() for split in _TESTS}


def _near_copies(
    dataset: Dataset, exact: list[list[int]], copy_of: Rows
) -> tuple[list[list[int]], npt.NDArray[np.bool_]]:
    """Two results: the groups connected by near pairs, without those that are all exact copies of
    each other; and a mask (n,) of the rows with a near copy, or an exact one, in Training.
    `copy_of` (n,): for each row, the first of its `exact` copies."""
    in_training = dataset.is_in("Training")
    together = UnionFind(len(dataset), exact)
    leaked = np.zeros(len(dataset), np.bool_)

    def useful(rows: Rows, others: Rows) -> npt.NDArray[np.bool_]:
        new = (in_training[rows] & ~leaked[others]) | (in_training[others] & ~leaked[rows])
        across = in_training[rows] != in_training[others]
        return np.asarray(together.differ(rows, others) | (across & new))

    for pairs in near_pairs(dataset.images, wanted=useful):
        for pair in pairs:
            together.union(pair)
        for ours, other in ((0, 1), (1, 0)):
            leaked[pairs[in_training[pairs[:, other]], ours]] = True

    near = [group for group in together.sets() if len(set(copy_of[group].tolist())) > 1]
    return near, leaked


def _groups_across(dataset: Dataset) -> list[list[int]]:
    groups = dataset.rows_of_groups()
    return [group for group in groups if len(set(dataset.splits[group].tolist())) > 1]


def _log_sharpness(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(n,): the logarithm of the variance of the Laplacian of each image, standardised first."""
    variances = np.empty(len(images))
    for row, image in enumerate(images):
        deviation = max(float(image.std()), 1.0)
        variances[row] = cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).var() / deviation**2
    return np.log(variances + 1e-3)


def _modified_z_scores(
    values: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The modified z-score of each value; 0 where it is not valid, or if the median absolute
    deviation is 0."""
    scores = np.zeros(len(values))
    if valid.any():
        distance = values - np.median(values[valid])
        spread = np.median(np.abs(distance[valid]))
        if spread > 0:
            scores[valid] = 0.6745 * distance[valid] / spread
    return scores


def _far_below(scores: npt.NDArray[np.float64]) -> list[int]:
    """The rows with a score below -`OUTLYING`, the lowest first."""
    rows = np.flatnonzero(scores < -OUTLYING)
    return [int(row) for row in rows[np.argsort(scores[rows], kind="stable")]]


def _suspects(
    dataset: Dataset, probabilities: npt.NDArray[np.floating[Any]]
) -> tuple[list[Suspect], int]:
    """The suspects found by confident learning (Northcutt et al., JAIR 2021) with cleanlab, and
    the number of faces that were judged.

    The network's probabilities give an estimate of how many faces labelled i really show each other
    class j. A label i is suspect if both ways to pick that many faces agree: the face is among
    those of class i with the smallest probability of i (pruning by class), and among those with
    the largest margin of some j over i (pruning by noise rate).
    """
    from cleanlab.filter import find_label_issues

    judged = np.flatnonzero(np.isfinite(probabilities).all(axis=1) & (dataset.labels != UNLABELLED))
    labels = dataset.labels[judged]
    present = np.unique(labels)
    if len(present) < 2:  # no two classes that could be confused
        return [], len(judged)
    # cleanlab needs classes 0..k-1, each with a face: classes without faces are left out.
    estimates = probabilities[judged][:, present].astype(np.float64)
    estimates = (estimates + 1e-9) / (estimates + 1e-9).sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about classes with too few faces to judge
        found = find_label_issues(
            np.searchsorted(present, labels),
            estimates,
            filter_by="both",
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    suspects = []
    for place in found.tolist():
        row = int(judged[place])
        label, estimate = int(labels[place]), int(probabilities[row].argmax())
        suspects.append(
            Suspect(
                row,
                label,
                estimate,
                float(probabilities[row, label]),
                float(probabilities[row, estimate]),
            )
        )
    return suspects, len(judged)
