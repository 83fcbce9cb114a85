"""The folder of a run: made when the run begins, checked before it is resumed, read at its end.

config.json             the options, the dataset's fingerprint, versions, the command
checkpoint.safetensors  the latest state: weights, moving average, momentum; history inside
best.safetensors        the averaged weights of the epoch that was best on PublicTest
targets.safetensors     the target of each face of Training, if computing it took long
taught.safetensors      the teachers' probabilities for each view of each face (`--teacher-views`)
log.json                the history, one entry per epoch, and the run's summary
curves.png              loss and accuracy over the epochs
confusion.png           the confusion matrix on PublicTest, with the best epoch's weights
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy
import torch
from torch import nn

import semblante
from semblante.errors import ModelError, OptionError, RunFolderError
from semblante.files import write_json
from semblante.train.networks import count_parameters
from semblante.train.options import TrainOptions
from semblante.train.reporter import Record

CONFIG: Final = "config.json"
CHECKPOINT: Final = "checkpoint.safetensors"
BEST: Final = "best.safetensors"
TARGETS: Final = "targets.safetensors"
TAUGHT: Final = "taught.safetensors"
LOG: Final = "log.json"
CURVES: Final = "curves.png"
CONFUSION: Final = "confusion.png"
# In the folder of `--cross-fit`, beside the folders of its runs: the probabilities that each
# network gives for the faces it was not trained on.
ESTIMATES: Final = "estimates.safetensors"


@dataclass(frozen=True)
class RunConfig:
    """What defines a run and must be unchanged when it is resumed."""

    options: TrainOptions
    dataset_sha256: str
    votes_sha256: str | None  # of FER+'s votes, if the recipe uses them
    source: dict[str, Any]  # where the dataset came from
    bf16: bool  # as chosen at the start, whichever is quicker now
    # Of the weights named by `initial`, `teachers` and `estimates`, as they were at the start.
    # The name is not enough: the next release may ship another model under the same name.
    weights_sha256: dict[str, str] = field(default_factory=dict)
    own_sha256: dict[str, str] = field(default_factory=dict)  # by path, see `user_code.py`


def holds_run(run_dir: Path) -> bool:
    """Whether a run has begun in this folder."""
    return (run_dir / CONFIG).exists()


def check_free(run_dir: Path) -> None:
    """Raise `RunFolderError` if the folder already holds one or several runs."""
    if (run_dir / ESTIMATES).exists() or any(run_dir.glob(f"*/{CONFIG}")):
        raise RunFolderError(
            f"{run_dir} holds several runs, of --preset released, --cross-fit or --learning-curve "
            "perhaps: repeat that command with --resume, or choose another folder"
        )
    if holds_run(run_dir):
        raise RunFolderError(
            f"{run_dir} already holds a run: continue it with --resume or choose another folder"
        )


def begin_run(run_dir: Path, config: RunConfig, network: nn.Module, device: torch.device) -> None:
    """Make the run's folder and its `config.json`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    about = {
        "parameters": count_parameters(network),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "semblante": semblante.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }
    write_json(run_dir / CONFIG, {**asdict(config), **about})


def check_same(run_dir: Path, ours: RunConfig) -> RunConfig:
    """The configuration in the folder; raises `RunFolderError` unless it is that of this run."""
    theirs = read_config(run_dir)
    if theirs.dataset_sha256 != ours.dataset_sha256:
        raise RunFolderError(f"{run_dir} was trained on another dataset than the one given")
    if theirs.votes_sha256 != ours.votes_sha256:
        raise RunFolderError(f"{run_dir} was trained with other FER+ votes than the ones given")
    before, now = asdict(theirs.options), asdict(ours.options)
    # A relative path stays relative in `ours` if its weights are gone by now.
    for name in ("initial", "estimates", "looks_of"):
        now[name] = _as_before(before[name], now[name])
    if len(before["teachers"]) == len(now["teachers"]):
        now["teachers"] = tuple(map(_as_before, before["teachers"], now["teachers"]))
    changed = [name for name in now if before[name] != now[name]]
    if changed:
        differences = ", ".join(f"{name} {before[name]} -> {now[name]}" for name in changed)
        raise RunFolderError(f"{run_dir} holds a run with other options: {differences}")
    for file, found in ours.own_sha256.items():
        if theirs.own_sha256.get(file) != found:
            raise RunFolderError(f"{run_dir} began with something else in {file} than is there now")
    for place, found in ours.weights_sha256.items():
        if theirs.weights_sha256.get(place, found) != found:
            raise RunFolderError(f"{run_dir} began with other weights than {place} holds now")
    return theirs


def _as_before(before: str, now: str) -> str:
    return before if now and before == str(Path(now).absolute()) else now


def read_config(run_dir: Path) -> RunConfig:
    """The `config.json` of a run folder; raises `ModelError` if it is not as `train` wrote it.

    An option that did not exist yet when the run began has its default.
    """
    path = run_dir / CONFIG
    config = read_json(path)
    kinds = {"options": dict, "dataset_sha256": str, "source": dict, "bf16": bool}
    if not isinstance(config, dict) or any(
        not isinstance(config.get(name), kind) for name, kind in kinds.items()
    ):
        raise ModelError(f"{path}: expected an object with {', '.join(kinds)}")
    chosen = config["options"]
    try:
        options = TrainOptions(**{**chosen, "teachers": tuple(chosen.get("teachers", ()))})
    except (TypeError, OptionError) as error:
        raise ModelError(f"{path}: not the options of a run: {error}") from None
    return RunConfig(
        options,
        config["dataset_sha256"],
        config.get("votes_sha256"),
        config["source"],
        config["bf16"],
        config.get("weights_sha256", {}),
        config.get("own_sha256", {}),
    )


def read_end(run_dir: Path) -> tuple[list[Record], dict[str, Any]] | None:
    """The history and summary of a run that has ended and written all of its files, else None."""
    if not (run_dir / CONFUSION).exists():  # the last file that a run writes
        return None
    try:
        log = read_json(run_dir / LOG)
        return log["history"], log["summary"]
    except (ModelError, KeyError, TypeError):  # damaged: `train` writes it again
        return None


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises `ModelError` if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from None
