"""Who is told how a run goes."""

from __future__ import annotations

# What is known of one epoch: `epoch` (from 1); `alpha` (of its last step); `step_loss` and
# `gradient_norm` (means over its steps); `training_loss`, `training_accuracy` (of some faces, as
# they are), `public_loss` and `public_accuracy`, all four of the averaged weights; `seconds`.
Record = dict[str, float]


class Reporter:
    """Keeps it to itself; those that show or count something override what they need."""

    def looking(self) -> None:
        """Before the initial weights look at all of Training: minutes in which nothing is said."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """After each step of gradient descent; epochs and steps count from 1."""

    def epoch(self, record: Record) -> None:
        """After each epoch."""

    def resumed(self, history: list[Record]) -> None:
        """Once, when a run goes on: the epochs that it has behind it, maybe all."""
