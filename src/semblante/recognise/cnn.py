"""Face detection by two small networks of semblante's own, which learnt FER2013's framing."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
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
    LimitedDetector,
    brightened,
    resized_for_search,
    search_scale,
    smallest_face,
    without_overlaps,
)
from semblante.results import Box

if TYPE_CHECKING:
    import onnxruntime

# Side and stride of the proposal network's sliding window, in pixels.
WINDOW: Final = 24
STRIDE: Final = 4
# The networks' names in `detection_network_path`: a file is called `face-<name>.onnx`.
_PROPOSALS: Final = "proposals"
_REFINEMENT: Final = "frames"
PLACES_OUTPUT: Final = "places"  # of both networks
ROLL_UNIT: Final = 45.0  # degrees: the unit of the tilt that the refinement network gives
_BATCH: Final = 64  # places in one run of the refinement network, so that memory is bounded

Grey = npt.NDArray[np.uint8]  # (H, W)
# Squares in a picture, float64 (n, 5): x and y of the centre and side, in pixels; roll, in degrees
# clockwise; and score of a face there, 0..1.
Places = npt.NDArray[np.float64]
Place = npt.NDArray[np.float64]  # (5,)
_CENTRE: Final = slice(0, 2)
_SIDE: Final = 2
_SCORE: Final = 4


class CnnDetector(LimitedDetector):
    """A cascade of two convolutional networks (Li et al., CVPR 2015; Zhang et al., IEEE Signal
    Processing Letters 2016), which learnt from FER2013 what faces are and how it frames them.

    The proposal network slides over the picture at many sizes and proposes places. The refinement
    network (R-Net's part in Zhang et al.'s MTCNN) sees each place more closely, twice: it says
    whether it is a face, and moves, resizes and turns the bounding box to where FER2013 would have
    it; from there it looks again. The boxes found for one face are averaged (weighted boxes fusion:
    Solovyev et al., Image and Vision Computing 107, 2021): the mean shakes less than any of them.
    `benchmarks/detector.py` trains both networks.
    """

    # Chosen on photographs, docs/experiments.md, "a detector of our own".
    _SCALE_STEP: Final = 1.3  # between two levels of the image pyramid
    _MARGIN: Final = 8  # pixels of padding around each level, for faces that its edge cuts
    _PROPOSAL_SCORE: Final = 0.5  # least score of a proposal
    _FIRST_LOOK_SCORE: Final = 0.1  # least score after the first look
    # Bounds the time, not the number of faces: the refinement network sees about 500 places in a
    # picture of a crowd, or of a wall of leaves, and fewer than 60 in most.
    _MAX_PROPOSALS: Final = 1000
    _PROPOSAL_IOU: Final = 0.5  # of proposals that overlap more, the surest is kept
    _SECOND_LOOK_IOU: Final = 0.8  # the same before the second look, with several boxes on one face
    _FUSION_IOU: Final = 0.5  # boxes that overlap so much are of one face
    # Degrees of tilt from which a head is levelled in part, and from which it is levelled fully.
    # FER2013's own heads are tilted by nearly as much. Between the two, levelling grows gradually,
    # so that a head that sways around one of them is not turned to and fro.
    _TILTED: Final = (12.0, 28.0)
    # A picture with a face of at least `_STANDING_SCORE` is upright. Otherwise a small copy, with a
    # side of `_GLANCE_SIDE` pixels, is turned by quarters and searched; the picture lies on its
    # side or upside down if a face scores at least `_LYING_SCORE` there and in the picture itself.
    _STANDING_SCORE: Final = 0.9
    _GLANCE_SIDE: Final = 240
    _LYING_SCORE: Final = 0.96

    def __init__(
        self,
        *,
        min_face: int | None = None,
        min_score: float = 0.6,
        max_side: int = 1280,
    ) -> None:
        """`min_face`: smallest side of a face in pixels; None: see `smallest_face`. `min_score`:
        least mean score of both looks, above 0 and below 1. `max_side`: larger pictures are
        searched at this size (panoramas at a larger one), so that time is bounded."""
        super().__init__(min_face, min_score, max_side)
        for name in (_PROPOSALS, _REFINEMENT):
            _session(name)  # raises now if a file is damaged

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """See `Detector.detect`. A picture without a sure face may lie on its side or upside down:
        it is also searched turned, unless `max_side` is given to save time."""
        grey = brightened(to_grey(image))
        found = self._upright(grey, max_side, self.min_face)
        if max_side is not None or _surest_score(found) >= self._STANDING_SCORE:
            return found
        return without_overlaps([*self._lying(grey), *found])

    def _lying(self, grey: Grey) -> list[Detection]:
        """The faces of a picture (H, W) that lies on its side or upside down. Most pictures do not,
        so small copies are searched first, in which only large faces are seen."""
        small, scale = resized_for_search(grey, self._GLANCE_SIDE, 0)
        min_face = None if self.min_face is None else max(1, round(scale * self.min_face))
        glances = {
            quarter: _surest_score(self._upright(_turned(small, quarter), None, min_face))
            for quarter in (1, 2, 3)
        }
        best = max(glances, key=lambda quarter: glances[quarter])
        if glances[best] < self._LYING_SCORE:
            return []
        found = self._upright(_turned(grey, best), None, self.min_face)
        if _surest_score(found) < self._LYING_SCORE:
            return []
        return [_turned_back(one, best, grey.shape) for one in found]

    def _upright(self, grey: Grey, max_side: int | None, min_face: int | None) -> list[Detection]:
        smallest = smallest_face(grey, min_face)
        # To cut places from: `proposals` searches finer levels of its own.
        pyramid = image_pyramid(grey)
        first = refined(pyramid, self.proposals(grey, max_side, smallest))
        first = first[first[:, _SCORE] >= self._FIRST_LOOK_SCORE]
        first = nms(first, self._SECOND_LOOK_IOU)
        second = refined(pyramid, first)
        second[:, _SCORE] = (first[:, _SCORE] + second[:, _SCORE]) / 2
        faces = fused(second[second[:, _SCORE] >= self.min_score], self._FUSION_IOU)
        found = without_overlaps(map(self._detection, faces))
        return [one for one in found if one.box.width >= smallest]

    def proposals(
        self, grey: Grey, max_side: int | None = None, smallest: int | None = None
    ) -> Places:
        """The places that the proposal network takes for faces in a grey picture (H, W), surest
        first. `smallest`: least side of a face in pixels; None: as `min_face` says."""
        height, width = grey.shape
        most = search_scale(grey, self.side(max_side))
        scale = min(most, WINDOW / (smallest or smallest_face(grey, self.min_face)))
        level, found = grey, [np.empty((0, 5))]
        while min(height, width) * scale + 2 * self._MARGIN >= WINDOW:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            method = cv2.INTER_AREA if size[0] < level.shape[1] else cv2.INTER_LINEAR
            level = np.asarray(cv2.resize(level, size, interpolation=method), np.uint8)
            # Whole pixels: a level may be a little wider or higher than `scale` says.
            x, y = size[0] / width, size[1] / height
            found.append(self._proposed(level) / (x, y, math.sqrt(x * y), 1, 1))
            scale /= self._SCALE_STEP
        return nms(np.concatenate(found), self._PROPOSAL_IOU)[: self._MAX_PROPOSALS]

    def _proposed(self, level: Grey) -> Places:
        """The proposals in one level (H, W) of the image pyramid, in its pixels."""
        margin = self._MARGIN
        padded = cv2.copyMakeBorder(level, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        inputs = {FACES_INPUT: proposal_input(np.asarray(padded[None], np.uint8))}
        # (4, rows, columns) of windows: logit; dx, dy in windows; log of the side in windows.
        outputs = _session(_PROPOSALS).run([PLACES_OUTPUT], inputs)[0][0]
        rows, columns = np.nonzero(outputs[0] >= _logit(self._PROPOSAL_SCORE))
        logits, dx, dy, log_side = outputs[:, rows, columns].astype(np.float64)
        # A window begins every STRIDE pixels of the padded level; its centre is half a window on.
        x, y = (
            STRIDE * window - self._MARGIN + WINDOW * (0.5 + moved)
            for window, moved in ((columns, dx), (rows, dy))
        )
        roll = np.zeros(len(rows))  # this network does not know tilts
        side = WINDOW * np.exp(log_side)
        places = np.stack([x, y, side, roll, _sigmoid(logits)], axis=1)
        return nms(places, self._PROPOSAL_IOU)[: self._MAX_PROPOSALS]

    def _detection(self, place: Place) -> Detection:
        x, y, side, roll, score = place.tolist()
        whole = max(1, round(side))
        box = Box(round(x - side / 2), round(y - side / 2), whole, whole)
        start, end = self._TILTED
        levelled = min(1.0, max(0.0, (abs(roll) - start) / (end - start)))
        return Detection(box, score, roll=roll * levelled)


def _turned(grey: Grey, quarter: int) -> Grey:
    """A picture turned to the left by so many quarter turns."""
    return np.ascontiguousarray(np.rot90(grey, quarter))


def _surest_score(found: list[Detection]) -> float:
    return found[0].score if found else 0.0


def _turned_back(face: Detection, quarter: int, shape: tuple[int, ...]) -> Detection:
    """Where a face lies in a picture of `shape` (H, W) that was turned left by so many quarter
    turns to find it."""
    height, width = shape
    box, side = face.box, face.box.width
    left, top = {
        1: (width - box.top - side, box.left),
        2: (width - box.left - side, height - box.top - side),
        3: (box.top, height - box.left - side),
    }[quarter]
    roll = face.roll + 90 * quarter
    return replace(face, box=Box(left, top, side, side), roll=roll - 360 * (roll > 180))


def proposal_input(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Grey pictures uint8 (n, H, W) -> the proposal network's input (n, 1, H, W)."""
    inputs = pictures[:, None].astype(np.float32)
    inputs -= 128
    inputs /= 64
    return inputs


