"""Videos: every frame with its time, files that break off, as cameras and phones write them."""

from __future__ import annotations

import gc
import itertools
import math
import os
import shutil
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from av import VideoFrame

from conftest import ffmpeg, needs_ffmpeg
from films import FPS, SIZE, canvas, write_video
from semblante import Analyzer, ImageError, OptionError, VideoError
from semblante.images import MAX_PIXELS
from semblante.recognise.video import Video
from semblante.recognise.video_file import (
    Clock,
    VideoFile,
    _colorspace,
    _quarter_turns,
    packets_of,
    usable_rate,
)
from semblante.recognise.video_writer import VideoWriter


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
    found = [(frame.number, frame.in_between) for frame in Video(moving).frames(0.5, 0.15)][:12]
    assert found == [(n, n % 10 != 0) for n in (0, 3, 6, 9, 10, 13, 16, 19, 20, 23, 26, 29)]
    assert not any(frame.in_between for frame in Video(moving).frames(None, 0.1))


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
    for every_s in (0.0, -1.0, float("nan"), 1e-320):
        with pytest.raises(OptionError, match="every_s of at least 1e-06"):
            next(Video(moving).frames(every_s))
    with pytest.raises(OptionError, match="every_s in seconds, found infinity"):
        next(Video(moving).frames(float("inf")))
    with pytest.raises(OptionError, match="detect_every of at least 1"):
        next(Analyzer().analyze_video(moving, detect_every=0))
    for seconds in (-0.1, float("nan")):
        with pytest.raises(OptionError, match="search_every_s of at least 0"):
            next(Analyzer().analyze_video(moving, search_every_s=seconds))


def test_names_that_look_like_a_protocol(
    tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(moving, "12:30.mp4")
    assert len(list(Video("12:30.mp4").frames())) == 60
    writer = VideoWriter(Path("marked:12/12:30.mp4"), FPS, Video("12:30.mp4"))
    writer.write(canvas(), 0.0)
    writer.close(done=True)
    assert len(list(Video("marked:12/12:30.mp4").frames())) == 1
    Path("a:b.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"^a:b\.mp4: not a video"):
        Video("a:b.mp4")


def test_a_name_that_is_not_utf8(tmp_path: Path, moving: Path) -> None:
    folder = tmp_path / os.fsdecode(b"latin\xe9")
    folder.mkdir()
    path = folder / os.fsdecode(b"\xe9.mp4")
    path.write_bytes(moving.read_bytes())
    assert len(list(Video(path).frames())) == 60
    writer = VideoWriter(folder / "copy.mp4", FPS, Video(path))
    writer.write(canvas(), 0.0)
    writer.close(done=True)
    assert len(list(Video(folder / "copy.mp4").frames())) == 1


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "avi"])
def test_a_video_is_told_from_a_broken_picture(moving: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"film.{ending}"
    ffmpeg("-i", moving, "-frames:v", 3, path)
    for source in (path, path.read_bytes()):
        with pytest.raises(ImageError, match="expected a picture, found a video"):
            Analyzer("rcnn-small-int8").analyze(source)


def test_frames_are_read_once(moving: Path) -> None:
    video = Video(moving)
    assert len(list(video.frames())) == 60
    with pytest.raises(VideoError, match="its frames have been read: open it again"):
        list(video.frames())


def test_what_is_wrong_is_said_before_the_first_frame(moving: Path) -> None:
    analyzer = Analyzer("rcnn-small-int8")
    with pytest.raises(OptionError, match="every_s"):
        analyzer.analyze_video(moving, every_s=0)
    with pytest.raises(OptionError, match="every_s of at least 1e-06, found '1'"):
        analyzer.analyze_video(moving, every_s="1")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="detect_every of at least 1, found '5'"):
        analyzer.analyze_video(moving, detect_every="5")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="search_every_s of at least 0, found None"):
        analyzer.analyze_video(moving, search_every_s=None)  # type: ignore[arg-type]
    assert next(analyzer.analyze_video(moving, every_s=Fraction(1, 2), search_every_s=math.inf))
    with pytest.raises(VideoError, match=r"no\.mp4: cannot be read"):
        analyzer.analyze_video("no.mp4")
    for nothing in (True, None, 1.5):
        with pytest.raises(OptionError, match="expected a video's path or a camera's number"):
            analyzer.analyze_video(nothing)  # type: ignore[arg-type]
    with pytest.raises(VideoError, match="camera 98: there is no such camera"):
        analyzer.analyze_video(np.int64(98))  # type: ignore[arg-type]


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


