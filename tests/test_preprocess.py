"""From a picture to the network's input, compared with slow and obvious versions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from conftest import needs_fer2013
from semblante.data import Dataset
from semblante.errors import ModelError
from semblante.preprocess import InputSpec, crop_face, network_input, standardise, to_grey
from semblante.results import Box


def test_standardise_is_mean_zero_and_deviation_one() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8)
    found = network_input(faces)
    assert found.shape == (3, 1, 48, 48)
    assert found.dtype == np.float32
    for face, row in zip(faces.astype(float), found, strict=True):
        expected = (face - face.mean()) / np.sqrt(face.var() + 1.0)
        np.testing.assert_allclose(row[0], expected, atol=1e-5)


def test_standardise_is_the_same_for_torch() -> None:
    torch = pytest.importorskip("torch")
    faces = np.random.default_rng(1).integers(0, 256, (4, 1, 48, 48)).astype(np.float32)
    found = standardise(torch.from_numpy(faces))
    np.testing.assert_allclose(found.numpy(), standardise(faces), atol=1e-5)


def test_constant_face_becomes_zero() -> None:
    assert np.all(network_input(np.full((1, 48, 48), 200, np.uint8)) == 0)


def test_grey_weights() -> None:
    image = np.random.default_rng(2).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    expected = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(to_grey(image).astype(float) - expected).max() <= 1


@needs_fer2013
def test_framing_of_a_whole_number_of_pixels_is_a_mean_over_areas(fer2013: Dataset) -> None:
    big = np.kron(fer2013.images[0], np.ones((3, 3), np.uint8)).astype(np.uint8)  # 144x144
    assert np.array_equal(crop_face(big, Box(0, 0, 144, 144)), fer2013.images[0])


def test_crop_of_the_network_size_is_the_pixels_themselves() -> None:
    grey = np.random.default_rng(3).integers(0, 256, (100, 90)).astype(np.uint8)
    assert np.array_equal(crop_face(grey, Box(10, 20, 48, 48)), grey[20:68, 10:58])


@pytest.mark.parametrize("side", [1, 7, 48, 49, 300])
def test_crop_of_any_size(side: int) -> None:
    grey = np.full((320, 320), 77, np.uint8)
    face = crop_face(grey, Box(0, 0, side, side))
    assert face.shape == (48, 48)
    assert np.all(face == 77)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"size": 48},
        {"size": "x", "normalisation": "per-image", "variance_floor": 1.0},
        {"size": 48, "normalisation": "imagenet", "variance_floor": 1.0},
        {"size": 0, "normalisation": "per-image", "variance_floor": 1.0},
        {"size": 48, "normalisation": "per-image", "variance_floor": 0.0},
        {"size": 48, "normalisation": "per-image", "variance_floor": float("nan")},
        {"size": 48, "normalisation": "per-image", "variance_floor": float("inf")},
        {"size": float("inf"), "normalisation": "per-image", "variance_floor": 1.0},
        {"size": -48, "normalisation": "per-image", "variance_floor": 1.0},
        {"size": 10**9, "normalisation": "per-image", "variance_floor": 1.0},
    ],
)
def test_unknown_input_description(values: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="input"):
        InputSpec.from_mapping(values)


def test_input_description_reads_back() -> None:
    values = {"size": 64, "normalisation": "per-image", "variance_floor": 2.0}
    assert InputSpec.from_mapping(values) == InputSpec(64, "per-image", 2.0)


@pytest.mark.parametrize("place", [(-10, -10), (25, -10), (-10, 35), (25, 35)])
def test_crop_beyond_each_edge_repeats_it(place: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (70, 60)).astype(np.uint8)
    padded = np.pad(grey, 40, mode="edge")
    left, top = place
    expected = padded[40 + top : 88 + top, 40 + left : 88 + left]
    assert np.array_equal(crop_face(grey, Box(left, top, 48, 48)), expected)


def test_a_box_that_is_no_square_is_levelled_without_black_corners() -> None:
    grey = np.full((300, 300), 90, np.uint8)
    assert (crop_face(grey, Box(100, 120, 100, 60), roll=30.0) == 90).all()


@pytest.mark.parametrize(
    ("width", "height", "method"),
    [
        (90, 60, cv2.INTER_AREA),
        (60, 30, cv2.INTER_LINEAR),
        (30, 60, cv2.INTER_LINEAR),
        (20, 30, cv2.INTER_LINEAR),
    ],
)
def test_only_what_shrinks_is_averaged(width: int, height: int, method: int) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (100, 120)).astype(np.uint8)
    expected = cv2.resize(grey[10 : 10 + height, 20 : 20 + width], (48, 48), interpolation=method)
    assert np.array_equal(crop_face(grey, Box(20, 10, width, height)), expected)


@pytest.mark.parametrize(("width", "height"), [(100, 60), (60, 100), (80, 80)])
def test_a_head_turned_all_the_way_round_is_as_it_was(width: int, height: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300)).astype(np.uint8)
    grey = cv2.GaussianBlur(noise, (0, 0), 4)
    box = Box(100, 120, width, height)
    level = crop_face(grey, box, roll=360.0)
    assert np.abs(level.astype(int) - crop_face(grey, box)).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(100, 60), (61, 99), (80, 80)])
def test_a_head_turned_half_way_round_turns_about_the_middle_of_its_box(
    width: int, height: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300)).astype(np.uint8)
    grey = cv2.GaussianBlur(noise, (0, 0), 4)
    box = Box(100, 120, width, height)
    level = crop_face(grey, box, roll=180.0)
    assert np.abs(level.astype(int) - crop_face(grey, box)[::-1, ::-1]).max() <= 1
