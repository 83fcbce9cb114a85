"""The metrics, compared with slow and obvious versions."""

from __future__ import annotations

import numpy as np
import pytest

from semblante.errors import OptionError
from semblante.metrics import (
    accuracy,
    chance_calibration_error,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    per_class,
    reliability,
    selective_accuracy,
    wilson_interval,
)

_RNG = np.random.default_rng(0)
LABELS = _RNG.integers(0, 7, 500)
PREDICTED = np.where(_RNG.random(500) < 0.6, LABELS, _RNG.integers(0, 7, 500))


def test_confusion_counts_pairs() -> None:
    matrix = confusion_matrix(LABELS, PREDICTED)
    for true in range(7):
        for said in range(7):
            pairs = zip(LABELS, PREDICTED, strict=True)
            assert matrix[true, said] == sum((t, p) == (true, said) for t, p in pairs)
    assert np.trace(matrix) / 500 == accuracy(LABELS, PREDICTED)


def test_what_is_no_answer_is_refused() -> None:
    """A wrong figure would look like any other."""
    names = np.array(["happy"] * 500)
    with pytest.raises(
        OptionError, match=r"expected an array \(n,\) of whole numbers, found ndarray"
    ):
        accuracy(LABELS, names)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="of whole numbers, found list"):
        accuracy(LABELS.tolist(), PREDICTED)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="found 500 labels and 1 predictions"):
        accuracy(LABELS, PREDICTED[:1])
    with pytest.raises(OptionError, match="found 0 labels"):
        accuracy(LABELS[:0], PREDICTED[:0])
    with pytest.raises(OptionError, match=r"expected labels 0\.\.6, found 0\.\.7"):
        confusion_matrix(np.append(LABELS, 7), np.append(PREDICTED, 0))
    with pytest.raises(OptionError, match="expected labels from 0, found -1"):
        accuracy(np.append(LABELS, -1), np.append(PREDICTED, 0))
    with pytest.raises(
        OptionError, match=r"expected an array \(n, n_classes\), found ndarray float"
    ):
        expected_calibration_error(LABELS, np.zeros((500, 0)))
    with pytest.raises(
        OptionError, match=r"expected an array \(n, n_classes\), found ndarray int64"
    ):
        expected_calibration_error(LABELS, PREDICTED)  # type: ignore[arg-type]


def test_per_class_by_definition() -> None:
    for label, row in enumerate(per_class(confusion_matrix(LABELS, PREDICTED))):
        hits = sum((label == LABELS) & (label == PREDICTED))
        assert row["n"] == sum(label == LABELS)
        assert row["precision"] == pytest.approx(hits / sum(label == PREDICTED))
        assert row["recall"] == pytest.approx(hits / sum(label == LABELS))
        harmonic = 2 / (1 / row["precision"] + 1 / row["recall"])
        assert row["f1"] == pytest.approx(harmonic)


def test_macro_f1_leaves_out_classes_that_do_not_occur() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    assert macro_f1(confusion_matrix(labels, predicted)) == pytest.approx((0.8 + 2 / 3) / 2)


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20.
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
    ):
        assert wilson_interval(hits / n, n) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_stays_between_0_and_1() -> None:
    for n in range(1, 300):
        assert wilson_interval(0.0, n)[0] == pytest.approx(0, abs=1e-12)
        assert 0 <= wilson_interval(0.0, n)[0] < wilson_interval(1.0, n)[1] <= 1


def test_ece_by_loops() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(7, 0.3), 400)
    labels = rng.integers(0, 7, 400)
    expected = 0.0
    for b in range(15):
        inside = [i for i in range(400) if b / 15 < max(probabilities[i]) <= (b + 1) / 15]
        if inside:
            right = np.mean([np.argmax(probabilities[i]) == labels[i] for i in inside])
            sure = np.mean([max(probabilities[i]) for i in inside])
            expected += len(inside) / 400 * abs(right - sure)
    assert expected_calibration_error(labels, probabilities) == pytest.approx(expected)


def test_ece_of_exact_probabilities() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(7, 0.3), 2000)
    answers, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    # Labels that equal the answer exactly as often as its probability says.
    drawn = [
        expected_calibration_error(
            np.where(rng.random(2000) < sure, answers, (answers + 1) % 7), probabilities
        )
        for _ in range(300)
    ]
    mean, high = chance_calibration_error(probabilities)
    assert mean == pytest.approx(np.mean(drawn), rel=0.05)
    assert high == pytest.approx(np.quantile(drawn, 0.95), rel=0.1)
    assert chance_calibration_error(probabilities) == (mean, high)
    # Four times as many faces halve it.
    assert chance_calibration_error(np.tile(probabilities, (4, 1)))[0] == pytest.approx(
        mean / 2, rel=0.1
    )
    assert chance_calibration_error(np.eye(7)) == (0, 0)


def test_one_in_twenty_calibrated_models_errs_by_more_than_the_quantile() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.full(7, 0.3), 1000)
    answers, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    _, high = chance_calibration_error(probabilities)
    above = 0
    for _ in range(1000):
        labels = np.where(rng.random(1000) < sure, answers, (answers + 1) % 7)
        above += expected_calibration_error(labels, probabilities) > high
    assert 0.035 < above / 1000 < 0.07


def test_ece_of_the_certain() -> None:
    sure = np.eye(7)[[0, 1, 2, 3]]
    assert expected_calibration_error(np.array([0, 1, 2, 3]), sure) == 0
    assert expected_calibration_error(np.array([1, 2, 3, 4]), sure) == 1


def test_reliability_by_hand() -> None:
    """Two bins: three faces at 0.9, of which two are right, and one wrong one at 0.5."""
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.5, 0.5]])
    found = reliability(labels, probabilities)
    expected = [(0.25, 0.5, 0.0), (0.75, 0.9, 2 / 3)]
    assert np.allclose(found, expected)
    ece = 0.25 * 0.5 + 0.75 * (0.9 - 2 / 3)
    assert expected_calibration_error(labels, probabilities) == pytest.approx(ece)


def test_selective_accuracy_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.5, 0.5]])
    assert selective_accuracy(labels, probabilities, 0.5) == (1, 0.5)
    assert selective_accuracy(labels, probabilities, 0.6) == (0.75, pytest.approx(2 / 3))
    assert selective_accuracy(labels, probabilities, 0.7) == (0.5, 1)  # equal counts too
    assert selective_accuracy(labels, probabilities, 0.95) == (0, None)


def test_f1_of_a_class_that_is_hardly_known() -> None:
    assert [row["f1"] for row in per_class(np.array([[1, 3], [3, 1]]))] == [0.25, 0.25]


def test_a_class_of_a_single_face_is_counted() -> None:
    [first, second] = per_class(np.array([[1, 0], [0, 1]]))
    assert first == second == {"precision": 1, "recall": 1, "f1": 1, "n": 1}
