"""`semblante analyze`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

import typer

from semblante.cli.checks import complain, output_file
from semblante.cli.formats import write_csv, write_json_lines, write_table
from semblante.cli.pictures import Unreadable, annotated_places, find_pictures
from semblante.emotions import LANGUAGES
from semblante.errors import OptionError
from semblante.files import write_atomically
from semblante.models import DEFAULT_MODEL
from semblante.recognise.annotate import annotate as draw
from semblante.recognise.annotate import save_picture
from semblante.recognise.detectors import DETECTORS, make_detector
from semblante.recognise.pipeline import Analyzer
from semblante.results import Analysis


class Format(StrEnum):
    """How results are written."""

    table = "table"
    json = "json"
    csv = "csv"


class Language(StrEnum):
    """Of the words a person reads; JSON and CSV always have the English labels."""

    en = "en"
    es = "es"


assert tuple(Language) == LANGUAGES


class DetectorName(StrEnum):
    """Who finds the faces."""

    haar = "haar"
    yunet = "yunet"
    none = "none"


assert tuple(DetectorName) == DETECTORS


def analyze_command(
    # readable=False: whether a file can be read is found out with the others, one by one.
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="pictures or folders", readable=False),
    ],
    format: Annotated[Format, typer.Option(help="json is one object a line")] = Format.table,
    out: Annotated[
        Path | None, typer.Option(help="write here instead of to the screen", readable=False)
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(help="folder for copies of the pictures with boxes drawn", readable=False),
    ] = None,
    model: Annotated[str, typer.Option(help="a shipped model or an ONNX file")] = DEFAULT_MODEL,
    detector: Annotated[
        DetectorName, typer.Option(help="what finds the faces; none: each picture is a face")
    ] = DetectorName.haar,
    min_face: Annotated[int, typer.Option(help="smallest face to look for, pixels a side")] = 24,
    lang: Annotated[Language, typer.Option(help="of the table and the pictures")] = Language.en,
) -> None:
    """Find the faces in pictures and estimate the emotion each shows.

    Reads JPEG, PNG, WebP, AVIF, BMP, GIF, TIFF and PPM. Exits with 1 when some pictures could
    not be read; the others are still done.
    """
    if out is not None:
        output_file("--out", out)
    if annotate is not None and annotate.exists() and not annotate.is_dir():
        raise OptionError(f"--annotate {annotate}: expected a folder, found a file")
    found = find_pictures(paths, annotate)
    if out is not None and any(out.exists() and _same(out, item.path) for item in found):
        raise OptionError(f"--out {out} would overwrite a picture")
    places = annotated_places(found, annotate) if annotate is not None else {}
    options = {} if detector is DetectorName.none else {"min_face": min_face}
    analyzer = Analyzer(model, detector=make_detector(detector, **options))
    failures: list[str] = []

    def results() -> Iterator[Analysis]:
        for position, item in enumerate(found):
            if isinstance(item, Unreadable):
                analysis = Analysis(str(item.path), None, None, error=item.error)
            else:
                analysis, pixels = analyzer.analyze_with_pixels(item.path)
                if position in places and pixels is not None:
                    save_picture(draw(pixels, analysis.faces, lang), places[position])
            if analysis.error is not None:
                failures.append(analysis.error)
                complain(analysis.error)
            yield analysis

    write: Callable[[Iterable[Analysis], IO[str]], None] = {
        Format.json: write_json_lines,
        Format.csv: write_csv,
        Format.table: lambda analyses, file: write_table(analyses, file, lang),
    }[format]
    if out is None:
        write(results(), sys.stdout)
    else:

        def write_file(beside: Path) -> None:
            with beside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                write(results(), file)

        write_atomically(out, write_file)
    if failures:
        raise typer.Exit(1)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
