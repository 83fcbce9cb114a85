"""Many pictures: prepared ahead of their turn by threads, estimated in batches, in their order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from semblante.errors import ImageError
from semblante.images import ImageSource, RgbImage, load_image, path_of
from semblante.recognise.detection import Detection
from semblante.recognise.pool import submitted

MOST_READERS: Final = 16  # threads; each may hold a picture of 450 MB
# Faces of so many pictures, or of pictures of so many pixels, go through the network together; but
# a picture that is ready waits no longer than this for one that is not.
_BATCH: Final = 16
_BATCH_PIXELS: Final = 50_000_000
_PATIENCE_S: Final = 0.2
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class PreparedImage:
    """A picture that is read, its faces found and cut out; or why it could not be."""

    path: str | None
    pixels: RgbImage | None = None
    detections: tuple[Detection, ...] = ()
    crops: npt.NDArray[np.uint8] | None = None  # (n, size, size), one for each detection
    error: str | None = None


def estimated_in_batches(
    images: Iterable[ImageSource],
    prepare: Callable[[ImageSource], PreparedImage],
    estimate: Callable[[Sequence[PreparedImage]], Iterator[_Result]],
    readers: int,
) -> Generator[_Result, None, None]:
    """The results of `images`, in their order.

    `prepare` is called for one picture, on one of `readers` threads; where it raises `ImageError`,
    the picture has this `error`. `estimate` gives the results of a batch of pictures, on the
    caller's thread. What `images` raises is raised after the results of what it gave before.
    """
    batch: list[PreparedImage] = []
    patient_until = 0.0
    with closing(_read_ahead(images, prepare, readers)) as ahead:
        for future in ahead:
            left = max(0.0, patient_until - time.monotonic())
            if future is None or (batch and not wait([future], timeout=left).done):
                yield from estimate(batch)
                batch.clear()
            if future is None:
                continue
            prepared = future.result()
            if not batch:
                patient_until = time.monotonic() + _PATIENCE_S
            batch.append(prepared)
            if _is_full(batch):
                yield from estimate(batch)
                batch.clear()
        yield from estimate(batch)


def _is_full(batch: Sequence[PreparedImage]) -> bool:
    pixels = sum(image.pixels.size // 3 for image in batch if image.pixels is not None)
    return len(batch) >= _BATCH or pixels >= _BATCH_PIXELS


def _read_ahead(
    images: Iterable[ImageSource], prepare: Callable[[ImageSource], PreparedImage], readers: int
) -> Generator[Future[PreparedImage] | None, None, None]:
    """In order, while threads work on some that come after.

    The source is asked on the caller's thread, which waits for it. Before one that takes long
    is asked again there is some time to finish what it gave, and a None: nothing comes soon.
    """
    ahead: deque[Future[PreparedImage]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(readers) as pool:
        try:
            asked = time.monotonic()
            try:
                for image in images:
                    took_s = time.monotonic() - asked
                    ahead.append(submitted(pool, _prepared_or_error, prepare, _held(image)))
                    if len(ahead) == readers + 2:
                        yield ahead.popleft()
                    if took_s >= _PATIENCE_S:
                        wait(ahead, timeout=took_s / 4)
                        while ahead and ahead[0].done():
                            yield ahead.popleft()
                        yield None
                    asked = time.monotonic()
            except Exception as error:  # of the source: what it gave before still counts
                failure = error
            while ahead:
                yield ahead.popleft()
        finally:
            for future in ahead:
                future.cancel()
    if failure is not None:
        yield None
        raise failure


def _held(image: ImageSource) -> ImageSource | ImageError:
    """Of what may change, or be closed, before a thread comes to it, the pixels, or what is wrong
    with them."""
    if not isinstance(image, Image.Image) and not hasattr(image, "read"):
        return image
    try:
        return load_image(image)
    except ImageError as error:
        return error


def _prepared_or_error(
    prepare: Callable[[ImageSource], PreparedImage], image: ImageSource | ImageError
) -> PreparedImage:
    """What is wrong with one picture does not stop the others."""
    if isinstance(image, ImageError):
        return PreparedImage(None, error=str(image))
    path = None
    try:
        path = path_of(image)
        return prepare(image)
    except ImageError as error:
        return PreparedImage(path, error=str(error))
