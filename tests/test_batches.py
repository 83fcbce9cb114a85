"""Augmentation of whole batches, compared with that of one face at a time."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from conftest import needs_fer2013
from semblante.data import Dataset
from semblante.preprocess import network_input
from semblante.train.batches import (
    Faces,
    augment,
    blur,
    degrade,
    erase,
    jitter,
    occlude,
    random_affine,
    warp,
)
from semblante.train.options import TrainOptions

STILL = {
    "rotation": 0, "scale": 0, "shift": 0, "brightness": 0, "contrast": 0, "erase_probability": 0,
}  # fmt: skip
CPU = torch.device("cpu")


def faces_of(n: int) -> torch.Tensor:
    torch.manual_seed(0)
    rough = torch.randn(n, 1, 12, 12)
    return torch.nn.functional.interpolate(rough, size=(48, 48), mode="bicubic")


def test_warp_equals_opencv() -> None:
    torch.manual_seed(1)
    faces = faces_of(8)
    affine = random_affine(8, TrainOptions(), CPU)
    found = warp(faces, affine)
    for face, theta, warped in zip(faces[:, 0].numpy(), affine.numpy(), found[:, 0], strict=True):
        # From coordinates -1..1 over the edges of the image to pixel centres 0..47.
        to_unit = np.array([[2 / 48, 0, 1 / 48 - 1], [0, 2 / 48, 1 / 48 - 1], [0, 0, 1]])
        square = np.vstack([theta, [0, 0, 1]])
        pixels = (np.linalg.inv(to_unit) @ square @ to_unit)[:2]
        expected = cv2.warpAffine(
            face, pixels, (48, 48), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        # OpenCV rounds places to 1/32 of a pixel.
        assert np.abs(warped.numpy() - expected).max() < 0.15
        assert np.abs(warped.numpy() - expected).mean() < 0.01


def test_a_smaller_view_shows_all_of_the_face() -> None:
    faces = faces_of(4).numpy()
    whole = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).repeat(4, 1, 1)
    found = warp(torch.from_numpy(faces), whole, 24)
    assert found.shape == (4, 1, 24, 24)
    for face, small in zip(faces[:, 0], found[:, 0].numpy(), strict=True):
        expected = cv2.resize(face, (24, 24), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(small, expected, atol=1e-5)


def test_affine_maps_stay_within_their_limits() -> None:
    options = TrainOptions(rotation=12, scale=0.2, shift=0.15)
    affine = random_affine(4000, options, CPU)
    zoom = 1 / torch.linalg.det(affine[:, :, :2]).abs().sqrt()
    angle = torch.rad2deg(torch.asin((-affine[:, 0, 1] * zoom).clamp(-1, 1)))
    assert 0.8 <= zoom.min() < 0.81
    assert 1.19 < zoom.max() <= 1.2001
    assert 11.9 < angle.abs().max() <= 12.001
    for shift in affine[:, :, 2].T:  # 0.15 of the side, in units of half a side
        assert 0.29 < shift.abs().max() <= 0.3
    assert torch.corrcoef(affine[:, :, 2].T)[0, 1].abs() < 0.05
    mirrored = (torch.linalg.det(affine[:, :, :2]) < 0).float().mean()
    assert 0.45 < mirrored < 0.55


def test_nothing_asked_gives_the_face_or_its_mirror_image() -> None:
    torch.manual_seed(2)
    faces = faces_of(32)
    found = augment(faces, TrainOptions(**STILL))
    same = (found - faces).abs().amax(dim=(1, 2, 3)) < 1e-4
    mirrored = (found - faces.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert torch.all(same ^ mirrored)
    assert 4 < same.sum() < 28


def test_jitter_is_one_factor_and_one_sum_a_face() -> None:
    torch.manual_seed(3)
    faces = faces_of(200)
    found = jitter(faces, TrainOptions(contrast=0.3, brightness=0.2))
    factors = (found[:, 0, 0, 1] - found[:, 0, 0, 0]) / (faces[:, 0, 0, 1] - faces[:, 0, 0, 0])
    offsets = found[:, 0, 0, 0] - factors * faces[:, 0, 0, 0]
    rebuilt = faces * factors[:, None, None, None] + offsets[:, None, None, None]
    assert torch.allclose(found, rebuilt, atol=1e-2)
    assert 0.7 <= factors.min() < 0.75
    assert 1.25 < factors.max() <= 1.31
    assert offsets.abs().max() <= 0.21


def test_blur_equals_opencv() -> None:
    faces = faces_of(5)
    sigmas = torch.tensor([0.0, 0.4, 1.0, 1.5, 2.0])
    assert torch.equal(blur(faces, sigmas)[0], faces[0])
    for face, sigma, found in zip(
        faces[1:, 0], sigmas[1:], blur(faces, sigmas)[1:, 0], strict=True
    ):
        expected = cv2.GaussianBlur(
            face.numpy(), (11, 11), float(sigma), borderType=cv2.BORDER_REPLICATE
        )
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def changed_three_tenths(faces: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Which faces were changed (n,). Checks that they are 3 in 10 and keep mean and contrast."""
    changed = (found != faces).flatten(1).any(dim=1)
    assert 0.27 < changed.float().mean() < 0.33
    for statistic in (torch.mean, torch.std):
        before, after = (statistic(x, dim=(1, 2, 3)) for x in (faces, found))  # type: ignore[operator]
        assert torch.allclose(after, before, atol=1e-3)
    return changed