def refined(pyramid: list[Grey], places: Places) -> Places:
    """The places (n, 5) moved, resized, turned and scored by the refinement network, in the same
    order. `pyramid`: the picture, see `image_pyramid`."""
    batches = [
        _refined_batch(pyramid, places[k : k + _BATCH]) for k in range(0, len(places), _BATCH)
    ]
    return np.concatenate([np.empty((0, 5)), *batches])


def _refined_batch(pyramid: list[Grey], places: Places) -> Places:
    patches = np.array([patch_at(pyramid, place) for place in places])
    out = _session(_REFINEMENT).run([PLACES_OUTPUT], {FACES_INPUT: network_input(patches)})
    # dx, dy: in sides of the patch, along its own axes; side: in sides of the patch; roll: in 45s.
    logit, dx, dy, log_side, turned = np.asarray(out[0], np.float64).T
    x, y, side, roll, _ = places.T
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return np.stack(
        [
            x + side * (dx * cos - dy * sin),
            y + side * (dx * sin + dy * cos),
            side * np.exp(log_side),
            roll + ROLL_UNIT * turned,
            _sigmoid(logit),
        ],
        axis=1,
    )


def nms(places: Places, iou: float) -> Places:
    """Non-maximum suppression: the places whose intersection over union with each surer one that
    is kept is at most `iou`, surest first. Rolls are ignored."""
    kept = cv2.dnn.NMSBoxes(_boxes(places).tolist(), places[:, _SCORE].tolist(), 0.0, iou)
    return places[np.array(kept, np.int64).reshape(-1)]


