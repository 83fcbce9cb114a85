"""`semblante watch`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from semblante.cli.checks import check_not_an_input, check_output_file
from semblante.cli.formats import WHOLE_FILES, Format, format_of, text_file, write_lines
from semblante.cli.options import (
    DetectorOption,
    HeadOption,
    LanguageOption,
    MinFaceOption,
    MinScoreOption,
    ModelOption,
    ThreadsOption,
)
from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import OptionError
from semblante.models import DEFAULT_MODEL
from semblante.recognise.annotate import COLOURS
from semblante.recognise.camera import is_address
from semblante.recognise.pipeline import Analyzer
from semblante.results import Analysis
from semblante.translation import translated
from semblante.wording import percent

_BAR = 30  # characters


def watch_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="a camera's number or address (rtsp://...), or a video file"
        ),
    ] = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            help="table to write while frames come, .csv or .json: the faces of each frame",
            readable=False,
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    head: HeadOption = None,
    detector: DetectorOption = "cnn",
    min_face: MinFaceOption = None,
    min_score: MinScoreOption = None,
    threads: ThreadsOption = None,
    lang: LanguageOption = "en",
) -> None:
    """Show the faces of a camera as live bars in the terminal, over SSH too. Ctrl-C ends it.

    No picture is shown or kept.
    """
    format = None
    if out is not None:
        format = format_of("--out", out, but=(*WHOLE_FILES, Format.table))
        check_output_file("--out", out)
        check_not_an_input("--out", out, Path(source), Path(model))
    camera = int(source) if source.isdecimal() else None
    if camera is None and not is_address(source) and not Path(source).exists():
        raise OptionError(
            f"expected a camera's number, its address, or a video file, found {source!r}"
        )
    analyzer = Analyzer(
        model, detector=detector, min_face=min_face, min_score=min_score, head=head, threads=threads
    )
    frames = analyzer.analyze_video(source if camera is None else camera)
    console = Console()
    last: Analysis | None = None

    def watched(live: Live) -> Iterator[Analysis]:
        nonlocal last
        for last in frames:
            live.update(shown(last, lang))
            yield last

    try:
        with Live(console=console, refresh_per_second=12, transient=True) as live:
            if out is not None and format is not None:
                with text_file(out) as file:
                    write_lines(watched(live), file, format)
            else:
                for _ in watched(live):
                    pass
    except KeyboardInterrupt:
        pass
    finally:  # also when a video fails
        if last is not None:
            console.print(shown(last, lang))


def shown(analysis: Analysis, language: str) -> Group:
    """The faces of a frame as text: for each face a bar for every emotion."""
    time = translated(f"time {analysis.time_s or 0:.1f} s", language)
    head = Text(f"{time}   ", style="dim")
    head.append(translated("no face", language) if not analysis.faces else "")
    parts: list[Text | Table] = [head]
    for face in analysis.faces:
        table = Table(box=None, pad_edge=False, show_header=False, title_justify="left")
        title = translated(f"face {face.track}: {emotion_name(face.emotion, language)}", language)
        table.title = Text(title, style="bold")
        for emotion in EMOTIONS:
            probability = face.probabilities[emotion]
            red, green, blue = COLOURS[emotion]
            full = round(probability * _BAR)
            bar = Text("\N{FULL BLOCK}" * full, style=f"rgb({red},{green},{blue})")
            bar.append("\N{MIDDLE DOT}" * (_BAR - full), style="dim")
            table.add_row(
                emotion_name(emotion, language), bar, f"{percent(probability, language):>5}"
            )
        parts.append(table)
    return Group(*parts)
