"""Cameras: their own clock, their newest frames, and what is said when they are gone."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from conftest import EXAMPLE
from films import canvas
from semblante import Analyzer, VideoError
from semblante.recognise.camera import Camera
from semblante.recognise.video import Frame, Video, _NewestFrame


class UnpluggedCamera:
    """Instead of OpenCV's: gives one frame, then more when it is told to, 40 ms apart by its clock;
    after `n_frames` it is gone."""

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self.frames = 0
        self.is_released = False
        self._allowed = 1
        self._asked = 0
        self._changed = threading.Condition()

    def give(self, count: int) -> None:
        """Give so many more frames, and wait until the last of them has been taken over."""
        with self._changed:
            self._allowed = min(self.n_frames, self._allowed + count)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._asked > self._allowed, timeout=60)

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        size = {cv2.CAP_PROP_FRAME_WIDTH: 320, cv2.CAP_PROP_FRAME_HEIGHT: 240}
        now = {cv2.CAP_PROP_FPS: 30, cv2.CAP_PROP_POS_MSEC: 5e8 + 40 * self.frames}
        return {**size, **now}.get(what, 0)

    def grab(self) -> bool:
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            is_gone = self.frames == self.n_frames
            assert is_gone or self._changed.wait_for(lambda: self.frames < self._allowed, 60)
            self.frames += not is_gone
        return not is_gone

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, canvas()

    def release(self) -> None:
        self.is_released = True


def test_a_camera_s_time_starts_when_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Video4Linux tells the time since the machine was started."""
    camera = UnpluggedCamera(n_frames=3)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    frames = Video(0).frames()
    times = []
    for _ in range(3):
        times.append(next(frames).time_s)
        camera.give(1)
    assert times == pytest.approx([0, 0.04, 0.08])
    with pytest.raises(VideoError, match="camera 0: it gives no more frames: is it still there"):
        next(frames)


def test_the_newest_frame_that_was_asked_for_waits() -> None:
    """One that is only passed by does not take its place."""
    newest, pixels = _NewestFrame(), canvas()
    asked, later = (Frame(number, number / 10, pixels) for number in (0, 2))
    passed = Frame(1, 0.1, pixels, in_between=True)
    for come, waiting in (
        ((asked, passed), asked),
        ((asked, passed, later), later),
        ((passed, later), later),
        ((passed,), passed),
    ):
        for frame in come:
            newest.put(frame)
        assert newest.get_nowait() is waiting
        assert newest.empty()


@pytest.mark.parametrize("asked", [0, 1])
def test_a_camera_is_released_even_if_no_frame_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    camera = UnpluggedCamera(n_frames=2)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    results = Analyzer("rcnn-small-int8").analyze_video(0)
    for _ in range(asked):
        next(results)
        camera.give(1)
    results.close()
    del results  # from Python 3.12 on, one that has not begun is freed only now
    assert camera.is_released


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_a_camera_tells_no_time_a_clock_does(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    camera = UnpluggedCamera(n_frames=4)
    monkeypatch.setattr(camera, "grab", lambda: True)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    monkeypatch.setattr(sys, "platform", platform)
    moments = iter([70.0, 70.5, 70.75, 72.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(moments))
    times = [time_s for time_s, _ in itertools.islice(Camera(0).pictures(), 4)]
    assert times == [0, 0.5, 0.75, 2]


@pytest.mark.parametrize(("platform", "after"), [("darwin", 3), ("darwin", None), ("linux", None)])
def test_macos_is_given_time_to_ask_for_permission(
    monkeypatch: pytest.MonkeyPatch, platform: str, after: int | None
) -> None:
    """`after`: attempts before the user agrees; None: they do not."""
    attempts = 0
    slept: list[float] = []

    class Asking(UnpluggedCamera):
        def isOpened(self) -> bool:  # noqa: N802
            return after is not None and attempts > after

    def capture(_: int) -> Asking:
        nonlocal attempts
        attempts += 1
        return Asking(n_frames=1)

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, "sleep", slept.append)
    if after is not None:
        assert Camera(0).name == "camera 0"
        assert len(slept) == after
        return
    said = "allow it in the dialog that asks" if platform == "darwin" else "privacy settings"
    with pytest.raises(VideoError, match=f"camera 0: there is no such camera, .*{said}"):
        Camera(0)
    assert sum(slept) == (15 if platform == "darwin" else 0)


def test_opencv_is_told_to_open_cameras_of_windows_quickly_before_it_is_loaded() -> None:
    code = """
import os, sys, importlib.abc
import numpy

class Asked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "cv2":
            print(os.environ["OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS"])
            os._exit(0)

sys.stdout.reconfigure(write_through=True)
sys.meta_path.insert(0, Asked())
sys.platform = "win32"
import semblante
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_who_is_slower_than_a_camera_sees_its_newest_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a film's frames wait, however long it takes."""
    camera = UnpluggedCamera(n_frames=61)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    numbers = []
    with suppress(VideoError):  # it was unplugged
        for frame in Video(0).frames():
            numbers.append(frame.number)
            camera.give(10)  # while this one is worked on
    assert numbers == [0, 10, 20, 30, 40, 50, 60]


class NetworkCamera(BaseHTTPRequestHandler):
    """Sends a JPEG after the other, as such cameras do, and then no more."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        picture = EXAMPLE.read_bytes()
        head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        for _ in range(20):
            self.wfile.write(head.encode() + picture + b"\r\n")
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        pass


def test_a_camera_in_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells no time: a clock does, by which its frames are half a second apart."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    clock = SimpleNamespace(perf_counter=itertools.count(70.0, 0.5).__next__)
    monkeypatch.setattr("semblante.recognise.camera.time", clock)
    with ThreadingHTTPServer(("127.0.0.1", 0), NetworkCamera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        address = f"http://some@one:secret@{host}/camera?password=secret"
        analyzer = Analyzer()
        video = Video(address)
        assert (video.name, video.is_camera) == (f"http://{host}", True)
        found = analyzer.analyze_video(video)
        first = next(found)
        assert (first.width, first.height, first.path) == (512, 512, None)
        seen = {first.frame: first.time_s}
        with pytest.raises(VideoError, match="it gives no more frames: is it still there") as ended:
            seen.update((analysis.frame, analysis.time_s) for analysis in found)
        server.shutdown()
    assert seen == {frame: 0.5 * frame for frame in sorted(seen)}
    assert max(seen) >= 10  # of twenty
    assert "secret" not in str(ended.value)
    with pytest.raises(VideoError, match=f"^http://{host}: no camera answers there"):
        Video(address)
