"""The training of the released weights: its stages, and the weights that each starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from semblante.train.options import TrainOptions
from semblante.train.presets import options_from


@dataclass(frozen=True)
class Stage:
    """One run of a preset, or several with different seeds, and the weights that result."""

    preset: str
    runs: int = 1  # the weights of several runs are averaged, see `merge.merged`
    # If not 0, the stage results in out-of-fold predictions of so many networks instead of weights
    # (see `crossval.cross_fit`). Later stages that are `cross_fitted` compute likely labels from
    # them.
    folds: int = 0
    cross_fitted: bool = False
    beside: Stage | None = None  # runs of another recipe from the same weights, in the same mean
    initial_share: float = 0.0  # see `merge.merged`
    changes: Mapping[str, Any] = field(default_factory=dict)  # to the preset
    # Further changes to the preset, with an earlier stage's weights as the teacher.
    taught: Mapping[str, Any] = field(default_factory=dict)
    # The numbers, from 1 as in docs/how-made.md, of the stage whose weights it starts from and of
    # the stage that is its teacher; None: the last stage before it that has weights.
    after: int | None = None
    teacher: int | None = None
    model: str = ""  # the file's name, if the result is one of the released models

    @property
    def kinds(self) -> tuple[Stage, ...]:
        """The recipes of its runs: the stage itself and the one `beside` it."""
        return (self, self.beside) if self.beside else (self,)

    def options(self, changes: Mapping[str, Any], teacher: str = "") -> TrainOptions:
        """The stage's recipe with the caller's `changes`; raises as `options_from` does."""
        if not self.cross_fitted:
            changes = {name: value for name, value in changes.items() if name != "estimates"}
        taught = {"teachers": (teacher,), **self.taught} if self.taught and teacher else {}
        return options_from(self.preset, {**self.changes, **taught, **changes})


# How the shipped weights were made. Each stage starts from the weights of the one before; a wider
# network starts from copies of its units. In the eighth stage the previous weights are the teacher,
# with the mean of their answers for a face and its mirror image. In the tenth and eleventh, runs
# with such a teacher are averaged with runs whose targets are cross-fitted (by the ninth); in the
# eleventh some faces are covered by bars. That gives the larger model. It teaches the small one,
# which has one step less and starts from the fifth stage.
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
