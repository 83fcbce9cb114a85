"""Lists of pictures, as CSV."""

from __future__ import annotations

import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest

from forms import LIST, listed, saved, tarred, zipped
from semblante import EMOTIONS, DataError, Dataset, OptionError, load_dataset
from semblante.data import LABEL_MAPS
from semblante.data.forms import form_of
from semblante.picture_writing import encoded_png


@pytest.mark.parametrize("packing", ["plain", "folder", "zip", "tar.gz"])
def test_a_list_of_pictures(tmp_path: Path, packing: str) -> None:
    path = listed(tmp_path, LIST.replace("\n", "\r\n"))
    if packing == "folder":
        path = path.parent
    elif packing != "plain":
        path = {"zip": zipped, "tar.gz": tarred}[packing](path.parent, tmp_path / "x.bin")
    found = load_dataset(path, label_map={"Sadness": "sad"}, cache=True)
    assert found.labels.tolist() == [4, 3, 3]
    assert found.splits.tolist() == [1, 0, 2]
    assert found.names is not None
    assert found.groups is not None
    assert found.names.tolist() == ["pictures/c d.png", "pictures/a.png", "pictures/deeper/b.png"]
    assert found.groups.tolist() == ["anna", "ben", ""]
    assert form_of(path) == "listing"
    some = found.where(np.array([2, 0]))
    assert some.names is not None
    assert some.names.tolist() == ["pictures/deeper/b.png", "pictures/c d.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("a.png,3", "a.png,rage"), r"line 3 \(pictures/a.png\): unknown class 'rage'"),
        (("train", "dunno"), r"line 3 .*expected a split of .* found 'dunno'"),
        (("/a.png", "/z.png"), r"line 3 \(pictures/z.png\): cannot be read: No such file"),
        (("/a.png", "/\0.png"), r"line 3 .*cannot be read: embedded null"),
        (("pictures/a.png", "pictures"), r"line 3 .*expected a file, found something else"),
        (("3,train", "x" * 200_000 + ",train"), r"line 3: not valid CSV: field larger"),
        (
            ("pictures/a.png,3", '"pictures/a\nb.png",3'),
            r"line 4 \(pictures/a\\nb\.png\): cannot be read",
        ),
        ((",ben,31", ",ben"), r"line 3: expected 5 columns, found 4"),
    ],
)
def test_a_list_with_a_bad_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = listed(tmp_path, LIST.replace(*change))
    mapping = {"sadness": "sad"}
    with pytest.raises(DataError, match=message):
        load_dataset(path, label_map=mapping)
    bad: list[DataError] = []
    assert len(load_dataset(path, label_map=mapping, on_bad=bad.append)) == 2
    assert len(bad) == 1


def test_a_list_of_pictures_that_are_not_in_the_archive(tmp_path: Path) -> None:
    folder = listed(tmp_path, LIST.replace("/a.png", "/z.png")).parent
    path = zipped(folder, tmp_path / "faces.zip")
    with pytest.raises(DataError, match=r"z\.png\): there is no such picture in the archive"):
        load_dataset(path, label_map={"sadness": "drop"})


@pytest.mark.parametrize("packing", ["folder", "zip"])
def test_a_dropped_class_needs_no_pictures(tmp_path: Path, packing: str) -> None:
    path = listed(tmp_path, LIST.replace("c d.png", "gone.png").replace("test,", "nonsense,"))
    if packing == "zip":
        path = zipped(path.parent, tmp_path / "faces.zip")
    assert load_dataset(path, label_map={"sadness": "drop"}).labels.tolist() == [3, 3]


@pytest.mark.parametrize("header", ["img,emotion_label", "image_name\tclass", "filepath\tlabel"])
def test_headers_of_others(tmp_path: Path, header: str) -> None:
    between = "\t" if "\t" in header else ","
    path = listed(
        tmp_path, f"{header}\npictures/a.png{between}joy\npictures/c d.png{between}afraid\n"
    )
    assert form_of(path) == "listing"
    assert load_dataset(path).labels.tolist() == [3, 2]


