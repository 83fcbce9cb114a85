"""Runs that a benchmark makes, and goes on with when it is called again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.train.loop import train
from semblante.train.options import TrainOptions
from semblante.train.reporter import Reporter


def trained(
    run_dir: Path,
    dataset: Dataset,
    options: TrainOptions,
    *,
    source: Mapping[str, Any] | None = None,
    votes: FerPlus | None = None,
) -> None:
    """Make the run, go on with it, or leave it alone where it is done."""
    train(dataset, options, run_dir, Reporter(), source=source or {}, votes=votes, resume=True)
