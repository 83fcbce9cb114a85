"""Each form of labelled faces is written here and read back the same."""

from __future__ import annotations

import io
import json
import os
import shutil
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import EXAMPLE, needs_fer2013, needs_pyarrow, write_csv
from forms import assert_same, converted, saved, tarred, zipped
from semblante import EMOTIONS, Analyzer, DataError, Dataset, OptionError, load_dataset
from semblante.data.convert import convert, faces_by_emotion
from semblante.data.forms import form_of
from semblante.data.parquet import write_parquet
from semblante.images import load_image
from semblante.picture_writing import encoded_png
from semblante.preprocess import crop_face, to_grey
from semblante.recognise.cnn import CnnDetector
from semblante.recognise.detectors import largest_face


@pytest.mark.parametrize("form", ["csv", "folder", pytest.param("parquet", marks=needs_pyarrow)])
@pytest.mark.parametrize("packing", ["plain", "zip", "tar.gz"])
def test_every_form_reads_back(patterns: Dataset, tmp_path: Path, form: str, packing: str) -> None:
    out = converted(patterns, tmp_path / ("faces" if form == "folder" else f"faces.{form}"))
    if packing != "plain":
        out = {"zip": zipped, "tar.gz": tarred}[packing](out, tmp_path / f"packed.{packing}")
    assert_same(load_dataset(out), patterns)
    assert form_of(out) == {"csv": "table", "folder": "folders", "parquet": "parquet"}[form]


@needs_pyarrow
def test_through_all_forms_and_back(patterns: Dataset, patterns_csv: Path, tmp_path: Path) -> None:
    folder = converted(load_dataset(patterns_csv), tmp_path / "folder")
    parquet = converted(load_dataset(folder), tmp_path / "faces.parquet")
    csv = converted(load_dataset(parquet), tmp_path / "faces.csv")
    assert csv.read_bytes() == patterns_csv.read_bytes()


@needs_fer2013
@needs_pyarrow
def test_real_faces_through_all_forms(fer2013: Dataset, tmp_path: Path) -> None:
    rows = np.sort(np.random.default_rng(0).permutation(len(fer2013))[:700])
    some = Dataset(fer2013.images[rows], fer2013.labels[rows], fer2013.splits[rows])
    folder = converted(some, tmp_path / "folder")
    parquet = converted(load_dataset(folder), tmp_path / "faces.parquet")
    assert_same(load_dataset(converted(load_dataset(parquet), tmp_path / "faces.csv")), some)


def test_the_folders_of_kaggle(patterns: Dataset, tmp_path: Path) -> None:
    """Class folders in train/ and test/; the names of the test files tell the official split."""
    face = patterns.images[0]
    for name in (
        "train/angry/Training_3908.jpg",
        "train/neutral/Training_65667.jpg",
        "test/happy/PublicTest_41413.jpg",
        "test/sad/PrivateTest_10767287.jpg",
    ):
        saved(face, tmp_path / name)
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    found = load_dataset(tmp_path)
    assert found.labels.tolist() == [0, 3, 6, 4]  # in the order of the numbers
    assert found.splits.tolist() == [0, 1, 0, 2]
    assert np.abs(found.images.astype(int) - face).mean() < 3


def test_the_competition_archive_holds_several_tables(patterns: Dataset, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "challenge.zip", "w") as archive:
        pixels = " ".join(["9"] * 2304)
        archive.writestr("train.csv", f'emotion,pixels\n0,"{pixels}"\n')
        archive.writestr("test.csv", f'pixels\n"{pixels}"\n')
        archive.writestr("icml_face_data.csv", f"emotion, Usage, pixels\n5,PrivateTest,{pixels}\n")
        archive.writestr("example_submission.csv", "0\n1\n")
    found = load_dataset(tmp_path / "challenge.zip")
    assert (found.labels.tolist(), found.splits.tolist()) == ([5], [2])


