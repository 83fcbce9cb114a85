"""Finds faces that a dataset holds more than once: exact copies and near copies.

FER2013 was collected by web search and repeats itself: 8 % of its test images are also in
Training. What a network scores on those says nothing about new faces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

# Two faces whose pixels have at least this correlation show the same photograph in another
# compression, light or crop. Checked by eye on FER2013: 24 of 24 pairs just above it do.
NEAR: Final = 0.92
_FREQUENCIES: Final = 10  # the lowest ones of 48 in each direction, which find the candidates
_BLOCK: Final = 1024  # images compared with all others at a time
_PAIRS: Final = 2048  # candidate pairs compared in full at a time
_ROUNDING: Final = 1e-4  # tolerance for sums in float32
Rows = npt.NDArray[np.int64]


def seen_in(images: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(n,): whether each of `images` (n, H, W) has an exact copy among `others` (m, H, W)."""
    known = {image.tobytes() for image in others}
    return np.array([image.tobytes() in known for image in images], dtype=np.bool_)


def exact_groups(images: npt.NDArray[np.uint8]) -> list[list[int]]:
    """Groups of two or more rows of `images` (n, H, W) with identical pixels."""
    rows: dict[bytes, list[int]] = {}
    for row, image in enumerate(images):
        rows.setdefault(image.tobytes(), []).append(row)
    return [group for group in rows.values() if len(group) > 1]


def near_pairs(
    images: npt.NDArray[np.uint8],
    threshold: float = NEAR,
    wanted: Callable[[Rows, Rows], npt.NDArray[np.bool_]] | None = None,
) -> Iterator[Rows]:
    """Yield arrays (m, 2) of pairs of rows whose pixels, or mirrored pixels, have a correlation of
    at least `threshold`, up to two thousand pairs at a time. A pair that has it both ways may come
    twice.

    Exact copies are included, constant images are not. `images`: (n, H, W) with H = W. The frames
    of a film are nearly all alike, in more pairs than there is memory or time for: `wanted` is
    called with rows (k,) and others (k,) before these pairs are compared, and says which of them
    to compare (k,).

    No pair can be missed: an image, standardised to length 1, is described by its lowest
    frequencies (an orthonormal cosine transform) and by the length r of all the rest. The rest
    adds at most the product r_a r_b to a correlation (Cauchy-Schwarz), so the product of the short
    descriptions is never below the correlation. Only pairs whose product reaches the threshold are
    compared in full.
    """
    unit = images.astype(np.float32)  # one copy for all steps: 330 MB for FER2013
    unit -= unit.mean(axis=(1, 2), keepdims=True)
    lengths = np.sqrt(np.einsum("nij,nij->n", unit, unit))
    unit /= np.where(lengths > 0, lengths, 1)[:, None, None]
    short, mirrored = _descriptions(unit)

    for other, turned in ((short, False), (mirrored, True)):
        for pairs in _candidates(short, other, threshold - _ROUNDING):
            first, second = pairs if wanted is None else pairs[:, wanted(*pairs)]
            faces = unit[second, :, ::-1] if turned else unit[second]
            correlations = np.einsum("nij,nij->n", unit[first], faces, dtype=np.float64)
            near = correlations >= threshold
            yield np.column_stack([first[near], second[near]])


def _descriptions(
    unit: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Short descriptions of the images and of their mirror images, all of length 1 (or 0 for a
    constant image)."""
    side = unit.shape[1]
    n_low = min(_FREQUENCIES, side)
    places, waves = np.arange(side) + 0.5, np.arange(n_low)[:, None]
    basis = (np.cos(np.pi / side * waves * places) * np.sqrt(2 / side)).astype(np.float32)
    basis[0] /= np.sqrt(np.float32(2))
    low = basis @ unit @ basis.T  # (n, n_low, n_low): vertical by horizontal frequency
    length = np.einsum("nij,nij->n", low, low)
    # A constant image has length 0: it correlates with no other image.
    rest = np.where(length > 0, np.sqrt(np.maximum(0, 1 - length)), 0).astype(np.float32)
    odd = np.where(np.arange(n_low) % 2 == 1, np.float32(-1), np.float32(1))  # the mirror's signs
    flat = (waves.reshape(-1, n_low * n_low) for waves in (low, low * odd))
    straight, mirrored = (np.column_stack([waves, rest]) for waves in flat)
    return straight, mirrored


def _candidates(
    ours: npt.NDArray[np.float32], others: npt.NDArray[np.float32], threshold: float
) -> Iterator[Rows]:
    """Yield arrays (2, m) of rows a < b for which the product of ours[a] and others[b] reaches the
    threshold, at most `_PAIRS` at a time: to compare a pair takes 18 KB."""
    for start in range(0, len(ours), _BLOCK):
        products = ours[start : start + _BLOCK] @ others[start:].T
        first, second = np.nonzero(products >= threshold)
        later = np.flatnonzero(first < second)
        for some in range(0, len(later), _PAIRS):
            pairs = later[some : some + _PAIRS]
            yield np.stack([first[pairs], second[pairs]]) + start


def nearest(image: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> int:
    """The index of the one among `others` (n, H, W) that correlates most with an image (H, W) or
    with its mirror image."""
    both = np.stack([image, image[:, ::-1]]).reshape(2, -1).astype(np.float64)
    rest = others.reshape(len(others), -1).astype(np.float64)
    both, rest = (flat - flat.mean(axis=1, keepdims=True) for flat in (both, rest))
    lengths = np.maximum(np.linalg.norm(rest, axis=1), 1.0)  # a constant image has length 0
    return int((both @ rest.T / lengths).max(axis=0).argmax())


class UnionFind:
    """Disjoint sets of the rows 0..n-1, which `union` merges. A set's root is its smallest row."""

    def __init__(self, n: int, groups: Iterable[Iterable[int]] = ()) -> None:
        self._parents = np.arange(n)  # another row of the set; a root is its own parent
        for group in groups:
            self.union(group)

    def union(self, rows: Iterable[int]) -> None:
        """Merge the sets of all these rows into one."""
        root, *others = np.unique(self.find(np.fromiter(rows, np.int64))).tolist()
        self._parents[others] = root

    def find(self, rows: Rows) -> Rows:
        """(k,): the root of the set of each of `rows` (k,)."""
        found = self._parents[rows]
        while (below := self._parents[found] != found).any():
            found[below] = self._parents[found[below]]
        self._parents[rows] = found  # path compression
        return found

    def find_all(self) -> Rows:
        """(n,): the root of the set of every row."""
        return self.find(np.arange(len(self._parents)))

    def differ(self, rows: Rows, others: Rows) -> npt.NDArray[np.bool_]:
        """(k,): whether each of `rows` (k,) is in another set than the same item of `others`."""
        return np.asarray(self.find(rows) != self.find(others))

    def sets(self) -> list[list[int]]:
        """The rows of each set, in order; a row that was never merged is a set of one."""
        sets: dict[int, list[int]] = {}
        for row, root in enumerate(self.find_all().tolist()):
            sets.setdefault(root, []).append(row)
        return list(sets.values())
