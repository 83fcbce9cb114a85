"""How many milliseconds recognition takes, on one and on two processor threads.

    python benchmarks/latency.py [--machine avx2]

Times faces one at a time and in batches of 64, as `semblante bench` does (with the other
recognisers that are installed); 1,024 faces in one call; and a whole picture with detection. Every
figure is the median over several rounds and the fastest of them, see `time_in_turn`. Writes
results/latency.json, or results/latency-MACHINE.json on a processor that is measured in addition to
the usual one; `make docs` makes the tables of docs/speed.md from them.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from machine import describe

import semblante
from semblante.files import write_json
from semblante.models import MODELS
from semblante.recognise.detectors import DEFAULT_DETECTOR
from semblante.recognise.timing import THREADS, Milliseconds, time_in_turn, time_recognisers

RESULTS = Path(__file__).parent / "results"
EXAMPLE = Path(__file__).parents[1] / "examples" / "eileen-collins.jpg"
ROUNDS = 50
STREAM = 1024  # faces in one call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machine", default="", help="another processor's name, for the file name")
    machine = parser.parse_args().machine
    rows: dict[tuple[str, int | None], dict[str, Milliseconds]] = {}
    for timing in time_recognisers(MODELS, rounds=ROUNDS):
        row = rows.setdefault((timing.name, timing.threads), {})
        row[f"ms a face, by {timing.batch}"] = timing.ms_a_face
    image = semblante.load_image(EXAMPLE)
    many = np.random.default_rng(0).integers(0, 256, (STREAM, 48, 48)).astype(np.uint8)
    analyzers = {
        (name, threads): semblante.Analyzer(name, threads=threads)
        for name in MODELS
        for threads in THREADS
    }
    streams = {
        key: partial(analyzer.classifier.probabilities, many) for key, analyzer in analyzers.items()
    }
    for key, took in time_in_turn(streams, ROUNDS // 7).items():
        each = Milliseconds(took.median / STREAM, took.fastest / STREAM)
        rows[key][f"ms a face, by {STREAM}"] = each
    pictures = {key: partial(analyzer.analyze, image) for key, analyzer in analyzers.items()}
    for key, took in time_in_turn(pictures, ROUNDS // 3).items():
        rows[key][f"ms a picture of {image.shape[1]}x{image.shape[0]}, detection included"] = took
    results = [
        {
            "model": name,
            "threads": threads,
            "ms": {
                what: {"median": round(ms.median, 3), "fastest": round(ms.fastest, 3)}
                for what, ms in row.items()
            },
        }
        for (name, threads), row in rows.items()
    ]
    for result in results:
        print(result)
    about = {
        **describe("numpy", "opencv-python-headless", "onnxruntime"),
        "detector": DEFAULT_DETECTOR,
        "rounds": ROUNDS,
    }
    weights = {name: entry.sha256 for name, entry in MODELS.items()}
    name = f"latency-{machine}.json" if machine else "latency.json"
    write_json(RESULTS / name, {"machine": about, "sha256": weights, "results": results})


if __name__ == "__main__":
    main()
