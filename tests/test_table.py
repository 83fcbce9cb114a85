"""Tables of pixels: the real FER2013, the variants of the form, and all kinds of bad rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import needs_fer2013
from semblante import EMOTIONS, DataError, OptionError, load_dataset, load_fer2013
from semblante.data import LABEL_MAPS, SPLITS, Dataset
from semblante.data.dataset import UNLABELLED

PIXELS = " ".join(["7"] * 2304)
GOOD = f"3,{PIXELS},Training"
HEADER = "emotion,pixels,Usage"


def written(tmp_path: Path, *lines: str, end: str = "\n", start: str = "") -> Path:
    path = tmp_path / "fer2013.csv"
    path.write_bytes((start + end.join(lines) + end).encode())
    return path


def row(label: str = "3", pixels: list[str] | None = None, usage: str = "Training") -> str:
    return f"{label},{' '.join(pixels if pixels is not None else ['7'] * 2304)},{usage}"


def test_reads_back_what_was_written(patterns: Dataset, patterns_csv: Path) -> None:
    found = load_fer2013(patterns_csv)
    assert found.images.dtype == np.uint8
    assert np.array_equal(found.images, patterns.images)
    assert np.array_equal(found.labels, patterns.labels)
    assert np.array_equal(found.splits, patterns.splits)
    assert found.fingerprint() == patterns.fingerprint()


def test_the_table_is_written_as_kaggle_writes_it(patterns: Dataset, patterns_csv: Path) -> None:
    lines = patterns_csv.read_text().splitlines()
    assert lines[0] == "emotion,pixels,Usage"
    pixels = " ".join(map(str, patterns.images[90].ravel()))
    assert lines[91] == f"{patterns.labels[90]},{pixels},PublicTest"


def test_a_row_that_is_no_utf8_or_opens_a_quote_is_one_bad_row(tmp_path: Path) -> None:
    path = written(
        tmp_path, HEADER, GOOD, "@", f'"3,{PIXELS},Training', GOOD, f'"3","{PIXELS}",Training'
    )
    path.write_bytes(path.read_bytes().replace(b"@", b"3,\xf1 1 2,Training"))
    bad: list[DataError] = []
    found = load_dataset(path, on_bad=bad.append)
    assert len(found) == 4  # quotes, paired or not, are not part of a number
    (error,) = bad
    assert "line 3: expected 2304 whole numbers" in str(error)


def test_lines_may_end_as_on_old_macs(tmp_path: Path) -> None:
    assert len(load_dataset(written(tmp_path, HEADER, GOOD, GOOD, end="\r"))) == 2


def test_utf16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{HEADER}\n{GOOD}\n", encoding="utf-16")
    with pytest.raises(DataError, match="text in UTF-16: save it as UTF-8"):
        load_dataset(path)


@needs_fer2013
def test_the_real_file(fer2013: Dataset, fer2013_csv: Path) -> None:
    found = load_fer2013(fer2013_csv)
    assert [len(found.split(name)) for name in SPLITS] == [28_709, 3_589, 3_589]
    assert np.bincount(found.labels).tolist() == [4953, 547, 5121, 8989, 6077, 4002, 6198]
    assert np.array_equal(found.images, fer2013.images)
    assert np.array_equal(found.labels, fer2013.labels)


@pytest.mark.parametrize(
    ("end", "start"),
    [pytest.param("\r\n", "", id="Windows line ends"), pytest.param("\n", "\ufeff", id="BOM")],
)
def test_other_ways_to_write_the_same(tmp_path: Path, end: str, start: str) -> None:
    found = load_fer2013(written(tmp_path, HEADER, GOOD, GOOD, "", end=end, start=start))
    assert found.images.shape == (2, 48, 48)
    assert found.labels.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("header", "line", "label", "split"),
    [
        pytest.param("emotion, Usage, pixels", f"4,PrivateTest,{PIXELS}", 4, 2, id="icml"),
        pytest.param("emotion,pixels", f'6,"{PIXELS}"', 6, 0, id="train.csv"),
        pytest.param("pixels", PIXELS, UNLABELLED, 0, id="test.csv"),
        pytest.param("Usage,pixels,emotion", f"PublicTest, {PIXELS} ,0", 0, 1, id="other order"),
    ],
)
def test_relatives_of_the_table(
    tmp_path: Path, header: str, line: str, label: int, split: int
) -> None:
    found = load_fer2013(written(tmp_path, header, line, line))
    assert found.images.shape == (2, 48, 48)
    assert np.all(found.images == 7)
    assert found.labels.tolist() == [label] * 2
    assert found.splits.tolist() == [split] * 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([GOOD, GOOD], r"emotion,pixels,Usage.*found fer2013.csv \(first line '3,7 7 ",
                     id="no header"),
        pytest.param(["emotion\tpixel\tUsage"], r"first line 'emotion,pixel,Usage'", id="tabs"),
        pytest.param(["emotion,pixels,Use", GOOD], "expected a header of .*pixels,Use",
                     id="misnamed column"),
        pytest.param([HEADER + ",Usage", GOOD], "expected a header", id="a column twice"),
        pytest.param([""], "expected a table of pixels", id="empty file"),
        pytest.param([HEADER], "not one face", id="only a header"),
        pytest.param([HEADER, GOOD, row(pixels=["7"] * 2303)], "line 3: .*2304 .*found 2303",
                     id="short row"),
        pytest.param([HEADER, row(pixels=["7"] * 2305)], "line 2: .*found 2305", id="long row"),
        pytest.param([HEADER, row(pixels=[])], "line 2: .*found 0 words", id="no pixels"),
        pytest.param([HEADER, row(pixels=["7"] * 2303 + ["", "7"])], "line 2: .*single spaces",
                     id="two spaces"),
        pytest.param([HEADER, row(pixels=["7"] * 2303 + ["256"])], "line 2: .*0..255, found 256",
                     id="256"),
        pytest.param([HEADER, row(pixels=["-1"] + ["7"] * 2303)], "line 2: .*found -1", id="-1"),
        pytest.param([HEADER, row(pixels=["7"] * 2303 + ["x"])], "line 2: .*among them 'x'",
                     id="no number"),
        pytest.param([HEADER, row(pixels=["7"] * 2303 + ["1.5"])], "among them '1.5'",
                     id="fraction"),
        pytest.param([HEADER, row(pixels=["7"] * 2303 + ["99999999999999999999"])], "line 2",
                     id="huge number"),
        pytest.param([HEADER, row(label="7")], r"line 2: expected a label 0..6, found '7'",
                     id="label 7"),
        pytest.param([HEADER, row(label="-1")], "line 2: expected a label", id="label -1"),
        pytest.param([HEADER, row(label="")], "line 2: expected a label", id="no label"),
        pytest.param([HEADER, row(label="happy")], "found 'happy'", id="label in words"),
        pytest.param([HEADER, row(usage="Test")], "line 2: expected a Usage .*found 'Test'",
                     id="unknown Usage"),
        pytest.param([HEADER, GOOD + ",1"], "line 2: expected 3 columns .*found 4",
                     id="a column too many"),
        pytest.param([HEADER, "3"], "line 2: expected 3 columns .*found 1", id="one column"),
        pytest.param([HEADER, row(pixels=["7"] * 2303 + ["4294967303"])], "found 4294967303",
                     id="number that would wrap around"),
        pytest.param([HEADER, f'3,"{"7 " * 200_000}",Training'], "line", id="endless field"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path: Path, lines: list[str], expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        load_fer2013(written(tmp_path, *lines))
    assert "fer2013.csv" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_map_of_classes(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER, row("0"), row("3"), row("6"), row("7"))
    with pytest.raises(DataError, match=r"line 5: expected a label.*--map rafdb, affectnet or"):
        load_dataset(path, label_map={"angry": "drop"})
    found = load_dataset(path, label_map={"angry": "drop", "neutral": "sad", "7": "drop"})
    assert found.labels.tolist() == [3, 4]
    with pytest.raises(OptionError, match=r"class named 'glee', since --map .*found 0, 3, 6, 7"):
        load_dataset(path, label_map={"7": "drop", "glee": "happy"})


def test_numbers_that_are_not_fer2013s(tmp_path: Path) -> None:
    """CK+'s ckextended.csv has FER2013's order and 7, contempt; other tables count differently."""
    path = written(tmp_path, HEADER, *map(row, "013567"))
    for label_map in ({"7": "happy"}, {"6": "sad"}):
        with pytest.raises(OptionError, match="line 2: --map says that numbers are not FER2013's"):
            load_dataset(path, label_map=label_map, on_bad=lambda _: None)
    notes: list[str] = []
    assert len(load_dataset(path, label_map={"7": "drop"}, on_note=notes.append)) == 5
    assert len(load_dataset(path, on_bad=lambda _: None, on_note=notes.append)) == 5
    assert len(notes) == 2
    whole = LABEL_MAPS["fer2013"]
    assert len(load_dataset(path, label_map={**whole, "7": "drop"}, on_note=notes.append)) == 5
    bad: list[DataError] = []
    assert len(load_dataset(path, label_map=whole, on_bad=bad.append, on_note=notes.append)) == 5
    assert len(bad) == 1
    assert load_dataset(path, label_map="affectnet", on_note=notes.append).labels.tolist() == [
        EMOTIONS.index(emotion) for emotion in ("neutral", "happy", "surprise", "disgust", "angry")
    ]
    assert len(notes) == 2
    assert load_dataset(written(tmp_path, HEADER, row("03"), row("4.0"))).labels.tolist() == [3, 4]


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_the_row_numbers_of_pandas_are_ignored(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, f"{name},{HEADER}", f"0,{row('3')}", f"1,{row('4')}")
    assert load_dataset(path).labels.tolist() == [3, 4]
    written(tmp_path, f"{name},{HEADER}", row("3"))
    with pytest.raises(DataError, match=r"line 2: expected 4 columns .*found 3"):
        load_dataset(path)


def test_a_table_between_tabs(tmp_path: Path) -> None:
    lines = [line.replace(",", "\t") for line in (HEADER, row("3"))]
    assert load_dataset(written(tmp_path, *lines)).labels.tolist() == [3]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_fer2013(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"expected a table of pixels .*; found nothing"):
        load_fer2013(tmp_path)
    binary = tmp_path / "picture.csv"
    binary.write_bytes(b"\xff\xd8\xff\xe0" * 100)
    with pytest.raises(DataError, match=r"found picture\.csv$"):
        load_fer2013(binary)


def test_splits(patterns: Dataset) -> None:
    assert len(patterns.split("PublicTest")) == 84
    with pytest.raises(DataError, match="unknown split 'Validation'; known: Training"):
        patterns.split("Validation")
    with pytest.raises(DataError, match="no PublicTest rows: it has "):
        patterns.split("Training").split("PublicTest")


def test_blank_lines_are_no_rows(patterns_csv: Path, patterns: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "blank.csv"
    path.write_text(patterns_csv.read_text() + "\n\n")
    assert len(load_dataset(path)) == len(patterns)


def test_spaces_around_a_usage(patterns_csv: Path, patterns: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "icml_face_data.csv"
    path.write_text(patterns_csv.read_text().replace(",PublicTest", ", PublicTest"))
    assert load_dataset(path).splits.tolist() == patterns.splits.tolist()
