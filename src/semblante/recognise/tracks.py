"""Tracks the faces of successive frames: who is who, and what each shows over time.

A tracker of our own, since the maintained ones cost more than they save (one pins an old numpy,
another needs SciPy and matplotlib): detections are matched to tracks by overlap, and between
detections a face is followed by the median optical flow of points in it (Kalal, Mikolajczyk &
Matas, ICPR 2010).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.recognise.detection import Detection
from semblante.recognise.motion import (
    Corners,
    boxes_around,
    change,
    face_templates,
    is_uniform,
    median_flow,
    reduced,
    same_face,
)
from semblante.results import Box

_FAR_S: Final = 0.5  # in frames so far apart, a moving face no longer overlaps its last box
# A frame in which half of the faces or more are lost begins another scene if its `change` is at
# least `_CUT` (docs/experiments.md, "where a film is cut").
_CUT: Final = 0.5
# A face that is followed is compared with templates of how a detector last found it, turned by up
# to 75 degrees.
_TURNS: Final = range(-75, 76, 15)
SMOOTHING_S: Final = 0.4
_SURE_SCORE: Final = 0.8  # of a detection that counts at once, without a second one


@dataclass
class Track:
    """One person, for as long as they can be followed."""

    corners: Corners
    score: float  # of the last detection
    found_s: float  # when a detector last found it
    roll: float = 0.0  # see `Detection`; like the corners, averaged with each detection
    number: int = 0  # from 1, in order of appearance; 0 until the track counts
    hits: int = 1  # detections so far
    seen: bool = True  # in the current frame, by the detector or by optical flow
    # Of the face as a detector last found it, see `face_templates`.
    templates: npt.NDArray[np.float64] | None = field(default=None, repr=False)
    probabilities: npt.NDArray[np.float64] | None = field(default=None, repr=False)  # smoothed
    smoothed_s: float = 0.0  # time of their last update

    @property
    def box(self) -> Box:
        """The bounding box in whole pixels."""
        left, top, right, bottom = (round(edge) for edge in self.corners.tolist())
        return Box(left, top, max(1, right - left), max(1, bottom - top))


class _Scenes:
    """Notices where a film is cut, and remembers the scene before: it may come back after frames
    that are damaged, or inserted."""

    def __init__(self) -> None:
        self._last: npt.NDArray[np.uint8] | None = None  # last frame that was not uniform
        # The last frame, and the tracks, of the previous scene with a face.
        self._earlier: tuple[npt.NDArray[np.uint8], list[Track]] | None = None

    def tracks_after(
        self, frame: npt.NDArray[np.uint8], tracks: list[Track], *, mostly_lost: bool
    ) -> list[Track] | None:
        """Look at the next frame, small and grey (H, W). Return None where the scene goes on. If
        the film is cut before this frame, return the tracks of the previous scene where the cut
        goes back to it, else an empty list.

        `tracks`: those of the scene so far; `mostly_lost`: whether the faces of half of them or
        more could not be followed to this frame.
        """
        if is_uniform(frame):
            return None
        last, self._last = self._last, frame
        if last is None or not mostly_lost or change(last, frame) < _CUT:
            return None
        earlier = self._earlier
        if tracks:
            self._earlier = (last, tracks)
        is_back = earlier is not None and change(earlier[0], frame) < _CUT
        return earlier[1] if earlier is not None and is_back else []


class Tracker:
    """Follows faces through a video: call `follow`, or `mark_unseen`, and then `update` for each
    analysed frame, in order; for frames between them, only `follow`."""

    def __init__(
        self,
        *,
        overlap: float = 0.3,
        patience_s: float = 1.0,
        smoothing_s: float = SMOOTHING_S,
        sure_score: float = _SURE_SCORE,
    ) -> None:
        """`overlap`: least intersection over union by which a detection continues a track;
        `patience_s`: for so long a track that no detector finds is kept (SORT's `max_age`);
        `smoothing_s`: time constant of the exponential moving average of probabilities, 0 for none;
        `sure_score`: a track whose detection scores less counts once it was found twice."""
        self.overlap = overlap
        self.patience_s = patience_s
        self.smoothing_s = smoothing_s
        self.sure_score = sure_score
        self._tracks: list[Track] = []
        self._frame: npt.NDArray[np.uint8] | None = None  # the current one, small and grey
        self._shrink = 1.0  # its size, as a share of the video's
        self._scenes = _Scenes()
        self._are_back = False  # whether the tracks are those of an earlier scene, since `follow`
        self._next = 1

    @property
    def boxes(self) -> list[Box]:
        """Where the face of each track was last seen, or has been followed to."""
        return [track.box for track in self._tracks]

    def update(self, detections: Sequence[Detection], time_s: float) -> list[Track]:
        """Match `detections` in the current frame with the tracks; return the tracks that count
        and are seen in it, from left to right."""
        if self._are_back:
            self._forget(time_s)  # tracks that came back may be too old to match
            self._are_back = False
        self._match(detections, time_s)
        self._forget(time_s)
        for track in self._tracks:
            if self._frame is not None and track.found_s == time_s:
                track.templates = face_templates(self._frame, track.corners * self._shrink, _TURNS)
        shown = [t for t in self._tracks if t.seen and (t.hits > 1 or t.score >= self.sure_score)]
        shown.sort(key=lambda track: float(track.corners[0]))  # from left to right
        for track in shown:
            if track.number == 0:
                track.number, self._next = self._next, self._next + 1
        return shown

    def _forget(self, time_s: float) -> None:
        """Drop tracks that no detector has found for too long."""
        self._tracks = [t for t in self._tracks if time_s - t.found_s <= self.patience_s]

    def smooth(
        self, track: Track, probabilities: npt.NDArray[np.floating], time_s: float
    ) -> npt.NDArray[np.float64]:
        """Return the track's exponential moving average (7,), updated with `probabilities`."""
        latest = probabilities.astype(np.float64)
        if track.probabilities is None or self.smoothing_s <= 0:
            track.probabilities = latest
        else:
            share = 1 - math.exp(-max(0.0, time_s - track.smoothed_s) / self.smoothing_s)
            track.probabilities = track.probabilities + share * (latest - track.probabilities)
        track.smoothed_s = time_s
        return track.probabilities

    def follow(self, grey: npt.NDArray[np.uint8]) -> bool:
        """Move every track to where its face is in the next frame, grey (H, W).

        Return whether another scene begins with that frame. If so, all tracks have ended; or those
        of the previous scene are back, if it was not away for longer than `patience_s`.
        """
        small, shrink = reduced(grey)
        before, self._frame, self._shrink = self._frame, small, shrink
        if before is not None and before.shape != small.shape:
            before = None
        known = [track for track in self._tracks if track.seen]
        for track in known:
            moved = None if before is None else _moved(track, before, small, shrink)
            track.seen = moved is not None
            if moved is not None:
                track.corners = moved / shrink
        lost = sum(not track.seen for track in known)
        tracks = self._scenes.tracks_after(small, self._tracks, mostly_lost=2 * lost >= len(known))
        if tracks is None:
            return False
        self._tracks, self._are_back = tracks, bool(tracks)
        self.mark_unseen()
        return True

    def mark_unseen(self) -> None:
        """Call this instead of `follow` if faces in the next frame are only to be detected. Tracks
        are kept, and continue where a detection matches them."""
        for track in self._tracks:
            track.seen = False

    def _match(self, detections: Sequence[Detection], time_s: float) -> None:
        """Match greedily, the largest intersection over union first; tracks that the detector
        misses are left to optical flow."""
        pairs = sorted(
            (
                (detection.box.iou(track.box), d, t)
                for d, detection in enumerate(detections)
                for t, track in enumerate(self._tracks)
            ),
            reverse=True,
        )
        detected: set[int] = set()
        matched: set[int] = set()
        for overlap, d, t in pairs:
            track, detection = self._tracks[t], detections[d]
            if overlap < self.overlap or d in detected or t in matched:
                continue
            if self._is_another(track, detection):
                continue
            detected.add(d)
            matched.add(t)
            # Average the box given by optical flow and the one detected now, so that boxes do not
            # jump with each detection.
            found = _corners(detection.box)
            track.corners = (track.corners + found) / 2 if track.seen else found
            # The tilt likewise, if it was detected a moment ago: optical flow does not tell it.
            apart = (detection.roll - track.roll + 180) % 360 - 180
            lately = track.seen and time_s - track.found_s < _FAR_S
            track.roll = track.roll + apart / 2 if lately else detection.roll
            track.score, track.found_s = detection.score, time_s
            track.hits += 1
            track.seen = True
        for d, detection in enumerate(detections):
            if d not in detected:
                self._tracks.append(
                    Track(_corners(detection.box), detection.score, time_s, detection.roll)
                )

    def _is_another(self, track: Track, detection: Detection) -> bool:
        """Whether someone else is now where optical flow lost the track's face."""
        if track.seen or track.templates is None or self._frame is None:
            return False
        # A new detection frames the same face a little differently.
        corners = _corners(detection.box) * self._shrink
        boxes = boxes_around(corners)
        detected = np.concatenate([face_templates(self._frame, box) for box in boxes])
        # A uniform patch cannot be compared: assume the same person.
        return bool(detected.any()) and not same_face(track.templates, detected)


def tracker_for(every_s: float | None, smoothing_s: float | None = None) -> Tracker:
    """The tracker for frames `every_s` seconds apart (None: all frames of a video).

    In frames half a second or more apart, a moving face is in another place each time and shows
    something else: every frame counts by itself, like a picture, unless `smoothing_s` is given.
    """
    far = every_s is not None and every_s >= _FAR_S
    if smoothing_s is None:
        smoothing_s = 0.0 if far else SMOOTHING_S
    return Tracker(sure_score=0.0 if far else _SURE_SCORE, smoothing_s=smoothing_s)


def _moved(
    track: Track, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], shrink: float
) -> Corners | None:
    """Where the face of a track is in the next of two frames, in pixels of these, which are
    `shrink` times as large as those of the video; None where it is lost."""
    moved = median_flow(before, after, track.corners * shrink)
    if moved is None or track.templates is None:
        return moved
    return moved if same_face(track.templates, face_templates(after, moved)) else None


def _corners(box: Box) -> Corners:
    return np.array(
        [box.left, box.top, box.left + box.width, box.top + box.height], dtype=np.float64
    )
