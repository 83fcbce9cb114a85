"""Numbers as people read them: probabilities, times, estimates."""

from __future__ import annotations

from collections.abc import Mapping

from semblante.emotions import emotion_name


def percent(probability: float) -> str:
    """Return a probability as a percentage, 99% at most, because no estimate is certain."""
    return f"{min(probability, 0.99):.0%}"


def decimals(figure: str, language: str) -> str:
    """Return a figure with the decimal separator of `language`: Spanish has a comma."""
    return figure.replace(".", ",") if language == "es" else figure


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Return a time as `1:05` or `1:00:00`; with tenths as `1:05.3`."""
    minutes, left = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{text}:{left / 10:04.1f}" if tenths else f"{text}:{left // 10:02d}"


def guess(probabilities: Mapping[str, float], language: str, asked: str | None = None) -> str:
    """Return the emotion `asked` for, or the most probable one, with its probability."""
    emotion = asked or max(probabilities, key=lambda name: probabilities[name])
    share = probabilities[emotion]
    shown = percent(share) if share >= 0.01 else decimals(f"{share:.2%}", language)
    return f"{emotion_name(emotion, language)} {shown}"
