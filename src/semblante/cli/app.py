"""The `semblante` program: its commands, and what happens to errors."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

import semblante
from semblante.cli.analyze import analyze_command
from semblante.cli.bench import bench_command
from semblante.cli.checks import complain, complain_of
from semblante.cli.data import data_app
from semblante.cli.evaluate import evaluate_command
from semblante.cli.explain import explain_command
from semblante.cli.export import export_command
from semblante.cli.language import (
    chosen_language,
    default_language,
    localise_command,
    localise_typer,
)
from semblante.cli.models import models_app
from semblante.cli.serve import serve_command
from semblante.cli.train import train_command
from semblante.cli.watch import watch_command
from semblante.errors import OptionError, SemblanteError

# Options that report an empty value themselves.
_MAY_BE_EMPTY: Final = ("--token", "--map", "--origin")
_MAY_HOLD_QUOTES: Final = ("--token", "--map")
_WINDOWS: Final = os.name == "nt"

app = typer.Typer(
    help="Find faces in pictures and estimate the emotion each shows.",
    epilog="Exit codes: 0 done, 1 failed or partly failed, 2 wrong usage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("analyze")(analyze_command)
app.command("explain")(explain_command)
app.command("evaluate")(evaluate_command)
app.command("train")(train_command)
app.command("watch")(watch_command)
app.command("serve")(serve_command)
app.command("export")(export_command)
app.command("bench")(bench_command)
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")


def _print_version(asked: bool) -> None:
    if asked:
        print(semblante.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Raise `OptionError` for an empty argument, which usually comes from a shell variable that is
    not set. (As a path it would mean the current folder.)"""
    before = ""
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if argument == "" or (equals and not value and option.startswith("--")):
            option = option or before
            if option not in _MAY_BE_EMPTY:
                after = f" after {option}" if option.startswith("--") else ""
                raise OptionError(
                    f"expected a name or a value, found an empty argument{after}: is a variable "
                    "not set?"
                )
        before = argument


def _refuse_quotes(arguments: Sequence[str]) -> None:
    """Raise `OptionError` for an argument with a quotation mark, which no name on Windows can hold.
    In `"C:\\My photos\\" --out a.csv` the backslash makes the second one a part of the name, and so
    all that follows it."""
    for before, argument in pairwise(("", *arguments)):
        free = {before, argument.partition("=")[0]} & set(_MAY_HOLD_QUOTES)
        if '"' in argument and not free:
            raise OptionError(
                "expected a name, found one with a quotation mark: leave out the backslash before "
                f"the closing quotation mark: {argument}"
            )


def _arguments() -> list[str]:
    """The arguments of the command line. On Windows, whose shells leave that to programs, `~` is
    replaced by the user's folder. (Typer would replace $NAME, too, even in a --token, and take
    `photo[1].jpg` for a pattern; `find_inputs` knows patterns.)"""
    arguments = sys.argv[1:]
    if not _WINDOWS:
        return arguments
    return [os.path.expanduser(a) if a.startswith(("~/", "~\\")) else a for a in arguments]  # noqa: PTH111


def _is_somewhere() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def _end_unheard() -> NoReturn:
    """Exit with 1 after the reader of our output, such as `head`, has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def main() -> None:
    """Exit codes: 0 done, 1 failed or partly failed, 2 wrong usage, 130 interrupted."""
    # A stream that was closed before the start is None: discard what is written to it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A file name may hold bytes that are no text: print them escaped instead of failing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            # On Windows a file or a pipe would get the country's code page.
            if _WINDOWS and not stream.isatty() and "PYTHONIOENCODING" not in os.environ:
                stream.reconfigure(encoding="utf-8")
    # Silence what Pillow logs and warns of odd files: our messages say what matters.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # Every `--lang` takes its default from this variable.
    os.environ["SEMBLANTE_LANG"] = default_language()
    try:
        arguments = _arguments()
        _refuse_empty(arguments)
        if _WINDOWS:
            _refuse_quotes(arguments)
        command = typer.main.get_command(app)
        language = chosen_language()
        localise_command(command, language)
        if language != "en":
            localise_typer(language)
        command(arguments)
    except SemblanteError as error:
        complain_of(error)
        sys.exit(2 if isinstance(error, OptionError) else 1)
    except BrokenPipeError:
        _end_unheard()
    except OSError as error:
        # How Windows reports a closed pipe, and much else.
        closed = _WINDOWS and error.errno == errno.EINVAL and not error.filename
        if closed and not sys.stdout.isatty():
            _end_unheard()
        if not error.filename and not _is_somewhere():
            complain("the current folder does not exist any more")
            sys.exit(1)
        complain_of(error)
        sys.exit(1)
