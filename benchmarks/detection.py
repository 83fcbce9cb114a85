"""Which faces each detector finds, what it takes for one wrongly, and how long it takes.

    python benchmarks/detection.py --photos photos/ --yunet face_detection_yunet_2023mar.onnx

`--photos`: pictures with a boxes.json of hand-drawn boxes. Besides these: the astronaut of
examples/, turned, mirrored, dimmed, small, and sixteen times in one picture. A box is right from an
IoU of 0.4. Writes results/detection.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import describe

from semblante.files import write_json
from semblante.images import load_image
from semblante.recognise.detectors import Detector, HaarDetector, YuNetDetector
from semblante.results import Box

ROOT = Path(__file__).resolve().parents[1]
RIGHT = 0.4  # IoU
ROUNDS = 15
FACE = Box(170, 60, 108, 108)  # of the astronaut: between what both detectors say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, required=True)
    arguments = parser.parse_args()
    pictures = {**photographs(arguments.photos), **variations()}
    detectors = {"haar": HaarDetector, "yunet": lambda **o: YuNetDetector(arguments.yunet, **o)}
    results: dict[str, Any] = {}
    for name, make in detectors.items():
        detector = make()
        rows = {title: counted(detector, *picture) for title, picture in pictures.items()}
        groups = {
            "photographs": [row for title, row in rows.items() if title.startswith("photo")],
            "all": list(rows.values()),
        }
        totals = {
            group: {key: sum(row[key] for row in some) for key in ("faces", "found", "false")}
            for group, some in groups.items()
        }
        results[name] = {"totals": totals, "pictures": rows, "median_ms": timed(make)}
        print(name, totals, results[name]["median_ms"])
    write_json(
        Path(__file__).parent / "results" / "detection.json",
        {"machine": describe("opencv-python-headless"), "rounds": ROUNDS, "detectors": results},
    )


def photographs(folder: Path) -> dict[str, tuple[np.ndarray, list[Box]]]:
    boxes = json.loads((folder / "boxes.json").read_text())
    return {
        f"photo {name}": (load_image(folder / name), [Box(*box) for box in drawn])
        for name, drawn in boxes.items()
    }


def variations() -> dict[str, tuple[np.ndarray, list[Box]]]:
    """The astronaut in other ways, and where her face is in each."""
    image = load_image(ROOT / "examples" / "eileen-collins.jpg")
    height, width = image.shape[:2]
    found: dict[str, tuple[np.ndarray, list[Box]]] = {}
    middle = (FACE.left + FACE.width / 2, FACE.top + FACE.height / 2)
    for degrees in (0, 15, 30, 45):
        turn = cv2.getRotationMatrix2D(middle, -degrees, 1)
        turned = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
        found[f"turned by {degrees} degrees"] = (turned, [FACE])
    mirrored = Box(width - FACE.left - FACE.width, FACE.top, FACE.width, FACE.height)
    found["mirrored"] = (np.ascontiguousarray(image[:, ::-1]), [mirrored])
    found["dimmed to 15 %"] = ((image * 0.15).astype(np.uint8), [FACE])
    for part in (2, 4):
        small = cv2.resize(image, None, fx=1 / part, fy=1 / part, interpolation=cv2.INTER_AREA)
        box = Box(*(round(value / part) for value in FACE.to_list()))
        found[f"at 1/{part} of the size"] = (small, [box])
    quarter = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    side = len(quarter)
    boxes = [
        Box(FACE.left // 2 + side * x, FACE.top // 2 + side * y, FACE.width // 2, FACE.height // 2)
        for y in range(4)
        for x in range(4)
    ]
    found["sixteen times"] = (np.tile(quarter, (4, 4, 1)), boxes)
    rng = np.random.default_rng(0)
    for number in range(10):
        noise = rng.integers(0, 256, (240, 320, 3)).astype(np.uint8)
        spots = cv2.GaussianBlur(noise, (0, 0), 2.0 ** (number / 2))
        spread = cv2.normalize(spots, None, 0, 255, cv2.NORM_MINMAX)
        found[f"no face {number}"] = (spread, [])
    return found


def counted(detector: Detector, image: np.ndarray, true: list[Box]) -> dict[str, int]:
    boxes = [detection.box for detection in detector.detect(image)]
    return {
        "faces": len(true),
        "found": sum(any(box.overlap(drawn) >= RIGHT for box in boxes) for drawn in true),
        "false": sum(all(box.overlap(drawn) < RIGHT for drawn in true) for box in boxes),
    }


def timed(make: Any) -> dict[str, float]:
    """Milliseconds a picture, searched at 320, 640 and 1280 pixels, in turn."""
    image = load_image(ROOT / "examples" / "eileen-collins.jpg")
    large = cv2.resize(image, (1280, 1280), interpolation=cv2.INTER_CUBIC)
    detectors = {side: make(max_side=side) for side in (320, 640, 1280)}
    times: dict[int, list[float]] = {side: [] for side in detectors}
    for number in range(ROUNDS + 1):
        for side, detector in detectors.items():
            started = time.perf_counter()
            detector.detect(large)
            if number:
                times[side].append(1000 * (time.perf_counter() - started))
    return {f"{side} px": round(statistics.median(values), 1) for side, values in times.items()}


if __name__ == "__main__":
    main()