def test_frames_do_not_wait_for_garbage_to_be_collected(moving: Path) -> None:
    """Of 4K films they would fill the memory by then."""

    def held() -> int:
        return sum(type(one) is VideoFrame for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before, video = held(), Video(moving)
        assert sum(1 for _ in video.frames()) > 50
        kept = held() - before  # the first, which the video keeps
        del video
        left = held() - before
    finally:
        gc.enable()
    assert (kept <= 2, left) == (True, 0)


def test_no_video_leaves_threads(moving: Path) -> None:
    """Those that scale a frame live as long as it does."""

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    list(Video(moving).frames())  # OpenCV's, which stay
    gc.collect()
    gc.disable()
    try:
        before = threads()
        for _ in range(5):
            list(Video(moving).frames())
        left = threads() - before
    finally:
        gc.enable()
    assert left <= 2  # one that has just ended may still be there


def test_whoever_only_looks_whether_it_is_one_keeps_nothing(moving: Path) -> None:
    gc.disable()  # it would free circles, some time
    try:
        film = VideoFile(moving, MAX_PIXELS, threading.Event())
        film.close()
        gone = weakref.ref(film)
        del film
        assert gone() is None
    finally:
        gc.enable()


@contextmanager
def closes(path: Path) -> Iterator[None]:
    """Check that the file is closed afterwards, without garbage being collected."""

    def is_open() -> bool:
        links = Path("/proc/self/fd").iterdir()
        return any(os.path.realpath(link) == str(path.resolve()) for link in links)

    gc.collect()
    gc.disable()
    try:
        yield
        assert not is_open()
    finally:
        gc.enable()


def test_whoever_asks_for_no_frame_leaves_no_file_open(moving: Path) -> None:
    analyzer = Analyzer("rcnn-small-int8")
    for analyze in (analyzer.analyze_video, analyzer.analyze_video_with_pixels):
        for asked in (0, 1):  # results before it is closed
            results = analyze(moving)
            for _ in range(asked):
                next(results)
            with closes(moving):
                results.close()
                del results  # from Python 3.12 on, one that has not begun is freed only now
            with closes(moving):
                analyze(moving)
    with closes(moving):
        Video(moving)
    video = Video(moving)
    analyzer.analyze_video(video).close()  # a video of one's own stays open until it is read
    results = analyzer.analyze_video(video)
    next(results)
    with pytest.raises(VideoError, match="its frames have been read"):
        next(analyzer.analyze_video(video))
    assert len(list(results)) > 10  # it goes on


def test_a_video_is_closed_where_its_with_ends(moving: Path) -> None:
    with closes(moving), Video(moving) as video:
        assert video.width == 320


def test_a_video_is_closed_on_request(moving: Path) -> None:
    video = Video(moving)
    with closes(moving):
        video.close()
        video.close()
    with pytest.raises(VideoError, match="its frames have been read: open it again"):
        next(video.frames())
    video = Video(moving)
    frames = video.frames()
    next(frames)
    with closes(moving):
        video.close()
        assert list(frames) == []


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


TONE = ("-f", "lavfi", "-i", "sine=440:duration=4")


def moving_pattern(seconds: int) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc2=size=320x240:rate=25:duration={seconds}")


@needs_ffmpeg
def test_a_stream_with_a_hole(tmp_path: Path) -> None:
    """As of a recording that was disturbed: FFmpeg gives up for a while, and there is more."""
    film = tmp_path / "film.ts"
    ffmpeg(*moving_pattern(20), "-g", 25, "-b:v", "400k", film)
    data = bytearray(film.read_bytes())
    middle, size = len(data) // 2 // 188 * 188, 188 * 800
    data[middle : middle + size] = bytes(size)
    film.write_bytes(data)
    times = [frame.time_s for frame in Video(film).frames()]
    assert len(times) > 300
    assert np.all(np.diff(times) > 0)
    assert times[-1] == pytest.approx(19.96, abs=0.1)
    film.write_bytes(bytes(data[: middle + size]))  # and where nothing comes behind it
    times = [frame.time_s for frame in Video(film).frames()]
    assert np.isfinite(times).all()
    assert times[-1] == pytest.approx(10, abs=1)


@needs_ffmpeg
def test_whole_films_that_look_as_if_they_broke_off(tmp_path: Path) -> None:
    pause = "select='lt(t,2)+gt(t,3.7)',setpts='if(gt(T,2),PTS+10/TB,PTS)'"
    ffmpeg(*moving_pattern(4), "-vf", pause, "-vsync", "vfr", "-c:v", "libx264", tmp_path / "a.mp4")
    assert [frame.time_s for frame in Video(tmp_path / "a.mp4").frames()][-1] == 13.96
    ffmpeg(*moving_pattern(4), *TONE, "-output_ts_offset", 5, "-c:v", "mpeg4", tmp_path / "b.mkv")
    assert len(list(Video(tmp_path / "b.mkv").frames())) == 100
    assert Video(tmp_path / "b.mkv").duration_s == pytest.approx(4, abs=0.1)
    for ending in ("mpg", "ts"):  # joined, the longer one first
        parts = [tmp_path / f"{seconds}.{ending}" for seconds in (8, 2)]
        for part, seconds in zip(parts, (8, 2), strict=True):
            ffmpeg(*moving_pattern(seconds), "-c:v", "mpeg2video", part)
        joined = tmp_path / f"joined.{ending}"
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        times = [frame.time_s for frame in Video(joined).frames()]
        np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-4)
        assert times[-1] == pytest.approx(10, abs=0.3)


