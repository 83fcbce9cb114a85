"""How accuracy falls when faces are blurred, noisy, dark, small, turned, hidden or badly framed.

    python benchmarks/robustness.py --data fer2013.csv

Measures every shipped model on PublicTest (n = 3,589), one view, with all faces spoiled in one way
at a time, identically for all models. Writes results/robustness.json, from which `make docs` makes
the model card's table; with --models, the stored results of the other models are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from machine import describe

from semblante import load_fer2013
from semblante.files import write_json
from semblante.models import MODELS, model_path
from semblante.recognise.classifier import Classifier

RESULT = Path(__file__).parent / "results" / "robustness.json"
SIDE = 48
Face = np.ndarray  # uint8 (48, 48)
Spoil = Callable[[Face, np.random.Generator], Face]


def blur(sigma: float) -> Spoil:
    return lambda face, _: cv2.GaussianBlur(face, (0, 0), sigma)


def noise(deviation: float) -> Spoil:
    return lambda face, rng: as_grey(face + rng.normal(0, deviation, face.shape))


def jpeg(quality: int) -> Spoil:
    def spoil(face: Face, _: np.random.Generator) -> Face:
        data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        assert decoded is not None
        return decoded

    return spoil


def dark(share: float) -> Spoil:
    """A share of the light, and sensor noise with a standard deviation of 2 grey levels."""
    return lambda face, rng: as_grey(face * share + rng.normal(0, 2, face.shape))


def small(side: int) -> Spoil:
    def spoil(face: Face, _: np.random.Generator) -> Face:
        less = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        return cv2.resize(less, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)

    return spoil


def moved(degrees: float = 0.0, scale: float = 1.0, shift: float = 0.0) -> Spoil:
    """A turn and a shift, each to a random side, and a change of size. `scale`: above 1 frames too
    tightly; `shift`: share of the side."""

    def spoil(face: Face, rng: np.random.Generator) -> Face:
        way = rng.choice([-1, 1], 2)
        there: np.ndarray = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees * way[0], scale)
        there[:, 2] += SIDE * shift * way
        return cv2.warpAffine(face, there, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)

    return spoil


def covered(top: int, bottom: int) -> Spoil:
    """A bar of the face's mean grey across rows `top` to `bottom`."""

    def spoil(face: Face, _: np.random.Generator) -> Face:
        face = face.copy()
        face[top:bottom] = round(float(face.mean()))
        return face

    return spoil


def as_grey(values: np.ndarray) -> Face:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


SPOILS: dict[str, Spoil] = {
    "as they are": lambda face, _: face,
    "blur, sigma 1 pixel": blur(1),
    "blur, sigma 2 pixels": blur(2),
    "noise, sd 10 grey levels": noise(10),
    "noise, sd 25 grey levels": noise(25),
    "JPEG, quality 30": jpeg(30),
    "JPEG, quality 10": jpeg(10),
    "a quarter of the light": dark(0.25),
    "a tenth of the light": dark(0.1),
    "24 pixels a side": small(24),
    "16 pixels a side": small(16),
    "turned by 15 degrees": moved(degrees=15),
    "turned by 30 degrees": moved(degrees=30),
    "framed 15 % too tightly": moved(scale=1.15),
    "framed 15 % too widely": moved(scale=0.87),
    "shifted by 10 %, both ways": moved(shift=0.1),
    "eyes covered": covered(12, 22),
    "mouth covered": covered(32, 44),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv as Kaggle ships it")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    public = load_fer2013(arguments.data).split("PublicTest")
    classifiers = {name: Classifier(model_path(name)) for name in arguments.models}
    accuracies: dict[str, dict[str, float]] = {name: {} for name in arguments.models}
    for what, spoil in SPOILS.items():
        rng = np.random.default_rng(0)
        faces = np.stack([spoil(face, rng) for face in public.images])
        for name, classifier in classifiers.items():
            right = classifier.probabilities(faces).argmax(axis=1) == public.labels
            accuracies[name][what] = float(right.mean())
            print(f"{name}, {what}: {right.mean():.2%}", flush=True)
    weights = {name: MODELS[name].sha256 for name in arguments.models}
    if RESULT.exists():
        stored = json.loads(RESULT.read_text())
        accuracies = stored["accuracy"] | accuracies
        weights = stored["sha256"] | weights
    write_json(
        RESULT,
        {
            "machine": describe("numpy", "opencv-python-headless", "onnxruntime"),
            "n": len(public),
            "sha256": {name: weights[name] for name in MODELS if name in weights},
            "accuracy": {name: accuracies[name] for name in MODELS if name in accuracies},
        },
    )


if __name__ == "__main__":
    main()
