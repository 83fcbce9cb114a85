"""Write results as JSON lines, CSV, Parquet, an Excel workbook, or a table for people."""

from __future__ import annotations

import csv
import itertools
import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from semblante.cli.checks import require
from semblante.cli.tables import new_table, print_table
from semblante.emotions import emotion_name
from semblante.errors import OptionError, printable
from semblante.results import Analysis
from semblante.summary import SummaryBuilder, VideoSummary
from semblante.tabular import (
    ANSWER_COLUMNS,
    BOOLEAN_COLUMNS,
    COLUMNS,
    INTEGER_COLUMNS,
    TEXT_COLUMNS,
    TRACK_COLUMNS,
    Row,
    answer_rows,
    face_rows,
    track_rows,
)
from semblante.translation import translated
from semblante.wording import clock, percent

if TYPE_CHECKING:
    from semblante.evaluation import Evaluation


class Format(StrEnum):
    """File formats of results."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"
    xlsx = "xlsx"


# Formats that cannot be written piece by piece, as results come.
WHOLE_FILES: Final = (Format.parquet, Format.xlsx)
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_BY_SUFFIX: Final = {
    ".csv": Format.csv,
    ".json": Format.json,
    ".jsonl": Format.json,
    ".ndjson": Format.json,
    ".parquet": Format.parquet,
    ".txt": Format.table,
    ".xlsx": Format.xlsx,
}
_MOST_ROWS: Final = 1_048_576  # of an Excel sheet


def format_of(option: str, path: Path, *, but: Collection[Format] = ()) -> Format:
    """The format that the ending of a file's name stands for. Raises `OptionError` for an unknown
    ending or one of the formats `but`, `MissingExtraError` for Parquet without its extra."""
    known = {suffix: format for suffix, format in _BY_SUFFIX.items() if format not in but}
    found = known.get(path.suffix.lower())
    if found is None:
        raise OptionError(f"{option} {path}: expected a name that ends in {', '.join(known)}")
    check_format(found)
    return found


def check_format(format: Format) -> None:
    """Raise `MissingExtraError` if packages that `format` needs are not installed."""
    if format is Format.parquet:
        require("parquet", "writing Parquet", "pyarrow")


def write_results(
    found: Iterable[tuple[int, Analysis]], path: Path, format: Format, language: str
) -> None:
    """Write a new file in any format. `found`: each `Analysis` with the number of its input."""
    if format in WHOLE_FILES:
        write_rows(COLUMNS, (face_rows(analysis) for _, analysis in found), path, format)
        return
    with text_file(path) as file:
        if format is Format.table:
            write_table(found, file, language)
        else:
            write_lines((analysis for _, analysis in found), file, format)


def write_lines(analyses: Iterable[Analysis], file: IO[str], format: Format) -> None:
    """Write each analysis to an open file as soon as it is known, as JSON or CSV."""
    if format is Format.json:
        write_json_lines(analyses, file)
    else:
        write_csv(COLUMNS, map(face_rows, analyses), file)


def write_table(found: Iterable[tuple[int, Analysis]], file: IO[str], language: str) -> None:
    """Print a table for a person: a line for each face, with the second guess, since the first is
    often unsure; of a video a line for each track, with the emotions that were the most probable on
    average. `found`: each `Analysis` with the number of its input."""
    table = new_table("picture", "face", "emotion", "or else", "left,top size", language=language)
    for column in table.columns[2:]:
        column.no_wrap = True
    for _, group in itertools.groupby(found, key=itemgetter(0)):
        summing, broken = SummaryBuilder(), ""
        for _, analysis in group:
            path = printable(analysis.path or "")
            # An input that was read has an error, too, if its copy or a face was not written.
            if analysis.error is not None and analysis.width is None:
                broken = "incomplete" if summing.frames else "not read"
            elif analysis.error is not None and summing.frames:
                broken = "not all written"
            elif analysis.frame is not None:
                summing.add(analysis)
            elif not analysis.faces:
                table.add_row(path, "-", translated("no face", language))
            else:
                for number, face in enumerate(analysis.faces, start=1):
                    box = f"{face.box.left},{face.box.top} {face.box.width}x{face.box.height}"
                    guesses = _guesses(face.probabilities, language)
                    table.add_row(path, str(number), *guesses, box)
        summary = summing.summary()
        for track in summary.tracks:
            times = " - ".join(clock(at, tenths=True) for at in (track.first_s, track.last_s))
            name = translated(f"track {track.track}", language)
            table.add_row(path, name, *_guesses(track.probabilities, language), times)
        if summary.frames and not summary.tracks:
            table.add_row(path, "-", translated("no face", language))
        if broken:
            table.add_row(path, "-", translated(broken, language))
    print_table(table, file)


def _guesses(probabilities: Mapping[str, float], language: str) -> tuple[str, ...]:
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return tuple(f"{emotion_name(name, language)} {percent(p, language)}" for name, p in ranked[:2])


def write_tracks(summaries: Iterable[VideoSummary], path: Path, format: Format) -> None:
    """Write a row for each track, or JSON with a line for each video."""
    if format is not Format.json:
        write_rows(TRACK_COLUMNS, map(track_rows, summaries), path, format)
        return
    with text_file(path) as file:
        write_json_lines(summaries, file)


def write_answers(
    found: Evaluation, names: Sequence[str] | None, path: Path, format: Format
) -> None:
    """Write a row for each face: see `answer_rows`."""
    write_rows((*ANSWER_COLUMNS, *found.classes), [answer_rows(found, names)], path, format)


def write_rows(
    columns: Sequence[str], groups: Iterable[Iterable[Row]], path: Path, format: Format
) -> None:
    """Write all rows to a new file: as CSV, or with their types in one of `WHOLE_FILES`."""
    if format is Format.parquet:
        _write_parquet(columns, itertools.chain.from_iterable(groups), path)
    elif format is Format.xlsx:
        _write_workbook(columns, itertools.chain.from_iterable(groups), path)
    else:
        with text_file(path) as file:
            write_csv(columns, groups, file)


def write_csv(columns: Sequence[str], groups: Iterable[Iterable[Row]], file: IO[str]) -> None:
    """Write each group of rows as soon as it is known.

    A file name that a spreadsheet would take for a formula, and compute, is written as `./name`,
    which is the same file; any other such text gets an apostrophe before it.
    """

    def shown(column: str, cell: Any) -> Any:
        if not isinstance(cell, str) or not cell.startswith(_FORMULA_STARTS):
            return cell
        return f"./{cell}" if column in ("path", "name") else f"'{cell}"

    # Python 3.11 quotes a carriage return, which a file's name may hold, only if the line
    # terminator contains one: so it does here, and `_UnixLines` turns it into "\n".
    rows = csv.writer(_UnixLines(file), lineterminator="\r\n")
    rows.writerow(columns)
    for group in groups:
        rows.writerows(map(shown, columns, row) for row in group)
        file.flush()


def write_json_lines(found: Iterable[Analysis | VideoSummary], file: IO[str]) -> None:
    """Write one object a line, as soon as it is known; in ASCII, whatever the file names hold."""
    for one in found:
        file.write(json.dumps(one.to_dict()) + "\n")
        file.flush()


def text_file(path: Path) -> IO[str]:
    """Open a new text file; file names that are not valid UTF-8 are written with escapes."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


