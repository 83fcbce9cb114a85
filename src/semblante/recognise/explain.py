"""What in a face supports its estimate: parts of it are hidden, and the network is run again.

Occlusion sensitivity (Zeiler & Fergus, ECCV 2014, section 4.2), in bits of evidence (Robnik-Sikonja
& Kononenko, IEEE TKDE 20, 2008): it needs only the network's outputs, and tells what they depend
on, not why a person looks as they do. `benchmarks/evidence.py` measures how far to trust it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS
from semblante.recognise.classifier import Classifier
from semblante.results import Face

# First and last row of each part in a face of FER2013, as shares of its height.
PARTS: Final = {"eyes": (8 / 48, 22 / 48), "nose": (22 / 48, 32 / 48), "mouth": (32 / 48, 46 / 48)}
# Side and stride of the squares that are hidden one by one, as shares of the face's side: of three
# sizes the one whose evidence changes most answers when it is hidden (benchmarks/evidence.py).
SIDE: Final = 8 / 48
STRIDE: Final = 4 / 48
# Nearer than this to 0 or 1, a probability tells how large the logits are, no more.
_LEAST: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Explanation:
    """What in a face supports an emotion, and the probabilities without parts of the face.

    `emotion`: the one that is explained. `picture`: grey (size, size), the face as the network sees
    it. `evidence`: float32 (size, size), by how many bits the odds p / (1 - p) of `emotion` fall if
    what is around a pixel is hidden, 1 bit halving them; below 0 where they rise. `without`: the
    probabilities of all emotions while the "eyes", the "nose" or the "mouth" are hidden.
    """

    face: Face
    emotion: str
    picture: npt.NDArray[np.uint8]
    evidence: npt.NDArray[np.float32]
    without: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """The face and its explanation for JSON; bits are rounded to 3 decimals."""
        return {
            **self.face.to_dict(),
            "explained": self.emotion,
            "picture": self.picture.tolist(),
            "without": {
                part: {name: round(p, 5) for name, p in found.items()}
                for part, found in self.without.items()
            },
            "evidence": [[round(bits, 3) for bits in row] for row in self.evidence.tolist()],
        }


def explanation(
    classifier: Classifier,
    face: Face,
    picture: npt.NDArray[np.uint8],
    emotion: str,
    *,
    mirrored: bool = False,
) -> Explanation:
    """Explain one face, grey uint8 (size, size); `mirrored` as in `Classifier.probabilities`.

    About 170 times the work of an estimate.
    """
    size = len(picture)
    bands = [(round(top * size), round(end * size), 0, size) for top, end in PARTS.values()]
    squares = _squares(size)
    hidden = np.repeat(picture[None], 1 + len(bands) + len(squares), axis=0)
    for view, (top, bottom, left, right) in zip(hidden[1:], [*bands, *squares], strict=True):
        view[top:bottom, left:right] = round(float(picture.mean()))
    found = classifier.probabilities(hidden, mirrored=mirrored)
    odds = _log_odds(found[:, EMOTIONS.index(emotion)])
    lost, times = np.zeros((2, size, size), np.float32)
    for (top, bottom, left, right), here in zip(squares, odds[1 + len(bands) :], strict=True):
        lost[top:bottom, left:right] += odds[0] - here
        times[top:bottom, left:right] += 1
    parts = (dict(zip(EMOTIONS, map(float, row), strict=True)) for row in found[1 : 1 + len(bands)])
    return Explanation(face, emotion, picture, lost / times, dict(zip(PARTS, parts, strict=True)))


def _squares(size: int) -> list[tuple[int, int, int, int]]:
    """First and last row, first and last column of each square. Those at the edges lie
    partly outside, so that every pixel is hidden equally often."""
    side, stride = max(1, round(SIDE * size)), max(1, round(STRIDE * size))
    spans = [
        (max(0, start), min(size, start + side)) for start in range(stride - side, size, stride)
    ]
    return [(*rows, *columns) for rows in spans for columns in spans]


def _log_odds(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    p = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log2(p / (1 - p)))
