"""Results as JSON lines, as CSV, as Parquet, and as a table for people."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from semblante.cli.tables import new_table, print_table
from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import MissingExtraError, printable
from semblante.recognise.sheets import clock
from semblante.results import COLUMNS, WHOLE_COLUMNS, Analysis, percent, rows_of
from semblante.translation import translated


def write_json_lines(analyses: Iterable[Analysis], file: IO[str]) -> None:
    """One object a line, as soon as it is known; plain ASCII, whatever the file names hold."""
    for analysis in analyses:
        file.write(json.dumps(analysis.to_dict()) + "\n")
        file.flush()


def write_csv(analyses: Iterable[Analysis], file: IO[str]) -> None:
    """One row a face; a picture without a face, or not read, has one row without face columns."""
    # Python 3.11 quotes only what ends a row, and a file's name may hold a carriage return.
    rows = csv.writer(_UnixLines(file), lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for analysis in analyses:
        rows.writerows(rows_of(analysis))
        file.flush()


class _UnixLines:
    """A file for rows that end in "\\r\\n": it gets them with "\\n" instead."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def write_parquet(analyses: Iterable[Analysis], path: Path) -> None:
    """The rows of the CSV, with their types (extra `parquet`)."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("writing Parquet", "parquet") from None
    kinds = {name: pyarrow.int32() for name in WHOLE_COLUMNS}
    kinds |= {name: pyarrow.string() for name in ("path", "emotion", "error")}

    def text(value: Any) -> Any:
        # A file name need not be UTF-8, which Parquet's text must be: as in the CSV.
        known = isinstance(value, str)
        return value.encode(errors="backslashreplace").decode() if known else value

    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in COLUMNS])
    with parquet.ParquetWriter(path, schema) as writer:
        rows = (row for analysis in analyses for row in rows_of(analysis))
        while some := list(itertools.islice(rows, 10_000)):
            columns = zip(*some, strict=True)
            arrays = [
                pyarrow.array(map(text, column), kind)
                for column, kind in zip(columns, schema.types, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def write_table(analyses: Iterable[Analysis], file: IO[str], language: str) -> None:
    """For a person: a line a face, with the second guess, since the first is often unsure; of a
    video a line a track, with the emotion it showed most."""
    columns = ("picture", "face", "emotion", "or else", "left,top size")
    table = new_table(*(translated(name, language) for name in columns))
    for column in table.columns[2:]:
        column.no_wrap = True
    for _, group in itertools.groupby(analyses, key=_Inputs().number):
        clip, broken = _Clip(), ""
        for analysis in group:
            path = printable(analysis.path or "")
            # What was read may have an error as well: that of its annotated copy.
            if analysis.error is not None and analysis.width is None:
                broken = "incomplete" if clip.frames else "not read"
            elif analysis.error is not None and clip.frames:
                broken = "copy not written"
            elif analysis.frame is not None:
                clip.add(analysis)
            elif not analysis.faces:
                table.add_row(path, "-", translated("no face", language))
            else:
                for number, face in enumerate(analysis.faces, start=1):
                    box = f"{face.box.left},{face.box.top} {face.box.width}x{face.box.height}"
                    guesses = _guesses(face.probabilities, language)
                    table.add_row(path, str(number), *guesses, box)
        for track, shown in clip.tracks.items():
            mean = {name: total / shown.frames for name, total in shown.totals.items()}
            times = " - ".join(clock(at, tenths=True) for at in (shown.first_s, shown.last_s))
            name = translated(f"track {track}", language)
            table.add_row(path, name, *_guesses(mean, language), times)
        if clip.frames and not clip.tracks:
            table.add_row(path, "-", translated("no face", language))
        if broken:
            table.add_row(path, "-", translated(broken, language))
    print_table(table, file)


def follows(analysis: Analysis, before: Analysis) -> bool:
    """Does `analysis` belong to the same pass over a video as `before`?"""
    if analysis.path != before.path or before.frame is None:
        return False
    return analysis.frame is None or analysis.frame > before.frame


class _Inputs:
    """Counts them, as what was found in them comes."""

    def __init__(self) -> None:
        self._count = 0
        self._before: Analysis | None = None

    def number(self, analysis: Analysis) -> int:
        if self._before is None or not follows(analysis, self._before):
            self._count += 1
        self._before = analysis
        return self._count


@dataclass
class _Shown:
    """One track of a video."""

    first_s: float
    last_s: float = 0.0
    frames: int = 0
    totals: dict[str, float] = field(default_factory=lambda: dict.fromkeys(EMOTIONS, 0.0))


@dataclass
class _Clip:
    """A video, a frame at a time."""

    frames: int = 0
    tracks: dict[int, _Shown] = field(default_factory=dict)

    def add(self, analysis: Analysis) -> None:
        self.frames += 1
        time_s = analysis.time_s or 0.0
        for face in analysis.faces:
            shown = self.tracks.setdefault(face.track or 0, _Shown(time_s))
            shown.last_s = time_s
            shown.frames += 1
            for name, probability in face.probabilities.items():
                shown.totals[name] += probability


def _guesses(probabilities: Mapping[str, float], language: str) -> tuple[str, ...]:
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return tuple(f"{emotion_name(name, language)} {percent(p)}" for name, p in ranked[:2])
