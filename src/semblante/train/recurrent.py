"""Recurrent convolutional networks: Liang & Hu (CVPR 2015), Wang & Hu (NeurIPS 2017).

A convolutional layer computes its feature maps in one step. A *recurrent* convolutional layer takes
several: at each, its units also receive, through a second kernel, the outputs of their neighbours
at the step before. So the receptive field of each unit grows with every step, while the number of
weights stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

# How the states of a recurrent layer are normalised, see `_norms`.
NORMS: Final = ("batch", "shared-batch", "lrn")
POOLINGS: Final = ("average", "max")


class RecurrentConvolution(nn.Module):
    """A recurrent convolutional layer (RCL), Liang & Hu 2015, section 3.1.

    Its input u stays fixed during the steps t = 0 .. `steps`:

        z(0) = w_f * u + b
        z(t) = w_f * u + w_r * x(t-1) + b        t = 1 .. steps
        x(t) = norm_t(relu(z(t)))

    The feed-forward term w_f * u + b does not change over time and is computed once; all steps
    share the kernel w_r. `norm` is one of `NORMS`: the paper uses local response normalisation
    ("lrn"). The default here is batch normalisation with *separate statistics for each step t*
    ("batch"; Cooijmans et al., ICLR 2017, section 3), and also with separate parameters, since the
    distribution of x(t) changes with t; "shared-batch" has one norm for all steps, as a control.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        steps: int,
        *,
        stride: int = 1,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"expected steps >= 0, found {steps}")
        self.steps = steps
        self.feed_forward = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1)
        self.recurrent = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = _norms(norm, channels, steps + 1)

    def forward(self, u: Tensor) -> Tensor:
        """(n, in_channels, H, W) -> x(steps), (n, channels, ceil(H / stride), ceil(W / stride))."""
        return self.states(u)[-1]

    def states(self, u: Tensor) -> list[Tensor]:
        """x(0) .. x(steps)."""
        fixed = self.feed_forward(u)
        states: list[Tensor] = [self.norms[0](torch.relu(fixed))]
        for norm in self.norms[1:]:
            states.append(norm(torch.relu(fixed + self.recurrent(states[-1]))))
        return states


class GatedRecurrentConvolution(nn.Module):
    """A gated recurrent convolutional layer (GRCL), Wang & Hu 2017, equations 4 to 6.

    A gate, from 0 to 1 for each unit, controls how much of its neighbours' context it takes in:

        x(0) = relu(BN(w_f * u))
        G(t) = sigmoid(BN(w_gf * u) + BN(w_gr * x(t-1)))
        x(t) = relu(BN(w_f * u) + BN(BN(w_r * x(t-1)) . G(t)))        t = 1 .. steps

    The gate's kernels w_gf and w_gr are 1x1. All steps share the kernels; each BN in the equations
    stands for a separate batch norm at each step.
    """

    def __init__(self, in_channels: int, channels: int, steps: int, *, stride: int = 1) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"expected steps >= 0, found {steps}")
        self.steps = steps
        self.feed_forward = nn.Conv2d(
            in_channels, channels, 3, stride=stride, padding=1, bias=False
        )
        self.recurrent = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.gate_feed_forward = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
        self.gate_recurrent = nn.Conv2d(channels, channels, 1, bias=False)
        self.norms = _norms("batch", channels, steps + 1)  # of w_f * u
        # For the steps t = 1 .. steps, in the order of the equations.
        self.gate_feed_forward_norms = _norms("batch", channels, steps)
        self.gate_recurrent_norms = _norms("batch", channels, steps)
        self.recurrent_norms = _norms("batch", channels, steps)
        self.gated_norms = _norms("batch", channels, steps)

    def forward(self, u: Tensor) -> Tensor:
        """(n, in_channels, H, W) -> x(steps), (n, channels, ceil(H / stride), ceil(W / stride))."""
        return self.states(u)[-1]

    def states(self, u: Tensor) -> list[Tensor]:
        """x(0) .. x(steps)."""
        fixed, gate_fixed = self.feed_forward(u), self.gate_feed_forward(u)
        states = [torch.relu(self.norms[0](fixed))]
        for t in range(self.steps):
            x = states[-1]
            gate = torch.sigmoid(
                self.gate_feed_forward_norms[t](gate_fixed)
                + self.gate_recurrent_norms[t](self.gate_recurrent(x))
            )
            context = self.gated_norms[t](self.recurrent_norms[t](self.recurrent(x)) * gate)
            states.append(torch.relu(self.norms[t + 1](fixed) + context))
        return states


