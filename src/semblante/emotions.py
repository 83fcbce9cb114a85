"""The seven emotions, in FER2013's order: label 0 is angry, label 6 is neutral."""

from __future__ import annotations

import unicodedata
from typing import Final

from semblante.errors import OptionError

EMOTIONS: Final[tuple[str, ...]] = (
    "angry",
    "disgust",
    "fear",
    "happy",
    "sad",
    "surprise",
    "neutral",
)
N_EMOTIONS: Final = len(EMOTIONS)

# The words shown to people; files and programs always get the English labels above.
_NAMES: Final[dict[str, dict[str, str]]] = {
    "en": {emotion: emotion for emotion in EMOTIONS},
    "es": {
        "angry": "enfado",
        "disgust": "asco",
        "fear": "miedo",
        "happy": "alegría",
        "sad": "tristeza",
        "surprise": "sorpresa",
        "neutral": "neutral",
    },
}
LANGUAGES: Final[tuple[str, ...]] = tuple(_NAMES)
_CALLED: Final = {word: emotion for names in _NAMES.values() for emotion, word in names.items()} | {
    "alegria": "happy",  # as many people type it
    "enojo": "angry",  # the word in Latin America
    "enojado": "angry",
    "enfadado": "angry",
    "ira": "angry",
    "asustado": "fear",
    "felicidad": "happy",
    "feliz": "happy",
    "triste": "sad",
    "sorprendido": "surprise",
    "neutro": "neutral",
    # The names in FER+, CK+, RAF-DB, KDEF and other datasets.
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "suprise": "surprise",  # a typo in Kaggle's FERPlus
    "neutrality": "neutral",
}


def check_language(language: str) -> None:
    """Raise `OptionError` for a language that is not in `LANGUAGES`."""
    if language not in LANGUAGES:
        raise OptionError(f"unknown language {language!r}; known: {', '.join(LANGUAGES)}")


def emotion_name(emotion: str, language: str = "en") -> str:
    """Return the word for one of `EMOTIONS` in `language` ("en" or "es").

    Raises `OptionError` for another emotion or language.
    """
    check_language(language)
    if emotion not in EMOTIONS:
        raise OptionError(f"unknown emotion {emotion!r}; known: {', '.join(EMOTIONS)}")
    return _NAMES[language][emotion]


def emotion_called(word: str) -> str | None:
    """Return the emotion of `EMOTIONS` that a word of any of `LANGUAGES` stands for, in upper or
    lower case; None if it stands for none."""
    # macOS writes the accent of alegría as a character of its own.
    return _CALLED.get(unicodedata.normalize("NFC", word).lower())
