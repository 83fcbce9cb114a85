"""Faces by two small networks of semblante's own, which learnt FER2013's framing."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

from semblante.images import RgbImage
from semblante.models import detection_network_path
from semblante.preprocess import FACE_SIZE, network_input, to_grey
from semblante.recognise.classifier import FACES_INPUT, load_session
from semblante.recognise.detection import (
    Detection,
    check_limits,
    lit,
    non_maximum_suppression,
    smallest_face,
)
from semblante.results import Box

if TYPE_CHECKING:
    import onnxruntime

# The proposing network's: what it sees of a face, and how far apart it looks, in pixels.
WINDOW: Final = 24
STRIDE: Final = 4
PLACES_OUTPUT: Final = "places"  # of both networks
ROLL_UNIT: Final = 45.0  # degrees, in which the framing network says how far a head is tilted

Grey = npt.NDArray[np.uint8]  # (H, W)
# Squares in a picture, float64 (n, 5): the middle's x and y and the side, in pixels; by how many
# degrees each is turned clockwise; and how sure a network is of a face there, 0..1.
Places = npt.NDArray[np.float64]
_SCORE: Final = 4


class CnnDetector:
    """A cascade of two convolutional networks (Li et al., CVPR 2015; Zhang et al., IEEE Signal
    Processing Letters 2016), which learnt from FER2013 what faces are and how it frames them.

    The first slides over the picture at many sizes and proposes places. The second looks at each
    more closely, twice: it says whether it is a face, and moves, resizes and turns the frame to
    where FER2013 would have it, from where it looks again. `benchmarks/detector.py` trains both.
    """

    _STEP: Final = 1.3  # from one size of the picture to the next
    _MARGIN: Final = 8  # pixels by which each is continued, for faces that its edge cuts
    _PROPOSED: Final = 0.5  # the least that the first network must say
    _WORTH_A_LOOK: Final = 0.1  # the least that the second must say at first
    _MOST: Final = 100  # places that the second looks at
    _OVERLAP: Final = 0.5  # IoU of places from which on they are one
    # Degrees from which on a head is levelled: FER2013's own are tilted by nearly as much.
    _TILTED: Final = 20.0

    def __init__(
        self,
        *,
        min_face: int | None = None,
        min_score: float = 0.6,
        max_side: int = 1280,
    ) -> None:
        """`min_face`: smallest side of a face in pixels, None as in `smallest_face`; `min_score`:
        0..1, exclusive of both; `max_side`: larger pictures are searched at this size
        (panoramas at more for their length), so that time is bounded."""
        check_limits(min_face, min_score, max_side)
        self.min_face = min_face
        self.min_score = min_score
        self.max_side = max_side
        for name in ("proposals", "frames"):
            _session(name)  # whatever is wrong with their files shows now

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        grey = lit(to_grey(image))
        sizes = halved(grey)
        found = framed(sizes, self.proposals(grey, max_side))
        found = found[found[:, _SCORE] >= self._WORTH_A_LOOK]
        found = framed(sizes, surest(found, self._MOST, self._OVERLAP))
        smallest = smallest_face(grey, self.min_face)
        found = found[(found[:, _SCORE] >= self.min_score) & (found[:, 2].round() >= smallest)]
        found = found[np.argsort(-found[:, _SCORE], kind="stable")]
        return non_maximum_suppression(map(self._detection, found))

    def proposals(self, grey: Grey, max_side: int | None = None) -> Places:
        """What the first network takes for a face in a grey picture, surest first."""
        height, width = grey.shape
        side = min(self.max_side, max_side or self.max_side)
        # Of a panorama, of which that leaves little, as much as of one twice as long as high.
        most = max(side / max(grey.shape), side / math.sqrt(2 * height * width))
        scale = min(most, WINDOW / smallest_face(grey, self.min_face))
        seen, found = grey, [np.empty((0, 5))]
        while min(height, width) * scale + 2 * self._MARGIN >= WINDOW:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            method = cv2.INTER_AREA if size[0] < seen.shape[1] else cv2.INTER_LINEAR
            seen = np.asarray(cv2.resize(seen, size, interpolation=method), np.uint8)
            found.append(self._proposed(seen) / (scale, scale, scale, 1, 1))
            scale /= self._STEP
        return surest(np.concatenate(found), self._MOST, self._OVERLAP)

    def _proposed(self, seen: Grey) -> Places:
        """The same at one size of the picture, in its pixels."""
        wide = np.pad(seen, self._MARGIN, "edge")
        out = _session("proposals").run([PLACES_OUTPUT], {FACES_INPUT: proposal_input(wide[None])})
        said = np.asarray(out[0][0], np.float64)
        score = _sigmoid(said[0])
        rows, columns = np.nonzero(score >= self._PROPOSED)
        right, down, larger = said[1:, rows, columns]
        x, y = (
            STRIDE * place - self._MARGIN + WINDOW * (0.5 + moved)
            for place, moved in ((columns, right), (rows, down))
        )
        level = np.zeros(len(rows))
        places = np.stack([x, y, WINDOW * np.exp(larger), level, score[rows, columns]], axis=1)
        return surest(places, self._MOST, self._OVERLAP)

    def _detection(self, place: Places) -> Detection:
        x, y, side, roll, score = place.tolist()
        whole = max(1, round(side))
        box = Box(round(x - side / 2), round(y - side / 2), whole, whole)
        return Detection(box, score, roll=roll if abs(roll) >= self._TILTED else 0.0)


def proposal_input(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Grey pictures uint8 (n, H, W) -> the first network's input (n, 1, H, W)."""
    return np.asarray((pictures[:, None].astype(np.float32) - 128) / 64, np.float32)