def test_faces_of_ones_own(tmp_path: Path) -> None:
    """Pictures in colour and of any size, with other class names and no split."""
    rng = np.random.default_rng(0)
    saved(rng.integers(0, 256, (100, 80, 3)).astype(np.uint8), tmp_path / "Dejection" / "anna.png")
    saved(rng.integers(0, 256, (30, 30, 3)).astype(np.uint8), tmp_path / "3" / "ben.png")
    saved(rng.integers(0, 256, (48, 48, 3)).astype(np.uint8), tmp_path / "contempt" / "c.png")
    with pytest.raises(
        DataError,
        match=r"anna.png: unknown classes 'Dejection', 'contempt'; .*"
        r"--map Dejection=EMOTION --map contempt=drop; EMOTION may be drop",
    ):
        load_dataset(tmp_path)
    with pytest.raises(
        DataError, match=r"unknown class 'contempt'.*it out with --map contempt=drop"
    ):
        load_dataset(tmp_path, label_map={"dejection": "sad"})
    with pytest.raises(DataError, match=r"'Dejection'.*--map Dejection=EMOTION, or =drop"):
        load_dataset(tmp_path, label_map={"contempt": "drop"})
    mapping = {"dejection": "sad", "Contempt": "drop"}
    found = load_dataset(tmp_path, label_map=mapping)
    assert found.images.shape == (2, 48, 48)
    assert sorted(found.labels.tolist()) == [3, 4]
    assert found.splits.tolist() == [0, 0]
    with pytest.raises(OptionError, match=r"named 'sadnes', since .*found 3, contempt, dejection"):
        load_dataset(tmp_path, label_map={**mapping, "sadnes": "sad"})
    numbered = load_dataset(tmp_path, label_map={**mapping, "happy": "drop"})
    assert numbered.labels.tolist() == [4]
    with pytest.raises(OptionError, match="cannot map 'sadness' to 'gloomy'"):
        load_dataset(tmp_path, label_map={"sadness": "gloomy"})


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", 0),
        ("validation", 1),
        ("testing", 1),
        ("test", 1),
        ("PrivateTest", 2),
        ("Prueba", 1),
        (unicodedata.normalize("NFD", "validación"), 1),
    ],
)
def test_split_folders(patterns: Dataset, tmp_path: Path, folder: str, split: int) -> None:
    saved(patterns.images[0], tmp_path / "set" / folder / "fear" / "x.png")
    assert load_dataset(tmp_path).splits.tolist() == [split]
    assert load_dataset(tmp_path / "set" / folder).splits.tolist() == [split]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / folder).symlink_to(tmp_path / "set" / folder)
    assert load_dataset(tmp_path / "linked").splits.tolist() == [split]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("entrenamiento", "PublicTest", "prueba")]
)
def test_a_test_split_beside_one_to_choose_on_is_kept_for_the_end(
    patterns: Dataset, tmp_path: Path, names: tuple[str, ...]
) -> None:
    for number, name in enumerate(names):
        for row in range(number + 1):
            saved(patterns.images[row], tmp_path / name / "fear" / f"{name}-{row}.png")
    assert np.bincount(load_dataset(tmp_path).splits).tolist() == [1, 2, 3]
    shutil.rmtree(tmp_path / names[1])
    assert np.bincount(load_dataset(tmp_path).splits).tolist() == [1, 3]


def test_classes_may_be_called_in_spanish(patterns: Dataset, tmp_path: Path) -> None:
    words = ("Enojo", "asco", "miedo", "alegria", "tristeza", "sorpresa", "neutral")
    for row, word in enumerate(words):
        saved(patterns.images[row], tmp_path / word / f"{row}.png")
    assert load_dataset(tmp_path).labels.tolist() == list(range(7))
    others = {"ira": 0, "felicidad": 3, "Triste": 4, "sorprendido": 5, "asustado": 2, "neutro": 6}
    for word, label in others.items():
        saved(patterns.images[0], tmp_path / "others" / word / f"{label}.png")
    assert load_dataset(tmp_path / "others").labels.tolist() == sorted(others.values())
    shutil.rmtree(tmp_path / "others")
    # The map takes precedence.
    assert 0 not in load_dataset(tmp_path, label_map={"enojo": "drop"}).labels


def test_a_pipe_among_the_pictures_is_passed_over(patterns: Dataset, tmp_path: Path) -> None:
    folder = converted(patterns, tmp_path / "faces")
    os.mkfifo(folder / "Training" / "happy" / "Training_999999.png")
    assert len(load_dataset(folder)) == len(patterns)


def test_a_name_without_a_number_leaves_the_order(patterns: Dataset, tmp_path: Path) -> None:
    names = ["happy/face_10.png", "happy/face_2.png", "happy/mine.png"]
    for name in names:
        saved(patterns.images[0], tmp_path / "faces" / name)
    found = load_dataset(tmp_path / "faces")
    assert found.names is not None
    assert found.names.tolist() == names


