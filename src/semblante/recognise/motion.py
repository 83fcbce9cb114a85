"""Measurements of successive grey frames: where a face went, whether it is the same one, how much
has changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

_GRID: Final = 6  # points a side of the grid that is followed in each face
_INNER: Final = 0.6  # share of the box where the points lie: on the face, not beside it
_BACK_ERROR: Final = 0.05  # of the box: a point that returns farther off is dropped
_FLOW_SIDE: Final = 640  # larger frames are reduced to this size for optical flow
_TINY_SIDE: Final = 16  # pixels a side at which whole frames are compared
_UNIFORM: Final = 2.0  # grey levels: a frame of a smaller standard deviation shows no scene
# Faces are compared by the circle within their box, at so many pixels a side. If 1 - the
# correlation is at least `_OTHER_FACE`, they are of two people (docs/experiments.md, "who has
# left").
_FACE_SIDE: Final = 24
_OTHER_FACE: Final = 0.5
_Y, _X = np.mgrid[:_FACE_SIDE, :_FACE_SIDE] - (_FACE_SIDE - 1) / 2
_CIRCLE: Final = np.hypot(_X, _Y) <= _FACE_SIDE / 2
Corners = npt.NDArray[np.float64]  # of a box: left, top, right, bottom


def reduced(grey: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], float]:
    """A frame at the size for optical flow, and that as a share of its own size."""
    shrink = min(1.0, _FLOW_SIDE / max(grey.shape))
    if shrink == 1:
        return grey, 1.0
    height, width = grey.shape
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8), shrink


def change(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> float:
    """1 - the correlation of two grey frames, both made very small: 0 if they are the same, in any
    light, 1 if they are unrelated, at most 2."""
    one, other = _tiny(before), _tiny(after)
    one, other = one - one.mean(), other - other.mean()
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1 - float(one @ other) / lengths if lengths else 0.0


def is_uniform(frame: npt.NDArray[np.uint8]) -> bool:
    """Whether all of a grey frame is nearly one level, as of a black one: it shows no scene."""
    return float(_tiny(frame).std()) < _UNIFORM


def _tiny(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    small = cv2.resize(frame, (_TINY_SIDE, _TINY_SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float64).ravel()


def median_flow(
    before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], corners: Corners
) -> Corners | None:
    """Where a box of one grey frame is in the next; None if it cannot be followed.

    Points in the box are followed to the next frame and back. From those that return to their
    place, the box takes its move, their median one, and its change of size, the median change of
    their distances.
    """
    left, top, right, bottom = corners
    width, height = right - left, bottom - top
    margin = (1 - _INNER) / 2
    xs = np.linspace(left + margin * width, right - margin * width, _GRID)
    ys = np.linspace(top + margin * height, bottom - margin * height, _GRID)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 1, 2).astype(np.float32)
    window = (15, 15)
    forth, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, points.copy(), winSize=window)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(
        after, before, forth, forth.copy(), winSize=window
    )
    error = np.linalg.norm(back - points, axis=2).ravel()
    good = (found.ravel() == 1) & (found_back.ravel() == 1)
    good &= error <= max(1.0, _BACK_ERROR * width)
    if good.sum() < len(points) // 3:
        return None
    old, new = points[good, 0].astype(np.float64), forth[good, 0].astype(np.float64)
    move = np.median(new - old, axis=0)
    first, second = np.triu_indices(len(old), 1)
    distances = [np.linalg.norm(p[first] - p[second], axis=1) for p in (old, new)]
    grown = float(np.median(distances[1] / np.maximum(distances[0], 1e-6)))
    grown = min(max(grown, 0.9), 1.1)  # more than a tenth from frame to frame is an error
    centre = np.array([left + width / 2, top + height / 2]) + move
    half = np.array([width, height]) * grown / 2
    low, high = centre - half, centre + half
    tall, wide = after.shape
    if not (0 <= centre[0] < wide and 0 <= centre[1] < tall):
        return None
    return np.concatenate([low, high])


def face_templates(
    frame: npt.NDArray[np.uint8], corners: Corners, turns: Iterable[int] = (0,)
) -> npt.NDArray[np.float64]:
    """The circle in a box of a grey frame, made small: a row for each of `turns`, in degrees, with
    mean 0 and length 1, so that the product of two rows is their correlation.

    Parts of the box beyond the frame get the mean of the rest; a box of one grey gives zeros.
    """
    left, top, right, bottom = (round(edge) for edge in corners.tolist())
    margin = (right - left) // 10  # without hair, and what lies beside the face
    left, top = left + margin, top + margin
    right, bottom = max(left + 1, right - margin), max(top + 1, bottom - margin)
    tall, wide = frame.shape
    inside = frame[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if not inside.size:
        inside = np.zeros((1, 1), np.uint8)
    whole = cv2.copyMakeBorder(
        inside, max(0, -top), max(0, bottom - tall), max(0, -left), max(0, right - wide),
        cv2.BORDER_CONSTANT, value=float(inside.mean()),
    )  # fmt: skip
    side, middle = (_FACE_SIDE, _FACE_SIDE), ((_FACE_SIDE - 1) / 2, (_FACE_SIDE - 1) / 2)
    small = cv2.resize(whole, side, interpolation=cv2.INTER_AREA)
    rows = []
    for turn in turns:
        turned = cv2.warpAffine(small, cv2.getRotationMatrix2D(middle, turn, 1), side)
        row = turned[_CIRCLE].astype(np.float64)
        row -= row.mean()
        rows.append(row / max(float(np.linalg.norm(row)), 1e-6))
    return np.stack(rows)


def same_face(some: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> bool:
    """Whether any row of `some` shows the same face as any of `others`, see `face_templates`."""
    return 1 - float((some @ others.T).max()) < _OTHER_FACE


def boxes_around(corners: Corners) -> Iterator[Corners]:
    """Yield a box, and boxes that are moved a little, larger and smaller."""
    left, top, right, bottom = corners
    width, height = right - left, bottom - top
    sizes, shifts = (0.87, 1, 1.15), (-0.1, 0, 0.1)  # as shares of the box's size
    for grown, right_by, down_by in itertools.product(sizes, shifts, shifts):
        x, y = (left + right) / 2 + right_by * width, (top + bottom) / 2 + down_by * height
        wide, tall = grown * width / 2, grown * height / 2
        yield np.array([x - wide, y - tall, x + wide, y + tall])
