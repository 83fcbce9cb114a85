"""The HTTP API: what it answers, what it refuses, and that nothing stays."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

import semblante
from conftest import EXAMPLE, wait_until
from semblante import EMOTIONS, Analyzer
from semblante.models import model_path

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from api import HERE, figure, finished, small
from semblante.server import body
from semblante.server.app import create_app
from semblante.server.settings import Settings

WEB = Path(body.__file__).with_name("web")


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


def form_of(n: int) -> list[Any]:
    return [("file", (f"{number}.jpg", EXAMPLE.read_bytes())) for number in range(n)]


def test_too_large_is_refused(analyzer: Analyzer) -> None:
    """Before it is read, where it is declared: see `read_body` in test_body.py."""
    client = small(analyzer, max_body=1000)

    def body() -> Iterator[bytes]:
        yield from [b"x" * 100] * 100

    declared = client.post("/v1/analyze", content=body(), headers={"content-length": "2000000000"})
    assert declared.status_code == 413
    undeclared = client.post("/v1/analyze", content=body())
    assert undeclared.status_code == 413
    assert "at most 0 MB" in undeclared.json()["error"]


def test_so_many_pictures_may_be_sent_at_once(analyzer: Analyzer) -> None:
    client = small(analyzer, max_pictures=2)
    many = client.post("/v1/analyze", files=form_of(3))
    assert (many.status_code, many.json()) == (413, {"error": "at most 2 files in a request"})
    assert len(client.post("/v1/analyze", files=form_of(2)).json()["results"]) == 2
    assert small(analyzer).post("/v1/analyze", files=form_of(33)).status_code == 413


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            b'--x\r\nContent-Disposition:form-data;filename=""\r\n\r\n\r\n',
            "at most 32 files and 32 fields",
        ),
        (b"--x\r\nA: b\r\n\r\n\r\n", "at most 32 files and 32 fields"),
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
        "the parameter every_s is given twice",
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


def test_an_annotated_copy(client: TestClient, analyzer: Analyzer) -> None:
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
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    Image.fromarray(semblante.load_image(EXAMPLE)).save(file, "PNG", icc_profile=profile)
    coloured = client.post("/v1/annotate", content=file.getvalue())
    assert Image.open(io.BytesIO(coloured.content)).info["icc_profile"] == profile
    for bad, status in (("?lang=fr", 422), ("?blur=maybe", 422)):
        assert client.post(f"/v1/annotate{bad}", content=EXAMPLE.read_bytes()).status_code == status
    assert client.post("/v1/annotate", content=b"no picture").status_code == 422
    large = small(analyzer, max_pixels=10_000).post("/v1/annotate", content=EXAMPLE.read_bytes())
    assert large.status_code == 422
    assert "512x512 pixels are too many" in large.json()["error"]


def test_a_slash_too_many_leads_nowhere(client: TestClient) -> None:
    answer = client.post("/v1/analyze/", content=EXAMPLE.read_bytes(), follow_redirects=False)
    assert answer.status_code == 404


def test_busy_is_said_at_once() -> None:
    free = threading.Event()

    class Slow(Analyzer):
        def analyze(self, image):
            free.wait(60)
            return super().analyze(image)

    app = create_app(Settings(workers=1, max_waiting=1), Slow())
    data = EXAMPLE.read_bytes()
    with TestClient(app, base_url=HERE) as client, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(client.post, "/v1/analyze", content=data) for _ in range(8)]
        wait_until(lambda: sum(answer.done() for answer in answers) == 6)
        for refused in (answer.result() for answer in answers if answer.done()):
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        free.set()
        statuses = [answer.result().status_code for answer in answers]
        assert sorted(statuses) == [200] * 2 + [503] * 6
        assert client.post("/v1/analyze", content=data).status_code == 200


def test_no_answer_in_time() -> None:
    class Slow(Analyzer):
        def analyze(self, image):
            time.sleep(1.0)
            return []

    client = TestClient(create_app(Settings(answer_s=0.1), Slow()), base_url=HERE)
    assert client.post("/v1/analyze", content=EXAMPLE.read_bytes()).status_code == 504


def test_when_time_is_up_what_is_done_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture being analysed is finished, the ones after it are not begun."""
    looked: list[int] = []
    go_on = threading.Event()
    limits: list[tuple[asyncio.Timeout, asyncio.AbstractEventLoop]] = []

    def timeout(_: float | None) -> asyncio.Timeout:
        limits.append((asyncio.Timeout(None), asyncio.get_running_loop()))
        return limits[-1][0]

    class Slow(Analyzer):
        def analyze(self, image):
            looked.append(1)
            if len(looked) == 2:
                limit, loop = limits[-1]
                loop.call_soon_threadsafe(limit.reschedule, loop.time())  # now time is up
                go_on.wait(60)
            return []

    monkeypatch.setattr(asyncio, "timeout", timeout)
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
        # The event loop runs, and notices that the thread is done, only during a request.
        wait_until(lambda: client.get("/healthz") and not app.state.is_busy(), step=0.05)
    assert len(looked) == 2