def test_a_folder_beside_those_of_the_splits(patterns: Dataset, tmp_path: Path) -> None:
    """A folder that names no split is an error if others do; without those, any name will do."""
    for name in ("mine/happy/a.png", "hers/sad/b.png"):
        saved(patterns.images[0], tmp_path / name)
    assert load_dataset(tmp_path).splits.tolist() == [0, 0]
    saved(patterns.images[0], tmp_path / "test" / "fear" / "c.png")
    with pytest.raises(DataError, match=r"b\.png: expected a folder such as train.*found 'hers'"):
        load_dataset(tmp_path)
    bad: list[DataError] = []
    found = load_dataset(tmp_path, on_bad=bad.append)
    assert (found.labels.tolist(), found.splits.tolist(), len(bad)) == ([2], [1], 2)
    saved(patterns.images[0], tmp_path / "mine" / "sad" / "Training_1.png")  # tells its split
    assert len(load_dataset(tmp_path, on_bad=bad.append)) == 2


def test_bad_rows_can_be_skipped_and_are_counted(patterns: Dataset, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "faces.csv", patterns)
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("Training", "Trainig")
    lines[7] = "9" + lines[7][1:]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="line 4"):
        load_dataset(path)
    bad: list[DataError] = []
    found = load_dataset(path, on_bad=bad.append)
    assert len(found) == len(patterns) - 2
    assert ["line 4" in str(bad[0]), "line 8" in str(bad[1]), len(bad)] == [True, True, 2]


def test_a_damaged_member_and_an_unreadable_file_stop_nothing(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("a", "b", "c")):
        saved(patterns.images[number], tmp_path / "faces" / "fear" / f"{name}.png")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in sorted((tmp_path / "faces" / "fear").iterdir()):
            archive.write(path, f"fear/{path.name}")
        place = archive.getinfo("fear/b.png").header_offset + 200
    data = bytearray((tmp_path / "faces.zip").read_bytes())
    data[place] ^= 0xFF  # its checksum is wrong now
    (tmp_path / "faces.zip").write_bytes(data)
    opened = Path.open

    def refuses(self: Path, *arguments: Any, **more: Any) -> Any:
        if self.name == "b.png":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", refuses)
    for path, reason in (("faces.zip", "damaged or cut off"), ("faces", "Permission denied")):
        with pytest.raises(DataError, match=rf"fear/b\.png: .*{reason}"):
            load_dataset(tmp_path / path)
        bad: list[DataError] = []
        assert len(load_dataset(tmp_path / path, on_bad=bad.append)) == 2
        assert [reason in str(error) for error in bad] == [True]


def test_a_picture_that_does_not_decode(patterns: Dataset, tmp_path: Path) -> None:
    saved(patterns.images[0], tmp_path / "happy" / "a.png")
    (tmp_path / "happy" / "b.png").write_bytes((tmp_path / "happy" / "a.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"b\.png: damaged or cut off"):
        load_dataset(tmp_path)
    bad: list[DataError] = []
    assert len(load_dataset(tmp_path, on_bad=bad.append)) == 1
    assert len(bad) == 1


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("notes.txt", b"hello", "expected a table of pixels .*found notes.txt"),
        pytest.param(
            "x.parquet",
            b"PAR1 and then nothing PAR1",
            "not a readable Parquet file",
            marks=needs_pyarrow,
        ),
        ("face.png", None, "found face.png outside a folder"),
        ("nothing.csv", b"", r"found nothing\.csv \(empty\)"),
        ("missing", None, "No such file"),
    ],
)
def test_no_dataset(
    tmp_path: Path, name: str, content: bytes | None, expected: str, patterns: Dataset
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif name != "missing":
        saved(patterns.images[0], path)
    with pytest.raises(DataError, match=expected):
        load_dataset(path)


@needs_pyarrow
def test_parquet_without_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"expected a picture column .*found text, label"):
        load_dataset(tmp_path / "x.parquet")


