"""The `semblante` program: its commands, and what happens to errors."""

from __future__ import annotations

import io
import os
import sys

import typer

from semblante.cli.analyze import analyze_command
from semblante.cli.evaluate import evaluate_command
from semblante.cli.export import export_command
from semblante.cli.models import models_app
from semblante.cli.train import train_command
from semblante.errors import OptionError, SemblanteError

app = typer.Typer(
    help="Find faces in pictures and estimate the emotion each shows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("analyze")(analyze_command)
app.command("evaluate")(evaluate_command)
app.command("train")(train_command)
app.command("export")(export_command)
app.add_typer(models_app, name="models")


@app.callback()
def _root() -> None:
    pass


def main() -> None:
    """Exit codes: 0 done, 1 failed or partly failed, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A file name need not be text: show its odd bytes escaped instead of failing on them.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SemblanteError as error:
        _fail(str(error), 2 if isinstance(error, OptionError) else 1)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", 1)


def _fail(reason: str, code: int) -> None:
    print(f"semblante: {reason}", file=sys.stderr)
    sys.exit(code)
