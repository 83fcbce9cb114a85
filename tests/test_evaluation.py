"""Evaluation, and what the shipped weights reach on the real test splits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from conftest import SHARED, needs_fer2013
from semblante.data import Dataset
from semblante.data.ferplus import FERPLUS_EMOTIONS, FERPLUS_INDICES, VOTES, FerPlus, load_ferplus
from semblante.emotions import EMOTIONS, LANGUAGES
from semblante.errors import DataError, OptionError
from semblante.evaluation import _views, compare, evaluate
from semblante.metrics import paired_difference
from semblante.models import DEFAULT_MODEL, MODELS, model_path
from semblante.plots import class_name, draw_confusion, draw_reliability
from semblante.recognise.classifier import Classifier
from semblante.tabular import answer_rows


class BarReader:
    """A classifier for the patterns: the class is the position of the bright bar."""

    head = "fer2013"
    max_steps = None

    def __init__(self, wrong_every: int = 10**9) -> None:
        self.wrong_every = wrong_every

    def probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        bars = np.stack([faces[:, 6 * c + 2 : 6 * c + 8].mean(axis=(1, 2)) for c in range(7)], 1)
        answers = bars.argmax(axis=1)
        answers[self.wrong_every - 1 :: self.wrong_every] += 1
        return np.eye(7, dtype=np.float32)[answers % 7] * 0.94 + 0.06 / 7

    def ferplus_probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        raise NotImplementedError

    def steps_taken(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        raise NotImplementedError


def with_leaks(patterns: Dataset, n: int) -> Dataset:
    """The first n PublicTest faces become copies of Training faces with the same labels."""
    images = patterns.images.copy()
    images[84 : 84 + n] = images[:n]
    return Dataset(images, patterns.labels, patterns.splits)


def test_figures_of_a_known_classifier(patterns: Dataset) -> None:
    found = evaluate(BarReader(wrong_every=4), with_leaks(patterns, 10), "PublicTest").to_dict()
    assert list(found) == [
        "model", "split", "tta", "labels", "head", "n", "accuracy", "accuracy_ci95", "macro_f1",
        "ece", "ece_by_chance", "per_class", "confusion", "selective", "mean_steps", "leak_free",
    ]  # fmt: skip
    assert found["n"] == 84
    assert found["selective"][-1] == {
        "confidence": 0.9, "share": 1, "accuracy": found["accuracy"],
        "leak_free": found["leak_free"]["accuracy"],
    }  # fmt: skip
    assert [row["confidence"] for row in found["selective"]] == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert found["accuracy"] == pytest.approx(63 / 84)
    assert found["accuracy_ci95"][0] < 0.75 < found["accuracy_ci95"][1]
    assert np.sum(found["confusion"]) == 84
    # Two of the ten copies, numbers 3 and 7, are answered wrongly, and 19 of the other 74.
    assert found["leak_free"] == {"n": 74, "accuracy": pytest.approx(55 / 74)}
    assert [row["n"] for row in found["per_class"].values()] == [12] * 7


def test_each_answer_is_kept(patterns: Dataset) -> None:
    found = evaluate(BarReader(wrong_every=4), with_leaks(patterns, 10), "PublicTest")
    assert found.rows.tolist() == list(range(84, 168))
    assert found.truth.tolist() == patterns.labels[84:168].tolist()
    assert found.right.mean() == found.accuracy
    assert not found.right[3::4].any()
    assert found.in_training is not None
    assert found.in_training.tolist() == [True] * 10 + [False] * 74
    rows = list(answer_rows(found, None))
    assert [row[0] for row in rows] == found.rows.tolist()
    assert [row[2] == row[3] for row in rows] == found.right.tolist()
    assert [row[4] for row in rows] == found.in_training.tolist()
    assert rows[0][5:] == found.probabilities[0].tolist()
    assert found.classes == EMOTIONS


def test_two_models_on_the_same_faces(patterns: Dataset) -> None:
    whole = evaluate(BarReader(), patterns)
    fourth, third = (evaluate(BarReader(wrong_every=n), patterns) for n in (4, 3))
    found = compare(fourth, third).to_dict()
    # Of 84 faces one answers 21 wrongly, the other 28, and both the same 7 of these.
    assert found["only_right"] == [21, 14]
    assert found["difference"] == pytest.approx(7 / 84)
    assert found["accuracy"] == pytest.approx([63 / 84, 56 / 84])
    # The probability of at most 14, or at least 21, heads in 35 tosses of a coin.
    assert found["p"] == pytest.approx(2 * sum(math.comb(35, k) for k in range(15)) / 2**35)
    low, high = found["ci95"]
    assert low < 0 < 7 / 84 < high
    assert compare(whole, whole).to_dict() == {
        "n": 84, "accuracy": [1, 1], "difference": 0, "only_right": [0, 0], "p": 1,
        "ci95": pytest.approx([-1.96 / 86, 1.96 / 86], abs=1e-4),
    }  # fmt: skip
    surely = compare(whole, evaluate(BarReader(wrong_every=2), patterns))
    assert surely.p == pytest.approx(2 / 2**42)
    assert surely.ci95[0] > 0.35
    with pytest.raises(OptionError, match="two evaluations of the same faces"):
        compare(whole, evaluate(BarReader(), patterns, "PrivateTest"))


def test_the_interval_of_a_difference_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for n, only_first, only_second in ((40, 0.1, 0.05), (3589, 0.03, 0.023)):
        kinds = rng.choice(3, (2000, n), p=[only_first, only_second, 1 - only_first - only_second])
        held = 0
        for drawn in kinds:
            low, high = paired_difference(drawn != 1, drawn != 0).ci95
            held += low <= only_first - only_second <= high
        assert 0.93 < held / 2000 < 0.985


def test_copies_of_the_kept_faces_are_looked_for_in_all_of_training(patterns: Dataset) -> None:
    kept = np.ones(len(patterns), np.bool_)
    kept[:10] = False  # the faces of Training that are leaked
    kept[84:89] = False  # half of their copies
    found = evaluate(BarReader(), with_leaks(patterns, 10), kept=kept)
    assert (found.n, found.leak_free_n) == (79, 74)
    assert found.rows.tolist() == list(range(89, 168))
    assert found.in_training is not None
    assert found.in_training.tolist() == [True] * 5 + [False] * 74


def test_leak_free_where_nothing_can_be_said(patterns: Dataset) -> None:
    alone = evaluate(BarReader(), patterns.split("PrivateTest"), "PrivateTest").to_dict()
    assert alone["accuracy"] == 1
    assert alone["leak_free"] == {"n": None, "accuracy": None}
    assert alone["selective"][0]["leak_free"] is None
    itself = evaluate(BarReader(), patterns, "Training").to_dict()
    assert itself["leak_free"] == {"n": 0, "accuracy": None}


def test_views_and_splits_that_are_unknown_are_refused(patterns: Dataset) -> None:
    with pytest.raises(OptionError, match="unknown tta 'x'; known: none, flip, ten-crop"):
        evaluate(BarReader(), patterns, tta="x")
    with pytest.raises(DataError, match="unknown split 'Validation'"):
        evaluate(BarReader(), patterns, "Validation")


def test_views_are_mirrored_and_cropped_at_the_corners() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8)
    assert len(_views(faces, "none")) == 1
    one, other = _views(faces, "flip")
    assert np.array_equal(other, one[:, :, ::-1])
    ten = _views(faces, "ten-crop")
    assert len(ten) == 10
    assert all(view.shape == (3, 48, 48) and view.dtype == np.uint8 for view in ten)
    for straight, mirrored in zip(ten[::2], ten[1::2], strict=True):
        assert np.array_equal(mirrored, straight[:, :, ::-1])
    corners = [view[0, 0, 0] for view in ten[::2]]  # upper left pixel of each crop
    assert corners[:4] == [faces[0, y, x] for y, x in ((0, 0), (0, 4), (4, 0), (4, 4))]
    assert corners[4] == faces[0, 2, 2]


@pytest.mark.parametrize("draw", [draw_confusion, draw_reliability])
@pytest.mark.pictures
def test_plots_are_drawn_in_each_language(
    patterns: Dataset, tmp_path: Path, draw: Callable[..., None]
) -> None:
    pictures = []
    for language in LANGUAGES:
        found = evaluate(BarReader(3), patterns, model="$_$.onnx")
        draw(found, tmp_path / "picture.png", language)
        pictures.append((tmp_path / "picture.png").read_bytes())
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] != pictures[1]


def test_names_of_classes() -> None:
    assert [class_name(name, "es") for name in EMOTIONS] == [
        "enfado", "asco", "miedo", "alegría", "tristeza", "sorpresa", "neutral",
    ]  # fmt: skip
    assert [class_name(name, "es") for name in FERPLUS_EMOTIONS] == [
        "neutral", "alegría", "sorpresa", "tristeza", "enfado", "asco", "miedo", "desprecio",
    ]  # fmt: skip
    assert class_name("happiness", "en") == "happiness"


def test_ferplus_labels_row_by_row(patterns: Dataset) -> None:
    """Votes that agree with FER2013, except for contempt, a tie and a removed row."""
    votes = np.zeros((len(patterns), len(VOTES)), np.int64)
    votes[np.arange(len(patterns)), FERPLUS_INDICES[patterns.labels]] = 9
    named = np.ones(len(patterns), bool)
    public = np.flatnonzero(patterns.splits == 1)
    votes[public[0]] = 10 * np.eye(10, dtype=int)[VOTES.index("contempt")]
    votes[public[1]] = 5 * np.eye(10, dtype=int)[[0, 1]].sum(axis=0)
    votes[public[2]] = 10 * np.eye(10, dtype=int)[VOTES.index("NF")]
    named[public[3]] = False
    found = evaluate(BarReader(), patterns, votes=FerPlus(votes, named, patterns.splits)).to_dict()
    assert found["labels"] == "ferplus"
    assert found["n"] == 84 - 3
    assert found["accuracy"] == pytest.approx(80 / 81)  # contempt is never predicted
    assert list(found["per_class"]) == list(FERPLUS_EMOTIONS)
    assert found["per_class"]["contempt"]["n"] == 1
    assert found["per_class"]["happiness"]["recall"] == 1
    with pytest.raises(DataError, match="FER2013's 252 rows in their order; the dataset has 84"):
        evaluate(
            BarReader(), patterns.split("PublicTest"), votes=FerPlus(votes, named, patterns.splits)
        )


@needs_fer2013
@pytest.mark.parametrize("name", MODELS)
def test_shipped_weights_on_the_real_splits(fer2013: Dataset, name: str) -> None:
    classifier, entry = Classifier(model_path(name)), MODELS[name]
    if "int8" not in name:  # fp32 takes twice as long, so only a fifth of the faces is tested
        some = evaluate(classifier, fer2013.where(np.arange(0, len(fer2013), 5)), "PublicTest")
        assert some.accuracy == pytest.approx(entry.public_test, abs=0.03)
        return
    public = evaluate(classifier, fer2013, "PublicTest")
    assert public.n == 3_589
    assert public.leak_free_n == 3_309
    assert public.accuracy == pytest.approx(entry.public_test, abs=0.002)
    if name != DEFAULT_MODEL:
        return
    private = evaluate(classifier, fer2013, "PrivateTest")
    assert (private.n, private.leak_free_n) == (3_589, 3_301)
    assert private.accuracy == pytest.approx(entry.private_test, abs=0.002)
    votes = load_ferplus(SHARED / "fer2013" / "fer2013new.csv")
    by_majority = Classifier(model_path(name), head="ferplus")
    strict = evaluate(by_majority, fer2013, "PrivateTest", votes=votes)
    assert (strict.n, strict.head) == (3_153, "ferplus")
    assert strict.accuracy > 0.87
    # FER2013's labels differ from the majority's.
    by_label = evaluate(classifier, fer2013, "PrivateTest", votes=votes)
    assert by_label.head == "fer2013"
    assert by_label.accuracy < strict.accuracy - 0.1
