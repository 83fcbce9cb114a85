"""Accuracy of other recognisers on the same faces, by the same protocol.

    python benchmarks/peers.py --data fer2013.csv   # in an environment where `fer` is installed

So far one: the package `fer` (mini-Xception, Arriaga et al. 2017; some 60 thousand parameters) in
its default, quantised form; it needs setuptools below 81. Its network is given FER2013's faces
enlarged to the 64 pixels it takes, without the margin that it cuts around faces in photographs.
Both splits, one view and with the mirrored one. Writes results/peers.json; the README's table is
made from it (`make docs`).
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
SIDE = 64  # of the faces that fer's network takes


class Fer:
    """`fer`'s network alone; it has the emotions in FER2013's order."""

    head = "fer2013"
    max_steps = None

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from fer.fer import FER

        self.recogniser = FER(mtcnn=False)

    def probabilities(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Grey faces, uint8 (n, 48, 48) -> (n, 7)."""
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
        for split in SPLITS[1:]:  # those to test by
            for tta in ("none", "flip"):
                found = evaluate(peer, dataset, split, tta=tta, model=name)
                results.append(found.to_dict())
                print(summary(found))
    write_json(RESULT, results)


if __name__ == "__main__":
    main()
