"""Views of each face that teachers have looked at beforehand.

A good teacher is larger than its student: looking at every batch, it would take most of a run's
time. With `teacher_views` it looks at that many random views of each face, once, and what it says
of them is kept in the run folder; the student sees one after another, an epoch each, and begins
again with the first (Shen & Xing, ECCV 2022, section 3). What differs from epoch to epoch then is
the light, what is blurred, erased or covered, and which faces are mixed; the teachers know nothing
of these. Of teachers that look at the mirror image as well (`mirrored_teachers`), who say the same
of both, the student sees either.

The views are the same for every seed: another run by the same teachers may take over what they said
(`looks_of`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from semblante.errors import OptionError
from semblante.preprocess import standardise
from semblante.train.batches import Faces, random_affine, warp
from semblante.train.checkpoint import load_tensors, save_tensors
from semblante.train.device import autocast
from semblante.train.distributed import Processes
from semblante.train.objective import Objective
from semblante.train.options import TrainOptions
from semblante.train.reporter import Reporter
from semblante.train.run_folder import TAUGHT, RunConfig, read_config

_BATCH: Final = 256
# What the teachers see, and how they are asked.
_OF_LOOKS: Final = (
    "rotation", "scale", "shift", "mirrored_teachers", "teach_votes", "temperature",
)  # fmt: skip


@dataclass(frozen=True)
class KnownViews:
    """What teachers said of views before this call: in the run that goes on, or in the one that
    `looks_of` names."""

    options: TrainOptions
    # Of each view, by its number: probabilities (n, 7 or 15) on the CPU, and the seconds they took.
    soft_targets: dict[str, Tensor] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    own: bool = False  # read from the run's own folder

    @staticmethod
    def read(
        run_dir: Path, options: TrainOptions, processes: Processes, *, resume: bool
    ) -> KnownViews:
        """With `resume`, what the run's own folder has, if anything; else what `looks_of` has."""
        if not options.teacher_views:
            return KnownViews(options)
        own, theirs = run_dir / TAUGHT, Path(options.looks_of) / TAUGHT
        if processes.broadcast(resume and own.exists()):
            return KnownViews(options, *load_tensors(own), own=True)
        if not options.looks_of or not theirs.exists():
            return KnownViews(options)
        found, _ = load_tensors(theirs)
        numbers = map(str, range(options.teacher_views))
        soft_targets = {number: found[number] for number in numbers if number in found}
        return KnownViews(options, soft_targets, dict.fromkeys(soft_targets, 0.0))

    @property
    def complete(self) -> bool:
        """Whether the teachers need not look at anything more, and so need not be loaded."""
        return 0 < self.options.teacher_views <= len(self.soft_targets)

    def check(self, ours: RunConfig) -> None:
        """Raise `OptionError` where our teachers would say something else of our views than those
        of the run that `looks_of` names, `ModelError` where there is none. A run that goes on with
        what it has needs none."""
        place = ours.options.looks_of
        if not place or self.own:
            return
        theirs = read_config(Path(place))
        if not (Path(place) / TAUGHT).exists():
            raise OptionError(f"looks_of: the teachers of {place} have not looked at any view yet")
        if theirs.dataset_sha256 != ours.dataset_sha256:
            raise OptionError(
                f"looks_of: {place} was trained on another dataset than the one given"
            )
        teachers = [
            [config.weights_sha256.get(teacher) for teacher in config.options.teachers]
            for config in (theirs, ours)
        ]
        if teachers[0] != teachers[1] or None in teachers[1]:
            raise OptionError(f"looks_of: {place} had other teachers, or they have changed since")
        for name in _OF_LOOKS:
            before, now = (getattr(config.options, name) for config in (theirs, ours))
            if before != now:
                raise OptionError(f"looks_of: {place} had {name} {before}, expected {now}")


class TaughtViews:
    """Training's faces, in a new view each epoch, with what the teachers say of that view."""

    def __init__(
        self,
        run_dir: Path,
        faces: Faces,
        objective: Objective,
        processes: Processes,
        known: KnownViews,
        *,
        bf16: bool,
    ) -> None:
        """`faces` with their targets; `known`: what the teachers need not be asked again."""
        self._path = run_dir / TAUGHT
        self._faces = faces
        self._objective = objective
        self._processes = processes
        self._bf16 = bf16
        self._targets = faces.targets
        self._soft_targets = dict(known.soft_targets)
        self._seconds = dict(known.seconds)
        if known.soft_targets and not known.own and processes.first:
            save_tensors(self._path, self._soft_targets, self._seconds)

    def show(self, epoch: int, reporter: Reporter, interrupted: Callable[[], bool]) -> None:
        """Give the faces the view of `epoch`, counted from 1: its affine maps, and what the
        teachers say of it after the targets. Raises `KeyboardInterrupt` where it is `interrupted`
        while they look."""
        options, faces = self._objective.options, self._faces
        number = (epoch - 1) % options.teacher_views
        view = str(number)
        torch.manual_seed(-1 - number)  # a seed that no epoch uses
        # On the processor: a GPU would draw others, and what teachers said is kept.
        affine = random_affine(len(faces), options, torch.device("cpu"))
        if options.mirrored_teachers:
            # Nor this one.
            torch.manual_seed(options.seed * 1_000_003 + options.epochs + epoch)
            affine = either_way(affine)
        faces.affine = affine.to(faces.images.device)
        if view not in self._soft_targets:
            reporter.teaching(number + 1, options.teacher_views)
            started = time.perf_counter()
            self._soft_targets[view] = self._look(interrupted).cpu()
            self._seconds[view] = time.perf_counter() - started
            if self._processes.first:
                save_tensors(self._path, self._soft_targets, self._seconds)
        soft_targets = self._soft_targets[view].to(self._targets.device)
        faces.targets = torch.cat([self._targets, soft_targets], dim=1)

    def seconds(self, epoch: int) -> float:
        """For which the teachers looked before `epoch`; 0 where they had seen its view already."""
        return self._seconds[str(epoch - 1)] if epoch <= len(self._seconds) else 0.0

    def _look(self, interrupted: Callable[[], bool]) -> Tensor:
        """What the teachers say of each face, (n, 7 or 15), mapped as it is now."""
        faces, parts = self._faces, []
        assert faces.affine is not None
        for images, affine in zip(
            torch.split(faces.images, _BATCH), torch.split(faces.affine, _BATCH), strict=True
        ):
            if self._processes.broadcast(interrupted()):
                raise KeyboardInterrupt
            with autocast(images.device, self._bf16):
                view = warp(standardise(images.float()), affine)
                parts.append(self._objective.soft_targets(view))
        return torch.cat(parts)


def either_way(affine: Tensor) -> Tensor:
    """Half of the `affine` (n, 2, 3), at random, give the mirror image of the view they gave."""
    mirror = torch.where(torch.rand(len(affine), 1) < 0.5, -1.0, 1.0)
    return torch.cat([affine[:, :, :1] * mirror[:, None], affine[:, :, 1:]], dim=2)
