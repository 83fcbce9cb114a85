"""A wider network that says the same as a narrower one (Net2WiderNet: Chen et al., ICLR 2016).

Units are copied with all that they receive; what a unit and its copies hand on adds up to what it
handed on alone. So a small network is not thrown away when there is time to train a larger one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_SEED = 2013  # every call widens alike, so that an interrupted run goes on as it began


def widened(narrow: Mapping[str, Tensor], wide: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`narrow`, the tensors of a `RecurrentNetwork`, in the shapes of `wide`, those of another.

    Both have the same names. Only the layers' units grow in number, not the stem's; the number of
    outputs stays that of `narrow`. Raises `ValueError` where something else differs, or `narrow` is
    the wider one.
    """
    generator = torch.Generator().manual_seed(_SEED)
    # Of which unit of `narrow` each unit of a layer is a copy.
    copies = {"stem": torch.arange(len(narrow["stem.weight"]))}
    for name, tensor in narrow.items():
        if name.endswith("feed_forward.weight"):
            copies[layer_of(name)] = _chosen(len(tensor), len(wide[name]), generator)
    result = {}
    for name, tensor in narrow.items():
        layer = layer_of(name)
        grown = tensor[copies[layer]] if layer in copies and tensor.dim() else tensor
        inputs = read_by(name, layers=len(copies) - 1)
        if inputs is not None:
            grown = _shared_out(grown, copies[inputs], generator)
        if grown.shape[1:] != wide[name].shape[1:]:
            raise ValueError(
                f"expected {name} of {tuple(wide[name].shape)}, found {tuple(grown.shape)}"
            )
        result[name] = grown
    return result


def layer_of(name: str) -> str:
    """`layers.1` for `layers.1.norms.0.weight`, `stem` for `stem.weight`."""
    return ".".join(name.split(".")[: 2 if name.startswith("layers.") else 1])


def read_by(name: str, layers: int) -> str | None:
    """The layer whose units a kernel reads; None for a tensor that reads no such units."""
    if name.endswith("recurrent.weight"):
        return layer_of(name)
    if name == "classifier.weight":
        return f"layers.{layers - 1}"
    if name.endswith("feed_forward.weight"):
        before = int(name.split(".")[1]) - 1
        return "stem" if before < 0 else f"layers.{before}"
    return None


def _chosen(before: int, after: int, generator: torch.Generator) -> Tensor:
    """All old units, and after them randomly chosen ones, all as often, give or take one."""
    if after < before:
        raise ValueError(f"expected at least {before} units, found {after}")
    rounds = [torch.randperm(before, generator=generator) for _ in range(after // before)]
    return torch.cat([torch.arange(before), *rounds])[:after]


def _shared_out(kernel: Tensor, copies: Tensor, generator: torch.Generator) -> Tensor:
    """(out, old inputs, ...) -> (out, new inputs, ...): a unit's weight is divided over its copies.

    Each output divides it in other random parts, or the copies would stay alike for ever.
    """
    parts = torch.rand(len(kernel), len(copies), generator=generator) + 0.5
    whole = torch.zeros(len(kernel), int(copies.max()) + 1).index_add(1, copies, parts)
    shares = parts / whole[:, copies]
    return kernel[:, copies] * shares.reshape(*shares.shape, *[1] * (kernel.dim() - 2))
