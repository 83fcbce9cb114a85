"""Divides faces into folds, or into training and held-out faces, so that copies and faces of the
same group are never on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import SPLITS, Dataset
from semblante.data.duplicates import UnionFind, exact_groups, near_pairs
from semblante.errors import DataError, OptionError


def fold_numbers(dataset: Dataset, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """(n,): the fold of each face, 0..folds-1; faces that belong together share a fold."""
    cluster = _clusters(dataset)
    shuffled = np.random.default_rng(seed).permutation(int(cluster.max()) + 1)
    return np.asarray(shuffled[cluster] % folds, np.int64)


def held_out(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """The dataset with a `share` of each emotion's Training faces, drawn at random with `seed`,
    moved to PublicTest.

    Faces that belong together are moved together, so the number moved of an emotion may differ
    from its share by up to a group. If PublicTest already has faces and PrivateTest has none, as in
    a dataset that came as train and test, PublicTest's faces go to PrivateTest: results on the
    faces that a network was chosen on are too good.

    Raises `OptionError` for a share that is not between 0 and 1, and if PublicTest and PrivateTest
    both have faces; `DataError` if nothing can be moved, for example from a single group.
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
    movable = np.setdiff1d(cluster[training], cluster[~training])  # wholly in Training
    rows_of = np.split(np.argsort(cluster, kind="stable"), np.cumsum(np.bincount(cluster))[:-1])
    # A group may have faces of many emotions. It is moved only if that brings the numbers of faces
    # that the emotions still lack nearer to 0 in sum.
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
    """(n,): the number of each face's cluster, from 0. Faces are in one cluster if a chain of exact
    copies, near copies and faces of the same `Dataset.groups` connects them."""
    together = UnionFind(len(dataset), [*exact_groups(dataset.images), *dataset.rows_of_groups()])
    for pairs in near_pairs(dataset.images, wanted=together.differ):
        for pair in pairs:
            together.union(pair)
    _, cluster = np.unique(together.find_all(), return_inverse=True)
    return cluster.astype(np.int64)
