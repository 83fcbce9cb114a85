"""How long recognition takes, in milliseconds, on one and on two processor threads.

    python benchmarks/latency.py

Faces alone and by 64 as `semblante bench` times them (with the peers that are installed here), a
thousand of them in one call, and a whole picture with detection. Every figure is the median over
many runs, taken in turn with the others so that a busy machine slows all of them alike. Writes
results/latency.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from machine import describe

import semblante
from semblante.files import write_json
from semblante.models import MODELS
from semblante.recognise.timing import THREADS, time_recognisers

RESULTS = Path(__file__).parent / "results"
EXAMPLE = Path(__file__).parents[1] / "examples" / "eileen-collins.jpg"
ROUNDS = 50


def main() -> None:
    results: dict[str, float] = {}
    for timing in time_recognisers(MODELS, rounds=ROUNDS):
        case = f"{timing.name}, {timing.threads or 'its own'} thread(s), batch {timing.batch}"
        results[f"{case}: ms a face"] = timing.ms_a_face
    image = semblante.load_image(EXAMPLE)
    many = np.random.default_rng(0).integers(0, 256, (1024, 48, 48)).astype(np.uint8)
    streams, pictures = {}, {}
    for name in MODELS:
        for threads in THREADS:
            analyzer = semblante.Analyzer(name, threads=threads)
            case = f"{name}, {threads} thread(s)"
            streams[f"{case}, {len(many)} faces in one call: ms a face"] = partial(
                analyzer.classifier.probabilities, many
            )
            pictures[f"{case}: ms a 512x512 picture, detection included"] = partial(
                analyzer.analyze, image
            )
    for case, milliseconds in medians(streams, rounds=ROUNDS // 7).items():
        results[case] = milliseconds / len(many)
    results |= medians(pictures, rounds=ROUNDS // 3)
    results = {case: round(value, 3) for case, value in results.items()}
    for case, value in results.items():
        print(f"{case}: {value}")
    about = {**describe("numpy", "opencv-python-headless", "onnxruntime"), "rounds": ROUNDS}
    weights = {name: entry.sha256 for name, entry in MODELS.items()}
    write_json(
        RESULTS / "latency.json", {"machine": about, "sha256": weights, "median_ms": results}
    )


def medians(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of each, one after another in every round."""
    times: dict[str, list[float]] = {case: [] for case in runs}
    for number in range(rounds + 1):  # the first one warms up
        for case, run in runs.items():
            started = time.perf_counter()
            run()
            if number:
                times[case].append(1000 * (time.perf_counter() - started))
    return {case: statistics.median(values) for case, values in times.items()}


if __name__ == "__main__":
    main()
