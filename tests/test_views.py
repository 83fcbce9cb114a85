"""Views of faces for which the teachers' probabilities are computed beforehand."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semblante.data import Dataset
from semblante.errors import ModelError, OptionError
from semblante.train.batches import Faces, warp
from semblante.train.checkpoint import load_tensors
from semblante.train.distributed import ALONE
from semblante.train.loop import train
from semblante.train.objective import Objective, distillation, smoothed
from semblante.train.options import TrainOptions
from semblante.train.views import SavedViews, TaughtViews
from training import LINEAR, QUICK, Silent, Stops, assert_same, run, weights

PLAIN = replace(
    QUICK, brightness=0.0, contrast=0.0, erase_probability=0.0, mixup_probability=0.0,
    teachers=("a",), teacher_views=2, temperature=2.0, distill_weight=0.5,
)  # fmt: skip


class Looks(nn.Module):
    """A teacher whose logits are some of the pixels, and which counts the faces it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def forward(self, faces: Tensor) -> Tensor:
        self.n += len(faces)
        return faces[:, 0, 20, 10:17] * 3


def taught_by_one(first_run: Path, tmp_path: Path, **changes: Any) -> TrainOptions:
    """The recipe of a student of `first_run`, as `tmp_path / "teacher"`."""
    shutil.copytree(first_run, tmp_path / "teacher")
    return replace(QUICK, teachers=(str(tmp_path / "teacher"),), **changes)


def views_of(
    run_dir: Path, faces: Faces, objective: Objective, *, resume: bool = False
) -> TaughtViews:
    saved = SavedViews.read(run_dir, objective.options, ALONE, resume=resume)
    return TaughtViews(run_dir, faces, objective, ALONE, saved, bf16=False)


def shown_in(views: TaughtViews, epoch: int) -> Faces:
    return views.shown_in(epoch, Silent(), lambda: False)


def test_teachers_have_looked_once_at_the_very_views_that_are_shown(
    patterns: Dataset, tmp_path: Path
) -> None:
    faces, teacher = Faces(patterns.split("Training"), torch.device("cpu")), Looks()
    faces.targets = smoothed(faces.labels, 0.1)
    objective = Objective(PLAIN, teachers=[teacher])
    views = views_of(tmp_path, faces, objective)
    affine = []
    for epoch in (1, 2, 3, 4):
        shown = shown_in(views, epoch)
        torch.manual_seed(epoch)
        for inputs, targets in shown.augmented_batches(PLAIN):
            assert targets.shape == (16, 14)
            soft = torch.softmax(inputs[:, 0, 20, 10:17] * 3 / 2, dim=1)
            torch.testing.assert_close(targets[:, 7:], soft)
        affine.append(shown.affine)
        assert teacher.n == len(faces) * min(epoch, 2)
    assert torch.equal(affine[0], affine[2])
    assert torch.equal(affine[1], affine[3])
    assert not torch.equal(affine[0], affine[1])
    assert [views.seconds(epoch) > 0 for epoch in (1, 2, 3, 4)] == [True, True, False, False]
    again = views_of(tmp_path, faces, objective, resume=True)
    assert torch.equal(shown_in(again, 2).affine, affine[1])
    assert teacher.n == len(faces) * 2  # the teacher did not look again


def test_the_error_is_that_of_teachers_who_look_now(patterns: Dataset, tmp_path: Path) -> None:
    faces, teacher = Faces(patterns.split("Training"), torch.device("cpu")), Looks()
    faces.targets = smoothed(faces.labels, 0.1)
    objective = Objective(PLAIN, teachers=[teacher])
    views = views_of(tmp_path, faces, objective)
    inputs, targets = next(shown_in(views, 1).augmented_batches(PLAIN))
    ours = torch.randn(16, 7)
    now = Objective(replace(PLAIN, teacher_views=0), teachers=[teacher])
    expected = now(lambda _: [ours], inputs, targets[:, :7])
    torch.testing.assert_close(objective(lambda _: [ours], inputs, targets), expected)
    half = distillation(ours, targets[:, 7:], 2.0) / 2
    assert float(half) < float(expected)


