"""`Task`: what the runs of one command have in common besides their recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semblante.data import Dataset
from semblante.train.options import TrainOptions
from semblante.train.reporter import Reporter

if TYPE_CHECKING:
    from semblante.data.ferplus import FerPlus

# Makes the reporter of one run, given its options and a title.
ReporterOf = Callable[[TrainOptions, str], AbstractContextManager[Reporter]]


@dataclass(frozen=True)
class Task:
    """The dataset, the output folder and the reporter for several runs."""

    dataset: Dataset
    out: Path  # folder of the runs' folders
    reporter: ReporterOf
    source: Mapping[str, Any]  # where the dataset came from, as `train` notes it
    votes: FerPlus | None = None  # of the dataset's rows
    language: str = "en"  # of what a person reads
