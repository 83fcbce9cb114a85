"""File names with characters that a file's format or a terminal could take for something else."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from semblante import Analysis
from semblante.cli.formats import Format, write_csv, write_rows, write_table
from semblante.tabular import COLUMNS, face_rows

LATIN = os.fsdecode(b"latin\xe9.jpg")


def read(*paths: str) -> list[Analysis]:
    return [Analysis(path, 60, 60, error=f"{path}: cut off") for path in paths]


def test_line_ends_in_a_csv() -> None:
    names = ["a\rb.jpg", "a\nb.jpg", "a\r\nb.jpg", "ends\r\n", 'a "b", c.jpg', "plain.jpg"]
    file = io.StringIO(newline="")
    write_csv(COLUMNS, map(face_rows, read(*names)), file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [row["path"] for row in rows] == names
    empty = "," * (len(COLUMNS) - 5)
    assert file.getvalue().endswith(f"\nplain.jpg,,,60,60{empty}plain.jpg: cut off\n")
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(file.getvalue(), newline=""))
    assert table["path"].tolist() == names


def test_no_cell_of_a_csv_is_a_formula() -> None:
    file = io.StringIO(newline="")
    odd = ["=cmd|calc!A1.jpg", "@SUM(1).jpg", "+1.jpg", "-1.jpg", "\t=1.jpg", "\r=1.jpg"]
    write_csv(COLUMNS, map(face_rows, read(*odd, "a=1.jpg")), file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [row["path"] for row in rows] == [*(f"./{name}" for name in odd), "a=1.jpg"]
    errors = [*(f"'{name}" for name in odd), "a=1.jpg"]
    assert [row["error"] for row in rows] == [f"{error}: cut off" for error in errors]


def test_a_name_that_is_not_utf8_in_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_rows(
        COLUMNS, map(face_rows, read(LATIN, "\xe9.jpg")), tmp_path / "faces.parquet", Format.parquet
    )
    table = parquet.read_table(tmp_path / "faces.parquet")
    assert table["path"].to_pylist() == ["latin\\udce9.jpg", "\xe9.jpg"]
    assert table["error"][0].as_py() == "latin\\udce9.jpg: cut off"
    assert table["width"].to_pylist() == [60, 60]
    assert table["emotion"].to_pylist() == [None, None]


def test_texts_of_a_workbook_are_texts(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    names = ["=1+1.jpg", "https://a.example/b.jpg", "007", "2/3", "\xe1rbol.jpg", "a\nb.jpg", LATIN]
    write_rows(COLUMNS, map(face_rows, read(*names)), tmp_path / "faces.xlsx", Format.xlsx)
    sheet = openpyxl.load_workbook(tmp_path / "faces.xlsx").active
    assert [cell.value for cell in sheet["A"]] == ["path", *names[:-1], "latin\\udce9.jpg"]
    assert {cell.data_type for cell in sheet["A"]} == {"s"}
    assert [cell.hyperlink for cell in sheet["A"]] == [None] * 8
    assert [(cell.value, cell.data_type) for cell in sheet["D"][1:]] == [(60, "n")] * 7
    assert sheet.freeze_panes == "A2"


def test_a_workbook_goes_on_where_a_sheet_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    monkeypatch.setattr("semblante.cli.formats._MOST_ROWS", 4)
    for names, sheets in (("", [""]), ("ab", ["ab"]), ("abc", ["abc"]), ("abcd", ["abc", "d"])):
        write_rows(COLUMNS, map(face_rows, read(*names)), tmp_path / "faces.xlsx", Format.xlsx)
        book = openpyxl.load_workbook(tmp_path / "faces.xlsx")
        found = [[cell.value for cell in sheet["A"]] for sheet in book]
        assert found == [["path", *held] for held in sheets]


def test_why_a_workbook_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_rows(
            COLUMNS, map(face_rows, read("a.jpg")), tmp_path / "gone" / "faces.xlsx", Format.xlsx
        )


_TO_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from semblante import Analysis
from semblante.cli.formats import Format, write_rows
from semblante.tabular import COLUMNS, face_rows
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
try:
    rows = (face_rows(Analysis(str(n), 60, 60)) for n in range(5_000))
    write_rows(COLUMNS, rows, Path(sys.argv[1]), Format.xlsx)
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_while_a_workbook_is_written(tmp_path: Path) -> None:
    """In a process of its own: what the library leaves open it closes at its end."""
    done = subprocess.run(
        [sys.executable, "-c", _TO_A_FULL_DISK, tmp_path / "faces.xlsx"], capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "File too large\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["faces.xlsx"]  # `write_atomically` drops


def test_a_video_that_was_named_twice_has_two_rows_in_the_table() -> None:
    frames = [Analysis("a.mp4", 60, 60, (), frame, frame / 25) for frame in (0, 1)]
    file = io.StringIO()
    write_table([(n, frame) for n in (0, 1) for frame in frames], file, "en")
    assert len(file.getvalue().splitlines()) == 3


def test_what_was_read_is_not_called_unread_in_the_table() -> None:
    clip = [Analysis("a.mp4", 60, 60, (), frame, frame / 25) for frame in (0, 1)]
    broken = Analysis("a.mp4", None, None, error="a.mp4: breaks off")
    picture = Analysis("b.png", 60, 60, error="marked/b.png: cannot be written")  # its copy
    file = io.StringIO()
    whole = [replace(frame, path="d.mp4") for frame in clip]
    uncopied = Analysis("d.mp4", 60, 60, error="marked/d.mp4: cannot be written")  # likewise
    unread = Analysis("c.png", None, None, error="-")
    each = ([*clip, broken], [picture], [unread], [*whole, uncopied])
    write_table([(n, one) for n, found in enumerate(each) for one in found], file, "en")
    assert [
        line.split(maxsplit=2) for line in map(str.strip, file.getvalue().splitlines()[1:])
    ] == [
        ["a.mp4", "-", "no face"],
        ["a.mp4", "-", "incomplete"],
        ["b.png", "-", "no face"],
        ["c.png", "-", "not read"],
        ["d.mp4", "-", "no face"],
        ["d.mp4", "-", "not all written"],
    ]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a:smiley:b.jpg", "a:smiley:b.jpg"),
        ("[red]a.jpg", "[red]a.jpg"),
        ("a\rb.jpg", "a\\rb.jpg"),
        ("a\nb.jpg", "a\\nb.jpg"),
        ("a\x1b[31mb.jpg", "a\\x1b[31mb.jpg"),
        (LATIN, "latin\\udce9.jpg"),
        ("mi\xf1o.jpg", "mi\xf1o.jpg"),
    ],
)
def test_names_in_the_table_are_what_they_are(path: str, shown: str) -> None:
    file = io.StringIO()
    write_table([(0, Analysis(path, 60, 60))], file, "en")
    _, row = file.getvalue().splitlines()
    assert row.split("  ")[0] == shown


def test_a_broken_video_that_was_named_twice_has_two_rows() -> None:
    broken = Analysis("x.mp4", None, None, error="x.mp4: cannot be read")
    file = io.StringIO()
    write_table([(0, broken), (1, broken)], file, "en")
    assert file.getvalue().count("not read") == 2
