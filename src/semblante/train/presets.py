"""The presets: recipes by name, and recipes made from them by changing some of their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from semblante.errors import OptionError
from semblante.train.options import TrainOptions

_POLISH: Final[dict[str, Any]] = {
    "epochs": 14,
    "optimiser": "muon",
    "learning_rate": 0.004,
    "warmup_epochs": 1.0,
    "mixup_probability": 0.0,
    "ferplus_weight": 0.5,
    "relabel_weight": 0.6,
    "all_steps_weight": 0.3,
    "degrade_probability": 0.3,
}

PRESETS: Final[dict[str, dict[str, Any]]] = {
    "standard": {},
    # A network that needs a quarter of the computation, small faces in more than half of the
    # epochs, and less regularisation.
    "quick": {
        "network": "rcnn-mini",
        "epochs": 30,
        "optimiser": "muon",
        "learning_rate": 0.03,
        "warmup_epochs": 0.5,
        "small_until": 0.6,
        "mixup_probability": 0.0,
        "erase_probability": 0.1,
        "all_steps_weight": 0.3,
        "ema_decay": 0.995,
    },
    # To continue a run of "standard", with --initial RUN and FER+'s votes: less noisy labels.
    "refine": {
        "epochs": 36,
        "learning_rate": 0.05,
        "warmup_epochs": 1.0,
        "ferplus_weight": 0.5,
        "relabel_weight": 0.6,
        "all_steps_weight": 0.3,
    },
    # To continue a run of "refine", with --initial RUN: small steps, on blurred and noisy faces.
    "robust": {
        "epochs": 9,
        "learning_rate": 0.012,
        "warmup_epochs": 0.5,
        "ferplus_weight": 0.5,
        "relabel_weight": 0.6,
        "all_steps_weight": 0.3,
        "degrade_probability": 0.3,
    },
    # To continue a run of "robust", with --initial RUN, several times with different seeds. The
    # mean of the resulting weights (`semblante export` of all runs) is better than each of them.
    "polish": _POLISH,
    # With --cross-fit and --initial RUN: networks that judge faces they were not trained on. Large
    # steps make them forget what the initial weights have learnt from these faces.
    "cross-fit": {
        **_POLISH,
        "epochs": 10,
        "learning_rate": 0.015,
        "warmup_epochs": 0.5,
        "rotation": 8.0,
        "scale": 0.1,
        "shift": 0.06,
        "erase_probability": 0.2,
        "degrade_probability": 0.2,
    },
    # Last, as "polish" but with little augmentation. A network of this size recognises new faces
    # nearly as well as those of Training, so it hardly needs protection from overfitting.
    "finish": {
        **_POLISH,
        "epochs": 6,
        "warmup_epochs": 0.5,
        "rotation": 4.0,
        "scale": 0.05,
        "shift": 0.03,
        "erase_probability": 0.1,
        "degrade_probability": 0.15,
    },
    # Some hundred faces of one's own: a few small steps from shipped weights (docs/experiments.md,
    # "a shipped network on other faces").
    "fine-tune": {
        "network": "rcnn-medium",
        "initial": "rcnn-medium",
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 0.002,
        "warmup_epochs": 0.5,
        "mixup_probability": 0.0,
        "ema_decay": 0.98,
    },
    # For a GPU, with FER+'s votes: a recurrent network from scratch that needs twelve times as much
    # computation as rcnn-medium. Targets stay near the labels: the benchmark from which this recipe
    # was taken ended two points lower with a relabel_weight of 0.75 (docs/experiments.md, "half an
    # hour of a GPU"). The recipe by itself has not been measured.
    "wide": {
        "network": "rcnn-wide",
        "epochs": 46,
        "batch_size": 256,
        "optimiser": "muon",
        "learning_rate": 0.025,
        "warmup_epochs": 0.5,
        "small_until": 0.4,
        "mixup_probability": 0.3,
        "erase_probability": 0.2,
        "ferplus_weight": 0.5,
        "relabel_weight": 0.3,
    },
    # As most course projects train their CNN; they report an accuracy of 65.3 %.
    "course": {
        "network": "course-cnn",
        "epochs": 25,
        "batch_size": 32,
        "optimiser": "adam",
        "learning_rate": 5e-4,
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "weight_decay": 0.0,
        "clip_norm": 1e9,
        "label_smoothing": 0.0,
        "mixup_probability": 0.0,
        "ema_decay": 0.0,
        "rotation": 0.0,
        "scale": 0.0,
        "shift": 0.0,
        "brightness": 0.0,
        "contrast": 0.0,
        "erase_probability": 0.0,
    },
}

# The usual learning rate of each optimiser, used if the preset's optimiser is replaced.
USUAL_LEARNING_RATE: Final = {"sgd": 0.1, "adam": 1e-3, "adamw": 1e-3, "muon": 0.03}


def options_from(preset: str, changes: Mapping[str, Any]) -> TrainOptions:
    """A preset with some fields changed; raises `OptionError` for unknown names.

    If the optimiser changes and the learning rate does not, the learning rate becomes the new
    optimiser's `USUAL_LEARNING_RATE`. If `epochs` is below the preset's warm-up and the warm-up is
    not changed, the warm-up is shortened to `epochs`.
    """
    if preset not in PRESETS:
        raise OptionError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    unknown = set(changes) - {option.name for option in fields(TrainOptions)}
    if unknown:
        raise OptionError(f"unknown option {', '.join(sorted(unknown))}")
    if "teachers" in changes:
        changes = {**changes, "teachers": tuple(changes["teachers"])}
    chosen = {**PRESETS[preset], **changes}
    optimiser = changes.get("optimiser")
    its_own = PRESETS[preset].get("optimiser", TrainOptions.optimiser)
    if optimiser in USUAL_LEARNING_RATE and optimiser != its_own and "learning_rate" not in changes:
        chosen["learning_rate"] = USUAL_LEARNING_RATE[optimiser]
    if "epochs" in changes and "warmup_epochs" not in changes:
        warmup = PRESETS[preset].get("warmup_epochs", TrainOptions.warmup_epochs)
        chosen["warmup_epochs"] = min(warmup, float(changes["epochs"]))
    return TrainOptions(**chosen)
