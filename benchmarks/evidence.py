"""Can the evidence maps of `semblante explain` be trusted, and where does each emotion show?

    python benchmarks/evidence.py --data fer2013.csv

A deletion test of rcnn-medium-int8 on PublicTest (n = 3,589), one view: a tenth of each face's
pixels is hidden, and the face is classified again. How often does the answer stay the same? The
hidden pixels are those with the most evidence for the answer or, for comparison, those with the
least, those with the most in the map of another face with the same answer, or random patches. They
are replaced by the face's mean grey, as in `explain` itself, or by a blurred face, which `explain`
does not use. On the first 1,000 faces, two other sizes of the square that `explain` hides are
tested too; its size was chosen by this comparison.

Also measures how often each emotion is recognised when a part of every face is hidden. Writes
results/evidence.json and docs/images/evidence.jpg: for each emotion, the mean of the faces that are
classified as such, overlaid with their mean evidence, whose colours are scaled to its own maximum.
Takes an hour on one core.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from machine import describe
from PIL import Image

from semblante import EMOTIONS, Analyzer, load_fer2013
from semblante.files import write_json
from semblante.models import DEFAULT_MODEL, MODELS
from semblante.recognise import explain
from semblante.recognise.classifier import Classifier
from semblante.recognise.explain import PARTS, Explanation
from semblante.recognise.sheets import overlaid

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "evidence.json"
IMAGE = ROOT / "docs" / "images" / "evidence.jpg"
SIDES = (4, 8, 12)  # pixels a side of the squares that `explain` hides, on faces of 48 pixels
FEW = 1000  # faces on which all sides are tested
HIDDEN = 0.1  # share of the pixels
Faces = npt.NDArray[np.uint8]  # (n, 48, 48)
Maps = npt.NDArray[np.float32]  # (n, 48, 48)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv as Kaggle ships it")
    arguments = parser.parse_args()
    public = load_fer2013(arguments.data).split("PublicTest")
    analyzer = Analyzer(detector="none", tta="none", head="fer2013")
    shipped = round(explain.SIDE * 48)
    kept: list[dict[str, Any]] = []
    for side in sorted(SIDES, key=lambda side: side == shipped):  # the shipped one last
        explain.SIDE = side / 48  # type: ignore[misc]
        faces = public.images if side == shipped else public.images[:FEW]
        found = [explained for face in faces for explained in analyzer.explain(face)]
        maps = np.stack([explained.evidence for explained in found])
        for n in sorted({FEW, len(faces)}):
            same = {"n": n, **deletion(analyzer.classifier, faces[:n], maps[:n])}
            kept.append({"side": side, **same})
            print(side, same, flush=True)
    answers = np.array([EMOTIONS.index(explained.emotion) for explained in found])
    draw(public.images, maps, answers)
    write_json(
        RESULT,
        {
            "machine": describe("numpy", "opencv-python-headless", "onnxruntime"),
            "model": DEFAULT_MODEL,
            "sha256": MODELS[DEFAULT_MODEL].sha256,
            "hidden": HIDDEN,
            "same_answer": kept,
            "recall": recall(found, public.labels),
        },
    )


def deletion(classifier: Classifier, faces: Faces, maps: Maps) -> dict[str, dict[str, float]]:
    """The share of faces whose answer stays the same when a tenth of the pixels is hidden, by how
    the pixels are chosen and by what replaces them."""
    rng = np.random.default_rng(0)
    answers = classifier.probabilities(faces).argmax(axis=1)
    noise = rng.normal(size=maps.shape).astype(np.float32)
    others = np.empty_like(maps)
    for emotion in range(len(EMOTIONS)):
        rows = np.flatnonzero(answers == emotion)
        others[rows] = maps[np.roll(rows, 1)]
    chosen_by = {
        "most": maps,
        "most of another face": others,
        "random": np.stack([cv2.GaussianBlur(face, (0, 0), 3) for face in noise]),
        "least": -maps,
    }
    fills = {
        "grey": np.broadcast_to(np.rint(faces.mean(axis=(1, 2), keepdims=True)), faces.shape),
        "blur": np.stack([cv2.GaussianBlur(face, (0, 0), 6) for face in faces]),
    }
    count = round(HIDDEN * maps[0].size)
    same: dict[str, dict[str, float]] = {}
    for (name, by), (fill, instead) in itertools.product(chosen_by.items(), fills.items()):
        ranks = np.argsort(np.argsort(-by.reshape(len(by), -1), axis=1), axis=1)
        hidden = np.where((ranks < count).reshape(faces.shape), instead, faces).astype(np.uint8)
        again = classifier.probabilities(hidden).argmax(axis=1)
        same.setdefault(name, {})[fill] = float((again == answers).mean())
    return same


def recall(found: list[Explanation], labels: npt.NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """The share of each emotion's faces that is recognised: whole, and with each part hidden."""
    said = {"whole": [explained.face.emotion for explained in found]}
    for part in PARTS:
        said[part] = [max(e.without[part], key=e.without[part].__getitem__) for e in found]
    return {
        emotion: {
            part: float((np.array(words)[labels == number] == emotion).mean())
            for part, words in said.items()
        }
        for number, emotion in enumerate(EMOTIONS)
    }


def draw(faces: Faces, maps: Maps, answers: npt.NDArray[np.int64]) -> None:
    """Draw a row with the mean face of each emotion, overlaid with the mean evidence for it."""
    means = [(faces[answers == n].mean(axis=0), maps[answers == n].mean(axis=0)) for n in range(7)]
    tiles = [
        overlaid(np.rint(face).astype(np.uint8), evidence, 160, float(np.abs(evidence).max()))
        for face, evidence in means
    ]
    gap = np.full((160, 6, 3), 255, np.uint8)
    row = np.hstack([part for tile in tiles for part in (tile, gap)][:-1])
    Image.fromarray(row).save(IMAGE, quality=92)


if __name__ == "__main__":
    main()
