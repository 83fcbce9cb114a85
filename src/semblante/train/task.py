"""`Task`: what the runs of one command have in common besides their recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semblante.data import Dataset
from semblante.data.ferplus import FerPlus
from semblante.train.loop import train
from semblante.train.options import TrainOptions
from semblante.train.reporter import Reporter

# Makes the reporter of one run, given its options and a title.
ReporterOf = Callable[[TrainOptions, str], AbstractContextManager[Reporter]]


@dataclass(frozen=True)
class Task:
    """The dataset, the output folder and the reporter for several runs, and how each is trained."""

    dataset: Dataset
    out: Path  # folder of the runs' folders
    reporter: ReporterOf
    source: Mapping[str, Any]  # where the dataset came from, as `train` notes it
    votes: FerPlus | None = None  # of the dataset's rows
    language: str = "en"  # of what a person reads

    def train(
        self, dataset: Dataset, votes: FerPlus | None, options: TrainOptions, folder: Path,
        title: str, **source: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Train one run, or go on with it, as `loop.train` does; returns its summary.

        `dataset` and `votes`: the task's, or a part of them, which `source` describes.
        """
        with self.reporter(options, title) as reporter:
            return train(
                dataset, options, folder, reporter, source={**self.source, **source},
                votes=votes, resume=True, language=self.language,
            )  # fmt: skip
