"""`semblante explain`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from semblante.cli.checks import check_output_folder, complain
from semblante.cli.inputs import Clip, Input, Unreadable, annotated_places, find_inputs
from semblante.cli.options import (
    DetectorOption,
    FiguresFormat,
    HeadOption,
    Language,
    LanguageOption,
    MinFaceOption,
    MinScoreOption,
    ModelOption,
)
from semblante.cli.tables import new_table, print_table
from semblante.emotions import EMOTIONS, emotion_called, emotion_name
from semblante.errors import ImageError, OptionError, printable
from semblante.models import DEFAULT_MODEL
from semblante.picture_writing import save_picture
from semblante.recognise.explain import PARTS, Explanation
from semblante.recognise.pipeline import Analyzer
from semblante.recognise.sheets import HIDDEN, evidence_sheet
from semblante.translation import translated
from semblante.wording import guess


def explain_command(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="pictures, or folders of them", readable=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder for a page per picture: each face, coloured by what supports the "
            "estimate and what contradicts it",
            readable=False,
        ),
    ] = None,
    emotion: Annotated[
        str | None,
        typer.Option(help="what supports this emotion (default: the one that each face shows)"),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    head: HeadOption = None,
    detector: DetectorOption = "cnn",
    min_face: MinFaceOption = None,
    min_score: MinScoreOption = None,
    lang: LanguageOption = "en",
    format: Annotated[
        FiguresFormat,
        typer.Option(help="json: one object per picture, with the evidence for each pixel"),
    ] = "table",
) -> None:
    """What in a face speaks for the estimate: parts of it are hidden, and it is estimated again.

    It says what the network's answer depends on, not why a person looks as they do. Takes up to a
    second a face. Exits with 1 when some pictures could not be read; the others are still done.
    """
    asked = None if emotion is None else emotion_called(emotion)
    if emotion is not None and asked is None:
        known = ", ".join(emotion_name(name, lang) for name in EMOTIONS)
        raise OptionError(f"unknown emotion {emotion!r}; known: {known}")
    if out is not None:
        check_output_folder("--out", out)
    found = find_inputs(paths, filter(None, [out]), videos=False)
    places = {} if out is None else annotated_places(found, out, "--out")
    analyzer = Analyzer(model, detector=detector, min_face=min_face, min_score=min_score, head=head)
    table = new_table("picture", "face", "emotion", *HIDDEN.values(), language=lang)
    failed = False
    stdout = sys.stdout  # on a terminal the status redirects sys.stdout to itself
    try:
        with Console(stderr=True).status(translated("explaining", lang)):
            for path, explanations, error in _explained(analyzer, found, places, asked, lang):
                if error is not None:
                    complain(error)
                    failed = True
                if format == "json":
                    faces = [explained.to_dict() for explained in explanations]
                    about = {"path": str(path), "faces": faces, "error": error}
                    print(json.dumps(about), file=stdout, flush=True)
                else:
                    for row in _rows(path, explanations, asked, lang, read=error is None):
                        table.add_row(*row)
    finally:  # after an interruption, too, the results so far are shown
        if format == "table" and table.row_count:
            print_table(table)
    if failed:
        raise typer.Exit(1)


def _explained(
    analyzer: Analyzer,
    found: Sequence[Input],
    places: Mapping[int, Path],
    emotion: str | None,
    lang: Language,
) -> Iterator[tuple[Path, list[Explanation], str | None]]:
    """Yield for each input its path, its faces explained, and an error or None; the page of each
    input in `places` is written before."""
    for number, item in enumerate(found):
        explanations: list[Explanation] = []
        error = None
        try:
            if isinstance(item, Unreadable):
                raise ImageError(item.error)
            if isinstance(item, Clip):
                raise ImageError(f"{item.path}: expected a picture, found a video")
            explanations = analyzer.explain(item.path, emotion)
            if number in places:
                save_picture(evidence_sheet(explanations, lang), places[number])
        except ImageError as failure:
            error = str(failure)
        yield item.path, explanations, error


def _rows(
    path: Path,
    explanations: Sequence[Explanation],
    asked: str | None,
    lang: Language,
    *,
    read: bool,
) -> Iterator[tuple[str, ...]]:
    """Rows of the table, one for each face: the probability of the emotion `asked` for, or of the
    likeliest one, and the same with each part of the face hidden. `read`: whether the picture could
    be read."""
    for number, explained in enumerate(explanations, start=1):
        shown = guess(explained.face.probabilities, lang, asked)
        without = (guess(explained.without[part], lang, asked) for part in PARTS)
        yield printable(str(path)), str(number), shown, *without
    if not explanations:
        nothing = translated("no face" if read else "not read", lang)
        yield printable(str(path)), "-", nothing