def test_views_are_the_same_for_every_seed_and_length(patterns: Dataset, tmp_path: Path) -> None:
    affine = []
    for other in (PLAIN, replace(PLAIN, seed=7, epochs=20, teacher_views=3)):
        faces = Faces(patterns.split("Training"), torch.device("cpu"))
        faces.targets = smoothed(faces.labels, 0.1)
        objective = Objective(other, teachers=[Looks()])
        views = views_of(tmp_path, faces, objective)
        affine.append(shown_in(views, 2).affine)
    assert torch.equal(*affine)


def test_where_teachers_look_at_both_either_side_is_shown(
    patterns: Dataset, tmp_path: Path
) -> None:
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    faces.targets = smoothed(faces.labels, 0.1)
    objective = Objective(replace(PLAIN, mirrored_teachers=True), teachers=[Looks()])
    views = views_of(tmp_path, faces, objective)
    seen, said = [], []
    for epoch in (1, 3):  # both epochs have the same view
        shown = shown_in(views, epoch)
        seen.append(warp(shown.images.float(), shown.affine))
        said.append(shown.targets[:, 7:])
    other = torch.tensor([not torch.equal(*pair) for pair in zip(*seen, strict=True)])
    assert 0.2 < other.float().mean() < 0.8
    torch.testing.assert_close(seen[1][other], seen[0][other].flip(-1), atol=0.05, rtol=0)
    assert torch.equal(*said)
    again = shown_in(views, 3)  # as in a resumed run
    assert torch.equal(warp(again.images.float(), again.affine), seen[1])
    assert faces.affine is None  # the faces themselves stay as they are
    assert faces.targets.shape[1] == 7


def test_small_faces_are_taught_by_their_whole_size(patterns: Dataset, tmp_path: Path) -> None:
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    faces.targets = smoothed(faces.labels, 0.1)
    objective = Objective(PLAIN, teachers=[Looks()])
    views = views_of(tmp_path, faces, objective)
    shown = shown_in(views, 1)
    found = []
    for side in (32, 48):
        torch.manual_seed(0)
        found.append(next(shown.augmented_batches(PLAIN, side=side)))
    assert [inputs.shape[-1] for inputs, _ in found] == [32, 48]
    assert torch.equal(found[0][1], found[1][1])
    pooled = [nn.functional.adaptive_avg_pool2d(inputs, 8) for inputs, _ in found]
    torch.testing.assert_close(*pooled, atol=0.3, rtol=0)


@pytest.mark.usefixtures("linear")
def test_a_student_learns_from_views_alone(patterns: Dataset, tmp_path: Path) -> None:
    """The student never sees a label: those of Training are all wrong."""
    teacher = replace(LINEAR, epochs=14)
    run(patterns, teacher, tmp_path / "teacher")
    wrong = replace(patterns, labels=np.where(patterns.splits == 0, 0, patterns.labels))
    options = replace(
        teacher, seed=3, teachers=(str(tmp_path / "teacher"),), distill_weight=1.0,
        teacher_views=3, mirrored_teachers=True,
    )  # fmt: skip
    summary, _ = run(wrong, options, tmp_path / "student")
    assert summary["public"]["accuracy"] > 0.8  # type: ignore[index]
    said, _ = load_tensors(tmp_path / "student" / "taught.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in said.items()} == {
        str(view): (84, 7) for view in range(3)
    }


def test_interrupted_while_teachers_look_and_resumed_it_ends_like_the_whole_run(
    patterns: Dataset, first_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = taught_by_one(first_run, tmp_path, epochs=4, teacher_views=2)
    run(patterns, options, tmp_path / "whole")

    class Presses(Silent):
        def epoch(self, record: dict[str, float]) -> None:
            super().epoch(record)
            if record["epoch"] == 1:
                monkeypatch.setattr(Objective, "soft_targets", pressed)

    looked = Objective.soft_targets

    def pressed(self: Objective, inputs: Tensor) -> Tensor:
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGINT)
        return looked(self, inputs)

    monkeypatch.setattr("semblante.train.views._BATCH", 20)
    cut, first = tmp_path / "cut", Presses()
    with pytest.raises(KeyboardInterrupt):
        train(patterns, options, cut, first, source={"path": "x.csv"})
    assert [record["epoch"] for record in first.records] == [1]
    assert list(load_tensors(cut / "taught.safetensors")[0]) == ["0"]
    _, second = run(patterns, options, cut, resume=True)
    assert [record["epoch"] for record in second.records] == [2, 3, 4]
    assert [record["teacher_seconds"] > 0 for record in second.records] == [True, False, False]
    one, other = weights(tmp_path / "whole"), weights(cut)
    assert_same(one, other)


