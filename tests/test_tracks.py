"""Faces that keep their numbers from frame to frame."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import semblante
from conftest import EXAMPLE
from films import FPS, SIZE, canvas, write_video
from semblante import Analyzer, Box, Face, OptionError
from semblante.models import model_path
from semblante.preprocess import crop_face, to_grey
from semblante.recognise.classifier import Classifier
from semblante.recognise.detection import Detection
from semblante.recognise.detectors import make_detector
from semblante.recognise.following import FaceFollower
from semblante.recognise.motion import change, face_templates, median_flow
from semblante.recognise.tracks import Track, Tracker, tracker_for
from semblante.recognise.video import Frame, Video
from semblante.recognise.video_writer import VideoWriter

CLASSIFIER = Classifier(model_path("rcnn-small-int8"))


def test_one_face_one_track(moving: Path) -> None:
    found = list(Analyzer().analyze_video(moving))
    assert [analysis.frame for analysis in found] == list(range(60))
    assert [analysis.time_s for analysis in found] == pytest.approx([n / FPS for n in range(60)])
    with_face = [analysis for analysis in found if analysis.faces]
    assert len(with_face) >= 50
    assert {face.track for analysis in with_face for face in analysis.faces} == {1}
    for analysis in with_face:
        [seen] = analysis.faces
        assert analysis.frame is not None
        middle = seen.box.left + seen.box.width / 2
        assert middle == pytest.approx(10 + 2 * analysis.frame + 55, abs=8)
        assert sum(seen.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_frames_far_apart_do_not_give_one_person_the_place_of_another(
    tmp_path: Path, face: np.ndarray
) -> None:
    """The camera pans along a row of people, by one place from each analysed frame to the next."""
    apart = 140

    def frame(n: int) -> np.ndarray:
        return canvas(*((face, 30 + apart * person - 14 * n, 60) for person in range(7)))

    path = write_video(tmp_path / "pan.mp4", 41, frame)
    people: dict[int | None, set[int]] = {}
    for analysis in Analyzer().analyze_video(path, every_s=0.5):
        assert analysis.frame is not None
        for found in analysis.faces:
            middle = found.box.left + found.box.width / 2 + 14 * analysis.frame
            people.setdefault(found.track, set()).add(round((middle - 30 - 55) / apart))
    assert len(people) >= 5
    assert all(len(who) == 1 for who in people.values())


@pytest.mark.parametrize(("aside", "grown"), [(0, 0), (5, 0), (-6, 4), (3, -8)])
def test_who_is_found_again_keeps_the_number_however_framed(
    face: np.ndarray, aside: int, grown: int
) -> None:
    frame = to_grey(canvas((face, 100, 60)))
    tracker = Tracker()
    tracker.follow(frame)
    [before] = tracker.update([Detection(Box(110, 70, 90, 90), 0.9)], 0.0)
    tracker.follow(frame)
    tracker.mark_unseen()
    box = Box(110 + aside - grown, 70 + aside - grown, 90 + 2 * grown, 90 + 2 * grown)
    [after] = tracker.update([Detection(box, 0.9)], 0.1)
    assert after.number == before.number
    # Somebody else there is somebody else.
    tracker.follow(to_grey(canvas((np.ascontiguousarray(face[::-1]), 100, 60))))
    tracker.mark_unseen()
    [other] = tracker.update([Detection(Box(110, 70, 90, 90), 0.9)], 0.2)
    assert other.number != before.number


def test_a_tilt_is_averaged_where_it_was_seen_a_moment_ago() -> None:
    def rolls(*found: tuple[float, float]) -> list[float]:
        tracker = Tracker()
        return [
            tracker.update([Detection(Box(0, 0, 40, 40), 0.9, roll=roll)], time_s)[0].roll
            for roll, time_s in found
        ]

    assert rolls((30, 0.0), (10, 0.1), (10, 0.2)) == [30, 20, 15]
    assert rolls((30, 0.0), (10, 1.0)) == [30, 10]
    assert [roll % 360 for roll in rolls((175, 0.0), (-175, 0.1))] == [175, 180]


def test_two_people_one_leaves_and_comes_back(tmp_path: Path, face: np.ndarray) -> None:
    """The one who stays keeps the number; the other, after two seconds, is somebody new."""
    mirrored = np.ascontiguousarray(face[:, ::-1])

    def frame(n: int) -> np.ndarray:
        stays = (face, 10 + n // 4, 60)
        return canvas(stays) if 20 <= n < 65 else canvas(stays, (mirrored, 190, 70))

    path = write_video(tmp_path / "two.mp4", 90, frame)
    tracks = [
        {face.track for face in analysis.faces} for analysis in Analyzer().analyze_video(path)
    ]
    assert tracks[15] == {1, 2}
    assert tracks[55] == {1}
    assert tracks[85] == {1, 3}


def flow(face: np.ndarray, side: int, left: int, top: int) -> np.ndarray:
    """Where a head of 110 pixels at (60, 60) is found again, which is `side` pixels large now."""
    before = cv2.cvtColor(canvas((face, 60, 60)), cv2.COLOR_RGB2GRAY)
    larger = cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR)
    after = cv2.cvtColor(canvas((larger, left, top)), cv2.COLOR_RGB2GRAY)
    found = median_flow(before, after, np.array([60.0, 60.0, 170.0, 170.0]))
    assert found is not None
    return found


def test_median_flow_follows_move_and_size(face: np.ndarray) -> None:
    np.testing.assert_allclose(flow(face, 116, 65, 56), [65, 56, 181, 172], atol=2.5)


def test_what_is_gone_is_not_followed(face: np.ndarray) -> None:
    before = cv2.cvtColor(canvas((face, 60, 60)), cv2.COLOR_RGB2GRAY)
    rng = np.random.default_rng(1)
    after = rng.integers(0, 256, before.shape).astype(np.uint8)
    assert median_flow(before, after, np.array([60.0, 60.0, 170.0, 170.0])) is None


def test_no_face_grows_by_more_than_a_tenth_from_frame_to_frame(face: np.ndarray) -> None:
    found = flow(face, 132, 49, 49)
    assert found[2:] - found[:2] == pytest.approx([121, 121])


def test_a_face_that_is_mostly_hidden_is_not_followed(face: np.ndarray) -> None:
    """A third of its points must be found again."""
    before = cv2.cvtColor(canvas((face, 60, 60)), cv2.COLOR_RGB2GRAY)
    noise = np.random.default_rng(1).integers(0, 256, before.shape).astype(np.uint8)
    corners = np.array([60.0, 60.0, 170.0, 170.0])
    for shown, followed in ((135, True), (95, False)):
        after = before.copy()
        after[:, shown:] = noise[:, shown:]
        assert (median_flow(before, after, corners) is not None) == followed


def test_a_face_whose_middle_leaves_the_picture_is_not_followed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 340)).astype(np.uint8)
    wall = cv2.GaussianBlur(noise, (0, 0), 3)
    for left, followed in ((270.0, True), (289.0, False)):
        corners = np.array([left, 90.0, left + 56, 146.0])
        found = median_flow(wall[:, 4:324].copy(), wall[:, :320].copy(), corners)
        assert (found is not None) == followed


WALL = np.full((240, 320), 128, np.uint8)


def after(tracker: Tracker, found: list[Detection], time_s: float) -> list[Track]:
    tracker.follow(WALL)  # where nothing can be followed
    return tracker.update(found, time_s)


def test_an_unsure_detection_counts_once_it_was_found_twice() -> None:
    tracker = Tracker()
    unsure, sure = Detection(Box(10, 10, 50, 50), 0.55), Detection(Box(200, 10, 50, 50), 0.9)
    assert [track.number for track in tracker.update([unsure, sure], 0.0)] == [1]
    assert [track.number for track in tracker.update([unsure, sure], 0.1)] == [2, 1]


def test_a_track_outlives_a_moment_without_detection_but_not_more() -> None:
    tracker = Tracker(patience_s=0.5)
    there = [Detection(Box(10, 10, 50, 50), 0.9)]
    numbers: list[list[int]] = []
    for time_s, found in ((0.0, there), (0.4, []), (0.45, there), (1.0, []), (1.1, there)):
        numbers.append([track.number for track in after(tracker, found, time_s)])
    assert numbers == [[1], [], [1], [], [2]]


def test_each_detection_continues_the_track_that_it_lies_on_most() -> None:
    """Of two that overlap; no track takes two detections, and no detection two tracks."""
    tracker = Tracker()

    def update(lefts: tuple[int, ...], time_s: float) -> list[tuple[int, int]]:
        found = [Detection(Box(left, 0, 100, 100), 0.9) for left in lefts]
        return [(track.number, track.box.left) for track in after(tracker, found, time_s)]

    assert update((0, 50), 0.0) == [(1, 0), (2, 50)]
    assert update((15, 65), 0.1) == [(1, 15), (2, 65)]  # the first lies on both
    assert update((30,), 0.2) == [(1, 30)]
    assert update((35, 60), 0.3) == [(1, 35), (2, 60)]
    tracker = Tracker()
    assert update((0,), 0.0) == [(1, 0)]
    assert update((10, 40), 0.1) == [(1, 10), (2, 40)]


def test_where_the_flow_leads_counts_as_much_as_what_is_found() -> None:
    tracker = Tracker()
    tracker.update([Detection(Box(0, 0, 40, 40), 0.9, roll=30.0)], 0.0)
    [track] = tracker.update([Detection(Box(10, 0, 50, 40), 0.8)], 0.1)
    assert track.box == Box(5, 0, 45, 40)
    assert (track.score, track.roll) == (0.8, 15.0)
    tracker.mark_unseen()
    [track] = tracker.update([Detection(Box(15, 0, 40, 40), 0.9, roll=-30.0)], 0.2)
    assert (track.box, track.roll) == (Box(15, 0, 40, 40), -30)
    [other] = Tracker().update([Detection(Box(0, 0, 40, 40), 0.9, roll=30.0)], 0.0)
    assert other.roll == 30


def test_in_a_frame_of_another_shape_nobody_is_followed() -> None:
    """As a phone's that is turned while it films; who was seen stays known."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320)).astype(np.uint8)
    rows, columns = np.mgrid[:240, :320]
    light = 255 * np.exp(-((rows / 120 - 1) ** 2) - (columns / 160 - 1) ** 2)
    upright = (0.3 * noise + 0.7 * light).astype(np.uint8)  # looks much the same when it is turned
    tracker = Tracker()
    tracker.follow(upright)
    assert tracker.update([Detection(Box(100, 60, 80, 80), 0.9)], 0.0)
    assert not tracker.follow(np.ascontiguousarray(upright.T))
    assert tracker.update([], 0.1) == []
    assert tracker.boxes == [Box(100, 60, 80, 80)]


