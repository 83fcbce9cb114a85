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
    """A picture that has been read, with its faces found and cut out."""

    path: str | None
    pixels: RgbImage
    detections: tuple[Detection, ...]
    crops: npt.NDArray[np.uint8]  # (n, size, size), one for each detection


@dataclass(frozen=True)
class FailedImage:
    """A picture that could not be read or searched, and the error."""

    path: str | None
    error: str


MaybeImage = PreparedImage | FailedImage


def estimated_in_batches(
    images: Iterable[ImageSource],
    prepare: Callable[[ImageSource], PreparedImage],
    estimate: Callable[[Sequence[MaybeImage]], Iterator[_Result]],
    readers: int,
) -> Generator[_Result, None, None]:
    """Yield the result of each of `images`, in order.

    `prepare` is called for each picture on one of `readers` threads; if it raises `ImageError`, the
    picture gets this `error`. `estimate` gives the results of a batch on the caller's thread. Any
    other exception, of `prepare` or of `images`, is raised after the results of the pictures before
    it.
    """
    with closing(_batches(images, prepare, readers)) as batches:
        for batch in batches:
            yield from estimate(batch)
            batch.clear()  # or its pixels would be kept while the next one is read


def _batches(
    images: Iterable[ImageSource], prepare: Callable[[ImageSource], PreparedImage], readers: int
) -> Generator[list[MaybeImage], None, None]:
    """Yield the pictures in order, in batches, while threads work on some that come after them.

    `images` is iterated on the caller's thread. If the next picture took long to come, those at
    hand get some time to be finished, then their batch does not wait for the one after them.
    """
    batch = _Batch()
    ahead: deque[Future[MaybeImage]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        try:
            for took_s, future in _submitted(pool, images, prepare):
                ahead.append(future)
                is_slow = took_s >= _PATIENCE_S
                if is_slow:
                    wait(ahead, timeout=took_s / 4)
                while len(ahead) >= readers + 2 or (is_slow and ahead and ahead[0].done()):
                    yield from batch.add(ahead.popleft())
                if is_slow:
                    yield from batch.taken()
            while ahead:
                yield from batch.add(ahead.popleft())
            yield from batch.taken()
        finally:
            for future in ahead:
                future.cancel()


class _Batch:
    """The pictures that go through the network together next."""

    def __init__(self) -> None:
        self._images: list[MaybeImage] = []
        self._patient_until = 0.0

    def add(self, future: Future[MaybeImage]) -> Iterator[list[MaybeImage]]:
        """Add the next picture when it is ready. Yield the batch without it if it is not ready in
        time, or fails; and with it if the batch is full then."""
        if self._images:
            wait([future], timeout=max(0.0, self._patient_until - time.monotonic()))
            if not future.done() or future.exception() is not None:
                yield from self.taken()
        image = future.result()
        if not self._images:
            self._patient_until = time.monotonic() + _PATIENCE_S
        self._images.append(image)
        if self._is_full():
            yield from self.taken()

    def taken(self) -> Iterator[list[MaybeImage]]:
        """Yield the batch, unless it is empty, and begin another."""
        if self._images:
            images, self._images = self._images, []
            yield images

    def _is_full(self) -> bool:
        read = [image for image in self._images if isinstance(image, PreparedImage)]
        pixels = sum(image.pixels.size // 3 for image in read)
        return len(self._images) >= _BATCH or pixels >= _BATCH_PIXELS


def _submitted(
    pool: ThreadPoolExecutor,
    images: Iterable[ImageSource],
    prepare: Callable[[ImageSource], PreparedImage],
) -> Iterator[tuple[float, Future[MaybeImage]]]:
    """Yield for each of `images` how many seconds it took to come, and its future. An exception of
    `images` is that of a last future, so that it is raised after the pictures before it."""
    asked = time.monotonic()
    try:
        for image in images:
            took_s = time.monotonic() - asked
            yield took_s, submitted(pool, _prepared_or_error, prepare, _held(image))
            asked = time.monotonic()
    except Exception as error:
        failed: Future[MaybeImage] = Future()
        failed.set_exception(error)
        yield 0.0, failed


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
) -> MaybeImage:
    """Turn an `ImageError` into a result, so that one bad picture does not stop the others."""
    if isinstance(image, ImageError):
        return FailedImage(None, str(image))
    path = None
    try:
        path = path_of(image)
        return prepare(image)
    except ImageError as error:
        return FailedImage(path, str(error))
