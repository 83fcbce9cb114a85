"""All networks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from semblante.errors import OptionError
from semblante.preprocess import InputSpec
from semblante.train.feedforward import (
    VggNetwork,
    course_cnn,
    dense_network,
    feed_forward_twin,
    residual_network,
)
from semblante.train.recurrent import LiangHuNetwork, RecurrentNetwork

_SMALL: Final[dict[str, Any]] = {
    "stem": 32, "channels": (64, 128, 192), "strides": (2, 2, 2), "dropout": 0.2,
}  # fmt: skip

# Each builds one with n outputs. `count_parameters` and `count_multiply_adds` tell their sizes.
NETWORKS: Final[dict[str, Callable[[int], nn.Module]]] = {
    # -- recurrent
    "rcnn-small": lambda n: RecurrentNetwork(
        n_classes=n, **_SMALL, steps=(2, 3, 3)
    ),  # the one that ships
    "rcnn-tiny": lambda n: RecurrentNetwork(
        n_classes=n,  # for tests and first tries
        stem=8,
        channels=(16, 24, 32),
        steps=(1, 2, 2),
        strides=(2, 2, 2),
        dropout=0.0,
    ),
    "rcnn-medium": lambda n: RecurrentNetwork(
        n_classes=n,
        stem=48,
        channels=(96, 192, 320),
        steps=(2, 3, 3),
        strides=(2, 2, 2),
        dropout=0.3,
    ),
    "rcnn-wide": lambda n: RecurrentNetwork(
        n_classes=n,  # a teacher: strides later, four times as wide
        stem=64,
        channels=(128, 256, 512),
        steps=(2, 3, 3),
        strides=(1, 2, 2),
        dropout=0.4,
    ),
    "grcnn-small": lambda n: RecurrentNetwork(n_classes=n, **_SMALL, steps=(2, 3, 3), gated=True),
    "rcnn-96": lambda n: LiangHuNetwork(n_classes=n, maps=96),
    "rcnn-128": lambda n: LiangHuNetwork(n_classes=n, maps=128),
    "rcnn-160": lambda n: LiangHuNetwork(n_classes=n, maps=160),
    # -- controls of rcnn-small
    "rcnn-small-shared-norm": lambda n: RecurrentNetwork(
        n_classes=n, **_SMALL, steps=(2, 3, 3), norm="shared-batch"
    ),
    "rcnn-small-lrn": lambda n: RecurrentNetwork(
        n_classes=n, **_SMALL, steps=(2, 3, 3), norm="lrn"
    ),
    "twin-parameters": lambda n: feed_forward_twin(n_classes=n, **_SMALL, depths=(1, 1, 1)),
    "twin-multiply-adds": lambda n: feed_forward_twin(n_classes=n, **_SMALL, depths=(2, 3, 3)),
    "course-cnn": course_cnn,
    # -- teachers
    "resnet": lambda n: residual_network(
        n_classes=n, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2)
    ),
    "se-resnet": lambda n: residual_network(
        n_classes=n, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), squeeze=True
    ),
    "wide-resnet": lambda n: residual_network(
        n_classes=n, widths=(160, 320, 640), blocks=(3, 3, 3), block_dropout=0.2
    ),
    "vgg": lambda n: VggNetwork(n_classes=n, widths=(64, 128, 256, 512), depths=(2, 2, 3, 3)),
    "vgg-wide": lambda n: VggNetwork(n_classes=n, widths=(96, 192, 384, 512), depths=(2, 2, 3, 3)),
    "densenet": lambda n: dense_network(n_classes=n, growth=32, blocks=(6, 12, 16)),
}


def build_network(name: str, n_outputs: int = 7) -> nn.Module:
    """A freshly initialised network of `NETWORKS`; raises `OptionError` for another name."""
    if name not in NETWORKS:
        raise OptionError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name](n_outputs)


def count_parameters(network: nn.Module) -> int:
    """Trained numbers of a network; the statistics of its normalisations do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module) -> int:
    """Multiplications, each with its addition, that convolutions and dense layers do for a face.

    Found by running one: a kernel that is used at several steps counts as often.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            per_output = module.in_channels // module.groups * height * width
        else:
            assert isinstance(module, nn.Linear)
            per_output = module.in_features
        total += per_output * output[0].numel()

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 1, InputSpec().size, InputSpec().size))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return total
