"""What classes are called: words, numbers of several datasets, and folders named after them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import needs_pyarrow
from forms import assert_same, converted, saved, zipped
from semblante import EMOTIONS, DataError, Dataset, OptionError, load_dataset
from semblante.data import LABEL_MAPS, class_names
from semblante.data.ferplus import VOTES
from semblante.emotions import emotion_called
from semblante.picture_writing import encoded_png


def test_numbers_of_others(patterns: Dataset, tmp_path: Path) -> None:
    """RAF-DB has numbers from 1, surprise, to 7, neutral; FER2013 from 0, angry, to 6."""
    for number in range(1, 8):
        saved(patterns.images[number], tmp_path / f"{number}" / "a.png")
    with pytest.raises(
        DataError, match=r"unknown class 7: FER2013 counts 0 angry, .*, 6 neutral; .*rafdb"
    ):
        load_dataset(tmp_path)
    for label_map in ({"7": "neutral"}, {"7": "drop"}, {"1": "sad"}):
        others = ", ".join(number for number in "1234567" if number not in label_map)
        with pytest.raises(OptionError, match=f"it must say what these are, too: {others};"):
            load_dataset(tmp_path, label_map=label_map, on_bad=lambda _: None)
    mapping = dict(zip("1234567", EMOTIONS, strict=True))
    notes: list[str] = []
    found = load_dataset(tmp_path, label_map=mapping, on_note=notes.append)
    assert sorted(found.labels.tolist()) == list(range(7))
    assert notes == []
    found = load_dataset(tmp_path, label_map="rafdb", on_note=notes.append)
    assert sorted(found.labels.tolist()) == list(range(7))
    assert notes == []
    zipped(tmp_path, tmp_path.with_suffix(".zip"))
    for _ in range(2):  # an error must not be cached
        with pytest.raises(DataError, match="unknown class 7:"):
            load_dataset(tmp_path.with_suffix(".zip"), on_note=notes.append, cache=True)
    shutil.rmtree(tmp_path / "7")
    zipped(tmp_path, tmp_path.with_suffix(".zip"))
    for _ in range(2):
        load_dataset(tmp_path.with_suffix(".zip"), on_note=notes.append, cache=True)
    note, _ = notes
    assert "numbers are taken for FER2013's, 0 angry, 1 disgust, 2 fear," in note


def test_the_maps_of_known_datasets(patterns: Dataset, tmp_path: Path) -> None:
    assert [*LABEL_MAPS] == ["fer2013", "rafdb", "affectnet", "ferplus"]  # as messages name them
    assert list(LABEL_MAPS["fer2013"].values()) == list(EMOTIONS)
    names = ["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear"]  # FER+'s columns
    assert [LABEL_MAPS["ferplus"][str(column)] for column in range(7)] == names
    assert len(VOTES) == len(LABEL_MAPS["ferplus"])
    for number in range(8):
        saved(patterns.images[number], tmp_path / f"0{number}" / f"{number}.png")
    notes: list[str] = []
    for name in ("affectnet", "ferplus"):
        found = load_dataset(tmp_path, label_map=name, on_note=notes.append)
        expected = [LABEL_MAPS[name][str(number)] for number in range(7)]
        assert [EMOTIONS[label] for label in found.labels] == expected
    shutil.rmtree(tmp_path / "07")
    merged = {**LABEL_MAPS["fer2013"], "disgust": "angry"}
    assert load_dataset(tmp_path, label_map=merged, on_note=notes.append).labels[1] == 0
    assert notes == []
    with pytest.raises(DataError, match="must say what these are, too: 0;"):
        load_dataset(tmp_path, label_map="rafdb")
    with pytest.raises(OptionError, match="expected a class named 'happy', since --map names it"):
        load_dataset(tmp_path, label_map={**LABEL_MAPS["affectnet"], "happy": "drop"})
    with pytest.raises(OptionError, match="unknown map 'raf'; known: fer2013, rafdb,"):
        load_dataset(tmp_path, label_map="raf")
    with pytest.raises(OptionError, match="expected a class named '1', since --map names it"):
        load_dataset(converted(patterns, tmp_path / "words"), label_map="rafdb")


@needs_pyarrow
def test_an_unknown_number_is_never_left_out(patterns: Dataset, tmp_path: Path) -> None:
    """Without AffectNet's 7 the others would be taken for FER2013's, which they are not."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = [encoded_png(image) for image in patterns.images[:8]]
    pq.write_table(pa.table({"image": pictures, "label": range(8)}), tmp_path / "x.parquet")
    lines = ["path,label"]
    for number in range(8):
        saved(patterns.images[number], tmp_path / "folders" / f"{number}" / "a.png")
        saved(patterns.images[number], tmp_path / "list" / f"{number}.png")
        lines.append(f"{number}.png,{number}.0")
    (tmp_path / "list" / "list.csv").write_text("\n".join(lines))
    for name in ("x.parquet", "folders", "list"):
        with pytest.raises(OptionError, match="unknown class 7: FER2013 counts 0 angry"):
            load_dataset(tmp_path / name, on_bad=lambda _: None)
        assert len(load_dataset(tmp_path / name, label_map="affectnet")) == 7


