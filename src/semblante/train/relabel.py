"""What a face is likely to be labelled, rather than what it happens to be labelled.

FER2013's labels are noisy: of ten people who looked again (FER+), most chose another emotion for
37 % of the faces. Where more is known of a face in training than at recognition, here the ten
votes, a target that uses it has the same mean as the label and less noise, and a network learns
from it as from more data (privileged information: Lopez-Paz et al., ICLR 2016; why less variance
helps: Menon et al., ICML 2021, section 3).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from semblante.train.objective import N_EMOTIONS

_PENALTY: Final = 1e-4  # on the squared weights; there are some 250 of them for 28,709 faces
_FLOOR: Final = 1e-4  # of an estimate, before its logarithm


def likely_labels(labels: Tensor, votes: Tensor, estimates: Tensor | None = None) -> Tensor:
    """P(label | votes, estimates) for each face, (n, 7), by multinomial logistic regression.

    `labels` (n,) of Training, on which it is fitted; `votes` (n, 10), FER+'s counts; `estimates`
    (n, 7), the probabilities of a network, where there is one.
    """
    shares = votes.float() / votes.sum(dim=1, keepdim=True).clamp(min=1)
    known = [shares, shares.sqrt(), (votes > 0).float()]
    if estimates is not None:
        known.append((estimates + _FLOOR).log())
    features = torch.cat(known, dim=1)
    weights = torch.zeros(features.shape[1], N_EMOTIONS, requires_grad=True)
    bias = torch.zeros(N_EMOTIONS, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        optimiser.zero_grad()
        loss = (
            F.cross_entropy(features @ weights + bias, labels) + _PENALTY * weights.square().sum()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(error)  # type: ignore[no-untyped-call]
    return torch.softmax(features @ weights + bias, dim=1).detach()
