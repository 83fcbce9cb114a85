"""`Reporter`, the interface through which a training run reports its progress."""

from __future__ import annotations

# The log entry of one epoch: `epoch` (from 1); `alpha` (of its last step); `step_loss` and
# `gradient_norm` (means over its steps); `training_loss`, `training_accuracy` (on a sample of
# Training, without augmentation), `public_loss` and `public_accuracy`, all four with the averaged
# weights; `seconds`; and with `teacher_views` also `teacher_seconds`, the time that the teachers
# took for this epoch's view of Training before the epoch (0 if that view was known already).
Record = dict[str, float]


class Reporter:
    """Reports nothing itself; subclasses override the methods they need."""

    def estimating(self) -> None:
        """Called before the initial weights classify all of Training, which takes minutes."""

    def begins(self, bf16: bool) -> None:
        """Called once, before training begins; `bf16`: whether the run computes in bfloat16."""

    def teaching(self, view: int, views: int) -> None:
        """Called before the teachers classify all of Training in one view, which takes minutes;
        `view` counts from 1."""

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Called after each step of gradient descent; epochs and steps count from 1."""

    def epoch(self, record: Record) -> None:
        """Called after each epoch."""

    def resumed(self, history: list[Record]) -> None:
        """Called once, when a run is resumed; `history`: the epochs it has completed, maybe all."""
