"""Estimates by networks that have not learnt from the face they judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from semblante.data import Dataset
from semblante.errors import DataError, OptionError
from semblante.train.crossval import fold_numbers, out_of_sample
from test_training import QUICK, Silent


@contextmanager
def silent(fold: int) -> Iterator[Silent]:
    yield Silent()


def test_folds_keep_together_what_belongs_together(patterns: Dataset) -> None:
    images = patterns.images.copy()
    images[40] = images[3]  # an exact copy
    images[41] = images[4][:, ::-1] // 2 + 40  # a near one, mirrored
    groups = np.full(len(patterns), "", "U4")
    groups[[5, 99, 200]] = "anna"
    numbers = fold_numbers(replace(patterns, images=images, groups=groups), 5, seed=0)
    assert numbers[40] == numbers[3]
    assert numbers[41] == numbers[4]
    assert len(set(numbers[[5, 99, 200]].tolist())) == 1
    sizes = np.bincount(numbers)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 4


def test_every_face_is_judged_by_a_network_that_has_not_seen_it(
    patterns: Dataset, tmp_path: Path
) -> None:
    """A label that only this face has wrong cannot be learnt elsewhere: it stays unlikely."""
    labels = patterns.labels.copy()
    labels[10] = (labels[10] + 3) % 7
    labels[20] = -1
    wrong = replace(patterns, labels=labels)
    options = replace(QUICK, epochs=6, batch_size=8)
    found = out_of_sample(wrong, options, 3, tmp_path, silent, source={})
    assert found.shape == (len(patterns), 7)
    assert np.isnan(found[20]).all()
    judged = np.delete(np.arange(len(patterns)), 20)
    np.testing.assert_allclose(found[judged].sum(axis=1), 1, atol=1e-5)
    right = found[judged].argmax(axis=1) == patterns.labels[judged]
    assert right.mean() > 0.8
    assert found[10, labels[10]] < 0.3
    # asked again, it goes on from what is there: the same, without training
    before = (tmp_path / "fold-0-of-3" / "checkpoint.safetensors").stat().st_mtime_ns
    assert np.array_equal(
        out_of_sample(wrong, options, 3, tmp_path, silent, source={}), found, equal_nan=True
    )
    assert (tmp_path / "fold-0-of-3" / "checkpoint.safetensors").stat().st_mtime_ns == before


def test_too_few_folds_or_faces(patterns: Dataset, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least 2 folds, found 1"):
        out_of_sample(patterns, QUICK, 1, tmp_path, silent, source={})
    with pytest.raises(DataError, match="too few faces for 5 folds"):
        out_of_sample(patterns.where(np.arange(3)), QUICK, 5, tmp_path, silent, source={})
