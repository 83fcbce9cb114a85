"""Whole-batch augmentation against a face at a time."""

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
    cover,
    degrade,
    erase,
    jitter,
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
    maps = random_affine(8, TrainOptions(), CPU)
    found = warp(faces, maps)
    for face, map_, warped in zip(faces[:, 0].numpy(), maps.numpy(), found[:, 0], strict=True):
        # From coordinates -1..1 over the edges of the image to pixel centres 0..47.
        to_unit = np.array([[2 / 48, 0, 1 / 48 - 1], [0, 2 / 48, 1 / 48 - 1], [0, 0, 1]])
        square = np.vstack([map_, [0, 0, 1]])
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


def test_maps_stay_within_their_limits() -> None:
    options = TrainOptions(rotation=12, scale=0.2, shift=0.15)
    maps = random_affine(4000, options, CPU)
    zoom = 1 / torch.linalg.det(maps[:, :, :2]).abs().sqrt()
    angle = torch.rad2deg(torch.asin((-maps[:, 0, 1] * zoom).clamp(-1, 1)))
    assert 0.8 <= zoom.min() < 0.81
    assert 1.19 < zoom.max() <= 1.2001
    assert 11.9 < angle.abs().max() <= 12.001
    assert 0.29 < maps[:, :, 2].abs().max() <= 0.3  # 0.15 of the side, in units of half a side
    mirrored = (torch.linalg.det(maps[:, :, :2]) < 0).float().mean()
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
    """Which were changed (n,): some 3 in 10 of them, and all have kept mean and contrast."""
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
    assert 0.45 < smoother.float().mean() < 0.75  # half are blurred alone, some of the noisy too


def test_erased_parts_are_rectangles_of_the_promised_sizes() -> None:
    torch.manual_seed(4)
    faces = torch.full((2000, 1, 48, 48), 100.0)
    changed = (erase(faces, 0.4) != 100.0)[:, 0]
    touched = changed.flatten(1).any(dim=1)
    assert 0.35 < touched.float().mean() < 0.45
    for mask in changed[touched][:200]:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        height, width = int(rows.sum()), int(columns.sum())
        assert 0.015 < height * width / 48**2 < 0.28
        assert 1 / 3 < height / width < 3


def test_bars_across_some_of_the_faces() -> None:
    torch.manual_seed(5)
    faces = 0.7 * faces_of(2000) + 0.2
    found = cover(faces, 0.3)
    changed = changed_three_tenths(faces, found)
    middles = []
    for face, covered in zip(faces[changed][:300, 0], found[changed][:300, 0], strict=True):
        bar = covered == covered.flatten().mode().values
        rows, columns = bar.any(dim=1), bar.any(dim=0)
        assert torch.equal(bar, rows[:, None] & columns[None, :])
        assert 0.14 < rows.float().mean() < 0.38
        assert 0.58 < columns.float().mean() <= 1
        middles.append(float(rows.nonzero().float().mean()))
        # What is left of the face differs by its mean and contrast alone.
        left = torch.stack([face[~bar], covered[~bar]])
        assert torch.corrcoef(left)[0, 1] > 0.9999
    assert min(middles) < 8
    assert max(middles) > 39
    assert cover(faces, 0.0) is faces
    assert (cover(faces[:50], 1.0) != faces[:50]).flatten(1).any(dim=1).all()


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


def test_a_split_smaller_than_a_batch_is_one_batch(patterns: Dataset) -> None:
    batches = list(Faces(patterns.split("Training"), CPU).augmented_batches(TrainOptions()))
    assert [len(labels) for _, labels in batches] == [84]


@needs_fer2013
def test_batches_are_what_recognition_sees(fer2013: Dataset) -> None:
    public = fer2013.split("PublicTest")
    found = torch.cat([inputs for inputs, _ in Faces(public, CPU).batches(500)])
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
