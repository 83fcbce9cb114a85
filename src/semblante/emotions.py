"""The seven emotions, in FER2013's order: label 0 is angry, label 6 is neutral."""

from __future__ import annotations

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

# What a person reads; files and programs always get the English labels above.
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
    "enojo": "angry",  # as it is called in America
    # As FER+, CK+, RAF-DB and others call them.
    **{"anger": "angry", "happiness": "happy", "sadness": "sad", "surprised": "surprise"},
    **{"disgusted": "disgust", "fearful": "fear"},
}


def emotion_name(emotion: str, language: str = "en") -> str:
    """The word a reader of `language` ("en" or "es") sees for one of `EMOTIONS`.

    Raises `OptionError` for another emotion or language.
    """
    if language not in _NAMES:
        raise OptionError(f"unknown language {language!r}; known: {', '.join(LANGUAGES)}")
    if emotion not in EMOTIONS:
        raise OptionError(f"unknown emotion {emotion!r}; known: {', '.join(EMOTIONS)}")
    return _NAMES[language][emotion]


def emotion_called(word: str) -> str | None:
    """The one of `EMOTIONS` that a word, in small letters, stands for in any of `LANGUAGES`; None
    where it is no such word."""
    return _CALLED.get(word)
