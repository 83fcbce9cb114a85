"""What semblante says, in another language than English.

Texts are written in English where they arise, errors as whole sentences that files, logs and
programs get as well. Who shows one to a person asks here for the same in that person's language. A
table for each, `es.toml`, holds the texts, in which `{}` stands for what varies: for a name, which
stays as it is, or a number; `{#}` for a whole number alone; `{*}` for what is itself a text; and
`{@}` for a place, which may be a line of a file.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Final

_VARIES: Final = re.compile(r"\{[*@#]?\}")
_THOUSANDS: Final = re.compile(r"\d{1,3}(,\d{3})+")
_NUMBER: Final = re.compile(rf"\d+|{_THOUSANDS.pattern}")


def translated(text: str, language: str) -> str:
    """`text` in one of `emotions.LANGUAGES`; as it is, where the table lacks it."""
    if language == "en":
        return text
    whole, _ = _table(language)
    return whole.get(text) or _filled(text, language)


def counted(n: int, language: str) -> str:
    """A whole number: only English puts commas between thousands."""
    return _value(f"{n:,}", language)


def _filled(text: str, language: str) -> str:
    """The translation of a text in which something varies."""
    how = {"{}": _value, "{#}": _value, "{*}": translated, "{@}": _filled}
    for fixed, kinds, other in _table(language)[1]:
        if values := _between(fixed, kinds, text):
            said = (how[kind](value, language) for kind, value in zip(kinds, values, strict=True))
            return other.format(*said)
    return text


def _value(value: str, language: str) -> str:
    """A name as it is, a number as that language writes it."""
    return value.replace(",", "") if language != "en" and _THOUSANDS.fullmatch(value) else value


def _between(fixed: list[str], kinds: list[str], text: str) -> list[str]:
    """What stands in `text` between the parts that are fixed, each as short as can be; nothing
    where it is another text. No regular expression: in a long one that may try places for hours."""
    start, end = len(fixed[0]), len(text) - len(fixed[-1])
    if start > end or not text.startswith(fixed[0]) or not text.endswith(fixed[-1]):
        return []
    values = []
    for part in fixed[1:-1]:
        place = text.find(part, start, end)
        if place < 0:
            return []
        values.append(text[start:place])
        start = place + len(part)
    values.append(text[start:end])
    numbers = (value for kind, value in zip(kinds, values, strict=True) if kind == "{#}")
    return values if all(_NUMBER.fullmatch(number) for number in numbers) else []


@cache
def _table(
    language: str,
) -> tuple[dict[str, str], list[tuple[list[str], list[str], str]]]:
    """Texts in which nothing varies, with their translation, and the fixed parts of the others,
    with the kinds of what varies. Those that say most come first."""
    stored = (resources.files("semblante") / f"{language}.toml").read_text(encoding="utf-8")
    texts = {key: other for part in tomllib.loads(stored).values() for key, other in part.items()}
    varying = sorted(filter(_VARIES.search, texts), key=lambda key: -len(_VARIES.sub("", key)))
    patterns = [(_VARIES.split(key), _VARIES.findall(key), texts[key]) for key in varying]
    return {key: other for key, other in texts.items() if key not in varying}, patterns
