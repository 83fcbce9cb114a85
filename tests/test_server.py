"""The HTTP API: what it answers, what it refuses, and that nothing stays."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import semblante
from conftest import EXAMPLE
from films import canvas, write_video
from semblante import EMOTIONS, Analyzer, OptionError
from semblante.models import model_path
from semblante.recognise.following import Following

pytest.importorskip("fastapi")
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from semblante.server import body
from semblante.server.app import create_app
from semblante.server.guard import Guard
from semblante.server.jobs import Jobs
from semblante.server.settings import Settings

HERE = "http://127.0.0.1:8000"
STREAM = "ws://127.0.0.1:8000/v1/stream"
WEB = Path(body.__file__).with_name("web")


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer()


@pytest.fixture(scope="module")
def client(analyzer: Analyzer) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(), analyzer), base_url=HERE) as client:
        yield client


def small(analyzer: Analyzer, **changes: object) -> TestClient:
    """A server with other settings."""
    app = create_app(Settings(**changes), analyzer)  # type: ignore[arg-type]
    return TestClient(app, base_url=HERE, raise_server_exceptions=False)


# -- pictures -------------------------------------------------------------------------------------


def test_a_picture_as_it_is(client: TestClient, analyzer: Analyzer) -> None:
    answer = client.post("/v1/analyze", content=EXAMPLE.read_bytes())
    assert answer.status_code == 200
    [found] = answer.json()["results"]
    [expected] = analyzer.analyze_many([EXAMPLE])
    assert found == {**json.loads(json.dumps(expected.to_dict())), "path": None}
    assert list(found["faces"][0]["probabilities"]) == list(EMOTIONS)


def test_a_picture_that_cannot_be_searched_does_not_stop_the_others() -> None:
    class Fails:
        def detect(self, image: np.ndarray, *_: object, **__: object) -> list[object]:
            if len(image) > 100:
                raise cv2.error("too large")
            return []

    tiny = io.BytesIO()
    Image.new("RGB", (60, 50)).save(tiny, "PNG")
    files = [
        ("file", ("small.png", tiny.getvalue())),
        ("file", ("large.jpg", EXAMPLE.read_bytes())),
    ]
    with small(Analyzer(detector=Fails())) as client:
        answer = client.post("/v1/analyze", files=files)
        assert answer.status_code == 200
        good, bad = (found["error"] for found in answer.json()["results"])
        assert (good, bad) == (None, "picture: could not be searched: too large")
        answer = client.post("/v1/explain", content=EXAMPLE.read_bytes())
        assert (answer.status_code, answer.json()["error"]) == (422, bad)


def test_pictures_of_a_form_with_a_broken_one(client: TestClient) -> None:
    data = EXAMPLE.read_bytes()
    files = [("file", ("a ñ.jpg", data)), ("file", ("b.jpg", b"broken")), ("x", ("c.png", data))]
    answer = client.post("/v1/analyze", files=files, data={"comment": "not a file"})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["path"] for result in results] == ["a ñ.jpg", "b.jpg", "c.png"]
    assert [len(result["faces"]) for result in results] == [1, 0, 1]
    assert "not a picture" in results[1]["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"", "image/jpeg", 400, "found an empty body"),
        (b"no picture", "image/jpeg", 422, None),
        (b"no form", "multipart/form-data; boundary=x", 400, "not a valid multipart form"),
        (b"no form", "multipart/form-data", 400, "multipart"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 400, "at least one file"),
    ],
)
def test_bodies_that_hold_no_picture(
    client: TestClient, content: bytes, kind: str, status: int, message: str | None
) -> None:
    answer = client.post("/v1/analyze", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    if message is not None:
        assert message in answer.json()["error"]


def test_too_large_is_refused_before_it_is_read(analyzer: Analyzer) -> None:
    client = small(analyzer, max_body=1000)
    read = []

    def body() -> Iterator[bytes]:
        for _ in range(100):
            read.append(1)
            yield b"x" * 100

    declared = client.post("/v1/analyze", content=body(), headers={"content-length": "2000000000"})
    assert declared.status_code == 413
    undeclared = client.post("/v1/analyze", content=body())
    assert undeclared.status_code == 413
    assert undeclared.headers["connection"] == "close"
    assert "at most 0 MB" in undeclared.json()["error"]
    many = [("file", ("a", b"x"))] * 33
    assert small(analyzer).post("/v1/analyze", files=many).status_code == 413


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (b'--x\r\nContent-Disposition:form-data;filename=""\r\n\r\n\r\n', "at most 32 pictures"),
        (b"--x\r\nA: b\r\n\r\n\r\n", "at most 32 pictures"),
        (b"--x\r\n" + b"A: b\r\n" * 17 + b"\r\n\r\n", "not a valid multipart form"),
    ],
)
def test_a_form_of_countless_parts_is_not_parsed_to_its_end(
    part: bytes, message: str, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    real = body.parse_options_header
    monkeypatch.setattr(body, "parse_options_header", lambda v: looked.append(v) or real(v))
    form = part * 5000 + b"--x--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/analyze", content=form, headers=kind)
    assert answer.status_code in (400, 413)
    assert answer.json()["error"].startswith(message)
    assert len(looked) < 100


def test_a_picture_of_too_many_pixels(analyzer: Analyzer) -> None:
    buffer = io.BytesIO()
    Image.new("L", (300, 300)).save(buffer, "PNG")
    answer = small(analyzer, max_pixels=80_000).post("/v1/analyze", content=buffer.getvalue())
    assert answer.status_code == 422
    assert "300x300 pixels are too many" in answer.json()["results"][0]["error"]


def test_malformed_bodies_never_break_it(client: TestClient) -> None:
    """Cut off, changed and random bytes, as pictures and as forms: never a 5xx."""
    rng = random.Random(0)
    picture = EXAMPLE.read_bytes()
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        + picture[:5000] + b"\r\n--x--\r\n"
    )  # fmt: skip
    for number in range(300):
        source = bytearray(rng.choice([picture[:20_000], form, rng.randbytes(500)]))
        for _ in range(rng.randrange(1, 30)):
            source[rng.randrange(len(source))] = rng.randrange(256)
        content = bytes(source[: rng.randrange(1, len(source) + 1)])
        kind = rng.choice(["image/jpeg", "multipart/form-data; boundary=x", "text/plain", "\xff"])
        answer = client.post(
            "/v1/analyze", content=content, headers={"content-type": kind.encode("latin-1")}
        )
        assert answer.status_code in (200, 400, 413, 422), (number, answer.text)


def test_what_speaks_for_an_estimate(client: TestClient, analyzer: Analyzer) -> None:
    data = EXAMPLE.read_bytes()
    found = client.post("/v1/explain", content=data).json()
    [expected] = analyzer.explain(data)
    assert found == expected.to_dict()
    form = [("file", ("a.jpg", data))]
    other = client.post("/v1/explain?emotion=fear&face=1", files=form).json()
    assert (other["emotion"], other["explained"]) == ("happy", "fear")
    for query, sent, reason in (
        ("?face=2", form, "expected a face between 1 and 1, found 2"),
        ("?face=0", form, "face: Input should be greater than or equal to 1, found '0'"),
        ("?emotion=joy", form, "unknown emotion 'joy'"),
        ("", form * 2, "expected one picture, found 2"),
        ("", [("file", ("a.jpg", b"no picture"))], "not a picture"),
    ):
        refused = client.post(f"/v1/explain{query}", files=sent)
        assert refused.status_code == 422
        assert reason in refused.json()["error"]
    refused = small(analyzer, max_pixels=10_000).post("/v1/explain", content=data)
    assert refused.status_code == 422
    assert "512x512 pixels are too many" in refused.json()["error"]


# -- videos ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    head = Image.fromarray(semblante.load_image(EXAMPLE)[0:270, 90:360]).resize((150, 150))
    face = np.asarray(head)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, 20, lambda n: canvas((face, 20 + n, 40))).read_bytes()


def finished(client: TestClient, job: dict[str, object]) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while job["state"] in ("waiting", "running") and time.monotonic() < deadline:
        time.sleep(0.05)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    return job


def test_a_video_is_a_job(client: TestClient, clip: bytes) -> None:
    answer = client.post("/v1/analyze/video?every_s=0.1", content=clip)
    assert answer.status_code == 202
    job = finished(client, answer.json())
    assert (job["state"], job["progress"], job["frames"]) == ("done", 1.0, 10)
    lines = client.get(f"/v1/jobs/{job['id']}/results").text.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["frame"] for row in rows] == list(range(0, 20, 2))
    assert {face["track"] for row in rows for face in row["faces"]} == {1}
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_a_video_in_a_form_is_refused(client: TestClient, clip: bytes) -> None:
    answer = client.post("/v1/analyze/video", files=[("file", ("a.mp4", clip))])
    assert answer.status_code == 415
    assert "found multipart/form-data" in answer.json()["error"]
    for kind in ("application/json", "Multipart/Form-Data; boundary=x"):
        answer = client.post("/v1/analyze/video", content=clip, headers={"content-type": kind})
        assert (answer.status_code, answer.headers["connection"]) == (415, "close")


def test_what_tracks_showed_in_a_video(client: TestClient, clip: bytes, tmp_path: Path) -> None:
    sent = client.post("/v1/analyze/video", content=clip)
    assert sent.headers["location"] == f"../jobs/{sent.json()['id']}"
    job = finished(client, sent.json())
    found = client.get(f"/v1/jobs/{job['id']}/tracks").json()
    (tmp_path / "clip.mp4").write_bytes(clip)
    own = semblante.summarize(Analyzer().analyze_video(tmp_path / "clip.mp4")).to_dict()
    assert found == {**own, "path": None}
    assert found["tracks"][0]["emotion"] == "happy"


def test_a_video_that_failed_says_so_among_its_results(client: TestClient) -> None:
    job = finished(client, client.post("/v1/analyze/video", content=b"no video").json())
    assert (job["state"], job["frames"]) == ("failed", 0)
    [row] = client.get(f"/v1/jobs/{job['id']}/results").text.splitlines()
    assert (json.loads(row)["frame"], json.loads(row)["error"]) == (None, job["error"])
    assert client.get(f"/v1/jobs/{job['id']}/tracks").json()["error"] == job["error"]
    assert figure(client, 'semblante_videos_total{result="failed"}') >= 1


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/v1/analyze?min_score=0.5", "none"), ("/v1/analyze/video?every=1", "every_s"),
        ("/v1/explain?emocion=fear", "face, emotion"), ("/v1/annotate?blurr=1", "blur, lang"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_not_known_is_refused(
    client: TestClient, path: str, known: str
) -> None:
    answer = client.post(path, content=EXAMPLE.read_bytes())
    name = path.partition("?")[2].partition("=")[0]
    assert answer.status_code == 400
    assert answer.json() == {"error": f"unknown parameter {name!r}; known: {known}"}
    assert client.get(f"/v1/models?{name}=1").status_code == 400


def test_a_parameter_given_twice_is_refused(client: TestClient, clip: bytes) -> None:
    answer = client.post("/v1/analyze/video?every_s=2&every_s=1", content=clip)
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "the parameter every_s is there twice",
    )


def test_a_body_that_says_it_is_something_else_is_refused(client: TestClient) -> None:
    for headers in (
        {"content-type": "application/json"}, {"content-type": "multipart/mixed; boundary=x"},
        {"content-encoding": "gzip"},
    ):  # fmt: skip
        answer = client.post("/v1/analyze", content=EXAMPLE.read_bytes(), headers=headers)
        assert answer.status_code == 415
        assert next(iter(headers.values())).partition(";")[0] in answer.json()["error"]
    for headers in (
        {"content-type": "application/x-www-form-urlencoded"},  # as curl says
        {"content-encoding": "Identity"}, {"content-encoding": ""}, {},
    ):  # fmt: skip
        answer = client.post("/v1/analyze", content=EXAMPLE.read_bytes(), headers=headers)
        assert answer.status_code == 200


def test_a_field_in_which_no_file_was_chosen_is_passed_over(client: TestClient) -> None:
    picture = ("file", ("a.jpg", EXAMPLE.read_bytes()))
    empty = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n"
    )
    a_file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    form = {"content-type": "multipart/form-data; boundary=x"}
    body = empty + a_file + EXAMPLE.read_bytes() + b"\r\n--x--\r\n"
    answer = client.post("/v1/analyze", content=body, headers=form)
    assert [one["path"] for one in answer.json()["results"]] == ["a.jpg"]
    answer = client.post("/v1/analyze", content=empty + b"--x--\r\n", headers=form)
    assert (answer.status_code, "at least one file" in answer.json()["error"]) == (400, True)
    assert client.post("/v1/analyze", files=[picture, ("file", ("b.jpg", b""))]).json()["results"][
        1
    ]["error"]


def test_an_annotated_copy(client: TestClient) -> None:
    plain = client.post("/v1/annotate", content=EXAMPLE.read_bytes())
    assert (plain.status_code, plain.headers["content-type"]) == (200, "image/jpeg")
    drawn = semblante.load_image(plain.content)
    own = semblante.annotate(EXAMPLE, Analyzer().analyze(EXAMPLE))
    assert np.abs(drawn.astype(int) - own).mean() < 3
    assert (drawn != semblante.load_image(EXAMPLE)).any()
    spanish = client.post("/v1/annotate?lang=es", files=[("file", ("a.jpg", EXAMPLE.read_bytes()))])
    assert (semblante.load_image(spanish.content) != drawn).any()
    hidden = client.post("/v1/annotate?blur=true", content=EXAMPLE.read_bytes())
    assert Analyzer().analyze(hidden.content) == []
    for bad, status in (("?lang=fr", 422), ("?blur=maybe", 422)):
        assert client.post(f"/v1/annotate{bad}", content=EXAMPLE.read_bytes()).status_code == status
    assert client.post("/v1/annotate", content=b"no picture").status_code == 422


def test_a_slash_too_many_leads_nowhere(client: TestClient) -> None:
    answer = client.post("/v1/analyze/", content=EXAMPLE.read_bytes(), follow_redirects=False)
    assert answer.status_code == 404


def test_many_results_come_whole(client: TestClient, clip: bytes) -> None:
    job = finished(client, client.post("/v1/analyze/video", content=clip).json())
    app: Any = client.app
    rows = app.state.jobs.get(job["id"]).rows
    rows.extend({**rows[-1], "frame": 100 + n} for n in range(2000))
    lines = client.get(f"/v1/jobs/{job['id']}/results").text.splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_a_broken_video(client: TestClient) -> None:
    job = finished(client, client.post("/v1/analyze/video", content=b"no video").json())
    assert job["state"] == "failed"
    assert job["error"] == "not a video that can be read"


def test_a_video_of_large_frames(analyzer: Analyzer, clip: bytes) -> None:
    client = small(analyzer, max_pixels=1000)
    job = finished(client, client.post("/v1/analyze/video", content=clip).json())
    assert job["state"] == "failed"
    assert job["error"].startswith("frames of ")


def test_so_much_may_be_on_its_way(analyzer: Analyzer) -> None:
    client = small(analyzer, max_intake=1000)
    for call in ("/v1/analyze", "/v1/analyze/video"):
        answer = client.post(call, content=bytes(2000))
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert client.post(call, content=bytes(900)).status_code in (202, 422)  # none is left over


@pytest.mark.parametrize("every_s", ["0", "1e-9", "abc", "nan", ""])
def test_a_time_that_is_none(client: TestClient, every_s: str) -> None:
    answer = client.post(f"/v1/analyze/video?every_s={every_s}", content=b"x")
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith("every_s: Input should be ")
    assert answer.json()["error"].endswith(f", found {every_s!r}")


def test_only_so_many_videos(analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = small(analyzer)
    go_on = threading.Event()
    monkeypatch.setattr(Jobs, "_analyze", lambda *_: go_on.wait())
    answers = [client.post("/v1/analyze/video", content=b"video") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [202] * 8 + [503]
    assert answers[-1].headers["retry-after"] == "30"
    go_on.set()
    for answer in answers[:8]:
        assert finished(client, answer.json())["state"] == "done"
    # Results are kept for who has not fetched them, unless nobody asks about them.
    ids = [answer.json()["id"] for answer in answers[:8]]
    assert client.post("/v1/analyze/video", content=b"video").status_code == 503
    assert client.get(f"/v1/jobs/{ids[2]}/tracks").status_code == 200  # its rows are still wanted
    assert client.get(f"/v1/jobs/{ids[3]}/results").status_code == 200
    assert client.post("/v1/analyze/video", content=b"video").status_code == 202
    known = [client.get(f"/v1/jobs/{id}").status_code for id in ids]
    assert known == [200] * 3 + [410] + [200] * 4
    assert client.post("/v1/analyze/video", content=b"video").status_code == 503
    monkeypatch.setattr("semblante.server.jobs._UNFETCHED_S", -1.0)
    assert client.post("/v1/analyze/video", content=b"video").status_code == 202
    gone = client.get(f"/v1/jobs/{ids[0]}/tracks")
    assert (gone.status_code, "send the video again" in gone.json()["error"]) == (410, True)
    assert client.get("/v1/jobs/another").status_code == 404


def test_a_cancelled_video_holds_nothing(analyzer: Analyzer, clip: bytes) -> None:
    """Neither its bytes, nor a thread, nor the turn of the next."""
    jobs = Jobs(analyzer, 40_000_000)
    first = jobs.start(clip, None)
    assert first is not None
    before = threading.active_count()
    for _ in range(50):
        job = jobs.start(bytes(1000), None)
        assert job is not None
        assert jobs.forget(job.id)
        assert job.data is None
    assert threading.active_count() <= before + 1  # the decoder of the first may have begun
    deadline = time.monotonic() + 60
    while first.state in ("waiting", "running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert first.state == "done"
    held = weakref.ref(first)
    assert jobs.forget(first.id)
    del first, job
    while held() is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert held() is None
    jobs.close()


def test_results_are_kept_for_so_long(
    client: TestClient, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished(client, client.post("/v1/analyze/video?every_s=0.5", content=clip).json())
    monkeypatch.setattr("semblante.server.jobs._KEPT_S", 0.0)
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 410


def test_a_video_after_nothing_for_long(
    analyzer: Analyzer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semblante.server.jobs._SWEEP_S", 0.01)
    client = small(analyzer)
    for _ in range(2):
        job = finished(client, client.post("/v1/analyze/video?every_s=1", content=clip).json())
        assert job["state"] == "done"
        time.sleep(0.1)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="keeps no file in memory here")
def test_a_video_that_is_done_leaves_no_memory_behind(client: TestClient, clip: bytes) -> None:
    finished(client, client.post("/v1/analyze/video?every_s=1", content=clip).json())
    names = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    assert not [name for name in names if "memfd:video" in name]


# -- the live stream ------------------------------------------------------------------------------


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()


def figure(client: TestClient, name: str) -> float:
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.removeprefix(name))
    raise AssertionError(name)


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
        # while it still goes on
        assert (figure(client, read), figure(client, failed)) == (before[0] + 3, before[1] + 1)


def test_a_frame_that_nobody_waits_for_disturbs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has waited too long for a worker is not followed beside what comes after it."""
    followed: list[float] = []
    monkeypatch.setattr(Following, "faces", lambda self, image, time_s: followed.append(time_s))
    free = threading.Event()

    class Slow(Analyzer):
        def analyze(self, image):
            free.wait()
            return []

    app = create_app(Settings(answer_s=0.2, workers=1), Slow())
    with TestClient(app, base_url=HERE) as client:
        assert client.post("/v1/analyze", content=EXAMPLE.read_bytes()).status_code == 504
        with client.websocket_connect(STREAM) as stream:
            for _ in range(2):
                stream.send_bytes(EXAMPLE.read_bytes())
                assert stream.receive_json()["error"] == "no answer in 0.2 s"
        free.set()
        while app.state.is_busy():
            client.get("/healthz")  # the loop notes that the thread is done
    assert followed == []