def framed(sizes: list[Grey], places: Places) -> Places:
    """Where the second network has the faces that it sees in such places of a picture, given as it
    is and in halves, and what it says of each."""
    if not len(places):
        return places
    cuts = np.array([seen_in(sizes, place) for place in places])
    out = _session("frames").run([PLACES_OUTPUT], {FACES_INPUT: network_input(cuts)})
    logit, right, down, larger, turned = np.asarray(out[0], np.float64).T
    x, y, side, roll, _ = places.T
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return np.stack(
        [
            x + side * (right * cos - down * sin),
            y + side * (right * sin + down * cos),
            side * np.exp(larger),
            roll + ROLL_UNIT * turned,
            _sigmoid(logit),
        ],
        axis=1,
    )


def surest(places: Places, most: int, overlap: float) -> Places:
    """The `most` surest of which none has an IoU above `overlap` with a surer one, these first."""
    x, y, side, _, score = places.T
    boxes = np.stack([x - side / 2, y - side / 2, side, side], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), score.tolist(), 0.0, overlap)
    return places[np.array(kept, np.int64).reshape(-1)[:most]]


def seen_in(sizes: list[Grey], place: Places) -> Grey:
    """A place of a picture, levelled, as uint8 (48, 48)."""
    x, y, side, roll = place[:4].tolist()
    times = min(len(sizes) - 1, max(0, round(math.log2(max(1.0, side / FACE_SIZE)))))
    x, y, side = (value * 0.5**times for value in (x, y, side))
    # Only what is around it: OpenCV knows no pictures of 32,767 pixels a side.
    height, width = sizes[times].shape
    left, top = (int(min(max(0, at - side), most - 1)) for at, most in ((x, width), (y, height)))
    around = sizes[times][top : max(top + 1, int(y + side) + 2), left:]
    around = around[:, : max(1, int(x + side) + 2 - left)]
    step = side / FACE_SIZE
    cos, sin = step * math.cos(math.radians(roll)), step * math.sin(math.radians(roll))
    # Whole numbers are the middles of pixels to OpenCV.
    half = (FACE_SIZE - 1) / 2
    x, y = x - 0.5 - left, y - 0.5 - top
    there = [[cos, -sin, x - half * (cos - sin)], [sin, cos, y - half * (sin + cos)]]
    cut = cv2.warpAffine(
        around,
        np.array(there),
        (FACE_SIZE, FACE_SIZE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cut, np.uint8)


def halved(grey: Grey) -> list[Grey]:
    """A picture as it is, and halved as long as a face fits into it."""
    sizes = [grey]
    while min(sizes[-1].shape) >= 2 * FACE_SIZE:
        small = cv2.resize(sizes[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        sizes.append(np.asarray(small, np.uint8))
    return sizes


def _sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)), np.float64)


@functools.cache
def _session(name: str) -> onnxruntime.InferenceSession:
    return load_session(detection_network_path(name))
