"""Training runs of benchmarks that go on where they were interrupted when called again."""

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
    """Train the run, or continue it if it was interrupted; do nothing if it is complete."""
    train(dataset, options, run_dir, Reporter(), source=source or {}, votes=votes, resume=True)
