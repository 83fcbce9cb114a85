"""One recurrent network's weights in the shapes of another: wider, narrower, with fewer steps.

Training a new size from trained weights takes fewer epochs than from random ones. All functions
here take and return tensors by name, as `state_dict` gives them; `initial.py` reads the weights and
loads the result.

- More units: Net2WiderNet (Chen et al., ICLR 2016). Some units are copied, with all their inputs,
  and the weights that read a unit are divided among its copies, so the outputs stay the same.
- Fewer units: channel pruning. Units that their readers would miss least are removed, so the
  outputs change little. (Li et al., ICLR 2017, rank a unit by its own weights instead.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

_SEED: Final = 2013  # the same copies in every call, so that an interrupted run can be resumed
_EPS: Final = 1e-12  # instead of 0, for a unit with the same output for every face
# The modules of a layer whose states are the outputs of norms with trained weights.
_NORMED: Final = {"feed_forward", "recurrent", "norms"}
_NORM_OF_STEP: Final = re.compile(r"(?P<layer>layers\.\d+\.\w*norms)\.\d+\.")
_OUTPUTS: Final = ("classifier.weight", "classifier.bias")


def widened(narrow: Mapping[str, Tensor], wide: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`narrow`, the tensors of a `RecurrentNetwork`, in the shapes of `wide`, those of another.

    Both must have the same names. Only the recurrent layers may be wider, not the stem; the number
    of outputs stays that of `narrow`. Raises `ValueError` where another shape differs, or where
    `narrow` has more units than `wide`.
    """
    generator = torch.Generator().manual_seed(_SEED)
    # By layer: for each of its units in the result, the unit of `narrow` that it is a copy of.
    copies = {"stem": torch.arange(len(narrow["stem.weight"]))}
    for name, tensor in narrow.items():
        if name.endswith("feed_forward.weight"):
            copies[layer_of(name)] = _copied_units(len(tensor), len(wide[name]), generator)
    result = {}
    for name, tensor in narrow.items():
        layer = layer_of(name)
        grown = tensor[copies[layer]] if layer in copies and tensor.dim() else tensor
        inputs = read_by(name, layers=len(copies) - 1)
        if inputs is not None:
            grown = _divided_among_copies(grown, copies[inputs], generator)
        if grown.shape[1:] != wide[name].shape[1:]:
            raise ValueError(
                f"expected {name} of {tuple(wide[name].shape)}, found {tuple(grown.shape)}"
            )
        result[name] = grown
    return result