def test_teachers_that_have_seen_all_are_needed_no_longer(
    patterns: Dataset, first_run: Path, tmp_path: Path
) -> None:
    options = taught_by_one(first_run, tmp_path, epochs=3, teacher_views=1)

    with pytest.raises(KeyboardInterrupt):
        train(patterns, options, tmp_path / "cut", Stops(), source={"path": "x.csv"})
    (tmp_path / "teacher").rename(tmp_path / "elsewhere")
    _, rest = run(patterns, options, tmp_path / "cut", resume=True)
    assert [record["epoch"] for record in rest.records] == [2, 3]
    with pytest.raises(ModelError, match="unknown model"):
        run(patterns, options, tmp_path / "new")


def test_another_run_takes_over_what_the_teachers_said(
    patterns: Dataset, first_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = taught_by_one(first_run, tmp_path, epochs=3, teacher_views=2)
    run(patterns, options, tmp_path / "first")
    looks_of = str(tmp_path / "first")
    looked = []
    taught = Objective.soft_targets
    monkeypatch.setattr(Objective, "soft_targets", lambda *of: looked.append(1) or taught(*of))
    monkeypatch.chdir(tmp_path)
    run(patterns, replace(options, looks_of="first"), tmp_path / "again")
    one, other = weights(tmp_path / "first"), weights(tmp_path / "again")
    assert_same(one, other)
    assert not looked
    _, more = run(
        patterns, replace(options, looks_of=looks_of, teacher_views=3, epochs=4, seed=5),
        tmp_path / "more",
    )  # fmt: skip
    assert looked
    assert [record["teacher_seconds"] > 0 for record in more.records] == [False, False, True, False]
    kept = [load_tensors(tmp_path / name / "taught.safetensors")[0] for name in ("first", "more")]
    assert list(kept[1]) == ["0", "1", "2"]
    assert all(torch.equal(kept[0][view], kept[1][view]) for view in ("0", "1"))


@pytest.fixture(scope="module")
def looked(
    patterns: Dataset, first_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainOptions]:
    """A folder with a teacher and a first run, which has probabilities for one view."""
    folder = tmp_path_factory.mktemp("looked")
    options = replace(QUICK, rotation=0.0, epochs=2, teachers=("teacher",), teacher_views=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(first_run, folder / "teacher")
        run(patterns, options, folder / "first")
    return folder, options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotation": 5.0}, r"looks_of: .*first had rotation 0\.0, expected 5\.0"),
        ({"scale": 0.3}, r"looks_of: .*first had scale .*, expected 0\.3"),
        ({"shift": 0.3}, r"looks_of: .*first had shift .*, expected 0\.3"),
        ({"temperature": 5.0}, r"looks_of: .*first had temperature .*, expected 5\.0"),
        ({"mirrored_teachers": True}, "looks_of: .*first had mirrored_teachers False, expected"),
        ({"teachers": ("rcnn-medium",)}, "looks_of: .*first had other teachers, or"),
        ({"looks_of": "teacher"}, "looks_of: .*teacher has no saved teacher predictions"),
        ({"looks_of": "nothing"}, "nothing.config.json: cannot be read"),
        ({"teacher_views": 0}, r"looks_of \(.*\) is of no use without teacher_views"),
    ],
)
def test_what_the_teachers_of_another_run_said_must_be_of_use(
    patterns: Dataset, looked: tuple[Path, TrainOptions], monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object], message: str,
) -> None:  # fmt: skip
    folder, options = looked
    monkeypatch.chdir(folder)
    with pytest.raises((OptionError, ModelError), match=message):
        run(patterns, replace(options, **{"looks_of": "first", **changes}), folder / "second")
    assert not (folder / "second").exists()
