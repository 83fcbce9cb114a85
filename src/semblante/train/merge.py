"""The weights to export: one run's, the mean over several, or a mix with the initial ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from semblante.data import Dataset
from semblante.errors import ModelError, OptionError
from semblante.train.batches import Faces
from semblante.train.initial import start_from, weights_sha256
from semblante.train.networks import n_outputs
from semblante.train.run_folder import BEST, RunConfig, read_config
from semblante.train.trained import load_best, load_last


def merged(
    runs: Sequence[Path], dataset: Dataset, initial_share: float
) -> tuple[nn.Module, list[tuple[int, RunConfig]]]:
    """A network in evaluation mode, and for each run the epoch its weights are from and its
    configuration.

    For one run these are the weights of its best epoch. Several runs must have started from the
    same weights (their option `initial`); the result is the mean of the weights after their last
    epochs, which is more accurate than each run alone (model soups: Wortsman et al., ICML 2022) and
    does not depend on which epoch happened to be best on PublicTest.

    `initial_share` (0..1): how much of each weight is taken from the weights that the run started
    from (its option `initial`), the rest being the trained weights. Networks between the two can
    combine what both have learnt (WiSE-FT: Wortsman et al., CVPR 2022).

    Raises `ModelError` for what is not a run on `dataset`, `OptionError` if runs do not fit.
    """
    found = [_load_run(run, dataset, last=len(runs) > 1) for run in runs]
    networks = [network for network, _, _ in found]
    about = [(epoch, config) for _, epoch, config in found]
    if len(runs) > 1:
        check_same_start(runs, [config for _, config in about])
        take_mean(networks)
    if initial_share:
        _mix_with_initial(networks[0], about[0][1], dataset, initial_share)
    return networks[0], about


def _load_run(run_dir: Path, dataset: Dataset, *, last: bool) -> tuple[nn.Module, int, RunConfig]:
    """The run's network after its best or its `last` epoch, that epoch, and its configuration."""
    network, record = load_best(run_dir)
    epoch = int(record["epoch"])
    if last:
        network, history = load_last(run_dir)
        epoch = int(history[-1]["epoch"])
    config = read_config(run_dir)
    if "fold" in config.source:
        raise ModelError(
            f"{run_dir} was trained on part of Training for --cross-fit and cannot be exported"
        )
    if config.dataset_sha256 != dataset.fingerprint():
        raise ModelError(
            f"{run_dir} was trained on another dataset than the one given to compare with"
        )
    if config.options.network != record["network"]:
        raise ModelError(
            f"{run_dir}: the run is of {config.options.network!r}, "
            f"but {BEST} holds a {record['network']!r}"
        )
    return network, epoch, config


def check_same_start(runs: Sequence[Path], configs: Sequence[RunConfig]) -> None:
    """Raise `OptionError` unless all runs started from the same weights.

    Only then do their units correspond to each other, so that a mean of weights makes sense.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise OptionError("expected different runs to average, found one twice")
    pairs = list(zip(runs, configs, strict=True))
    for run, config in pairs:
        if not config.options.initial:
            raise OptionError(
                f"{run} began with random weights: only runs of the same --initial can be averaged"
            )
    voted = [(run, config) for run, config in pairs if config.votes_sha256 is not None]
    for run, config in voted[1:]:
        if config.votes_sha256 != voted[0][1].votes_sha256:
            raise OptionError(
                f"runs to average must have learnt from the same FER+ votes: {voted[0][0]} and "
                f"{run} have not"
            )
    for run, config in pairs[1:]:
        _check_pair(*pairs[0], run, config)


def _check_pair(first: Path, ours: RunConfig, run: Path, theirs: RunConfig) -> None:
    """Raise `OptionError` unless two runs have the same network, outputs and initial weights."""
    for name in ("network", "initial"):
        before, now = getattr(ours.options, name), getattr(theirs.options, name)
        if now != before:
            raise OptionError(
                "runs to average must have started from the same weights (--initial): "
                f"{name} is {before!r} in {first}, {now!r} in {run}"
            )
    initial = ours.options.initial
    if ours.weights_sha256.get(initial) != theirs.weights_sha256.get(initial):
        raise OptionError(
            "runs to average must have started from the same weights (--initial): "
            f"{initial} held other ones for {first} than for {run}"
        )
    if n_outputs(theirs.options) != n_outputs(ours.options):
        raise OptionError(f"of {first} and {run} only one has learnt FER+'s votes")


@torch.no_grad()
def take_mean(networks: Sequence[nn.Module]) -> None:
    """Set the first network's weights and statistics to the mean over all of them."""
    states = [network.state_dict() for network in networks]
    networks[0].load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(dim=0)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in states[0].items()
        }
    )


def _mix_with_initial(
    network: nn.Module, config: RunConfig, dataset: Dataset, share: float
) -> None:
    """Replace `share` of each weight by the initial one, in place."""
    if not 0 < share <= 1:
        raise OptionError(f"expected initial_share between 0 and 1, found {share:g}")
    initial = config.options.initial
    if not initial:
        raise OptionError("initial_share needs a run that started from weights (--initial)")
    for place, now in weights_sha256([initial]).items():
        if config.weights_sha256.get(place, now) != now:
            raise ModelError(f"{place} holds other weights now than when the run began with it")
    start = copy.deepcopy(network)
    start_from(start, initial, Faces(dataset.split("Training"), torch.device("cpu")))
    before = start.state_dict()
    network.load_state_dict(
        {
            name: torch.lerp(after, before[name], share) if after.is_floating_point() else after
            for name, after in network.state_dict().items()
        }
    )
