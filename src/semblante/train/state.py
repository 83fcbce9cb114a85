"""The state of a training run, which changes with each step, and its checkpoints."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from semblante.errors import ModelError
from semblante.files import write_json
from semblante.preprocess import FACE_SIZE
from semblante.train.checkpoint import brief, load_tensors, prefixed, save_tensors, without_prefix
from semblante.train.device import quick_layout, to_device, use_bf16
from semblante.train.distributed import ALONE, Processes, synchronise_norms
from semblante.train.muon import Muon
from semblante.train.networks import build_network, n_outputs
from semblante.train.options import TrainOptions
from semblante.train.recurrent import every_step
from semblante.train.reporter import Record
from semblante.train.run_folder import BEST, CHECKPOINT, LOG


@dataclass
class EpochProgress:
    """How far the present epoch has come."""

    losses: list[float] = field(default_factory=list)  # of each step taken so far
    gradient_norms: list[float] = field(default_factory=list)  # as `losses`
    random_state: Tensor | None = None  # torch's, on the CPU, before the next step
    seconds: float = 0.0


class TrainingState:
    """The weights, their moving average, the optimiser with its momentum, and the step reached."""

    def __init__(
        self,
        options: TrainOptions,
        device: torch.device,
        steps_per_epoch: int,
        processes: Processes = ALONE,
        bf16: bool | None = None,  # None: decided by `options.precision`
    ) -> None:
        self.options = options
        self.steps_per_epoch = steps_per_epoch
        self.step = 0  # steps of gradient descent taken
        self.progress = EpochProgress()  # the current epoch
        self.bf16 = use_bf16(options.precision, device) if bf16 is None else bf16
        n = n_outputs(options)
        self.layout = quick_layout(device, self.bf16)
        self.network = to_device(build_network(options.network, n), device, self.bf16)
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        # Maps faces to a list of logits, one for each recurrent step whose error counts, in order.
        self.step_logits = self._step_logits_of(processes)
        groups = parameter_groups(self.network, options.weight_decay)
        self.optimiser = _optimiser(options, groups, self.bf16)

    def _step_logits_of(self, processes: Processes) -> Callable[[Tensor], list[Tensor]]:
        step_logits: Callable[..., list[Tensor]] = _StepLogits(
            self.network, self.options.all_steps_weight > 0
        )
        if processes.count > 1:
            assert isinstance(step_logits, nn.Module)
            synchronise_norms(step_logits)
            with warnings.catch_warnings():
                # torch 2.13 warns that `broadcast_buffers` is deprecated, but also says to keep it
                # where buffers must not be sent at all, as here.
                warnings.simplefilter("ignore", FutureWarning)
                step_logits = DistributedDataParallel(step_logits, broadcast_buffers=False)
        return torch.compile(step_logits) if self.options.compile else step_logits

    def set_learning_rate(self, step: int) -> None:
        """Set the optimiser's learning rate to that of `step`, counted from 0."""
        alpha = learning_rate(
            step,
            warmup=round(self.options.warmup_epochs * self.steps_per_epoch),
            total=self.options.epochs * self.steps_per_epoch,
            peak=self.options.learning_rate,
            schedule=self.options.schedule,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = alpha

    def mixes(self, epoch: int) -> bool:
        """Whether batches may be mixed in `epoch`, counted from 1."""
        return epoch <= _epochs(self.options.mixup_until, self.options)

    def side(self, epoch: int) -> int:
        """The width and height in pixels of the faces in `epoch`, counted from 1.

        Faces are small at first: 32 pixels need less than half the computation of 48 (progressive
        resizing: Tan & Le, EfficientNetV2, ICML 2021, section 4).
        """
        small = epoch <= _epochs(self.options.small_until, self.options)
        return self.options.small_side if small else FACE_SIZE

    def update_ema(self) -> None:
        """Update the exponential moving average of the weights and normalisation statistics after a
        step (Polyak & Juditsky, 1992, weighted all steps alike).

        The decay grows towards `ema_decay`, as in TensorFlow's moving average (`num_updates`), so
        that the random initial weights are forgotten in the first epoch instead of the fifth.
        """
        decay = min(self.options.ema_decay, (1 + self.step) / (10 + self.step))
        move_average(self.ema, self.network, decay)

    def save(self, run_dir: Path, history: list[Record]) -> None:
        """Write a checkpoint and the log, and after the best epoch so far its weights (`BEST`)."""
        accuracies = [record["public_accuracy"] for record in history]
        average = self.ema.state_dict()
        # `>=`: of equally accurate epochs the last, which has been trained longest, is kept. For
        # `patience` it is no improvement: `trained.is_over` counts from the first of them.
        if not self.progress.losses and accuracies[-1] >= max(accuracies):
            # Without times, so that the same weights always give the same file.
            record = {k: v for k, v in history[-1].items() if not k.endswith("seconds")}
            best = {"network": self.options.network, "outputs": n_outputs(self.options), **record}
            save_tensors(run_dir / BEST, average, best)
        optimiser_state = {
            f"{number}.{name}": torch.as_tensor(value)
            for number, state in self.optimiser.state_dict()["state"].items()
            for name, value in state.items()
            if value is not None
        }
        tensors = {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", average),
            **prefixed("optimiser", optimiser_state),
        }
        if self.progress.random_state is not None:
            tensors["random_state"] = self.progress.random_state
        about = {
            "history": history,
            "losses": self.progress.losses,
            "norms": self.progress.gradient_norms,
            "seconds": self.progress.seconds,
        }
        save_tensors(run_dir / CHECKPOINT, tensors, about)
        write_json(run_dir / LOG, {"history": history})

    def load(self, run_dir: Path) -> list[Record]:
        """Restore the last checkpoint, if there is one; returns the history so far."""
        path = run_dir / CHECKPOINT
        if not path.exists():
            return []  # the run was killed in its first epoch
        tensors, about = load_tensors(path)
        optimiser_state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in without_prefix("optimiser", tensors).items():
            place, _, kind = name.partition(".")
            optimiser_state.setdefault(int(place), {})[kind] = tensor
        state = self.optimiser.state_dict()
        try:
            self.network.load_state_dict(without_prefix("network", tensors))
            self.ema.load_state_dict(without_prefix("average", tensors))
            state["state"] = optimiser_state
            self.optimiser.load_state_dict(state)
            history: list[Record] = about["history"]
            self.progress = EpochProgress(
                about["losses"], about["norms"], tensors.get("random_state"), about["seconds"]
            )
        except (RuntimeError, LookupError, ValueError, TypeError) as error:
            raise ModelError(f"{path}: not a checkpoint of this run: {brief(error)}") from None
        self.step = len(history) * self.steps_per_epoch + len(self.progress.losses)
        # Of the last step taken: the record of its epoch contains it.
        self.set_learning_rate(max(0, self.step - 1))
        return history


def _epochs(share: float, options: TrainOptions) -> float:
    """A share of the run in epochs; rounded, since 0.29 * 100 is 28.999... in floating point."""
    return round(share * options.epochs, 9)


class _StepLogits(nn.Module):
    """A network whose output is a list of logits: of every recurrent step, or of the last only."""

    def __init__(self, network: nn.Module, of_every_step: bool) -> None:
        super().__init__()
        self.network = network
        self.of_every_step = of_every_step

    def forward(self, faces: Tensor) -> list[Tensor]:
        return every_step(self.network, faces) if self.of_every_step else [self.network(faces)]


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters as an optimiser takes them: kernels decay; biases and norms do not."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network, for weights and norms' statistics."""
    # Unlike `state_dict`, these list a tensor that several layers share only once.
    averages = [*average.parameters(), *average.buffers()]
    latest = [*network.parameters(), *network.buffers()]
    pairs = [(a, b) for a, b in zip(averages, latest, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)


def learning_rate(
    step: int, *, warmup: int, total: int, peak: float, schedule: str = "cosine"
) -> float:
    """The learning rate of a step, counted from 0.

    In step k < `warmup` it is `peak` * (k + 1) / `warmup`. After that it stays at `peak`, if
    `schedule` is "constant", or follows half a cosine that reaches 0 at `total`, the step after the
    last one (Loshchilov & Hutter, SGDR, ICLR 2017, without restarts).
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _optimiser(
    options: TrainOptions, groups: list[dict[str, Any]], bf16: bool
) -> torch.optim.Optimizer:
    if options.optimiser == "adam":
        return torch.optim.Adam(groups, lr=options.learning_rate)
    if options.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=options.learning_rate)
    if options.optimiser == "muon":
        return Muon(groups, lr=options.learning_rate, momentum=options.momentum, bf16=bf16)
    return torch.optim.SGD(
        groups,
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.momentum > 0,
    )
