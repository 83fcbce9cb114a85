"""How people read figures: a probability, a time, an estimate."""

from __future__ import annotations

from collections.abc import Mapping

from semblante.emotions import emotion_name


def percent(probability: float) -> str:
    """As a person reads it, and 99% at most: no estimate is certain."""
    return f"{min(probability, 0.99):.0%}"


def decimals(figure: str, language: str) -> str:
    """A figure with the comma that Spanish has for a point."""
    return figure.replace(".", ",") if language == "es" else figure


def clock(seconds: float, *, tenths: bool = False) -> str:
    """`1:05`, `1:00:00`; with tenths `1:05.3`."""
    minutes, left = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{text}:{left / 10:04.1f}" if tenths else f"{text}:{left // 10:02d}"


def guess(probabilities: Mapping[str, float], language: str, asked: str | None = None) -> str:
    """An emotion that is `asked` for, or the likeliest, and how probable it is."""
    emotion = asked or max(probabilities, key=lambda name: probabilities[name])
    share = probabilities[emotion]
    shown = percent(share) if share >= 0.01 else decimals(f"{share:.2%}", language)
    return f"{emotion_name(emotion, language)} {shown}"
