"""Results as JSON lines, as CSV, and as a table for people."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from semblante.emotions import EMOTIONS, emotion_name
from semblante.results import Analysis


def write_json_lines(analyses: Iterable[Analysis], file: IO[str]) -> None:
    """One object a line, as soon as it is known; plain ASCII, whatever the file names hold."""
    for analysis in analyses:
        file.write(json.dumps(analysis.to_dict()) + "\n")
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
        for number, face in enumerate(analysis.faces, start=1):
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
