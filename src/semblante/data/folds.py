"""Faces in parts, of which one is learnt from and another is not: copies, and what else belongs
together, are never on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import SPLITS, Dataset
from semblante.data.duplicates import Together, exact_groups, near_pairs
from semblante.errors import DataError, OptionError


def fold_numbers(dataset: Dataset, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """(n,): the fold of each face, 0..folds-1; what belongs together has the same."""
    kind = _kinds(dataset)
    shuffled = np.random.default_rng(seed).permutation(int(kind.max()) + 1)
    return np.asarray(shuffled[kind] % folds, np.int64)


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
    kind = _kinds(dataset)
    apart = np.setdiff1d(kind[training], kind[~training])  # no copies elsewhere
    members = np.split(np.argsort(kind, kind="stable"), np.cumsum(np.bincount(kind))[:-1])
    # What is moved brings what each emotion lacks nearer to nothing: a person's faces are of many.
    labels, label = np.unique(dataset.labels, return_inverse=True)
    left = np.round(share * np.bincount(label[training], minlength=len(labels)))
    splits = np.where(public, SPLITS.index("PrivateTest"), dataset.splits).astype(np.uint8)
    for number in np.random.default_rng(seed).permutation(apart):
        rest = left - np.bincount(label[members[number]], minlength=len(labels))
        if np.abs(rest).sum() < np.abs(left).sum():
            splits[members[number]] = SPLITS.index("PublicTest")
            left = rest
    if (splits[training] == dataset.splits[training]).all():
        raise DataError(f"no faces of Training can be held out to a share of {share:g}")
    return replace(dataset, splits=splits)


def _kinds(dataset: Dataset) -> npt.NDArray[np.int64]:
    """(n,): the kind of each face, 0 and up: copies, near copies, one of `Dataset.groups`."""
    groups = [*exact_groups(dataset.images), *dataset.rows_of_groups()]
    together = Together(len(dataset), groups)
    for pairs in near_pairs(dataset.images, wanted=together.apart):
        for pair in pairs:
            together.join(pair)
    _, kind = np.unique(together.all_first(), return_inverse=True)
    return kind.astype(np.int64)
