"""Ablations: what each part of the recipe and of the network contributes to accuracy.

    python benchmarks/controls.py --data fer2013.csv --work runs/controls --network rcnn-tiny

Every variant is trained on Training with several seeds and measured on PublicTest, one view, with
the averaged weights of the last epoch. After every run, results/controls-NETWORK.json stores which
images the run classified correctly, so that finished runs are not repeated, even on another
machine; interrupted runs go on from `--work`. Prints the mean and standard deviation over seeds,
and two p-values of each variant against the baseline. The first is from a paired test over images
(n = 3,589, normal approximation) on the difference in the share of seeds that classify an image
correctly: would these same networks differ on other faces? The second is from Welch's t-test over
the seeds' accuracies: would networks of other seeds differ too? With three seeds it is hardly ever
small.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from machine import describe
from scipy.stats import ttest_ind

from semblante.data import load_dataset
from semblante.files import write_json
from semblante.train.batches import Faces
from semblante.train.loop import train
from semblante.train.measure import logits_of
from semblante.train.networks import build_network, count_multiply_adds, count_parameters
from semblante.train.presets import PRESETS, options_from
from semblante.train.reporter import Reporter
from semblante.train.trained import load_last

BASELINE = "baseline"
# For each variant, the options that differ from the baseline's and the network name's suffix.
VARIANTS: dict[str, tuple[dict[str, Any], str]] = {
    BASELINE: ({}, ""),
    "feed-forward, equal parameters": ({}, "-twin-parameters"),
    "feed-forward, equal multiply-adds": ({}, "-twin-multiply-adds"),
    "one norm for all steps": ({}, "-shared-norm"),
    "LRN instead of BN": ({}, "-lrn"),
    "without mixup": ({"mixup_probability": 0.0}, ""),
    "without label smoothing": ({"label_smoothing": 0.0}, ""),
    "without erasing": ({"erase_probability": 0.0}, ""),
    "without averaged weights (EMA)": ({"ema_decay": 0.0}, ""),
    "error at every step": ({"all_steps_weight": 0.3}, ""),
    "gated recurrence (GRCL)": ({}, "-gated"),
    "cutmix besides mixup": ({"cutmix_probability": 0.25, "mixup_probability": 0.25}, ""),
    "class weights": ({"class_weights": True}, ""),
}
Hits = npt.NDArray[np.bool_]  # which images of PublicTest were classified right, (n,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--network", default="rcnn-small")
    parser.add_argument("--preset", choices=PRESETS, default="standard")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="train only these variants")
    parser.add_argument("--processes", type=int, default=1, help="runs trained at the same time")
    arguments = parser.parse_args()
    path = Path(__file__).parent / "results" / f"controls-{arguments.network}.json"
    right = stored(path, arguments.preset, arguments.epochs)
    waiting = [
        (name, seed)
        for seed in range(arguments.seeds)
        for name in (arguments.only or VARIANTS)
        if seed not in right.get(name, {})
    ]
    threads = max(1, torch.get_num_threads() // arguments.processes)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        runs = {
            pool.submit(one_run, arguments, name, seed, threads): (name, seed)
            for name, seed in waiting
        }
        for run in as_completed(runs):
            name, seed = runs[run]
            right.setdefault(name, {})[seed] = run.result()
            print(f"{name}, seed {seed}: {right[name][seed].mean():.2%}", flush=True)
            write(path, arguments, right)
    write(path, arguments, right)
    for row in summed_up(right, arguments.network):
        print(
            f"{row['variant']}: {100 * row['mean']:.2f} +- {100 * row['sd']:.2f} % "
            f"({row['seeds']} seeds)"
            + (
                f", {100 * row['gain']:+.2f}, p = {row['p']:.2g} over images"
                if "gain" in row
                else ""
            )
            + (f", {row['p_seeds']:.2g} over seeds" if "p_seeds" in row else "")
        )


def one_run(arguments: argparse.Namespace, name: str, seed: int, threads: int) -> Hits:
    """In a subprocess: train a variant, unless that is done; return which images it gets right."""
    torch.set_num_threads(threads)
    dataset = load_dataset(arguments.data, cache=True)
    changes, ending = VARIANTS[name]
    network_name = arguments.network + ending
    # 0 unless a variant sets it, so that recipes are comparable: feed-forward networks have no
    # earlier steps that could have an error.
    recipe = {"network": network_name, "epochs": arguments.epochs, "seed": seed}
    options = options_from(arguments.preset, {**recipe, "all_steps_weight": 0.0, **changes})
    group = f"{arguments.network}-{arguments.preset}-{arguments.epochs}"
    run_dir = arguments.work / group / f"{name}-{seed}"
    train(dataset, options, run_dir, Reporter(), source={}, resume=True)
    network, _ = load_last(run_dir)
    public = Faces(dataset.split("PublicTest"), torch.device("cpu"))
    hits: Hits = (logits_of(network, public)[:, :7].argmax(dim=1) == public.labels).numpy()
    return hits


def stored(path: Path, preset: str, epochs: int) -> dict[str, dict[int, Hits]]:
    """The results of earlier calls of this script, for each variant and seed."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    theirs = (found["preset"], found["epochs"])
    if theirs != (preset, epochs):
        raise SystemExit(
            f"{path} is of the preset {theirs[0]} in {theirs[1]} epochs, asked for are {preset} "
            f"and {epochs}"
        )
    return {
        row["variant"]: {
            int(seed): np.unpackbits(
                np.frombuffer(base64.b64decode(bits), np.uint8), count=found["n"]
            ).astype(bool)
            for seed, bits in row["right"].items()
        }
        for row in found["variants"]
    }


