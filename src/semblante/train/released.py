"""The way of the released weights: which runs made them, and what each starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from semblante.train.options import TrainOptions, options_from


@dataclass(frozen=True)
class Stage:
    """One run of a preset, or several of different seeds, and what is kept of them."""

    preset: str
    runs: int = 1  # of several the mean of their last weights is kept, see `export`
    # Instead of weights, what so many networks say of faces that they did not learn from (see
    # `crossval.cross_fit`). Of later stages those that are `cross_fitted` find likely labels by it.
    folds: int = 0
    cross_fitted: bool = False
    beside: Stage | None = None  # runs of another recipe from the same weights, in the same mean
    initial_share: float = 0.0  # of the weights that it started from, see `export`
    changes: Mapping[str, Any] = field(default_factory=dict)  # to the preset
    # To the preset, where the weights that an earlier stage left are its teacher.
    taught: Mapping[str, Any] = field(default_factory=dict)
    # The stages, counted from 1 as in the model card, whose weights it starts from and is taught
    # by; 0: the last one that left weights.
    after: int = 0
    teacher: int = 0
    model: str = ""  # the name of what is kept, where it is not a step on the way but a model

    @property
    def kinds(self) -> tuple[Stage, ...]:
        """Itself and what is `beside` it: the recipes of its runs."""
        return (self, self.beside) if self.beside else (self,)

    def options(self, changes: Mapping[str, Any], teacher: str = "") -> TrainOptions:
        """The stage's recipe with what the caller changes; raises as `options_from` does."""
        if not self.cross_fitted:
            changes = {name: value for name, value in changes.items() if name != "estimates"}
        taught = {"teachers": (teacher,), **self.taught} if self.taught and teacher else {}
        return options_from(self.preset, {**self.changes, **taught, **changes})


# How the shipped weights were made: each stage starts from what the one before left, a wider
# network by copies of its units. In the eighth the weights before teach what they say of a face and
# of its mirror image together; after that there is a mean of runs that learn so and of runs whose
# targets are cross-fitted, twice, the second time with bars across some of the faces. That is the
# larger model. It teaches the small one, which has a step less and goes on from the fifth stage.
_BOTH_VIEWS: Final = {"mirrored_teachers": True, "distill_weight": 0.6, "temperature": 2.0}
_MEDIUM: Final = {"epochs": 4, "network": "rcnn-medium"}
_CROSS_FITTED: Final = {**_MEDIUM, "epochs": 5, "relabel_weight": 0.85}
_COVERED: Final = {"cover_probability": 0.2}
_SMALL: Final = {"epochs": 4, "network": "rcnn-small-223", **_COVERED}
_SMALL_CROSS_FITTED: Final = {**_SMALL, "relabel_weight": 0.85}
RELEASED: Final = (
    Stage("standard"),
    Stage("refine"),
    Stage("robust", initial_share=0.35),
    Stage("polish", runs=3),
    Stage("finish", runs=3),
    Stage("finish", runs=3, changes={"epochs": 4}),
    Stage("finish", runs=3, changes=_MEDIUM),
    Stage("finish", runs=3, changes=_MEDIUM, taught=_BOTH_VIEWS),
    Stage("cross-fit", folds=2, changes={"network": "rcnn-medium"}),
    Stage(
        "finish",
        runs=2,
        changes=_CROSS_FITTED,
        cross_fitted=True,
        beside=Stage("finish", runs=2, changes=_MEDIUM, taught=_BOTH_VIEWS),
    ),
    Stage(
        "finish",
        runs=2,
        changes={**_CROSS_FITTED, **_COVERED},
        cross_fitted=True,
        beside=Stage("finish", runs=2, changes={**_MEDIUM, **_COVERED}, taught=_BOTH_VIEWS),
        initial_share=0.35,
        model="model",
    ),
    Stage(
        "finish",
        runs=2,
        changes={**_SMALL_CROSS_FITTED, "epochs": 6, "learning_rate": 0.006},
        cross_fitted=True,
        taught=_BOTH_VIEWS,
        after=5,
        teacher=11,
    ),
    Stage(
        "finish",
        changes={**_SMALL_CROSS_FITTED, "epochs": 3},
        cross_fitted=True,
        beside=Stage("finish", changes={**_SMALL, "epochs": 3}, taught=_BOTH_VIEWS),
        taught=_BOTH_VIEWS,
        teacher=11,
    ),
    Stage(
        "finish",
        changes=_SMALL_CROSS_FITTED,
        cross_fitted=True,
        beside=Stage("finish", changes=_SMALL, taught=_BOTH_VIEWS),
        taught=_BOTH_VIEWS,
        teacher=11,
        model="small",
    ),
)
