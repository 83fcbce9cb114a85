"""How many faces each detector finds, how many false boxes it has, and how long it takes.

    python benchmarks/detection.py --photos photos/ --yunet YUNET.onnx --without PICTURES
        --data fer2013.csv --varied FOLDER...

`--photos`: a folder of pictures with a boxes.json of hand-drawn boxes. To these are added: the
astronaut of examples/, turned, mirrored, dimmed, small, cropped around her face, and sixteen times
in one picture; and pictures without a face, which are twenty parts of the photographs and ten
patterns. A box is correct from an IoU of 0.4 on. The emotions of faces found are those that the
default model gives. `--without`: a folder of more pictures without a face. `--data`: counts how
many are found of every seventh face of PublicTest, enlarged to 240 pixels, each a picture of its
own. `--varied`: folders of photographs for which YuNet stands in for hand-drawn boxes. Its
detections with a score of at least 0.8, at 640 or at 1280 pixels, count as faces; a box of another
detector is "elsewhere" if YuNet has no detection there of at least 0.5. Writes
results/detection.json.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import describe

from semblante import Analyzer, Detector, load_fer2013
from semblante.files import write_json
from semblante.images import load_image
from semblante.recognise.cnn import CnnDetector
from semblante.recognise.detection import without_overlaps
from semblante.recognise.haar import HaarDetector
from semblante.recognise.yunet import YuNetDetector
from semblante.results import Box

ROOT = Path(__file__).resolve().parents[1]
RIGHT = 0.4  # least IoU of a correct box with a hand-drawn one
# Limits of the IoU with YuNet's boxes, which are framed a little differently.
NEAR = 0.35  # from here on, it is the same face
APART = 0.25  # below this, the box is elsewhere
ROUNDS = 15
FACE = Box(170, 60, 108, 108)  # the astronaut's, between YuNet's box and the cascade's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--without", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--varied", type=Path, nargs="+", default=[])
    arguments = parser.parse_args()
    photos = photographs(arguments.photos)
    pictures = {**photos, **variations(), **without_faces(photos)}
    detectors: dict[str, Callable[..., Detector]] = {
        "cnn": CnnDetector,
        "haar": HaarDetector,
        "yunet": lambda **o: YuNetDetector(arguments.yunet, **o),
    }
    results: dict[str, Any] = {}
    for name, make in detectors.items():
        analyzer = Analyzer(detector=make())
        rows = {title: counted(analyzer, *picture) for title, picture in pictures.items()}
        groups = {
            "photographs": [row for title, row in rows.items() if title.startswith("photo")],
            "without a face": [row for row in rows.values() if not row["faces"]],
            "all": list(rows.values()),
        }
        totals = {
            group: {key: sum(row[key] for row in some) for key in ("faces", "found", "false")}
            for group, some in groups.items()
        }
        results[name] = {"totals": totals, "pictures": rows, "median_ms": timed(make)}
        if arguments.without:
            results[name]["more without a face"] = falsely_found(make(), arguments.without)
        if arguments.data:
            results[name]["faces alone"] = found_alone(make(), arguments.data)
        if name != "yunet":
            results[name]["varied"] = [
                beside_yunet(make(), arguments.yunet, folder) for folder in arguments.varied
            ]
        print(name, {key: value for key, value in results[name].items() if key != "pictures"})
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
    """Altered pictures of the astronaut, each with the boxes of her face."""
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
    for part in (2, 4, 8):
        small = cv2.resize(image, None, fx=1 / part, fy=1 / part, interpolation=cv2.INTER_AREA)
        box = Box(*(round(value / part) for value in FACE.to_list()))
        found[f"at 1/{part} of the size"] = (small, [box])
    for grown in (1.0, 1.2, 1.4):
        cut = FACE.grown(grown)
        inside = Box(FACE.left - cut.left, FACE.top - cut.top, FACE.width, FACE.height)
        rows, columns = slice(cut.top, cut.top + cut.height), slice(cut.left, None)
        alone = image[rows, columns][:, : cut.width]
        found[f"cut out, {grown} times the face"] = (np.ascontiguousarray(alone), [inside])
    quarter = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    side = len(quarter)
    boxes = [
        Box(FACE.left // 2 + side * x, FACE.top // 2 + side * y, FACE.width // 2, FACE.height // 2)
        for y in range(4)
        for x in range(4)
    ]
    found["sixteen times"] = (np.tile(quarter, (4, 4, 1)), boxes)
    return found


def without_faces(
    photos: dict[str, tuple[np.ndarray, list[Box]]],
) -> dict[str, tuple[np.ndarray, list[Box]]]:
    """Twenty squares of 120 pixels from the photographs that no face overlaps, and ten patterns."""
    rng = np.random.default_rng(0)
    found: dict[str, tuple[np.ndarray, list[Box]]] = {}
    while len(found) < 20:
        image, faces = photos[sorted(photos)[int(rng.integers(len(photos)))]]
        top, left = (int(rng.integers(0, side - 120)) for side in image.shape[:2])
        part = Box(left, top, 120, 120)
        if all(part.iou(face.grown(1.3)) == 0 for face in faces):
            found[f"no face {len(found)}"] = (image[top : top + 120, left : left + 120], [])
    for number in range(10):
        noise = rng.integers(0, 256, (240, 320, 3)).astype(np.uint8)
        spots = cv2.GaussianBlur(noise, (0, 0), 2.0 ** (number / 2))
        spread = cv2.normalize(spots, np.empty_like(spots), 0, 255, cv2.NORM_MINMAX)
        found[f"pattern {number}"] = (spread, [])
    return found


def falsely_found(detector: Detector, folder: Path) -> dict[str, Any]:
    """The number of boxes in a folder of pictures without a face, and which pictures have them."""
    suffixes = {".jpg", ".jpeg", ".png"}
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    boxes = {path.name: len(detector.detect(load_image(path))) for path in paths}
    some = {name: count for name, count in boxes.items() if count}
    return {"pictures": len(paths), "false": sum(some.values()), "in": some}


def found_alone(detector: Detector, data: Path) -> dict[str, Any]:
    """How many faces are found in pictures that consist only of FER2013's crop of a face."""
    dataset = load_fer2013(data)
    faces = dataset.images[dataset.is_in("PublicTest")][::7]
    found = 0
    for face in faces:
        large = cv2.resize(face, (240, 240), interpolation=cv2.INTER_CUBIC)
        boxes = [one.box for one in detector.detect(np.stack([large] * 3, axis=2))]
        found += any(box.iou(Box(0, 0, 240, 240)) >= RIGHT for box in boxes)
    return {"faces": len(faces), "found": found}


