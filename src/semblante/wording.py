"""Numbers as people read them: probabilities, times, estimates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from semblante.emotions import emotion_name

_DECIMAL_POINT: Final = re.compile(r"(?<=\d)\.(?=\d)")
_PERCENT: Final = re.compile(r"(?<=\d)%")


def percent(probability: float, language: str) -> str:
    """Return a probability as a percentage, 99% at most, because no estimate is certain."""
    return figures(f"{min(probability, 0.99):.0%}", language)


def figures(text: str, language: str) -> str:
    """Return a text of figures as `language` writes them: Spanish has a comma before decimals, and
    a space before %, where no line breaks."""
    if language != "es":
        return text
    return _PERCENT.sub("\N{NO-BREAK SPACE}%", _DECIMAL_POINT.sub(",", text))


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
    shown = percent(share, language) if share >= 0.01 else figures(f"{share:.2%}", language)
    return f"{emotion_name(emotion, language)} {shown}"
