"""Whatever the OpenAPI document allows, and much that it does not, is answered without a 5xx."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")
import hypothesis  # noqa: E402 - it comes with schemathesis

from semblante import Analyzer  # noqa: E402
from semblante.server.app import create_app  # noqa: E402
from semblante.server.settings import Settings  # noqa: E402

# By this machine's own name: by another the server refuses everything.
HOST = {"host": "127.0.0.1:8000"}
app = create_app(Settings(), Analyzer(threads=1))
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
