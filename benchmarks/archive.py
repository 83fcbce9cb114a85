"""Is a large folder with broken pictures analysed completely, even if the program is killed?

    python benchmarks/archive.py --photos photos/ --yunet face_detection_yunet_2023mar.onnx

Makes 5,000 pictures in sub-folders, 1 % of them broken: truncated, empty, text, or random bytes.
Analyses them once without interruption, and once killed (SIGKILL) at five random times and resumed,
and compares the two results byte by byte. Writes results/archive.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import describe
from video import cut_out

from semblante.files import write_json

PICTURES = 5000
BROKEN = 50
KILLS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["SEMBLANTE_CACHE"] = str(root / "cache")
        pull = ["models", "pull", "yunet", "--from", str(arguments.yunet)]
        subprocess.run([sys.executable, "-m", "semblante", *pull], check=True)
        broken = make(root / "archive", cut_out(arguments.photos))
        whole, whole_seconds, code = analysed(root, "whole.jsonl")
        killed, kills = analysed_with_kills(root, "killed.jsonl", whole_seconds)
        rows = [json.loads(line) for line in whole.splitlines()]
        found: dict[str, Any] = {
            "machine": describe("opencv-python-headless", "onnxruntime"),
            "pictures": PICTURES,
            "broken": BROKEN,
            "exit_code": code,
            "rows": len(rows),
            "read": sum(row["error"] is None for row in rows),
            "the_broken_ones_are_listed": broken
            == {Path(row["path"]).name for row in rows if row["error"] is not None},
            "faces": sum(len(row["faces"]) for row in rows),
            "pictures_per_second": PICTURES / whole_seconds,
            "kills": kills,
            "identical_after_kills": killed == whole,
        }
        print(found)
        write_json(Path(__file__).parent / "results" / "archive.json", found)


def make(folder: Path, heads: list[np.ndarray]) -> set[str]:
    """Write pictures of 320x240 with no, one or two heads each; return the broken ones' names."""
    rng = np.random.default_rng(0)
    broken = set(rng.choice(PICTURES, BROKEN, replace=False).tolist())
    for number in range(PICTURES):
        path = folder / f"{number % 20:02d} año" / f"picture {number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(60, 160, (30, 40, 3)).astype(np.uint8)
        picture = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
        for place in range(number % 3):
            side = int(rng.integers(70, 150))
            top, left = int(rng.integers(0, 240 - side)), 160 * place + int(rng.integers(0, 10))
            head = cv2.resize(heads[int(rng.integers(len(heads)))], (side, side))
            picture[top : top + side, left : left + side] = head
        data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
        if number in broken:
            data = (data[: len(data) // 3], b"", b"no picture\n", rng.bytes(900))[number % 4]
        path.write_bytes(data)
    return {f"picture {number:04d}.jpg" for number in broken}


def command(root: Path, out: str) -> list[str]:
    options = ["--detector", "yunet", "--format", "json", "--out", str(root / out)]
    return [sys.executable, "-m", "semblante", "analyze", str(root / "archive"), *options]


def analysed(root: Path, out: str) -> tuple[bytes, float, int]:
    started = time.perf_counter()
    done = subprocess.run(command(root, out), stderr=subprocess.DEVNULL, check=False)
    return (root / out).read_bytes(), time.perf_counter() - started, done.returncode


def analysed_with_kills(root: Path, out: str, whole_seconds: float) -> tuple[bytes, int]:
    rng = random.Random(0)
    kills = 0
    for number in range(KILLS):
        resume = ["--resume"] if number else []
        running = subprocess.Popen([*command(root, out), *resume], stderr=subprocess.DEVNULL)
        try:
            running.wait(rng.uniform(0.05, 0.15) * whole_seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            kills += running.wait() < 0
    last = [*command(root, out), "--resume"]
    subprocess.run(last, stderr=subprocess.DEVNULL, check=False)
    return (root / out).read_bytes(), kills


if __name__ == "__main__":
    main()
