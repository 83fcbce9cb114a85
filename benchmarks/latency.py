"""How long recognition takes, in milliseconds, on one and on two processor threads.

    python benchmarks/latency.py

A face by itself as `semblante bench` times it (with the peers that are installed here), and a whole
picture with detection. Every figure is the median over many runs, taken in turn with the others so
that a busy machine slows all of them alike. Writes results/latency.json.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path

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
    pictures = {
        f"{name}, {threads} thread(s): ms a 512x512 picture, detection included": partial(
            semblante.Analyzer(name, threads=threads).analyze, image
        )
        for name in MODELS
        for threads in THREADS
    }
    times: dict[str, list[float]] = {case: [] for case in pictures}
    for number in range(ROUNDS // 3 + 1):  # the first one warms up
        for case, run in pictures.items():
            started = time.perf_counter()
            run()
            if number:
                times[case].append(1000 * (time.perf_counter() - started))
    results |= {case: statistics.median(values) for case, values in times.items()}
    results = {case: round(value, 3) for case, value in results.items()}
    for case, value in results.items():
        print(f"{case}: {value}")
    about = {**describe("numpy", "opencv-python-headless", "onnxruntime"), "rounds": ROUNDS}
    write_json(RESULTS / "latency.json", {"machine": about, "median_ms": results})


if __name__ == "__main__":
    main()
