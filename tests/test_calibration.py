"""Temperatures: found where they are known, and no other emotion comes first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semblante.train.calibration import _PENALTY, calibrated, fit_temperatures


def drawn(n: int, temperatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,), and logits (n, 7) of which `temperatures` make the right probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (n, 7))
    log_t = torch.from_numpy(np.log(temperatures))
    shares = calibrated(torch.from_numpy(logits), log_t).softmax(dim=1).numpy()
    return (shares.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), logits


def test_calibrated_by_hand() -> None:
    """p = (0.75, 0.25), T = exp(0.75 log 2 + 0.25 log 0.5) = sqrt(2)."""
    logits = torch.tensor([[np.log(3.0), 0.0]])
    found = calibrated(logits, torch.tensor([2.0, 0.5]).log())
    torch.testing.assert_close(found, logits / 2**0.5)


def test_the_order_of_emotions_stays() -> None:
    logits = torch.from_numpy(np.random.default_rng(1).normal(0, 3, (1000, 7)))
    found = calibrated(logits, torch.tensor([0.3, 5.0, 1.0, 0.7, 2.0, 1.5, 0.5]).log())
    assert torch.equal(found.argsort(dim=1), logits.argsort(dim=1))


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_finds_one_temperature_for_all(factor: float) -> None:
    labels, logits = drawn(20_000, np.ones(7))
    assert fit_temperatures(labels, factor * logits) == pytest.approx([factor] * 7, rel=0.1)


def test_finds_the_temperatures_that_were_applied() -> None:
    temperatures = np.array([1.2, 0.8, 1.0, 1.1, 0.9, 1.3, 0.7])
    labels, logits = drawn(100_000, temperatures)
    found = fit_temperatures(labels, logits)
    assert found == pytest.approx(temperatures, rel=0.1)
    assert np.corrcoef(found, temperatures)[0, 1] > 0.98


def test_nothing_near_is_better() -> None:
    labels, logits = drawn(3_000, np.array([1.2, 0.8, 1.0, 1.1, 0.9, 1.3, 0.7]))

    def error(log_t: np.ndarray) -> float:
        scores = calibrated(torch.from_numpy(logits), torch.from_numpy(log_t)).numpy()
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        likelihood = np.log(shares[np.arange(3_000), labels]).mean()
        return _PENALTY * ((log_t - log_t.mean()) ** 2).sum() - likelihood

    found = np.log(fit_temperatures(labels, logits))
    for k in range(7):
        for step in (-0.02, 0.02):
            assert error(found + step * (np.arange(7) == k)) > error(found)


@pytest.mark.parametrize("n", [20, 30, 100])
def test_few_faces_change_little(n: int) -> None:
    """Of 30 faces of one's own, temperatures that fit them best are 0.2 to 4 and fit no others."""
    labels, logits = drawn(20_000, np.ones(7))

    def loss(rows: slice, log_t: np.ndarray) -> float:
        scores = calibrated(torch.from_numpy(logits[rows]), torch.from_numpy(log_t))
        return float(torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels[rows])))

    rest = slice(10_000, None)
    for start in range(0, 10 * n, n):
        some = slice(start, start + n)
        found = np.log(fit_temperatures(labels[some], logits[some]))
        assert loss(rest, found) < loss(rest, np.zeros(7)) + 0.03
