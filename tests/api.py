"""Helpers for tests of the HTTP API: clients, jobs, pictures and metrics."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from conftest import wait_until
from semblante import Analyzer

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from semblante.server.app import create_app
from semblante.server.settings import Settings

HERE = "http://127.0.0.1:8000"
STREAM = "ws://127.0.0.1:8000/v1/stream"


def small(analyzer: Analyzer, **changes: object) -> TestClient:
    """Return a client of a server with the default settings, except for `changes`."""
    app = create_app(Settings(**changes), analyzer)  # type: ignore[arg-type]
    return TestClient(app, base_url=HERE, raise_server_exceptions=False)


def finished(client: TestClient, job: dict[str, object]) -> dict[str, object]:
    """Wait until a job has ended, and return it."""

    def ended() -> bool:
        job.update(client.get(f"/v1/jobs/{job['id']}").json())
        return job["state"] not in ("waiting", "running")

    wait_until(ended, step=0.05)
    return job


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()


def figure(client: TestClient, name: str) -> float:
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.removeprefix(name))
    raise AssertionError(name)
