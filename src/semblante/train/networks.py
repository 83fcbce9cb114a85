"""All networks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch import nn

from semblante.errors import OptionError
from semblante.train.recurrent import RecurrentNetwork


def _rcnn_small() -> nn.Module:
    """The one that ships: 0.83 M parameters, 172 M multiply-adds a face."""
    return RecurrentNetwork(
        stem=32, channels=(64, 128, 192), steps=(2, 3, 3), strides=(2, 2, 2), dropout=0.2
    )


def _rcnn_tiny() -> nn.Module:
    """For tests and first tries: 29 k parameters, a few seconds an epoch."""
    return RecurrentNetwork(
        stem=8, channels=(16, 24, 32), steps=(1, 2, 2), strides=(2, 2, 2), dropout=0.0
    )


NETWORKS: Final[dict[str, Callable[[], nn.Module]]] = {
    "rcnn-small": _rcnn_small,
    "rcnn-tiny": _rcnn_tiny,
}


def build_network(name: str) -> nn.Module:
    """A freshly initialised network of `NETWORKS`; raises `OptionError` for another name."""
    if name not in NETWORKS:
        raise OptionError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name]()


def count_parameters(network: nn.Module) -> int:
    """Trained numbers of a network; the statistics of its normalisations do not count."""
    return sum(parameter.numel() for parameter in network.parameters())
