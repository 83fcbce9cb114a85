"""Interprets labelled pictures: the columns that describe them, their split, and their face."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from semblante.data.class_names import comparable
from semblante.data.dataset import SPLITS, TEST
from semblante.errors import DataError, ImageError
from semblante.images import RgbImage, load_image
from semblante.preprocess import FACE_SIZE, crop_face, to_grey
from semblante.results import Box

# The names of splits in lower case, FER2013's own and usual ones; the values index `SPLITS`.
SPLIT_NAMES: Final[dict[str, int]] = {
    **{name.lower(): number for number, name in enumerate(SPLITS)},
    **{"train": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "eval": 1, "evaluation": 1},
    **{"test": TEST, "testing": TEST},
    **{"entrenamiento": 0, "validación": 1, "validacion": 1, "prueba": TEST, "pruebas": TEST},
}
# The names, in lower case, that the columns for class, split and group may have; the first name
# that is present counts.
LABEL_COLUMNS: Final = (
    "label", "labels", "emotion", "class", "expression", "emotion_label",
)  # fmt: skip
SPLIT_COLUMNS: Final = ("split", "usage", "subset")
GROUP_COLUMNS: Final = ("group", "subject", "person", "identity")
_MAX_BYTES: Final = 50_000_000

# Returns the face in a picture (H, W, 3), cropped to grey (48, 48); None if it finds none.
FaceFinder = Callable[[RgbImage], npt.NDArray[np.uint8] | None]


class FaceReader:
    """Gets the face from an encoded picture: what `find_face` finds in it, or, without that, the
    whole picture."""

    def __init__(self, find_face: FaceFinder | None = None) -> None:
        self._find_face = find_face

    @staticmethod
    def read(stream: IO[bytes]) -> bytes:
        """The bytes of a picture's file; of one that is too large, just enough for `face` to refuse
        it."""
        return stream.read(_MAX_BYTES + 1)

    def face(self, picture: bytes, where: str) -> npt.NDArray[np.uint8]:
        """The face in an encoded picture: grey, (48, 48). Raises `DataError`."""
        if len(picture) > _MAX_BYTES:
            raise DataError(f"{where}: larger than {_MAX_BYTES // 1_000_000} MB")
        try:
            image = load_image(picture)
        except ImageError as error:
            raise DataError(f"{where}: {str(error).removeprefix('picture: ')}") from None
        if self._find_face is not None:
            face = self._find_face(image)
            if face is None:
                raise DataError(f"{where}: no face was found in it")
            return face
        grey = to_grey(image)
        height, width = grey.shape
        if (height, width) == (FACE_SIZE, FACE_SIZE):
            return grey
        return crop_face(grey, Box(0, 0, width, height), FACE_SIZE)


def named_split(name: str) -> int | None:
    """The index into `SPLITS`, or TEST, of a name in `SPLIT_NAMES`; None for another name."""
    return SPLIT_NAMES.get(comparable(name))


def split_number(name: str, where: str) -> int:
    """As `named_split`, but raises `DataError` for a name that is not a split's."""
    number = named_split(name)
    if number is None:
        raise DataError(
            f"{where}: expected a split of {', '.join(SPLITS)} (or train, val, test), "
            f"found {name!r}"
        )
    return number
