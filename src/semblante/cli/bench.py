"""`semblante bench`."""

from __future__ import annotations

import json
import os
import platform
from typing import Annotated

import typer
from rich.console import Console

from semblante.cli.language import chosen_language
from semblante.cli.options import FiguresFormat
from semblante.cli.tables import new_table, print_table
from semblante.models import available_models
from semblante.translation import translated
from semblante.wording import figures


def bench_command(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="a shipped model or an ONNX file; may be repeated (default: all shipped)"
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(help="rounds to time; the median and the best are shown")
    ] = 30,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="time other recognisers installed here too")
    ] = True,
    format: Annotated[FiguresFormat, typer.Option(help="json is one object")] = "table",
) -> None:
    """Time the models on this machine: milliseconds a face, on 1 and 2 threads, alone and by 64.

    The package fer is timed in the same run where it is installed.
    """
    from semblante.recognise.timing import time_recognisers

    lang = chosen_language()
    with Console(stderr=True).status(translated("timing", lang)):
        timings = time_recognisers(model or available_models(), rounds=rounds, peers=peers)
    if format == "json":
        machine = {"cores": os.cpu_count(), "python": platform.python_version()}
        results = [timing.to_dict() for timing in timings]
        print(json.dumps({"machine": machine, "rounds": rounds, "timings": results}, indent=2))
        return
    headings = ("recogniser", "threads", "faces at once", "ms a face", "at best", "faces a second")
    table = new_table(*headings, language=lang)
    for timing in timings:
        table.add_row(
            timing.name,
            str(timing.threads or translated("its own", lang)),
            str(timing.batch),
            figures(f"{timing.ms_a_face.median:.2f}", lang),
            figures(f"{timing.ms_a_face.fastest:.2f}", lang),
            translated(f"{1000 / timing.ms_a_face.median:,.0f}", lang),
        )
    print_table(table)
