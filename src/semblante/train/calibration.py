"""Calibrates probabilities, without changing which emotion comes first.

A single temperature (Guo et al., ICML 2017, section 4.2) leaves a network overconfident in some
emotions and underconfident in others. So each emotion has its own temperature, and that of a face
is their geometric mean, weighted by the probabilities of the emotions:

    p = softmax(z),  T = exp(sum_k p_k log T_k),  calibrated z = z / T

T is a single positive number for each face, so the order of its emotions does not change, as in
the related parameterised temperature scaling (Tomani et al., ECCV 2022).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

# On the squared distances of log T_k from their mean, since rare emotions have few faces to fit.
_PENALTY: Final = 3e-3
# With fewer faces the penalty grows, in inverse proportion; and with fewer than `_FEW` there is one
# on the distance of the mean from 0, too. Of 30 faces' own, temperatures made probabilities much
# worse than none did (docs/experiments.md, "temperatures from few faces").
_ENOUGH: Final = 3000
_FEW: Final = 600
# Of |log T_k|: for a network that has learnt nothing, the best T_k would be infinite.
_LIMIT: Final = math.log(10)


def calibrated(logits: Tensor, log_temperatures: Tensor) -> Tensor:
    """Calibrated logits (n, k), from logits (n, k) and the emotions' log T_k (k,)."""
    weights = torch.softmax(logits, dim=1)
    return logits / (weights * log_temperatures).sum(dim=1, keepdim=True).exp()


def fit_temperatures(
    labels: npt.NDArray[np.int64], logits: npt.NDArray[np.floating[Any]]
) -> list[float]:
    """Fit T_k, one for each column of `logits` (n, k), to `labels` (n,); each is 0.1 to 10.

    Minimises the mean negative log-likelihood of the calibrated logits, plus penalties on the
    differences between the T_k and, where faces are few, on their distance from 1.
    """
    n, k = logits.shape
    together: float = _PENALTY * max(1.0, _ENOUGH / n)
    to_one: float = _PENALTY * k * max(0.0, _FEW / n - 1)
    scores, right = torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)
    free = torch.zeros(k, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        optimiser.zero_grad()
        log_t = _limited(free)
        spread, middle = (log_t - log_t.mean()).square().sum(), log_t.mean().square()
        loss = F.cross_entropy(calibrated(scores, log_t), right)
        loss = loss + together * spread + to_one * middle
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(error)  # type: ignore[no-untyped-call]
    found: list[float] = _limited(free.detach()).exp().tolist()
    return found


def _limited(values: Tensor) -> Tensor:
    return _LIMIT * torch.tanh(values / _LIMIT)
