"""Probabilities that mean what they say, without another emotion coming first.

One temperature for all (Guo et al., ICML 2017, section 4.2) leaves a network that is too sure of
some emotions and not sure enough of others. So each emotion has its own, and a face's is their
geometric mean, weighted by how likely each emotion is:

    p = softmax(z),  T = exp(sum_k p_k log T_k),  calibrated z = z / T

T is one positive number for a face, so that the order of its emotions stays as it was, as in
parameterised temperature scaling (Tomani et al., ECCV 2022), to which this is related.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

# On the squared distances of log T_k from their mean: rare emotions have few faces to tell by.
_PENALTY: Final = 3e-3
# Of log T_k, to either side: a network that has learnt nothing would have an infinite one.
_LIMIT: Final = math.log(10)


def calibrated(logits: Tensor, log_temperatures: Tensor) -> Tensor:
    """(n, k) logits and log T (k,) -> (n, k)."""
    weights = torch.softmax(logits, dim=1)
    return logits / (weights * log_temperatures).sum(dim=1, keepdim=True).exp()


def fit_temperatures(
    labels: npt.NDArray[np.int64], logits: npt.NDArray[np.floating[Any]]
) -> list[float]:
    """The T_k, one for each column of `logits` (n, k), that suit `labels` (n,) best; 0.1 to 10.

    By the mean negative log-likelihood of the calibrated logits, and a penalty on how far the
    T_k lie apart.
    """
    scores, right = torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)
    free = torch.zeros(scores.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        optimiser.zero_grad()
        log_t = _limited(free)
        spread = (log_t - log_t.mean()).square().sum()
        loss = F.cross_entropy(calibrated(scores, log_t), right) + _PENALTY * spread
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(error)  # type: ignore[no-untyped-call]
    found: list[float] = _limited(free.detach()).exp().tolist()
    return found


def _limited(values: Tensor) -> Tensor:
    return _LIMIT * torch.tanh(values / _LIMIT)
