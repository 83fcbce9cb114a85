"""Translations of semblante's messages into languages other than English.

Messages are written in English where they arise, because files, logs and programs get them too.
Code that shows a message to a person asks here for its translation. A table for each language
(`es.toml`) maps English texts to translations. In the English texts `{}` stands for a part that
varies and is not translated, a name or a number; `{#}` for a whole number only; `{.}` for a figure
with decimals or a percentage, which is not what the user gave; `{*}` for a part that is itself a
text to translate; `{@}` for a place, which may be a line of a file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import resources
from typing import Final, NamedTuple

from semblante.emotions import check_language
from semblante.wording import figures

_VARIES: Final = re.compile(r"\{[*@#.]?\}")
_THOUSANDS: Final = re.compile(r"\d{1,3}(,\d{3})+")
_DEPTH: Final = 5  # of texts nested in texts: none is nested deeper, and it limits the time
_NUMBER: Final = re.compile(rf"\d+|{_THOUSANDS.pattern}")


def translated(text: str, language: str) -> str:
    """Return `text` in `language`, or unchanged if the table lacks it; raises `OptionError` for a
    language that is not in `emotions.LANGUAGES`."""
    return text if language == "en" else _translate(text, language, _DEPTH).text


def counted(n: int, language: str) -> str:
    """Return a whole number as `language` writes it: only English has commas between thousands."""
    return _value(f"{n:,}", language, 0).text


class _Translation(NamedTuple):
    """A translation, and how many characters of the original were found in the table."""

    text: str
    known: int = 0


@lru_cache(maxsize=1000)
def _translate(text: str, language: str, depth: int) -> _Translation:
    """Translate a text, including the texts nested in it down to `depth`; or format a number."""
    if _THOUSANDS.fullmatch(text):
        return _value(text, language, depth)
    whole = _table(language).exact.get(text)
    if whole is not None:
        return _Translation(whole, len(text))
    return _translate_pattern(text, language, depth)


@lru_cache(maxsize=1000)
def _translate_pattern(text: str, language: str, depth: int) -> _Translation:
    """Translate a text that has varying parts. Several patterns may match it, because a nested text
    may start or end like another one: the translation with the most known characters is taken."""
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
    """Return a name unchanged, a number as `language` writes it."""
    number = language != "en" and _THOUSANDS.fullmatch(value)
    return _Translation(value.replace(",", "") if number else value)


def _figure(value: str, language: str, _: int) -> _Translation:
    return _Translation(figures(value, language))


_TRANSLATORS: Final[dict[str, Callable[[str, str, int], _Translation]]] = {
    "{}": _value, "{#}": _value, "{.}": _figure, "{*}": _translate, "{@}": _translate_pattern,
}  # fmt: skip


def _between(fixed: list[str], kinds: list[str], text: str) -> list[str]:
    """Return the parts of `text` between the `fixed` parts, each as short as possible; an empty
    list if `text` does not match. A regular expression might backtrack for hours on a long text."""
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
    """A text with varying parts: its fixed parts, the kinds of the varying parts between them
    (`{}`, `{#}`, `{.}`, `{*}` or `{@}`), and its translation."""

    fixed: list[str]
    kinds: list[str]
    translation: str


class _Table(NamedTuple):
    """A language's translations: of texts without varying parts, by the English text, and
    others."""

    exact: dict[str, str]
    patterns: list[_Pattern]


@cache
def _table(language: str) -> _Table:
    check_language(language)
    stored = (resources.files("semblante") / f"{language}.toml").read_text(encoding="utf-8")
    parts = tomllib.loads(stored).values()
    texts = {text: translation for part in parts for text, translation in part.items()}
    varying = list(filter(_VARIES.search, texts))
    return _Table(
        {text: texts[text] for text in texts if text not in varying},
        [_Pattern(_VARIES.split(text), _VARIES.findall(text), texts[text]) for text in varying],
    )