def test_a_list_between_semicolons(tmp_path: Path) -> None:
    """Spreadsheets write semicolons in countries with a decimal comma."""
    path = listed(tmp_path, LIST.replace(",", ";"))
    assert form_of(path) == "listing"
    assert load_dataset(path, label_map={"sadness": "sad"}).labels.tolist() == [4, 3, 3]
    path.write_bytes(LIST.replace("sadness", "alegría").encode("latin-1", "ignore"))
    with pytest.raises(DataError, match=r"line 2 \(.*\): its class is not in UTF-8: save"):
        load_dataset(path)


def test_a_list_without_splits_is_all_training(tmp_path: Path) -> None:
    text = "image,emotion\npictures/a.png,happy\npictures/deeper/b.png,sad\n"
    found = load_dataset(listed(tmp_path, text))
    assert (found.labels.tolist(), found.splits.tolist()) == ([3, 4], [0, 0])


def test_a_bad_line_of_a_list_in_an_archive(tmp_path: Path) -> None:
    folder = listed(tmp_path, LIST.replace("sadness", "rage")).parent
    path = zipped(folder, tmp_path / "faces.zip")
    with pytest.raises(DataError, match=r"line 2 .*unknown class 'rage'"):
        load_dataset(path)
    bad: list[DataError] = []
    assert load_dataset(path, on_bad=bad.append).labels.tolist() == [3, 3]
    assert len(bad) == 1


def test_a_damaged_member_of_a_list_is_one_bad_row(tmp_path: Path) -> None:
    path = zipped(listed(tmp_path, LIST).parent, tmp_path / "faces.zip")
    with zipfile.ZipFile(path) as archive:
        [place] = [i.header_offset for i in archive.infolist() if i.filename.endswith("b.png")]
    data = bytearray(path.read_bytes())
    data[place + 200 : place + 220] = bytes(20)
    path.write_bytes(data)
    mapping = {"sadness": "sad"}
    with pytest.raises(DataError, match=r"deeper/b\.png: the archive is damaged"):
        load_dataset(path, label_map=mapping)
    bad: list[DataError] = []
    found = load_dataset(path, label_map=mapping, on_bad=bad.append)
    assert (found.labels.tolist(), len(bad)) == ([4, 3], 1)


@pytest.mark.parametrize("packing", ["folder", "zip"])
def test_what_was_made_on_windows(tmp_path: Path, packing: str) -> None:
    """Paths in such lists, and names of members in some archives, have backslashes."""
    text = LIST.replace("/", "\\").replace("sadness", "sad")
    path = listed(tmp_path, text).parent
    if packing == "zip":
        with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
            for file in sorted(path.rglob("*.*")):
                member = zipfile.ZipInfo("placeholder")
                member.filename = str(file.relative_to(path)).replace("/", "\\")
                archive.writestr(member, file.read_bytes())
        path = tmp_path / "faces.zip"
    assert load_dataset(path).labels.tolist() == [4, 3, 3]


def test_a_list_whose_header_has_no_end(tmp_path: Path) -> None:
    """An opening quote in the header swallows all rows; no row is taken for the header instead."""
    path = tmp_path / "list.csv"
    path.write_text('path,label,"note\n' + "a.png,happy,x\n" * 20_000)
    with pytest.raises(DataError, match=r"list\.csv, line \d+: not valid CSV: field larger"):
        load_dataset(path, on_bad=lambda _: None)


