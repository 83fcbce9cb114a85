"""Helpers for tests of training: short runs, reporters, and the weights that a run saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.train.checkpoint import load_tensors
from semblante.train.loop import train
from semblante.train.options import TrainOptions
from semblante.train.recurrent import RecurrentNetwork
from semblante.train.reporter import Reporter

QUICK = TrainOptions(
    network="rcnn-tiny", epochs=3, batch_size=16, warmup_epochs=1, precision="fp32"
)


# A network that is trained in no time: the fixture `linear` makes it known.
LINEAR = replace(
    QUICK, network="linear", all_steps_weight=0.0, rotation=0.0, scale=0.0, shift=0.02,
    erase_probability=0.1,
)  # fmt: skip


class Silent(Reporter):
    """Shows nothing, and records what training reports."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []
        self.records: list[dict[str, float]] = []
        self.looks = 0

    def estimating(self) -> None:
        self.looks += 1

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self.steps.append((epoch, step, steps))

    def epoch(self, record: dict[str, float]) -> None:
        self.records.append(record)


class Stops(Silent):
    """Interrupts training after its first epoch, whose checkpoint is saved by then."""

    def epoch(self, record: dict[str, float]) -> None:
        raise KeyboardInterrupt


def run(
    dataset: Dataset,
    options: TrainOptions,
    out: Path,
    *,
    resume: bool = False,
    votes: FerPlus | None = None,
) -> tuple[dict[str, object], Silent]:
    reporter = Silent()
    source = {"path": "x.csv"}
    return train(
        dataset, options, out, reporter, source=source, votes=votes, resume=resume
    ), reporter


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a run's last checkpoint."""
    return load_tensors(run_dir / "checkpoint.safetensors")[0]


def assert_same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    """Assert that both have the same names and, for each, exactly the same tensor."""
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def tiny(n_classes: int = 15, **changes: Any) -> RecurrentNetwork:
    """Return the network `rcnn-tiny`, except for `changes`."""
    size = {"stem": 8, "channels": (16, 24, 32), "steps": (1, 2, 2), "strides": (2, 2, 2)}
    return RecurrentNetwork(n_classes=n_classes, **size | {"dropout": 0.0} | changes)