def beside_yunet(detector: Detector, yunet: Path, folder: Path) -> dict[str, Any]:
    """How many of the faces that YuNet is sure of in a folder's pictures `detector` finds, and how
    many boxes it has where YuNet sees nothing."""
    judges = [YuNetDetector(yunet, min_score=0.5, max_side=side) for side in (640, 1280)]
    row = {"pictures": 0, "faces": 0, "found": 0, "elsewhere": 0}
    for path in sorted(folder.iterdir()):
        image = load_image(path)
        seen = sorted(
            (one for judge in judges for one in judge.detect(image)), key=lambda one: -one.score
        )
        sure = without_overlaps(one for one in seen if one.score >= 0.8)
        boxes = [one.box for one in detector.detect(image)]
        row["pictures"] += 1
        row["faces"] += len(sure)
        row["found"] += sum(any(box.iou(one.box) >= NEAR for box in boxes) for one in sure)
        row["elsewhere"] += sum(all(box.iou(one.box) < APART for one in seen) for box in boxes)
    return {"folder": folder.name, **row}


def counted(analyzer: Analyzer, image: np.ndarray, true: list[Box]) -> dict[str, Any]:
    faces = analyzer.analyze(image)
    hits = [face for face in faces if any(face.box.iou(drawn) >= RIGHT for drawn in true)]
    return {
        "faces": len(true),
        "found": sum(any(face.box.iou(drawn) >= RIGHT for face in hits) for drawn in true),
        "false": len(faces) - len(hits),
        "emotions": dict(collections.Counter(face.emotion for face in hits)),
    }


def timed(make: Callable[..., Detector]) -> dict[str, float]:
    """Median milliseconds per picture, searched at 320, 640 and 1280 pixels."""
    image = load_image(ROOT / "examples" / "eileen-collins.jpg")
    enlarged = cv2.resize(image, (1280, 1280), interpolation=cv2.INTER_CUBIC)
    large = np.asarray(enlarged, np.uint8)
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
