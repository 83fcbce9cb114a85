"""Weights to start a run from, and teachers: a run's, an exported file's or a shipped model's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from semblante.emotions import N_EMOTIONS
from semblante.errors import ModelError
from semblante.models import model_path, sha256
from semblante.recognise.classifier import Classifier
from semblante.train.batches import Faces
from semblante.train.networks import NETWORKS, build_network
from semblante.train.objective import N_WITH_FERPLUS
from semblante.train.precision import HALVED
from semblante.train.recurrent import RecurrentNetwork
from semblante.train.run_folder import BEST, ESTIMATES
from semblante.train.trained import load_best
from semblante.train.transfer import (
    is_wider,
    narrowed,
    widened,
    with_as_many_outputs,
    without_later_steps,
)

_STATISTICS_FACES: Final = 4096
_BATCH: Final = 256
_STEM_BIAS: Final = "stem.weight_bias"
_COUNTER: Final = "num_batches_tracked"  # of a norm; an ONNX file does not keep it
_MEAN: Final = "running_mean"  # of a norm
_FOLDED: Final = (
    "; an ONNX file of other networks than rcnn-* with a norm for each step has its norms inside "
    "its kernels: give the run's folder instead"
)


def start_from(network: nn.Module, initial: str, faces: Faces) -> None:
    """Give `network` the weights of a run folder, a shipped model's name or an ONNX file.

    Its size may differ from theirs, see `transfer.py`: it may have more or fewer units in its
    recurrent layers, or take fewer steps. Outputs that they lack, those of the head that learns
    FER+, keep the values they have in `network`; additional outputs are ignored. `faces` are
    Training's, over which the statistics of norms are computed again. Raises `ModelError` if the
    weights are those of another network.
    """
    if Path(initial).is_dir():
        tensors = load_best(Path(initial))[0].state_dict()
    else:
        tensors = _tensors_of_onnx(initial)
    recurrent = isinstance(network, RecurrentNetwork)
    pruned = recurrent and is_wider(tensors, network.state_dict())
    if pruned:
        # Which units to keep depends on the whole network: this function loads it first.
        tensors = narrowed(network_of(initial, faces).cpu().state_dict(), network.state_dict())
    # An ONNX file holds the stem's norm inside the stem.
    stem_bias = tensors.pop(_STEM_BIAS, None) if recurrent else None
    ours = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.endswith(_COUNTER)
        and not (stem_bias is not None and name.startswith("stem_norm."))
    }
    tensors = _fitted(tensors, ours, recurrent=recurrent)
    different = _different(tensors, ours) or _load(network, ours, tensors)
    if different or not ours:
        raise _not_of_this_network(initial, tensors, different)
    if stem_bias is not None:
        assert isinstance(network, RecurrentNetwork)
        _unfold_stem(network, stem_bias, faces)
    if pruned:
        with torch.no_grad():
            update_bn(_some(faces), network)


def _fitted(
    tensors: dict[str, Tensor], ours: Mapping[str, Tensor], *, recurrent: bool
) -> dict[str, Tensor]:
    """The `tensors` with as few steps, as many units and as many outputs as `ours`, as far as they
    can be; the rest is left as it is."""
    tensors = without_later_steps(tensors, ours)
    if recurrent and ours.keys() <= tensors.keys():
        with suppress(ValueError):  # not a narrower network of this kind
            tensors |= widened({name: tensors[name] for name in sorted(ours)}, ours)
    return with_as_many_outputs(tensors, ours)


def _load(
    network: nn.Module, ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> list[str]:
    """Load the tensors that `ours` names; returns the names of those that the network does not
    hold afterwards: a norm that it shares between steps is one tensor where `tensors` has several.
    """
    network.load_state_dict({name: tensors[name] for name in ours}, strict=False)
    loaded = network.state_dict()
    return [name for name in ours if not torch.equal(loaded[name].cpu(), tensors[name])]


def network_of(place: str, faces: Faces) -> nn.Module:
    """The network of a run folder, a shipped model's name or an ONNX file, in evaluation mode.

    It is put on the device of Training's `faces`. Raises `ModelError` if there is no such network,
    or if its weights cannot be loaded into a torch network.
    """
    if Path(place).is_dir():
        return load_best(Path(place))[0].to(faces.images.device)
    classifier = Classifier(model_path(place), threads=1)
    name = classifier.about.get("network")
    if name not in NETWORKS:
        raise ModelError(f"{place}: expected one of semblante's networks, found {name!r}")
    network = build_network(name, N_WITH_FERPLUS if classifier.knows_ferplus else N_EMOTIONS)
    network.to(faces.images.device)
    start_from(network, place, faces)
    return network.eval()


def weights_sha256(places: Iterable[str]) -> dict[str, str]:
    """The sha256 of the weights at each place: a run folder, a shipped model or an ONNX file.

    Estimates of `--cross-fit` count as weights. A place that no longer exists is left out: a
    resumed run may not need it any more.
    """
    found = {}
    for place in places:
        with suppress(ModelError):
            if not Path(place).is_dir():
                file = model_path(place)
            elif (Path(place) / ESTIMATES).exists():
                file = Path(place) / ESTIMATES
            else:
                file = Path(place) / BEST
            found[place] = sha256(file)
    return found


def _different(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors in `ours` that `theirs` lacks or has in another shape.

    Additional tensors in `theirs` count if they belong to a recurrent layer, such as norms that
    `ours` does not have.
    """
    layers = {n for n in theirs if n.startswith("layers.") and not n.endswith(_COUNTER)}
    return [
        name
        for name in ours.keys() | layers
        if name not in theirs or name not in ours or theirs[name].shape != ours[name].shape
    ]