def test_the_class_is_the_innermost_folder_that_is_named_so(
    patterns: Dataset, tmp_path: Path
) -> None:
    labels = {
        "train/happy/1/0.png": (3, 0),
        "val/anger/S010/001/1.png": (0, 1),
        "val/2/2.png": (2, 1),
        "train/felicidad/happy/3.png": (3, 0),
        "sad/val/4.png": (4, 1),
        "train/glee/5/5.png": (3, 0),
        "val/7/S010/6.png": (5, 1),
    }
    for number, name in enumerate(labels):
        saved(patterns.images[number], tmp_path / "set" / name)
    mapping = {**LABEL_MAPS["fer2013"], "glee": "happy", "7": "surprise"}
    found = load_dataset(tmp_path / "set", label_map=mapping)
    assert list(zip(found.labels, found.splits, strict=True)) == list(labels.values())
    zipped(tmp_path / "set", tmp_path / "packed.zip")
    again = load_dataset(tmp_path / "packed.zip", label_map=mapping)
    assert again.fingerprint() == found.fingerprint()

    saved(patterns.images[0], tmp_path / "set/train/angry/joy/8.png")  # a person, or happy?
    with pytest.raises(DataError, match="one folder that names its class, found 'angry' and 'joy'"):
        load_dataset(tmp_path / "set", label_map=mapping)
    bad: list[DataError] = []
    rest = load_dataset(tmp_path / "set", label_map=mapping, on_bad=bad.append)
    assert (len(rest), len(bad)) == (len(labels), 1)


def test_a_number_among_words_is_a_bad_row(patterns: Dataset, tmp_path: Path) -> None:
    """Only among numbers that are read it says that these may be others'."""
    for number, name in enumerate(("happy", "sad", "12")):
        saved(patterns.images[number], tmp_path / name / f"{number}.png")
    bad: list[DataError] = []
    assert len(load_dataset(tmp_path, on_bad=bad.append)) == 2
    assert len(bad) == 1
    saved(patterns.images[3], tmp_path / "2" / "3.png")
    with pytest.raises(OptionError, match="unknown class 12"):
        load_dataset(tmp_path, on_bad=bad.append)


def test_folders_that_are_no_classes(patterns: Dataset, tmp_path: Path) -> None:
    """As KDEF's, one for each person, ExpW's `origin` and CK+'s recordings."""
    for name in ("KDEF/AF01", "KDEF/AM10", "origin", "cohn-kanade-images/S005/001"):
        saved(patterns.images[0], tmp_path / name / "a.png")
    for on_bad in (None, lambda _: None):
        with pytest.raises(
            DataError,
            match=r"no folder is named after an emotion \(found 001, AF01, AM10, origin\): .*"
            r"write a list, path,label\[,split,group\]: see docs/data\.md",
        ):
            load_dataset(tmp_path, on_bad=on_bad)
    assert len(load_dataset(tmp_path, label_map={"AF01": "sad"}, on_bad=lambda _: None)) == 1
    saved(patterns.images[0], tmp_path / "loose" / "KA.AN1.39.png")
    with pytest.raises(DataError, match=r"found KA\.AN1\.39\.png outside .*: write a list of them"):
        load_dataset(tmp_path / "loose")


def test_nothing_is_decoded_before_all_classes_are_known(patterns: Dataset, tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "a.png").write_bytes(b"no picture")
    saved(patterns.images[0], tmp_path / "joyous" / "b.png")
    with pytest.raises(DataError, match=r"b\.png: unknown class 'joyous'"):
        load_dataset(tmp_path)


@needs_pyarrow
def test_numbers_of_a_parquet_file(patterns: Dataset, tmp_path: Path) -> None:
    """The numbers of a file that does not name its classes may stand for other classes, or for the
    same ones in another order. Files that semblante wrote do name them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ours = converted(patterns, tmp_path / "ours.parquet")
    notes: list[str] = []
    assert_same(load_dataset(ours, on_note=notes.append), patterns)
    assert notes == []
    table = pq.read_table(ours)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == table.column_names
    assert features["label"]["names"] == list(EMOTIONS)
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "others.parquet")
    for _ in range(2):  # the second time from the cache
        others = load_dataset(tmp_path / "others.parquet", on_note=notes.append, cache=True)
    assert_same(others, patterns)
    assert len(notes) == 2
    assert "others.parquet: classes that are numbers are taken for FER2013's" in notes[1]
    load_dataset(converted(patterns, tmp_path / "pixels.csv"), on_note=notes.append)
    assert len(notes) == 2  # none for a table of pixels: its numbers are FER2013's
    assert pa.types.is_int8(table.schema.field("label").type)


def test_numbers_of_a_list_in_an_archive(patterns: Dataset, tmp_path: Path) -> None:
    """The class comes from the list, not from the name of the folder of a picture."""
    for name, classes, told in (("numbers", "34", True), ("words", ("happy", "sad"), False)):
        folder = tmp_path / name
        rows = ["path,label"]
        for number, label in enumerate(classes):
            place = f"{'img' if told else number}/{number}.png"
            saved(patterns.images[number], folder / place)
            rows.append(f"{place},{label}")
        (folder / "labels.csv").write_text("\n".join(rows))
        zipped(folder, tmp_path / f"{name}.zip")
        for path in (folder, tmp_path / f"{name}.zip", tmp_path / f"{name}.zip"):
            notes: list[str] = []
            found = load_dataset(path, on_note=notes.append, cache=True)
            assert found.labels.tolist() == [3, 4]
            assert len(notes) == told, path


def test_what_to_type_can_be_typed_on_windows_too(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(patterns.images[0], tmp_path / "very happy" / "a.png")
    saved(patterns.images[1], tmp_path / "sad" / "b.png")
    with pytest.raises(DataError, match="--map 'very happy=EMOTION'"):
        load_dataset(tmp_path)
    monkeypatch.setattr(class_names, "_WINDOWS", True)
    with pytest.raises(DataError, match='--map "very happy=EMOTION"'):
        load_dataset(tmp_path)


@pytest.mark.parametrize("word", ["alegría", "Alegría", "alegri\u0301a", "ALEGRI\u0301A", "Joy"])
def test_words_for_emotions(word: str) -> None:
    """In any case, and with accents as macOS writes them."""
    assert emotion_called(word) == "happy"
    assert emotion_called(word[1:]) is None
