"""Who is told how a run goes."""

from __future__ import annotations

# What is known of one epoch: `epoch` (from 1); `alpha` (of its last step); `step_loss` and
# `gradient_norm` (means over its steps); `training_loss`, `training_accuracy` (of some faces, as
# they are), `public_loss` and `public_accuracy`, all four of the averaged weights; `seconds`, and
# `teacher_seconds` where teachers looked at a view of Training before (0 where they had already).
Record = dict[str, float]


class Reporter:
    """Keeps it to itself; those that show or count something override what they need."""

    def looking(self) -> None:
        """Before the initial weights look at all of Training: minutes in which nothing is said."""

    def begins(self, bf16: bool) -> None:
        """Once, before anything is learnt: does it compute in bfloat16?"""

    def teaching(self, view: int, views: int) -> None:
        """Before the teachers look at a view of all of Training, counted from 1: minutes, too."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """After each step of gradient descent; epochs and steps count from 1."""

    def epoch(self, record: Record) -> None:
        """After each epoch."""

    def resumed(self, history: list[Record]) -> None:
        """Once, when a run goes on: the epochs that it has behind it, maybe all."""