@needs_ffmpeg
def test_an_avi_says_when_frames_are_decoded_not_when_they_are_shown(tmp_path: Path) -> None:
    ffmpeg(*moving_pattern(2), "-c:v", "libx264", "-bf", 3, tmp_path / "film.avi")
    times = [frame.time_s for frame in Video(tmp_path / "film.avi").frames()]
    assert times == pytest.approx([n / 25 for n in range(50)])


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
    # What is far larger than it may be is not decoded, whatever the file announced.
    some, video = [], Video(tmp_path / "clip.avi", max_pixels=320 * 240)
    with pytest.raises(VideoError, match=r"breaks off after .* 4 frames"):
        some.extend(frame.image.shape for frame in video.frames())
    assert set(some) <= {(240, 320, 3)}


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
@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        *itertools.product(("mp4", "mov", "mkv", "avi"), ("mpeg4", "libx264", "mjpeg")),
        ("mkv", "libvpx"), ("avi", "libvpx"),
    ],
)  # fmt: skip
def test_whole_and_cut_off(uneven: Path, tmp_path: Path, ending: str, codec: str) -> None:
    path = tmp_path / f"clip.{ending}"
    ffmpeg("-i", uneven, "-c:v", codec, "-movflags", "+faststart", path)
    assert len(list(Video(path).frames())) >= 30
    whole = path.read_bytes()
    half = len(whole) // 2
    for cut in (whole[:half], whole[:half] + bytes(len(whole) - half)):  # as interrupted copies are
        path.write_bytes(cut)
        with pytest.raises(VideoError, match=r"breaks off after \d\.\d of 3\.\d s, \d+ frames"):
            list(Video(path).frames())


@needs_ffmpeg
def test_frames_before_a_packet_that_was_cut_off_are_not_lost(tmp_path: Path) -> None:
    """The decoder's threads still hold them when its error comes."""
    film = tmp_path / "film.mp4"
    ffmpeg(*moving_pattern(4), "-c:v", "libx264", "-g", 25, "-movflags", "+faststart", film)
    whole = film.read_bytes()
    for share in (0.5, 0.6, 0.7, 0.8):
        film.write_bytes(whole[: round(share * len(whole))])
        with av.open(str(film)) as container:
            whole_packets = [p for p in packets_of(container) if p.size and not p.is_corrupt]
        frames = Video(film).frames()
        assert [next(frames).number for _ in whole_packets] == list(range(len(whole_packets)))
        with pytest.raises(VideoError, match="breaks off"):
            next(frames)


