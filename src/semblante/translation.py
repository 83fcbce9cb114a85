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
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import resources
from typing import Final, NamedTuple

from semblante.emotions import emotion_name

_VARIES: Final = re.compile(r"\{[*@#]?\}")
_THOUSANDS: Final = re.compile(r"\d{1,3}(,\d{3})+")
_DEPTH: Final = 5  # of texts within texts: there are none of more, and none can take long
_NUMBER: Final = re.compile(rf"\d+|{_THOUSANDS.pattern}")


def translated(text: str, language: str) -> str:
    """`text` in one of `emotions.LANGUAGES`, else `OptionError`; as it is, where the table lacks
    it."""
    return text if language == "en" else _translate(text, language, _DEPTH).text


def counted(n: int, language: str) -> str:
    """A whole number: only English puts commas between thousands."""
    return _value(f"{n:,}", language, 0).text


class _Translation(NamedTuple):
    """A translation, and how many letters of the original the table knew."""

    text: str
    known: int = 0


@lru_cache(maxsize=1000)
def _translate(text: str, language: str, depth: int) -> _Translation:
    """A text, which may hold others, and these others, `depth` times; or just a number."""
    if _THOUSANDS.fullmatch(text):
        return _value(text, language, depth)
    whole = _table(language).exact.get(text)
    if whole is not None:
        return _Translation(whole, len(text))
    return _translate_pattern(text, language, depth)


@lru_cache(maxsize=1000)
def _translate_pattern(text: str, language: str, depth: int) -> _Translation:
    """Of a text in which something varies. It may be read in several ways, since a text within
    another may end, or begin, as a third does: the one of which the table knows most is meant."""
    best = _Translation(text)
    if depth == 0:
        return best
    for fixed, kinds, translation in _table(language).patterns:
        if values := _between(fixed, kinds, text):
            parts = [
                _TRANSLATORS[kind](value, language, depth - 1)
                for kind, value in zip(kinds, values, strict=True)
            ]
            known = sum(map(len, fixed)) + sum(part.known for part in parts)
            if known > best.known:
                best = _Translation(translation.format(*(part.text for part in parts)), known)
    return best


def _value(value: str, language: str, _: int) -> _Translation:
    """A name as it is, a number as that language writes it."""
    number = language != "en" and _THOUSANDS.fullmatch(value)
    return _Translation(value.replace(",", "") if number else value)


_TRANSLATORS: Final[dict[str, Callable[[str, str, int], _Translation]]] = {
    "{}": _value, "{#}": _value, "{*}": _translate, "{@}": _translate_pattern,
}  # fmt: skip


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


class _Pattern(NamedTuple):
    """A text in which something varies: the parts that are fixed, the kinds of what stands between
    them, and the translation."""

    fixed: list[str]
    kinds: list[str]
    translation: str


class _Table(NamedTuple):
    """A language's texts: those in which nothing varies, by the English ones, and the others."""

    exact: dict[str, str]
    patterns: list[_Pattern]


@cache
def _table(language: str) -> _Table:
    emotion_name("neutral", language)  # is there such a language?
    stored = (resources.files("semblante") / f"{language}.toml").read_text(encoding="utf-8")
    parts = tomllib.loads(stored).values()
    texts = {text: translation for part in parts for text, translation in part.items()}
    varying = list(filter(_VARIES.search, texts))
    return _Table(
        {text: texts[text] for text in texts if text not in varying},
        [_Pattern(_VARIES.split(text), _VARIES.findall(text), texts[text]) for text in varying],
    )
