"""Which requests the HTTP API accepts, and the headers of every answer."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest

import semblante
from conftest import EXAMPLE
from semblante import Analyzer, OptionError

pytest.importorskip("fastapi")
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from api import HERE, STREAM, small
from semblante.server.app import create_app
from semblante.server.guard import Guard
from semblante.server.settings import Settings


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
    """Return the messages that a guard around `app` sends, and the statuses it counts as
    refused."""
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
        {"type": "received"}, {**closed, "reason": "the Host header is not localhost"}
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
    assert dict(started["headers"])[b"cache-control"] == b"max-age=60"  # the app's own is kept


@pytest.mark.parametrize(
    ("sent", "taken", "closed"),
    [
        ({}, 0, False),
        ({"content-length": "0"}, 0, False),
        ({"content-length": "100000000"}, 0, True),
        ({"content-length": "100000000"}, 1, True),
        ({"content-length": "100000000"}, 2, False),
        ({"transfer-encoding": "chunked"}, 1, True),
        ({"transfer-encoding": "chunked"}, 2, False),
    ],
)
def test_an_answer_before_the_body_has_come_closes_the_connection(
    sent: dict[str, str], taken: int, closed: bool
) -> None:
    """The server would receive the rest, only to drop it."""
    started: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(taken):
            await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive(pieces: Any = iter([True, False])) -> dict[str, Any]:  # noqa: B008
        return {"type": "http.request", "body": b"x", "more_body": next(pieces)}

    async def send(message: Any) -> None:
        started.append(dict(message["headers"]).get(b"connection"))

    headers = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/x",
        "headers": [(b"host", b"localhost"), *headers],
    }  # fmt: skip
    asyncio.run(Guard(app, Settings(), lambda status: None)(scope, receive, send))
    assert started == [b"close" if closed else None]


@pytest.mark.parametrize("pieces", [[True, True, False], itertools.repeat(True), [None]])
def test_whoever_still_sends_sees_the_answer(
    pieces: Iterable[bool | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is closed while much is on its way is reset, and the answer with it."""
    monkeypatch.setattr("semblante.server.guard._LINGER_S", 0.05)
    coming, events = iter(pieces), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse({"error": "no"}, 404)(scope, receive, send)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        events.append("taken")
        more = next(coming)
        kind = "http.disconnect" if more is None else "http.request"
        return {"type": kind, "body": b"x", "more_body": more}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            events.append((message["body"], message.get("more_body", False)))

    headers = [(b"host", b"localhost"), (b"content-length", b"100000000")]
    scope = {"type": "http", "method": "POST", "path": "/v1/x", "headers": headers}
    asyncio.run(Guard(app, Settings(), lambda status: None)(scope, receive, send))
    answer, *taken, end = events
    assert (answer, end) == ((b'{"error":"no"}', True), (b"", False))
    assert taken == ["taken"] * len(taken)
    assert taken
    if isinstance(pieces, list):
        assert len(taken) == len(pieces)


def test_a_refusal_does_not_wait_for_the_body(analyzer: Analyzer) -> None:
    client = small(analyzer, token="secret")
    for path, status in (("/v1/analyze", 401), ("/v1/explain?face=0", 401)):
        answer = client.post(path, content=b"x" * 1000)
        assert (answer.status_code, answer.headers["connection"]) == (status, "close")
    known = {"authorization": "Bearer secret"}
    for path, status in (("/v1/explain?face=0", 422), ("/v1/nope", 404), ("/v1/analyze?a=b", 400)):
        answer = client.post(path, content=b"x" * 1000, headers=known)
        assert (answer.status_code, answer.headers["connection"]) == (status, "close")
    answer = client.post("/v1/analyze", content=b"no picture", headers=known)
    assert (answer.status_code, answer.headers.get("connection")) == (422, None)


def test_who_waits_while_the_server_ends_is_told_so() -> None:
    async def app(*_: Any) -> None:
        raise asyncio.CancelledError

    [started, answer], refused = guarded(app)
    assert (started["status"], refused) == (503, [503])
    assert json.loads(answer["body"]) == {"error": "the server is shutting down"}
    assert (b"retry-after", b"5") in started["headers"]


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
    with small(analyzer, max_streams=1) as client:
        with client.websocket_connect(STREAM) as first:
            first.send_bytes(EXAMPLE.read_bytes())
            assert first.receive_json()["frame"] == 0
            with client.websocket_connect(STREAM) as second:
                with pytest.raises(WebSocketDisconnect) as caught:
                    second.receive_json()
                assert caught.value.code == 1013
        with client.websocket_connect(STREAM) as third:  # there is room again
            third.send_bytes(EXAMPLE.read_bytes())
            assert third.receive_json()["frame"] == 0


def test_a_token_counts_below_a_path_too(analyzer: Analyzer) -> None:
    """The token is required below a path of another application too."""
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
            # The path with the prefix, as uvicorn passes it; not all of these routes exist.
            assert client.get(f"{HERE}{above}{path}").status_code == 401


def test_the_token(analyzer: Analyzer) -> None:
    client = small(analyzer, host="192.0.2.1", token="secret")
    assert client.get("/").status_code == 200  # the page itself contains no data
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
    right = {"authorization": "Bearer secret"}  # programs other than browsers can set headers
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
    assert asked.status_code == 200  # a browser's preflight request has no token
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert asked.headers["access-control-expose-headers"] == "location, retry-after"
    assert asked.headers["cross-origin-resource-policy"] == "cross-origin"
    assert asked.headers["vary"] == "origin"
