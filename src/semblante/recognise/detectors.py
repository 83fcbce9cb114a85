"""The detectors by name, and what can be done with any of them.

All frame faces as FER2013 does. Its faces were cut out by OpenCV's Haar cascade, so the cascade's
boxes are the framing that the network knows. semblante's own detector learnt this framing; YuNet's
boxes are converted to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from semblante.errors import OptionError
from semblante.images import RgbImage
from semblante.preprocess import crop_face, to_grey
from semblante.recognise.cnn import CnnDetector
from semblante.recognise.detection import Detection, Detector
from semblante.recognise.haar import HaarDetector
from semblante.recognise.yunet import YuNetDetector
from semblante.results import Box


class WholePicture:
    """The detector for pictures that are cropped faces: each picture is a face."""

    def detect(self, image: RgbImage, max_side: int | None = None) -> list[Detection]:
        """See `Detector.detect`."""
        height, width = image.shape[:2]
        return [Detection(Box(0, 0, width, height), 1.0)]


DEFAULT_DETECTOR: Final = "cnn"
DETECTORS: Final[dict[str, Callable[..., Detector]]] = {
    "cnn": CnnDetector,
    "haar": HaarDetector,
    "yunet": YuNetDetector,
    "none": WholePicture,
}


def check_detector(detector: Detector | str, options: Collection[str] = ()) -> None:
    """Raise `OptionError` for anything but a string or a `Detector`, and where some of `options`,
    their names, are given for a detector that has none: a user's own, or "none"."""
    is_detector = callable(getattr(detector, "detect", None)) and not isinstance(detector, type)
    if not isinstance(detector, str) and not is_detector:
        raise OptionError(
            f"expected a detector's name, one of {', '.join(DETECTORS)}, or a Detector, "
            f"found {detector!r}"
        )
    if options and (not isinstance(detector, str) or detector == "none"):
        raise OptionError(
            f"{next(iter(options))} is for a detector that is given by its name and searches for "
            f"faces, found {detector!r}"
        )
    if not isinstance(detector, str) and not _takes_max_side(detector):
        raise OptionError(
            "expected the detector's method to be detect(image, max_side=None), found detect"
            f"{inspect.signature(detector.detect)}"
        )


def _takes_max_side(detector: Detector) -> bool:
    try:
        inspect.signature(detector.detect).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # written in C: nobody knows
        return True
    return True


def make_detector(name: str, **options: Any) -> Detector:
    """The detector called `name`, one of `DETECTORS`; `options` are those of its class.

    Raises `OptionError` for another name, or for options that the detector does not have.
    """
    if not isinstance(name, str) or name not in DETECTORS:
        raise OptionError(f"unknown detector {name!r}; known: {', '.join(DETECTORS)}")
    try:
        return DETECTORS[name](**options)
    except TypeError as error:
        raise OptionError(f"the detector {name}: {error}") from None


def checked(found: Iterable[Detection], image: RgbImage) -> list[Detection]:
    """The list of what a detector found in a picture, without boxes of which nothing lies in it;
    raises `OptionError` where it is anything but detections, since users may write detectors of
    their own."""
    try:
        detections = list(found)
    except TypeError:
        raise OptionError(
            f"expected a list of detections from the detector, found {type(found).__name__}"
        ) from None
    for one in detections:
        if not isinstance(one, Detection):
            raise OptionError(
                "expected each face that the detector finds to be a semblante.Detection, found "
                f"{type(one).__name__}"
            )
    height, width = image.shape[:2]
    seen = (one.box.within(width, height) for one in detections)
    return [one for one, box in zip(detections, seen, strict=True) if box.width and box.height]


def detected_in(detector: Detector, image: RgbImage, part: Box, max_side: int) -> list[Detection]:
    """The faces in a part of a picture, with boxes in the whole picture's pixels, and without
    landmarks."""
    part = part.within(image.shape[1], image.shape[0])
    seen = part.crop(image)
    if seen.size == 0:
        return []
    return [
        replace(
            found,
            box=replace(found.box, left=part.left + found.box.left, top=part.top + found.box.top),
            landmarks=None,
        )
        for found in checked(detector.detect(seen, max_side), seen)
    ]


def largest_face(detector: Detector) -> Callable[[RgbImage], npt.NDArray[np.uint8] | None]:
    """A function that returns the largest face of a picture, (48, 48), or None if there is none."""

    def crop(image: RgbImage) -> npt.NDArray[np.uint8] | None:
        found = checked(detector.detect(image), image)
        if not found:
            return None
        largest = max(found, key=lambda detection: detection.box.width * detection.box.height)
        return crop_face(to_grey(image), largest.box, roll=largest.roll)

    return crop