@needs_ffmpeg
def test_of_several_pictures_players_show_the_default_one(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    sources = ("-f", "lavfi", "-i", "color=s=64x48:r=5:d=1", *moving_pattern(1))
    chosen = ("-disposition:v:0", "0", "-disposition:v:1", "default")
    ffmpeg(*sources, "-map", "0:v", "-map", "1:v", *chosen, film)
    assert (Video(film).width, Video(film).height) == (320, 240)


@needs_ffmpeg
@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_film_is_seen_as_its_camera_was_held(moving: Path, tmp_path: Path, turned: int) -> None:
    path = tmp_path / "turned.mp4"
    ffmpeg("-i", moving, "-c", "copy", "-metadata:s:v", f"rotate={turned}", path)
    video, [first, *_] = Video(path), Video(moving).frames()
    assert (video.width, video.height) == (SIZE if turned == 180 else SIZE[::-1])
    frame = next(video.frames())
    np.testing.assert_array_equal(frame.image, np.rot90(first.image, turned // 90))


@needs_ffmpeg
@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda image: image[::-1, ::-1].transpose(1, 0, 2)),
    ],
    ids=["left and right", "up and down", "transposed", "transposed the other way"],
)  # fmt: skip
def test_a_film_that_is_to_be_mirrored(
    moving: Path, tmp_path: Path, matrix: tuple[int, ...], shown: Callable[..., np.ndarray]
) -> None:
    """As some recorders of one's own face have it."""
    path = tmp_path / "mirrored.mp4"
    ffmpeg("-i", moving, "-c", "copy", path)
    data = bytearray(path.read_bytes())
    a, b, c, d = (number << 16 for number in matrix)
    at = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2: the matrix of the track
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    [first, *_], [seen, *_] = Video(moving).frames(), Video(path).frames()
    np.testing.assert_array_equal(seen.image, shown(first.image))


def test_a_film_whose_camera_was_turned_is_not_stretched(tmp_path: Path, face: np.ndarray) -> None:
    """As a browser records it while a telephone is turned."""
    lying = canvas((face, 60, 60))
    standing = np.rot90(canvas((np.rot90(face, -1), 60, 60)))
    data = b""
    for picture in (lying, standing):
        data += cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    (tmp_path / "clip.avi").write_bytes(data)
    first, second = (frame.image for frame in Video(tmp_path / "clip.avi").frames())
    assert first.shape == second.shape == (240, 320, 3)
    assert not second[:, :70].any()
    assert not second[:, -70:].any()
    expected = cv2.resize(standing, (180, 240), interpolation=cv2.INTER_AREA)
    assert abs(second[:, 70:250].astype(int) - expected).mean() < 8


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ((32, 32), (384, 216), (32, 18)),
        ((384, 216), (43, 24), (384, 216)),  # the same shape, but for rounding
        ((320, 240), (480, 360), (320, 240)),
        ((100, 100), (800, 4), (100, 1)),
    ],
)
def test_frames_of_other_shapes(
    tmp_path: Path, first: tuple[int, int], second: tuple[int, int], shown: tuple[int, int]
) -> None:
    data = b""
    for width, height in (first, second):
        data += cv2.imencode(".jpg", np.full((height, width, 3), 200, np.uint8))[1].tobytes()
    (tmp_path / "clip.avi").write_bytes(data)
    _, frame = Video(tmp_path / "clip.avi").frames()
    assert frame.image.shape == (first[1], first[0], 3)
    lit = frame.image[..., 0] > 100
    assert (lit.any(axis=0).sum(), lit.any(axis=1).sum()) == shown


@pytest.mark.parametrize(
    ("size", "told", "taken"),
    [((1280, 720), 2, 1), ((720, 1280), 2, 1), ((720, 576), 2, 2), ((1280, 720), 5, 5)],
)
def test_colours_of_large_films_that_do_not_tell_theirs(
    size: tuple[int, int], told: int, taken: int
) -> None:
    width, height = size
    frame = SimpleNamespace(width=width, height=height, colorspace=told)
    assert _colorspace(frame) == taken


