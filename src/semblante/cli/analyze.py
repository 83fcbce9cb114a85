"""`semblante analyze`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from semblante.emotions import EMOTIONS, LANGUAGES, emotion_name
from semblante.errors import OptionError
from semblante.models import DEFAULT_MODEL
from semblante.results import Analysis

if TYPE_CHECKING:
    from semblante.images import RgbImage


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


def analyze_command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="pictures or folders")],
    format: Annotated[Format, typer.Option(help="json is one object a line")] = Format.table,
    out: Annotated[Path | None, typer.Option(help="write here instead of to the screen")] = None,
    annotate: Annotated[
        Path | None, typer.Option(help="folder for copies of the pictures with boxes drawn")
    ] = None,
    model: Annotated[str, typer.Option(help="a shipped model or an ONNX file")] = DEFAULT_MODEL,
    lang: Annotated[Language, typer.Option(help="of the table and the pictures")] = Language.en,
) -> None:
    """Find the faces in pictures and estimate the emotion each shows.

    Exits with 1 when some pictures could not be read; the others are still done.
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.parent}")
    if annotate is not None and annotate.exists() and not annotate.is_dir():
        raise OptionError(f"--annotate {annotate}: expected a folder, found a file")

    from semblante.files import write_atomically
    from semblante.recognise.pipeline import Analyzer

    analyzer = Analyzer(model)
    drawings = None if annotate is None else _Drawings(annotate, lang)
    failures: list[str] = []

    def results() -> Iterator[Analysis]:
        for picture in find_pictures(paths, leave_out=annotate):
            if isinstance(picture, Analysis):
                analysis = picture
            else:
                path, below = picture
                analysis, pixels = analyzer.analyze_with_pixels(path)
                if drawings is not None and pixels is not None:
                    drawings.save(path, below, pixels, analysis)
            if analysis.error is not None:
                failures.append(analysis.error)
                print(f"semblante: {analysis.error}", file=sys.stderr)
            yield analysis

    write: Callable[[Iterable[Analysis], IO[str]], None] = {
        Format.json: write_json_lines,
        Format.csv: write_csv,
        Format.table: lambda found, file: write_table(found, file, lang),
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


def find_pictures(
    paths: Iterable[Path], leave_out: Path | None = None
) -> Iterator[tuple[Path, Path] | Analysis]:
    """Each picture with its path below the folder it was found in; what is missing, as an error.

    A file named by the user is tried whatever its name; in folders, with their sub-folders,
    files are chosen by their suffix and sorted by name, but not those below `leave_out`, where
    this program writes pictures itself.
    """
    from semblante.images import SUFFIXES

    own = leave_out.resolve() if leave_out is not None else None
    for path in paths:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        found = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SUFFIXES
            and file.is_file()
            and not (own and file.resolve().is_relative_to(own))
        )
        if not found:
            error = f"{path}: no pictures in this folder"
            yield Analysis(str(path), None, None, error=error)
        for file in found:
            yield file, file.relative_to(path)


class _Drawings:
    """The folder of annotated pictures, laid out like the folders they were found in."""

    def __init__(self, folder: Path, language: str) -> None:
        self._folder = folder
        self._language = language
        self._used: set[Path] = set()

    def save(self, source: Path, below: Path, pixels: RgbImage, analysis: Analysis) -> None:
        from semblante.recognise.annotate import annotate, save_picture, saved_name

        # Two inputs of one name from different folders: the second becomes NAME-2.
        target, number = saved_name(self._folder / below), 1
        while target in self._used:
            number += 1
            target = saved_name(self._folder / below.with_stem(f"{below.stem}-{number}"))
        if target.resolve() == source.resolve():
            raise OptionError(f"--annotate {self._folder} would overwrite the picture {source}")
        self._used.add(target)
        save_picture(annotate(pixels, analysis.faces, self._language), target)


def write_json_lines(analyses: Iterable[Analysis], file: IO[str]) -> None:
    """One object a line, as soon as it is known."""
    for analysis in analyses:
        file.write(json.dumps(analysis.to_dict(), ensure_ascii=False) + "\n")
        file.flush()


def write_csv(analyses: Iterable[Analysis], file: IO[str]) -> None:
    """One row a face; a picture without a face, or not read, has one row without face columns."""
    face_columns = ["track", "left", "top", "face_width", "face_height", "detection_score",
                    "emotion", *EMOTIONS]  # fmt: skip
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["path", "frame", "time_s", "width", "height", "face", *face_columns, "error"])
    for analysis in analyses:
        about = [analysis.path, analysis.frame, analysis.time_s, analysis.width, analysis.height]
        if not analysis.faces:
            rows.writerow([*about, None, *[None] * len(face_columns), analysis.error])
        for number, face in enumerate(analysis.faces):
            values = face.to_dict()
            probabilities = values["probabilities"].values()
            cells = [values["track"], *values["box"], values["detection_score"], values["emotion"]]
            rows.writerow([*about, number, *cells, *probabilities, analysis.error])
        file.flush()


def write_table(analyses: Iterable[Analysis], file: IO[str], language: str) -> None:
    """For a person: a line a face, with the second guess, since the first is often unsure."""
    words = _WORDS[language]
    table = Table(*words["columns"], box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.no_wrap = True
    for analysis in analyses:
        if analysis.error is not None:
            table.add_row(analysis.path, "-", words["not read"])
        elif not analysis.faces:
            table.add_row(analysis.path, "-", words["no face"])
        for number, face in enumerate(analysis.faces, start=1):
            ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])
            first, second = (f"{emotion_name(e, language)} {p:.0%}" for e, p in ranked[:2])
            box = f"{face.box.left},{face.box.top} {face.box.width}x{face.box.height}"
            table.add_row(analysis.path, str(number), first, second, box)
    # A table in a file, or in a pipe, is as wide as it needs to be.
    console = Console(file=file, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
    console.print(table)


_WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "columns": ["picture", "face", "emotion", "or else", "left,top size"],
        "no face": "no face",
        "not read": "not read",
    },
    "es": {
        "columns": ["imagen", "rostro", "emoción", "o bien", "izq.,arriba tamaño"],
        "no face": "sin rostros",
        "not read": "no leída",
    },
}
