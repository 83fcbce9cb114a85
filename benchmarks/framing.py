"""How much accuracy is lost because faces must be detected first; fits YuNet's framing, too.

    python benchmarks/framing.py --data fer2013.csv --yunet face_detection_yunet_2023mar.onnx

Fits the two numbers with which `YuNetDetector` converts YuNet's boxes to FER2013's framing. They
are fitted on Training faces that are enlarged and padded by repeating their edges, so that the true
frame is known. Then PublicTest's faces are pasted into pictures, at 60 to 150 pixels a side, and
each detector's crops of them are classified, with the mirrored view as in `analyze`. Their accuracy
is compared with that of the same faces unchanged, with the standard error of the difference. Writes
results/framing.json.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from semblante.data import Dataset, load_dataset
from semblante.files import write_json
from semblante.models import DEFAULT_MODEL, model_path
from semblante.preprocess import crop_face, to_grey
from semblante.recognise.classifier import Classifier
from semblante.recognise.cnn import CnnDetector
from semblante.recognise.detection import Detector
from semblante.recognise.haar import HaarDetector
from semblante.recognise.yunet import YuNetDetector
from semblante.results import Box

N_FITTED = 1500
ENLARGED = 4
PICTURE = (320, 400)  # height, width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, required=True, help="YuNet's ONNX file")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.data, cache=True)
    fitted = fit(dataset.split("Training"), arguments.yunet)
    print(f"fitted on {fitted['n']} Training faces: {fitted}")
    classifier = Classifier(model_path())
    detectors: dict[str, Detector] = {
        "cnn": CnnDetector(),
        "haar": HaarDetector(),
        "yunet": YuNetDetector(arguments.yunet),
    }
    pasted = [
        cost(name, detector, dataset.split("PublicTest"), classifier)
        for name, detector in detectors.items()
    ]
    for row in pasted:
        print(row)
    write_json(
        Path(__file__).parent / "results" / "framing.json",
        {"model": DEFAULT_MODEL, "fitted": fitted, "pasted": pasted},
    )


def some(faces: Dataset, n: int) -> Dataset:
    return faces.where(np.random.default_rng(0).permutation(len(faces))[:n])


def continued(face: np.ndarray, side: int, margin: int) -> np.ndarray:
    """A face resized to `side` pixels and padded by repeating its edges, in three channels."""
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    wide = cv2.copyMakeBorder(large, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    return cv2.cvtColor(wide, cv2.COLOR_GRAY2RGB)


def fit(training: Dataset, yunet: Path) -> dict[str, float]:
    """The side of FER2013's frame in widths of YuNet's box, and how far the middle between eyes and
    mouth lies right of and below the frame's centre, in sides of the frame."""
    detector = YuNetDetector(yunet, min_score=0.8)
    side, margin = 48 * ENLARGED, 24 * ENLARGED
    widths, rights, downs = [], [], []
    for face in some(training, N_FITTED).images:
        found = detector.detect(continued(face, side, margin))
        if not found:
            continue
        marks = found[0].landmarks
        assert marks is not None
        widths.append(found[0].box.width / detector.SIDE / side)  # of YuNet's own box
        places = (marks.left_eye, marks.right_eye, marks.left_mouth, marks.right_mouth)
        x, y = (np.mean(places, axis=0) - margin) / side
        rights.append(x - 0.5)
        downs.append(y - 0.5)
    return {
        "n": len(widths),
        "side": round(float(1 / np.median(widths)), 3),
        "side_sd_log": round(float(np.std(np.log(widths))), 3),
        "eyes_and_mouth_right": round(float(np.median(rights)), 4),
        "eyes_and_mouth_down": round(float(np.median(downs)), 4),
    }


def cost(name: str, detector: Detector, public: Dataset, classifier: Classifier) -> dict[str, Any]:
    """The accuracy on pasted faces that are found, and on the same faces unchanged."""
    rng = np.random.default_rng(1)
    crops, direct, labels, levelled = [], [], [], []
    for face, label in zip(public.images, public.labels, strict=True):
        side = int(rng.integers(60, 151))
        margin = side // 3
        picture = rng.normal(127, 20, (*PICTURE, 3)).clip(0, 255).astype(np.uint8)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 6), np.uint8)
        pasted = continued(face, side, margin)
        top = int(rng.integers(0, PICTURE[0] - len(pasted) + 1))
        left = int(rng.integers(0, PICTURE[1] - len(pasted) + 1))
        picture[top : top + len(pasted), left : left + len(pasted)] = pasted
        true = Box(left + margin, top + margin, side, side)
        found = [d for d in detector.detect(picture) if d.box.iou(true) > 0.4]
        if found:
            crops.append(crop_face(to_grey(picture), found[0].box, roll=found[0].roll))
            direct.append(face)
            labels.append(label)
            levelled.append(found[0].roll != 0)
    pasted_right, direct_right = (
        classifier.probabilities(np.stack(images), mirrored=True).argmax(axis=1) == labels
        for images in (crops, direct)
    )
    tilted = np.array(levelled)
    return {
        "detector": name,
        "n": len(public),
        "found": len(crops),
        **compared(pasted_right, direct_right),
        "levelled": {"n": int(tilted.sum()), **compared(pasted_right[tilted], direct_right[tilted])}
        if tilted.any()
        else None,
    }


def compared(pasted: np.ndarray, direct: np.ndarray) -> dict[str, float]:
    """Compare accuracies. `pasted` and `direct`: which of the faces that were found, and which of
    the same faces unchanged, were classified correctly, bool (n,)."""
    lost = direct.astype(float) - pasted
    return {
        "accuracy_found": round(float(pasted.mean()), 4),
        "accuracy_same_faces_as_they_are": round(float(direct.mean()), 4),
        "points_lost": round(100 * float(lost.mean()), 2),
        "standard_error": round(100 * float(lost.std()) / math.sqrt(len(lost)), 2),
    }


if __name__ == "__main__":
    main()
