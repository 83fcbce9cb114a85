"""The error, compared with its formulas written out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conftest import ferplus_votes
from semblante.data import Dataset
from semblante.data.ferplus import VOTES, FerPlus
from semblante.errors import DataError, ModelError, OptionError
from semblante.recognise.classifier import Classifier
from semblante.train import targets as targets_module
from semblante.train.batches import Faces
from semblante.train.checkpoint import load_tensors, save_tensors
from semblante.train.distributed import ALONE, Processes
from semblante.train.export import export
from semblante.train.initial import network_of
from semblante.train.loop import train, train_epoch
from semblante.train.objective import (
    Objective,
    class_weights,
    cutmix,
    distillation,
    mixed,
    mixup,
    smoothed,
    weighted_cross_entropy,
)
from semblante.train.options import TrainOptions
from semblante.train.state import TrainingState
from semblante.train.targets import likely_labels, targets_of
from semblante.train.trained import is_over, load_best
from training import LINEAR, QUICK, Silent


def test_smoothed_targets() -> None:
    found = smoothed(torch.tensor([2, 0]), 0.1)
    assert found[0].tolist() == pytest.approx([0.1 / 7] * 2 + [0.9 + 0.1 / 7] + [0.1 / 7] * 4)
    assert found.sum(dim=1).tolist() == pytest.approx([1, 1])
    logits = torch.randn(2, 7)
    expected = F.cross_entropy(logits, torch.tensor([2, 0]), label_smoothing=0.1)
    assert F.cross_entropy(logits, found) == pytest.approx(float(expected))


def test_mixup_mixes_faces_and_targets_alike() -> None:
    torch.manual_seed(0)
    labels = torch.arange(7)
    inputs = labels[:, None].float().expand(7, 4)
    mixed, targets = mixup(inputs, F.one_hot(labels, 7).float(), alpha=1.0)
    for value, target in zip(mixed, targets, strict=True):
        assert target.sum() == pytest.approx(1)
        assert value[0] == pytest.approx(float(target @ torch.arange(7.0)), abs=1e-5)
    assert len({round(float(t.max()), 4) for t in targets if t.max() < 1}) == 1  # one weight


def test_the_error_of_mixed_faces_is_the_mean_of_both_errors() -> None:
    """lambda l(f(x), y_i) + (1 - lambda) l(f(x), y_j): Zhang et al., mixup (ICLR 2018)."""
    torch.manual_seed(1)
    labels = torch.arange(7)
    # Each mixed face shows which two faces it was mixed from, and with what weight.
    shares, targets = mixup(torch.eye(7), F.one_hot(labels, 7).float(), alpha=1.0)
    logits = torch.randn(7, 7)
    by_hand = [
        sum(
            w * float(F.cross_entropy(logit, label)) for label, w in zip(labels, share, strict=True)
        )
        for logit, share in zip(logits, shares.tolist(), strict=True)
    ]
    assert float(F.cross_entropy(logits, targets)) == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert any(0 < max(share) < 1 for share in shares.tolist())


def test_cutmix_pastes_what_it_says() -> None:
    torch.manual_seed(0)
    labels = torch.arange(7)
    inputs = labels.float()[:, None, None, None].expand(7, 1, 48, 48)
    seen = set()
    for _ in range(30):
        found, targets = cutmix(inputs, F.one_hot(labels, 7).float(), alpha=1.0)
        for label, (face, target) in enumerate(zip(found, targets, strict=True)):
            shares = torch.bincount(face.long().ravel(), minlength=7) / 48**2
            torch.testing.assert_close(target, shares)
            changed = face[0] != label
            if changed.any():  # one rectangle
                rows, columns = changed.any(dim=1), changed.any(dim=0)
                assert int(changed.sum()) == int(rows.sum()) * int(columns.sum())
                seen.add((int(rows.int().argmax()), int(columns.int().argmax())))
    assert len(seen) > 10
    assert any(top != left for top, left in seen)


def test_cutmix_leaves_the_share_that_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda _: torch.tensor(0.9))
    shares = []
    for _ in range(30):
        _, targets = cutmix(torch.rand(8, 1, 48, 48), torch.eye(8), alpha=1.0)
        shares += [share for share in targets.diagonal().tolist() if share < 1]
    assert min(shares) == pytest.approx(0.9, abs=0.02)  # more if beyond the edge


def test_a_batch_is_mixed_as_often_as_asked() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.rand(8, 1, 48, 48), torch.eye(8)
    options = TrainOptions(mixup_probability=0.3, cutmix_probability=0.2)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for _ in range(300):
        found, _ = mixed(inputs, targets, options)
        moved = (found != inputs).flatten(1).float().mean(dim=1).max()
        kinds["none" if moved == 0 else "mixup" if moved == 1 else "cutmix"] += 1
    assert 60 < kinds["mixup"] < 120
    assert 30 < kinds["cutmix"] < 90


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_large_alpha_mixes_two_faces_evenly(kind: str) -> None:
    torch.manual_seed(0)
    inputs, targets = torch.rand(8, 1, 48, 48), torch.eye(8)
    options = TrainOptions(
        **{"mixup_probability": 0.0, f"{kind}_probability": 1.0, f"{kind}_alpha": 1000.0}
    )
    for _ in range(20):
        _, found = mixed(inputs, targets, options)
        own = found.diagonal()[found.diagonal() < 1]  # of faces that were not mixed with themselves
        # The part of a rectangle beyond the edge of the face is not pasted.
        assert own.min() > 0.45
        assert own.max() < (0.55 if kind == "mixup" else 0.9)


def test_distillation_by_hand() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(5, 7), torch.randn(5, 7)
    taught = torch.softmax(teacher / 3, dim=1)
    expected = 0.0
    for ours, theirs in zip(torch.softmax(logits / 3, dim=1), taught, strict=True):
        expected += sum(float(q) * float((q / p).log()) for p, q in zip(ours, theirs, strict=True))
    assert distillation(logits, taught, 3.0) == pytest.approx(9 * expected / 5, rel=1e-5)
    assert distillation(teacher, taught, 3.0) == pytest.approx(0, abs=1e-6)


def test_the_error_of_everything_by_hand() -> None:
    """Class weights, earlier steps, FER+'s head and two teachers at once."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(4, 3), torch.rand(4, 15)
    steps = [torch.randn(4, 15) for _ in range(3)]
    teachers = [torch.nn.Linear(3, 7), torch.nn.Linear(3, 15)]
    options = TrainOptions(
        all_steps_weight=0.5, ferplus_weight=0.25, teachers=("a", "b"), distill_weight=0.6,
        temperature=2.0,
    )  # fmt: skip
    importance = torch.rand(7)

    def error(logits: torch.Tensor) -> float:
        total = 0.0
        for row, target in zip(logits, targets, strict=True):
            log_p, log_q = torch.log_softmax(row[:7], 0), torch.log_softmax(row[7:], 0)
            weight = float((importance * target[:7]).sum())
            total -= weight * float((target[:7] * log_p).sum()) / 4
            total -= 0.25 * float((target[7:] * log_q).sum()) / 4
        soft = [torch.softmax(teacher(inputs)[:, :7] / 2, dim=1) for teacher in teachers]
        with torch.no_grad():
            return 0.4 * total + 0.6 * float(distillation(logits[:, :7], sum(soft) / 2, 2.0))

    objective = Objective(options, weights=importance, teachers=teachers)
    found = objective(lambda _: steps, inputs, targets)
    expected = error(steps[2]) + 0.5 * (error(steps[0]) + error(steps[1])) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_class_weights() -> None:
    labels = torch.tensor([0, 0, 0, 3, 3, 6])
    found = class_weights(labels)
    assert found.tolist() == pytest.approx([2 / 3, 0, 0, 1, 0, 0, 2])
    assert found[labels].mean() == pytest.approx(1)
    assert class_weights(torch.tensor([0, 1])).tolist() == [1, 1, 0, 0, 0, 0, 0]


