"""How fast the live page is in a real browser: results per second, delay from frame to drawn box.

    python benchmarks/live.py [--seconds 20]

Needs Chromium. Starts the server in a process of its own, and headless Chromium with a fake camera
that shows the astronaut of examples/ at 640x480; reads the figures that the page itself measures.
Writes results/live.json.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from machine import describe
from playwright import sync_api as playwright
from serving import serving

from semblante.files import write_json
from semblante.images import load_image

ROOT = Path(__file__).resolve().parents[1]
PORT = 8791
ADDRESS = f"http://127.0.0.1:{PORT}/"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with (
        serving(PORT),
        tempfile.TemporaryDirectory() as folder,
        playwright.sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream", "--disable-background-networking",
                f"--use-file-for-fake-video-capture={film(Path(folder) / 'face.mjpeg')}",
            ],
        )  # fmt: skip
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(ADDRESS)
        page.get_by_role("button", name="Start the camera").click()
        page.wait_for_selector(".face", timeout=30_000)
        page.wait_for_timeout(5000)  # the page's rate is over the last five seconds
        rates, delays = [], []
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            page.wait_for_timeout(500)
            rates.append(float(page.get_attribute("body", "data-rate") or 0))
            delays.append(float(page.get_attribute("body", "data-delay") or 0))
        version = browser.version
        browser.close()
    found = {
        "results_per_second": float(np.median(rates)),
        "median_delay_ms": float(np.median(delays)),
    }
    print(found)
    write_json(
        Path(__file__).parent / "results" / "live.json",
        {
            "machine": describe("opencv-python-headless", "onnxruntime", "playwright"),
            "chromium": version,
            "seconds": seconds,
            **found,
        },
    )


def film(path: Path) -> Path:
    """Write the fake camera's film, motion JPEG: Eileen Collins, swaying a little."""
    picture = load_image(ROOT / "examples" / "eileen-collins.jpg")
    with path.open("wb") as file:
        for number in range(60):
            shift = round(12 * np.sin(2 * np.pi * number / 60))
            frame = np.full((480, 640, 3), 110, np.uint8)
            frame[:, 64 + shift : 576 + shift] = picture[:480]
            _, encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            file.write(encoded.tobytes())
    return path


if __name__ == "__main__":
    main()