def is_wider(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> bool:
    """Whether `theirs` has more units than `ours` somewhere and nowhere fewer, in as many layers.

    Both are the tensors of a `RecurrentNetwork` with batch norms; for others the answer is no.
    """
    # An ONNX file has no counters of batches, and keeps the stem's norm inside the stem.
    layers = {n for n in ours if n.startswith("layers.") and not n.endswith("num_batches_tracked")}
    if {name.split(".")[2] for name in layers} != _NORMED or not layers <= theirs.keys():
        return False
    if set(_input_kernels(theirs)) != set(_input_kernels(ours)):
        return False
    more = [len(theirs[name]) - len(ours[name]) for name in _input_kernels(ours)]
    return min(more) >= 0 and max(more) > 0


def narrowed(wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`wide`, the tensors of a `RecurrentNetwork`, in the shapes of `narrow`, see `is_wider`.

    The number of outputs stays that of `wide`; tensors that `narrow` lacks, such as norms of later
    steps, are left out. The mean output of a removed unit is added to the biases of the next layer.
    Elsewhere the norms have to make up for it: their statistics must be computed again.
    """
    kept = _kept_units(wide, narrow)
    n_layers = len(kept) - 1  # without the stem
    result = {}
    for name in narrow:
        rows = kept.get(layer_of(name).removesuffix("_norm"))  # the stem's norm: `stem_norm`
        read = read_by(name, n_layers)
        cut = wide[name]
        if name.endswith("feed_forward.bias"):
            before = read_by(name.replace(".bias", ".weight"), n_layers)
            assert before is not None
            cut = cut + _mean_of_removed(wide, narrow, name, before, kept[before])
        if rows is not None and cut.dim():
            cut = cut[rows]
        if read is not None:
            cut = cut[:, kept[read]]
        result[name] = cut
    return result


def without_later_steps(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """`theirs` without the norms of those steps of a layer that `ours` does not take.

    Where `ours` has no norms in a layer, the layer is of another kind, and `theirs` keeps its own.
    """
    normed = {found["layer"] for name in ours if (found := _NORM_OF_STEP.match(name))}

    def is_later(name: str) -> bool:
        found = _NORM_OF_STEP.match(name)
        return name not in ours and found is not None and found["layer"] in normed

    return {name: tensor for name, tensor in theirs.items() if not is_later(name)}


def with_as_many_outputs(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """`theirs` with as many outputs as `ours`: additional ones are removed, missing ones taken from
    `ours`."""
    result = dict(theirs)
    for name in set(_OUTPUTS) & set(ours) & set(theirs):
        if theirs[name].shape[1:] == ours[name].shape[1:]:
            common = min(len(ours[name]), len(theirs[name]))
            result[name] = torch.cat([theirs[name][:common], ours[name].cpu()[common:]])
    return result


def layer_of(name: str) -> str:
    """`layers.1` for `layers.1.norms.0.weight`, `stem` for `stem.weight`."""
    return ".".join(name.split(".")[: 2 if name.startswith("layers.") else 1])


def read_by(name: str, layers: int) -> str | None:
    """The layer whose units a kernel reads; None for a tensor that reads no units.

    `layers`: the number of recurrent layers.
    """
    if name.endswith("recurrent.weight"):
        return layer_of(name)
    if name == "classifier.weight":
        return f"layers.{layers - 1}"
    if name.endswith("feed_forward.weight"):
        before = int(name.split(".")[1]) - 1
        return "stem" if before < 0 else f"layers.{before}"
    return None


def _copied_units(before: int, after: int, generator: torch.Generator) -> Tensor:
    """The numbers of all old units, then of those to copy: at random, but all equally often, give
    or take one."""
    if after < before:
        raise ValueError(f"expected at least {before} units, found {after}")
    rounds = [torch.randperm(before, generator=generator) for _ in range(after // before)]
    return torch.cat([torch.arange(before), *rounds])[:after]


def _divided_among_copies(kernel: Tensor, copies: Tensor, generator: torch.Generator) -> Tensor:
    """(out, old inputs, ...) -> (out, new inputs, ...): a unit's copies share its weight.

    The shares are random, and others for each output: with equal ones all copies of a unit would
    get the same gradient and stay alike for ever.
    """
    parts = torch.rand(len(kernel), len(copies), generator=generator) + 0.5
    whole = torch.zeros(len(kernel), int(copies.max()) + 1).index_add(1, copies, parts)
    shares = parts / whole[:, copies]
    return kernel[:, copies] * shares.reshape(*shares.shape, *[1] * (kernel.dim() - 2))


def _kept_units(wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By layer, the stem included: the numbers of the units that stay, in ascending order.

    Those stay that contribute most to the variance of the inputs of the kernels that read them.
    """
    kernels = _input_kernels(narrow)
    kept = {}
    for name in kernels:
        layer = layer_of(name)
        importance = torch.zeros(len(wide[name]))
        for reader in narrow:
            if read_by(reader, len(kernels) - 1) != layer:
                continue
            # A layer's own recurrent kernel reads its units after each step but the last.
            if reader.endswith("recurrent.weight"):
                variance = _variance_before_last_step(wide, narrow, layer)
            else:
                _, variance = _output_statistics(wide, narrow, layer)
            missed = variance * _squared_weights(wide[reader])
            importance += missed / missed.sum().clamp(min=_EPS)
        kept[layer] = importance.topk(len(narrow[name])).indices.sort().values
    return kept


def _mean_of_removed(
    wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor], bias: str, before: str, kept: Tensor
) -> Tensor:
    """The mean input that the layer of `bias` gets from the units of the layer `before` it that are
    not `kept`."""
    mean, _ = _output_statistics(wide, narrow, before)
    mean[kept] = 0.0
    return wide[bias.replace(".bias", ".weight")].sum(dim=(2, 3)) @ mean


def _input_kernels(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the kernels of the stem and of each layer's input; they have a row for each unit."""
    return [name for name in tensors if name.endswith(("stem.weight", "feed_forward.weight"))]


def _output_statistics(
    wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor], layer: str
) -> tuple[Tensor, Tensor]:
    """Mean and variance, over faces, of each unit's output after the last step that `narrow` takes.

    A batch norm's outputs have its bias as their mean and its weight as their standard deviation.
    """
    if layer == "stem":  # a ReLU follows its norm: a normal distribution that is cut off at 0
        weight, bias = wide["stem_norm.weight"].abs().clamp(min=_EPS), wide["stem_norm.bias"]
        at = bias / weight
        above, density = torch.special.ndtr(at), (-(at**2) / 2).exp() / math.sqrt(2 * math.pi)
        mean = bias * above + weight * density
        square = (bias**2 + weight**2) * above + bias * weight * density
        return mean, square - mean**2
    last = _norms_of(narrow, layer)[-1]
    return wide[f"{last}.bias"].clone(), wide[f"{last}.weight"] ** 2


def _variance_before_last_step(
    wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor], layer: str
) -> Tensor:
    """The variance of each unit's output, summed over all steps but the last."""
    nothing = torch.zeros(len(wide[f"{layer}.feed_forward.weight"]))
    return sum((wide[f"{norm}.weight"] ** 2 for norm in _norms_of(narrow, layer)[:-1]), nothing)


def _norms_of(narrow: Mapping[str, Tensor], layer: str) -> list[str]:
    """Names of a layer's norms, in the order of its steps."""
    ending = ".weight"
    start = f"{layer}.norms."
    return [n.removesuffix(ending) for n in narrow if n.startswith(start) and n.endswith(ending)]


def _squared_weights(kernel: Tensor) -> Tensor:
    """(outputs, inputs, ...) -> (inputs,): the sum of the squares of each input's weights."""
    others = [dim for dim in range(kernel.dim()) if dim != 1]
    return (kernel**2).sum(dim=others)
