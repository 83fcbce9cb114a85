"""Videos: every frame with its time, files that break off, as cameras and phones write them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import ffmpeg, needs_ffmpeg
from films import FPS, SIZE, canvas, write_video
from semblante import Analyzer, OptionError, VideoError
from semblante.recognise.video import (
    Video,
    VideoWriter,
    is_whole,
)


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


def test_frames_that_are_passed_by_are_marked(moving: Path) -> None:
    found = [(frame.number, frame.passed) for frame in Video(moving).frames(0.5, 0.15)][:12]
    assert found == [(n, n % 10 != 0) for n in (0, 3, 6, 9, 10, 13, 16, 19, 20, 23, 26, 29)]
    assert not any(frame.passed for frame in Video(moving).frames(None, 0.1))


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


def test_frames_are_read_once(moving: Path) -> None:
    video = Video(moving)
    assert len(list(video.frames())) == 60
    with pytest.raises(VideoError, match="its frames have been read: open it again"):
        list(video.frames())


def test_what_is_wrong_is_said_before_the_first_frame(moving: Path) -> None:
    analyzer = Analyzer("rcnn-small-int8")
    with pytest.raises(OptionError, match="every_s"):
        analyzer.analyze_video(moving, every_s=0)
    with pytest.raises(VideoError, match=r"no\.mp4: cannot be read"):
        analyzer.analyze_video("no.mp4")


def test_a_file_that_breaks_off_gives_its_frames_first(tmp_path: Path, face: np.ndarray) -> None:
    whole = write_video(tmp_path / "whole.avi", 40, lambda n: canvas((face, 5 * n, 60)), "MJPG")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(
        VideoError, match=r"cut\.avi: breaks off after (0\.9|1\.0) of 2\.0 s, \d+ frames"
    ):
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


# -- files as cameras and phones write them -----------------------------------------------------


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
@pytest.mark.parametrize("ending", ["mkv", "webm", "avi", "mov", "mpg"])
def test_other_containers(uneven: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    ffmpeg("-i", uneven, "-an", "-r", 25, "-t", 1, path)
    rows = list(Analyzer().analyze_video(path, every_s=0.2))
    assert len(rows) in (5, 6)
    assert [len(row.faces) for row in rows] == [1] * len(rows)


@needs_ffmpeg
def test_what_lies_behind_damage(tmp_path: Path) -> None:
    film, size = tmp_path / "film.mp4", 50_000
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=20:duration=5", "-g", 20, film)
    data = bytearray(film.read_bytes())
    assert len(data) > 3 * size
    data[size : size + 10_000] = np.random.default_rng(0).bytes(10_000)
    film.write_bytes(data)
    frames = list(Video(film).frames())
    assert 60 <= len(frames) < 100
    assert frames[-1].time_s == pytest.approx(4.95, abs=0.01)


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


def test_whatever_goes_wrong_in_decoding_is_heard_of(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("no such conversion")

    monkeypatch.setattr("semblante.recognise.video.cv2.cvtColor", fail)
    with pytest.raises(VideoError, match="cannot be decoded: no such conversion"):
        list(Video(moving).frames())


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


@pytest.mark.parametrize(
    ("n", "said", "camera", "taken"),
    [
        (40, {}, False, [0, 0.1, 4.2]),
        (60, {}, False, [0, 0.1]),  # nothing says that there is more
        (60, {"frame_count": 63}, False, [0, 0.1, 6.2]),
        (20_000, {"frame_count": 90_000}, False, [0, 0.1]),
        (1, {}, True, [0, 0.1]),
    ],
)
def test_packets_without_a_picture(
    opened: Callable[..., Video], n: int, said: dict[str, float], camera: bool, taken: list[float]
) -> None:
    """Theora repeats a picture by them, and damaged ones give none: grab fails, and goes on."""

    class Empty(Capture):
        def grab(self) -> bool:
            return super().grab() and not 2 <= self.at < 2 + n

    video = opened(Empty(*(k / 10 for k in range(n + 3)), **said), WHOLE, camera=camera)
    assert [frame.time_s for frame in video.frames()] == pytest.approx(taken)


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
