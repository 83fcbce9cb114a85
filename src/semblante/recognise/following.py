"""Finds and follows faces from frame to frame of a video or a live stream."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.images import RgbImage
from semblante.preprocess import to_grey
from semblante.recognise.classifier import Classifier
from semblante.recognise.detection import Detection, Detector, without_overlaps
from semblante.recognise.detectors import WholePicture, detected_in
from semblante.recognise.faces import estimated_face, face_crops
from semblante.recognise.tracks import Tracker
from semblante.results import Box, Face

# Close to a known face, the detector sees the face's box `_ROOM` times as large, at this size.
_ROOM: Final = 2.0
_NEAR_SIDE: Final = 128
# Follow at least this often; after longer gaps a track may jump to another person.
_FOLLOW_EVERY_S: Final = 0.1


class FaceFollower:
    """The faces of successive frames, followed from each frame to the next.

    From frame to frame faces are followed by optical flow, which costs little. Every `look_every_s`
    seconds the detector looks again, close to where each face should be; every `search_every_s`
    seconds it searches the whole frame for new ones.
    """

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        tracker: Tracker,
        *,
        mirrored: bool = False,
        look_every_s: float,
        search_every_s: float,
        search_side: int = 640,
    ) -> None:
        """`search_side`: longer side in pixels at which whole frames are searched at most.

        `mirrored`: estimate each face from its mirror image too, unless `tracker` averages over
        time, which serves the same end."""
        self._detector = detector
        self._classifier = classifier
        self._mirrored = mirrored
        self._tracker = tracker
        self._look_every_s = look_every_s
        self._search_every_s = search_every_s
        self._search_side = search_side
        self._looked_s = self._searched_s = -math.inf
        self._is_whole_picture = isinstance(detector, WholePicture)
        # Seconds between frames to `follow`; None where nothing is followed.
        self.follow_every_s = None if self._is_whole_picture else _FOLLOW_EVERY_S

    def faces(self, image: RgbImage, time_s: float) -> tuple[Face, ...]:
        """Return the faces of the next frame, RGB (H, W, 3), taken at `time_s`, which must not go
        back."""
        grey = to_grey(image)
        self._move_tracks(grey)
        tracks = self._tracker.update(self._detections(image, time_s), time_s)
        crops = face_crops(grey, tracks, self._classifier.spec.size)
        mirrored = self._mirrored and not self._tracker.smoothing_s
        estimates = self._classifier.probabilities(crops, mirrored=mirrored)
        return tuple(
            estimated_face(
                track.box, track.score, self._tracker.smooth(track, row, time_s), track.number
            )
            for track, row in zip(tracks, estimates, strict=True)
        )

    def follow(self, image: RgbImage) -> None:
        """Follow the faces through a frame, RGB (H, W, 3), whose own are not asked for."""
        self._move_tracks(to_grey(image))

    def _move_tracks(self, grey: npt.NDArray[np.uint8]) -> None:
        if self._is_whole_picture:  # a face cannot move in it, and there is no scene around it
            self._tracker.mark_unseen()
        elif self._tracker.follow(grey):  # another scene: search it now
            self._searched_s = -math.inf

    def _detections(self, image: RgbImage, time_s: float) -> list[Detection]:
        if self._is_whole_picture:
            return list(self._detector.detect(image))
        found: list[Detection] = []
        if time_s - self._searched_s >= self._search_every_s:
            self._searched_s = time_s
            found = self._search(image)
        # The detector looks again close to the known faces that were not found.
        missed = [box for box in self._tracker.boxes if not self._among(found, box)]
        if found and not missed:
            self._looked_s = time_s
        if time_s - self._looked_s < self._look_every_s:
            return found
        self._looked_s = time_s
        return without_overlaps([*found, *self._look_near(image, missed)])

    def _search(self, image: RgbImage) -> list[Detection]:
        """The faces in the whole frame."""
        whole = Box(0, 0, image.shape[1], image.shape[0])
        return detected_in(self._detector, image, whole, self._search_side)

    def _look_near(self, image: RgbImage, boxes: Sequence[Box]) -> Iterator[Detection]:
        """Yield the faces close to where some were last."""
        for box in boxes:
            near = detected_in(self._detector, image, box.grown(_ROOM), _NEAR_SIDE)
            yield from self._among(near, box)

    def _among(self, found: Sequence[Detection], box: Box) -> list[Detection]:
        """The detections that continue the track last seen in `box`."""
        return [one for one in found if one.box.iou(box) >= self._tracker.overlap]