def _not_of_this_network(
    initial: str, tensors: Mapping[str, Tensor], different: Sequence[str]
) -> ModelError:
    """The error for weights that do not fit, with the names of some of the tensors that differ."""
    reason = (
        f"{initial}: not the weights of this network, but of {_network_name(initial)}: "
        f"{', '.join(sorted(different)[:3])} missing or of another shape or number"
    )
    folded = any(name.endswith(_MEAN) and name not in tensors for name in different)
    return ModelError(reason + (_FOLDED if folded and not Path(initial).is_dir() else ""))


def _network_name(place: str) -> str:
    """The network's name, as for the option `network`."""
    if Path(place).is_dir():
        return str(load_best(Path(place))[1]["network"])
    return str(Classifier(model_path(place), threads=1).about.get("network"))


def _tensors_of_onnx(model: str) -> dict[str, Tensor]:
    path = model_path(model)
    about = Classifier(path, threads=1).about  # raises if it is not one of semblante's models
    if about.get("precision") == "int8":
        raise ModelError(f"{model}: expected an export in fp32 or fp16, found int8")
    tensors = {}
    for stored in onnx.load(path).graph.initializer:
        # The exporter keeps torch's names; `precision.halve` adds a suffix to them.
        name = stored.name.removeprefix("network.").removesuffix(HALVED)
        values = torch.tensor(numpy_helper.to_array(stored))
        tensors[name] = values.float() if stored.name.endswith(HALVED) else values
    return tensors


def _some(faces: Faces) -> Iterator[Tensor]:
    """As many batches of faces as the statistics of norms need."""
    return islice(faces.batches(_BATCH), _STATISTICS_FACES // _BATCH)


@torch.no_grad()
def _unfold_stem(network: RecurrentNetwork, bias: Tensor, faces: Faces) -> None:
    """Restore the stem's norm, which an ONNX file holds inside the stem's kernel and bias.

    Its statistics are set to the real mean and variance of the stem's maps over faces of Training,
    and its weight and bias undo that normalisation. So the network's outputs are nearly the same in
    training mode, where norms use the statistics of the batch, as in evaluation mode.
    """
    maps = torch.cat([network.first_maps(inputs) for inputs in _some(faces)])
    variance, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
    norm = network.stem_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(bias.to(mean) + mean)
