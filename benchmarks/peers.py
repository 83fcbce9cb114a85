"""Accuracy of other emotion recognisers on the same faces, by the same protocol.

    python benchmarks/peers.py --data fer2013.csv   # in an environment where `fer` is installed

So far there is one: the package `fer` (mini-Xception, Arriaga et al. 2017; some 60 thousand
parameters) in its default, quantised form; it needs setuptools below 81. Its network gets FER2013's
faces enlarged to its input size of 64 pixels, without the margin that the package adds around faces
in photographs. Both test splits, with one view and with the mirror image too. Writes
results/peers.json, from which `make docs` makes the README's table.
"""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from accuracy import summary

from semblante import load_fer2013
from semblante.data import SPLITS
from semblante.evaluation import evaluate
from semblante.files import write_json

RESULT = Path(__file__).parent / "results" / "peers.json"
SIDE = 64  # of the network's input, in pixels


class Fer:
    """The network of the package `fer`, whose outputs are in FER2013's order of emotions."""

    head = "fer2013"
    max_steps = None

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from fer.fer import FER

        self.recogniser = FER(mtcnn=False)

    def probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities (n, 7) for grey faces, uint8 (n, 48, 48)."""
        large = np.stack([cv2.resize(face, (SIDE, SIDE)) for face in faces])
        inputs = (large.astype(np.float32) / 255 - 0.5) * 2
        return np.asarray(self.recogniser._classify_emotions(inputs), np.float32)

    def ferplus_probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        raise NotImplementedError

    def steps_taken(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        raise NotImplementedError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv as Kaggle ships it")
    dataset = load_fer2013(parser.parse_args().data)
    peers = {f"fer {version('fer')}": Fer()}
    results = []
    for name, peer in peers.items():
        for split in SPLITS[1:]:  # not Training
            for tta in ("none", "flip"):
                found = evaluate(peer, dataset, split, tta=tta, model=name)
                results.append(found.to_dict())
                print(summary(found))
    write_json(RESULT, results)


if __name__ == "__main__":
    main()
