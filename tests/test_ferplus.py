"""FER+'s votes: the majority rule, reading the file, and whether they fit a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import SHARED, needs_fer2013
from semblante import DataError, Dataset
from semblante.data.dataset import UNLABELLED
from semblante.data.ferplus import FERPLUS_INDICES, VOTES, FerPlus, load_ferplus


def slow_majority(votes: list[int]) -> int:
    """A transcription of the authors' code, mode majority."""
    votes = [0 if count < 2 else count for count in votes]
    largest = max(votes)
    if largest > 0.5 * sum(votes):
        winner = votes.index(largest)
        return winner if winner < 8 else -1
    return -1


def test_majority_row_by_row() -> None:
    rng = np.random.default_rng(0)
    votes = np.stack([rng.multinomial(10, rng.dirichlet(np.full(10, 0.2))) for _ in range(500)])
    faces = FerPlus(votes, np.ones(500, bool), np.zeros(500, np.uint8))
    assert faces.majority().tolist() == [slow_majority(row.tolist()) for row in votes]
    shares = faces.distributions()
    assert np.allclose(shares.sum(axis=1), (votes[:, :8].sum(axis=1) > 0).astype(float))


def test_rows_that_the_authors_removed_have_no_majority(tmp_path: Path) -> None:
    path = tmp_path / "fer2013new.csv"
    lines = [",".join(["Usage", "Image name", *VOTES])]
    lines += [f"Training,{name},0,10{',0' * 8}" for name in ("fer0000000.png", "", " ")]
    path.write_text("\n".join(lines) + "\n")
    assert load_ferplus(path).majority().tolist() == [1, -1, -1]


def test_half_of_the_votes_are_not_most_of_them() -> None:
    votes = np.zeros((2, 10), np.int64)
    votes[:, VOTES.index("NF")] = 5, 6
    votes[:, 0] = 5, 4
    faces = FerPlus(votes, np.ones(2, bool), np.zeros(2, np.uint8))
    assert faces.majority().tolist() == [-1, -1]
    assert faces.no_face().tolist() == [False, True]


def test_ferplus_names() -> None:
    assert [VOTES[index] for index in FERPLUS_INDICES] == [
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral",
    ]  # fmt: skip


@needs_fer2013
def test_the_real_votes(fer2013: Dataset) -> None:
    faces = load_ferplus(SHARED / "fer2013" / "fer2013new.csv")
    assert np.array_equal(faces.splits, fer2013.splits)
    kept = faces.majority() >= 0
    assert [int(kept[faces.splits == split].sum()) for split in range(3)] == [25_060, 3_199, 3_153]
    nobody = faces.no_face()
    assert [int(nobody[faces.splits == split].sum()) for split in range(3)] == [150, 10, 16]


def test_faces_without_a_label_neither_agree_nor_disagree() -> None:
    labels = np.random.default_rng(0).integers(0, 7, 600)
    votes = np.zeros((600, 10), np.int64)
    votes[np.arange(600), FERPLUS_INDICES[labels]] = 10
    splits = np.repeat(np.array([0, 2], np.uint8), 300)
    faces, images = FerPlus(votes, np.ones(600, bool), splits), np.zeros((600, 48, 48), np.uint8)
    known = np.where(splits == 2, UNLABELLED, labels)
    faces.check_rows_of(Dataset(images, known, splits))
    with pytest.raises(DataError, match=r"in Training they agree with 1\d% "):
        faces.check_rows_of(Dataset(images, np.roll(known, 1), splits))


@needs_fer2013
def test_votes_of_other_rows(fer2013: Dataset) -> None:
    """Splits stay the same, but the faces in each are in another order."""
    votes = load_ferplus(SHARED / "fer2013" / "fer2013new.csv")
    votes.check_rows_of(fer2013)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(np.flatnonzero(fer2013.splits == n)) for n in range(3)])
    with pytest.raises(DataError, match=r"in Training they agree with 1\d% "):
        votes.check_rows_of(fer2013.where(order))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a,b"], "expected the header Usage,Image name"),
        (["H", "Training,x,1,2"], "line 2: expected a Usage, an image name and 10 counts"),
        (["H", "Training,x" + ",1" * 9 + ",-1"], "line 2: expected"),
        (["H", "Test,x" + ",1" * 10], "line 2: expected a Usage of Training"),
    ],
)
def test_bad_votes(tmp_path: Path, lines: list[str], expected: str) -> None:
    header = ",".join(["Usage", "Image name", *VOTES])
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join(header if line == "H" else line for line in lines) + "\n")
    with pytest.raises(DataError, match=expected):
        load_ferplus(path)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        load_ferplus(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04\xff\xfe, a table of a spreadsheet", "'utf-8' codec can't decode"),
        (b"x" * 200_000, "field larger than field limit"),
    ],
)
def test_votes_that_are_no_text(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "fer2013new.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"fer2013new\.csv: not a CSV text file: {reason}"):
        load_ferplus(path)
