"""What semblante says, in another language than English.

Errors are written in English where they arise, whole sentences that files, logs and programs get as
well. Who shows one to a person asks here for the same in that person's language. A table for each,
`es.toml`, holds the texts, in which `{}` stands for what varies: for a name or a number, which stay
as they are; `{*}` for what is itself a text; and `{@}` for a place, which may be a line of a file.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Final

_VARIES: Final = re.compile(r"\{[*@]?\}")


def translated(text: str, language: str) -> str:
    """`text` in one of `emotions.LANGUAGES`; as it is, where the table lacks it."""
    if language == "en":
        return text
    whole, _ = _table(language)
    return whole.get(text) or _filled(text, language)


def _filled(text: str, language: str) -> str:
    """The translation of a text in which something varies."""
    how = {"{}": lambda value, _: value, "{*}": translated, "{@}": _filled}
    for pattern, kinds, other in _table(language)[1]:
        if found := pattern.fullmatch(text):
            values = zip(kinds, found.groups(), strict=True)
            return other.format(*(how[kind](value, language) for kind, value in values))
    return text


@cache
def _table(
    language: str,
) -> tuple[dict[str, str], list[tuple[re.Pattern[str], list[str], str]]]:
    """Texts in which nothing varies, with their translation, and patterns of the others, with the
    kinds of what varies. Those that say most come first."""
    stored = (resources.files("semblante") / f"{language}.toml").read_text(encoding="utf-8")
    texts = {key: other for part in tomllib.loads(stored).values() for key, other in part.items()}
    varying = sorted(filter(_VARIES.search, texts), key=lambda key: -len(_VARIES.sub("", key)))
    patterns = [
        (
            re.compile("(.*?)".join(map(re.escape, _VARIES.split(key))), re.DOTALL),
            _VARIES.findall(key),
            texts[key],
        )
        for key in varying
    ]
    return {key: other for key, other in texts.items() if key not in varying}, patterns