def write(path: Path, arguments: argparse.Namespace, right: dict[str, dict[int, Hits]]) -> None:
    write_json(
        path,
        {
            "network": arguments.network,
            "preset": arguments.preset,
            "epochs": arguments.epochs,
            "n": len(next(iter(next(iter(right.values())).values()))),
            "machine": describe("torch", "numpy"),
            "variants": [
                {
                    **row,
                    "right": {
                        seed: base64.b64encode(np.packbits(hits).tobytes()).decode()
                        for seed, hits in sorted(right[row["variant"]].items())
                    },
                }
                for row in summed_up(right, arguments.network)
            ],
        },
    )


def summed_up(right: dict[str, dict[int, Hits]], base: str) -> list[dict[str, Any]]:
    """A row for each variant, compared with the baseline over the seeds that both have."""
    results = []
    for name in (name for name in VARIANTS if name in right):
        runs = right[name]
        network = build_network(base + VARIANTS[name][1])
        accuracies = [float(runs[seed].mean()) for seed in sorted(runs)]
        row: dict[str, Any] = {
            "variant": name,
            "parameters": count_parameters(network),
            "multiply_adds": count_multiply_adds(network),
            "seeds": len(runs),
            "accuracies": accuracies,
            "mean": float(np.mean(accuracies)),
            "sd": float(np.std(accuracies, ddof=1)) if len(runs) > 1 else 0.0,
        }
        common = sorted(set(runs) & set(right.get(BASELINE, {})))
        if name != BASELINE and common:
            ours = np.mean([runs[seed] for seed in common], axis=0)
            theirs = np.mean([right[BASELINE][seed] for seed in common], axis=0)
            difference = ours - theirs
            error = difference.std(ddof=1) / math.sqrt(len(difference))
            row["gain"] = float(difference.mean())
            row["p"] = math.erfc(abs(row["gain"]) / error / math.sqrt(2)) if error else 1.0
            if len(common) > 1:
                pair = [
                    [float(of[seed].mean()) for seed in common] for of in (runs, right[BASELINE])
                ]
                row["p_seeds"] = float(ttest_ind(*pair, equal_var=False).pvalue)
        results.append(row)
    return results


if __name__ == "__main__":
    main()
