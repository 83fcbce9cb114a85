"""The recurrent convolutional network of Liang & Hu (CVPR 2015).

A convolutional layer sees its neighbourhood once. A *recurrent* convolutional layer looks
again: its units also receive, through a second kernel, what their neighbours said a moment
before, so that the context each unit has seen grows with every step while the number of
weights stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RecurrentConvolution(nn.Module):
    """A recurrent convolutional layer (RCL), Liang & Hu 2015, section 3.1.

    Its input u stays fixed while it runs for `steps` steps after the first:

        z(0) = w_f * u + b
        z(t) = w_f * u + w_r * x(t-1) + b        t = 1 .. steps
        x(t) = norm_t(relu(z(t)))

    The feed-forward term w_f * u + b does not change over time and is computed once; w_r is
    one kernel shared by all steps. The paper's norm is local response normalisation; here
    it is batch normalisation with *its own parameters and statistics for each step t*,
    since the distribution of x(t) changes with t.
    """

    def __init__(
        self, in_channels: int, channels: int, steps: int, *, kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"expected steps >= 0, found {steps}")
        self.steps = steps
        self.feed_forward = nn.Conv2d(
            in_channels, channels, kernel, stride=stride, padding=kernel // 2
        )
        self.recurrent = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(steps + 1))

    def forward(self, u: Tensor) -> Tensor:
        """(n, in_channels, H, W) -> x(steps), (n, channels, H / stride, W / stride)."""
        fixed = self.feed_forward(u)
        x: Tensor = self.norms[0](torch.relu(fixed))
        for norm in self.norms[1:]:
            x = norm(torch.relu(fixed + self.recurrent(x)))
        return x


class RecurrentNetwork(nn.Module):
    """A stem, a stack of recurrent layers, and a linear classifier on their averaged maps."""

    def __init__(
        self,
        *,
        stem: int,
        channels: Sequence[int],
        steps: Sequence[int],
        strides: Sequence[int],
        dropout: float,
        n_classes: int = 7,
    ) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.stem = nn.Conv2d(1, stem, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        widths = [stem, *channels]
        self.layers = nn.ModuleList(
            RecurrentConvolution(before, after, t, stride=stride)
            for before, after, t, stride in zip(widths[:-1], channels, steps, strides, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, faces: Tensor) -> Tensor:
        """Standardised faces (n, 1, 48, 48) -> logits (n, n_classes)."""
        x = torch.relu(self.stem_norm(self.stem(faces)))  # (n, stem, 48, 48)
        for layer in self.layers:
            x = layer(x)  # rcnn-small: 64 maps of 24x24, 128 of 12x12, 192 of 6x6
        x = x.mean(dim=(2, 3))  # global average pooling: (n, channels[-1])
        logits: Tensor = self.classifier(self.dropout(x))
        return logits
