"""The live stream: frames in, faces out."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from conftest import EXAMPLE, wait_until
from semblante import Analyzer
from semblante.recognise.following import FaceFollower

pytest.importorskip("fastapi")
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from api import HERE, STREAM, figure, jpeg, small
from semblante.server import stream as stream_module
from semblante.server.app import create_app
from semblante.server.settings import Settings
from semblante.server.stream import _analyzed


def test_frames_in_faces_out(client: TestClient) -> None:
    picture = EXAMPLE.read_bytes()
    read, failed = (f'semblante_frames_total{{result="{result}"}}' for result in ("read", "failed"))
    before = figure(client, read), figure(client, failed)
    with client.websocket_connect(STREAM, subprotocols=["semblante"]) as stream:
        assert stream.accepted_subprotocol == "semblante"
        for number in range(3):
            stream.send_bytes(picture)
            answer = stream.receive_json()
            assert (answer["frame"], answer["dropped"], answer["error"]) == (number, 0, None)
            assert [face["track"] for face in answer["faces"]] == [1]
            assert (answer["width"], answer["height"]) == (512, 512)
        stream.send_bytes(b"no picture")
        assert "not a picture" in stream.receive_json()["error"]
        # while the stream is still open
        assert (figure(client, read), figure(client, failed)) == (before[0] + 3, before[1] + 1)
        stream.send_bytes(b"")
        assert "empty" in stream.receive_json()["error"]


def test_a_frame_that_nobody_waits_for_disturbs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that waited too long for a worker is not followed at the same time as a later one."""
    followed: list[float] = []
    monkeypatch.setattr(FaceFollower, "faces", lambda self, image, time_s: followed.append(time_s))
    free = threading.Event()

    class Slow(Analyzer):
        def analyze(self, image):
            free.wait(60)
            return []

    app = create_app(Settings(answer_s=0.2, workers=1), Slow())
    with TestClient(app, base_url=HERE) as client:
        assert client.post("/v1/analyze", content=EXAMPLE.read_bytes()).status_code == 504
        with client.websocket_connect(STREAM) as stream:
            for _ in range(2):
                stream.send_bytes(EXAMPLE.read_bytes())
                assert stream.receive_json()["error"] == "no answer in 0.2 s"
        free.set()
        # The event loop runs, and notices that the thread is done, only during a request.
        wait_until(lambda: client.get("/healthz") and not app.state.is_busy())
    assert followed == []


def test_a_frame_that_is_given_up_while_it_is_read_is_not_followed() -> None:
    """A later one may have been followed by then, and time never goes back."""
    given_up, turn = threading.Event(), threading.Lock()
    given_up.set()
    nobody: Any = None
    found = _analyzed(EXAMPLE.read_bytes(), nobody, turn, 0.0, Settings(), given_up)
    assert (found["faces"], found["error"]) == ([], "given up")
    assert not turn.locked()


def test_frames_are_followed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nobody waits for the one that is being followed any more."""
    going_on = threading.Event()
    monkeypatch.setattr(FaceFollower, "faces", lambda *_: going_on.wait(60) and ())
    app = create_app(Settings(answer_s=0.2, workers=2), Analyzer())
    with (
        TestClient(app, base_url=HERE) as client,
        client.websocket_connect(STREAM) as stream,
    ):
        for error in ("no answer in 0.2 s", "busy with an earlier frame"):
            stream.send_bytes(EXAMPLE.read_bytes())
            assert stream.receive_json()["error"] == error
        going_on.set()
        wait_until(lambda: client.get("/healthz") and not app.state.is_busy())
        stream.send_bytes(EXAMPLE.read_bytes())
        assert stream.receive_json()["error"] is None


def test_a_server_that_takes_long_does_not_take_its_client_for_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that waits for an answer sends nothing meanwhile."""
    monkeypatch.setattr("semblante.server.stream._SILENCE_S", 1.0)
    monkeypatch.setattr(FaceFollower, "faces", lambda *_: time.sleep(1.5) or ())
    with (
        TestClient(create_app(Settings(), Analyzer()), base_url=HERE) as client,
        client.websocket_connect(STREAM) as stream,
    ):
        stream.send_bytes(EXAMPLE.read_bytes())
        assert stream.receive_json()["frame"] == 0
        with pytest.raises(WebSocketDisconnect) as ended:
            stream.receive_json()
    assert (ended.value.code, ended.value.reason) == (1001, "no frame in 1 s")


def test_frames_that_come_too_fast_are_dropped(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the newest of those that come while an earlier one is looked at."""
    begun, go_on = threading.Event(), threading.Event()
    read: list[bytes] = []
    real = stream_module._frame

    async def frame(*arguments: Any) -> bytes:
        read.append(await real(*arguments))
        return read[-1]

    def slow(*_: object) -> tuple[()]:
        begun.set()
        assert go_on.wait(60)
        return ()

    monkeypatch.setattr(stream_module, "_frame", frame)
    monkeypatch.setattr(FaceFollower, "faces", slow)
    blank = jpeg(np.full((48, 64, 3), 90, np.uint8))
    with client.websocket_connect(STREAM) as stream:
        stream.send_bytes(blank)
        assert begun.wait(60)
        for _ in range(59):
            stream.send_bytes(blank)
        wait_until(lambda: len(read) == 60)
        go_on.set()
        answers = [stream.receive_json() for _ in range(2)]
    assert [(answer["frame"], answer["dropped"]) for answer in answers] == [(0, 0), (59, 58)]


def test_a_frame_of_too_many_pixels(analyzer: Analyzer) -> None:
    with small(analyzer, max_pixels=10_000).websocket_connect(STREAM) as stream:
        stream.send_bytes(EXAMPLE.read_bytes())
        assert "512x512 pixels are too many" in stream.receive_json()["error"]


def test_a_frame_may_be_as_large_as_the_limit(analyzer: Analyzer) -> None:
    blank = jpeg(np.full((48, 64, 3), 90, np.uint8))
    with small(analyzer, max_frame=len(blank)).websocket_connect(STREAM) as stream:
        stream.send_bytes(blank)
        assert stream.receive_json()["error"] is None


@pytest.mark.parametrize(("message", "code"), [("text", 1003), ("large", 1009)])
def test_what_is_no_frame_ends_the_stream(client: TestClient, message: str, code: int) -> None:
    with client.websocket_connect(STREAM) as stream:
        if message == "text":
            stream.send_text("hello")
        else:
            stream.send_bytes(b"x" * 2_000_001)
        with pytest.raises(WebSocketDisconnect) as ended:
            stream.receive_json()
    assert ended.value.code == code
