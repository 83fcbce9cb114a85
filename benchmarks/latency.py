"""How long recognition takes, in milliseconds, on one and on two processor threads.

    python benchmarks/latency.py

Every figure is the median over many runs, taken in turn with the others so that a busy
machine slows all of them alike. Writes results/latency.json with the machine's description.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import describe

import semblante
from semblante.files import write_json
from semblante.models import MODELS, model_path
from semblante.recognise.classifier import Classifier

RESULTS = Path(__file__).parent / "results"
EXAMPLE = Path(__file__).parents[1] / "examples" / "eileen-collins.jpg"
ROUNDS = 50


def milliseconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (64, 48, 48)).astype(np.uint8)
    image = semblante.load_image(EXAMPLE)
    cases: dict[str, tuple[Callable[[], object], int]] = {}
    for name in MODELS:
        for threads in (1, 2):
            classifier = Classifier(model_path(name), threads=threads)
            analyzer = semblante.Analyzer(name, threads=threads)
            for batch in (1, 64):
                cases[f"{name}, {threads} thread(s), batch {batch}: ms a face"] = (
                    lambda c=classifier, n=batch: c.probabilities(faces[:n]),
                    batch,
                )
            cases[f"{name}, {threads} thread(s): ms a 512x512 picture, detection included"] = (
                lambda a=analyzer: a.analyze(image),
                1,
            )
    for run, _ in cases.values():  # warm up
        run()
    times: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(ROUNDS):
        for case, (run, n) in cases.items():
            times[case].append(milliseconds(run) / n)
    results = {case: round(statistics.median(values), 3) for case, values in times.items()}
    for case, value in results.items():
        print(f"{case}: {value}")
    RESULTS.mkdir(exist_ok=True)
    about = {
        **describe("numpy", "opencv-python-headless", "onnxruntime"),
        "rounds": ROUNDS,
    }
    write_json(RESULTS / "latency.json", {"machine": about, "median_ms": results})


if __name__ == "__main__":
    main()
