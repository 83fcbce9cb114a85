"""Starts the server in a process of its own, for scripts that measure it or take screenshots."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run `semblante serve` within a `with` block, which begins as soon as the server answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "semblante", "serve", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            assert process.poll() is None, f"the server ended: is port {port} taken?"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)
        assert process.poll() is None, f"another server answers on port {port}"
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz").close()
    except OSError:
        return False
    return True
