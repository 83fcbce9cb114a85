"""Reads pictures ahead on several threads and estimates their faces in batches, in order."""

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
# A batch is full with so many pictures, or so many pixels. A picture that is ready waits no longer
# than `_PATIENCE_S` for the next one.
_BATCH: Final = 16
_BATCH_PIXELS: Final = 50_000_000
_PATIENCE_S: Final = 0.2
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class PreparedImage:
    """A picture that has been read, with its faces found and cut out; or the `error` why not."""

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
    """Yield the result of each of `images`, in order.

    `prepare` is called for each picture on one of `readers` threads; if it raises `ImageError`, the
    picture gets this `error`. `estimate` gives the results of a batch on the caller's thread. An
    exception that `images` raises is raised after the results of the pictures before it.
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
    """Yield pictures in order, while threads work on some that come after them.

    `images` is iterated on the caller's thread. If the next picture took long to come, those at
    hand get some time to be finished, then None is yielded: do not wait for the one after them.
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
            except Exception as error:  # of `images`: the pictures before it still count
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
    """`image` itself; the pixels of a Pillow image or open file, which may change or be closed
    before a thread reads it, or the error in them."""
    if not isinstance(image, Image.Image) and not hasattr(image, "read"):
        return image
    try:
        return load_image(image)
    except ImageError as error:
        return error


def _prepared_or_error(
    prepare: Callable[[ImageSource], PreparedImage], image: ImageSource | ImageError
) -> PreparedImage:
    """Turn an `ImageError` into a result, so that one bad picture does not stop the others."""
    if isinstance(image, ImageError):
        return PreparedImage(None, error=str(image))
    path = None
    try:
        path = path_of(image)
        return prepare(image)
    except ImageError as error:
        return PreparedImage(path, error=str(error))
