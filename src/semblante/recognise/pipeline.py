"""The whole path: picture -> faces -> crops -> probabilities."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import numpy as np

from semblante.emotions import EMOTIONS
from semblante.errors import ImageError
from semblante.images import ImageSource, RgbImage, load_image
from semblante.models import DEFAULT_MODEL, model_path
from semblante.preprocess import crop_face, to_grey
from semblante.recognise.classifier import Classifier
from semblante.recognise.detectors import Detector, HaarDetector
from semblante.results import Analysis, Face


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

    def _faces(self, image: RgbImage) -> list[Face]:
        found = self.detector.detect(image)
        if not found:
            return []
        detections = sorted(found, key=lambda d: (d.box.left, d.box.top))
        grey, size = to_grey(image), self.classifier.spec.size
        crops = np.stack([crop_face(grey, detection.box, size) for detection in detections])
        return [
            Face(
                box=detection.box,
                detection_score=detection.score,
                emotion=EMOTIONS[int(row.argmax())],
                probabilities=dict(zip(EMOTIONS, map(float, row), strict=True)),
            )
            for detection, row in zip(detections, self.classifier.probabilities(crops), strict=True)
        ]
