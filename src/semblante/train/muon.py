"""The optimiser Muon: gradient descent with orthogonalised updates of convolution kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

# Coefficients of the Newton-Schulz iteration by Jordan et al.: they bring every singular value near
# 1 in few iterations, instead of exactly to 1 in many.
_A: Final = 3.4445
_B: Final = -4.7750
_C: Final = 2.0315
_TINY: Final = 1e-7  # the smallest divisor


class Muon(torch.optim.Optimizer):
    """Jordan et al. (2024, "Muon: an optimizer for hidden layers"), for convolutions.

    The Nesterov momentum v of a kernel's gradient, as a matrix (out, in * height * width), is
    replaced by the nearest matrix all of whose singular values are the same, so that a direction
    which many gradients share does not drown out the others. Much as in the authors' CIFAR-10 runs,
    the norm of a kernel never changes: the normalisation after a kernel makes its norm irrelevant
    (only the ratio between the two kernels of a recurrent layer matters; it stays as initialised).
    Hence alpha is about the angle of a step in radians, and weight decay does not apply. Parameters
    that are not convolution kernels are updated by SGD with Nesterov momentum.

    With `bf16` the matrix is computed in bfloat16, as its authors do; weights stay in fp32.
    """

    def __init__(self, groups: Any, *, lr: float, momentum: float, bf16: bool = False) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})
        self.precision = torch.bfloat16 if bf16 else torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                gradient = w.grad if w.ndim == 4 else w.grad + group["weight_decay"] * w
                state = self.state[w]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(w)
                v = state["momentum_buffer"]
                v.mul_(group["momentum"]).add_(gradient)
                update = gradient + group["momentum"] * v
                if w.ndim == 4:
                    length = w.norm()
                    matrix = update.flatten(1).to(self.precision)
                    update = orthogonal(matrix).to(w.dtype).view_as(w)
                    w.sub_(update * (group["lr"] * length / update.norm().clamp(min=_TINY)))
                    w.mul_(length / w.norm().clamp(min=_TINY))
                else:
                    w.sub_(group["lr"] * update)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """U V^T for a matrix U S V^T (m, n), roughly: most singular values end between 0.68 and 1.2,
    those below about 1/700 of the matrix's norm stay smaller."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=_TINY)
    for _ in range(iterations):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.T if tall else x
