"""Accuracy of every shipped model on both test splits, with each test-time augmentation.

    python benchmarks/accuracy.py --data fer2013.csv   # fer2013new.csv (FER+) beside it

On PrivateTest the head trained on FER+ is also measured, against FER+'s majority. Writes
results/accuracy.json, from which `make docs` makes the README's table; with --models, the stored
results of the other models are kept. For the default model on PrivateTest, it also writes the most
confident mistakes to results/failures.json and draws the confusion matrix and the reliability.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from semblante import load_fer2013
from semblante.cli.reading import votes_beside
from semblante.data import SPLITS, Dataset
from semblante.data.ferplus import VOTES, FerPlus, load_ferplus
from semblante.emotions import EMOTIONS
from semblante.evaluation import TTA, Evaluation, evaluate
from semblante.files import write_json
from semblante.models import DEFAULT_MODEL, MODELS, model_path
from semblante.plots import draw_confusion, draw_reliability
from semblante.recognise.classifier import Classifier

RESULTS = Path(__file__).parent / "results"
N_FAILURES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv as Kaggle ships it")
    parser.add_argument("--votes", type=Path, help="fer2013new.csv [default: beside --data]")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    dataset = load_fer2013(arguments.data)
    votes = load_ferplus(arguments.votes or votes_beside(arguments.data))
    RESULTS.mkdir(exist_ok=True)
    results = []
    for name in arguments.models:
        classifier, sha256 = Classifier(model_path(name)), MODELS[name].sha256
        for split in SPLITS[1:]:  # not Training
            for tta in TTA:
                found = evaluate(classifier, dataset, split, tta=tta, model=name)
                results.append({**found.to_dict(), "sha256": sha256})
                print(summary(found))
                if (name, split, tta) == (DEFAULT_MODEL, "PrivateTest", "none"):
                    for language, suffix in (("en", ".png"), ("es", ".es.png")):
                        draw_confusion(found, RESULTS / f"confusion{suffix}", language)
                        draw_reliability(found, RESULTS / f"reliability{suffix}", language)
        by_majority = Classifier(model_path(name), head="ferplus")
        for tta in ("none", "flip"):
            strict = evaluate(by_majority, dataset, "PrivateTest", tta=tta, model=name, votes=votes)
            results.append({**strict.to_dict(), "sha256": sha256})
            print(f"FER+'s majority: {summary(strict)}")
        if name == DEFAULT_MODEL:
            rows = failures(classifier, dataset, votes)
            failed = {"model": name, "sha256": sha256, "rows": rows}
            write_json(RESULTS / "failures.json", failed)
    stored = RESULTS / "accuracy.json"
    if stored.exists():
        others = set(MODELS) - set(arguments.models)
        results += [row for row in json.loads(stored.read_text()) if row["model"] in others]
    write_json(stored, sorted(results, key=lambda row: list(MODELS).index(row["model"])))


def failures(classifier: Classifier, dataset: Dataset, votes: FerPlus) -> list[dict[str, Any]]:
    """The most confident mistakes on PrivateTest, one view, each with FER+'s most frequent vote."""
    rows = np.flatnonzero(dataset.splits == SPLITS.index("PrivateTest"))
    probabilities = classifier.probabilities(dataset.images[rows])
    said, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = said != dataset.labels[rows]
    surest = np.argsort(np.where(wrong, -sure, 0), kind="stable")[:N_FAILURES]
    return [
        {
            "row": int(rows[k]),
            "label": EMOTIONS[dataset.labels[rows[k]]],
            "said": EMOTIONS[said[k]],
            "probability": float(sure[k]),
            "people": VOTES[votes.votes[rows[k]].argmax()],
            "share": float(votes.votes[rows[k]].max() / max(1, votes.votes[rows[k]].sum())),
        }
        for k in surest
    ]


def summary(found: Evaluation) -> str:
    return (
        f"{found.model} {found.split} {found.tta}: {found.accuracy:.4f} (n={found.n}), "
        f"leak-free {found.leak_free_accuracy:.4f} (n={found.leak_free_n}), "
        f"macro F1 {found.macro_f1:.4f}, ECE {found.ece:.4f}"
    )


if __name__ == "__main__":
    main()
