"""semblante's own detector: what it makes of what its two networks say."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import needs_fer2013, turned
from semblante import Box, Dataset, ModelError
from semblante.preprocess import crop_face
from semblante.recognise import cnn
from semblante.recognise.cnn import CnnDetector, fused, image_pyramid, nms, patch_at, refined


class Session:
    """A network of `CnnDetector`, which answers as it is told to."""

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        self.answer = answer
        self.seen: list[np.ndarray] = []

    def run(self, _: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        [seen] = inputs.values()
        self.seen.append(seen)
        return [self.answer(seen).astype(np.float32)]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_what_is_proposed_is_in_the_pixels_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each size of the picture the network says the same of its window in row 2, column 5."""

    def answer(seen: np.ndarray) -> np.ndarray:
        places = np.zeros((1, 4, *((side - 20) // 4 for side in seen.shape[2:])))
        places[:, 0] = -9
        if seen.shape[3] > 200:
            places[0, :, 2, 5] = logit(0.75), 0.25, -0.5, math.log(1.5)
        return places

    proposals = Session(answer)
    monkeypatch.setattr(cnn, "_session", lambda _: proposals)
    grey = np.zeros((300, 400), np.uint8)
    found = CnnDetector(min_face=48).proposals(grey)
    sizes = [picture.shape[2:] for picture in proposals.seen]
    assert sizes[:3] == [(150 + 16, 200 + 16), (115 + 16, 154 + 16), (89 + 16, 118 + 16)]
    assert min(sizes[-1]) < 1.3 * 24
    assert proposals.seen[0].max() == proposals.seen[0].min() == -2
    # Half its size: 4 * 5 - 8 to the right is the window, whose middle is 12 and 24 / 4 beside.
    assert found == pytest.approx(np.array([[2 * (12 + 12 + 6), 2 * (0 + 12 - 12), 72, 0, 0.75]]))


def test_a_second_look_moves_resizes_and_turns_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    refinement = Session(lambda seen: np.array([[logit(0.9), 0.5, 0.25, math.log(2), 1 / 3]]))
    monkeypatch.setattr(cnn, "_session", lambda _: refinement)
    found = refined(image_pyramid(waves(300, 400)), np.array([[200.0, 150, 80, 90, 0.5]]))
    # To the right of a head that lies on its right ear is down, and below it is to the left.
    assert found == pytest.approx(np.array([[200 - 20, 150 + 40, 160, 105, 0.9]]))
    assert refinement.seen[0].shape == (1, 1, 48, 48)
    assert refinement.seen[0].std() == pytest.approx(1, abs=0.01)


def waves(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 6), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("roll", [0.0, 90.0, -30.0])
@pytest.mark.parametrize(
    "box",
    [Box(160, 110, 80, 80), Box(150, 20, 200, 200), Box(-30, -20, 90, 90), Box(300, 250, 40, 40)],
)
def test_a_place_is_seen_as_it_will_be_cut(box: Box, roll: float) -> None:
    grey = waves(300, 400)
    place = np.array([box.left + box.width / 2, box.top + box.width / 2, box.width, roll, 1])
    seen, expected = (
        picture.astype(float)
        for picture in (patch_at(image_pyramid(grey), place), crop_face(grey, box, roll=roll))
    )
    assert np.abs(seen - expected).mean() < 3


def test_patches_of_places_are_centred() -> None:
    """Of a surface whose values are its coordinates, whatever the size, the place and the tilt."""
    rows, columns = np.mgrid[:127, :127]
    for place in ([60.0, 80, 31, 0, 1], [65.5, 62.25, 67, 30, 1], [64, 59.5, 80, -50, 1]):
        for of, at in ((columns, place[0]), (rows, place[1])):
            patch = patch_at(image_pyramid((2 * of).astype(np.uint8)), np.array(place))
            assert patch.mean() / 2 == pytest.approx(at - 0.5, abs=0.15)


def test_of_places_beyond_the_picture_its_edge_is_seen() -> None:
    grey = np.full((100, 120), 90, np.uint8)
    for x, y in ((400.0, 50.0), (60.0, 400.0), (-300.0, 50.0), (60.0, -300.0)):
        assert (patch_at(image_pyramid(grey), np.array([x, y, 60, 20, 1])) == 90).all()


def test_of_large_places_no_pixel_is_skipped() -> None:
    board = (np.indices((480, 480)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.ptp(patch_at(image_pyramid(board), np.array([240.0, 240, 400, 0, 1])).astype(int)) < 9


def test_heads_are_levelled_by_degrees() -> None:
    """Not from one degree to the next, lest a head that sways is turned to and fro."""
    detector = CnnDetector()

    def levelled(roll: float) -> float:
        return detector._detection(np.array([50.0, 50, 40, roll, 0.9])).roll

    assert [levelled(roll) for roll in (0, -5, 12, 20, -20, 28, 40, -44)] == pytest.approx(
        [0, 0, 0, 10, -10, 28, 40, -44]
    )


def test_levels_are_continued_by_their_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """By as many pixels as `MARGIN`, so that a face which the picture cuts is a whole one."""
    proposals = Session(lambda seen: np.full((1, 4, 1, 1), -9.0))
    monkeypatch.setattr(cnn, "_session", lambda _: proposals)
    CnnDetector(min_face=24).proposals(waves(48, 64))
    seen = proposals.seen[0][0, 0]
    assert seen.shape == (48 + 16, 64 + 16)
    assert np.array_equal(seen[:8], np.repeat(seen[8:9], 8, axis=0))
    assert np.array_equal(seen[:, -8:], np.repeat(seen[:, -9:-8], 8, axis=1))
    assert seen.std() > 0.5


def test_no_more_than_a_thousand_places_are_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all sizes of a picture together, and of each: else a wall of leaves would take minutes."""

    def answer(seen: np.ndarray) -> np.ndarray:
        """A face of 4 pixels in each window, so that none overlaps another."""
        places = np.zeros((1, 4, *((side - 20) // 4 for side in seen.shape[2:])))
        places[:, 0] = np.linspace(0, 3, places[0, 0].size).reshape(places[0, 0].shape)
        places[:, 3] = math.log(1 / 6)
        return places

    monkeypatch.setattr(cnn, "_session", lambda _: Session(answer))
    detector, grey = CnnDetector(min_face=24), np.zeros((300, 400), np.uint8)
    assert len(detector._proposed(grey)) == 1000
    found = detector.proposals(grey)
    assert len(found) == 1000
    assert len(set(found[:, 2].round())) > 1  # those of several sizes
    assert found[-1, 4] > 0.8  # the surest


def test_every_face_of_a_crowd_is_found(small_face: np.ndarray) -> None:
    """There are as many as there are, not a hundred at most."""
    crowd = np.tile(small_face, (12, 13, 1))
    assert len(CnnDetector().detect(crowd)) == 12 * 13


@pytest.fixture(scope="module")
def small_face(astronaut: np.ndarray) -> np.ndarray:
    """Her face with its surroundings, 60 pixels a side."""
    return np.asarray(
        cv2.resize(astronaut[10:180, 140:310], (60, 60), interpolation=cv2.INTER_AREA)
    )


def test_it_looks_twice_and_a_face_must_be_likely_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One look after the other, of three places that are far from each other."""
    looks = iter(([0.6, 0.05, 0.9], [0.7, 0.3]))
    places = np.array([[x, 200.0, 80, 0, 0.5] for x in (100, 300, 500)])
    monkeypatch.setattr(CnnDetector, "proposals", lambda *_: places)

    def refined(_: list[np.ndarray], some: np.ndarray) -> np.ndarray:
        moved = np.add(some, (10, 0, 0, 15, 0))
        moved[:, 4] = next(looks)
        return moved

    monkeypatch.setattr(cnn, "refined", refined)
    found = CnnDetector(min_score=0.2).detect(np.zeros((400, 640, 3), np.uint8), 640)
    # The surest goes first, so the second look's 0.7 is the third place's; the mean is its score.
    assert [(one.box, one.roll) for one in found] == [
        (Box(480, 160, 80, 80), 30.0), (Box(80, 160, 80, 80), 30.0)
    ]  # fmt: skip
    assert [one.score for one in found] == pytest.approx([0.8, 0.45])


def test_faces_that_are_too_small_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    places = np.array([[100, 200, 79.4, 0, 0.9], [300, 200, 79.6, 0, 0.9]])
    monkeypatch.setattr(CnnDetector, "proposals", lambda *_: places)
    monkeypatch.setattr(cnn, "refined", lambda _, some: some)
    [found] = CnnDetector(min_face=80).detect(np.zeros((400, 640, 3), np.uint8))
    assert found.box == Box(260, 160, 80, 80)


def test_the_surer_of_two_frames_decides_whether_a_face_is_large_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = np.array([[100, 200, 60, 0, 0.9], [110, 200, 90, 0, 0.8]])
    monkeypatch.setattr(CnnDetector, "proposals", lambda *_: places)
    monkeypatch.setattr(cnn, "refined", lambda _, some: some)
    picture = np.zeros((400, 640, 3), np.uint8)
    [found] = CnnDetector().detect(picture)
    assert found.box.width == 60
    assert CnnDetector(min_face=80).detect(picture) == []


def test_frames_on_one_face_become_their_mean() -> None:
    """Weighted by their scores; what is elsewhere counts for nothing."""
    places = np.array(
        [
            [100, 200, 60, -4, 0.6],
            [106, 200, 60, 8, 0.9],
            [100, 206, 66, 0, 0.3],
            [300, 9, 20, 1, 0.7],
        ]
    )
    assert fused(places, 0.5) == pytest.approx(
        np.array([[103, 201, 61, (7.2 - 2.4) / 1.8, 0.9], [300, 9, 20, 1, 0.7]])
    )
    assert fused(np.empty((0, 5)), 0.5).shape == (0, 5)


def test_of_places_on_one_face_the_surest_is_kept() -> None:
    """Against a slow, obvious version."""
    low, high = (0, 0, 20, 0, 0), (100, 100, 60, 0, 1)
    some = np.random.default_rng(0).uniform(low, high, (200, 5))

    def box(place: int) -> Box:
        x, y, side = (10_000 * some[place, :3]).tolist()
        return Box(round(x - side / 2), round(y - side / 2), round(side), round(side))

    kept: list[int] = []
    for place in np.argsort(-some[:, 4]).tolist():
        if all(box(place).iou(box(other)) <= 0.5 for other in kept):
            kept.append(place)
    assert len(kept) > 20
    assert nms(some, 0.5).tolist() == some[kept].tolist()
    assert nms(np.empty((0, 5)), 0.5).shape == (0, 5)


@needs_fer2013
def test_the_second_look_knows_the_faces_of_fer2013_and_their_frames(fer2013: Dataset) -> None:
    some = fer2013.images[fer2013.is_in("PublicTest")][::12]
    middle = np.array([[24.0, 24, 48, 0, 1]])
    found = np.concatenate([refined([face], middle) for face in some])
    faces = found[found[:, 4] >= 0.5]
    assert len(faces) > 0.93 * len(some)
    assert np.abs(faces[:, :2] - 24).mean() < 2.5
    assert np.abs(np.log(faces[:, 2] / 48)).mean() < 0.12
    mouths = [refined([cv2.resize(face[24:, 12:36], (48, 48))], middle)[0, 4] for face in some]
    assert np.mean(np.array(mouths) >= 0.5) < 0.03


def test_a_network_that_is_damaged_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, astronaut: np.ndarray
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "face-proposals.onnx").write_bytes(b"damaged")
    monkeypatch.setattr("semblante.models.resources.files", lambda _: tmp_path)
    cnn._session.cache_clear()
    with pytest.raises(
        ModelError, match=r"face-proposals\.onnx: its sha256 .* install semblante again"
    ):
        CnnDetector()
    monkeypatch.undo()
    assert len(CnnDetector().detect(astronaut)) == 1


@pytest.mark.parametrize("grown", [0.95, 1.0, 1.2])
@pytest.mark.parametrize("roll", [0, 12])
def test_a_face_that_fills_its_picture_is_found(
    astronaut: np.ndarray, grown: float, roll: int
) -> None:
    [face] = CnnDetector().detect(astronaut)
    part = face.box.grown(grown)
    cut = turned(astronaut, roll)[part.top :, part.left :][: part.height, : part.width]
    [found] = CnnDetector().detect(np.ascontiguousarray(cut))
    where = Box(face.box.left - part.left, face.box.top - part.top, face.box.width, face.box.height)
    assert found.box.iou(where) > 0.6


def test_pictures_of_any_shape_are_searched() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 900), (900, 3), (40, 30), (1, 4_000_000)):
        assert CnnDetector().detect(rng.integers(0, 9, (*shape, 3)).astype(np.uint8)) == []