def test_frames_that_come_too_fast_are_dropped(client: TestClient) -> None:
    blank = jpeg(np.full((480, 640, 3), 90, np.uint8))
    with client.websocket_connect(STREAM) as stream:
        for _ in range(60):
            stream.send_bytes(blank)
        answers = []
        while not answers or answers[-1]["frame"] < 59:
            answers.append(stream.receive_json())
    assert len(answers) < 60
    assert sum(answer["dropped"] for answer in answers) + len(answers) == 60


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


# -- who is let in --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": HERE}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "["}, 403),
        ({"host": "127.0.0.2:8000"}, 200),
        ({"host": "192.0.2.1"}, 403),
        ({"host": "localhost:8000"}, 200),
        ({"host": ""}, 403),
        ({"host": "LocalHost:8000", "origin": "http://localhost:8000"}, 200),
        ({"host": "localhost:8000", "origin": "http://LOCALHOST:8000"}, 200),
    ],
)
def test_pages_and_names_from_elsewhere(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.get("/v1/models", headers=headers).status_code == status
    if status == 403:
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect(STREAM, headers=headers),
        ):
            pass


def test_a_page_that_is_allowed(analyzer: Analyzer) -> None:
    client = small(analyzer, origins=("https://friend.example",))
    headers = {"origin": "https://friend.example"}
    answer = client.get("/v1/models", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    asked = client.options("/v1/analyze", headers=headers)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-headers"] == "authorization, content-type"
    assert asked.headers["access-control-allow-methods"] == "GET, POST, DELETE"
    of_our_own = client.get("/v1/models", headers={"origin": HERE})
    assert of_our_own.status_code == 200
    assert "access-control-allow-origin" not in of_our_own.headers


def test_a_server_for_others_is_called_by_any_name(analyzer: Analyzer) -> None:
    client = small(analyzer, host="192.0.2.1", token="secret")
    assert client.get("/healthz", headers={"host": "kiosk.example"}).status_code == 200


def guarded(
    app: Any, kind: str = "http", token: str | None = None, headers: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], list[int]]:
    """What comes out of the guard around `app`, and what it counts as refused."""
    out: list[dict[str, Any]] = []
    refused: list[int] = []

    async def receive() -> dict[str, Any]:
        out.append({"type": "received"})
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        out.append(message)

    given = {"host": "localhost", **(headers or {})}
    scope = {
        "type": kind, "method": "GET", "path": "/v1/x",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    try:
        asyncio.run(Guard(app, Settings(token=token), refused.append)(scope, receive, send))
    except RuntimeError as error:
        out.append({"type": "error", "error": str(error)})
    return out, refused


def test_a_stream_that_is_refused_hears_why() -> None:
    async def app(*_: Any) -> None:
        raise AssertionError("it was let in")

    out, refused = guarded(app, "websocket", headers={"host": "evil.example"})
    closed = {"type": "websocket.close", "code": 1008}
    assert out == [
        {"type": "received"}, {**closed, "reason": "called by a name that is not this machine's"}
    ]  # fmt: skip
    assert refused == [403]


def test_a_stream_s_token_may_stand_anywhere_in_its_protocols() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    for offered in ("semblante, secret", "secret,semblante", "semblante , secret"):
        headers = {"sec-websocket-protocol": offered}
        assert guarded(app, "websocket", "secret", headers) == ([{"type": "websocket.accept"}], [])


def test_what_breaks_off_in_the_middle_has_no_second_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        kept = [(b"cache-control", b"max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": kept})
        raise RuntimeError("broken")

    [started, failed], refused = guarded(app)
    assert (started["status"], failed["error"], refused) == (200, "broken", [])
    assert dict(started["headers"])[b"cache-control"] == b"max-age=60"  # the app's own word counts


def test_who_waits_while_the_server_ends_is_told_so() -> None:
    async def app(*_: Any) -> None:
        raise asyncio.CancelledError

    [started, answer], refused = guarded(app)
    assert (started["status"], refused) == (503, [503])
    assert json.loads(answer["body"]) == {"error": "the server is ending"}


@pytest.mark.parametrize(
    "origin", ["https://friend.example/", "https://Friend.example", "friend.example", "https://a b"]
)
def test_an_origin_that_no_browser_has(origin: str) -> None:
    with pytest.raises(OptionError, match="expected an origin such as https"):
        Settings(origins=(origin,))
    Settings(origins=("https://friend.example:8443", "http://[::1]:8000"))


@pytest.mark.parametrize("token", ["a+b/c==", "my secret", "clé", "semblante", "a\n"])
def test_tokens_that_cannot_stand_everywhere(token: str) -> None:
    with pytest.raises(semblante.OptionError, match="expected a token of letters, digits"):
        Settings(token=token)


def test_one_stream_too_many_hears_why(analyzer: Analyzer) -> None:
    client = small(analyzer, max_streams=0)
    with client.websocket_connect(STREAM) as socket, pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_json()
    assert caught.value.code == 1013


def test_a_token_counts_below_a_path_too(analyzer: Analyzer) -> None:
    """Where this is mounted in another application."""
    settings = Settings(token="secret")
    whole = Starlette(routes=[Mount("/faces", create_app(settings, analyzer))])
    client = TestClient(whole, base_url=HERE)
    assert client.get("/faces/healthz").text == "ok"
    assert client.get("/faces/v1/models").status_code == 401
    right = {"authorization": "Bearer secret"}
    assert client.get("/faces/v1/models", headers=right).status_code == 200
    for above in ("/", "/v", "/m", "/app", "/app/"):
        client = TestClient(create_app(settings, analyzer), base_url=HERE, root_path=above)
        for path in ("/v1/models", "/metrics"):
            assert client.get(path).status_code == 401
            # As uvicorn puts them together; not all of these are found.
            assert client.get(f"{HERE}{above}{path}").status_code == 401


def test_the_token(analyzer: Analyzer) -> None:
    client = small(analyzer, host="192.0.2.1", token="secret")
    assert client.get("/").status_code == 200  # the page itself holds nothing
    assert client.get("/healthz").status_code == 200
    for path in ("/v1/models", "/metrics"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get(path, headers={"authorization": "Basic secret"}).status_code == 401
        assert client.get(path, headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.get(path, headers={"authorization": "bearer secret"}).status_code == 200
    assert client.get("/v1/models").headers["www-authenticate"] == "Bearer"
    with client.websocket_connect(STREAM, subprotocols=["semblante", "secret"]) as stream:
        assert stream.accepted_subprotocol == "semblante"
    right = {"authorization": "Bearer secret"}  # of programs, to which no browser keeps it
    with client.websocket_connect(STREAM, headers=right) as stream:
        assert stream.accepted_subprotocol is None
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM):
        pass
    document = client.get("/openapi.json").json()
    [(name, scheme)] = document["components"]["securitySchemes"].items()
    assert scheme["scheme"] == "bearer"
    for path, call in (("/v1/analyze", "post"), ("/v1/models", "get"), ("/metrics", "get")):
        assert document["paths"][path][call]["security"] == [{name: []}]
    assert "security" not in document["paths"]["/healthz"]["get"]
    counted = client.get("/metrics", headers={"authorization": "Bearer secret"}).text
    assert 'semblante_refused_total{status="401"} 8.0' in counted


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for path in ("/", "/app.js", "/v1/models", "/nothing", "/../../etc/passwd"):
        headers = client.get(path).headers
        for part in ("default-src 'none'", "img-src 'self' blob: data:", "frame-ancestors 'none'"):
            assert part in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["permissions-policy"].startswith("camera=(self), microphone=()")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    assert client.get("/nothing").json() == {"error": "Not Found"}


def test_monitors_may_ask_for_the_head_alone(client: TestClient) -> None:
    for path in ("/", "/healthz", "/app.js"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_an_allowed_page_may_send_a_token_and_use_the_answer(analyzer: Analyzer) -> None:
    client = small(analyzer, origins=("https://friend.example",), token="secret")
    asked = client.options("/v1/analyze", headers={"origin": "https://friend.example"})
    assert asked.status_code == 200  # a browser asks without the token
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert asked.headers["access-control-expose-headers"] == "location, retry-after"
    assert asked.headers["cross-origin-resource-policy"] == "cross-origin"
    assert asked.headers["vary"] == "origin"


# -- the rest -------------------------------------------------------------------------------


def test_busy_is_said_at_once() -> None:
    class Slow(Analyzer):
        def analyze(self, image):
            time.sleep(0.5)
            return super().analyze(image)

    app = create_app(Settings(workers=1, max_waiting=1), Slow())
    with TestClient(app, base_url=HERE) as client:
        from concurrent.futures import ThreadPoolExecutor

        data = EXAMPLE.read_bytes()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.post("/v1/analyze", content=data), range(8)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses.count(200) >= 2
        assert set(statuses) == {200, 503}
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["retry-after"] == "1"
        assert client.post("/v1/analyze", content=data).status_code == 200


def test_no_answer_in_time() -> None:
    class Slow(Analyzer):
        def analyze(self, image):
            time.sleep(1.0)
            return []

    client = TestClient(create_app(Settings(answer_s=0.1), Slow()), base_url=HERE)
    assert client.post("/v1/analyze", content=EXAMPLE.read_bytes()).status_code == 504


def form_of(n: int) -> list[Any]:
    return [("file", (f"{number}.jpg", EXAMPLE.read_bytes())) for number in range(n)]


def test_when_time_is_up_what_is_done_counts() -> None:
    """The picture at hand is looked at to its end, those that come after it are not."""
    looked: list[int] = []
    go_on = threading.Event()

    class Slow(Analyzer):
        def analyze(self, image):
            looked.append(1)
            if len(looked) == 2:
                go_on.wait()
            return []

    app = create_app(Settings(answer_s=2.0, workers=1), Slow())
    with TestClient(app, base_url=HERE) as client:
        answer = client.post("/v1/analyze", files=form_of(20))
        assert answer.status_code == 200
        first, *others = answer.json()["results"]
        assert (first["width"], first["error"]) == (512, None)
        late = "not done in 2 s: send fewer pictures at a time"
        assert [(one["path"], one["error"]) for one in others] == [
            (f"{number}.jpg", late) for number in range(1, 20)
        ]
        assert figure(client, 'semblante_pictures_total{result="read"}') == 1
        assert app.state.is_busy()
        go_on.set()
        until = time.monotonic() + 20
        while app.state.is_busy() and time.monotonic() < until:
            time.sleep(0.05)
            client.get("/healthz")  # the loop notes that the thread is done
        assert not app.state.is_busy()
    assert len(looked) == 2


@pytest.mark.parametrize("call", ["analyze", "explain"])
def test_whoever_leaves_is_no_longer_worked_for(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has its turn is not searched once it is read, and what waits is not even read."""
    reading, go_on = threading.Semaphore(0), threading.Event()
    searched: list[str] = []

    class Searches(Analyzer):
        def analyze(self, image):
            searched.append("analyze")
            return super().analyze(image)

        def explain(self, image, *args, **options):
            searched.append("explain")
            return super().explain(image, *args, **options)

    def read(*args: Any, **options: Any) -> np.ndarray:
        reading.release()
        go_on.wait()
        return semblante.load_image(*args, **options)

    monkeypatch.setattr("semblante.server.app.load_image", read)
    app = create_app(Settings(workers=1), Searches())

    async def ask(left: asyncio.Event) -> int:
        statuses = []
        sent = iter([{"type": "http.request", "body": EXAMPLE.read_bytes()}])

        async def receive() -> Any:
            for message in sent:
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        scope = {
            "type": "http", "method": "POST", "path": f"/v1/{call}", "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }  # fmt: skip
        await app(scope, receive, send)
        return statuses[0]

    async def ask_three() -> tuple[list[int], int]:
        left = asyncio.Event()
        leaving = [asyncio.create_task(ask(left)) for _ in range(2)]
        await asyncio.to_thread(reading.acquire)
        left.set()
        try:
            told = await asyncio.wait_for(asyncio.gather(*leaving), 60)
            staying = asyncio.create_task(ask(asyncio.Event()))
        finally:
            go_on.set()
        return told, await staying

    assert asyncio.run(ask_three()) == ([400, 400], 200)
    assert searched == [call]
    assert reading.acquire(blocking=False)  # for the last one
    assert not reading.acquire(blocking=False)


def test_what_goes_wrong_inside_is_in_the_log_and_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Analyzer):
        def analyze(self, image):
            raise RuntimeError("a secret path")

    page = "https://example.org"
    client = TestClient(create_app(Settings(origins=(page,)), Broken()), base_url=HERE)
    answer = client.post("/v1/analyze", content=EXAMPLE.read_bytes(), headers={"origin": page})
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong here"}
    assert "a secret path" in caplog.text
    # As any other answer: an allowed page would otherwise see a network's error.
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == page
    assert 'semblante_refused_total{status="500"} 1.0' in client.get("/metrics").text


def test_counters(client: TestClient) -> None:
    names = (
        'semblante_pictures_total{result="read"}', 'semblante_pictures_total{result="failed"}',
        "semblante_faces_total",
    )  # fmt: skip
    before = [figure(client, name) for name in names]
    client.post("/v1/analyze", content=EXAMPLE.read_bytes())
    client.post("/v1/analyze", content=b"no picture")
    assert [figure(client, name) for name in names] == [count + 1 for count in before]
    for kind in ("pictures", "videos"):
        assert figure(client, f'semblante_under_way{{kind="{kind}"}}') == 0
    assert "version=" in client.get("/metrics").headers["content-type"]


def test_the_model_in_use_is_the_one_asked_for(tmp_path: Path) -> None:
    # Both say "network": "rcnn-small" of themselves.
    path = model_path("rcnn-small-int8")
    other = tmp_path / "mine.onnx"
    other.write_bytes(path.read_bytes())
    for model, name in (("rcnn-small-int8", "rcnn-small-int8"), (other, "mine.onnx")):
        app = create_app(Settings(), Analyzer(model))
        said = TestClient(app, base_url=HERE).get("/v1/models").json()
        assert (said["in_use"], said["head"]) == (name, "ferplus")


def test_openapi_names_every_call(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/healthz", "/metrics", "/v1/models", "/v1/analyze", "/v1/analyze/video", "/v1/explain",
        "/v1/annotate", "/v1/jobs/{id}", "/v1/jobs/{id}/results", "/v1/jobs/{id}/tracks",
    }  # fmt: skip
    results = paths["/v1/jobs/{id}/results"]["get"]["responses"]["200"]["content"]
    assert list(results) == ["application/x-ndjson"]
    calls = [call for each in paths.values() for call in each.values()]
    assert len({call["operationId"] for call in calls}) == len(calls)
    assert not any("_v1_" in call["operationId"] for call in calls)
    assert "HTTPValidationError" not in client.get("/openapi.json").text  # no answer of ours


def test_nothing_stays_on_disk(
    client: TestClient, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    made: list[object] = []
    for name in ("mkstemp", "mkdtemp", "TemporaryFile", "SpooledTemporaryFile"):
        monkeypatch.setattr(tempfile, name, lambda *a, _name=name, **k: made.append(_name))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    client.post("/v1/analyze", files=[("file", ("a.jpg", EXAMPLE.read_bytes() * 3))])
    finished(client, client.post("/v1/analyze/video", content=clip).json())
    assert made == []
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_whole(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/style.css").headers["content-type"].startswith("text/css")
    imports: dict[str, set[str]] = {}
    to_read = re.findall(r'<script src="(\w+\.js)"', page.text)
    while to_read:
        name = to_read.pop()
        if name in imports:
            continue
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].startswith("text/javascript")
        for word in ("http://", "https://", "eval(", "innerHTML"):
            assert word not in answer.text.replace("http://www.w3.org/2000/svg", "")
        imports[name] = set(re.findall(r' from "\./(\w+\.js)";', answer.text))
        to_read += imports[name]
    assert set(re.findall(r'"modulepreload" href="(\w+\.js)"', page.text)) == imports.keys()
    assert imports.keys() == {path.name for path in WEB.glob("*.js")}  # none that nothing uses
    TopologicalSorter(imports).prepare()  # an error where they go in a circle


def test_of_the_page_s_folder_only_the_page_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analyzer: Analyzer
) -> None:
    (tmp_path / "web").mkdir()
    for name in ("index.html", "app.js", "app.js~", "notes.txt", "secret"):
        (tmp_path / "web" / name).write_text(name)
    monkeypatch.setattr("semblante.server.app.resources.files", lambda package: tmp_path)
    client = small(analyzer)
    assert [client.get(path).text for path in ("/", "/app.js")] == ["index.html", "app.js"]
    for name in ("index.html", "app.js~", "notes.txt", "secret"):
        assert client.get(f"/{name}").status_code == 404
