"""Trains several networks side by side on one GPU, with CUDA graphs.

A training step is about a thousand small operations, which take the CPU longer to launch than the
GPU to compute. So each network's step is recorded once as a graph and replayed, in a stream of its
own; what the CPU decides about an epoch (the order of rows, learning rates, mixing weights) is
copied to the GPU before the epoch. Without a GPU the same steps run directly: slow, but enough to
try a script.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semblante.emotions import N_EMOTIONS
from semblante.train.batches import Faces
from semblante.train.device import this_device, to_device
from semblante.train.measure import logits_of
from semblante.train.muon import Muon
from semblante.train.options import TrainOptions
from semblante.train.recurrent import every_step
from semblante.train.state import learning_rate, move_average, parameter_groups

DEVICE: Final = this_device()
CUDA: Final = DEVICE.type == "cuda"
_WARM_UP: Final = 3  # steps before the recorded one
_WHOLE: Final = 48  # full side of a face, in pixels
STARTED: Final = time.monotonic()

Rows = np.ndarray[Any, np.dtype[np.int64]]


class Trainee:
    """A network that is trained with Muon, in bfloat16 on a GPU.

    `error_of(trainee, rows, share)` returns the error on a batch: `rows` (batch,) are the row
    numbers of its samples, and `share` (1,) is the weight of each when it is mixed with another
    (mixup). `n`: rows in an epoch.
    """

    def __init__(
        self,
        name: str,
        options: TrainOptions,
        network: nn.Module,
        error_of: Callable[[Trainee, Tensor, Tensor], Tensor],
        n: int,
    ) -> None:
        self.name, self.options, self.error_of = name, options, error_of
        self.network = to_device(network, DEVICE, bf16=CUDA)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.steps = n // options.batch_size
        self.random = np.random.default_rng(options.seed)
        self.alpha = torch.zeros((), device=DEVICE)
        self.optimiser = Muon(
            parameter_groups(self.network, options.weight_decay),
            lr=0.0,
            momentum=options.momentum,
            bf16=CUDA,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.alpha
        # What the CPU decides for each step of an epoch; `counter` is the number of the next step.
        self.rows = torch.zeros(self.steps, options.batch_size, dtype=torch.int64, device=DEVICE)
        self.alphas = torch.zeros(self.steps, device=DEVICE)
        self.shares = torch.ones(self.steps, device=DEVICE)
        self.counter = torch.zeros(1, dtype=torch.int64, device=DEVICE)
        self.losses = torch.zeros((), device=DEVICE)
        self.history: list[dict[str, float]] = []
        self.side = self._side(0)
        self.step: Callable[[], None] = self._step
        self.stream = torch.cuda.Stream() if CUDA else None  # type: ignore[no-untyped-call]
        if CUDA:
            self._record()

    def outputs(self, faces: Tensor) -> list[Tensor]:
        """The logits whose error counts: those after each step of the last layer if
        `all_steps_weight` is above 0, otherwise only those after the last step."""
        faces = faces.contiguous(memory_format=torch.channels_last)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=CUDA, cache_enabled=False):
            if self.options.all_steps_weight > 0:
                return every_step(self.network, faces)
            return [self.network(faces)]

    def error(self, faces: Tensor, one: Callable[[Tensor], Tensor]) -> Tensor:
        """The error `one` of the last step's logits, plus `all_steps_weight` times its mean over
        the logits of earlier steps."""
        *earlier, last = [one(logits.float()) for logits in self.outputs(faces)]
        if not earlier:
            return last
        return last + self.options.all_steps_weight * torch.stack(earlier).mean()

    def _step(self) -> None:
        rows = self.rows.index_select(0, self.counter)[0]
        share = self.shares.index_select(0, self.counter)
        self.alpha.copy_(self.alphas.index_select(0, self.counter)[0])
        loss = self.error_of(self, rows, share)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip_norm)
        self.optimiser.step()
        with torch.no_grad():
            move_average(self.average, self.network, self.options.ema_decay)
            self.losses += loss.detach()
            self.counter += 1

    def _record(self) -> None:
        """Run a few steps with an alpha of 0, which allocate the optimiser's state; then record one
        more as a graph."""
        self.network.train()
        self.alphas.zero_()
        self.counter.zero_()
        with torch.cuda.stream(self.stream):
            for _ in range(_WARM_UP):
                self._step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._step()
        self.step = graph.replay
        self.counter.zero_()

    def _side(self, epoch: int) -> int:
        """The side of the faces in an epoch, counted from 0, in pixels."""
        small = epoch < self.options.small_until * self.options.epochs
        return self.options.small_side if small else _WHOLE

    def begin(self, epoch: int, rows: Rows) -> None:
        """Prepare an epoch, counted from 0, on these rows in this order."""
        options, steps = self.options, self.steps
        if self.side != self._side(epoch):
            self.side = self._side(epoch)
            if CUDA:
                self._record()
        self.network.train()
        self.rows.copy_(torch.from_numpy(rows[: steps * options.batch_size].reshape(steps, -1)))
        alphas = [
            learning_rate(
                epoch * steps + step,
                warmup=round(options.warmup_epochs * steps),
                total=options.epochs * steps,
                peak=options.learning_rate,
            )
            for step in range(steps)
        ]
        self.alphas.copy_(torch.tensor(alphas))
        shares = self.random.beta(options.mixup_alpha, options.mixup_alpha, steps)
        shares[self.random.random(steps) >= options.mixup_probability] = 1
        if epoch >= options.mixup_until * options.epochs:
            shares[:] = 1
        self.shares.copy_(torch.from_numpy(shares.astype(np.float32)))
        self.counter.zero_()
        self.losses.zero_()

    def replay(self) -> None:
        """Take the next step; on a GPU, only launch it."""
        if self.stream is None:
            self.step()
        else:
            with torch.cuda.stream(self.stream):
                self.step()

    def end(self, epoch: int, seconds: float, public: Faces | None) -> None:
        """Record an epoch, counted from 0, that ended `seconds` after training began; also measure
        accuracy and loss on `public` if it is given."""
        if epoch < 2:  # so that the average forgets the initial weights
            self.average.load_state_dict(self.network.state_dict())
        record = {
            "epoch": epoch + 1,
            "seconds": seconds,
            "step_loss": self.losses.item() / self.steps,
        }
        if public is not None:
            logits = logits_of(self.average, public, bf16=CUDA)[:, :N_EMOTIONS]
            right = (logits.argmax(dim=1) == public.labels).float().mean()
            record["public_accuracy"] = float(right)
            record["public_loss"] = float(F.cross_entropy(logits, public.labels))
            said = ", ".join(f"{name} {value:.4g}" for name, value in record.items())
            print(f"{self.name}: {said}", flush=True)
        self.history.append(record)


def side_by_side(
    trainees: Sequence[Trainee],
    rows_of: Callable[[Trainee, int], Rows],
    public: Faces,
    *,
    every: int,
) -> None:
    """Train all networks for all epochs, of which each has the same number.

    Every `every` epochs and after the last one, they are measured on `public`, and the GPU's
    utilisation is printed.
    """
    epochs = trainees[0].options.epochs
    started = time.monotonic()
    for epoch in range(epochs):
        for trainee in trainees:
            trainee.begin(epoch, rows_of(trainee, epoch))
        _synchronise()
        for step in range(max(trainee.steps for trainee in trainees)):
            for trainee in trainees:
                if step < trainee.steps:
                    trainee.replay()
        busy = _utilisation()
        _synchronise()
        look = (epochs - epoch - 1) % every == 0
        seconds = time.monotonic() - started
        for trainee in trainees:
            trainee.end(epoch, seconds, public if look else None)
        if look and busy is not None:
            print(f"epoch {epoch + 1}: GPU {busy} % busy", flush=True)


def seconds_per_epoch(trainees: Sequence[Trainee], n_steps: int = 12) -> float:
    """The duration of an epoch of all networks side by side, estimated from a few steps with an
    alpha of 0."""
    seconds = 0.0
    for trainee in trainees:
        trainee.network.train()
        trainee.alphas.zero_()
    for part in (2, n_steps):  # the first steps are a warm-up
        _synchronise()
        started = time.monotonic()
        for _ in range(part):
            for trainee in trainees:
                trainee.counter.zero_()
                trainee.replay()
        _synchronise()
        seconds = (time.monotonic() - started) / part
    return seconds * max(trainee.steps for trainee in trainees)


def rolled(values: Tensor, share: Tensor) -> Tensor:
    """Each value mixed with its neighbour in the batch (mixup); batches are in random order."""
    return share * values + (1 - share) * values.roll(1, dims=0)


def _utilisation() -> int | None:
    """The GPU's recent utilisation in percent, as in `nvidia-smi`; None if it is not known."""
    if not CUDA:
        return None
    try:
        return torch.cuda.utilization()
    except Exception as error:  # the driver's library may be missing: no reason to stop
        print(f"utilisation: {error}", flush=True)
        return None


def _synchronise() -> None:
    if CUDA:
        torch.cuda.synchronize()
