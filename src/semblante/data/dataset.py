"""`Dataset`: labelled faces in memory, whatever form of file they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS
from semblante.errors import DataError

# FER2013's own names: train on the first, choose on the second, report on the third.
SPLITS: Final[tuple[str, ...]] = ("Training", "PublicTest", "PrivateTest")
# The split of a `Row` whose source only says "test"; `collect` decides which of `SPLITS` it is.
TEST: Final = len(SPLITS)
UNLABELLED: Final = -1  # the label of a face that came without one


@dataclass(frozen=True, eq=False)
class Dataset:
    """n labelled grey faces.

    `images`: (n, 48, 48), grey levels 0..255. `labels`: (n,), 0..6 in the order of
    `semblante.EMOTIONS`, or -1 for a face without a label. `splits`: (n,), 0 Training, 1
    PublicTest, 2 PrivateTest. `names`: (n,), the name of each face's picture file; None unless
    every face came from such a file. `groups`: (n,), the same text for faces that belong together
    (one person's, for example), "" for a face without a group; None if there are no groups.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    splits: npt.NDArray[np.uint8]
    names: npt.NDArray[np.str_] | None = None
    groups: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def is_in(self, split: str) -> npt.NDArray[np.bool_]:
        """(n,): which faces are in `split`, one of `SPLITS`; `DataError` for another name."""
        if split not in SPLITS:
            raise DataError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
        return np.asarray(self.splits == SPLITS.index(split))

    def split(self, name: str) -> Dataset:
        """The faces of one of `SPLITS`, in their order.

        Raises `DataError` for an unknown name, for a split without faces, and for one with faces
        that have no label.
        """
        mask = self.is_in(name)
        if not mask.any():
            held = ", ".join(f"{split} {n}" for split, n in self.split_sizes().items() if n)
            lacking = f"the dataset has no {name} rows: it has {held or 'nothing'}"
            if name == "PublicTest" and self.is_in("Training").any():
                remedy = "`semblante data convert DATA OUT --hold-out 0.2` puts some there"
                raise DataError(f"{lacking}; {remedy}")
            raise DataError(lacking)
        if (self.labels[mask] == UNLABELLED).any():
            raise DataError(f"faces of {name} have no label")
        return self.where(mask)

    def where(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Dataset:
        """The faces selected by a mask (n,) or by row numbers."""
        return Dataset(
            self.images[rows],
            self.labels[rows],
            self.splits[rows],
            None if self.names is None else self.names[rows],
            None if self.groups is None else self.groups[rows],
        )

    def split_sizes(self) -> dict[str, int]:
        """The number of faces in each of `SPLITS`, with or without a label."""
        sizes = np.bincount(self.splits, minlength=len(SPLITS))
        return dict(zip(SPLITS, sizes.tolist(), strict=True))

    def counts(self) -> dict[str, dict[str, int]]:
        """The number of labelled faces by split and emotion: `counts()["Training"]["happy"]`."""
        counts = {}
        for split in SPLITS:
            labels = self.labels[self.is_in(split)]
            of_label = np.bincount(labels[labels != UNLABELLED], minlength=len(EMOTIONS))
            counts[split] = dict(zip(EMOTIONS, of_label.tolist(), strict=True))
        return counts

    def missing_emotions(self) -> list[str]:
        """The emotions that no face has as its label."""
        return [name for code, name in enumerate(EMOTIONS) if not (self.labels == code).any()]

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every face with its row number, which starts at 0."""
        nothing = [""] * len(self)
        names, groups = (
            nothing if texts is None else texts.tolist() for texts in (self.names, self.groups)
        )
        for number, values in enumerate(
            zip(self.images, self.labels.tolist(), self.splits.tolist(), names, groups, strict=True)
        ):
            yield number, Row(*values)

    def rows_of_groups(self) -> list[list[int]]:
        """The row numbers of each group in `groups`; empty if the dataset has no groups."""
        rows: dict[str, list[int]] = {}
        for row, group in enumerate([] if self.groups is None else self.groups.tolist()):
            if group:
                rows.setdefault(group, []).append(row)
        return list(rows.values())

    def fingerprint(self) -> str:
        """sha256 over pixels, labels and splits: the same faces give the same fingerprint."""
        digest = hashlib.sha256()
        for part in (self.images, self.labels, self.splits):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Row:
    """One face, outside a `Dataset`."""

    image: npt.NDArray[np.uint8]  # (48, 48)
    label: int  # 0..6 or UNLABELLED
    split: int  # index into `SPLITS`, or TEST
    name: str = ""  # see `Dataset.names`
    group: str = ""  # see `Dataset.groups`


OnBad = Callable[[DataError], None]  # called for each row that cannot be read


def collect(rows: Iterable[Row | DataError], on_bad: OnBad | None, source: str) -> Dataset:
    """Return the rows as a `Dataset`; an error among them is raised, or passed to `on_bad`.

    Faces of TEST go to PrivateTest, which only measures, if PublicTest has faces of its own to
    choose models on; otherwise they go to PublicTest. Raises `DataError` if no row is left.

    `source`: what the rows come from, as that error calls it.
    """
    kept: list[Row] = []
    bad: list[DataError] = []
    for row in rows:
        if isinstance(row, Row):
            kept.append(row)
        elif on_bad is None:
            raise row
        else:
            bad.append(row)
            on_bad(row)
    if bad and not kept:
        raise DataError(f"{source}: not one face in it: {len(bad)} bad rows, the first: {bad[0]}")
    if not kept:
        raise DataError(f"{source}: not one face in it")
    names, groups = (np.array([getattr(row, what) for row in kept]) for what in ("name", "group"))
    splits = np.array([row.split for row in kept], np.uint8)
    public, private = SPLITS.index("PublicTest"), SPLITS.index("PrivateTest")
    splits[splits == TEST] = private if (splits == public).any() else public
    return Dataset(
        np.stack([row.image for row in kept]),
        np.array([row.label for row in kept], np.int64),
        splits,
        names if (names != "").all() else None,
        groups if (groups != "").any() else None,
    )
