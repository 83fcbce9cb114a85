"""What each part of the recipe and of the network is worth: the same run with and without it.

    python benchmarks/controls.py --data fer2013.csv --work runs/controls [--only NAME ...]

Every variant is trained with several seeds on Training and measured on PublicTest, one view. Runs
lie in `--work`; those that are finished are not made again, interrupted ones go on. Prints and
writes (results/controls.json) mean and standard deviation over seeds, and a paired test over images
of each variant against the baseline: of each image the share of seeds that get it right, the mean
of the differences, and its p-value by a normal approximation (n = 3,589).
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semblante.data import load_dataset
from semblante.files import write_json
from semblante.train.batches import Faces
from semblante.train.loop import logits_of, train
from semblante.train.networks import build_network, count_multiply_adds, count_parameters
from semblante.train.options import TrainOptions
from semblante.train.state import load_last

BASELINE = "baseline"
VARIANTS: dict[str, dict[str, Any]] = {
    BASELINE: {},
    # the network
    "feed-forward, equal parameters": {"network": "twin-parameters"},
    "feed-forward, equal multiply-adds": {"network": "twin-multiply-adds"},
    "gated recurrence (GRCL)": {"network": "grcnn-small"},
    "one norm for all steps": {"network": "rcnn-small-shared-norm"},
    "LRN instead of BN": {"network": "rcnn-small-lrn"},
    # the recipe
    "without mixup": {"mixup_probability": 0.0},
    "without label smoothing": {"label_smoothing": 0.0},
    "without erasing": {"erase_probability": 0.0},
    "without averaged weights (EMA)": {"ema_decay": 0.0},
    "error at every step": {"all_steps_weight": 0.3},
    "cutmix besides mixup": {"cutmix_probability": 0.25, "mixup_probability": 0.25},
    "class weights": {"class_weights": True},
}


class Quiet:
    def __init__(self, title: str) -> None:
        self.title = title

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        pass

    def epoch(self, record: dict[str, float]) -> None:
        print(
            f"{self.title}, epoch {record['epoch']}: PublicTest {record['public_accuracy']:.2%}, "
            f"{record['seconds']:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="train only these")
    parser.add_argument(
        "--summary", action="store_true", help="train nothing, sum up what is there"
    )
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.data, cache=True)
    public = Faces(dataset.split("PublicTest"), torch.device("cpu"))
    right: dict[str, dict[int, np.ndarray]] = {}
    for seed in range(arguments.seeds):
        for name, changes in VARIANTS.items():
            options = replace(TrainOptions(epochs=arguments.epochs, seed=seed), **changes)
            run_dir = arguments.work / f"{name.replace(' ', '-')}-{arguments.epochs}-{seed}"
            done = (run_dir / "curves.png").exists()
            if not done:
                if arguments.summary or (arguments.only and name not in arguments.only):
                    continue
                resume = (run_dir / "config.json").exists()
                title = f"{name}, seed {seed}"
                train(dataset, options, run_dir, Quiet(title), source={}, resume=resume)
            network, _ = load_last(run_dir)
            said = logits_of(network, public)[:, :7].argmax(dim=1)
            right.setdefault(name, {})[seed] = (said == public.labels).numpy()
    results = summed_up(right)
    for row in results:
        print(
            f"{row['variant']}: {100 * row['mean']:.2f} +- {100 * row['sd']:.2f} % "
            f"({row['seeds']} seeds), against the baseline "
            + (f"{100 * row['gain']:+.2f}, p = {row['p']:.2g}" if "gain" in row else "itself")
        )
    write_json(
        Path(__file__).parent / "results" / "controls.json",
        {"epochs": arguments.epochs, "n": len(public), "variants": results},
    )


def summed_up(right: dict[str, dict[int, np.ndarray]]) -> list[dict[str, Any]]:
    """`right`: of each variant and seed, which images were classified right (n,)."""
    results = []
    for name, runs in right.items():
        network = build_network(VARIANTS[name].get("network", "rcnn-small"))
        accuracies = [float(hits.mean()) for hits in runs.values()]
        row: dict[str, Any] = {
            "variant": name,
            "parameters": count_parameters(network),
            "multiply_adds": count_multiply_adds(network),
            "seeds": len(runs),
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
        results.append(row)
    return results


if __name__ == "__main__":
    main()