def test_who_was_lost_comes_back_by_detection_only() -> None:
    """What stands in their place stays where it is, and would be followed."""
    noise = np.random.default_rng(0).integers(0, 256, WALL.shape).astype(np.uint8)
    tracker = Tracker()
    there = [Detection(Box(100, 60, 80, 80), 0.9)]
    numbers = []
    frames = (noise, there), (noise, []), (WALL, []), (noise, []), (noise, []), (noise, there)
    for tenth, (picture, found) in enumerate(frames):
        tracker.follow(picture)
        numbers.append([track.number for track in tracker.update(found, tenth / 10)])
    assert numbers == [[1], [1], [], [], [], [1]]


def test_a_box_has_at_least_a_pixel() -> None:
    assert Track(np.array([1.2, 3.3, 1.4, 3.4]), 0.9, 0.0).box == Box(1, 3, 1, 1)


def test_smoothing_is_an_exponential_average_in_time() -> None:
    tracker = Tracker(smoothing_s=0.5)
    [track] = tracker.update([Detection(Box(10, 10, 50, 50), 0.9)], 0.0)
    start, other = np.eye(7)[0], np.eye(7)[3]
    assert tracker.smooth(track, start, 0.0).tolist() == start.tolist()
    share = 1 - np.exp(-0.1 / 0.5)
    expected = start + share * (other - start)
    np.testing.assert_allclose(tracker.smooth(track, other, 0.1), expected)
    once_more = expected + share * (other - expected)  # since the last, not since the first
    np.testing.assert_allclose(tracker.smooth(track, other, 0.2), once_more)
    np.testing.assert_allclose(tracker.smooth(track, other, 100.0), other, atol=1e-9)
    assert Tracker(smoothing_s=0).smooth(track, start, 100.0).tolist() == start.tolist()


