"""`Analyzer`, the whole path: picture -> faces -> crops -> probabilities."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from semblante.emotions import emotion_name
from semblante.errors import ImageError, OptionError, check_number, reason_of
from semblante.images import ImageSource, RgbImage, load_image, path_of
from semblante.models import DEFAULT_MODEL, model_path
from semblante.preprocess import to_grey
from semblante.recognise.classifier import Classifier
from semblante.recognise.detection import Detector
from semblante.recognise.detectors import (
    DEFAULT_DETECTOR,
    check_detector,
    checked,
    make_detector,
)
from semblante.recognise.explain import Explanation, explanation
from semblante.recognise.faces import estimated_face, face_crops
from semblante.recognise.following import FaceFollower
from semblante.recognise.read_ahead import (
    MOST_READERS,
    FailedImage,
    MaybeImage,
    PreparedImage,
    estimated_in_batches,
)
from semblante.recognise.tracks import Tracker, tracker_for
from semblante.recognise.video import Video, check_every
from semblante.results import Analysis, Face

SEARCH_EVERY_S: Final = 0.5  # of a video, between searches of whole frames
TTA: Final = ("none", "flip")  # test-time augmentation of a picture's faces


def _are_several(images: npt.NDArray[Any]) -> bool:
    """Whether an array holds several pictures: (n, H, W, 3), or grey ones (n, H, W)."""
    return images.ndim >= 4 or (images.ndim == 3 and images.shape[2] not in (1, 3, 4))


class Analyzer:
    """Finds faces and estimates the emotion each shows.

        analyzer = semblante.Analyzer()
        for face in analyzer.analyze("family.jpg"):
            print(face.box, face.emotion, face.probability)

    It holds the loaded network: make one and keep it. It may be used from several threads at the
    same time.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        detector: Detector | str = DEFAULT_DETECTOR,
        min_face: int | None = None,
        min_score: float | None = None,
        threads: int | None = None,
        steps: int | None = None,
        early_exit: float | None = None,
        tta: str = "flip",
        head: str | None = None,
    ) -> None:
        """Load the model; one analyzer serves many pictures.

        `model`: a name of `semblante.available_models()` or an exported ONNX file.
        `detector`: "cnn", semblante's own; "haar", OpenCV's cascade; "yunet", if its file has been
        fetched (`semblante models pull yunet`); "none", each picture is a face; or a `Detector`.
        `min_face`: the smallest side of a face in pixels, and `min_score`, above 0 and below 1: the
        least score of a face, for a detector given by its name; None: the default of its class.
        `threads`: number of threads that estimate faces, and of those that read pictures and find
        faces where there are many pictures (OpenCV's own threads, see `cv2.setNumThreads`, help
        each of them); None: one for each processor that this process may use, see
        `cv2.getNumberOfCPUs`.
        `steps`, `early_exit` (0..1): less work for each face, see `Classifier`.
        `tta`, test-time augmentation: "flip" averages each face of a picture with its mirror image,
        which is right up to 0.8 points more often (model card; FER+'s head 0.3) and costs little
        compared with finding the face; "none" does not. In videos the moments of a track are
        averaged instead, unless `every_s` is 0.5 or more.
        `head`: which of the network's outputs is used: "ferplus", what most of ten people would
        say, or "fer2013", what that dataset's label would be, which calls many neutral faces sad
        or angry; None: FER+'s where the model has learnt it, else FER2013's.

        Raises `ModelError` where the model cannot be used, `OptionError` for an option outside its
        range.
        """
        if tta not in TTA:
            raise OptionError(f"expected tta to be one of {', '.join(TTA)}, found {tta!r}")
        limits = {"min_face": min_face, "min_score": min_score}
        given = {name: value for name, value in limits.items() if value is not None}
        check_detector(detector, given)
        self.mirrored = tta == "flip"
        self.classifier = Classifier(
            model_path(model), threads=threads, steps=steps, early_exit=early_exit, head=head
        )
        self._readers = min(threads or cv2.getNumberOfCPUs(), MOST_READERS)
        self.detector = make_detector(detector, **given) if isinstance(detector, str) else detector

    def __repr__(self) -> str:
        return (
            f"Analyzer({self.classifier.path.stem!r}, detector={type(self.detector).__name__}, "
            f"head={self.classifier.head!r})"
        )

    def analyze(self, image: ImageSource) -> list[Face]:
        """Return the faces of one picture, from left to right; without a face, an empty list.

        `image`: a path, the bytes of a picture file, an open file, a Pillow image, or an array of
        uint8: RGB (H, W, 3), RGBA or grey (OpenCV reads BGR: convert it first). Raises `ImageError`
        where it is not a picture, or cannot be searched (for lack of memory, say).
        """
        [(analysis, _)] = self._estimate([self._prepare(image)])
        return list(analysis.faces)

    def explain(
        self, image: ImageSource, emotion: str | None = None, *, face: int | None = None
    ) -> list[Explanation]:
        """Return what in each face of a picture supports its emotion, in the order of `analyze`.

        `emotion`: explain this emotion instead, whatever each face shows. `face`: explain only this
        face; the first is 1. Takes up to a second a face. Raises `ImageError` as `analyze` does,
        and `OptionError` for an emotion that is not one of `semblante.EMOTIONS`, or a face that
        does not exist.
        """
        if emotion is not None:
            emotion_name(emotion)  # raises if there is no such emotion
        prepared = self._prepare(image)
        [(analysis, _)] = self._estimate([prepared])
        found = list(zip(analysis.faces, prepared.crops, strict=True))
        if face is not None:
            if not found:
                raise OptionError("expected a picture with a face in it, found none")
            if not isinstance(face, (int, np.integer)) or not 1 <= face <= len(found):
                raise OptionError(f"expected a face between 1 and {len(found)}, found {face!r}")
            found = [found[face - 1]]
        return [
            explanation(self.classifier, one, crop, emotion or one.emotion, mirrored=self.mirrored)
            for one, crop in found
        ]

    def analyze_many(self, images: Iterable[ImageSource]) -> Generator[Analysis, None, None]:
        """Yield one `Analysis` for each picture, in order, as they are done.

        A picture that cannot be read gives an `Analysis` with its `error`; the others go on.
        Pictures are read ahead of the one whose result is next, so an array must not change until
        its result has come, and a source that waits for a result before it gives the next picture
        must use `analyze`. An exception that `images` raises is raised after the results of the
        pictures before it. Raises `OptionError` for a single picture.
        """
        return (analysis for analysis, _ in self.analyze_many_with_pixels(images))

    def analyze_many_with_pixels(
        self, images: Iterable[ImageSource]
    ) -> Generator[tuple[Analysis, RgbImage | None], None, None]:
        """As `analyze_many`, with the pixels of each picture; those of an RGB array are the array
        itself: draw on a copy.

        Several threads read pictures ahead and find their faces; the faces of pictures that are
        ready within a fifth of a second go through the network together.
        """
        single = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
        if (
            single
            or hasattr(images, "read")
            or (isinstance(images, np.ndarray) and not _are_several(images))
        ):
            raise OptionError(
                "expected several pictures, in a list say, found a single one: `analyze` is for it"
            )
        return estimated_in_batches(images, self._prepare, self._estimate, self._readers)

    def _prepare(self, image: ImageSource) -> PreparedImage:
        """Read a picture, find its faces and crop them: all that comes before the network."""
        path = path_of(image)
        try:
            pixels = load_image(image)
            found = checked(self.detector.detect(pixels), pixels)
            detections = sorted(found, key=lambda d: (d.box.left, d.box.top))
            crops = face_crops(to_grey(pixels), detections, self.classifier.spec.size)
        except (cv2.error, MemoryError) as error:  # the picture is too large, say
            raise ImageError(
                f"{path or 'picture'}: could not be searched: {reason_of(error)}"
            ) from None
        return PreparedImage(path, pixels, tuple(detections), crops)

    def _estimate(self, batch: Sequence[MaybeImage]) -> Iterator[tuple[Analysis, RgbImage | None]]:
        """Yield the result of each picture; all their faces go through the network together."""
        crops = [image.crops for image in batch if isinstance(image, PreparedImage)]
        estimates: Iterator[npt.NDArray[np.float32]] = iter(())
        if crops:
            faces = np.concatenate(crops)
            estimates = iter(self.classifier.probabilities(faces, mirrored=self.mirrored))
        for image in batch:
            if isinstance(image, FailedImage):
                yield Analysis(image.path, None, None, error=image.error), None
                continue
            height, width = image.pixels.shape[:2]
            estimated = tuple(
                estimated_face(detection.box, detection.score, next(estimates))
                for detection in image.detections
            )
            yield Analysis(image.path, width, height, estimated), image.pixels

    def analyze_video(
        self,
        source: str | os.PathLike[str] | int | Video,
        *,
        every_s: float | None = None,
        detect_every: int = 5,
        search_every_s: float = SEARCH_EVERY_S,
        tracker: Tracker | None = None,
    ) -> Generator[Analysis, None, None]:
        """Yield one `Analysis` for each frame of a video.

        `source`: a video file, a camera's number, the address of a camera in a network
        (`rtsp://...`), or a `Video` that is open already, which another thread may `stop`.

        Each face has the number of its track, which stays with a person until the film is cut, and
        probabilities averaged over the track's last moments. Memory does not grow with the video's
        length. Closing the generator closes the camera or file.

        A camera's frames that arrive while one is analysed are dropped, except the newest; when the
        camera gives no more, `VideoError` is raised.

        `every_s`: seconds between analysed frames; None: every frame is analysed. From 0.5 on,
        probabilities are not averaged over time: each frame is judged by itself, like a picture.
        Faces are still followed, so that tracks keep their numbers. `detect_every`: number of the
        video's frames after which the detector looks again close to the known faces, which are
        followed in between. `search_every_s`: seconds between searches of the whole frame for new
        faces; 0: every frame is searched. `tracker`: tells faces apart; each video needs a new one;
        None for a `Tracker()`, or with `every_s` from 0.5 on one that does not average.

        Raises `VideoError` where the video cannot be read; if it breaks off, after its frames. And
        `OptionError` for `every_s` below a microsecond, `detect_every` below 1, or `search_every_s`
        below 0.
        """
        frames = self.analyze_video_with_pixels(
            source, every_s=every_s, detect_every=detect_every, search_every_s=search_every_s,
            tracker=tracker,
        )  # fmt: skip
        return (analysis for analysis, _ in frames)

    def analyze_video_with_pixels(
        self,
        source: str | os.PathLike[str] | int | Video,
        *,
        every_s: float | None = None,
        detect_every: int = 5,
        search_every_s: float = SEARCH_EVERY_S,
        tracker: Tracker | None = None,
    ) -> Generator[tuple[Analysis, RgbImage], None, None]:
        """As `analyze_video`, with the pixels of each frame, to draw on."""
        check_number("detect_every", detect_every, 1)
        check_number("search_every_s", search_every_s, 0)
        check_every(every_s)
        video = source if isinstance(source, Video) else Video(source)
        # A little less than `detect_every` frames last, or the detector would often look a frame
        # late: their times are rounded, by `VideoFile` to the microsecond, in some files more
        # coarsely.
        look_every_s = 0.99 * detect_every / video.fps
        if every_s is not None and every_s >= search_every_s:
            search_every_s = 0.0  # every frame: intervals may be a little too short
        follower = self._follower(tracker or tracker_for(every_s), look_every_s, search_every_s)
        return self._analyzed_video(video, every_s, follower)

    def analyze_frames(
        self,
        frames: Iterable[tuple[float, ImageSource]],
        *,
        look_every_s: float = 0.2,
        search_every_s: float = SEARCH_EVERY_S,
        tracker: Tracker | None = None,
    ) -> Generator[Analysis, None, None]:
        """As `analyze_video`, for frames of your own source: a screen, a robot, another library.

        `frames`: for each frame its time in seconds, which must not go back, and its picture, as
        `analyze` takes it. They are requested one by one, on the caller's thread, when the one
        before is done: a source that always gives its newest frame is never behind. A picture that
        cannot be read gives an `Analysis` with its `error`; the others go on. If frames are half a
        second apart or more, `Tracker(smoothing_s=0)` judges each by itself, like a picture.

        Every `look_every_s` seconds the detector looks again close to the known faces. Raises
        `OptionError` for a time that goes back or is not a number, and as `analyze_video` does.
        """
        check_number("look_every_s", look_every_s, 0)
        check_number("search_every_s", search_every_s, 0)
        if isinstance(frames, str) or not isinstance(frames, Iterable):
            raise OptionError(f"expected pairs (time_s, picture), found {type(frames).__name__}")
        follower = self._follower(tracker or Tracker(), look_every_s, search_every_s)
        return self._analyzed_frames(frames, follower)

    def _follower(
        self, tracker: Tracker, look_every_s: float, search_every_s: float
    ) -> FaceFollower:
        if not isinstance(tracker, Tracker):
            raise OptionError(f"expected a semblante.Tracker, found {type(tracker).__name__}")
        return FaceFollower(
            self.detector,
            self.classifier,
            tracker,
            mirrored=self.mirrored,
            look_every_s=look_every_s,
            search_every_s=search_every_s,
        )

    @staticmethod
    def _analyzed_frames(
        frames: Iterable[tuple[float, ImageSource]], follower: FaceFollower
    ) -> Generator[Analysis, None, None]:
        before_s = -math.inf
        for number, pair in enumerate(frames):
            if not isinstance(pair, Sequence) or len(pair) != 2:
                raise OptionError(f"expected pairs (time_s, picture), found {type(pair).__name__}")
            time_s, image = pair
            if not isinstance(time_s, Real) or math.isnan(time_s):
                raise OptionError(
                    f"expected a time in seconds before each picture, found {time_s!r:.60}"
                )
            if not before_s <= time_s < math.inf:
                raise OptionError(
                    f"expected a time in seconds not before that of the last frame, {before_s:g}, "
                    f"found {float(time_s):g}"
                )
            before_s = time_s = float(time_s)
            try:
                pixels = load_image(image)
            except ImageError as error:
                yield Analysis(None, None, None, (), number, time_s, str(error))
                continue
            height, width = pixels.shape[:2]
            yield Analysis(None, width, height, follower.faces(pixels, time_s), number, time_s)

    @staticmethod
    def _analyzed_video(
        video: Video, every_s: float | None, follower: FaceFollower
    ) -> Generator[tuple[Analysis, RgbImage], None, None]:
        path = None if video.is_camera else video.name
        for frame in video.frames(every_s, follower.follow_every_s):
            if frame.in_between:
                follower.follow(frame.image)
                continue
            height, width = frame.image.shape[:2]
            faces = follower.faces(frame.image, frame.time_s)
            yield Analysis(path, width, height, faces, frame.number, frame.time_s), frame.image
