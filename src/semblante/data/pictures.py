"""Labelled pictures: what their class and split are called, and the face in them."""

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

# What splits are called elsewhere, in small letters. FER2013's own names are understood too.
SPLIT_NAMES: Final[dict[str, int]] = {
    **{name.lower(): number for number, name in enumerate(SPLITS)},
    **{"train": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "eval": 1, "evaluation": 1},
    **{"test": TEST, "testing": TEST},
    **{"entrenamiento": 0, "validación": 1, "validacion": 1, "prueba": TEST, "pruebas": TEST},
}
# What columns are called, in small letters, the first that is there: of the class, of the split,
# and of which faces belong together.
LABEL_COLUMNS: Final = ("label", "labels", "emotion", "class", "expression")
SPLIT_COLUMNS: Final = ("split", "usage", "subset")
GROUP_COLUMNS: Final = ("group", "subject", "person", "identity")
DROPPED: Final = "drop"  # maps a class to nothing: its pictures are left out
_NUMBERS: Final = {str(label): emotion for label, emotion in enumerate(EMOTIONS)}
NUMBERED_EMOTIONS: Final = ", ".join(f"{number} {emotion}" for number, emotion in _NUMBERS.items())
_MAX_BYTES: Final = 50_000_000

# Crops the face of a picture (H, W, 3) to grey (48, 48); None where there is none.
FaceFinder = Callable[[RgbImage], npt.NDArray[np.uint8] | None]


class PictureReader:
    """How labelled pictures are understood.

    Classes are called by the word for their emotion in any of `emotions.LANGUAGES`, or by number,
    which is FER2013's unless `label_map` says that a number above 6 is an emotion: then it must say
    what all of them are. `label_map` gives class names another meaning: its values are `EMOTIONS`
    or "drop". It may name a class that is a number by its emotion as well. A picture is the face
    itself, unless `find_face` finds one in it. Raises `OptionError` for another value of the map.
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
        self.guessed = False  # whether a number was taken for FER2013's
        self._mapped = {_key(name): emotion for name, emotion in (label_map or {}).items()}
        # Is a number that FER2013 does not have an emotion?
        self._has_other_numbers = any(
            name.isdecimal() and name not in _NUMBERS and emotion != DROPPED
            for name, emotion in self._mapped.items()
        )
        self._met: set[str] = set()  # the classes that `label` was asked for

    def label(self, name: str, where: str, *, fer2013_numbers: bool = False) -> int | None:
        """The label of a class, by its name or number; None where it is to be left out.
        `fer2013_numbers`: its numbers are FER2013's whatever the map says of others."""
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
        """Whether the map names this very class."""
        return _key(name) in self._mapped

    def check_map_used(self, where: str) -> None:
        """Raise `OptionError` where the map names a class that no label asked for so far had."""
        known = self._met | {_NUMBERS[name] for name in self._met & _NUMBERS.keys()}
        for name in self._mapped:
            if name not in known:
                raise OptionError(
                    f"{where}: expected a class named {name!r}, since --map names it; "
                    f"found {', '.join(sorted(self._met)[:10]) or 'no classes'}"
                )

    @staticmethod
    def read(stream: IO[bytes]) -> bytes:
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


def named_split(name: str) -> int | None:
    """Index into `SPLITS`, or TEST, of a split's name in any of `SPLIT_NAMES`; None where it is
    none."""
    return SPLIT_NAMES.get(_key(name))


def split_number(name: str, where: str) -> int:
    """Index into `SPLITS`, or TEST, of a split's name, FER2013's or a usual one."""
    number = named_split(name)
    if number is None:
        raise DataError(
            f"{where}: expected a split of {', '.join(SPLITS)} (or train, val, test), "
            f"found {name!r}"
        )
    return number


def _key(name: str) -> str:
    """A class's or a split's name as it is compared, in small letters: macOS writes the accent of
    alegría as a letter of its own."""
    return unicodedata.normalize("NFC", name).strip().lower()