@needs_ffmpeg
def test_green_is_as_green_in_a_large_film(tmp_path: Path) -> None:
    film = tmp_path / "green.mkv"
    ffmpeg(
        "-f", "lavfi", "-i", "color=0x20a040:s=1280x720:r=10:d=0.2", "-vf",
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-c:v", "mpeg4", "-q:v", "1",
        film,
    )  # fmt: skip
    [frame, *_] = Video(film).frames()
    assert abs(frame.image.mean(axis=(0, 1)) - [0x20, 0xA0, 0x40]).max() < 6


@pytest.mark.parametrize(
    ("degrees", "turns"), [(-180, -2), (-91, -1), (-1, 0), (44, 0), (89, 1), (180, 2), (269, 3)]
)
def test_a_camera_that_was_held_slightly_askew(degrees: int, turns: int) -> None:
    assert _quarter_turns(SimpleNamespace(rotation=degrees)) == turns


@needs_ffmpeg
def test_a_song_with_a_cover_is_no_film(tmp_path: Path) -> None:
    cover, song = tmp_path / "cover.png", tmp_path / "song.m4a"
    cv2.imwrite(str(cover), canvas())
    ffmpeg(
        "-f", "lavfi", "-i", "sine=440:duration=1", "-i", cover, "-map", "0", "-map", "1",
        "-c:v", "png", "-disposition:v:0", "attached_pic", song,
    )  # fmt: skip
    with pytest.raises(VideoError, match=r"song\.m4a: there is only sound in it"):
        Video(song)


