"""Random views of each face for which the teachers' probabilities are computed once and saved.

A good teacher is larger than its student: if it classified every batch, it would take most of a
run's time. With `teacher_views` it classifies that many random views of each face once, and the
probabilities are saved in the run folder. The student sees one view per epoch, in turn, and then
starts again with the first (Shen & Xing, ECCV 2022, section 3). Between epochs with the same view
only light, blur and noise, erasing, covering and mixing differ, which the teachers do not see. With
`mirrored_teachers` the probabilities are the same for a view and its mirror image, so the student
sees one of the two at random.

The views are the same for every seed, so another run with the same teachers can reuse the
probabilities (`looks_of`).
"""

from __future__ import annotations

import copy
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
from semblante.train.seeds import mirror_seed, view_seed

_BATCH: Final = 256
# The options that must be equal for `looks_of`: they determine the views and the probabilities.
_OF_LOOKS: Final = (
    "rotation", "scale", "shift", "mirrored_teachers", "teach_votes", "temperature",
)  # fmt: skip


@dataclass(frozen=True)
class SavedViews:
    """The teachers' probabilities for views that were saved earlier: by the run that is resumed, or
    by the run that `looks_of` names."""

    options: TrainOptions
    # By the number of the view: probabilities (n, 7 or 15) on the CPU, and the seconds they took.
    soft_targets: dict[str, Tensor] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    own: bool = False  # whether they are from the run's own folder

    @staticmethod
    def read(
        run_dir: Path, options: TrainOptions, processes: Processes, *, resume: bool
    ) -> SavedViews:
        """Read them from the run's own folder if `resume`, or else from that of `looks_of`."""
        if not options.teacher_views:
            return SavedViews(options)
        own, theirs = run_dir / TAUGHT, Path(options.looks_of) / TAUGHT
        if processes.broadcast(resume and own.exists()):
            return SavedViews(options, *load_tensors(own), own=True)
        if not options.looks_of or not theirs.exists():
            return SavedViews(options)
        found, _ = load_tensors(theirs)
        numbers = map(str, range(options.teacher_views))
        soft_targets = {number: found[number] for number in numbers if number in found}
        return SavedViews(options, soft_targets, dict.fromkeys(soft_targets, 0.0))

    @property
    def complete(self) -> bool:
        """Whether all views are saved, so that the teachers need not be loaded."""
        return 0 < self.options.teacher_views <= len(self.soft_targets)

    def check(self, ours: RunConfig) -> None:
        """Raise `OptionError` if our teachers would give other probabilities for our views than
        those of the run that `looks_of` names, `ModelError` if there is no such run. A resumed run
        that has probabilities of its own does not need that run any more."""
        place = ours.options.looks_of
        if not place or self.own:
            return
        theirs = read_config(Path(place))
        if not (Path(place) / TAUGHT).exists():
            raise OptionError(f"looks_of: {place} has no saved teacher predictions yet")
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
    """Training's faces in another view each epoch, with the teachers' probabilities for it."""

    def __init__(
        self,
        run_dir: Path,
        faces: Faces,
        objective: Objective,
        processes: Processes,
        saved: SavedViews,
        *,
        bf16: bool,
    ) -> None:
        """`faces`: with their targets; `saved`: what the teachers need not compute again."""
        self._path = run_dir / TAUGHT
        self._faces = faces
        self._objective = objective
        self._processes = processes
        self._bf16 = bf16
        self._soft_targets = dict(saved.soft_targets)
        self._seconds = dict(saved.seconds)
        if saved.soft_targets and not saved.own and processes.first:
            save_tensors(self._path, self._soft_targets, self._seconds)

    def shown_in(self, epoch: int, reporter: Reporter, interrupted: Callable[[], bool]) -> Faces:
        """The faces in the view of `epoch`, counted from 1: with its affine maps, and with targets
        to which the teachers' probabilities are appended. Raises `KeyboardInterrupt` if
        `interrupted` says so while the teachers classify the faces."""
        options, shown = self._objective.options, copy.copy(self._faces)
        device = shown.images.device
        number = (epoch - 1) % options.teacher_views
        view = str(number)
        torch.manual_seed(view_seed(number))
        # On the CPU: a GPU would draw other maps, which would not match saved probabilities.
        affine = random_affine(len(shown), options, torch.device("cpu"))
        if options.mirrored_teachers:
            torch.manual_seed(mirror_seed(options, epoch))
            affine = either_way(affine)
        shown.affine = affine.to(device)
        if view not in self._soft_targets:
            reporter.teaching(number + 1, options.teacher_views)
            started = time.perf_counter()
            self._soft_targets[view] = self._classified(shown, interrupted).cpu()
            self._seconds[view] = time.perf_counter() - started
            if self._processes.first:
                save_tensors(self._path, self._soft_targets, self._seconds)
        shown.targets = torch.cat([shown.targets, self._soft_targets[view].to(device)], dim=1)
        return shown

    def seconds(self, epoch: int) -> float:
        """How long the teachers took before `epoch`; 0 if its view was saved already."""
        return self._seconds[str(epoch - 1)] if epoch <= len(self._seconds) else 0.0

    def _classified(self, shown: Faces, interrupted: Callable[[], bool]) -> Tensor:
        """The teachers' probabilities for each face as it is shown, (n, 7 or 15)."""
        assert shown.affine is not None
        parts = []
        for images, affine in zip(
            torch.split(shown.images, _BATCH), torch.split(shown.affine, _BATCH), strict=True
        ):
            if self._processes.broadcast(interrupted()):
                raise KeyboardInterrupt
            with autocast(images.device, self._bf16):
                view = warp(standardise(images.float()), affine)
                parts.append(self._objective.soft_targets(view))
        return torch.cat(parts)


def either_way(affine: Tensor) -> Tensor:
    """The `affine` maps (n, 2, 3), about half of them, at random, changed to give the mirror image
    of the view."""
    mirror = torch.where(torch.rand(len(affine), 1) < 0.5, -1.0, 1.0)
    return torch.cat([affine[:, :, :1] * mirror[:, None], affine[:, :, 1:]], dim=2)