class RecurrentNetwork(nn.Module):
    """A stem, a stack of recurrent layers, and a linear classifier on their pooled maps.

    The stem has `stem` feature maps. `channels`, `steps` and `strides` have one value for each
    recurrent layer. `norm` is that of `RecurrentConvolution`; gated layers ignore it. The `pooling`
    of each map to one number is "average" or, as in Liang & Hu, "max".

    The classifier can be applied to the last layer's state at every step. A network that was
    trained for this (the option `all_steps_weight`) can take fewer steps, for less time and less
    accuracy.

    `enlargement` is the factor by which faces are enlarged first. This adds no detail, but every
    layer samples them more finely with the same kernels (Touvron et al., NeurIPS 2019). For the
    results, see docs/experiments.md, "the same kernels on larger faces".
    """

    def __init__(
        self,
        *,
        stem: int,
        channels: Sequence[int],
        steps: Sequence[int],
        strides: Sequence[int],
        dropout: float,
        gated: bool = False,
        norm: str = "batch",
        pooling: str = "average",
        enlargement: float = 1.0,
        n_classes: int = 7,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
        self.pooling = pooling
        self.steps = tuple(steps)
        self.enlargement = enlargement
        self.stem = nn.Conv2d(1, stem, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        widths = [stem, *channels]
        layers = zip(widths[:-1], channels, steps, strides, strict=True)
        self.layers = nn.ModuleList(
            GatedRecurrentConvolution(before, after, t, stride=stride)
            if gated
            else RecurrentConvolution(before, after, t, stride=stride, norm=norm)
            for before, after, t, stride in layers
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], n_classes)
        initialise(self)

    def forward(self, faces: Tensor) -> Tensor:
        """Standardised faces (n, 1, 48, 48) -> logits (n, n_classes)."""
        return self._classify(self._states(faces)[-1])

    def all_steps(self, faces: Tensor) -> list[Tensor]:
        """Logits (n, n_classes) after each step of the last layer, t = 0 .. T."""
        return [self._classify(state) for state in self._states(faces)]

    def first_maps(self, faces: Tensor) -> Tensor:
        """The stem's maps before their norm, (n, stem, 48, 48) where faces are not enlarged."""
        if self.enlargement != 1:
            height, width = faces.shape[2:]
            size = (round(self.enlargement * height), round(self.enlargement * width))
            faces = interpolate(faces, size=size, mode="bilinear", align_corners=False)
        maps: Tensor = self.stem(faces)
        return maps

    def _states(self, faces: Tensor) -> list[Tensor]:
        x = torch.relu(self.stem_norm(self.first_maps(faces)))
        for layer in self.layers[:-1]:
            x = layer(x)  # rcnn-small: 64 maps of 24x24, 128 of 12x12
        last = self.layers[-1]
        assert isinstance(last, (RecurrentConvolution, GatedRecurrentConvolution))
        return last.states(x)  # 192 of 6x6

    def _classify(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3)) if self.pooling == "average" else x.amax(dim=(2, 3))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


class LiangHuNetwork(nn.Module):
    """The network of Liang & Hu 2015, figure 3: `maps` K in each layer, T steps.

    Convolution 5x5, pooling 3/2, RCL, RCL, pooling 3/2, RCL, RCL, global max pooling, softmax.
    With 3 input channels and 10 classes it has 0.67, 1.19 and 1.86 million parameters for
    K = 96, 128 and 160 with the paper's normalisation, which has no parameters (table 3).
    """

    def __init__(
        self,
        *,
        maps: int,
        steps: int = 3,
        norm: str = "batch",
        in_channels: int = 1,
        n_classes: int = 7,
    ) -> None:
        super().__init__()
        self.steps = (steps,) * 4

        def recurrent() -> nn.Module:
            return RecurrentConvolution(maps, maps, steps, norm=norm)

        self.features = nn.Sequential(
            nn.Conv2d(in_channels, maps, 5, padding=2),
            nn.ReLU(),
            *_norms(norm, maps, 1),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Dropout(0.5),
            recurrent(),
            nn.Dropout(0.5),
            recurrent(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Dropout(0.5),
            recurrent(),
            nn.Dropout(0.5),
            recurrent(),
        )
        self.classifier = nn.Linear(maps, n_classes)
        initialise(self)

    def forward(self, faces: Tensor) -> Tensor:
        """Standardised faces (n, in_channels, 48, 48) -> logits (n, n_classes)."""
        logits: Tensor = self.classifier(self.features(faces).amax(dim=(2, 3)))
        return logits


def every_step(network: nn.Module, faces: Tensor) -> list[Tensor]:
    """The logits (n, classes) after each step of the last layer, in order.

    A network other than a `RecurrentNetwork` has only its outputs, as if after one step.
    """
    if isinstance(network, RecurrentNetwork):
        return network.all_steps(faces)
    return [network(faces)]


def initialise(network: nn.Module) -> None:
    """Draw the kernels as He et al. (ICCV 2015) do for ReLU, so that gradients keep their size."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _norms(norm: str, channels: int, count: int) -> nn.ModuleList:
    """`count` normalisations, one for each step.

    "batch": a separate batch norm for each step; "shared-batch": the same one for all steps; "lrn":
    the local response normalisation of Krizhevsky et al. (2012) with the constants of Liang & Hu,
    section 3.1: x divided by (1 + 0.001 / N sum of x^2 over N neighbouring maps)^0.75, where
    N = channels / 8 + 1.
    """
    if norm == "batch":
        return nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(count))
    if norm == "shared-batch":
        return nn.ModuleList([nn.BatchNorm2d(channels)] * count)
    if norm == "lrn":
        lrn = nn.LocalResponseNorm(channels // 8 + 1, alpha=0.001, beta=0.75, k=1.0)
        return nn.ModuleList([lrn] * count)
    raise ValueError(f"unknown norm {norm!r}; known: {', '.join(NORMS)}")
