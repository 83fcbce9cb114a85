"""Fixtures and helpers for tests of the page in a real browser, Chromium, whose camera is a film of
a real face."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import semblante
from conftest import EXAMPLE, wait_until

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from semblante.recognise.pipeline import Analyzer
    from semblante.server.app import create_app
    from semblante.server.settings import Settings

    with running(create_app(Settings(), Analyzer())) as address:
        yield address


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve an ASGI application in a thread, and yield its address."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        # A daemon: it does not keep Python from ending if a test fails in a way that keeps it busy.
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            assert thread.is_alive(), "the server ended"
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The film for the browser's fake camera: Eileen Collins, 640x480, swaying a little."""
    picture = semblante.load_image(EXAMPLE)
    path = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    with path.open("wb") as file:
        for number in range(60):
            shift = round(12 * np.sin(2 * np.pi * number / 60))
            frame = np.full((480, 640, 3), 110, np.uint8)
            frame[:, 64 + shift : 576 + shift] = picture[:480]
            _, encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            file.write(encoded.tobytes())
    return path


# Not for the session: while Playwright runs, nothing else can run an event loop in this thread.
@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={camera}", "--disable-background-networking",
                "--disable-component-update", "--disable-sync",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """A function that opens an address in a browser of its own, so to say, and returns the page.

    In the end the browser must have complained of nothing but what is `expected`, a regular
    expression (or what a test has taken out of `page.problems`), and must have asked for nothing
    but what is below the address.
    """
    with ExitStack() as visits:
        yield lambda address, **options: visits.enter_context(_visit(browser, address, **options))


@contextmanager
def _visit(
    browser: Any, address: str, *, expected: str = "^$", script: str = "", **options: Any
) -> Iterator[Any]:
    """`script` runs in each page before its own ones; `options` are those of the context."""
    context = browser.new_context(**{"locale": "en-GB", "permissions": ["camera"], **options})
    problems: list[str] = []
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    requested: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    context.add_init_script(script)
    page = context.new_page()
    page.problems = problems
    page.goto(address)
    yield page
    context.close()
    assert [problem for problem in problems if not re.search(expected, problem)] == []
    here = address.partition("#")[0]
    assert [url for url in requested if not url.startswith((here, "blob:"))] == []


@pytest.fixture
def page(opened: Callable[..., Any], address: str) -> Any:
    return opened(address, viewport={"width": 1200, "height": 900})


def one_face(page: Any) -> None:
    from playwright.sync_api import expect

    expect(page.locator(".face")).to_have_count(1, timeout=20_000)


def until(page: Any, condition: str) -> None:
    """Wait until a JavaScript expression is true. The page's content security policy forbids
    Playwright's own function for it."""
    wait_on(page, lambda: page.evaluate(condition))


def wait_on(page: Any, holds: Callable[[], object]) -> None:
    """Wait until `holds()` is true, while the page goes on and its requests reach the test."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        page.wait_for_timeout(50)


def hold(page: Any, address: str) -> Callable[[], None]:
    """Hold a request back, as on a slow line; the returned function lets it go on."""
    held: list[Any] = []
    page.route(address, lambda route: held.append(route))

    def let_go() -> None:
        wait_on(page, lambda: held)  # the page may say "Sending" before it sends the request
        held[0].continue_()

    return let_go


def pretend_results(page: Any, lines: str) -> None:
    """Give the page `lines` as the results of any job that has ended, and none of a running job."""
    page.route("**/v1/jobs/*/results", lambda route: route.fulfill(body=lines))
    page.route("**/v1/jobs/*/results?*", lambda route: route.fulfill(body=""))


def note_changes(page: Any, element: str) -> None:
    """Append each text that the element with this id gets from now on to `window.said`."""
    page.evaluate(
        """(id) => { window.said = [];
        const note = ({ addedNodes: [words] }) => window.said.push(words?.textContent ?? '');
        new MutationObserver((changes) => changes.forEach(note))
        .observe(document.getElementById(id), { childList: true }); }""",
        element,
    )


def boxed(page: Any) -> int:
    """Return the number of pixels that are drawn over the picture."""
    return page.evaluate(
        """() => { const c = document.getElementById('boxes');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n += 1; return n; }"""
    )


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `semblante serve` in a process that can be killed; yield the process once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "semblante", "serve", "--port", str(port), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, step=0.1)
        assert process.poll() is None, "the server ended"
        yield process
    finally:
        process.kill()
        process.wait()


def film(path: Path, seconds: int) -> Path:
    """Write the example picture as a film, 10 frames a second: a WebM, which Chromium can play."""
    picture = cv2.cvtColor(semblante.load_image(EXAMPLE), cv2.COLOR_RGB2BGR)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 10, (320, 320))
    assert writer.isOpened()
    for _ in range(10 * seconds):
        writer.write(cv2.resize(picture, (320, 320)))
    writer.release()
    return path
