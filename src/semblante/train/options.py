"""Everything that can be chosen about a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Final

from semblante.errors import OptionError

MAX_SEED: Final = 1_000_000_000


def _option(default: Any, help: str) -> Any:
    """A field whose explanation the command line shows as well."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainOptions:
    """The recipe. Defaults are the preset "standard", with which the shipped weights were made."""

    network: str = _option("rcnn-small", "network to train, one of semblante's networks")
    seed: int = _option(0, "seed of the initial weights, the order of faces and the augmentation")
    epochs: int = _option(64, "passes over Training")
    batch_size: int = _option(128, "faces in one step of gradient descent")
    # Gradient descent: w <- w - alpha * v, v the Nesterov momentum of the gradient.
    learning_rate: float = _option(0.1, "the largest step alpha, reached after the warm-up")
    warmup_epochs: float = _option(2.0, "epochs over which alpha grows linearly from 0")
    momentum: float = _option(0.9, "Nesterov momentum")
    weight_decay: float = _option(5e-4, "weight decay, on kernels only (no norms, no biases)")
    clip_norm: float = _option(2.0, "gradients longer than this are shortened to it")
    label_smoothing: float = _option(0.1, "share of the target spread evenly over the classes")
    mixup_alpha: float = _option(0.4, "mixing weights are drawn from Beta(alpha, alpha)")
    mixup_probability: float = _option(0.5, "share of the batches that are mixed; 0 turns it off")
    mixup_until: float = _option(0.85, "mix only in this first part of the run")
    ema_decay: float = _option(0.998, "decay of the moving average of the weights, per step")
    rotation: float = _option(12.0, "random rotation, +- degrees")
    scale: float = _option(0.2, "random scale, +- this fraction")
    shift: float = _option(0.15, "random shift, +- this fraction of the side")
    brightness: float = _option(0.3, "random brightness, +- standard deviations of the image")
    contrast: float = _option(0.3, "random contrast, +- this fraction")
    erase_probability: float = _option(0.4, "share of the faces of which a rectangle is erased")
    precision: str = _option("auto", "auto, fp32 or bf16; auto is bf16 where the processor has it")

    def __post_init__(self) -> None:
        at_least_one = ("epochs", "batch_size")
        fractions = (
            "momentum", "label_smoothing", "mixup_probability", "mixup_until", "ema_decay",
            "erase_probability", "scale", "shift", "contrast",
        )  # fmt: skip
        not_negative = ("seed", "warmup_epochs", "weight_decay", "rotation", "brightness")
        positive = ("learning_rate", "clip_norm", "mixup_alpha")
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise OptionError(f"expected {option.name} to be a finite number, found {value}")
        if self.seed > MAX_SEED:
            raise OptionError(f"expected seed of at most {MAX_SEED}, found {self.seed}")
        self._check(at_least_one, "at least 1", lambda value: value >= 1)
        self._check(fractions, "between 0 and 1", lambda value: 0 <= value <= 1)
        self._check(not_negative, "0 or more", lambda value: value >= 0)
        self._check(positive, "more than 0", lambda value: value > 0)
        if self.warmup_epochs > self.epochs:
            raise OptionError(
                f"warmup_epochs ({self.warmup_epochs:g}) is longer than epochs ({self.epochs})"
            )
        if self.precision not in ("auto", "fp32", "bf16"):
            raise OptionError(f"expected precision auto, fp32 or bf16, found {self.precision!r}")

    def _check(self, names: tuple[str, ...], expected: str, holds: Any) -> None:
        for name in names:
            value = getattr(self, name)
            if not holds(value):
                raise OptionError(f"expected {name} {expected}, found {value}")


PRESETS: Final[dict[str, dict[str, Any]]] = {
    "standard": {},
    # To see that everything works: twelve epochs, a few points below.
    "quick": {"epochs": 12, "mixup_probability": 0.0, "warmup_epochs": 1.0},
}


def options_from(preset: str, changes: dict[str, Any]) -> TrainOptions:
    """A preset with some fields changed; raises `OptionError` for names that do not exist."""
    if preset not in PRESETS:
        raise OptionError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    unknown = set(changes) - {option.name for option in fields(TrainOptions)}
    if unknown:
        raise OptionError(f"unknown option {', '.join(sorted(unknown))}")
    return TrainOptions(**{**PRESETS[preset], **changes})