def test_a_cut_ends_all_tracks_and_the_new_scene_is_searched_at_once() -> None:
    rng = np.random.default_rng(0)
    scenes = [
        cv2.GaussianBlur(rng.integers(0, 256, (240, 320, 3)).astype(np.uint8), (0, 0), 20) * 2
        for _ in range(2)
    ]
    searched: list[float] = []

    class Notes:
        """Sees a face in the same place of every picture."""

        def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
            searched.append(time_s)
            return [Detection(Box(100, 60, 80, 80), 0.9)]

    following = FaceFollower(Notes(), CLASSIFIER, Tracker(), look_every_s=99.0, search_every_s=99.0)
    numbers = []
    for frame in range(6):
        time_s = frame / 10
        picture = np.roll(scenes[frame // 3], frame, axis=1)  # the camera moves a little
        numbers.append([face.track for face in following.faces(picture, time_s)])
    assert numbers == [[1], [1], [1], [2], [2], [2]]
    assert searched == [0.0, 0.3]


def test_a_frame_put_in_between_is_no_other_scene_and_black_may_lie_between_two() -> None:
    rng = np.random.default_rng(0)
    one, other, noise, more = (
        cv2.GaussianBlur(rng.integers(0, 256, (240, 320)).astype(np.uint8), (0, 0), 20) * 2
        for _ in range(4)
    )
    there = [Detection(Box(100, 60, 80, 80), 0.9)]

    def numbers(*frames: tuple[np.ndarray, bool]) -> list[list[int]]:
        tracker, found = Tracker(), []
        for tenth, (picture, seen) in enumerate(frames):
            tracker.follow(picture)
            tracks = tracker.update(there if seen else [], tenth / 10)
            found.append([track.number for track in tracks])
        return found

    black = np.full_like(one, 16)
    assert numbers((one, True), (noise, False), (one, True)) == [[1], [], [1]]
    assert numbers((one, True), (noise, False), (more, False), (one, True))[-1] == [1]
    assert numbers((one, True), (black, False), (one, True)) == [[1], [], [1]]
    assert numbers((one, True), (black, False), (black, False), (other, True))[-1] == [2]
    # After a second it is no interlude.
    assert numbers((one, True), *[(other, True)] * 12, (one, True))[-2:] == [[2], [3]]


def test_how_much_changes_from_frame_to_frame(face: np.ndarray) -> None:
    one, other = canvas((face, 60, 60))[:, :, 1], canvas((face, 200, 100))[:, :, 1]
    assert change(one, one) == pytest.approx(0)
    assert change(one, one // 2 + 20) < 0.01  # less light, and less contrast
    assert change(one, 255 - one) == pytest.approx(2, abs=1e-3)
    assert 0.5 < change(one, other) < 1.5
    assert change(one, WALL) == change(WALL, WALL) == 0


def test_no_box_stays_on_what_passes_before_a_face(face: np.ndarray) -> None:
    """A board: the points within the box would go on with its edge."""
    board = np.random.default_rng(1).integers(80, 140, (8, 5, 3)).astype(np.uint8)
    board = cv2.resize(board, (100, 160), interpolation=cv2.INTER_NEAREST)
    tracker, found = Tracker(), [Detection(Box(118, 68, 95, 95), 0.9)]
    seen: dict[int, list[int]] = {}  # at how many pixels from the left the board stands
    for left in range(-100, 321, 5):
        tracker.follow(to_grey(canvas((face, 110, 60), (board, left, 40))))
        is_free = left < 20 or left > 220
        tracks = tracker.update(found if is_free else [], (left + 100) / 500)
        seen[left] = [track.number for track in tracks]
    for left, numbers in seen.items():
        if not 20 <= left < 100:  # there it is half covered, or less
            assert numbers == ([1] if left < 20 or left > 220 else []), left
    assert seen[30] == [1]


def test_a_head_that_is_turned_looks_the_same(face: np.ndarray) -> None:
    grey = to_grey(canvas((face, 100, 60)))
    corners = np.array([100.0, 60, 210, 170])
    known = face_templates(grey, corners, range(-75, 76, 15))
    np.testing.assert_allclose(np.linalg.norm(known, axis=1), 1)
    for turn in (-70, -20, 0, 45):
        turned = cv2.warpAffine(grey, cv2.getRotationMatrix2D((155, 115), turn, 1), SIZE)
        assert (known @ face_templates(turned, corners)[0]).max() > 0.85
    assert (known @ face_templates(grey, corners + 110)[0]).max() < 0.5
    assert (known @ face_templates(np.full_like(grey, 90), corners)[0]).max() == 0
    # Beyond the frame's edges, too, and where nothing is left of it.
    for beyond in (corners - 120, corners + 500, np.zeros(4)):
        assert np.isfinite(face_templates(grey, beyond)).all()


def test_a_face_in_a_large_frame_is_followed(face: np.ndarray) -> None:
    """Frames are followed at 640 pixels a side; boxes are in the frame's own."""
    frames = [cv2.cvtColor(canvas((face, x, 60)), cv2.COLOR_RGB2GRAY) for x in (60, 66)]
    before, after = (cv2.resize(frame, None, fx=4, fy=4) for frame in frames)  # 1280x960
    tracker = Tracker()
    tracker.follow(before)
    tracker.update([Detection(Box(240, 240, 440, 440), 0.9)], 0.0)
    tracker.follow(after)
    [box] = tracker.boxes
    np.testing.assert_allclose(box.to_list(), [264, 240, 440, 440], atol=6)


def test_when_the_detector_looks_again() -> None:
    """Every 0.49 s in the whole frame, and every 0.19 s close to where the face was."""
    widths: list[int] = []

    class Notes:
        """Sees one face that stays, surer from close by, and notes how wide its pictures are."""

        def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
            widths.append(image.shape[1])
            whole = image.shape[1] == SIZE[0]
            place = Box(100, 60, 80, 80) if whole else Box(40, 40, 80, 80)
            return [Detection(place, 0.9 if whole else 0.95)]

    following = FaceFollower(Notes(), CLASSIFIER, Tracker(), look_every_s=0.19, search_every_s=0.49)
    seen = []
    for tenth in range(8):
        widths.clear()
        [face] = following.faces(canvas(), tenth / 10)
        seen.append((widths.copy(), face.detection_score))
    assert [asked for asked, _ in seen] == [[320], [], [160], [], [160], [320], [], [160]]
    assert [score for _, score in seen] == [0.9, 0.9, 0.95, 0.95, 0.95, 0.9, 0.9, 0.95]


def test_two_close_looks_at_one_face_find_it_once() -> None:
    """Two faces were found side by side; close to either, only the one between them is."""
    picture = np.tile(np.arange(250, dtype=np.uint8)[None, :, None], (200, 1, 3))
    between = Box(80, 60, 80, 80)
    looks = 0
    found: list[list[Box]] = []

    class Sees:
        """Knows by the first column, which has its own number, what part of the picture it sees."""

        def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
            if image.shape == picture.shape:
                return [Detection(Box(left, 60, 80, 80), 0.9) for left in (55, 105)]
            nonlocal looks
            looks += 1
            top = 20  # of each part: half a face above it
            left = int(image[0, 0, 0])
            return [Detection(Box(between.left - left, between.top - top, 80, 80), 0.95)]

    class Notes(Tracker):
        def update(self, detections: Sequence[Detection], time_s: float) -> list[Track]:
            found.append([one.box for one in detections])
            return super().update(detections, time_s)

    following = FaceFollower(Sees(), CLASSIFIER, Notes(), look_every_s=0.1, search_every_s=99.0)
    for time_s in (0.0, 0.2):
        following.faces(picture, time_s)
    assert looks == 2
    assert found == [[Box(55, 60, 80, 80), Box(105, 60, 80, 80)], [between]]


class Film(Video):
    """Two frames of a camera that is not there."""

    def __init__(self) -> None:
        self.name, self.is_camera, self.fps = "camera 0", True, 20.0

    def close(self) -> None:
        pass

    def frames(
        self, every_s: float | None = None, follow_every_s: float | None = None
    ) -> Iterator[Frame]:
        for number, time_s in ((3, 0.1), (8, 0.7)):
            yield Frame(number, time_s, np.zeros((50, 60, 3), np.uint8))


@pytest.mark.parametrize(
    ("options", "look_every_s", "search_every_s", "sure"),
    [
        ({}, 0.99 * 5 / 20, 0.5, 0.8),
        ({"detect_every": 2, "search_every_s": 0.3}, 0.99 * 2 / 20, 0.3, 0.8),
        ({"search_every_s": 0.3, "every_s": 0.2}, 0.99 * 5 / 20, 0.3, 0.8),
        ({"search_every_s": 0.3, "every_s": 0.3}, 0.99 * 5 / 20, 0.0, 0.8),
        ({"every_s": 1.0}, 0.99 * 5 / 20, 0.0, 0.0),
        ({"every_s": 1.0, "tracker": Tracker(sure_score=0.6)}, 0.99 * 5 / 20, 0.0, 0.6),
    ],
)
def test_what_is_asked_of_a_video_is_done(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    look_every_s: float,
    search_every_s: float,
    sure: float,
) -> None:
    made: list[tuple[Tracker, dict[str, float]]] = []
    times: list[float] = []

    class Follows:
        follow_every_s = None

        def __init__(self, detector: object, classifier: object, tracker: Tracker, **how: float):
            made.append((tracker, how))

        def faces(self, _: np.ndarray, time_s: float) -> tuple[Face, ...]:
            times.append(time_s)
            return ()

    monkeypatch.setattr("semblante.recognise.pipeline.FaceFollower", Follows)
    found = list(Analyzer("rcnn-small-int8").analyze_video(Film(), **options))
    [(tracker, how)] = made
    assert how == {
        "mirrored": True, "look_every_s": pytest.approx(look_every_s),
        "search_every_s": search_every_s,
    }  # fmt: skip
    assert tracker.sure_score == sure
    assert tracker is options.get("tracker", tracker)
    assert times == [0.1, 0.7]
    assert [(one.path, one.frame, one.time_s, one.width, one.height) for one in found] == [
        (None, 3, 0.1, 60, 50), (None, 8, 0.7, 60, 50)
    ]  # fmt: skip


@pytest.mark.parametrize("search_every_s", [0.5, 0.0])
def test_a_head_that_tilts_is_followed(tmp_path: Path, search_every_s: float) -> None:
    """Also where every frame is searched, as for a copy with hidden faces."""
    picture = cv2.resize(semblante.load_image(EXAMPLE), (240, 240))

    def frame(number: int) -> np.ndarray:
        angle = -min(max(0, (number - 8) * 1.9), 32)
        turn = cv2.getRotationMatrix2D((105, 71), angle, 1.0)
        turn[0, 2] += 40
        return cv2.warpAffine(picture, turn, SIZE, borderMode=cv2.BORDER_REPLICATE)

    path = write_video(tmp_path / "tilts.mp4", 60, frame)
    rows = Analyzer().analyze_video(path, search_every_s=search_every_s)
    assert [row.frame for row in rows if len(row.faces) != 1] == []


def test_frames_far_apart_are_as_pictures() -> None:
    there = [Detection(Box(10, 10, 50, 50), 0.55)]
    assert tracker_for(0.5).update(there, 0.0)
    assert not tracker_for(0.1).update(there, 0.0)
    assert not tracker_for(None).update(there, 0.0)


@pytest.mark.parametrize("every_s", [None, 0.5])
def test_moments_far_apart_are_not_averaged_but_looked_at_twice(
    face: np.ndarray, every_s: float | None
) -> None:
    analyzer = Analyzer("rcnn-small-int8", detector="none")
    mirrored = face[:, ::-1].copy()
    following = FaceFollower(
        analyzer.detector, analyzer.classifier, tracker_for(every_s), mirrored=True,
        look_every_s=0.0, search_every_s=0.0,
    )  # fmt: skip
    found = [
        [*following.faces(picture, time_s)[0].probabilities.values()]
        for time_s, picture in ((0.0, face), (0.5, mirrored))
    ]
    views = analyzer.classifier.probabilities(
        np.stack([crop_face(to_grey(picture), Box(0, 0, 110, 110)) for picture in (face, mirrored)])
    )
    if every_s is None:
        share = np.exp(-0.5 / 0.4)
        expected = [views[0], share * views[0] + (1 - share) * views[1]]
    else:
        expected = [views.mean(axis=0)] * 2
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_every_frame_is_a_face_where_it_is_said_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, SIZE[1], SIZE[0], 3)).astype(np.uint8)
    path = write_video(tmp_path / "faces.mp4", 20, lambda n: cv2.GaussianBlur(noise[n], (0, 0), 3))
    rows = list(Analyzer(detector=make_detector("none")).analyze_video(path))
    assert [[face.box for face in row.faces] for row in rows] == [[Box(0, 0, *SIZE)]] * 20


def test_frames_of_changing_size_are_each_a_whole_face() -> None:
    """As a phone's camera that is turned, or a film whose picture grows."""
    following = FaceFollower(
        make_detector("none"), CLASSIFIER, Tracker(), look_every_s=0.1, search_every_s=0.4
    )
    for number, (width, height) in enumerate([(320, 240), (240, 320), (1280, 720), (320, 240)]):
        [face] = following.faces(np.zeros((height, width, 3), np.uint8), number / 10)
        assert face.box == Box(0, 0, width, height)


class Counts:
    """Finds nobody, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
        self.asked += 1
        return []


def test_every_frame_that_is_looked_at_so_rarely_is_searched(tmp_path: Path) -> None:
    """At 25 frames a second, 0.52 and 1.0 s lie less than half a second apart."""
    writer = VideoWriter(tmp_path / "film.mp4", 25.0)
    for number in range(76):
        writer.write(canvas(), number / 25)
    writer.close(done=True)
    detector = Counts()
    found = list(Analyzer(detector=detector).analyze_video(tmp_path / "film.mp4", every_s=0.5))
    assert [round(analysis.time_s or 0, 2) for analysis in found] == [0, 0.52, 1, 1.52, 2, 2.52, 3]
    assert detector.asked == 7


# -- frames of a source of one's own -------------------------------------------------------------


def test_frames_of_a_source_of_ones_own(moving: Path) -> None:
    """As of a film, where each comes when the one before is done."""
    analyzer = Analyzer()
    film = list(analyzer.analyze_video(moving))
    asked: list[int] = []

    def source() -> Iterator[tuple[float, np.ndarray]]:
        for frame in Video(moving).frames():
            asked.append(frame.number)
            yield frame.time_s, frame.image

    found = []
    for analysis in analyzer.analyze_frames(source(), look_every_s=0.99 * 5 / FPS):
        assert asked[-1] == analysis.frame
        found.append(analysis)
    assert [replace(one, path=None) for one in film] == found
    assert any(one.faces for one in found)


def test_frames_that_are_none_and_times_that_go_back() -> None:
    analyzer = Analyzer(detector="none")
    image = np.zeros((60, 60, 3), np.uint8)
    frames = [(0.0, image), (0.5, image[:0]), (np.float32(0.5), image), (0.4, image)]
    found = analyzer.analyze_frames(frames)
    assert next(found).error is None
    assert "found shape (0, 60, 3)" in str(next(found).error)
    last = next(found)
    assert (last.frame, last.time_s, len(last.faces)) == (2, 0.5, 1)
    json.dumps(last.to_dict())
    with pytest.raises(OptionError, match=r"not before that of the last frame, 0\.5, found 0\.4"):
        next(found)
    with pytest.raises(OptionError, match="expected a time in seconds not before"):
        next(analyzer.analyze_frames([(math.inf, image)]))
    for wrong, name in ((math.nan, "nan"), (image, r"array\(")):
        with pytest.raises(OptionError, match=f"seconds before each picture, found {name}"):
            next(analyzer.analyze_frames([(wrong, image)]))  # type: ignore[list-item]
    with pytest.raises(OptionError, match=r"expected pairs \(time_s, picture\), found ndarray"):
        next(analyzer.analyze_frames([image]))  # type: ignore[list-item]
    with pytest.raises(OptionError, match=r"expected pairs \(time_s, picture\), found str"):
        analyzer.analyze_frames("party.mp4")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"expected a semblante\.Tracker, found int"):
        analyzer.analyze_frames([], tracker=5)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="expected look_every_s of at least 0, found -1"):
        analyzer.analyze_frames([], look_every_s=-1)
    with pytest.raises(OptionError, match="expected look_every_s of at least 0, found '5'"):
        analyzer.analyze_frames([], look_every_s="5")  # type: ignore[arg-type]
    back = [(Fraction(3, 2), np.zeros((9, 9, 3), np.uint8)), (Fraction(1, 2), b"")]
    with pytest.raises(OptionError, match=r"of the last frame, 1\.5, found 0\.5"):
        list(analyzer.analyze_frames(back))
