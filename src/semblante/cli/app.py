"""The `semblante` program: its commands, and what happens to errors."""

from __future__ import annotations

import sys

import typer

from semblante.cli.train import train_command
from semblante.errors import OptionError, SemblanteError

app = typer.Typer(
    help="Find faces in pictures and estimate the emotion each shows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("train")(train_command)


@app.callback()
def _root() -> None:
    pass


def main() -> None:
    """Exit codes: 0 done, 1 failed or partly failed, 2 wrong usage, 130 interrupted."""
    try:
        app(standalone_mode=True)
    except SemblanteError as error:
        print(f"semblante: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, OptionError) else 1)
    except KeyboardInterrupt:
        print("semblante: interrupted", file=sys.stderr)
        sys.exit(130)
