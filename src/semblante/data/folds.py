"""Faces in parts, of which one is learnt from and another is not: copies, and what else belongs
together, are never on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import SPLITS, Dataset
from semblante.data.duplicates import exact_groups, joined, near_pairs
from semblante.errors import OptionError


def fold_numbers(dataset: Dataset, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """(n,): the fold of each face, 0..folds-1; what belongs together has the same."""
    _, kind = _kinds(dataset)
    shuffled = np.random.default_rng(seed).permutation(int(kind.max()) + 1)
    return np.asarray(shuffled[kind] % folds, np.int64)


def held_out(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """The dataset with a `share` of Training's faces of each emotion, drawn by `seed`, moved to
    PublicTest.

    What belongs together is moved together, so the share of an emotion may be missed by a group.
    Raises `OptionError` for a share that is not between 0 and 1, and where PublicTest has faces
    already.
    """
    if not 0 < share < 1:
        raise OptionError(f"expected a share to hold out between 0 and 1, found {share:g}")
    training = dataset.is_in("Training")
    if dataset.is_in("PublicTest").any():
        raise OptionError("expected no faces of PublicTest where some are to be held out for it")
    first, kind = _kinds(dataset)
    apart = np.setdiff1d(kind[training], kind[~training])  # no copies elsewhere
    members = np.split(np.argsort(kind, kind="stable"), np.cumsum(np.bincount(kind))[:-1])
    labels, counts = np.unique(dataset.labels[training], return_counts=True)
    left = dict(zip(labels.tolist(), np.round(share * counts).tolist(), strict=True))
    splits = dataset.splits.copy()
    for number in np.random.default_rng(seed).permutation(apart):
        label = int(dataset.labels[first[number]])
        if left[label] >= len(members[number]):
            splits[members[number]] = SPLITS.index("PublicTest")
            left[label] -= len(members[number])
    return replace(dataset, splits=splits)


def _kinds(dataset: Dataset) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each kind of face (copies, near copies, one of `Dataset.groups`) its first row, and (n,):
    the kind of each face."""
    pairs, _ = near_pairs(dataset.images)
    together: list[list[int]] = [*exact_groups(dataset.images), *pairs.tolist()]
    if dataset.groups is not None:
        names, inverse = np.unique(dataset.groups, return_inverse=True)
        together += [
            np.flatnonzero(inverse == number).tolist()
            for number, name in enumerate(names.tolist())
            if name
        ]
    first, kind = np.unique(joined(len(dataset), together), return_inverse=True)
    return first.astype(np.int64), kind.astype(np.int64)
