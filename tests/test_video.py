"""Videos: every frame with its time, faces that keep their numbers, files that break off."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import semblante
from conftest import EXAMPLE, ffmpeg, needs_ffmpeg
from semblante import Analyzer, Box, Face, OptionError, VideoError
from semblante.recognise.detectors import Detection, make_detector
from semblante.recognise.pipeline import Following
from semblante.recognise.tracks import Track, Tracker, median_flow, tracker_for
from semblante.recognise.video import (
    Frame,
    Video,
    VideoWriter,
    is_whole,
    picture_late_s,
    usable_rate,
)
from test_cli import PROGRAM
from test_cli import semblante as program

FPS = 20
SIZE = (320, 240)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """Eileen Collins's head, 110 pixels a side; the cascade boxes its middle."""
    picture = semblante.load_image(EXAMPLE)
    return cv2.resize(picture[30:200, 140:310], (110, 110), interpolation=cv2.INTER_AREA)


def canvas(*placed: tuple[np.ndarray, int, int]) -> np.ndarray:
    """A grey wall with some texture, and pictures at (left, top)."""
    rng = np.random.default_rng(0)
    noise = rng.integers(90, 130, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    wall = cv2.GaussianBlur(noise, (5, 5), 0)
    for picture, left, top in placed:
        height, width = picture.shape[:2]
        x0, x1 = max(0, left), min(SIZE[0], left + width)
        y0, y1 = max(0, top), min(SIZE[1], top + height)
        if x0 < x1 and y0 < y1:
            wall[y0:y1, x0:x1] = picture[y0 - top : y1 - top, x0 - left : x1 - left]
    return wall


def write_video(path: Path, n: int, frame: Callable[[int], np.ndarray], code: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), FPS, SIZE)
    assert writer.isOpened()
    for number in range(n):
        writer.write(cv2.cvtColor(frame(number), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    """Three seconds of one face that goes from left to right, 2 pixels a frame."""
    path = tmp_path_factory.mktemp("video") / "geht über.mp4"
    return write_video(path, 60, lambda n: canvas((face, 10 + 2 * n, 60)))


def test_every_frame_with_its_time(moving: Path) -> None:
    video = Video(moving)
    assert (video.width, video.height, video.fps) == (*SIZE, FPS)
    frames = list(video.frames())
    assert [frame.number for frame in frames] == list(range(60))
    assert [frame.time_s for frame in frames] == pytest.approx([n / FPS for n in range(60)])
    assert frames[0].image.shape == (240, 320, 3)


@needs_ffmpeg
@pytest.mark.parametrize(("sar", "size"), [("4/3", (427, 240)), ("1/2", (320, 480))])
def test_pixels_that_are_not_square(
    tmp_path: Path, moving: Path, sar: str, size: tuple[int, int]
) -> None:
    """As films for television have them: frames are as they are to be seen."""
    film = tmp_path / "film.mp4"
    ffmpeg("-i", moving, "-vf", f"setsar={sar}", "-t", 0.5, film)
    video = Video(film)
    assert (video.width, video.height) == size
    assert {frame.image.shape for frame in video.frames()} == {(size[1], size[0], 3)}


def test_colours_are_in_the_order_of_pictures(tmp_path: Path) -> None:
    red = np.zeros((240, 320, 3), np.uint8)
    red[..., 0] = 220
    [frame] = Video(write_video(tmp_path / "red.mp4", 1, lambda _: red)).frames()
    assert frame.image[..., 0].mean() > 180
    assert frame.image[..., 2].mean() < 40


@pytest.mark.parametrize(
    ("every_s", "numbers"), [(0.5, [0, 10, 20, 30, 40, 50]), (1.01, [0, 21, 41])]
)
def test_a_frame_every_so_often(moving: Path, every_s: float, numbers: list[int]) -> None:
    assert [frame.number for frame in Video(moving).frames(every_s)] == numbers


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


def test_cameras_and_files_that_are_none(tmp_path: Path, moving: Path) -> None:
    for number in (99, -1, 2**31):
        with pytest.raises(VideoError, match=f"camera {number}: there is no such camera"):
            Video(number)
    with pytest.raises(VideoError, match="null byte"):
        Video("a\0b.mp4")
    with pytest.raises(VideoError, match=r"missing\.mp4: cannot be read: No such file"):
        Video(tmp_path / "missing.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"empty\.mp4: an empty file"):
        Video(tmp_path / "empty.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match=r"pipe\.mp4: expected a file, found a pipe"):
        Video(tmp_path / "pipe.mp4")
    (tmp_path / "text.mp4").write_text("no video" * 100)
    with pytest.raises(VideoError, match=r"text\.mp4: not a video"):
        Video(tmp_path / "text.mp4")
    for every_s in (0.0, -1.0, float("nan"), float("inf"), 1e-320):
        with pytest.raises(OptionError, match="every_s of at least 1e-06"):
            next(Video(moving).frames(every_s))
    with pytest.raises(OptionError, match="detect_every of at least 1"):
        next(Analyzer().analyze_video(moving, detect_every=0))
    for seconds in (-0.1, float("nan")):
        with pytest.raises(OptionError, match="search_every_s of 0 or more"):
            next(Analyzer().analyze_video(moving, search_every_s=seconds))


def test_names_that_look_like_a_protocol(
    tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(moving, "12:30.mp4")
    assert len(list(Video("12:30.mp4").frames())) == 60
    writer = VideoWriter(Path("marked:12/12:30.mp4"), FPS, Path("12:30.mp4"))
    writer.write(canvas(), 0.0)
    writer.close(done=True)
    assert len(list(Video("marked:12/12:30.mp4").frames())) == 1
    Path("a:b.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"^a:b\.mp4: not a video"):
        Video("a:b.mp4")


def test_a_name_that_is_not_utf8(tmp_path: Path, moving: Path) -> None:
    path = tmp_path / os.fsdecode(b"latin\xe9.mp4")
    path.write_bytes(moving.read_bytes())
    with pytest.raises(VideoError, match="expected a name in UTF-8"):
        Video(path)


def test_a_copy_that_cannot_be_opened_leaves_nothing(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "clip.mp4", 100_000)  # more than MPEG-4 can have
    with pytest.raises(VideoError, match=r"clip\.mp4: cannot be written"):
        writer.write(canvas(), 0.0)
    writer.close(done=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_breaks_off_gives_its_frames_first(tmp_path: Path, face: np.ndarray) -> None:
    whole = write_video(tmp_path / "whole.avi", 40, lambda n: canvas((face, 5 * n, 60)), "MJPG")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"cut\.avi: breaks off after 1\.0 of 2\.0 s, \d+ frames"):
        list(Video(cut).frames())
    frames = Video(cut).frames()
    assert [next(frames).number for _ in range(11)] == list(range(11))
    frames.close()


def test_whoever_stops_early_leaves_no_thread(moving: Path) -> None:
    before = set(threading.enumerate())
    frames = Video(moving).frames()
    next(frames)
    frames.close()
    assert set(threading.enumerate()) <= before


# -- tracks -------------------------------------------------------------------------------------


def test_median_flow_follows_move_and_size(face: np.ndarray) -> None:
    before = cv2.cvtColor(canvas((face, 60, 60)), cv2.COLOR_RGB2GRAY)
    larger = cv2.resize(face, (116, 116), interpolation=cv2.INTER_LINEAR)
    after = cv2.cvtColor(canvas((larger, 65, 56)), cv2.COLOR_RGB2GRAY)
    found = median_flow(before, after, np.array([60.0, 60.0, 170.0, 170.0]))
    assert found is not None
    np.testing.assert_allclose(found, [65, 56, 181, 172], atol=2.5)


def test_what_is_gone_is_not_followed(face: np.ndarray) -> None:
    before = cv2.cvtColor(canvas((face, 60, 60)), cv2.COLOR_RGB2GRAY)
    rng = np.random.default_rng(1)
    after = rng.integers(0, 256, before.shape).astype(np.uint8)
    assert median_flow(before, after, np.array([60.0, 60.0, 170.0, 170.0])) is None


def test_no_face_grows_by_more_than_a_tenth_from_frame_to_frame(face: np.ndarray) -> None:
    before = cv2.cvtColor(canvas((face, 60, 60)), cv2.COLOR_RGB2GRAY)
    larger = cv2.resize(face, (132, 132), interpolation=cv2.INTER_LINEAR)
    after = cv2.cvtColor(canvas((larger, 49, 49)), cv2.COLOR_RGB2GRAY)
    found = median_flow(before, after, np.array([60.0, 60.0, 170.0, 170.0]))
    assert found is not None
    assert found[2:] - found[:2] == pytest.approx([121, 121])


def test_a_face_that_is_mostly_hidden_is_not_followed(face: np.ndarray) -> None:
    """A third of its points must be found again."""
    before = cv2.cvtColor(canvas((face, 60, 60)), cv2.COLOR_RGB2GRAY)
    noise = np.random.default_rng(1).integers(0, 256, before.shape).astype(np.uint8)
    edges = np.array([60.0, 60.0, 170.0, 170.0])
    for shown, followed in ((135, True), (95, False)):
        after = before.copy()
        after[:, shown:] = noise[:, shown:]
        assert (median_flow(before, after, edges) is not None) == followed


def test_a_face_whose_middle_leaves_the_picture_is_not_followed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 340)).astype(np.uint8)
    wall = cv2.GaussianBlur(noise, (0, 0), 3)
    for left, followed in ((270.0, True), (289.0, False)):
        edges = np.array([left, 90.0, left + 56, 146.0])
        found = median_flow(wall[:, 4:324].copy(), wall[:, :320].copy(), edges)
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
    assert (track.score, track.roll) == (0.8, 0.0)
    tracker.lose()
    [track] = tracker.update([Detection(Box(15, 0, 40, 40), 0.9, roll=-30.0)], 0.2)
    assert (track.box, track.roll) == (Box(15, 0, 40, 40), -30)
    [other] = Tracker().update([Detection(Box(0, 0, 40, 40), 0.9, roll=30.0)], 0.0)
    assert other.roll == 30


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

        def detect(
            self, image: np.ndarray, max_side: int | None = None, *, upright: bool = False
        ) -> list[Detection]:
            widths.append(image.shape[1])
            whole = image.shape[1] == SIZE[0]
            place = Box(100, 60, 80, 80) if whole else Box(40, 40, 80, 80)
            return [Detection(place, 0.9 if whole else 0.95)]

    following = Following(
        Analyzer(detector=Notes()), Tracker(), look_every_s=0.19, search_every_s=0.49
    )
    seen = []
    for tenth in range(8):
        widths.clear()
        [face] = following.faces(canvas(), tenth / 10)
        seen.append((widths.copy(), face.detection_score))
    assert [asked for asked, _ in seen] == [[320], [], [160], [], [160], [320], [], [160]]
    assert [score for _, score in seen] == [0.9, 0.9, 0.95, 0.95, 0.95, 0.9, 0.9, 0.95]


@pytest.mark.parametrize("tilted", [True, False, None])
def test_whether_tilted_heads_need_a_look_of_their_own_says_the_detector(
    tilted: bool | None,
) -> None:
    looks: list[tuple[int, bool]] = []

    class Notes:
        """Sees one face, close by only where it need not be upright."""

        def detect(
            self, image: np.ndarray, max_side: int | None = None, *, upright: bool = False
        ) -> list[Detection]:
            looks.append((image.shape[1], upright))
            if image.shape[1] == SIZE[0]:
                return [Detection(Box(100, 60, 80, 80), 0.9)]
            return [] if upright else [Detection(Box(40, 40, 80, 80), 0.85)]

    detector = Notes()
    if tilted is not None:
        detector.tilted = tilted  # type: ignore[attr-defined]
    following = Following(
        Analyzer(detector=detector), Tracker(), look_every_s=0.1, search_every_s=9.0
    )
    following.faces(canvas(), 0.0)
    [face] = following.faces(canvas(), 0.2)
    again = [] if tilted is False else [(160, False)]
    assert looks == [(320, True), (160, True), *again]
    assert face.detection_score == (0.9 if tilted is False else 0.85)


class Film(Video):
    """Two frames of a camera that is not there."""

    def __init__(self) -> None:
        self.name, self.is_camera, self.fps = "camera 0", True, 20.0

    def frames(self, every_s: float | None = None) -> Iterator[Frame]:
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
        ({"every_s": 1.0, "tracker": Tracker(sure=0.6)}, 0.99 * 5 / 20, 0.0, 0.6),
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
        def __init__(self, _: Analyzer, tracker: Tracker, **how: float) -> None:
            made.append((tracker, how))

        def faces(self, _: np.ndarray, time_s: float) -> tuple[Face, ...]:
            times.append(time_s)
            return ()

    monkeypatch.setattr("semblante.recognise.pipeline.Following", Follows)
    found = list(Analyzer("rcnn-small-int8").analyze_video(Film(), **options))
    [(tracker, how)] = made
    assert how == {
        "look_every_s": pytest.approx(look_every_s), "search_every_s": search_every_s
    }  # fmt: skip
    assert tracker.sure == sure
    assert tracker is options.get("tracker", tracker)
    assert times == [0.1, 0.7]
    assert [(one.path, one.frame, one.time_s, one.width, one.height) for one in found] == [
        (None, 3, 0.1, 60, 50), (None, 8, 0.7, 60, 50)
    ]  # fmt: skip


# -- files as cameras and phones write them -----------------------------------------------------


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    """Thirty frames, ten at 20, ten at 5 and ten at 20 a second again: 3.5 s in all, with sound."""
    folder = tmp_path_factory.mktemp("uneven")
    lines = []
    for number in range(30):
        picture = canvas((face, 10 + 4 * number, 60))
        cv2.imwrite(str(folder / f"{number}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        lines += [f"file {number}.png", f"duration {0.2 if 10 <= number < 20 else 0.05}"]
    (folder / "list.txt").write_text("\n".join([*lines, "file 29.png"]))
    ffmpeg(
        "-f", "concat", "-i", folder / "list.txt", "-f", "lavfi", "-i", "sine=440:duration=3.2",
        "-fps_mode", "vfr", "-frames:v", 30, "-c:v", "mpeg4", "-q:v", 3, folder / "uneven.mp4",
    )  # fmt: skip
    return folder / "uneven.mp4"


@needs_ffmpeg
def test_a_variable_frame_rate(uneven: Path) -> None:
    times = [frame.time_s for frame in Video(uneven).frames()]
    steps = np.repeat([0.05, 0.2, 0.05], [10, 10, 9])
    np.testing.assert_allclose(times, np.concatenate([[0], np.cumsum(steps)]), atol=0.021)
    rows = list(Analyzer().analyze_video(uneven))
    assert [row.time_s for row in rows] == times
    assert {face.track for row in rows for face in row.faces} == {1}
    seconds = [frame.time_s for frame in Video(uneven).frames(1.0)]
    np.testing.assert_allclose(seconds, [0, 1.1, 2.1], atol=0.06)


@needs_ffmpeg
def test_a_marked_copy_keeps_the_sound_and_stays_with_it(uneven: Path, tmp_path: Path) -> None:
    done = program("analyze", uneven, "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    marked = tmp_path / "marked" / "uneven.mp4"
    ffmpeg("-i", marked, "-vn", "-f", "wav", tmp_path / "sound.wav")
    assert (tmp_path / "sound.wav").stat().st_size > 3 * 44_100  # 3 s, 2 bytes each, mono
    before, after = list(Video(uneven).frames()), list(Video(marked).frames())
    assert after[-1].time_s == pytest.approx(before[-1].time_s, abs=0.1)

    def place(image: np.ndarray) -> float:
        """Where the face is: the middle of what differs from the wall, low in the picture."""
        differs = np.abs(image[110:].astype(int) - canvas()[110:]).max(axis=2) > 60
        return float(np.nonzero(differs)[1].mean())

    for moment in (0.3, 1.5, 2.8):
        one, other = (
            min(frames, key=lambda frame: (abs(frame.time_s - moment), frame.time_s)).image
            for frames in (before, after)
        )
        assert place(one) == pytest.approx(place(other), abs=9)  # two frames' way


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["mkv", "webm", "avi", "mov", "mpg"])
def test_other_containers(uneven: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    ffmpeg("-i", uneven, "-an", "-r", 25, "-t", 1, path)
    rows = list(Analyzer().analyze_video(path, every_s=0.2))
    assert len(rows) in (5, 6)
    assert [len(row.faces) for row in rows] == [1] * len(rows)


def test_frames_of_changing_size(tmp_path: Path, face: np.ndarray) -> None:
    """Motion JPEG holds pictures of any size one after the other."""
    data = b""
    for number in range(8):
        picture = canvas((face, 60, 60))
        if number >= 4:
            picture = cv2.resize(picture, (480, 360))
        data += cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    (tmp_path / "clip.avi").write_bytes(data)
    frames = list(Analyzer().analyze_video(tmp_path / "clip.avi"))
    assert len(frames) == 8
    assert {len(frame.faces) for frame in frames} == {1}


@needs_ffmpeg
def test_a_film_that_was_shortened_is_whole(uneven: Path, tmp_path: Path, face: np.ndarray) -> None:
    """Cut without decoding: frames before the cut stay in the file, and an edit list hides them."""
    long = tmp_path / "long.mp4"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=10", "-g", 100, "-c:v", "mpeg4",
        long,
    )  # fmt: skip
    ffmpeg("-ss", 6, "-i", long, "-c", "copy", tmp_path / "short.mp4")
    assert 30 <= len(list(Video(tmp_path / "short.mp4").frames())) <= 60
    for ending in ("ts", "mpg", "mkv", "webm"):  # sound that goes on after the picture
        path = tmp_path / f"sound.{ending}"
        ffmpeg("-i", uneven, "-f", "lavfi", "-i", "sine=440:duration=20", "-map", "0:v", "-map",
               "1:a", path)  # fmt: skip
        assert len(list(Video(path).frames())) >= 30
        if ending not in ("mkv", "webm"):
            continue  # the others do not tell how long they should be
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 3 // 4])
        with pytest.raises(VideoError, match="breaks off"):
            list(Video(path).frames())


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "avi"])
def test_whole_and_cut_off(uneven: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    ffmpeg("-i", uneven, path)
    assert is_whole(path)
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes(len(whole) - half))  # a copy that was interrupted
    assert not is_whole(path)
    path.write_bytes(whole[:-100])
    assert not is_whole(path)
    path.write_bytes(b"12345678901234567890")
    assert not is_whole(path)


@needs_ffmpeg
def test_sound_that_an_mp4_cannot_hold_is_encoded_anew(uneven: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    ffmpeg("-i", uneven, "-c:v", "mpeg4", "-c:a", "pcm_s16le", clip)
    done = subprocess.run(
        ["bash", "-c", '"$0" analyze "$1" --annotate "$2" > /dev/null && cat', PROGRAM, clip,
         tmp_path / "marked"], input="for the next one", capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "for the next one"  # ffmpeg would read it
    ffmpeg("-i", tmp_path / "marked" / "clip.mp4", "-vn", "-f", "wav", tmp_path / "sound.wav")
    assert (tmp_path / "sound.wav").stat().st_size > 3 * 44_100


def test_a_clock_that_jumps_is_not_filled_with_frames(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    for time_s in (3600.0, 3600.1, 3602.1, 90_000.0, 90_000.1):
        writer.write(canvas(), time_s)
    writer.close(done=True)
    assert len(list(Video(tmp_path / "copy.mp4").frames())) == 1 + 1 + 20 + 1 + 1


def test_a_frame_is_shown_in_the_copy_until_the_next_one_s_time(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    levels = (50, 100, 150, 200)
    for level, time_s in zip(levels, (0.0, 1.0, 1.02, 1.5), strict=True):
        writer.write(np.full((48, 64, 3), level, np.uint8), time_s)
    writer.close(done=True)
    shown = [int(frame.image.mean()) for frame in Video(tmp_path / "copy.mp4").frames()]
    # The third has no place of its own, but is what is seen until the fourth.
    assert shown == pytest.approx([50] * 10 + [100] + [150] * 4 + [200], abs=6)


def test_a_copy_where_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = VideoWriter(tmp_path / "file" / "copy.mp4", 10)
    with pytest.raises(VideoError, match=r"copy\.mp4: cannot be written: (Not a dir|File exists)"):
        writer.write(canvas(), 0.0)


def test_a_killed_run_s_half_copy_is_no_input_and_is_replaced(moving: Path, tmp_path: Path) -> None:
    killed = VideoWriter(tmp_path / "clip.mp4", FPS)
    killed.write(canvas(), 0.0)
    [half] = tmp_path.iterdir()
    done = program("analyze", tmp_path)
    assert "no pictures or videos in this folder" in done.stderr
    again = VideoWriter(tmp_path / "clip.mp4", FPS)
    again.write(canvas(), 0.0)
    assert list(tmp_path.iterdir()) == [half]
    again.close(done=True)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    shutil.copy(moving, tmp_path / ("\u3042" * 80 + ".mp4"))  # 244 bytes, of 255 that may be
    done = program("analyze", tmp_path, "--annotate", tmp_path / "marked")
    assert (done.returncode, done.stderr) == (0, "")


def test_annotating_a_folder_of_films_twice_into_itself(tmp_path: Path) -> None:
    """So a run that was interrupted goes on."""
    for name in ("a.avi", "b.mov"):
        write_video(tmp_path / name, 3, lambda _: canvas())
    for _ in range(2):
        done = program("analyze", tmp_path, "--annotate", tmp_path, "--format", "json")
        assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "a.mp4", "b.mov", "b.mp4"]
    assert is_whole(tmp_path / "a.mp4")
    assert len(list(Video(tmp_path / "a.mp4").frames())) == 3
    done = program("analyze", tmp_path / "a.mp4", "--annotate", tmp_path)  # where it is named
    assert "would overwrite" in done.stderr


@needs_ffmpeg
def test_a_picture_that_begins_after_its_sound(moving: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    ffmpeg(
        "-itsoffset", 2, "-i", moving, "-f", "lavfi", "-i", "sine=440:duration=5",
        "-map", "0:v", "-map", "1:a", "-c:v", "copy", late,
    )  # fmt: skip
    done = program("analyze", late, "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    assert picture_late_s(late) == pytest.approx(2, abs=0.1)
    assert picture_late_s(tmp_path / "marked" / "late.mp4") == pytest.approx(2, abs=0.1)
    assert picture_late_s(moving) == 0


@needs_ffmpeg
def test_sound_that_begins_after_the_picture_of_a_stream(uneven: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.ts"
    ffmpeg(
        "-i", uneven, "-itsoffset", 1.5, "-f", "lavfi", "-i", "sine=440:duration=2",
        "-map", "0:v", "-map", "1:a", "-c:v", "mpeg2video", "-r", 25, late,
    )  # fmt: skip
    done = program("analyze", late, "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    marked, sound = tmp_path / "marked" / "late.mp4", tmp_path / "sound.raw"
    # From the film's beginning on, silence included.
    ffmpeg("-i", marked, "-vn", "-af", "aresample=async=1:first_pts=0", "-f", "s16le", sound)
    samples = np.frombuffer(sound.read_bytes(), np.int16)
    begins_s = int(np.flatnonzero(np.abs(samples) > 500)[0]) / 44_100
    assert begins_s == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(("said", "taken"), [(24, 24), (240, 240), (1000, 25), (0, 25), (-1, 25)])
def test_a_rate_that_nobody_films_at(said: float, taken: float) -> None:
    assert usable_rate(said) == taken


def test_whatever_goes_wrong_in_decoding_is_heard_of(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("no such conversion")

    monkeypatch.setattr("semblante.recognise.video.cv2.cvtColor", fail)
    with pytest.raises(VideoError, match="cannot be decoded: no such conversion"):
        list(Video(moving).frames())


@pytest.mark.parametrize("search_every_s", [0.5, 0.0])
def test_a_head_that_tilts_is_followed(tmp_path: Path, search_every_s: float) -> None:
    """Also where every frame is searched, as for a copy with hidden faces: upright heads only."""
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


def test_every_frame_is_a_face_where_it_is_said_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, SIZE[1], SIZE[0], 3)).astype(np.uint8)
    path = write_video(tmp_path / "faces.mp4", 20, lambda n: cv2.GaussianBlur(noise[n], (0, 0), 3))
    rows = list(Analyzer(detector=make_detector("none")).analyze_video(path))
    assert [[face.box for face in row.faces] for row in rows] == [[Box(0, 0, *SIZE)]] * 20


def test_frames_of_changing_size_are_each_a_whole_face() -> None:
    """As a phone's camera that is turned, or a film whose picture grows."""
    following = Following(
        Analyzer(detector="none"), Tracker(), look_every_s=0.1, search_every_s=0.4
    )
    for number, (width, height) in enumerate([(320, 240), (240, 320), (1280, 720), (320, 240)]):
        [face] = following.faces(np.zeros((height, width, 3), np.uint8), number / 10)
        assert face.box == Box(0, 0, width, height)


class Counts:
    """Finds nobody, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def detect(
        self, image: np.ndarray, max_side: int | None = None, *, upright: bool = False
    ) -> list[Detection]:
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


def test_a_camera_s_time_starts_when_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Video4Linux tells the time since the machine was started."""

    class Camera:
        frames = 0

        def __init__(self, *_: object) -> None:
            pass

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def get(self, what: int) -> float:
            size = {cv2.CAP_PROP_FRAME_WIDTH: 320, cv2.CAP_PROP_FRAME_HEIGHT: 240}
            now = {cv2.CAP_PROP_FPS: 30, cv2.CAP_PROP_POS_MSEC: 5e8 + 40 * self.frames}
            return {**size, **now}.get(what, 0)

        def grab(self) -> bool:
            self.frames += 1
            return self.frames <= 3

        def retrieve(self) -> tuple[bool, np.ndarray]:
            return True, canvas()

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert [frame.time_s for frame in Video(0).frames()] == pytest.approx([0, 0.04, 0.08])


def test_a_copy_of_a_frame_every_quarter_of_an_hour(moving: Path, tmp_path: Path) -> None:
    done = program("analyze", moving, "--every", "1000s", "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    [copy] = (tmp_path / "marked").iterdir()
    assert len(list(Video(copy).frames())) == 1


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ((b"\0\0\0\x10moov" + bytes(8), b"\0\0\0\1mdat" + (20).to_bytes(8, "big") + b"long"), True),
        ((b"\0\0\0\x10moov" + bytes(8), b"\0\0\0\0mdat" + b"to the end"), True),
        ((b"\0\0\0\x10mdatpictures",), False),
    ],
)
def test_the_boxes_of_an_mp4(parts: tuple[bytes, ...], whole: bool, tmp_path: Path) -> None:
    """One with a length of 64 bits, one without an end of its own, and no `moov`."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\1" + b"".join(parts))
    assert is_whole(path) == whole


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"RIFF\x08\0\0\0AVI LIST", True),
        (b"RIFF\x09\0\0\0AVI LIST", False),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x84data", True),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x01\0\0\0\0\0\0\x04data", True),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x85data", False),
        # As long as it lasts, said in one byte and in eight.
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\xff" + b"data" * 50, False),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"data", False),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x66\x84data", False),
        (b"\0\0\1\xbastream", True),
        (b"Gstream", True),
        (b"1234Gstream", True),
        (b"\0\0\0\x10moov" + b"12345678", False),
        (b"\0\0\0\x10ftypisom\0\0\0\1\0\0\0\x10moov1234567", False),
        (b"\0\0\0\x10ftypisom\0\0\0\1\0\0\0\x10moov12345678", True),
        (b"\0\0\0\x10ftypisom\0\0\0\1\0\0\0\4\0\0\0\x10moov12345678", False),
        (b"\0\0\0\x10ftypisom\0\0\0\1\0\0\0\0free12345678", False),
    ],
)
def test_how_long_a_file_says_that_it_is(data: bytes, whole: bool, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(data)
    assert is_whole(tmp_path / "clip") == whole


# -- what OpenCV says of a file, and does with one ------------------------------------------------


class Capture:
    """A file or camera with frames at these times, and what else OpenCV would say of it."""

    def __init__(self, *times_s: float, unread: int = -1, **said: float) -> None:
        self.times_s, self.unread, self.at = times_s, unread, -1
        self.said = {
            getattr(cv2, f"CAP_PROP_{name.upper()}"): value
            for name, value in {"frame_width": 32, "frame_height": 24, "fps": 10, **said}.items()
        }

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_POS_MSEC:
            return 1000 * self.times_s[self.at]
        return self.said.get(what, 0)

    def grab(self) -> bool:
        self.at += 1
        return self.at < len(self.times_s)

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return self.at != self.unread, np.zeros((24, 32, 3), np.uint8)

    def release(self) -> None:
        pass


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Video]:
    def open_as(capture: Capture, data: bytes = b"no container", camera: bool = False) -> Video:
        monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
        (tmp_path / "film").write_bytes(data)
        return Video(0 if camera else tmp_path / "film")

    return open_as


@pytest.mark.parametrize(
    ("said", "camera", "size"),
    [
        ({"sar_num": 4, "sar_den": 3}, False, (43, 24)),
        ({"sar_num": 4, "sar_den": 3, "orientation_meta": 90}, False, (32, 32)),
        ({"sar_num": 4, "sar_den": 3, "orientation_meta": 180}, False, (43, 24)),
        ({"sar_num": 4, "sar_den": 3}, True, (32, 24)),
        ({"sar_num": 5, "sar_den": 1}, False, (32, 24)),  # nobody films like that
        ({"sar_num": 1, "sar_den": 5}, False, (32, 24)),
        ({"sar_num": 1, "sar_den": 0}, False, (32, 24)),
    ],
)
def test_how_wide_pixels_are(
    opened: Callable[..., Video], said: dict[str, float], camera: bool, size: tuple[int, int]
) -> None:
    video = opened(Capture(0.0, **said), camera=camera)
    assert (video.width, video.height) == size
    assert next(video.frames()).image.shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("times_s", "taken"),
    [
        ([0, 0.1, 0.1, 0.3], [0, 0.1, 0.2, 0.3]),
        ([0, 5, 5, 5.3], [0, 5, 5.1, 5.3]),
        ([0, 0, 0], [0, 0.1, 0.2]),  # it does not know
        ([-2, -1.9, 0.2], [0, 0.1, 0.2]),
    ],
)
def test_time_goes_on(
    opened: Callable[..., Video], times_s: list[float], taken: list[float]
) -> None:
    found = [frame.time_s for frame in opened(Capture(*times_s)).frames()]
    assert found == pytest.approx(taken)


def test_a_frame_of_every_tenth_of_a_second_is_every_frame(opened: Callable[..., Video]) -> None:
    """Although three tenths are a little more than 0.3."""
    video = opened(Capture(*(n / 10 for n in range(10))))
    assert [frame.number for frame in video.frames(0.1)] == list(range(10))


WHOLE = b"RIFF\x08\0\0\0AVI LIST"


@pytest.mark.parametrize(
    ("n", "step_s", "data", "breaks_off"),
    [
        (10, 0.1, WHOLE[:-1], True),
        (10, 0.1, WHOLE, False),
        (10, 0.21, WHOLE[:-1], False),  # few, but up to the end
        (19, 0.05, WHOLE[:-1], False),  # all of them, in less time than was thought
        (17, 0.1, WHOLE[:-1], True),
        (18, 0.1, WHOLE[:-1], False),
    ],
)
def test_when_a_film_breaks_off(
    opened: Callable[..., Video], n: int, step_s: float, data: bytes, breaks_off: bool
) -> None:
    """It says that it has twenty frames in two seconds."""
    frames = opened(Capture(*(k * step_s for k in range(n)), frame_count=20), data).frames()
    assert [next(frames).number for _ in range(n)] == list(range(n))
    if breaks_off:
        with pytest.raises(VideoError, match=rf"breaks off after .* of 2\.0 s, {n} frames"):
            next(frames)
    else:
        assert list(frames) == []


def test_a_frame_that_cannot_be_decoded_is_the_end(opened: Callable[..., Video]) -> None:
    video = opened(Capture(0, 0.1, 0.2, 0.3, unread=2))
    assert [frame.number for frame in video.frames()] == [0, 1]


def test_how_many_frames_there_are(opened: Callable[..., Video]) -> None:
    assert opened(Capture(0.0, frame_count=7)).n_frames == 7
    assert opened(Capture(0.0, frame_count=-7)).n_frames is None
    assert opened(Capture(0.0, frame_count=7), camera=True).n_frames is None


def test_frames_that_are_too_large(moving: Path) -> None:
    assert Video(moving, max_pixels=320 * 240).width == 320
    with pytest.raises(VideoError, match="frames of 320x240 pixels"):
        Video(moving, max_pixels=320 * 240 - 1)


def test_who_stops_a_video_gets_no_further_frame(moving: Path) -> None:
    video = Video(moving)
    frames = video.frames()
    next(frames)
    video.stop()
    assert list(frames) == []


def test_a_film_is_let_go_of_once_nothing_decodes_it(opened: Callable[..., Video]) -> None:
    """OpenCV crashes where it is not."""
    before, decodes = set(threading.enumerate()), threading.Event()
    alive: list[set[threading.Thread]] = []

    class Slow(Capture):
        def retrieve(self) -> tuple[bool, np.ndarray]:
            if self.at == 1:
                decodes.set()
                time.sleep(0.05)
            return super().retrieve()

        def release(self) -> None:
            alive.append(set(threading.enumerate()) - before)

    frames = opened(Slow(0, 0.1, 0.2)).frames()
    next(frames)
    assert decodes.wait(10)
    frames.close()
    assert alive == [set()]


def test_a_frame_of_another_size_is_brought_to_the_first_one_s(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    for number, side in enumerate((64, 32, 96)):
        writer.write(np.full((side, side, 3), 90 + 50 * number, np.uint8), number / 10)
    writer.close(done=True)
    frames = [frame.image for frame in Video(tmp_path / "copy.mp4").frames()]
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 3
    assert [int(frame.mean()) for frame in frames] == pytest.approx([90, 140, 190], abs=6)


def test_a_copy_that_is_not_done_or_not_whole_leaves_nothing(tmp_path: Path) -> None:
    for done in (False, True):
        writer = VideoWriter(tmp_path / "copy.mp4", 10)
        writer.write(canvas(), 0.0)
        writer._written += done  # as where the disk is full, which OpenCV does not tell
        if done:
            with pytest.raises(VideoError, match="expected 2 frames in it, found 1: is the disk"):
                writer.close(done=True)
        else:
            writer.close(done=False)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("works", ["copy", "aac", None])
def test_sound_is_copied_or_else_encoded_or_else_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: str | None
) -> None:
    codecs: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        codecs.append(command[command.index("-c:a") + 1])
        both = next(Path(word) for word in command if word.endswith(".sound.mp4"))
        both.write_bytes(b"with sound")
        return subprocess.CompletedProcess(command, int(codecs[-1] != works))

    monkeypatch.setattr(shutil, "which", lambda name: name if name == "ffmpeg" else None)
    monkeypatch.setattr(subprocess, "run", run)
    writer = VideoWriter(tmp_path / "copy.mp4", 10, tmp_path / "film.mp4")
    writer.write(canvas(), 0.0)
    writer.close(done=True)
    assert codecs == (["copy"] if works == "copy" else ["copy", "aac"])
    assert writer.lost_sound == (works is None)
    assert (tmp_path / "copy.mp4").read_bytes().startswith(b"with sound") == (works is not None)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.mp4"]


@pytest.mark.parametrize(
    ("said", "late_s"),
    [
        (b'{"streams": [{"start_time": "2.5"}], "format": {"start_time": "0.5"}}', 2.0),
        (b'{"streams": [{"start_time": "0.5"}], "format": {"start_time": "2.5"}}', 0.0),
        (b'{"streams": [{}], "format": {"start_time": "2.5"}}', 0.0),
        (b'{"streams": [], "format": {"start_time": "2.5"}}', 0.0),
        (b'{"streams": [{"start_time": "N/A"}], "format": {"start_time": "2.5"}}', 0.0),
        (b"", 0.0),
    ],
)
def test_what_ffprobe_says(monkeypatch: pytest.MonkeyPatch, said: bytes, late_s: float) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, said)
    )
    assert picture_late_s(Path("film.mp4")) == late_s
