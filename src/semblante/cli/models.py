"""`semblante models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from semblante.cli.language import chosen_language, localised
from semblante.cli.tables import new_table, print_table
from semblante.errors import OptionError
from semblante.models import DEFAULT_MODEL, MODELS, YUNET_LICENCE, model_path, sha256
from semblante.recognise.classifier import Classifier
from semblante.translation import translated
from semblante.wording import figures

models_app = typer.Typer(help="The trained models and detectors.", no_args_is_help=True)


@models_app.command("list")
def list_command() -> None:
    """One line for each shipped model."""
    lang = chosen_language()
    table = new_table("model", "parameters", "MB", "PublicTest", "PrivateTest", language=lang)
    for entry in MODELS.values():
        table.add_row(
            entry.name,
            translated(f"{entry.parameters:,}", lang),
            figures(f"{entry.path.stat().st_size / 1e6:.2f}", lang),
            figures(f"{entry.public_test:.2%}", lang),
            figures(f"{entry.private_test:.2%}", lang),
        )
    print_table(table)


@models_app.command("pull")
def pull_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="one of yunet")],
    file: Annotated[
        Path | None,
        typer.Option("--from", help="file that was downloaded by other means", readable=False),
    ] = None,
) -> None:
    """Fetch a detector that does not ship, check it, and keep it for `--detector NAME`."""
    from semblante.pull import pull_yunet

    if name != "yunet":
        raise OptionError(f"unknown detector {name!r}; known: yunet")
    print(localised(f"{name}: {pull_yunet(file)} ({YUNET_LICENCE} licence)"))


@models_app.command("show")
def show_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="a shipped model or an ONNX file")
    ] = DEFAULT_MODEL,
) -> None:
    """All that a model's file says of itself, as JSON."""
    path = model_path(model)
    about = Classifier(path, threads=1).about
    print(json.dumps({"file": path.name, "sha256": sha256(path), **about}, indent=2))