@needs_pyarrow
def test_parquet_that_names_its_classes(patterns: Dataset, tmp_path: Path) -> None:
    """The library `datasets` numbers class folders in the order of their names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted(EMOTIONS)
    cells = [{"bytes": encoded_png(image), "path": None} for image in patterns.images[:7]]
    table = pa.table({"image": cells, "label": list(range(7))})
    about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(table, tmp_path / "train.parquet")
    found = load_dataset(tmp_path / "train.parquet")
    assert [EMOTIONS[label] for label in found.labels] == names
    pq.write_table(table.set_column(1, "label", [[0, 1, 2, 3, 4, 5, 7]]), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"row 6: expected a label of 0\.\.6, found 7"):
        load_dataset(tmp_path / "bad.parquet")


@needs_pyarrow
def test_parquet_shards_of_a_hub(patterns: Dataset, tmp_path: Path) -> None:
    """Pictures as bytes in a struct, labels as numbers, splits in the names of the files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = (
        ("data/train-00000-of-00001", range(5)), ("data/test-00000-of-00001", range(5, 8)),
        ("data/publicTest-00000-of-00001", range(8, 9)), ("data/PrivateTest", range(9, 11)),
        ("data/test/0000", range(11, 13)), ("data/privatetest/0000", range(13, 14)),
        ("data/valentina", range(14, 16)), ("data/developers", range(16, 17)),
        ("data/PrivateTestSet", range(17, 18)), ("data/ValSets", range(18, 19)),
        ("train/test/0000", range(19, 20)),
    )  # fmt: skip
    for name, rows in shards:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cells = []
        for row in rows:
            buffer = io.BytesIO()
            Image.fromarray(patterns.images[row]).save(buffer, "PNG")
            cells.append({"bytes": buffer.getvalue(), "path": None})
        labels = patterns.labels[list(rows)].tolist()
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / f"{name}.parquet")
    found = load_dataset(tmp_path)
    assert sorted(found.labels.tolist()) == sorted(patterns.labels[:20].tolist())
    assert np.bincount(found.splits).tolist() == [5 + 3, 1 + 1, 3 + 2 + 2 + 1 + 1 + 1]
    assert (load_dataset(tmp_path / "data" / "PrivateTest.parquet", cache=True).splits == 2).all()

    (tmp_path / "data" / "cut.parquet").write_bytes(b"PAR1 and then nothing PAR1")
    bad: list[DataError] = []
    assert len(load_dataset(tmp_path, on_bad=bad.append)) == 20
    assert [("cut.parquet: not a readable Parquet file" in str(error)) for error in bad] == [True]


