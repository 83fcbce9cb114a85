"""Takes screenshots of the page in each of its states, for docs/server.md; needs Chromium.

    python docs/screenshots.py

A fake camera shows the astronaut of examples/. Writes docs/images/page-*.jpg.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
from playwright import sync_api as playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from live import ADDRESS, PORT, film  # noqa: E402
from serving import serving  # noqa: E402

IMAGES = Path(__file__).parent / "images"
EXAMPLE = ROOT / "examples" / "eileen-collins.jpg"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, playwright.sync_playwright() as driver:
        frames = film(Path(folder) / "face.mjpeg")
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream", "--disable-background-networking",
                f"--use-file-for-fake-video-capture={frames}",
            ],
        )  # fmt: skip
        with serving(PORT) as server:
            for name, options, act in (
                ("start", {}, lambda page: None),
                ("live", {}, camera),
                ("dark", {"color_scheme": "dark"}, camera),
                ("picture", {}, picture),
                ("video", {}, lambda page: video(page, film_mp4(frames))),
                ("spanish", {"locale": "es-MX"}, picture),
                ("phone", {"viewport": {"width": 390, "height": 844}}, camera),
                ("refused", {}, refused),
                ("gone", {}, lambda page: gone(page, server)),  # comes last: it kills the server
            ):
                about: dict[str, Any] = {
                    "viewport": {"width": 1100, "height": 760}, "locale": "en-GB", **options,
                }  # fmt: skip
                context = browser.new_context(**about, permissions=["camera"])
                page = context.new_page()
                page.goto(ADDRESS)
                act(page)
                path = IMAGES / f"page-{name}.jpg"
                page.screenshot(path=path, type="jpeg", quality=62)
                print(path.name, path.stat().st_size // 1000, "kB", flush=True)
                context.close()
        browser.close()


def camera(page: playwright.Page) -> None:
    page.locator("#camera").click()
    page.wait_for_selector(".face", timeout=30_000)
    page.wait_for_timeout(6000)


def picture(page: playwright.Page) -> None:
    page.set_input_files("#file", EXAMPLE)
    page.wait_for_selector(".face", timeout=30_000)
    page.locator(".evidence button").first.click()
    page.wait_for_selector(".evidence.open", timeout=30_000)


def film_mp4(frames: Path) -> Path:
    """Write the fake camera's film, twice over, as a WebM file that Chromium can play."""
    path = frames.with_suffix(".webm")
    film = cv2.VideoCapture(str(frames))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 30, (640, 480))
    for _ in range(2):
        film.open(str(frames))
        while (frame := film.read())[0]:
            writer.write(frame[1])
    writer.release()
    return path


def video(page: playwright.Page, path: Path) -> None:
    page.set_input_files("#file", path)
    page.wait_for_selector(".face", timeout=60_000)
    page.wait_for_timeout(1500)


def refused(page: playwright.Page) -> None:
    page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException('Permission denied', 'NotAllowedError'); }; }"""
    )
    page.locator("#camera").click()
    page.wait_for_timeout(300)


def gone(page: playwright.Page, server: subprocess.Popen[bytes]) -> None:
    camera(page)
    server.kill()
    page.wait_for_timeout(1500)


if __name__ == "__main__":
    main()
