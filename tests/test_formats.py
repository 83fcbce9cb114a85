"""File names with characters that CSV, Parquet or a terminal could take for something else."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from semblante import Analysis
from semblante.cli.formats import write_csv, write_parquet, write_table

LATIN = os.fsdecode(b"latin\xe9.jpg")


def read(*paths: str) -> list[Analysis]:
    return [Analysis(path, 60, 60, error=f"{path}: cut off") for path in paths]


def test_line_ends_in_a_csv() -> None:
    names = ["a\rb.jpg", "a\nb.jpg", "a\r\nb.jpg", "ends\r\n", 'a "b", c.jpg', "plain.jpg"]
    file = io.StringIO(newline="")
    write_csv(read(*names), file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [row["path"] for row in rows] == names
    assert file.getvalue().endswith("\nplain.jpg,,,60,60,,,,,,,,,,,,,,,,plain.jpg: cut off\n")
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(file.getvalue(), newline=""))
    assert table["path"].tolist() == names


def test_no_cell_of_a_csv_is_a_formula() -> None:
    file = io.StringIO(newline="")
    write_csv(read("=cmd|calc!A1.jpg", "@SUM(1).jpg", "+1.jpg", "-1.jpg", "a=1.jpg"), file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    names = ["./=cmd|calc!A1.jpg", "./@SUM(1).jpg", "./+1.jpg", "./-1.jpg", "a=1.jpg"]
    assert [row["path"] for row in rows] == names
    errors = ["'=cmd|calc!A1.jpg", "'@SUM(1).jpg", "'+1.jpg", "'-1.jpg", "a=1.jpg"]
    assert [row["error"] for row in rows] == [f"{error}: cut off" for error in errors]


def test_a_name_that_is_not_utf8_in_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(read(LATIN, "\xe9.jpg"), tmp_path / "faces.parquet")
    table = parquet.read_table(tmp_path / "faces.parquet")
    assert table["path"].to_pylist() == ["latin\\udce9.jpg", "\xe9.jpg"]
    assert table["error"][0].as_py() == "latin\\udce9.jpg: cut off"
    assert table["width"].to_pylist() == [60, 60]
    assert table["emotion"].to_pylist() == [None, None]


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
        ["d.mp4", "-", "copy not written"],
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
