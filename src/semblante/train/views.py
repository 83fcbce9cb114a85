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
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from semblante.errors import OptionError
from semblante.preprocess import standardise
from semblante.train.batches import Faces, random_affine, warp
from semblante.train.checkpoint import load_tensors, save_tensors
from semblante.train.distributed import Processes
from semblante.train.objective import Objective
from semblante.train.options import TrainOptions
from semblante.train.processor import autocast
from semblante.train.reporter import Reporter
from semblante.train.run_folder import TAUGHT, RunConfig, read_config

_BATCH: Final = 256
# What the teachers see, and how they are asked.
_OF_LOOKS: Final = (
    "rotation", "scale", "shift", "mirrored_teachers", "teach_votes", "temperature",
)  # fmt: skip


def _looks(run_dir: Path, options: TrainOptions, *, resume: bool) -> Path | None:
    """The file that has what teachers say of views: that of this run, which goes on, or of the one
    that `looks_of` names."""
    folders = [run_dir] if resume else []
    folders += [Path(options.looks_of)] if options.looks_of else []
    files = [folder / TAUGHT for folder in folders if options.teacher_views]
    return next((file for file in files if file.exists()), None)


def teachers_are_needed(run_dir: Path, options: TrainOptions, *, resume: bool) -> bool:
    """Must they be loaded? Not where a file has what they say of every view."""
    known = _looks(run_dir, options, resume=resume)
    return known is None or len(load_tensors(known)[0]) < options.teacher_views


def check_looks(run_dir: Path, ours: RunConfig, *, resume: bool) -> None:
    """Raise `OptionError` where our teachers would say something else of our views than those of
    the run that `looks_of` names, `ModelError` where there is none. A run that goes on with what it
    has needs none."""
    place = ours.options.looks_of
    if not place or _looks(run_dir, ours.options, resume=resume) == run_dir / TAUGHT:
        return
    theirs = read_config(Path(place))
    if not (Path(place) / TAUGHT).exists():
        raise OptionError(f"looks_of: the teachers of {place} have not looked at any view yet")
    if theirs.dataset_sha256 != ours.dataset_sha256:
        raise OptionError(f"looks_of: {place} was trained on another dataset than the one given")
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
        *,
        bf16: bool,
        resume: bool,
    ) -> None:
        """`faces` with their targets; with `resume`, what the run folder has of them is used, else
        what the one that `looks_of` names has."""
        self._path = run_dir / TAUGHT
        self._faces = faces
        self._objective = objective
        self._processes = processes
        self._bf16 = bf16
        self._targets = faces.targets
        # Of each view, by its number: what was said, (n, 7 or 15), on the CPU, and the seconds that
        # it took.
        self._said: dict[str, Tensor] = {}
        self._took_s: dict[str, float] = {}
        known = _looks(run_dir, objective.options, resume=resume)
        if processes.from_first(known == self._path):
            self._said, self._took_s = load_tensors(self._path)
        elif known is not None:
            said, _ = load_tensors(known)
            views = map(str, range(objective.options.teacher_views))
            self._said = {view: said[view] for view in views if view in said}
            self._took_s = dict.fromkeys(self._said, 0.0)
            if processes.first:
                save_tensors(self._path, self._said, self._took_s)

    def show(self, epoch: int, reporter: Reporter, interrupted: Callable[[], bool]) -> None:
        """Give the faces the view of `epoch`, counted from 1: its maps, and what the teachers say
        of it after the targets. Raises `KeyboardInterrupt` where it is `interrupted` while they
        look."""
        options, faces = self._objective.options, self._faces
        number = (epoch - 1) % options.teacher_views
        view = str(number)
        torch.manual_seed(-1 - number)  # a seed that no epoch uses
        # On the processor: a GPU would draw others, and what teachers said is kept.
        maps = random_affine(len(faces), options, torch.device("cpu"))
        if options.mirrored_teachers:
            # Nor this one.
            torch.manual_seed(options.seed * 1_000_003 + options.epochs + epoch)
            maps = either_way(maps)
        faces.maps = maps.to(faces.images.device)
        if view not in self._said:
            reporter.teaching(number + 1, options.teacher_views)
            started = time.perf_counter()
            self._said[view] = self._look(interrupted).cpu()
            self._took_s[view] = time.perf_counter() - started
            if self._processes.first:
                save_tensors(self._path, self._said, self._took_s)
        said = self._said[view].to(self._targets.device)
        faces.targets = torch.cat([self._targets, said], dim=1)

    def seconds(self, epoch: int) -> float:
        """For which the teachers looked before `epoch`; 0 where they had seen its view already."""
        return self._took_s[str(epoch - 1)] if epoch <= len(self._took_s) else 0.0

    def _look(self, interrupted: Callable[[], bool]) -> Tensor:
        """What the teachers say of each face, (n, 7 or 15), mapped as it is now."""
        faces, parts = self._faces, []
        assert faces.maps is not None
        for images, maps in zip(
            torch.split(faces.images, _BATCH), torch.split(faces.maps, _BATCH), strict=True
        ):
            if self._processes.from_first(interrupted()):
                raise KeyboardInterrupt
            with autocast(images.device, self._bf16):
                parts.append(self._objective.taught(warp(standardise(images.float()), maps)))
        return torch.cat(parts)


def either_way(maps: Tensor) -> Tensor:
    """Half of the `maps` (n, 2, 3), at random, give the mirror image of the view they gave."""
    mirror = torch.where(torch.rand(len(maps), 1) < 0.5, -1.0, 1.0)
    return torch.cat([maps[:, :, :1] * mirror[:, None], maps[:, :, 1:]], dim=2)
