"""What changes while training, and how it is saved and found again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semblante.errors import ModelError
from semblante.files import write_json
from semblante.train.checkpoint import (
    load_tensors,
    prefixed,
    read_config,
    save_tensors,
    without_prefix,
)
from semblante.train.networks import build_network
from semblante.train.options import TrainOptions

Record = dict[str, float]  # what is known of one epoch


class TrainingState:
    """Weights, their moving average, the optimiser's momentum, and the step reached."""

    def __init__(self, options: TrainOptions, device: torch.device, steps_per_epoch: int) -> None:
        self.options = options
        self.steps_per_epoch = steps_per_epoch
        self.step = 0  # steps of gradient descent taken
        self.bf16 = use_bf16(options.precision, device)
        self.network = _on(device, build_network(options.network))
        self.average = _on(device, build_network(options.network))
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False)
        kernels = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.SGD(
            [
                {"params": kernels, "weight_decay": options.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=options.learning_rate,
            momentum=options.momentum,
            nesterov=options.momentum > 0,
        )

    def alpha(self) -> float:
        """Learning rate of the next step."""
        return learning_rate(
            self.step,
            warmup=round(self.options.warmup_epochs * self.steps_per_epoch),
            total=self.options.epochs * self.steps_per_epoch,
            peak=self.options.learning_rate,
        )

    def mixes(self, epoch: int) -> bool:
        """Whether `epoch`, counted from 1, is one in which batches may be mixed."""
        return epoch <= self.options.mixup_until * self.options.epochs

    @torch.no_grad()
    def update_average(self) -> None:
        """Moving average of weights and of normalisation statistics, after each step.

        Its decay grows towards `ema_decay`, so that the random initial weights are
        forgotten in the first epoch instead of the fifth.
        """
        decay = min(self.options.ema_decay, (1 + self.step) / (10 + self.step))
        latest = self.network.state_dict()
        floats = [(a, latest[name]) for name, a in self.average.state_dict().items()]
        pairs = [(a, b) for a, b in floats if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - decay)

    def save(self, run_dir: Path, history: list[Record]) -> None:
        """The checkpoint of the epoch that just ended; the best one beside it."""
        accuracies = [record["public_accuracy"] for record in history]
        average = self.average.state_dict()
        if accuracies[-1] >= max(accuracies):
            about = {"network": self.options.network, **history[-1]}
            save_tensors(run_dir / "best.safetensors", average, about)
        momentum = {
            str(number): state["momentum_buffer"]
            for number, state in self.optimiser.state_dict()["state"].items()
            if state.get("momentum_buffer") is not None
        }
        tensors = {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", average),
            **prefixed("momentum", momentum),
        }
        save_tensors(run_dir / "checkpoint.safetensors", tensors, {"history": history})
        write_json(run_dir / "log.json", {"history": history})

    def load(self, run_dir: Path) -> list[Record]:
        """Go on after the last checkpoint, if there is one; returns the history so far."""
        path = run_dir / "checkpoint.safetensors"
        if not path.exists():
            return []  # interrupted in the first epoch
        tensors, about = load_tensors(path)
        momentum = without_prefix("momentum", tensors)
        state = self.optimiser.state_dict()
        try:
            self.network.load_state_dict(without_prefix("network", tensors))
            self.average.load_state_dict(without_prefix("average", tensors))
            if self.options.momentum > 0:
                state["state"] = {int(n): {"momentum_buffer": m} for n, m in momentum.items()}
                for number, parameter in enumerate(_parameters(self.optimiser)):
                    if momentum[str(number)].shape != parameter.shape:
                        raise ValueError(f"momentum {number} has another shape")
                self.optimiser.load_state_dict(state)
            history: list[Record] = about["history"]
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{path}: not a checkpoint of this run: {_brief(error)}") from None
        self.step = len(history) * self.steps_per_epoch
        return history


def load_best(run_dir: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run folder with its best weights, in evaluation mode, and what is known
    of it: the record of its epoch. Raises `ModelError` where there is no such run."""
    path = run_dir / "best.safetensors"
    tensors, about = load_tensors(path)
    try:
        network = build_network(about["network"])
        network.load_state_dict(tensors)
        int(about["epoch"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: not the weights of a run: {_brief(error)}") from None
    return network.eval(), about


def load_last(run_dir: Path) -> tuple[nn.Module, list[Record]]:
    """The averaged weights of a run's last epoch, in evaluation mode, and the run's history."""
    path = run_dir / "checkpoint.safetensors"
    tensors, about = load_tensors(path)
    try:
        network = build_network(read_config(run_dir)["options"]["network"])
        network.load_state_dict(without_prefix("average", tensors))
        history: list[Record] = about["history"]
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"{path}: not a checkpoint of a run: {_brief(error)}") from None
    return network.eval(), history


def learning_rate(step: int, *, warmup: int, total: int, peak: float) -> float:
    """Linear from 0 to `peak` over `warmup` steps, then half a cosine to 0 at `total`.

    Loshchilov & Hutter, SGDR (ICLR 2017), without restarts. Steps count from 0.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def use_bf16(precision: str, device: torch.device) -> bool:
    """ "auto" means bfloat16 where the processor multiplies in it, not where it is emulated."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch has no public word for this; a version that lacks these falls back to fp32.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def _on(device: torch.device, network: nn.Module) -> nn.Module:
    """channels_last is the layout in which convolutions are quickest on CPU and GPU alike."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """In the order by which the optimiser numbers them."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _brief(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())[:120]}"
