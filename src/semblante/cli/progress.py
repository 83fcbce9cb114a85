"""Show a training run on the terminal, and in TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from semblante.train.reporter import Record, Reporter
from semblante.translation import translated

if TYPE_CHECKING:
    from semblante.train.options import TrainOptions


def titled(console: Console, language: str) -> Callable[[TrainOptions, str], RunProgress]:
    """Return a function that makes a `RunProgress` for each of several runs, after printing the
    run's title."""

    def reporter(options: TrainOptions, title: str) -> RunProgress:
        console.print(title, highlight=False)
        return RunProgress(console, options.epochs, language=language)

    return reporter


class RunProgress(Reporter):
    """A progress bar for the whole run and a line for each epoch; TensorBoard if asked for."""

    def __init__(
        self,
        console: Console,
        epochs: int,
        tensorboard: Path | None = None,
        *,
        language: str = "en",
    ) -> None:
        self._console = console
        self._language = language
        self._epochs = epochs
        self._bar = Progress(
            TextColumn(
                translated("epoch", language) + " {task.fields[epoch]}/{task.fields[epochs]}"
            ),
            BarColumn(bar_width=8),  # the whole line must fit into 80 columns
            TextColumn(translated("loss", language) + " {task.fields[loss]:.3f}"),
            TextColumn("{task.fields[accuracy]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._tensorboard = tensorboard
        self._writer: Any = None  # created after the first epoch, when the run has begun
        self._before = 0  # steps done before the run was resumed
        self._task = self._bar.add_task(
            "", total=None, epoch=0, epochs=epochs, loss=0.0, accuracy=""
        )

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._writer is not None:
            self._writer.close()

    def estimating(self) -> None:
        """See `Reporter`."""
        doing = "first computing likely labels for all Training faces"
        self._say(translated(doing, self._language))

    def begins(self, bf16: bool) -> None:
        """See `Reporter`."""
        if bf16:  # results differ a little, and can only be repeated with the same precision
            self._say(translated("training in bfloat16 (--precision)", self._language))

    def teaching(self, view: int, views: int) -> None:
        """See `Reporter`."""
        doing = f"computing the teachers' predictions for view {view} of {views} of each face"
        self._say(translated(doing, self._language))

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """See `Reporter`."""
        if self._bar.tasks[0].total is None:  # the first step, also of a resumed run
            self._before = (epoch - 1) * steps
            self._bar.reset(self._task, total=self._epochs * steps - self._before)
        completed = (epoch - 1) * steps + step - self._before
        self._bar.update(self._task, completed=completed, epoch=epoch, loss=loss)

    def epoch(self, record: Record) -> None:
        """See `Reporter`."""
        accuracy = (
            f"Training {record['training_accuracy']:.1%} PublicTest {record['public_accuracy']:.1%}"
        )
        self._bar.update(self._task, accuracy=accuracy)
        self._write_scalars(record)
        line = (
            f"epoch {record['epoch']:g}/{self._epochs}: loss {record['step_loss']:.3f}, accuracy "
            f"{accuracy}, alpha {record['alpha']:.4f}, {record['seconds']:.0f} s"
        )
        self._say(translated(line, self._language))

    def resumed(self, history: list[Record]) -> None:
        """See `Reporter`."""
        if self._tensorboard is not None and not self._tensorboard.exists():
            for record in history:  # the run began without TensorBoard
                self._write_scalars(record)

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def _write_scalars(self, record: Record) -> None:
        if self._tensorboard is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self._tensorboard)
        for name, value in record.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(record["epoch"]))
