"""How accuracy depends on the steps of the last recurrent layer, and what stopping early saves.

    python benchmarks/early_exit.py --data fer2013.csv [--models rcnn-small-int8 ...]

Measures every shipped model, or those named, on PublicTest (n = 3,589), one view: accuracy,
calibration and mean steps per face, with 0 .. T steps for all faces, and with early exit, which
stops as soon as the most probable emotion of a face reaches a given probability. Times are medians
over rounds in which all settings take turns, on one thread, with one face or 64 at a time. Writes
results/early-exit-MODEL.json, from which the tables of docs/speed.md are made.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from machine import describe

from semblante import load_fer2013
from semblante.data import Dataset
from semblante.evaluation import evaluate
from semblante.files import write_json
from semblante.models import MODELS, model_path
from semblante.recognise.classifier import Classifier

RESULTS = Path(__file__).parent / "results"
EXITS = (0.6, 0.7, 0.8, 0.9, 0.95)
ROUNDS = 15
FACES = 256  # that are timed; real ones, since the number of steps depends on the face


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv as Kaggle ships it")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    arguments = parser.parse_args()
    dataset = load_fer2013(arguments.data)
    for model in arguments.models:
        measure(model, dataset)


def measure(model: str, dataset: Dataset) -> None:
    path = model_path(model)
    most = Classifier(path).max_steps
    assert most is not None
    ways: dict[str, dict[str, Any]] = {f"{t} steps": {"steps": t} for t in range(most + 1)}
    ways |= {f"early exit at {p:.2f}": {"early_exit": p} for p in EXITS}
    rows: dict[str, dict[str, float]] = {}
    for name, way in ways.items():
        found = evaluate(Classifier(path, **way), dataset, "PublicTest")
        n = found.n
        assert found.mean_steps is not None
        rows[name] = {
            "accuracy": found.accuracy, "ece": found.ece, "mean_steps": found.mean_steps
        }  # fmt: skip
    for name, times in timed(ways, path, dataset.split("PublicTest").images[:FACES]).items():
        rows[name] |= times
        print(model, name, rows[name], flush=True)
    about = describe("numpy", "onnxruntime")
    sha256 = MODELS[model].sha256
    result = {"machine": about, "model": model, "sha256": sha256, "n": n, "ways": rows}
    write_json(RESULTS / f"early-exit-{model}.json", result)


def timed(ways: dict[str, dict[str, Any]], path: Path, faces: Any) -> dict[str, dict[str, float]]:
    classifiers = {name: Classifier(path, threads=1, **way) for name, way in ways.items()}
    times: dict[str, dict[int, list[float]]] = {name: {1: [], 64: []} for name in ways}
    for number in range(ROUNDS + 1):  # the first round is a warm-up
        for name, classifier in classifiers.items():
            for batch in (1, 64):
                started = time.perf_counter()
                for start in range(0, len(faces), batch):
                    classifier.probabilities(faces[start : start + batch])
                if number:
                    took = 1000 * (time.perf_counter() - started) / len(faces)
                    times[name][batch].append(took)
    return {
        name: {f"ms_batch_{batch}": statistics.median(some) for batch, some in of_way.items()}
        for name, of_way in times.items()
    }


if __name__ == "__main__":
    main()