@pytest.mark.parametrize("call", ["analyze", "explain"])
def test_whoever_leaves_is_no_longer_worked_for(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture being read is not searched afterwards, and waiting pictures are not even read."""
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
        go_on.wait(60)
        return semblante.load_image(*args, **options)

    monkeypatch.setattr("semblante.server.pictures.load_image", read)
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
    assert reading.acquire(blocking=False)  # for the last request
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
    assert answer.json() == {"error": "something went wrong in the server"}
    assert "a secret path" in caplog.text
    # The usual headers: without them an allowed page would see a network error instead.
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == page
    assert 'semblante_refused_total{status="500"} 1.0' in client.get("/metrics").text


def test_pictures_and_faces_are_counted(client: TestClient) -> None:
    names = (
        'semblante_pictures_total{result="read"}', 'semblante_pictures_total{result="failed"}',
        "semblante_faces_total",
    )  # fmt: skip
    read, failed, faces = (figure(client, name) for name in names)
    client.post("/v1/analyze", content=EXAMPLE.read_bytes())
    client.post("/v1/analyze", content=b"no picture")
    assert [figure(client, name) for name in names] == [read + 1, failed + 1, faces + 1]
    client.post("/v1/annotate", content=EXAMPLE.read_bytes())
    client.post("/v1/explain?face=9", content=EXAMPLE.read_bytes())  # it has no ninth face
    client.post("/v1/annotate", content=b"no picture")
    assert [figure(client, name) for name in names[:2]] == [read + 3, failed + 2]
    for kind in ("pictures", "videos"):
        assert figure(client, f'semblante_under_way{{kind="{kind}"}}') == 0
    assert "version=" in client.get("/metrics").headers["content-type"]


def test_the_model_in_use_is_the_one_asked_for(tmp_path: Path) -> None:
    # The metadata of both files says "network": "rcnn-small".
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
    assert "HTTPValidationError" not in client.get("/openapi.json").text  # it is never sent


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
    assert imports.keys() == {path.name for path in WEB.glob("*.js")}  # every file is imported
    TopologicalSorter(imports).prepare()  # raises an error if the imports are circular


def test_of_the_page_s_folder_only_the_page_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analyzer: Analyzer
) -> None:
    (tmp_path / "web").mkdir()
    for name in ("index.html", "app.js", "app.js~", "notes.txt", "secret"):
        (tmp_path / "web" / name).write_text(name)
    monkeypatch.setattr("semblante.server.page.resources.files", lambda package: tmp_path)
    client = small(analyzer)
    assert [client.get(path).text for path in ("/", "/app.js")] == ["index.html", "app.js"]
    for name in ("index.html", "app.js~", "notes.txt", "secret"):
        assert client.get(f"/{name}").status_code == 404
