"""The names of a dataset's classes: words for emotions, and how known datasets number theirs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from semblante.emotions import EMOTIONS, emotion_called
from semblante.errors import DataError, OptionError, printable

DROPPED: Final = "drop"  # the value in a label map for a class whose pictures are left out
_NUMBERS: Final = {str(label): emotion for label, emotion in enumerate(EMOTIONS)}
NUMBERED_EMOTIONS: Final = ", ".join(f"{number} {emotion}" for number, emotion in _NUMBERS.items())
# How the authors of known datasets number their classes: label maps by the dataset's name.
LABEL_MAPS: Final[dict[str, dict[str, str]]] = {
    "fer2013": dict(_NUMBERS),
    "rafdb": {
        "1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry",
        "7": "neutral",
    },
    "affectnet": {
        "0": "neutral", "1": "happy", "2": "sad", "3": "surprise", "4": "fear", "5": "disgust",
        "6": "angry", "7": DROPPED,  # contempt
        "8": DROPPED, "9": DROPPED, "10": DROPPED,  # none, uncertain, no face
    },
    "ferplus": {
        "0": "neutral", "1": "happy", "2": "surprise", "3": "sad", "4": "angry", "5": "disgust",
        "6": "fear", "7": DROPPED,  # contempt
        "8": DROPPED, "9": DROPPED,  # unknown, no face
    },
}  # fmt: skip
# Usual names of classes, in lower case, that are none of the emotions: best left out.
_NO_EMOTIONS: Final = (
    "contempt", "desprecio", "none", "uncertain", "unknown", "no-face", "no_face", "noface", "nf",
    "other", "others",
)  # fmt: skip
_WINDOWS: Final = os.name == "nt"
_NUMBER: Final = re.compile(r"(?:0?(\d)|([1-9]\d{1,8}))(?:\.0+)?", re.ASCII)
_SHOWN: Final = 10  # unknown classes that one message names


def checked_map(label_map: Mapping[str, str] | str | None) -> dict[str, str]:
    """What a label map says, by the `class_key` of each name. It is one of `LABEL_MAPS`, by its
    name, or its values are `EMOTIONS` or "drop"; raises `OptionError` for another."""
    if isinstance(label_map, str):
        if label_map not in LABEL_MAPS:
            raise OptionError(f"unknown map {label_map!r}; known: {', '.join(LABEL_MAPS)}")
        label_map = LABEL_MAPS[label_map]
    for name, emotion in (label_map or {}).items():
        if emotion != DROPPED and emotion not in EMOTIONS:
            raise OptionError(
                f"cannot map {name!r} to {emotion!r}: expected {', '.join(EMOTIONS)} or {DROPPED}"
            )
    return {class_key(name): emotion for name, emotion in (label_map or {}).items()}


class ClassNames:
    """Converts the names of a dataset's classes to labels.

    A class is named by the word for its emotion in any of `emotions.LANGUAGES`, or by a number.
    Numbers are FER2013's, unless the map says otherwise: it names a number above 6, or gives one of
    0..6 another emotion than FER2013 does. Then it must map every number. The map's key for a class
    with a number of FER2013's may also be the emotion of that number.
    """

    def __init__(
        self, mapped: Mapping[str, str], *, in_table: bool = False, skips_bad: bool = False
    ) -> None:
        """`mapped`: what classes stand for, from `checked_map`. `in_table`: whether they are those
        of a table of pixels, which are numbers, or in the map. `skips_bad`: whether bad rows are
        passed over; else the first is an error."""
        self.skips_bad = skips_bad
        self._in_table = in_table
        self._mapped = mapped
        above = {key for key in mapped if is_number(key) and key not in _NUMBERS}
        reordered = any(
            mapped.get(key, usual) not in (usual, DROPPED) for key, usual in _NUMBERS.items()
        )
        # Whether numbers are not FER2013's. In tables a number above 6 that is dropped still leaves
        # the others in FER2013's order: CK+'s ckextended.csv has 7, contempt.
        others = {key for key in above if not in_table or mapped[key] != DROPPED}
        self._has_other_numbers = reordered or bool(others)
        # Whether there are numbers that FER2013 does not have: in the map, or in the table.
        self._knows_of_others = bool(above)
        # The first unknown class that is a number, and where it was met.
        self._unread_number: tuple[str, str] | None = None
        self._reads_numbers = False  # whether some number was known
        self._assumed = False  # whether `label` assumed that a number is FER2013's
        self._met: set[str] = set()  # the keys of the classes that `label` was called with
        self._met_emotions: set[str] = set()  # of the numbers among them that were FER2013's

    @property
    def guessed(self) -> bool:
        """Whether numbers were taken for FER2013's though they may not be. Those in a table of
        pixels are FER2013's, unless the table or the map has numbers that FER2013 has not."""
        return self._assumed and (not self._in_table or self._knows_of_others)

    def label(self, name: str, where: str) -> int | None:
        """The label of a class, given its name or number; None if the map drops it.

        Raises `DataError` for an unknown class. If bad rows are skipped, raises `OptionError` where
        some numbers would be skipped and others read: what these others stand for is doubtful then.
        """
        key = class_key(name)
        if self._in_table and key not in _NUMBERS and key not in self._mapped:
            self._knows_of_others |= is_number(key)
            raise DataError(
                f"{where}: expected a label 0..{len(EMOTIONS) - 1}, found {name[:20]!r}; --map "
                "says what another is; if this is another dataset, give --map rafdb, affectnet "
                "or ferplus"
            )
        self._met.add(key)
        if not key:
            raise DataError(f"{where}: expected a class, found none")
        emotion = self._emotion(key)
        if emotion is None:
            if is_number(key):
                self._unread_number = self._unread_number or (name, where)
            raise self._unknown([name], where)
        if is_number(key):
            self._reads_numbers = True
            if self._unread_number:
                unread, where_unread = self._unread_number
                raise self._unknown([unread], where_unread)
        if key in _NUMBERS and not self._has_other_numbers:
            self._met_emotions.add(_NUMBERS[key])
            self._assumed |= key not in self._mapped
        return None if emotion == DROPPED else EMOTIONS.index(emotion)

    def check_classes(self, classes: Iterable[tuple[str, str]]) -> None:
        """Raise one error for all unknown classes, given the name of each class and a place where
        it was met; if bad rows are skipped, only for unknown numbers among known ones. Names may be
        repeated. Not for a table of pixels."""
        unknown: dict[str, tuple[str, str]] = {}  # by key: the name, and where it was met first
        some_number_is_known = False
        for name, where in classes:
            key = class_key(name)
            if self._emotion(key) is not None:
                some_number_is_known |= is_number(key)
            elif is_number(key) if self.skips_bad else key:
                unknown.setdefault(key, (name, where))
        self._reads_numbers |= some_number_is_known
        if unknown and (some_number_is_known or not self.skips_bad):
            where = next(iter(unknown.values()))[1]
            raise self._unknown([name for name, _ in unknown.values()], where)

    def meaning(self, name: str) -> str | None:
        """What a class of this name stands for: one of `EMOTIONS`, `DROPPED`, or None if it is
        unknown."""
        return self._emotion(class_key(name))

    def maps(self, name: str) -> bool:
        """Whether the map has this class itself as a key, not only the emotion of its number."""
        return class_key(name) in self._mapped

    def check_map_used(self, where: str) -> None:
        """Raise `OptionError` if the map names a class that `label` was never called with. Of the
        numbers in it one is enough: no dataset need have all those of `LABEL_MAPS`."""
        known = self._met | self._met_emotions
        numbers = {key for key in self._mapped if is_number(key)}
        if numbers & known:
            known |= numbers
        for name in self._mapped:
            if name not in known:
                raise OptionError(
                    f"{where}: expected a class named {name!r}, since --map names it; "
                    f"found {', '.join(sorted(self._met)[:10]) or 'no classes'}"
                )

    def _emotion(self, key: str) -> str | None:
        """What a class's key stands for: one of `EMOTIONS`, `DROPPED`, or None if it is unknown."""
        mapped = self._mapped.get(key)
        if key not in _NUMBERS:
            return mapped or emotion_called(key)
        if self._has_other_numbers:
            return mapped
        usual = _NUMBERS[key]
        # The name of the class counts even if the map has its number as well, as "fer2013" does.
        return self._mapped.get(usual, usual) if mapped in (None, usual) else mapped

    def _unknown(self, names: list[str], where: str) -> DataError | OptionError:
        """The error for classes that are unknown; not one for bad rows, which may be skipped, if it
        is for numbers among others that are read (see `label`)."""
        kind = OptionError if self.skips_bad and self._reads_numbers else DataError
        numbers = sorted({class_key(name) for name in names if is_number(name)}, key=int)
        if numbers and self._has_other_numbers:
            return kind(
                f"{where}: --map says that numbers are not FER2013's here: it must say what these "
                f"are, too: {', '.join(numbers[:_SHOWN])}; if the others are FER2013's, begin with "
                "--map fer2013"
            )
        if numbers:
            return kind(
                f"{where}: unknown class {', '.join(numbers[:_SHOWN])}: FER2013 counts "
                f"{NUMBERED_EMOTIONS}; if this is another dataset, give --map rafdb, affectnet or "
                "ferplus, or say what each number is"
            )
        shown = [printable(name[:40]) for name in names[:_SHOWN]]
        maps = [
            _quoted(f"{name}={DROPPED if class_key(name) in _NO_EMOTIONS else 'EMOTION'}")
            for name in shown
        ]
        known = ", ".join(EMOTIONS)
        if len(names) > 1:
            classes = ", ".join(map(repr, shown)) + (", ..." if len(names) > _SHOWN else "")
            return DataError(
                f"{where}: unknown classes {classes}; expected {known}, or say what they are with "
                f"{' '.join(f'--map {text}' for text in maps)}; EMOTION may be drop, too"
            )
        if class_key(names[0]) in _NO_EMOTIONS:
            return DataError(
                f"{where}: unknown class {shown[0]!r}; expected {known}: leave it out with "
                f"--map {maps[0]}"
            )
        return DataError(
            f"{where}: unknown class {shown[0]!r}; expected {known}, or say what it is with "
            f"--map {maps[0]}, or =drop"
        )


@lru_cache(maxsize=1000)  # a dataset has few classes and many pictures
def class_key(name: str) -> str:
    """The form in which names of classes are compared. Numbers that other programs write as 01 or
    3.0 are 1 and 3; 001 is none, but the name of one of CK+'s recordings."""
    key = comparable(name)
    number = _NUMBER.fullmatch(key)
    return number[1] or number[2] if number else key


def is_number(name: str) -> bool:
    """Whether a class's name, or its key, is a number."""
    return _NUMBER.fullmatch(comparable(name)) is not None


def _quoted(text: str) -> str:
    """A text as an argument on the command line; Windows's knows no single quotes."""
    return subprocess.list2cmdline([text]) if _WINDOWS else shlex.quote(text)


def comparable(name: str) -> str:
    """The form in which names of classes and splits are compared: lower case and NFC, since macOS
    writes the accent of alegría as a character of its own."""
    return unicodedata.normalize("NFC", name).strip().lower()