@needs_pyarrow
@pytest.mark.parametrize(
    ("image", "label", "split"),
    [("image", "class", "subset"), ("img_bytes", "expression", "Split"), ("jpg", "class", "split")],
)
def test_parquet_calls_its_columns_as_lists_do(
    image: str, label: str, split: str, patterns: Dataset, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture = encoded_png(patterns.images[0])
    columns = {image: [picture] * 2, label: ["happy", "sad"], split: ["test", "train"]}
    pq.write_table(pa.table(columns), tmp_path / "faces.parquet")
    found = load_dataset(tmp_path / "faces.parquet")
    assert found.labels.tolist() == [3, 4]
    assert found.splits.tolist() == [1, 0]  # the only test split


@needs_pyarrow
def test_parquet_that_is_not_supported(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of pyarrow that is not a subclass of a built-in exception."""
    import pyarrow as pa
    from pyarrow import parquet

    def refuse(*_: object, **__: object) -> None:
        raise pa.ArrowNotImplementedError("nested columns")

    path = tmp_path / "faces.parquet"
    write_parquet(patterns, path)
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", refuse)
    with pytest.raises(DataError, match="not a readable Parquet file: nested columns"):
        load_dataset(path)


def test_several_tables_of_which_none_says_more(patterns: Dataset, tmp_path: Path) -> None:
    row = ",".join(("0", " ".join(["7"] * 2304)))
    for name in ("test", "train"):
        (tmp_path / f"{name}.csv").write_text(f"emotion,pixels\n{row}\n")
    with pytest.raises(DataError, match=r"found test\.csv, train\.csv: name one of them"):
        load_dataset(tmp_path)
    (tmp_path / "all.csv").write_text(f"emotion,pixels,Usage\n{row},PrivateTest\n")
    assert load_dataset(tmp_path).splits.tolist() == [2]


def test_converting_never_overwrites_a_folder(patterns: Dataset, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("x")
    with pytest.raises(OptionError, match="expected a new or an empty folder"):
        convert(patterns, tmp_path / "full")
    with pytest.raises(OptionError, match=r"ends in \.csv or \.parquet"):
        convert(patterns, tmp_path / "faces.xlsx")
    assert list(tmp_path.iterdir()) == [tmp_path / "full"]


def test_half_a_folder_never_stays(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(1000))

    def full_disk(face: np.ndarray) -> bytes:
        if next(calls) == 20:
            raise OSError(28, "No space left on device")
        return b"x"

    monkeypatch.setattr("semblante.data.convert.encoded_png", full_disk)
    with pytest.raises(OSError, match="No space") as caught:
        convert(patterns, tmp_path / "faces")
    assert caught.value.filename == str(tmp_path / "faces")
    assert list(tmp_path.iterdir()) == []


def test_contact_sheet(patterns: Dataset) -> None:
    sheet = faces_by_emotion(patterns, columns=5)
    assert sheet.shape == (7 * 48, 5 * 48, 3)
    for label in range(7):
        cell = sheet[label * 48 : label * 48 + 48, :48, 0]
        assert any(
            np.array_equal(cell, image) for image in patterns.images[patterns.labels == label]
        )


def test_a_table_between_semicolons(patterns: Dataset, patterns_csv: Path, tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(patterns_csv.read_text().replace(",", ";"))
    assert load_dataset(path).fingerprint() == patterns.fingerprint()


@needs_pyarrow
def test_a_dropped_class_of_a_parquet_file(patterns: Dataset, tmp_path: Path) -> None:
    path = converted(patterns, tmp_path / "faces.parquet")
    found = load_dataset(path, label_map={"angry": "drop"})  # the file names the class of 0
    assert found.labels.tolist() == [label for label in patterns.labels.tolist() if label != 0]


@needs_pyarrow
def test_groups_go_through_parquet(patterns: Dataset, tmp_path: Path) -> None:
    groups = np.array([str(row // 3) if row % 2 else "" for row in range(len(patterns))])
    grouped = replace(patterns, groups=groups)
    found = load_dataset(converted(grouped, tmp_path / "faces.parquet"))
    assert_same(found, patterns)
    assert found.groups is not None
    assert found.groups.tolist() == groups.tolist()
    groups = groups.astype("U4")
    groups[:2] = "Jos\udce9"  # as read from a list that is not in UTF-8
    convert(replace(patterns, groups=groups), tmp_path / "other.parquet")
    found = load_dataset(tmp_path / "other.parquet")
    assert found.groups is not None
    assert found.groups[:3].tolist() == ["Jos\\udce9", "Jos\\udce9", ""]


def test_estimates_are_no_labels(tmp_path: Path) -> None:
    """The output of `semblante analyze --format csv` is not taken for a list of labelled faces."""
    (tmp_path / "faces.csv").write_text("path,emotion,detection_score\na.png,happy,0.9\n")
    with pytest.raises(DataError, match=r"found faces\.csv"):
        load_dataset(tmp_path)


def test_faces_are_found_on_request(tmp_path: Path) -> None:
    """Faces are cropped exactly as in recognition."""
    (tmp_path / "happy").mkdir()
    with Image.open(EXAMPLE) as picture:
        wide = Image.new("RGB", (picture.width * 2, picture.height), "white")
        wide.paste(picture, (picture.width, 0))
    wide.save(tmp_path / "happy" / "eileen.png")
    find = largest_face(CnnDetector())
    found = load_dataset(tmp_path, find_face=find)
    image = load_image(tmp_path / "happy" / "eileen.png")
    [face] = Analyzer(detector=CnnDetector()).analyze(image)
    assert face.box.left > wide.width // 2
    assert np.array_equal(found.images, crop_face(to_grey(image), face.box)[None])

    Image.new("L", (200, 200), 90).save(tmp_path / "happy" / "wall.png")
    with pytest.raises(DataError, match=r"wall\.png: no face was found in it"):
        load_dataset(tmp_path, find_face=find)
    bad: list[DataError] = []
    assert len(load_dataset(tmp_path, find_face=find, on_bad=bad.append)) == 1


def test_a_table_has_no_faces_to_find(patterns_csv: Path) -> None:
    with pytest.raises(OptionError, match="a table of pixels holds faces"):
        load_dataset(patterns_csv, find_face=lambda _: None)


def test_an_accent_may_be_a_letter_of_its_own(tmp_path: Path) -> None:
    """Names of files from a Mac have decomposed accents."""
    folder = tmp_path / unicodedata.normalize("NFD", "alegría")
    folder.mkdir()
    Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)).save(folder / "a.png")
    found = load_dataset(tmp_path, label_map={unicodedata.normalize("NFC", "alegría"): "happy"})
    assert found.labels.tolist() == [3]
