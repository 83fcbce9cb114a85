"""A narrower network of the units of a wider one that tell most to what reads them.

What is left says nearly the same, so that some epochs make up for what is gone: fewer than a
network of that size needs from scratch (Li et al., ICLR 2017, who take a unit's own weights for its
worth; here it is what its readers would miss).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from semblante.train.widen import layer_of, read_by

_EPS: Final = 1e-12  # instead of 0, where a unit says the same of every face
# What a layer consists of whose states are the outputs of norms with trained weights.
_NORMED: Final = {"feed_forward", "recurrent", "norms"}


def is_wider(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> bool:
    """Has `theirs` more units than `ours` somewhere, nowhere fewer? Both are the tensors of a
    `RecurrentNetwork` with batch norms; of others the answer is no."""
    # An ONNX file has no counters of batches, and the stem's norm inside the stem.
    layers = {n for n in ours if n.startswith("layers.") and not n.endswith("num_batches_tracked")}
    if {name.split(".")[2] for name in layers} != _NORMED or not layers <= theirs.keys():
        return False
    more = [len(theirs[name]) - len(ours[name]) for name in _kernels(ours)]
    return min(more) >= 0 and max(more) > 0


def narrowed(wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`wide`, the tensors of a `RecurrentNetwork`, in the shapes of `narrow`, see `is_wider`.

    The number of outputs stays that of `wide`; what `narrow` has not, as norms of later steps, is
    left out. A unit that goes said something on average: the biases of the next layer take it over.
    Elsewhere it is for the norms, whose statistics are to be found anew.
    """
    kept = _kept(wide, narrow)
    result = {}
    for name in narrow:
        tensor, layer = wide[name], layer_of(name).removesuffix("_norm")  # the stem's is beside it
        cut = tensor[kept[layer]] if layer in kept and tensor.dim() else tensor
        before = read_by(name, layers=len(kept) - 1)
        if before is not None:
            cut = cut[:, kept[before]]
        if name.endswith("feed_forward.bias"):
            kernel = f"{layer}.feed_forward.weight"
            read = read_by(kernel, layers=len(kept) - 1)
            assert read is not None
            gone = torch.ones(wide[kernel].shape[1], dtype=torch.bool)
            gone[kept[read]] = False
            heights = wide[kernel].sum(dim=(2, 3)) @ (_said(wide, narrow, read)[0] * gone)
            cut = cut + heights[kept[layer]]
        result[name] = cut
    return result


def _kept(wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the stem and each layer the units that stay, in their order."""
    kernels = _kernels(narrow)
    kept = {}
    for name in kernels:
        layer = layer_of(name)
        worth = torch.zeros(len(wide[name]))
        for reader in narrow:
            if read_by(reader, layers=len(kernels) - 1) == layer:
                # By the layer's own kernel at every step but the last, by the next layer's there.
                last = not reader.endswith("recurrent.weight")
                missed = _said(wide, narrow, layer, last=last)[1] * _squares(wide[reader])
                worth += missed / missed.sum().clamp(min=_EPS)
        kept[layer] = worth.topk(len(narrow[name])).indices.sort().values
    return kept


def _kernels(tensors: Mapping[str, Tensor]) -> list[str]:
    """The stem's and each layer's, a row for each unit."""
    return [name for name in tensors if name.endswith(("stem.weight", "feed_forward.weight"))]


def _said(
    wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor], layer: str, *, last: bool = True
) -> tuple[Tensor, Tensor]:
    """Mean and variance over faces of what each unit says after the last step that `narrow` takes,
    or the sums of them over all steps before: as the norms have them, which come last in a layer.
    """
    if layer == "stem":  # a ReLU comes after its norm: a normal distribution cut off at 0
        weight, bias = wide["stem_norm.weight"].abs().clamp(min=_EPS), wide["stem_norm.bias"]
        at = bias / weight
        above, density = torch.special.ndtr(at), (-(at**2) / 2).exp() / math.sqrt(2 * math.pi)
        mean = bias * above + weight * density
        square = (bias**2 + weight**2) * above + bias * weight * density
        return mean, square - mean**2
    weights = [name for name in narrow if name.startswith(f"{layer}.norms.") and "weight" in name]
    steps = weights[-1:] if last else weights[:-1]
    biases = [name.removesuffix("weight") + "bias" for name in steps]
    zero = torch.zeros_like(wide[weights[0]])
    mean = sum((wide[name] for name in biases), zero)
    return mean, sum((wide[name] ** 2 for name in steps), zero)


def _squares(kernel: Tensor) -> Tensor:
    """(outputs, inputs, ...) -> the squares of each input's weights, added up."""
    others = [dim for dim in range(kernel.dim()) if dim != 1]
    return (kernel**2).sum(dim=others)
