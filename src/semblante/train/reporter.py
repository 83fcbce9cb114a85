"""Who is told how a run goes."""

from __future__ import annotations

Record = dict[str, float]  # what is known of one epoch


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