def test_the_error_of_half_precise_outputs_is_computed_in_full() -> None:
    torch.manual_seed(0)
    half, targets = torch.randn(4, 7).bfloat16(), torch.eye(7)[:4]
    options = TrainOptions(teachers=("a",), distill_weight=0.5)
    errors = [
        Objective(options, teachers=[lambda _, said=said: said.flip(1)])(
            lambda _, said=said: [said], torch.zeros(4, 1, 2, 2), targets
        )
        for said in (half, half.float())
    ]
    assert torch.equal(*errors)


def test_the_best_answer_is_the_target_whatever_classes_weigh() -> None:
    """Also with a smoothed label: a face must not teach rare classes more than its target says."""
    targets = smoothed(torch.tensor([3]), 0.1)
    logits = torch.zeros(1, 7, requires_grad=True)
    importance = torch.tensor([1.0, 9.4, 1, 0.6, 0.8, 1.3, 0.8])
    optimiser = torch.optim.SGD([logits], lr=1.0)
    for _ in range(300):
        optimiser.zero_grad()
        weighted_cross_entropy(logits, targets, importance).backward()
        optimiser.step()
    torch.testing.assert_close(torch.softmax(logits, 1), targets, atol=1e-3, rtol=0)


# -- whole runs ---------------------------------------------------------------------------------


