"""Weights to start a run from: those of another run, or of a model that was exported or shipped."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from semblante.errors import ModelError
from semblante.models import model_path
from semblante.recognise.classifier import Classifier
from semblante.train.batches import Faces
from semblante.train.precision import HALVED
from semblante.train.recurrent import RecurrentNetwork
from semblante.train.state import load_best
from semblante.train.widen import widened

_STATISTICS_FACES: Final = 4096
_OUTPUTS: Final = ("classifier.weight", "classifier.bias")


def start_from(network: nn.Module, initial: str, faces: Faces) -> None:
    """Give `network` the weights of a run folder, a shipped model's name or an ONNX file.

    Outputs that only one of the two has, those of the head that learns FER+, keep the values
    they have. A `network` with more units in its recurrent layers is given copies of units, see
    `widen.py`. `faces` are Training's, see `_unfold_stem`. Raises `ModelError` where the weights
    are those of another network.
    """
    if Path(initial).is_dir():
        tensors = load_best(Path(initial))[0].state_dict()
    else:
        tensors = _tensors_of_onnx(model_path(initial))
    ours = network.state_dict()
    folded = "stem.weight_bias" in tensors and isinstance(network, RecurrentNetwork)
    bias = tensors.pop("stem.weight_bias") if folded else None
    # Numbers of batches seen, and what an ONNX file has folded, have no counterpart.
    wanted = {
        name
        for name in ours
        if not name.endswith("num_batches_tracked")
        and not (folded and name.startswith("stem_norm."))
    }
    if isinstance(network, RecurrentNetwork) and wanted <= set(tensors):
        with suppress(ValueError):  # no narrower network of this kind: refused below
            narrow = {name: tensors[name] for name in sorted(wanted)}
            tensors |= widened(narrow, ours)
    for name in set(_OUTPUTS) & set(ours) & set(tensors):
        if tensors[name].shape[1:] != ours[name].shape[1:]:
            continue  # refused below
        common = min(len(ours[name]), len(tensors[name]))
        tensors[name] = torch.cat([tensors[name][:common], ours[name].cpu()[common:]])
    # A layer's norms, say, that this network has not.
    theirs_alone = {
        name
        for name in tensors
        if name.startswith("layers.") and not name.endswith("num_batches_tracked")
    } - set(ours)
    different = sorted(
        name
        for name in wanted | theirs_alone | {name for name in tensors if name in ours}
        if name not in tensors or name not in ours or tensors[name].shape != ours[name].shape
    )
    if not different and wanted:
        network.load_state_dict({name: tensors[name] for name in wanted}, strict=False)
        # Steps that share a norm have one tensor for what are several there.
        loaded = network.state_dict()
        different = sorted(
            name for name in wanted if not torch.equal(loaded[name].cpu(), tensors[name].cpu())
        )
    if different or not wanted:
        raise ModelError(
            f"{initial}: not the weights of this network: {', '.join(different[:3])} "
            "missing or of another shape or number"
        )
    if bias is not None:
        assert isinstance(network, RecurrentNetwork)
        _unfold_stem(network, bias, faces)


def _tensors_of_onnx(path: Path) -> dict[str, Tensor]:
    Classifier(path, threads=1)  # raises for what is no model of semblante's
    tensors = {}
    for stored in onnx.load(path).graph.initializer:
        # A name of the network's own, as the exporter keeps it, or as `precision.halve` marks it.
        name = stored.name.removeprefix("network.").removesuffix(HALVED)
        values = torch.tensor(numpy_helper.to_array(stored))
        tensors[name] = values.float() if stored.name.endswith(HALVED) else values
    return tensors


@torch.no_grad()
def _unfold_stem(network: RecurrentNetwork, bias: Tensor, faces: Faces) -> None:
    """Make the stem's normalisation again, which an ONNX file holds inside kernel and bias.

    In training it must start from what the maps really have, mean and variance over faces of
    Training, and undo it: then the network says the same in training as in evaluation.
    """
    parts = []
    for inputs, _ in faces.batches(256):
        parts.append(network.first_maps(inputs))
        if sum(len(part) for part in parts) >= _STATISTICS_FACES:
            break
    variance, mean = torch.var_mean(torch.cat(parts), dim=(0, 2, 3), correction=0)
    norm = network.stem_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(bias.to(mean) + mean)
