"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class FiguresFormat(StrEnum):
    """How a command prints its figures."""

    table = "table"
    json = "json"


ModelOption = Annotated[str, typer.Option(help="a shipped model or an ONNX file")]
StepsOption = Annotated[
    int | None,
    typer.Option(help="steps of the last recurrent layer: fewer are quicker (default: all)"),
]
EarlyExitOption = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="take no further step with a face whose likeliest emotion has a probability of at "
        "least P",
    ),
]
