"""FER+: the votes of ten people on each face of FER2013 (Barsoum et al., ICMI 2016)."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import SPLITS, UNLABELLED, Dataset
from semblante.emotions import EMOTIONS
from semblante.errors import DataError

# The columns of fer2013new.csv after Usage and Image name.
VOTES: Final = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    "unknown", "NF",
)  # fmt: skip
FERPLUS_EMOTIONS: Final = VOTES[:8]
# The index in `FERPLUS_EMOTIONS` of each of FER2013's seven classes, which lack contempt.
FERPLUS_INDICES: Final = np.array(
    [
        FERPLUS_EMOTIONS.index(name)
        for name in ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    ]
)
assert len(FERPLUS_INDICES) == len(EMOTIONS)
NO_MAJORITY: Final = -1
# The majority of FER+'s votes agrees with FER2013's own label in 67 % of the rows of each split,
# but in only 18 % if the votes belong to other rows. `_ENOUGH_ROWS` rows tell the two cases apart.
_LEAST_AGREEMENT: Final = 0.4
_ENOUGH_ROWS: Final = 200


@dataclass(frozen=True, eq=False)
class FerPlus:
    """The votes for each row of FER2013, in FER2013's order."""

    votes: npt.NDArray[np.int64]  # (n, 10), in the order of `VOTES`
    named: npt.NDArray[np.bool_]  # (n,), False for rows that FER+'s authors removed
    splits: npt.NDArray[np.uint8]  # (n,), index into `SPLITS`

    def majority(self) -> npt.NDArray[np.int64]:
        """The label of each row, 0..7 in the order of `FERPLUS_EMOTIONS`, or `NO_MAJORITY`.

        This is the official rule for testing (mode *majority* of the authors' code): of the ten
        columns, those with a single vote are set to zero; a row keeps the emotion with the most
        votes if it has more than half of the remaining votes, unknown and NF included, and is
        neither of these two.
        """
        votes = np.where(self.votes == 1, 0, self.votes)
        winner = votes.argmax(axis=1)
        clear = 2 * votes.max(axis=1) > votes.sum(axis=1)
        kept = self.named & clear & (winner < len(FERPLUS_EMOTIONS))
        return np.where(kept, winner, NO_MAJORITY)

    def check_rows_of(self, dataset: Dataset) -> None:
        """Raise `DataError` unless these votes belong to the rows of `dataset`.

        Its rows must be in the same splits in the same order. In every split with enough rows the
        votes must agree with at least 40 % of the labels: rows may be shuffled within their split.
        """
        if not np.array_equal(self.splits, dataset.splits):
            if len(dataset) == len(self.splits):
                raise DataError("FER+'s votes are for FER2013's rows in their order of splits")
            raise DataError(
                f"FER+'s votes are for FER2013's {len(self.splits):,} rows in their order; the "
                f"dataset has {len(dataset):,}"
            )
        majority = self.majority()
        for number, split in enumerate(SPLITS):
            rows = (self.splits == number) & (majority != NO_MAJORITY)
            rows &= dataset.labels != UNLABELLED
            agree = FERPLUS_INDICES[dataset.labels[rows]] == majority[rows]
            if rows.sum() >= _ENOUGH_ROWS and agree.mean() < _LEAST_AGREEMENT:
                raise DataError(
                    f"FER+'s votes are for FER2013's rows in their order: in {split} they agree "
                    f"with {agree.mean():.0%} of the dataset's labels, as with those of other "
                    f"rows; with FER2013's own they do with two thirds"
                )

    def where(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> FerPlus:
        """The votes for the rows selected by a mask (n,) or by row numbers."""
        return FerPlus(self.votes[rows], self.named[rows], self.splits[rows])

    def fingerprint(self) -> str:
        """The sha256 of the votes in their order."""
        return hashlib.sha256(self.votes.tobytes()).hexdigest()

    def no_face(self) -> npt.NDArray[np.bool_]:
        """(n,): whether more than half of the taggers saw no face."""
        return np.asarray(2 * self.votes[:, VOTES.index("NF")] > self.votes.sum(axis=1))

    def distributions(self) -> npt.NDArray[np.float64]:
        """(n, 8): each emotion's share of a row's votes for emotions; 0 in a row without any."""
        emotions = self.votes[:, : len(FERPLUS_EMOTIONS)].astype(np.float64)
        total = emotions.sum(axis=1, keepdims=True)
        shares: npt.NDArray[np.float64] = np.zeros_like(emotions)
        np.divide(emotions, total, out=shares, where=total > 0)
        return shares


def load_ferplus(path: str | os.PathLike[str]) -> FerPlus:
    """Read `fer2013new.csv`. Raises `DataError`, which names the line, for a bad row."""
    path = Path(path)
    expected = ["Usage", "Image name", *VOTES]
    votes: list[list[int]] = []
    named: list[bool] = []
    splits: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            if (header := next(rows, [])) != expected:
                raise DataError(
                    f"{path}: expected the header {','.join(expected)}, found "
                    f"{','.join(header)[:60]!r}"
                )
            for row in rows:
                place = f"{path}, line {rows.line_num}"
                if len(row) != len(expected) or not all(
                    word.isdecimal() and len(word) < 4 for word in row[2:]
                ):
                    raise DataError(
                        f"{place}: expected a Usage, an image name and {len(VOTES)} counts of "
                        f"votes, found {','.join(row)[:60]!r}"
                    )
                if row[0] not in SPLITS:
                    raise DataError(
                        f"{place}: expected a Usage of {', '.join(SPLITS)}, found {row[0][:20]!r}"
                    )
                splits.append(SPLITS.index(row[0]))
                named.append(bool(row[1].strip()))
                votes.append([int(word) for word in row[2:]])
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV text file: {error}") from None
    return FerPlus(
        np.array(votes, np.int64).reshape(-1, len(VOTES)),
        np.array(named, np.bool_),
        np.array(splits, np.uint8),
    )
