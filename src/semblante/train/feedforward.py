"""Networks without recurrence: controls, to measure what recurrence is worth, and teachers.

All take standardised faces (n, 1, 48, 48) and give logits (n, n_classes).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semblante.train.recurrent import initialise


class PooledNetwork(nn.Module):
    """Features (n, channels, H, W), global average pooling, dropout, a linear classifier."""

    def __init__(
        self, features: nn.Module, channels: int, *, dropout: float, n_classes: int
    ) -> None:
        super().__init__()
        self.features = features
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, n_classes)
        initialise(self)

    def forward(self, faces: Tensor) -> Tensor:
        """Standardised faces (n, 1, 48, 48) -> logits (n, n_classes)."""
        logits: Tensor = self.classifier(self.dropout(self.features(faces).mean(dim=(2, 3))))
        return logits


# -- controls -----------------------------------------------------------------------------------


def feed_forward_twin(
    *,
    stem: int,
    channels: Sequence[int],
    depths: Sequence[int],
    strides: Sequence[int],
    dropout: float,
    n_classes: int = 7,
) -> PooledNetwork:
    """`RecurrentNetwork` with each recurrent layer replaced by plain convolutions.

    Layer i becomes a sequence of `depths[i]` + 1 convolutions, each with a kernel of its own, ReLU
    and batch normalisation, in this order, as in the recurrent layer. With a depth of 1 everywhere
    the twin has as many kernel weights as the recurrent network; with the recurrent network's steps
    as depths, as many multiply-adds.
    """
    modules: list[nn.Module] = [
        nn.Conv2d(1, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
    ]  # fmt: skip
    before = stem
    for after, depth, stride in zip(channels, depths, strides, strict=True):
        for number in range(depth + 1):
            first = number == 0
            modules += [
                nn.Conv2d(
                    before if first else after, after, 3, stride=stride if first else 1,
                    padding=1, bias=first,
                ),
                nn.ReLU(),
                nn.BatchNorm2d(after),
            ]  # fmt: skip
        before = after
    return PooledNetwork(nn.Sequential(*modules), before, dropout=dropout, n_classes=n_classes)


def course_cnn(n_classes: int = 7) -> nn.Sequential:
    """The CNN of four blocks that most course projects on FER2013 use.

    Convolutions with 64, 128, 512 and 512 kernels of 5x5, 5x5, 3x3 and 3x3, each followed by batch
    normalisation, ReLU, max pooling and dropout of 0.25; then dense layers of 256, 512 and
    `n_classes` units, the first two followed by batch normalisation, ReLU and dropout of 0.25.
    """
    modules: list[nn.Module] = []
    before = 1
    for after, kernel in ((64, 5), (128, 5), (512, 3), (512, 3)):
        modules += [
            nn.Conv2d(before, after, kernel, padding=kernel // 2),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
        ]
        before = after
    modules.append(nn.Flatten())
    before = 512 * 3 * 3
    for after in (256, 512):
        modules += [
            nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(0.25)
        ]  # fmt: skip
        before = after
    return nn.Sequential(*modules, nn.Linear(before, n_classes))


# -- teachers -----------------------------------------------------------------------------------


class _Residual(nn.Module):
    """Two 3x3 convolutions, each preceded by its norm and ReLU, and a shortcut around both (He et
    al., ECCV 2016)."""

    def __init__(
        self, before: int, after: int, stride: int, *, squeeze: bool, dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.squeeze = _SqueezeExcite(after) if squeeze else nn.Identity()
        same = stride == 1 and before == after
        self.shortcut = (
            nn.Identity() if same else nn.Conv2d(before, after, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        inside = torch.relu(self.norm1(x))
        # If the shape changes, the shortcut also starts from the normalised input.
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(inside)
        inside = self.conv2(self.dropout(torch.relu(self.norm2(self.conv1(inside)))))
        result: Tensor = self.squeeze(inside) + shortcut
        return result


class _SqueezeExcite(nn.Module):
    """Multiply each map by a weight of 0..1, found from all maps' means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(4, channels // 16)
        self.down, self.up = nn.Linear(channels, inner), nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.sigmoid(self.up(torch.relu(self.down(x.mean(dim=(2, 3))))))
        return x * weight[:, :, None, None]


def residual_network(
    *,
    widths: Sequence[int],
    blocks: Sequence[int],
    squeeze: bool = False,
    block_dropout: float = 0.0,
    n_classes: int = 7,
) -> PooledNetwork:
    """A pre-activation residual network (He et al., ECCV 2016) of any width (Zagoruyko & Komodakis,
    BMVC 2016), with squeeze-and-excitation (Hu et al., CVPR 2018) if `squeeze`."""
    before = widths[0]
    modules: list[nn.Module] = [nn.Conv2d(1, before, 3, padding=1, bias=False)]
    for stage, (after, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
        for number in range(n_blocks):
            stride = 2 if number == 0 and stage > 0 else 1
            modules.append(_Residual(before, after, stride, squeeze=squeeze, dropout=block_dropout))
            before = after
    modules += [nn.BatchNorm2d(before), nn.ReLU()]
    return PooledNetwork(nn.Sequential(*modules), before, dropout=0.3, n_classes=n_classes)


class VggNetwork(nn.Module):
    """VGG (Simonyan & Zisserman, ICLR 2015) with batch normalisation: stages of 3x3 convolutions,
    each ended by max pooling and dropout of 0.2, then one hidden dense layer of 1,024 units."""

    def __init__(
        self,
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        n_classes: int = 7,
    ) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        before, side = 1, 48
        for after, depth in zip(widths, depths, strict=True):
            for _ in range(depth):
                modules += [
                    nn.Conv2d(before, after, 3, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                ]
                before = after
            modules += [nn.MaxPool2d(2), nn.Dropout(0.2)]
            side //= 2
        self.features = nn.Sequential(*modules)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(before * side * side, 1024),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(1024, n_classes),
        )
        initialise(self)

    def forward(self, faces: Tensor) -> Tensor:
        """Standardised faces (n, 1, 48, 48) -> logits (n, n_classes)."""
        logits: Tensor = self.head(self.features(faces))
        return logits


def dense_network(
    *,
    growth: int,
    blocks: Sequence[int],
    stem: int = 64,
    dropout: float = 0.3,
    n_classes: int = 7,
) -> PooledNetwork:
    """A DenseNet (Huang et al., CVPR 2017): each layer reads the maps of all earlier layers of its
    block; between blocks the number of maps and their size are halved."""
    modules: list[nn.Module] = [nn.Conv2d(1, stem, 3, padding=1, bias=False)]
    channels = stem
    for number, n_layers in enumerate(blocks):
        for _ in range(n_layers):
            modules.append(_DenseLayer(channels, growth))
            channels += growth
        modules += [nn.BatchNorm2d(channels), nn.ReLU()]
        if number < len(blocks) - 1:
            modules += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return PooledNetwork(nn.Sequential(*modules), channels, dropout=dropout, n_classes=n_classes)


class _DenseLayer(nn.Module):
    """Append `growth` new maps to the input: 1x1 convolution to 4 * `growth` maps, then 3x3."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(inner)))], dim=1)