def test_a_share_of_the_faces_is_degraded_and_keeps_its_contrast() -> None:
    torch.manual_seed(8)
    faces = faces_of(2000)
    found = degrade(faces, 0.3)
    changed = changed_three_tenths(faces, found)

    def roughness(x: torch.Tensor) -> torch.Tensor:
        return (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3))

    smoother = roughness(found)[changed] < roughness(faces)[changed]
    assert 0.45 < smoother.float().mean() < 0.75  # half are blurred, some also noisy


def test_faces_are_blurred_noisy_or_both_in_the_promised_shares() -> None:
    """On vertical stripes: blur weakens narrow stripes more, and only noise makes rows differ."""
    torch.manual_seed(6)
    x = torch.arange(64) * 2 * math.pi
    short, long = torch.sin(x / 8), torch.sin(x / 16)
    faces = (short + long).expand(1000, 1, 64, 64)
    found = degrade(faces, 1.0)[:, 0]
    profiles = found.mean(dim=1)
    ratio = (profiles @ short) / (profiles @ long)
    noise = (found - profiles[:, None]).std(dim=(1, 2)) / profiles.std(dim=1)
    noisy, blurred = noise > 1e-3, ratio < 0.95  # a sigma below 0.45 is not noticed
    assert 0.46 < noisy.float().mean() < 0.54
    assert 0.7 < blurred[~noisy].float().mean() < 0.85
    assert 0.2 < blurred[noisy].float().mean() < 0.4
    assert 0.45 < noise[noisy & ~blurred].max() < 0.52
    assert 0.3 < ratio.min() < 0.5  # exp(-2 pi^2 sigma^2 (1 / 8^2 - 1 / 16^2)) at a sigma of 2


def test_a_face_of_one_grey_stays_finite() -> None:
    """FER2013 has faces that are a single grey."""
    torch.manual_seed(7)
    faces = torch.zeros(50, 1, 48, 48)
    assert degrade(faces, 1.0).isfinite().all()
    assert occlude(faces, 1.0).isfinite().all()


@pytest.mark.parametrize(
    "asked",
    [
        {"degrade_probability": 1.0},
        {"brightness": 0.5},
        {"contrast": 0.5},
        {"erase_probability": 1.0},
    ],
)
def test_each_change_that_is_asked_for_is_made(asked: dict[str, float]) -> None:
    torch.manual_seed(2)
    faces = faces_of(32)
    found = augment(faces, TrainOptions(**{**STILL, **asked}))
    for other in (faces, faces.flip(3)):
        assert ((found - other).abs().amax(dim=(1, 2, 3)) > 1e-2).float().mean() > 0.9


def test_erased_parts_are_rectangles_of_the_promised_sizes() -> None:
    torch.manual_seed(4)
    faces = torch.full((2000, 1, 48, 48), 100.0)
    found = erase(faces, 0.4)[:, 0]
    changed = found != 100.0
    assert found[changed].std() == pytest.approx(1, abs=0.02)
    areas, aspects = [], []
    touched = changed.flatten(1).any(dim=1)
    assert 0.35 < touched.float().mean() < 0.45
    for mask in changed[touched][:200]:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        height, width = int(rows.sum()), int(columns.sum())
        areas.append(height * width / 48**2)
        aspects.append(height / width)
    assert 0.015 < min(areas) < 0.03
    assert 0.23 < max(areas) < 0.28
    assert 1 / 3 < min(aspects) < 0.45
    assert 2.3 < max(aspects) < 3