def learnt(patterns: Dataset, out: Path, options: TrainOptions, **more: object) -> dict:
    return train(patterns, options, out, Silent(), source={}, **more)


def votes_for(patterns: Dataset) -> FerPlus:
    """All votes for each face are for contempt."""
    votes = np.zeros((len(patterns), len(VOTES)), np.int64)
    votes[:, VOTES.index("contempt")] = 10
    return FerPlus(votes, np.ones(len(patterns), np.bool_), patterns.splits)


def test_the_second_head_learns_ferplus_and_stays_at_home(
    patterns: Dataset, tmp_path: Path
) -> None:
    options = replace(QUICK, ferplus_weight=1.0)
    with pytest.raises(OptionError, match="FER\\+'s votes are needed"):
        learnt(patterns, tmp_path / "run", options)
    few = votes_for(patterns).where(np.arange(9))
    with pytest.raises(DataError, match="in their order"):
        learnt(patterns, tmp_path / "run", options, votes=few)
    learnt(patterns, tmp_path / "run", options, votes=votes_for(patterns))
    network, about = load_best(tmp_path / "run")
    assert about["outputs"] == 15
    with torch.no_grad():
        said = network(torch.randn(20, 1, 48, 48))[:, 7:].argmax(dim=1)
    assert (said == VOTES.index("contempt")).all()
    export(tmp_path / "run", tmp_path / "model.onnx", patterns, votes=votes_for(patterns))
    assert Classifier(tmp_path / "model.onnx").logits(patterns.images[:2]).shape == (2, 7)


def test_likely_labels_are_what_faces_with_such_votes_are_labelled() -> None:
    """Two kinds of votes: faces of one are labelled 3 to 1, faces of the other all the same."""
    votes = torch.zeros(80, 10)
    votes[:40, VOTES.index("anger")] = 10
    votes[40:, VOTES.index("fear")] = 7
    votes[40:, VOTES.index("surprise")] = 3
    labels = torch.tensor([0, 0, 0, 4] * 10 + [5] * 40)
    found = likely_labels(labels, votes)
    assert found.sum(dim=1).tolist() == pytest.approx([1] * 80)
    assert found[:40, 0].mean() == pytest.approx(0.75, abs=0.02)
    assert found[:40, 4].mean() == pytest.approx(0.25, abs=0.02)
    assert found[40:, 5].min() > 0.95
    # Estimates of a network add to what the votes say.
    estimates = torch.eye(7)[labels] * 0.8 + 0.2 / 7
    better = likely_labels(labels, votes, estimates)
    assert (better.argmax(dim=1) == labels).all()
    # Only the shares of the votes matter, not their number.
    torch.testing.assert_close(likely_labels(labels, votes / 2), found)


def test_a_single_vote_may_tell_as_much_as_five() -> None:
    """Half of the faces with any votes for fear are labelled so, however many votes they are."""
    votes = torch.zeros(160, 10)
    for group, count in enumerate((0, 1, 3, 5)):
        votes[40 * group : 40 * group + 40, VOTES.index("fear")] = count
        votes[40 * group : 40 * group + 40, VOTES.index("anger")] = 10 - count
    labels = torch.tensor([0] * 40 + [0, 2] * 60)
    found = likely_labels(labels, votes)[:, 2].view(4, 40).mean(dim=1)
    assert found.tolist() == pytest.approx([0, 0.5, 0.5, 0.5], abs=0.03)


