"""Labelled faces in memory, whatever form of file they came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.errors import DataError

# FER2013's own names: train on the first, choose on the second, report on the third.
SPLITS: Final[tuple[str, ...]] = ("Training", "PublicTest", "PrivateTest")
FACE_SIZE: Final = 48


@dataclass(frozen=True)
class Dataset:
    """n labelled grey faces."""

    images: npt.NDArray[np.uint8]  # (n, 48, 48), grey levels 0..255
    labels: npt.NDArray[np.int64]  # (n,), 0..6 in the order of `semblante.EMOTIONS`
    splits: npt.NDArray[np.uint8]  # (n,), index into `SPLITS`

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, name: str) -> Dataset:
        """The faces of one of `SPLITS`, in the file's order.

        Raises `DataError` for an unknown name, and for a split without a face.
        """
        if name not in SPLITS:
            raise DataError(f"unknown split {name!r}; known: {', '.join(SPLITS)}")
        mask = self.splits == SPLITS.index(name)
        if not mask.any():
            raise DataError(f"the dataset has no {name} rows")
        return Dataset(self.images[mask], self.labels[mask], self.splits[mask])

    def fingerprint(self) -> str:
        """sha256 over pixels, labels and splits: the same faces give the same fingerprint."""
        digest = hashlib.sha256()
        for part in (self.images, self.labels, self.splits):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def seen_in(images: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """For each of `images` (n, 48, 48): is an exact copy of it among `others` (m, 48, 48)?

    FER2013 was collected by web search and repeats itself: 8 % of its test images are
    also in Training. What a network scores on those says nothing about new faces.
    """
    known = {image.tobytes() for image in others}
    return np.array([image.tobytes() in known for image in images], dtype=np.bool_)
