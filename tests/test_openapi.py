"""The server answers as its OpenAPI document says, and never with a 5xx, whatever is sent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")
import hypothesis  # noqa: E402 - it comes with schemathesis
from pydantic import BaseModel  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conftest import EXAMPLE  # noqa: E402
from films import canvas, write_video  # noqa: E402
from semblante import Analyzer  # noqa: E402
from semblante.server import answers  # noqa: E402
from semblante.server.app import create_app  # noqa: E402
from semblante.server.settings import Settings  # noqa: E402

# The local machine's name: the server refuses requests to any other.
HOST = {"host": "127.0.0.1:8000"}
AS_SAID = [content_type_conformance, response_schema_conformance, status_code_conformance]
analyzer = Analyzer(threads=1)
app = create_app(Settings(), analyzer)
schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST)


@schema.parametrize()
@hypothesis.settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
def test_no_server_error(case: Any) -> None:
    answer = case.call(headers={**(case.headers or {}), **HOST})
    # Videos are analysed one after the other: too many may be told to come back.
    assert answer.status_code < 500 or (answer.status_code == 503 and answer.headers["retry-after"])
    assert answer.status_code != 403
    case.validate_response(answer, checks=AS_SAID)


def answered(method: str, path: str, status: int, **sent: Any) -> Any:
    """Return the answer, after checking that it is as the document says."""
    case = schema[path][method].Case(headers=HOST, **sent)
    answer = case.call()
    case.validate_response(answer, checks=AS_SAID)
    assert answer.status_code == status
    return answer


def test_answers_are_as_the_document_says(tmp_path: Path) -> None:
    """Answers to real pictures and videos; and the models drop no field of them."""
    picture = {"body": EXAMPLE.read_bytes(), "media_type": "application/octet-stream"}
    film = write_video(tmp_path / "film.mp4", 3, lambda _: canvas())
    video = {"body": film.read_bytes(), "media_type": "application/octet-stream"}
    answered("GET", "/v1/models", 200)
    answered("POST", "/v1/analyze", 422, **video)
    answered("POST", "/v1/explain", 422, **video)
    answered("GET", "/v1/jobs/{id}", 404, path_parameters={"id": "none"})
    found = answered("POST", "/v1/analyze", 200, **picture).json()
    explained = answered("POST", "/v1/explain", 200, **picture).json()
    [face] = analyzer.analyze(EXAMPLE)
    assert found["results"][0]["faces"] == [face.to_dict()]
    assert explained == analyzer.explain(EXAMPLE)[0].to_dict()
    job = answered("POST", "/v1/analyze/video", 202, **video).json()
    id = {"path_parameters": {"id": job["id"]}}
    deadline = time.monotonic() + 60
    while job["state"] in ("waiting", "running"):
        assert time.monotonic() < deadline
        job = answered("GET", "/v1/jobs/{id}", 200, **id).json()
    assert job == app.state.jobs.get(job["id"]).to_dict()
    rows = answered("GET", "/v1/jobs/{id}/results", 200, **id).text.splitlines()
    assert [json.loads(row)["frame"] for row in rows] == [0, 1, 2]
    assert answered("GET", "/v1/jobs/{id}/tracks", 200, **id).json()["frames"] == 3
    assert answered("POST", "/v1/annotate", 200, **picture).content.startswith(b"\xff\xd8")
    for row in rows:  # rows are sent without passing through the models
        assert answers.Analysis.model_validate_json(row).model_dump() == json.loads(row)


def test_every_answer_has_a_form() -> None:
    """JSON answers have a model in `answers`, and refusals of access are documented."""
    for path, calls in app.openapi()["paths"].items():
        for call in calls.values():
            needed = {"403"} if path == "/healthz" else {"401", "403"}
            assert needed <= set(call["responses"])
            for status, answer in call["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if kind != "application/json":
                        assert status == "200"  # errors are JSON everywhere
                        assert kind in ("text/plain", "image/jpeg", "application/x-ndjson")
                        continue
                    name = content["schema"]["$ref"].rpartition("/")[2]
                    assert issubclass(getattr(answers, name), BaseModel), (path, status)