@needs_ffmpeg
def test_a_frame_may_not_be_enlarged_beyond_the_limit(uneven: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mov"
    ffmpeg("-i", uneven, "-vf", "setsar=4/3", "-c:v", "mjpeg", film)
    assert (Video(film).width, Video(film).height) == (427, 240)
    with pytest.raises(VideoError, match="frames of 427x240 pixels"):
        Video(film, max_pixels=320 * 240)


@needs_ffmpeg
def test_a_playlist_is_not_followed(uneven: Path, tmp_path: Path) -> None:
    """Sent to a server, it would show what lies beside it there."""
    ffmpeg("-i", uneven, "-c", "copy", tmp_path / "film.mp4")
    ffmpeg("-i", uneven, "-c:v", "mpeg2video", "-r", "25", tmp_path / "film.ts")
    listed = tmp_path / "listed.mp4"
    listed.write_text("ffconcat version 1.0\nfile film.mp4\n")
    played = tmp_path / "played.m3u8"
    played.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfilm.ts\n#EXT-X-ENDLIST\n")
    address = tmp_path / "address.m3u8"
    address.write_text(played.read_text().replace("film.ts", "http://localhost/film.ts"))
    itself = tmp_path / "itself.mp4"
    itself.write_text("ffconcat version 1.0\nfile itself.mp4\n")
    for path in (listed, played, address, itself):
        with pytest.raises(VideoError, match=rf"{path.name}: names other files, as a playlist"):
            Video(path)
    assert Video(tmp_path / "film.ts").fps > 0


@needs_ffmpeg
def test_pictures_and_sound_of_an_unknown_kind(uneven: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    ffmpeg("-i", uneven, "-c:v", "libx264", "-c:a", "copy", film)
    data = film.read_bytes()
    film.write_bytes(data.replace(b"avc1", b"zzz1"))
    with pytest.raises(VideoError, match=r"film\.mp4: not a video that can be read"):
        Video(film)
    film.write_bytes(data.replace(b"mp4a", b"zzza").replace(b"esds", b"zzzs"))
    video = Video(film)
    writer = VideoWriter(tmp_path / "copy.mp4", FPS, video)
    for frame in video.frames():
        writer.write(frame.image, frame.time_s)
    writer.close(done=True)
    assert writer.lost_sound
    assert len(list(Video(writer.path).frames())) >= 30


def test_whatever_goes_wrong_in_decoding_is_heard_of(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such conversion")

    monkeypatch.setattr("semblante.recognise.video_file.np.rot90", fail)
    with pytest.raises(VideoError, match="cannot be decoded: no such conversion"):
        list(Video(moving).frames())


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ([0, 0.1, 0.1, 0.2], [0, 0.1, 0.101, 0.2]),  # none after it is late for that
        ([0, 5, 4.9, 5.3], [0, 5, 5.001, 5.3]),
        ([None, None, None], [0, 0.1, 0.2]),  # nothing is known
        ([0, 0, 0, 0, 0, 0], [0, 0.001, 0.002, 0.102, 0.202, 0.302]),  # or nothing that is true
        ([100, 100.5, None, 100.7], [0, 0.5, 0.6, 0.7]),
        ([8, 8.4, 3, 3.3, 3.2, 3.5], [0, 0.4, 0.5, 0.8, 0.801, 1.0]),  # films that were joined
    ],
)
def test_time_goes_on(said: list[float | None], taken: list[float]) -> None:
    clock = Clock(10)
    assert [clock.next(one) for one in said] == pytest.approx(taken)


@pytest.mark.parametrize(("said", "taken"), [(24, 24), (240, 240), (1000, 25), (0, 25), (-1, 25)])
def test_a_rate_that_nobody_films_at(said: float, taken: float) -> None:
    assert usable_rate(said) == taken


@needs_ffmpeg
def test_a_frame_of_every_tenth_of_a_second_is_every_frame(tmp_path: Path) -> None:
    """Although three tenths are a little more than 0.3."""
    film = tmp_path / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1", film)
    assert [frame.number for frame in Video(film).frames(0.1)] == list(range(10))


@needs_ffmpeg
def test_how_many_frames_there_are(tmp_path: Path) -> None:
    """By their number where the file tells, else by its length and rate."""
    for ending in ("mp4", "mkv"):
        film = tmp_path / f"film.{ending}"
        ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=2", film)
        assert (Video(film).n_frames, Video(film).duration_s) == (20, 2.0)
    stream = tmp_path / "film.h264"  # which does not say either
    ffmpeg("-i", film, "-c:v", "libx264", stream)
    assert (Video(stream).n_frames, Video(stream).duration_s) == (None, None)
    assert len(list(Video(stream).frames())) == 20


def test_frames_that_are_too_large(moving: Path) -> None:
    assert Video(moving, max_pixels=320 * 240).width == 320
    with pytest.raises(VideoError, match="frames of 320x240 pixels"):
        Video(moving, max_pixels=320 * 240 - 1)


def test_a_video_is_stopped_while_its_first_frame_is_looked_for(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, decoded = threading.Event(), []

    def no_frame(film: VideoFile, packet: object) -> Iterator[VideoFrame]:
        decoded.append(packet)
        if len(decoded) == 3:
            stopped.set()
        return iter(())

    monkeypatch.setattr(VideoFile, "_frames_of", no_frame)
    with pytest.raises(VideoError, match="no frame in it can be read"):
        Video(moving, stopped=stopped)
    assert len(decoded) == 3


def test_who_stops_a_video_gets_no_further_frame(moving: Path) -> None:
    video = Video(moving)
    frames = video.frames()
    next(frames)
    video.stop()
    assert list(frames) == []


def test_a_film_is_let_go_of_once_nothing_decodes_it(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg crashes where it is not."""
    before, decodes = set(threading.enumerate()), threading.Event()
    alive: list[set[threading.Thread]] = []
    pixels, close = VideoFile._pixels, VideoFile.close

    def slow(film: VideoFile, frame: VideoFrame) -> np.ndarray:
        if frame.time > 0:
            decodes.set()
            time.sleep(0.05)
        return pixels(film, frame)

    def closed(film: VideoFile) -> None:
        alive.append(set(threading.enumerate()) - before)
        close(film)

    monkeypatch.setattr(VideoFile, "_pixels", slow)
    monkeypatch.setattr(VideoFile, "close", closed)
    frames = Video(moving).frames()
    next(frames)
    assert decodes.wait(10)
    frames.close()
    assert alive == [set()]
