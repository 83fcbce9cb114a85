"""How fast the live page is in a real browser: results per second, delay from frame to drawn boxes.

    python benchmarks/live.py [--seconds 20]

Needs Chromium. Starts the server in a process of its own, and headless Chromium with a fake camera
that shows the astronaut of examples/ at 640x480. A script that runs in the page before its own
wraps the browser's functions: the delay is from the moment when a frame, copied from the video, is
about to be compressed, to the moment when the page has drawn its answer. Writes results/live.json.

`results_per_second` is the mean over all of the time. Before December 2026 it was the median of
rates over five seconds each, which the page measured itself; and the delay did not include reading
the answer and, of some frames, drawing the timeline.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
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
# Collects in `delays` the milliseconds from each frame to its drawn answer. Only one frame is under
# way at a time, so an answer is always to the frame that was compressed last.
MEASURE = """
window.delays = [];
let taken = null;
const { toBlob } = HTMLCanvasElement.prototype;
HTMLCanvasElement.prototype.toBlob = function (...how) {
  taken = performance.now();
  toBlob.apply(this, how);
};
window.WebSocket = class extends WebSocket {
  set onmessage(take) {
    super.onmessage = (event) => {
      take(event);
      if (JSON.parse(event.data).error === null) window.delays.push(performance.now() - taken);
    };
  }
};
"""


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
        page.add_init_script(MEASURE)
        page.goto(ADDRESS)
        page.get_by_role("button", name="Start the camera").click()
        page.wait_for_selector(".face", timeout=30_000)
        page.wait_for_timeout(5000)  # the first results take longer than those that follow
        started = page.evaluate("window.delays.length = 0, performance.now()")
        page.wait_for_timeout(1000 * seconds)
        delays, ended = page.evaluate("[window.delays, performance.now()]")
        assert delays, "no result came"
        version = browser.version
        browser.close()
    found = {
        "results_per_second": 1000 * len(delays) / (ended - started),
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
