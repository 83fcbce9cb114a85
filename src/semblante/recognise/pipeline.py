"""The whole path: picture -> faces -> crops -> probabilities."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS
from semblante.errors import ImageError, OptionError
from semblante.images import ImageSource, RgbImage, load_image
from semblante.models import DEFAULT_MODEL, model_path
from semblante.preprocess import crop_face, to_grey
from semblante.recognise.classifier import Classifier
from semblante.recognise.detectors import Detector, HaarDetector
from semblante.recognise.tracks import Tracker
from semblante.recognise.video import Video
from semblante.results import Analysis, Box, Face


class Analyzer:
    """Finds faces and estimates the emotion each shows.

        analyzer = semblante.Analyzer()
        for face in analyzer.analyze("family.jpg"):
            print(face.box, face.emotion, face.probabilities[face.emotion])

    It holds the loaded network: make one and keep it. It may be used from several threads,
    one at a time.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        detector: Detector | None = None,
        threads: int | None = None,
    ) -> None:
        """`model`: a name of `semblante.available_models()` or an exported ONNX file;
        `detector`: OpenCV's Haar cascade unless given (see `make_detector`); `threads`: of the
        network, None for all. Raises `ModelError` where the model cannot be used."""
        self.classifier = Classifier(model_path(model), threads=threads)
        self.detector = detector if detector is not None else HaarDetector()

    def analyze(self, image: ImageSource) -> list[Face]:
        """The faces of one picture, from left to right; without a face, an empty list.

        `image`: a path, the bytes of a picture file, or a uint8 array, RGB (H, W, 3), RGBA
        or grey (OpenCV reads BGR: turn it first). Raises `ImageError` where it is no picture.
        """
        return self._faces(load_image(image))

    def analyze_many(self, images: Iterable[ImageSource]) -> Iterator[Analysis]:
        """One `Analysis` for each picture, in order, as they are done.

        A picture that cannot be read gives an `Analysis` with its `error`; the others go on.
        """
        for image in images:
            yield self.analyze_with_pixels(image)[0]

    def analyze_with_pixels(self, image: ImageSource) -> tuple[Analysis, RgbImage | None]:
        """As `analyze_many` for one picture, and its pixels for whoever draws on them."""
        path = str(image) if isinstance(image, (str, os.PathLike)) else None
        try:
            pixels = load_image(image)
        except ImageError as error:
            return Analysis(path, None, None, error=str(error)), None
        height, width = pixels.shape[:2]
        return Analysis(path, width, height, tuple(self._faces(pixels))), pixels

    def analyze_video(
        self,
        source: str | os.PathLike[str] | int,
        *,
        every_s: float | None = None,
        detect_every: int = 5,
        tracker: Tracker | None = None,
    ) -> Iterator[Analysis]:
        """One `Analysis` for each frame of a video file, or of a camera given by its number.

        Faces carry the number of their track, which stays with a person, and probabilities averaged
        over the last moments of that track. `every_s`: only a frame every so many seconds;
        `detect_every`: faces are looked for in each so-many-th frame, and followed in between.
        Memory does not grow with the video's length. Raises `VideoError` where it cannot be
        read; one that breaks off gives its frames first.
        """
        for analysis, _ in self.analyze_video_with_pixels(
            source, every_s=every_s, detect_every=detect_every, tracker=tracker
        ):
            yield analysis

    def analyze_video_with_pixels(
        self,
        source: str | os.PathLike[str] | int,
        *,
        every_s: float | None = None,
        detect_every: int = 5,
        tracker: Tracker | None = None,
    ) -> Iterator[tuple[Analysis, RgbImage]]:
        """As `analyze_video`, and the pixels of each frame for whoever draws on them."""
        if detect_every < 1:
            raise OptionError(f"expected detect_every of at least 1, found {detect_every}")
        tracker = tracker or Tracker()
        video = Video(source)
        looked: float | None = None  # when faces were last looked for, in the video's time
        gap_s = 0.99 * detect_every / video.fps
        for frame in video.frames(every_s):
            grey = to_grey(frame.image)
            detections = None
            if looked is None or frame.time_s - looked >= gap_s:
                looked = frame.time_s
                detections = self.detector.detect(frame.image)
            tracks = tracker.update(grey, frame.time_s, detections)
            estimates = self._estimates(grey, [track.box for track in tracks])
            faces = [
                self._face(
                    track.box, track.score, tracker.smooth(track, row, frame.time_s), track.number
                )
                for track, row in zip(tracks, estimates, strict=True)
            ]
            height, width = grey.shape
            path = None if video.is_camera else str(source)
            yield (
                Analysis(path, width, height, tuple(faces), frame.number, frame.time_s),
                frame.image,
            )

    def _faces(self, image: RgbImage) -> list[Face]:
        detections = sorted(self.detector.detect(image), key=lambda d: (d.box.left, d.box.top))
        estimates = self._estimates(to_grey(image), [detection.box for detection in detections])
        return [
            self._face(detection.box, detection.score, row)
            for detection, row in zip(detections, estimates, strict=True)
        ]

    def _estimates(
        self, grey: npt.NDArray[np.uint8], boxes: Sequence[Box]
    ) -> npt.NDArray[np.float32]:
        """Probabilities (n, 7) for the faces in `boxes`."""
        size = self.classifier.spec.size
        crops = np.empty((len(boxes), size, size), np.uint8)
        for crop, box in zip(crops, boxes, strict=True):
            crop[:] = crop_face(grey, box, size)
        return self.classifier.probabilities(crops)

    @staticmethod
    def _face(
        box: Box, score: float, probabilities: npt.NDArray[Any], track: int | None = None
    ) -> Face:
        return Face(
            box=box,
            detection_score=score,
            emotion=EMOTIONS[int(probabilities.argmax())],
            probabilities=dict(zip(EMOTIONS, map(float, probabilities), strict=True)),
            track=track,
        )