def test_bars_across_some_of_the_faces() -> None:
    torch.manual_seed(5)
    faces = 0.7 * faces_of(2000) + 0.2
    found = occlude(faces, 0.3)
    changed = changed_three_tenths(faces, found)
    heights, widths, middles, lefts, greys = [], [], [], [], []
    for face, covered in zip(faces[changed][:300, 0], found[changed][:300, 0], strict=True):
        bar = covered == covered.flatten().mode().values
        rows, columns = bar.any(dim=1), bar.any(dim=0)
        assert torch.equal(bar, rows[:, None] & columns[None, :])
        heights.append(float(rows.float().mean()))
        widths.append(float(columns.float().mean()))
        middles.append(float(rows.nonzero().float().mean()))
        lefts.append(int(columns.int().argmax()))
        # The rest of the face differs only in mean and contrast.
        left = torch.stack([face[~bar], covered[~bar]])
        assert torch.corrcoef(left)[0, 1] > 0.9999
        factor, offset = np.polyfit(face[~bar].numpy(), covered[~bar].numpy(), 1)
        grey = (float(covered[bar][0]) - offset) / factor
        greys.append((grey - float(face.mean())) / float(face.std()))
    assert 0.14 < min(heights) < 0.18
    assert 0.33 < max(heights) < 0.38
    assert 0.58 < min(widths) < 0.64
    assert max(widths) > 0.96
    assert min(middles) < 8
    assert max(middles) > 39
    assert min(lefts) < 3
    assert max(lefts) > 12
    assert -1.51 < min(greys) < -1.4
    assert 1.4 < max(greys) < 1.51
    assert occlude(faces, 0.0) is faces
    assert (occlude(faces[:50], 1.0) != faces[:50]).flatten(1).any(dim=1).all()


def test_erasing_never_and_always() -> None:
    faces = torch.full((50, 1, 48, 48), 100.0)
    assert torch.equal(erase(faces, 0.0), faces)
    assert (erase(faces, 1.0) != faces).flatten(1).any(dim=1).all()


def test_an_epoch_holds_every_face_once(patterns: Dataset) -> None:
    training = patterns.split("Training")
    torch.manual_seed(5)
    batches = list(Faces(training, CPU).augmented_batches(TrainOptions(batch_size=14, **STILL)))
    assert [len(labels) for _, labels in batches] == [14] * 6
    assert torch.cat([labels for _, labels in batches]).bincount().tolist() == [12] * 7
    inputs = {face.numpy().round(2).tobytes() for face, _ in batches for face in face[:, 0]}
    assert len(inputs) == 84


def test_an_epoch_that_was_interrupted_goes_on_at_its_next_batch(patterns: Dataset) -> None:
    faces, options = Faces(patterns.split("Training"), CPU), TrainOptions(batch_size=16)
    torch.manual_seed(5)
    whole, states = [], []
    for batch in faces.augmented_batches(options, side=24):
        states.append(torch.get_rng_state())
        whole.append(batch)
    assert [tuple(inputs.shape) for inputs, _ in whole] == [(16, 1, 24, 24)] * 5  # 4 are left out
    torch.manual_seed(5)
    rest = list(faces.augmented_batches(options, 2, states[1], side=24))
    assert len(rest) == 3
    for (inputs, targets), (others, theirs) in zip(rest, whole[2:], strict=True):
        assert torch.equal(inputs, others)
        assert torch.equal(targets, theirs)


def test_an_epoch_gives_the_targets_that_were_set(patterns: Dataset) -> None:
    faces = Faces(patterns.split("Training"), CPU)
    faces.targets = torch.eye(7)[faces.labels]
    [(_, targets)] = faces.augmented_batches(TrainOptions(batch_size=84))
    assert targets.sum(dim=0).tolist() == [12] * 7


def test_mirrored_faces_are_others(patterns: Dataset) -> None:
    faces = Faces(patterns.split("Training"), CPU)
    mirrored = faces.mirrored()
    assert torch.equal(mirrored.images[..., 0], faces.images[..., -1])
    assert not torch.equal(mirrored.images, faces.images)
    assert torch.equal(mirrored.labels, faces.labels)


def test_a_split_smaller_than_a_batch_is_one_batch(patterns: Dataset) -> None:
    batches = list(Faces(patterns.split("Training"), CPU).augmented_batches(TrainOptions()))
    assert [len(labels) for _, labels in batches] == [84]


@needs_fer2013
def test_batches_are_what_recognition_sees(fer2013: Dataset) -> None:
    public = fer2013.split("PublicTest")
    found = torch.cat(list(Faces(public, CPU).batches(500)))
    np.testing.assert_allclose(found.numpy(), network_input(public.images), atol=1e-4)


@pytest.mark.parametrize("degrees", [0, 10])
def test_the_centre_stays_in_its_place(degrees: int) -> None:
    face = torch.zeros(1, 1, 49, 49)
    face[0, 0, 24, 24] = 1
    angle = math.radians(degrees)
    turn = torch.tensor(
        [[[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]]
    )
    assert warp(face, turn)[0, 0].argmax() == 24 * 49 + 24
