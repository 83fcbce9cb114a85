"""Interprets labelled pictures: the names of classes and splits, and the face in a picture."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Callable, Mapping
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import SPLITS, TEST
from semblante.emotions import EMOTIONS, emotion_called
from semblante.errors import DataError, ImageError, OptionError, printable
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
    "label", "labels", "emotion", "class", "expression", "emotion_label", "cls",
)  # fmt: skip
SPLIT_COLUMNS: Final = ("split", "usage", "subset")
GROUP_COLUMNS: Final = ("group", "subject", "person", "identity")
DROPPED: Final = "drop"  # the value in a label map for a class whose pictures are left out
_NUMBERS: Final = {str(label): emotion for label, emotion in enumerate(EMOTIONS)}
NUMBERED_EMOTIONS: Final = ", ".join(f"{number} {emotion}" for number, emotion in _NUMBERS.items())
_MAX_BYTES: Final = 50_000_000

# Returns the face in a picture (H, W, 3), cropped to grey (48, 48); None if it finds none.
FaceFinder = Callable[[RgbImage], npt.NDArray[np.uint8] | None]


class PictureReader:
    """Converts class names to labels and encoded pictures to faces.

    A class is named by the word for its emotion in any of `emotions.LANGUAGES`, or by a number.
    Numbers are FER2013's, unless `label_map` maps a number above 6 to an emotion: then it must map
    every number. `label_map` gives class names another meaning; its values are `EMOTIONS` or
    "drop". Its key for a class with a number of FER2013's may also be the emotion of that number.
    A picture is taken as the face itself, unless `find_face` is given to find one in it. Raises
    `OptionError` for another value in the map.
    """

    def __init__(
        self, label_map: Mapping[str, str] | None = None, find_face: FaceFinder | None = None
    ) -> None:
        for name, emotion in (label_map or {}).items():
            if emotion != DROPPED and emotion not in EMOTIONS:
                raise OptionError(
                    f"cannot map {name!r} to {emotion!r}: "
                    f"expected {', '.join(EMOTIONS)} or {DROPPED}"
                )
        self.find_face = find_face
        self.guessed = False  # whether `label` assumed that a number is FER2013's
        self._mapped = {_key(name): emotion for name, emotion in (label_map or {}).items()}
        # Whether the map gives an emotion to a number that FER2013 does not have.
        self._has_other_numbers = any(
            name.isdecimal() and name not in _NUMBERS and emotion != DROPPED
            for name, emotion in self._mapped.items()
        )
        self._met: set[str] = set()  # the class names that `label` was called with

    def label(self, name: str, where: str, *, fer2013_numbers: bool = False) -> int | None:
        """The label of a class, given its name or number; None if the map drops it.

        `fer2013_numbers`: numbers that the map does not name are FER2013's in any case. Raises
        `DataError` for an unknown class.
        """
        key = _key(name)
        self._met.add(key)
        usual = _NUMBERS.get(key, key)
        emotion = self._mapped.get(key) or self._mapped.get(usual)
        if emotion is None and key in _NUMBERS:
            if self._has_other_numbers and not fer2013_numbers:
                raise DataError(
                    f"{where}: --map says that numbers are not FER2013's here: it must say what "
                    f"{key} is, too"
                )
            if not fer2013_numbers:
                self.guessed = True
        if emotion is None:
            emotion = emotion_called(usual)
        if emotion is None and not key:
            raise DataError(f"{where}: expected a class, found none")
        if emotion is None:
            shown = printable(name[:40])
            known = NUMBERED_EMOTIONS if key.isdecimal() else ", ".join(EMOTIONS)
            raise DataError(
                f"{where}: unknown class {shown!r}; expected {known}, "
                f"or say what it is with --map {shlex.quote(f'{shown}=EMOTION')}"
            )
        return None if emotion == DROPPED else EMOTIONS.index(emotion)

    def maps(self, name: str) -> bool:
        """Whether the map has this class name, as it is written, as a key."""
        return _key(name) in self._mapped

    def check_map_used(self, where: str) -> None:
        """Raise `OptionError` if the map names a class that `label` was never called with."""
        known = self._met | {_NUMBERS[name] for name in self._met & _NUMBERS.keys()}
        for name in self._mapped:
            if name not in known:
                raise OptionError(
                    f"{where}: expected a class named {name!r}, since --map names it; "
                    f"found {', '.join(sorted(self._met)[:10]) or 'no classes'}"
                )

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


def named_split(name: str) -> int | None:
    """The index into `SPLITS`, or TEST, of a name in `SPLIT_NAMES`; None for another name."""
    return SPLIT_NAMES.get(_key(name))


def split_number(name: str, where: str) -> int:
    """As `named_split`, but raises `DataError` for a name that is not a split's."""
    number = named_split(name)
    if number is None:
        raise DataError(
            f"{where}: expected a split of {', '.join(SPLITS)} (or train, val, test), "
            f"found {name!r}"
        )
    return number


def _key(name: str) -> str:
    """The form in which names of classes and splits are compared: lower case and NFC, since macOS
    writes the accent of alegría as a character of its own."""
    return unicodedata.normalize("NFC", name).strip().lower()
