"""The language that the program uses: from `--lang`, SEMBLANTE_LANG, or else the system."""

from __future__ import annotations

import locale
import os
import re
import sys
from functools import partialmethod
from itertools import pairwise
from typing import Any

import typer

from semblante.emotions import LANGUAGES
from semblante.translation import translated

_SPANISH = 0x0A  # in the lower ten bits of Windows's numbers of languages


def system_language() -> str:
    """The one of `LANGUAGES` that POSIX's variables name or, if they are not set, Windows; English
    if that language is not among them."""
    variables = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    named = next(filter(None, variables), "")
    if not named and sys.platform == "win32":
        import ctypes

        number = ctypes.windll.kernel32.GetUserDefaultUILanguage()
        # Not all of Spanish's, such as es-419, are in Python's table.
        spanish = number & 0x3FF == _SPANISH
        named = "es" if spanish else locale.windows_locale.get(number, "")
    language = _language_of(named)
    return language if language in LANGUAGES else "en"


def _language_of(locale_name: str) -> str:
    """The language of a locale: `es` for `es_MX.UTF-8`, `es-419` or `ES`."""
    return re.split(r"[-_.@]", locale_name)[0].lower()


def default_language() -> str:
    """The language without `--lang`: what SEMBLANTE_LANG names, which need not be one of
    `LANGUAGES`, else `system_language`."""
    named = os.environ.get("SEMBLANTE_LANG")
    return _language_of(named) if named else system_language()


def chosen_language() -> str:
    """The one of `LANGUAGES` that the user has chosen. Looks for `--lang` in sys.argv, so that it
    works before the command line is parsed, and if that fails."""
    asked = [default_language()]
    for before, argument in pairwise(sys.argv):
        option, _, value = argument.partition("=")
        asked.append(argument if before == "--lang" else value if option == "--lang" else "")
    return next((language for language in reversed(asked) if language in LANGUAGES), "en")


def localised(text: str) -> str:
    """Translate the English `text` to the `chosen_language`: for messages that may come before the
    command line is parsed, and for commands without `--lang`."""
    return translated(text, chosen_language())


def localise_command(command: Any, language: str) -> None:
    """Translate the help texts of a Typer command and of its sub-commands, and join the lines of
    each paragraph: a terminal is not as wide as the code."""
    for part in ("help", "short_help", "epilog", "options_metavar", "subcommand_metavar"):
        if text := getattr(command, part, None):
            paragraphs = [" ".join(lines.split()) for lines in text.split("\n\n")]
            setattr(command, part, "\n\n".join(translated(p, language) for p in paragraphs))
    for option in command.get_params(typer.Context(command)):
        for part in ("help", "rich_help_panel", "metavar", "show_default"):
            text = getattr(option, part, None)
            if isinstance(text, str):
                setattr(option, part, translated(text, language))
    for below in getattr(command, "commands", {}).values():
        localise_command(below, language)


def localise_typer(language: str) -> None:
    """Translate the words of Typer itself, which are in its constants and in its errors."""
    from typer import rich_utils  # takes a tenth of a second, which English is spared

    typers: Any = rich_utils
    for name in (
        "DEFAULT_STRING", "ENVVAR_STRING", "REQUIRED_LONG_STRING", "ARGUMENTS_PANEL_TITLE",
        "OPTIONS_PANEL_TITLE", "COMMANDS_PANEL_TITLE", "ERRORS_PANEL_TITLE", "ABORTED_TEXT",
        "RICH_HELP",
    ):  # fmt: skip
        if text := getattr(typers, name, None):
            setattr(typers, name, translated(text, language))
    formatter: Any = typer.Context.formatter_class
    usage = translated("Usage: ", language)
    formatter.write_usage = partialmethod(formatter.write_usage, prefix=usage)
    show = typers.rich_format_error

    def show_translated(error: Any) -> None:
        localised = translated(error.format_message(), language)
        error.format_message = lambda: localised
        show(error)

    typers.rich_format_error = show_translated
