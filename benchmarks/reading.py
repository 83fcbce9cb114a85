"""How long reading fer2013.csv takes and how much memory it needs, compared with pandas.

    python benchmarks/reading.py --data fer2013.csv

Each way runs in a process of its own, in turn; all must give the same arrays. Writes
results/reading.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe

from semblante.files import write_json

ROUNDS = 5
WAYS = {
    "semblante, first time": "load_dataset(path).images",
    "semblante, from its cache": "load_dataset(path, cache=True).images",
    "pandas": (
        "np.stack(pd.read_csv(path)['pixels'].map("
        "lambda text: np.array(text.split(), dtype=np.uint8).reshape(48, 48)))"
    ),
}
_RUN = """
import sys, time
import numpy as np
if "pd." in {way!r}:
    import pandas as pd
else:
    from semblante import load_dataset
path = sys.argv[1]
started = time.perf_counter()
images = {way}
seconds = time.perf_counter() - started
# In kB, of this program alone: ru_maxrss also counts what it was started from.
[peak] = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
megabytes = peak / 1024
import json
print(json.dumps([seconds, megabytes, list(images.shape), int(images.sum())]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv as Kaggle ships it")
    data = parser.parse_args().data
    measured: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    arrays = set()
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "SEMBLANTE_CACHE": cache}
        for number in range(ROUNDS + 1):  # the first round fills the caches, untimed
            for way, code in WAYS.items():
                done = subprocess.run(
                    [sys.executable, "-c", _RUN.format(way=code), str(data)],
                    capture_output=True, text=True, check=True, env=environment,
                )  # fmt: skip
                seconds, megabytes, *array = json.loads(done.stdout)
                arrays.add(str(array))
                if number:
                    measured[way].append([seconds, megabytes])
    assert len(arrays) == 1, f"the ways disagree: {arrays}"
    results = {
        way: {
            "seconds": round(statistics.median(seconds for seconds, _ in runs), 3),
            "peak_resident_mb": round(statistics.median(mb for _, mb in runs)),
        }
        for way, runs in measured.items()
    }
    for way, figures in results.items():
        print(f"{way}: {figures['seconds']} s, {figures['peak_resident_mb']} MB resident")
    write_json(
        Path(__file__).parent / "results" / "reading.json",
        {"machine": describe("numpy", "pandas"), "rounds": ROUNDS, "median": results},
    )


if __name__ == "__main__":
    main()
