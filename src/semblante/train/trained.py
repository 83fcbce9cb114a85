"""Finished runs: when a run is over, and its network with its best or its last weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from semblante.emotions import N_EMOTIONS
from semblante.errors import ModelError, SemblanteError
from semblante.train.checkpoint import brief, load_tensors, without_prefix
from semblante.train.networks import build_network, is_known, n_outputs
from semblante.train.options import TrainOptions
from semblante.train.reporter import Record
from semblante.train.run_folder import BEST, CHECKPOINT, holds_run, read_config
from semblante.train.user_code import file_of, own_sha256


def load_best(run_dir: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run folder with its best weights, in evaluation mode, and the metadata of
    these weights with the record of their epoch. Raises `ModelError` if there is no such run."""
    path = run_dir / BEST
    if holds_run(run_dir) and not path.exists():
        raise ModelError(f"{run_dir}: no epoch of this run has ended yet: `train --resume` first")
    tensors, about = load_tensors(path)
    if not is_known(str(about.get("network"))) and "epoch" in about:
        raise ModelError(
            f"{path}: of the network {about.get('network')!r}, which is none of semblante's: add "
            "it to semblante.train.networks.NETWORKS first"
        )
    try:
        network = _built(run_dir, about["network"], about.get("outputs", N_EMOTIONS))
        network.load_state_dict(tensors)
        int(about["epoch"])
    except SemblanteError:
        raise
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: not the weights of a run: {brief(error)}") from None
    return network.eval(), about


def load_last(run_dir: Path) -> tuple[nn.Module, list[Record]]:
    """The averaged weights of a run's last epoch, in evaluation mode, and the run's history.

    Raises `ModelError` if there is no such run, or it has not ended.
    """
    path = run_dir / CHECKPOINT
    tensors, about = load_tensors(path)
    try:
        options = read_config(run_dir).options
        network = _built(run_dir, options.network, n_outputs(options))
        network.load_state_dict(without_prefix("average", tensors))
        history: list[Record] = about["history"]
        over = is_over(history, options)
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"{path}: not a checkpoint of a run: {brief(error)}") from None
    if not over:
        raise ModelError(
            f"{run_dir} was interrupted in epoch {len(history) + 1}: `train --resume` first"
        )
    return network.eval(), history


def is_over(history: list[Record], options: TrainOptions) -> bool:
    """Whether all epochs are done, or PublicTest has not improved for `patience` epochs."""
    if len(history) >= options.epochs:
        return True
    if options.patience == 0 or not history:
        return False
    best = int(np.argmax([record["public_accuracy"] for record in history]))  # the first such epoch
    return len(history) - 1 - best >= options.patience


def _built(run_dir: Path, name: str, n: int) -> nn.Module:
    """The network of a run. Raises `ModelError` if it comes from a user's own file that has changed
    since: the weights might still fit, but mean something else."""
    file = file_of(name)
    if file is not None and holds_run(run_dir):
        before, now = read_config(run_dir).own_sha256.get(str(file)), own_sha256([name])
        if before != now[str(file)]:
            raise ModelError(
                f"{run_dir} was trained with something else in {file} than is there now"
            )
    return build_network(name, n)