def test_a_list_that_is_far_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive may hold a huge list, which would be kept in memory."""
    path = listed(tmp_path, LIST)
    length = len(path.read_text())
    monkeypatch.setattr("semblante.data.load._MAX_LISTING", length)
    assert len(load_dataset(path, label_map={"Sadness": "sad"})) == 3
    monkeypatch.setattr("semblante.data.load._MAX_LISTING", length // 2)
    with pytest.raises(DataError, match="expected a list of at most 0 million characters"):
        load_dataset(path)


@pytest.mark.parametrize("packing", ["folder", "zip", "tar.gz"])
def test_lists_of_file_names_alone(patterns: Dataset, tmp_path: Path, packing: str) -> None:
    """RAF-DB as it is on Kaggle: a list for each split, and pictures in folders of classes."""
    folder = tmp_path / "rafdb"
    for split in ("train", "test"):
        rows = ["image,label"]
        for number in range(1, 8):
            name = f"{split}_{number:05d}_aligned.png"
            saved(patterns.images[number], folder / "DATASET" / split / f"{number}" / name)
            rows.append(f"{name},{number}")
        (folder / f"{split}_labels.csv").write_text("\n".join(rows))
    path = folder
    if packing != "folder":
        path = {"zip": zipped, "tar.gz": tarred}[packing](folder, tmp_path / "x.bin")
    with pytest.raises(OptionError, match=r"unknown class 7: .* --map rafdb, affectnet or ferplus"):
        load_dataset(path, on_bad=lambda _: None)
    found = load_dataset(path, label_map="rafdb")
    assert [EMOTIONS[label] for label in found.labels[:7]] == list(LABEL_MAPS["rafdb"].values())
    assert np.bincount(found.splits).tolist() == [7, 7]  # the other list says that these are tests
    assert found.names is not None
    assert found.names[0].startswith("test_00001")
    alone = load_dataset(folder / "test_labels.csv", label_map="rafdb")
    assert np.bincount(alone.splits).tolist() == [7]

    saved(patterns.images[0], folder / "more" / "train_00003_aligned.png")
    if packing != "folder":
        path = {"zip": zipped, "tar.gz": tarred}[packing](folder, tmp_path / "x.bin")
    with pytest.raises(DataError, match=r"line 4 \(train_00003_aligned\.png\): it is not beside"):
        load_dataset(path, label_map="rafdb")
    bad: list[DataError] = []
    assert len(load_dataset(path, label_map="rafdb", on_bad=bad.append)) == 13
    assert len(bad) == 1


@pytest.mark.parametrize(
    ("split", "folder", "found"),
    [
        ("PrivateTest", "test", True), ("test", "PublicTest", True), ("train", "training", True),
        ("val", "more", True), ("train", "test", False), ("PublicTest", "PrivateTest", False),
    ],
)  # fmt: skip
def test_a_file_name_alone_in_a_folder_of_another_split(
    patterns: Dataset, tmp_path: Path, split: str, folder: str, found: bool
) -> None:
    saved(patterns.images[0], tmp_path / folder / "a.png")
    (tmp_path / "faces.csv").write_text(f"path,label,split\na.png,sad,{split}\n")
    if found:
        assert len(load_dataset(tmp_path / "faces.csv")) == 1
        return
    with pytest.raises(DataError, match="No such file"):
        load_dataset(tmp_path / "faces.csv")


def test_lists_that_do_not_tell_their_splits(tmp_path: Path) -> None:
    path = listed(tmp_path, LIST)
    (path.parent / "train.csv").write_text(LIST)
    with pytest.raises(
        DataError, match=r"whose names begin with different splits, found faces\.csv"
    ):
        load_dataset(path.parent)


def test_a_list_and_an_archive_that_write_an_accent_differently(
    patterns: Dataset, tmp_path: Path
) -> None:
    """macOS packs names with decomposed accents, in UTF-8 but without the flag for it."""
    accented = "alegría/José.png"
    theirs = unicodedata.normalize("NFD", accented).encode()
    packed, stand_in = tmp_path / "faces.zip", "x" * len(theirs)  # Python would set the flag
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("labels.csv", f"path,label\n{accented},happy\n")
        archive.writestr(stand_in, encoded_png(patterns.images[3]))
    packed.write_bytes(packed.read_bytes().replace(stand_in.encode(), theirs))
    found = load_dataset(packed)
    assert found.labels.tolist() == [3]
    assert np.array_equal(found.images[0], patterns.images[3])
