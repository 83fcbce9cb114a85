"""How fast a video is analysed, whether memory grows with its length, and whether tracks hold.

    python benchmarks/video.py --photos photos/ [--minutes 1 10]

Makes a 720p video of real faces that move, leave and come back, one minute long, and another one
that repeats it ten times. Each is analysed in a process of its own with the default settings.
Writes results/video.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from machine import describe

from semblante.files import write_json
from semblante.images import load_image

ROOT = Path(__file__).resolve().parents[1]
FPS = 25
SIZE = (1280, 720)
SECONDS = 60
_RUN = """
import json, sys, time
from semblante import Analyzer
analyzer = Analyzer()
started = time.perf_counter()
rows, tracks = 0, {}
for analysis in analyzer.analyze_video(sys.argv[1]):
    rows += 1
    for face in analysis.faces:
        tracks.setdefault(face.track, []).append(analysis.time_s)
seconds = time.perf_counter() - started
# In kB, of this program alone: ru_maxrss also counts what it was started from.
[peak] = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({
    "frames": rows, "seconds": seconds, "frames_per_second": rows / seconds,
    "peak_resident_mb": peak / 1024,
    "tracks": {t: [times[0], times[-1], len(times)] for t, times in tracks.items()},
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=int, nargs="+", default=[1, 10], help="lengths; others stay as stored"
    )
    arguments = parser.parse_args()
    heads = cut_out(arguments.photos)
    output = Path(__file__).parent / "results" / "video.json"
    results = json.loads(output.read_text())["videos"] if output.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in arguments.minutes:
            name = f"{minutes} min"
            path = write(Path(folder) / f"{minutes}.mp4", heads, minutes)
            load = os.getloadavg()[0]  # what else the machine was doing
            done = subprocess.run(
                [sys.executable, "-c", _RUN, str(path)], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout)
            tracks = found.pop("tracks")
            found["tracks"] = len(tracks)
            found["longest_track_s"] = max(end - start for start, end, _ in tracks.values())
            found["load_average_before"] = load
            found["machine"] = describe("opencv-python-headless", "onnxruntime")
            results[name] = found
            print(name, found)
            write_json(output, {"videos": results})


def cut_out(photos: Path) -> list[np.ndarray]:
    """Four heads with some space around them, 240 pixels a side."""
    boxes = json.loads((photos / "boxes.json").read_text())
    found = []
    for name, drawn in boxes.items():
        left, top, side, _ = max(drawn, key=lambda box: box[2])
        image = load_image(photos / name)
        margin = side // 2
        x0, y0 = max(0, left - margin), max(0, top - margin)
        head = image[y0 : top + side + margin, x0 : left + side + margin]
        found.append(cv2.resize(head, (240, 240), interpolation=cv2.INTER_CUBIC))
    astronaut = load_image(ROOT / "examples" / "eileen-collins.jpg")[0:270, 90:360]
    return [cv2.resize(astronaut, (240, 240), interpolation=cv2.INTER_AREA), *found][:4]


def write(path: Path, heads: list[np.ndarray], minutes: int) -> Path:
    """Write the video: the astronaut stays; the others come and go, each for some seconds."""
    rng = np.random.default_rng(0)
    noise = rng.integers(60, 160, (SIZE[1] // 8, SIZE[0] // 8, 3)).astype(np.uint8)
    wall = cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
    started = time.perf_counter()
    for number in range(minutes * SECONDS * FPS):
        moment = (number / FPS) % SECONDS
        frame = wall.copy()
        for place, head in enumerate(heads):
            if place and int(moment / (4 + place)) % 2 == place % 2:
                continue  # away
            x = 60 + 290 * place + round(40 * math.sin(moment * (0.7 + 0.2 * place)))
            y = 240 + round(160 * math.sin(moment * (0.5 + 0.1 * place) + place))
            y = min(max(0, y), SIZE[1] - 240)
            frame[y : y + 240, x : x + 240] = head
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    print(f"{path.name} made in {time.perf_counter() - started:.0f} s")
    return path


if __name__ == "__main__":
    main()