def fused(places: Places, iou: float) -> Places:
    """As `nms`, but each place becomes the mean of all that have an intersection over union of at
    least `iou` with it, weighted by their scores; its own score stays."""
    kept = nms(places, iou)
    weights = (_iou(kept, places) >= iou) * places[:, _SCORE]
    mean = weights @ places / weights.sum(axis=1, keepdims=True)
    mean[:, _SCORE] = kept[:, _SCORE]
    return np.asarray(mean)


def _boxes(places: Places) -> npt.NDArray[np.float64]:
    """Left, top, width and height of each place: (n, 4)."""
    x, y, side, _, _ = places.T
    return np.stack([x - side / 2, y - side / 2, side, side], axis=1)


def _iou(some: Places, others: Places) -> npt.NDArray[np.float64]:
    """Intersection over union of each place with each of `others`: (n, m). Rolls are ignored."""
    half = some[:, None, _SIDE, None] / 2, others[:, _SIDE, None] / 2
    centre = some[:, None, _CENTRE], others[:, _CENTRE]
    near = np.maximum(centre[0] - half[0], centre[1] - half[1])
    far = np.minimum(centre[0] + half[0], centre[1] + half[1])
    both = np.maximum(0, far - near).prod(axis=2)
    return np.asarray(both / (some[:, None, _SIDE] ** 2 + others[:, _SIDE] ** 2 - both))


def patch_at(pyramid: list[Grey], place: Place) -> Grey:
    """The part of a picture at a place, levelled and resized: uint8 (48, 48)."""
    x, y, side, roll = place[:4].tolist()
    level = min(len(pyramid) - 1, max(0, round(math.log2(max(1.0, side / FACE_SIZE)))))
    reduced = 0.5**level
    return _levelled(pyramid[level], x * reduced, y * reduced, side * reduced, roll)


def _levelled(grey: Grey, x: float, y: float, side: float, roll: float) -> Grey:
    """As `patch_at`, from one level (H, W) of the pyramid; the place is in pixels of this level."""
    # Only what is around it: OpenCV cannot warp pictures of 32,767 pixels a side.
    height, width = grey.shape
    left = int(min(max(0, x - side), width - 1))
    top = int(min(max(0, y - side), height - 1))
    right = max(left + 1, int(x + side) + 2)
    bottom = max(top + 1, int(y + side) + 2)
    around = grey[top:bottom, left:right]
    step = side / FACE_SIZE
    cos, sin = step * math.cos(math.radians(roll)), step * math.sin(math.radians(roll))
    # The middle of the patch, and the centre of the place in `around`. To OpenCV, whole numbers
    # are the centres of pixels.
    half = (FACE_SIZE - 1) / 2
    centre_x, centre_y = x - 0.5 - left, y - 0.5 - top
    inverse = [
        [cos, -sin, centre_x - half * (cos - sin)],
        [sin, cos, centre_y - half * (sin + cos)],
    ]
    patch = cv2.warpAffine(
        around,
        np.array(inverse),
        (FACE_SIZE, FACE_SIZE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(patch, np.uint8)


def image_pyramid(grey: Grey) -> list[Grey]:
    """The image pyramid of a picture (H, W): as it is, and halved as long as a face fits into it. A
    face of any size can be cut from it without skipping pixels."""
    pyramid = [grey]
    while min(pyramid[-1].shape) >= 2 * FACE_SIZE:
        small = cv2.resize(pyramid[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        pyramid.append(np.asarray(small, np.uint8))
    return pyramid


def _sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)), np.float64)


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


@functools.cache
def _session(name: str) -> onnxruntime.InferenceSession:
    return load_session(detection_network_path(name))
