"""The seeds of a run's random numbers, side by side: they must not coincide.

All random numbers of an epoch follow from its seed, so an epoch can be repeated, and a killed run
resumed, without those of the epochs before it. The initial weights follow from the run's own seed.
"""

from __future__ import annotations

from typing import Final

from semblante.train.options import TrainOptions

# Between the seeds of two runs: more than any run has epochs.
_APART: Final = 1_000_003


def epoch_seed(options: TrainOptions, epoch: int) -> int:
    """For the order of the faces, their augmentation and mixing in `epoch`, counted from 1."""
    return options.seed * _APART + epoch


def mirror_seed(options: TrainOptions, epoch: int) -> int:
    """For which faces are mirrored in `epoch`, where the teachers' views are given: beyond the
    seeds of the run's epochs."""
    return options.seed * _APART + options.epochs + epoch


def view_seed(number: int) -> int:
    """For the teachers' view `number`, counted from 0: negative, and the same in every run, so that
    another run can use the teachers' probabilities again."""
    return -1 - number
