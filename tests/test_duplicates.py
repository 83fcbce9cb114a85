"""Exact and near copies, checked against a full comparison of every pair."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from conftest import needs_fer2013
from semblante.data import Dataset, duplicates
from semblante.data.audit import audit
from semblante.data.duplicates import UnionFind, exact_groups, near_pairs, seen_in
from semblante.data.folds import fold_numbers


def every_pair(images: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """The slow way: compute the correlation of each pair in full, straight and mirrored."""
    found = []
    for a in range(len(images)):
        for b in range(a + 1, len(images)):
            if images[a].std() == 0 or images[b].std() == 0:
                continue
            correlation = max(
                float(np.corrcoef(images[a].ravel(), other.ravel())[0, 1])
                for other in (images[b], images[b][:, ::-1])
            )
            if correlation >= threshold:
                found.append((a, b))
    return found


def all_near(images: np.ndarray, threshold: float = duplicates.NEAR) -> np.ndarray:
    return np.unique(
        np.concatenate([*near_pairs(images, threshold), np.zeros((0, 2), int)]), axis=0
    )


def assert_same_pairs(images: np.ndarray, threshold: float) -> int:
    expected = every_pair(images, threshold)
    assert [tuple(pair) for pair in all_near(images, threshold).tolist()] == expected
    return len(expected)


@needs_fer2013
@pytest.mark.parametrize(("split", "copies"), [("PublicTest", 280), ("PrivateTest", 288)])
def test_copies_of_training_images(fer2013: Dataset, split: str, copies: int) -> None:
    found = seen_in(fer2013.split(split).images, fer2013.split("Training").images)
    assert found.sum() == copies


def test_seen_in_against_every_pair(patterns: Dataset) -> None:
    images, others = patterns.images[:9].copy(), patterns.images[5:40]
    expected = [any(np.array_equal(image, other) for other in others) for image in images]
    assert seen_in(images, others).tolist() == expected
    assert sum(expected) == 4


def test_near_pairs_of_made_images() -> None:
    rng = np.random.default_rng(0)
    base = cv2.GaussianBlur(rng.normal(128, 90, (6, 48, 48)).transpose(1, 2, 0), (9, 9), 0)
    base = np.clip((base.transpose(2, 0, 1) - 128) * 4 + 128, 0, 255)
    noise = rng.normal(0, 12, base.shape)
    images = np.concatenate(
        [base, base[:, :, ::-1], base * 0.6 + 30, base + noise, np.zeros((2, 48, 48))]
    )
    images = np.clip(images, 0, 255).astype(np.uint8)
    assert assert_same_pairs(images, 0.9) == 36  # 4 forms of each of 6 faces: 6 pairs each
    assert assert_same_pairs(images, 0.05) > 36


def test_near_pairs_are_compared_some_at_a_time(
    patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.concatenate([patterns.images[:1]] * 30 + [patterns.images[1:9]])
    images[:30, 0, 0] += np.arange(30, dtype=np.uint8)
    whole = all_near(images)
    assert len(whole) >= 30 * 29 // 2
    monkeypatch.setattr(duplicates, "_PAIRS", 7)
    assert np.array_equal(all_near(images), whole)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_near_pairs_of_few_images(n: int) -> None:
    assert all_near(np.full((n, 48, 48), 7, np.uint8)).shape == (0, 2)


@needs_fer2013
def test_near_pairs_of_real_faces(fer2013: Dataset) -> None:
    pairs = all_near(fer2013.images[:3000])
    first, second = fer2013.images[pairs.T]
    near = pairs[(first != second).any(axis=(1, 2))]  # no exact copies
    rows = np.unique([*near.ravel().tolist(), *pairs[:30].ravel().tolist(), *range(150)])
    assert assert_same_pairs(fer2013.images[rows], 0.92) > 10
    assert assert_same_pairs(fer2013.images[rows], 0.8) > 20


@needs_fer2013
def test_exact_groups_of_the_real_faces(fer2013: Dataset) -> None:
    groups = exact_groups(fer2013.images)
    assert len(groups) == 1514
    assert sum(len(group) - 1 for group in groups) == 1851
    assert max(map(len, groups)) == 12
    assert sum(len(set(fer2013.labels[group].tolist())) > 1 for group in groups) == 57


def test_exact_groups_against_every_pair(patterns: Dataset) -> None:
    images = patterns.images[[4, 0, 4, 9, 0, 4]]
    assert exact_groups(images) == [[0, 2, 5], [1, 4]]


def test_the_nearest_of_several() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 48)).astype(np.uint8)
    noise = [np.clip(image + rng.normal(0, by, image.shape), 0, 255) for by in (90, 20, 50)]
    others = np.array([*noise, np.full((48, 48), 9)], np.uint8)
    assert duplicates.nearest(image, others) == 1
    others[2] = image[:, ::-1]
    assert duplicates.nearest(image, others) == 2


def test_what_hangs_together() -> None:
    together = UnionFind(7, [[5, 6], [1, 3]])
    assert together.find_all().tolist() == [0, 1, 2, 1, 4, 5, 5]
    rows, others = np.array([5, 3, 0]), np.array([6, 6, 2])
    assert together.differ(rows, others).tolist() == [False, True, True]
    together.union([6, 3])
    assert together.find_all().tolist() == [0, 1, 2, 1, 4, 1, 1]
    assert together.differ(rows, others).tolist() == [False, False, True]
    assert together.sets() == [[0], [1, 3, 5, 6], [2], [4]]


def test_of_a_film_s_frames_few_pairs_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four thousand nearly identical frames make eight million pairs."""
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (1, 48, 48), np.uint8), 4000, axis=0)
    frames[:, 0, 0] = np.arange(4000) % 251
    frames[:, 0, 1] = np.arange(4000) // 251
    splits = (np.arange(4000) % 40 == 0).astype(np.uint8)
    dataset = Dataset(frames, np.arange(4000) % 7, splits)
    compared = []
    real = np.einsum
    monkeypatch.setattr(np, "einsum", lambda *a, **k: compared.append(len(a[1])) or real(*a, **k))
    found = audit(dataset)
    assert [len(group) for group in found.near] == [4000]
    assert len(found.near_leaks["PublicTest"]) == 100
    assert len(set(fold_numbers(dataset, 4, seed=0).tolist())) == 1
    assert sum(compared) < 100_000