def test_faces_without_votes_and_sure_estimates_have_likely_labels_too() -> None:
    """FER+ has no votes for faces it left out; a network's probabilities may be exactly 0 and 1."""
    labels = torch.tensor([0, 3, 4, 6] * 10)
    sure = torch.eye(7)[labels]
    found = likely_labels(labels, torch.zeros(40, 10), sure)
    assert not found.requires_grad
    assert found.isfinite().all()
    assert (found.argmax(dim=1) == labels).all()
    # Without any information on a face, the likely labels are the shares of all labels.
    shares = likely_labels(labels, torch.zeros(40, 10))
    torch.testing.assert_close(shares, torch.eye(7)[labels].mean(dim=0).expand(40, 7), atol=1e-3,
                               rtol=0)  # fmt: skip


def test_initial_weights_judge_faces_and_their_mirror_images(
    patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr(targets_module, "start_from", lambda *given: started.append(given[1]))
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    found = []
    for some in (faces, faces.mirrored()):
        torch.manual_seed(0)
        found.append(targets_module._initial_estimates(some, replace(QUICK, initial="x"), False))
    assert started == ["x", "x"]
    assert found[0].shape == (84, 7)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("resume", [False, True])
def test_targets_that_cost_little_are_not_kept(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    """Only targets from the initial weights are saved in a file; given estimates need none."""
    monkeypatch.setattr(targets_module, "_initial_estimates", None)
    save_tensors(tmp_path / "targets.safetensors", {"targets": torch.zeros(1)}, {})
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    votes = ferplus_votes(patterns).where(patterns.splits == 0)
    estimates = torch.eye(7)[faces.labels]
    for changes, given in (
        ({"initial": "somewhere"}, None),
        ({"relabel_weight": 0.5}, None),
        ({"initial": "somewhere", "relabel_weight": 0.5}, estimates),
    ):
        options = replace(QUICK, **changes)
        found = targets_module.load_or_compute_targets(
            tmp_path, faces, votes, options, ALONE, False, Silent(), estimates=given, resume=resume
        )
        assert torch.equal(found, targets_of(faces, votes, options, given))


def test_targets_are_kept_by_the_first_process_when_all_have_them(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    path = tmp_path / "targets.safetensors"

    class Together(Processes):
        def barrier(self) -> None:
            happened.append(f"waits, {'a' if path.exists() else 'no'} file")

    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    estimates = torch.eye(7)[faces.labels]
    monkeypatch.setattr(targets_module, "_initial_estimates", lambda *_: estimates)
    options = replace(QUICK, initial="somewhere", relabel_weight=0.5)
    votes = ferplus_votes(patterns).where(patterns.splits == 0)

    def kept(rank: int, resume: bool) -> torch.Tensor:
        return targets_module.load_or_compute_targets(
            tmp_path, faces, votes, options, Together(rank, 2), False, Silent(), resume=resume
        )

    expected = targets_of(faces, votes, options, estimates)
    assert torch.equal(kept(1, resume=True), expected)
    assert not path.exists()
    assert torch.equal(kept(0, resume=True), expected)
    assert happened == ["waits, no file"] * 2
    save_tensors(path, {"targets": torch.zeros(1)}, {})
    assert torch.equal(kept(1, resume=True), torch.zeros(1))
    assert torch.equal(kept(0, resume=False), expected)  # for a run that starts anew
    assert torch.equal(load_tensors(path)[0]["targets"], expected)


def test_relabelling_overrules_labels_that_the_votes_contradict(
    patterns: Dataset, tmp_path: Path
) -> None:
    """A random third of the labels of Training are wrong; the votes are right."""
    emotions = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    votes = np.zeros((len(patterns), len(VOTES)), np.int64)
    votes[np.arange(len(patterns)), [VOTES.index(emotions[k]) for k in patterns.labels]] = 10
    ferplus = FerPlus(votes, np.ones(len(patterns), np.bool_), patterns.splits)
    rng = np.random.default_rng(0)
    wrong = (patterns.splits == 0) & (rng.random(len(patterns)) < 1 / 3)
    labels = np.where(wrong, rng.integers(0, 7, len(patterns)), patterns.labels)
    options = replace(QUICK, network="rcnn-tiny", relabel_weight=1.0)
    noisy = replace(patterns, labels=labels)
    training = Faces(noisy.split("Training"), torch.device("cpu"))
    votes_of_training = ferplus.where(patterns.splits == 0)
    found = targets_of(training, votes_of_training, options)
    true = torch.from_numpy(patterns.labels[patterns.splits == 0])
    assert (found.argmax(dim=1) == true).all()
    half = targets_of(training, votes_of_training, replace(options, relabel_weight=0.5))
    torch.testing.assert_close(half, (found + smoothed(training.labels, 0.1)) / 2)
    learnt(noisy, tmp_path / "run", replace(options, epochs=1), votes=ferplus)
    with pytest.raises(OptionError, match=r"votes are needed for .* relabel_weight"):
        learnt(noisy, tmp_path / "other", options)
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("linear")
def test_a_student_learns_from_its_teachers_alone(patterns: Dataset, tmp_path: Path) -> None:
    """With `distill_weight` 1 the student never sees a label: those of Training are all wrong."""
    teacher = replace(LINEAR, epochs=14)
    taught = learnt(patterns, tmp_path / "teacher", teacher)
    assert taught["public"]["accuracy"] > 0.9
    wrong = replace(patterns, labels=np.where(patterns.splits == 0, 0, patterns.labels))
    options = replace(teacher, seed=3, teachers=(str(tmp_path / "teacher"),), distill_weight=1.0)
    assert learnt(wrong, tmp_path / "student", options)["public"]["accuracy"] > 0.8
    alone = learnt(wrong, tmp_path / "alone", replace(teacher, seed=3))
    assert alone["public"]["accuracy"] < 0.3
    with pytest.raises(ModelError, match="unknown model 'nobody'"):
        learnt(patterns, tmp_path / "run", replace(options, teachers=("nobody",)))
    assert not (tmp_path / "run").exists()


def test_only_who_learnt_the_votes_teaches_them(patterns: Dataset, tmp_path: Path) -> None:
    votes, one = votes_for(patterns), replace(QUICK, epochs=1)
    learnt(patterns, tmp_path / "knows", replace(one, ferplus_weight=1.0), votes=votes)
    learnt(patterns, tmp_path / "knows-not", one)
    teachers = (str(tmp_path / "knows"), str(tmp_path / "knows-not"))
    options = replace(one, ferplus_weight=1.0, teach_votes=True, teachers=teachers)
    with pytest.raises(OptionError, match=r"learnt FER\+'s votes, found .*knows-not, .* 7 numbers"):
        learnt(patterns, tmp_path / "student", options, votes=votes)
    assert not (tmp_path / "student").exists()
    for views in (0, 1):
        chosen = replace(options, teachers=teachers[:1], epochs=2, teacher_views=views)
        learnt(patterns, tmp_path / f"student-{views}", chosen, votes=votes)
    said, _ = load_tensors(tmp_path / "student-1" / "taught.safetensors")
    assert said["0"].shape == (84, 15)


def test_an_exported_teacher_says_what_its_run_says(patterns: Dataset, tmp_path: Path) -> None:
    learnt(patterns, tmp_path / "teacher", QUICK)
    export(tmp_path / "teacher", tmp_path / "teacher.onnx", patterns)
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    inputs = next(faces.batches(20))
    said = [network_of(str(tmp_path / name), faces)(inputs) for name in ("teacher", "teacher.onnx")]
    torch.testing.assert_close(said[0], said[1], atol=1e-4, rtol=1e-4)
    assert network_of("rcnn-medium", faces)(inputs).shape == (20, 15)  # FER+'s too


def test_teachers_look_at_the_mirror_image_where_they_are_told() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(4, 1, 2, 7)

    def teacher(faces: torch.Tensor) -> torch.Tensor:
        return faces[:, 0, 0]  # of the pixels, whose order a mirror image reverses

    options = TrainOptions(
        teachers=("a",), mirrored_teachers=True, distill_weight=1.0, temperature=2.0
    )
    ours = torch.randn(4, 7)
    found = Objective(options, teachers=[teacher])(lambda _: [ours], inputs, torch.zeros(4, 7))
    soft = [
        torch.softmax(logits / 2, dim=1) for logits in (inputs[:, 0, 0], inputs[:, 0, 0].flip(1))
    ]
    assert float(found) == pytest.approx(float(distillation(ours, (soft[0] + soft[1]) / 2, 2.0)))


def test_teachers_teach_the_votes_too_where_they_are_told() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 4, 15)
    targets = torch.cat([torch.randn(4, 7).softmax(dim=1), torch.randn(4, 8).softmax(dim=1)], dim=1)
    options = TrainOptions(
        teachers=("a",), distill_weight=0.7, temperature=2.0, ferplus_weight=0.5, teach_votes=True
    )
    objective = Objective(options, teachers=[lambda _: theirs])
    found = objective(lambda _: [ours], torch.zeros(4, 1, 2, 2), targets)
    expected = 0.0
    for part, weight in ((slice(0, 7), 1.0), (slice(7, 15), 0.5)):
        plain = -(targets[:, part] * ours[:, part].log_softmax(dim=1)).sum(dim=1).mean()
        soft = (theirs[:, part] / 2).softmax(dim=1)
        expected += weight * (0.3 * plain + 0.7 * distillation(ours[:, part], soft, 2.0))
    torch.testing.assert_close(found, expected)


def test_teachers_see_what_is_covered_for_the_network(patterns: Dataset) -> None:
    options = replace(QUICK, cover_probability=0.5)
    faces = Faces(patterns.split("Training"), torch.device("cpu"))
    seen = []

    class Looking(Objective):
        def __call__(self, step_logits: Any, inputs: Any, targets: Any, whole: Any = None) -> Any:
            seen.append((inputs, whole))
            return super().__call__(step_logits, inputs, targets, whole)

    faces.targets = smoothed(faces.labels, options.label_smoothing)
    torch.manual_seed(0)
    state = TrainingState(options, torch.device("cpu"), steps_per_epoch=1)
    list(train_epoch(state, faces, Looking(options), 1))
    inputs, whole = (torch.cat(parts) for parts in zip(*seen, strict=True))
    hidden = (inputs != whole).flatten(1).any(dim=1)
    assert 0.3 < hidden.float().mean() < 0.7

    def teacher(looked_at: torch.Tensor) -> torch.Tensor:
        return looked_at[:, 0, 20, :7]

    taught = TrainOptions(teachers=("a",), distill_weight=1.0, temperature=2.0)
    ours = torch.randn(len(whole), 7)
    found = Objective(taught, teachers=[teacher])(
        lambda _: [ours], inputs, torch.zeros(len(whole), 7), whole
    )
    soft = torch.softmax(teacher(whole) / 2, dim=1)
    assert float(found) == pytest.approx(float(distillation(ours, soft, 2.0)))


def test_a_network_without_steps_has_no_error_at_each(patterns: Dataset, tmp_path: Path) -> None:
    options = replace(QUICK, network="rcnn-tiny-twin-parameters", all_steps_weight=0.3)
    with pytest.raises(OptionError, match="rcnn-tiny-twin-parameters has no steps of its own"):
        learnt(patterns, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("accuracies", "patience", "over"),
    [
        ([], 2, False), ([0.5], 1, False), ([0.5, 0.4], 1, True), ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.3], 2, True), ([0.5, 0.4, 0.6], 2, False), ([0.3, 0.6, 0.5, 0.4], 2, True),
        ([0.5, 0.5, 0.5], 2, True), ([0.5, 0.4, 0.5], 2, True),  # as good as before is no better
        ([0.5, 0.4, 0.3, 0.2], 0, False), ([0.1, 0.2, 0.3, 0.4, 0.5], 0, True),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 3, True),
    ],
)  # fmt: skip
def test_a_run_ends_after_its_epochs_or_its_patience(
    accuracies: list[float], patience: int, over: bool
) -> None:
    history = [{"public_accuracy": accuracy} for accuracy in accuracies]
    assert is_over(history, replace(QUICK, epochs=5, patience=patience)) == over


def test_a_norm_that_steps_share_is_averaged_once(patterns: Dataset, tmp_path: Path) -> None:
    """A shared norm has several names in the network's state."""
    from semblante.train.state import TrainingState

    options = replace(QUICK, network="rcnn-small-shared-norm", ema_decay=0.5)
    state = TrainingState(options, torch.device("cpu"), steps_per_epoch=1)
    with torch.no_grad():
        state.network.layers[0].norms[0].weight.fill_(3)
    state.step = 100
    state.update_ema()
    torch.testing.assert_close(state.ema.layers[0].norms[1].weight, torch.full((64,), 2.0))
