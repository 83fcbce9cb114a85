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
    """Has `theirs` more units than `ours` somewhere, nowhere fewer, in as many layers? Both are the
    tensors of a `RecurrentNetwork` with batch norms; of others the answer is no."""
    # An ONNX file has no counters of batches, and the stem's norm inside the stem.
    layers = {n for n in ours if n.startswith("layers.") and not n.endswith("num_batches_tracked")}
    if {name.split(".")[2] for name in layers} != _NORMED or not layers <= theirs.keys():
        return False
    if set(_kernels(theirs)) != set(_kernels(ours)):
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
    n_layers = len(kept) - 1  # without the stem
    result = {}
    for name in narrow:
        rows = kept.get(layer_of(name).removesuffix("_norm"))  # the stem's norm is beside it
        read = read_by(name, n_layers)
        cut = wide[name]
        if name.endswith("feed_forward.bias"):
            before = read_by(name.replace(".bias", ".weight"), n_layers)
            assert before is not None
            cut = cut + _on_average(wide, narrow, name, before, kept[before])
        if rows is not None and cut.dim():
            cut = cut[rows]
        if read is not None:
            cut = cut[:, kept[read]]
        result[name] = cut
    return result


def _on_average(
    wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor], bias: str, before: str, kept: Tensor
) -> Tensor:
    """What a layer receives, on average, from the units `before` it that are not `kept`."""
    mean, _ = _last_word(wide, narrow, before)
    mean[kept] = 0.0
    return wide[bias.replace(".bias", ".weight")].sum(dim=(2, 3)) @ mean


def _kept(wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the stem and each layer the units that stay, in their order."""
    kernels = _kernels(narrow)
    kept = {}
    for name in kernels:
        layer = layer_of(name)
        worth = torch.zeros(len(wide[name]))
        for reader in narrow:
            if read_by(reader, len(kernels) - 1) != layer:
                continue
            if reader.endswith("recurrent.weight"):  # the layer's own, at every step but the last
                variance = _earlier_words(wide, narrow, layer)
            else:
                _, variance = _last_word(wide, narrow, layer)
            missed = variance * _squares(wide[reader])
            worth += missed / missed.sum().clamp(min=_EPS)
        kept[layer] = worth.topk(len(narrow[name])).indices.sort().values
    return kept


def _kernels(tensors: Mapping[str, Tensor]) -> list[str]:
    """The stem's and each layer's, a row for each unit."""
    return [name for name in tensors if name.endswith(("stem.weight", "feed_forward.weight"))]


def _last_word(
    wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor], layer: str
) -> tuple[Tensor, Tensor]:
    """Mean and variance, over faces, of what each unit says in the end: as the norms have them."""
    if layer == "stem":  # a ReLU comes after its norm: a normal distribution cut off at 0
        weight, bias = wide["stem_norm.weight"].abs().clamp(min=_EPS), wide["stem_norm.bias"]
        at = bias / weight
        above, density = torch.special.ndtr(at), (-(at**2) / 2).exp() / math.sqrt(2 * math.pi)
        mean = bias * above + weight * density
        square = (bias**2 + weight**2) * above + bias * weight * density
        return mean, square - mean**2
    last = _norms_of(narrow, layer)[-1]
    return wide[f"{last}.bias"].clone(), wide[f"{last}.weight"] ** 2


def _earlier_words(wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor], layer: str) -> Tensor:
    """The variances of what each unit says after all steps but the last, added up."""
    nothing = torch.zeros(len(wide[f"{layer}.feed_forward.weight"]))
    return sum((wide[f"{norm}.weight"] ** 2 for norm in _norms_of(narrow, layer)[:-1]), nothing)


def _norms_of(narrow: Mapping[str, Tensor], layer: str) -> list[str]:
    """One for each step, which come last in a layer."""
    ending = ".weight"
    start = f"{layer}.norms."
    return [n.removesuffix(ending) for n in narrow if n.startswith(start) and n.endswith(ending)]


def _squares(kernel: Tensor) -> Tensor:
    """(outputs, inputs, ...) -> the squares of each input's weights, added up."""
    others = [dim for dim in range(kernel.dim()) if dim != 1]
    return (kernel**2).sum(dim=others)
