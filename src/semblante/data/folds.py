"""Faces in parts, of which one is learnt from and another is not: copies, and what else belongs
together, are never on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import SPLITS, Dataset
from semblante.data.duplicates import UnionFind, exact_groups, near_pairs
from semblante.errors import DataError, OptionError


def fold_numbers(dataset: Dataset, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """(n,): the fold of each face, 0..folds-1; what belongs together has the same."""
    cluster = _clusters(dataset)
    shuffled = np.random.default_rng(seed).permutation(int(cluster.max()) + 1)
    return np.asarray(shuffled[cluster] % folds, np.int64)


def held_out(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """The dataset with a `share` of Training's faces of each emotion, drawn by `seed`, moved to
    PublicTest.

    What belongs together is moved together, so the share of an emotion may be missed by a group.
    Where PublicTest has faces already and PrivateTest none, as of a dataset that came as train and
    test, PublicTest's become PrivateTest's: those that a network is chosen on measure it too well.
    Raises `OptionError` for a share that is not between 0 and 1, and where both have faces;
    `DataError` where nothing can be moved, as of a single group.
    """
    if not 0 < share < 1:
        raise OptionError(f"expected a share to hold out between 0 and 1, found {share:g}")
    training, public = dataset.is_in("Training"), dataset.is_in("PublicTest")
    if public.any() and dataset.is_in("PrivateTest").any():
        raise OptionError(
            "expected a split without faces where some are to be held out, found "
            f"{int(public.sum())} in PublicTest and others in PrivateTest"
        )
    cluster = _clusters(dataset)
    movable = np.setdiff1d(cluster[training], cluster[~training])  # no copies elsewhere
    rows_of = np.split(np.argsort(cluster, kind="stable"), np.cumsum(np.bincount(cluster))[:-1])
    # What is moved brings what each emotion lacks nearer to nothing: a person's faces are of many.
    labels, label = np.unique(dataset.labels, return_inverse=True)
    lacking = np.round(share * np.bincount(label[training], minlength=len(labels)))
    splits = np.where(public, SPLITS.index("PrivateTest"), dataset.splits).astype(np.uint8)
    for number in np.random.default_rng(seed).permutation(movable):
        rest = lacking - np.bincount(label[rows_of[number]], minlength=len(labels))
        if np.abs(rest).sum() < np.abs(lacking).sum():
            splits[rows_of[number]] = SPLITS.index("PublicTest")
            lacking = rest
    if (splits[training] == dataset.splits[training]).all():
        raise DataError(f"no faces of Training can be held out to a share of {share:g}")
    return replace(dataset, splits=splits)


def _clusters(dataset: Dataset) -> npt.NDArray[np.int64]:
    """(n,): the cluster of each face, 0 and up: its copies, near copies, and those of its group in
    `Dataset.groups`, and what belongs together with these."""
    together = UnionFind(len(dataset), [*exact_groups(dataset.images), *dataset.rows_of_groups()])
    for pairs in near_pairs(dataset.images, wanted=together.differ):
        for pair in pairs:
            together.union(pair)
    _, cluster = np.unique(together.find_all(), return_inverse=True)
    return cluster.astype(np.int64)