class _UnixLines:
    """Wraps a text file: rows that end in "\\r\\n" are written to it with "\\n" instead."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def _write_parquet(columns: Sequence[str], rows: Iterator[Row], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = dict.fromkeys(INTEGER_COLUMNS, pyarrow.int32())
    kinds |= dict.fromkeys(TEXT_COLUMNS, pyarrow.string())
    kinds |= dict.fromkeys(BOOLEAN_COLUMNS, pyarrow.bool_())

    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(itertools.islice(rows, 10_000)):
            arrays = [
                pyarrow.array(map(_in_unicode, column), kind)
                for column, kind in zip(zip(*some, strict=True), schema.types, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def _write_workbook(columns: Sequence[str], rows: Iterator[Row], path: Path) -> None:
    """Write for Excel and similar programs, which read a CSV by their country's number format; here
    a number is a number and a text is a text, whatever it begins with."""
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import FileCreateError

    # Temporary files beside the output: the system's temporary folder may be too small for them.
    beside = tempfile.TemporaryDirectory(
        dir=path.parent, prefix=".semblante-", ignore_cleanup_errors=True
    )
    with beside as folder, path.open("wb") as file:
        how = {
            "constant_memory": True, "tmpdir": folder, "strings_to_formulas": False,
            "strings_to_urls": False, "use_zip64": True,
        }  # fmt: skip
        book = Workbook(file, how)
        heading = book.add_format({"bold": True})
        row = next(rows, None)
        while True:
            sheet = book.add_worksheet()
            sheet.freeze_panes(1, 0)
            sheet.write_row(0, 0, columns, heading)
            for number in range(1, _MOST_ROWS):
                if row is None:
                    break
                sheet.write_row(number, 0, map(_in_unicode, row))
                row = next(rows, None)
            if row is None:
                break
        try:
            book.close()
        except FileCreateError as error:  # it wraps the OSError
            raise error.args[0] from None


def _in_unicode(value: Any) -> Any:
    """Escape what is not valid Unicode, as a file name may hold: as in the CSV."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
