"""In which language the program speaks: as `--lang` says, SEMBLANTE_LANG, or else the system."""

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


def system_language() -> str:
    """The one of `LANGUAGES` that POSIX's variables name, or Windows, where these are not set;
    English where that is none of them."""
    variables = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    named = next(filter(None, variables), "")
    if not named and sys.platform == "win32":
        import ctypes

        number = ctypes.windll.kernel32.GetUserDefaultUILanguage()
        named = locale.windows_locale.get(number, "")
    language = _language_of(named)
    return language if language in LANGUAGES else "en"


def _language_of(locale_name: str) -> str:
    """`es` of `es_MX.UTF-8`, `es-419` or `ES`."""
    return re.split(r"[-_.@]", locale_name)[0].lower()


def default_language() -> str:
    """Where no `--lang` is given: what SEMBLANTE_LANG names, which need not be one of `LANGUAGES`,
    else `system_language`."""
    named = os.environ.get("SEMBLANTE_LANG")
    return _language_of(named) if named else system_language()


def chosen_language() -> str:
    """The one of `LANGUAGES` that the user reads, by the command line as it was typed: also before
    that has been read, and where it cannot be."""
    asked = [default_language()]
    for before, argument in pairwise(sys.argv):
        option, _, value = argument.partition("=")
        asked.append(argument if before == "--lang" else value if option == "--lang" else "")
    return next((language for language in reversed(asked) if language in LANGUAGES), "en")


def localised(text: str) -> str:
    """`text`, which is written in English, in the `chosen_language`: for what is said before the
    command line has been read, and where there is no `--lang`."""
    return translated(text, chosen_language())


def localise_command(command: Any, language: str) -> None:
    """Translate what `--help` says of a Typer command and of all below it, and bring the lines of
    each paragraph together: a terminal is not as wide as the code."""
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
    """Translate what Typer itself says: its words stand in constants, and in its errors."""
    from typer import rich_utils  # a tenth of a second that English does without

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
