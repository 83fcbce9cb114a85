"""Labelled pictures: what their class and split are called, and the face in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import FACE_SIZE, SPLITS
from semblante.emotions import EMOTIONS
from semblante.errors import DataError, ImageError, OptionError
from semblante.images import SUFFIXES, RgbImage, load_image
from semblante.preprocess import crop_face, to_grey
from semblante.results import Box

# What splits are called elsewhere, in small letters. FER2013's own names are understood too.
SPLIT_NAMES: Final[dict[str, int]] = {
    **{name.lower(): number for number, name in enumerate(SPLITS)},
    **{"train": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 1},
}
DROPPED: Final = "drop"  # maps a class to nothing: its pictures are left out
_MAX_BYTES: Final = 50_000_000

# Crops the face of a picture (H, W, 3) to grey (48, 48); None where there is none.
FaceFinder = Callable[[RgbImage], npt.NDArray[np.uint8] | None]


@dataclass(frozen=True)
class PictureReader:
    """How labelled pictures are understood.

    `label_map` gives other class names a meaning: its values are `EMOTIONS` or "drop". A picture is
    the face itself, unless `find_face` finds one in it. Raises `OptionError` for
    another value of the map.
    """

    label_map: Mapping[str, str] | None = None
    find_face: FaceFinder | None = None

    def __post_init__(self) -> None:
        for name, emotion in (self.label_map or {}).items():
            if emotion != DROPPED and emotion not in EMOTIONS:
                raise OptionError(
                    f"cannot map {name!r} to {emotion!r}: "
                    f"expected {', '.join(EMOTIONS)} or {DROPPED}"
                )

    def label(self, name: str, where: str) -> int | None:
        """The label of a class, by its name or number; None where it is to be left out."""
        known: dict[str, str] = {emotion: emotion for emotion in EMOTIONS}
        known |= {str(label): emotion for label, emotion in enumerate(EMOTIONS)}
        known |= {other.lower(): emotion for other, emotion in (self.label_map or {}).items()}
        emotion = known.get(name.strip().lower())
        if emotion is None:
            raise DataError(
                f"{where}: unknown class {name!r}; expected {', '.join(EMOTIONS)}, "
                f"or say what it is with --map {name}=EMOTION"
            )
        return None if emotion == DROPPED else EMOTIONS.index(emotion)

    @staticmethod
    def data(stream: IO[bytes]) -> bytes:
        """The bytes of a picture's file, no more of them than `face` will need to refuse it."""
        return stream.read(_MAX_BYTES + 1)

    def face(self, picture: bytes, where: str) -> npt.NDArray[np.uint8]:
        """The face in an encoded picture: grey, (48, 48). Raises `DataError`."""
        if len(picture) > _MAX_BYTES:
            raise DataError(f"{where}: larger than {_MAX_BYTES // 1_000_000} MB")
        try:
            image = load_image(picture)
        except ImageError as error:
            raise DataError(f"{where}: {str(error).removeprefix('picture: ')}") from None
        if self.find_face is not None:
            face = self.find_face(image)
            if face is None:
                raise DataError(f"{where}: no face was found in it")
            return face
        grey = to_grey(image)
        height, width = grey.shape
        if (height, width) == (FACE_SIZE, FACE_SIZE):
            return grey
        return crop_face(grey, Box(0, 0, width, height), FACE_SIZE)


def split_number(name: str, where: str) -> int:
    """Index into `SPLITS` of a split's name, FER2013's or a usual one."""
    number = SPLIT_NAMES.get(name.strip().lower())
    if number is None:
        raise DataError(
            f"{where}: expected a split of {', '.join(SPLITS)} (or train, val, test), "
            f"found {name!r}"
        )
    return number


def is_picture(suffix: str) -> bool:
    """Judged by the end of a file's name, in small letters."""
    return suffix in SUFFIXES
