"""All the forms in which labelled faces come, written here, read back the same."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import tarfile
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import EXAMPLE, SHARED, needs_fer2013, write_csv
from semblante import EMOTIONS, Analyzer, DataError, Dataset, OptionError, load_dataset
from semblante.data import members as members_module
from semblante.data.convert import contact_sheet, convert
from semblante.data.ferplus import FROM_FER2013, VOTES, FerPlus, load_ferplus
from semblante.data.load import form_of
from semblante.images import encoded_png, load_image
from semblante.preprocess import crop_face, to_grey
from semblante.recognise.detectors import HaarDetector, largest_face

pytest.importorskip("pyarrow")


def assert_same(found: Dataset, expected: Dataset) -> None:
    assert np.array_equal(found.images, expected.images)
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.splits, expected.splits)


def zipped(source: Path, out: Path) -> Path:
    """A file or a folder as a .zip."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in files:
            if file.is_file():
                archive.write(file, file.relative_to(source.parent))
        archive.writestr("__MACOSX/._fer2013.csv", b"emotion,pixels,Usage\n")
    return out


def tarred(source: Path, out: Path) -> Path:
    with tarfile.open(out, "w:gz") as archive:
        archive.add(source, f"fer2013/{source.name}")
        data = b"a dataset of faces"
        info = tarfile.TarInfo("fer2013/README")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out


def converted(dataset: Dataset, out: Path) -> Path:
    convert(dataset, out)
    return out


@pytest.mark.parametrize("form", ["csv", "folder", "parquet"])
@pytest.mark.parametrize("packing", ["plain", "zip", "tar.gz"])
def test_every_form_reads_back(patterns: Dataset, tmp_path: Path, form: str, packing: str) -> None:
    out = converted(patterns, tmp_path / ("faces" if form == "folder" else f"faces.{form}"))
    if packing != "plain":
        out = {"zip": zipped, "tar.gz": tarred}[packing](out, tmp_path / f"packed.{packing}")
    assert_same(load_dataset(out), patterns)
    assert form_of(out) == {"csv": "table", "folder": "folders", "parquet": "parquet"}[form]


def test_through_all_forms_and_back(patterns: Dataset, patterns_csv: Path, tmp_path: Path) -> None:
    folder = converted(load_dataset(patterns_csv), tmp_path / "folder")
    parquet = converted(load_dataset(folder), tmp_path / "faces.parquet")
    csv = converted(load_dataset(parquet), tmp_path / "faces.csv")
    assert csv.read_bytes() == patterns_csv.read_bytes()


@needs_fer2013
def test_real_faces_through_all_forms(fer2013: Dataset, tmp_path: Path) -> None:
    rows = np.sort(np.random.default_rng(0).permutation(len(fer2013))[:700])
    some = Dataset(fer2013.images[rows], fer2013.labels[rows], fer2013.splits[rows])
    folder = converted(some, tmp_path / "folder")
    parquet = converted(load_dataset(folder), tmp_path / "faces.parquet")
    assert_same(load_dataset(converted(load_dataset(parquet), tmp_path / "faces.csv")), some)


def saved(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def test_the_folders_of_kaggle(patterns: Dataset, tmp_path: Path) -> None:
    """train/ and test/ of class-named folders; the test files' names tell the official split."""
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
    """Colour, any size, other class names, no split."""
    rng = np.random.default_rng(0)
    saved(rng.integers(0, 256, (100, 80, 3)).astype(np.uint8), tmp_path / "Sadness" / "anna.png")
    saved(rng.integers(0, 256, (30, 30, 3)).astype(np.uint8), tmp_path / "3" / "ben.png")
    saved(rng.integers(0, 256, (48, 48, 3)).astype(np.uint8), tmp_path / "contempt" / "c.png")
    with pytest.raises(DataError, match=r"anna.png: unknown class 'Sadness'.*--map Sadness="):
        load_dataset(tmp_path)
    mapping = {"sadness": "sad", "Contempt": "drop"}
    found = load_dataset(tmp_path, label_map=mapping)
    assert found.images.shape == (2, 48, 48)
    assert sorted(found.labels.tolist()) == [3, 4]
    assert found.splits.tolist() == [0, 0]
    with pytest.raises(OptionError, match=r"named 'sadnes', since .*found 3, contempt, sadness"):
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
    words = ("Enfado", "asco", "miedo", "alegria", "tristeza", "sorpresa", "neutral")
    for row, word in enumerate(words):
        saved(patterns.images[row], tmp_path / word / f"{row}.png")
    assert load_dataset(tmp_path).labels.tolist() == list(range(7))
    # What the map says comes first.
    assert 0 not in load_dataset(tmp_path, label_map={"enfado": "drop"}).labels


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
    """Is no split by accident; alone, folders may be called anything."""
    for name in ("mine/happy/a.png", "hers/sad/b.png"):
        saved(patterns.images[0], tmp_path / name)
    assert load_dataset(tmp_path).splits.tolist() == [0, 0]
    saved(patterns.images[0], tmp_path / "test" / "fear" / "c.png")
    with pytest.raises(DataError, match=r"b\.png: expected a folder such as train.*found 'hers'"):
        load_dataset(tmp_path)
    bad: list[DataError] = []
    found = load_dataset(tmp_path, on_bad=bad.append)
    assert (found.labels.tolist(), found.splits.tolist(), len(bad)) == ([2], [1], 2)
    saved(patterns.images[0], tmp_path / "mine" / "sad" / "Training_1.png")  # says it itself
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


def test_links_are_not_left_out_without_a_word(patterns: Dataset, tmp_path: Path) -> None:
    folder = converted(patterns, tmp_path / "faces")
    happy = sorted((folder / "Training" / "happy").iterdir())
    happy[1].unlink()
    happy[1].symlink_to("nowhere")
    with pytest.raises(DataError, match=f"{happy[1].name}.*cannot be read: No such file"):
        load_dataset(folder)
    bad: list[DataError] = []
    assert len(load_dataset(folder, on_bad=bad.append)) == len(patterns) - 1
    assert len(bad) == 1
    happy[1].unlink()
    os.link(happy[0], happy[1])  # tar keeps the second as a link to the first
    assert len(load_dataset(folder)) == len(patterns)
    packed = tarred(folder, tmp_path / "faces.tar.gz")
    with pytest.raises(DataError, match=r"a link, give the archive the files themselves"):
        load_dataset(packed)
    assert len(load_dataset(packed, on_bad=bad.append)) == len(patterns) - 1
    assert len(bad) == 2


def test_a_picture_that_does_not_decode(patterns: Dataset, tmp_path: Path) -> None:
    saved(patterns.images[0], tmp_path / "happy" / "a.png")
    (tmp_path / "happy" / "b.png").write_bytes((tmp_path / "happy" / "a.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"b\.png: damaged or cut off"):
        load_dataset(tmp_path)
    bad: list[DataError] = []
    assert len(load_dataset(tmp_path, on_bad=bad.append)) == 1
    assert len(bad) == 1


def test_archives_that_are_not_what_they_should_be(
    patterns_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    climbing = tmp_path / "climbing.zip"
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.writestr("../../fer2013.csv", "emotion,pixels,Usage\n")
    with pytest.raises(DataError, match=r"member \.\./\.\./fer2013\.csv: its name climbs out"):
        load_dataset(climbing)

    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(tarred(patterns_csv, tmp_path / "whole.tar.gz").read_bytes()[:20_000])
    with pytest.raises(DataError, match="damaged or cut off"):
        load_dataset(cut)

    whole = zipped(patterns_csv, tmp_path / "whole.zip")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"cut\.zip: the archive is damaged or cut off"):
        load_dataset(cut)

    monkeypatch.setattr(members_module, "MAX_MEMBER_BYTES", 1000)
    with pytest.raises(DataError, match="GB once inflated; at most"):
        load_dataset(whole)


def member_of(kind: str, size: int = 3000) -> tarfile.TarInfo:
    info = tarfile.TarInfo("x.csv")
    info.size = size
    info.type = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}[kind]
    return info


def archive_of(kind: str) -> bytes:
    """One member, x.csv, of 100,000 random digits."""
    digits, out = np.random.default_rng(0).integers(ord("0"), ord("9") + 1, 100_000), io.BytesIO()
    data = digits.astype(np.uint8).tobytes()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as zip_:
            zip_.writestr("x.csv", data)
    else:
        with tarfile.open(fileobj=out, mode=kind.replace("tar", "w").replace(".", ":")) as tar:
            tar.addfile(member_of("file", len(data)), io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "place", "change", "message"),
    [
        ("zip", 1000, b"\0" * 9, "damaged or cut off: Bad CRC-32"),
        ("zip", b"PK\1\2", {8: 1}, "cannot be read: .*password"),
        ("zip", b"PK\1\2", {10: 99}, "damaged or cut off: That compression method"),
        ("tar", slice(1000, None), None, "damaged or cut off: unexpected end of data"),
        ("tar.gz", slice(12, None), None, "damaged or cut off: Compressed file ended before"),
        ("tar.gz", slice(2000, None), None, "damaged or cut off: Compressed file ended before"),
        ("tar.gz", 20_000, bytes(range(256)) * 40, "damaged or cut off: Error -3"),
        ("tar.gz", 20_000, b"\0" * 900, "damaged or cut off: CRC check failed"),
        ("tar.gz", -8, b"\0" * 4, "damaged or cut off: CRC check failed"),
        ("tar.xz", 20_000, b"\0" * 900, "damaged or cut off: Corrupt input data"),
    ],
)
def test_every_damage_of_an_archive_is_said(
    tmp_path: Path, kind: str, place: Any, change: Any, message: str
) -> None:
    data = bytearray(archive_of(kind))
    if isinstance(place, slice):
        del data[place]
    elif isinstance(change, dict):
        [(offset, value)] = change.items()
        data[data.index(place) + offset] = value
    else:
        place %= len(data)
        data[place : place + len(change)] = change
    path = tmp_path / "faces"
    path.write_bytes(data)

    def read_all() -> None:
        with members_module.damage_named(path):
            for member in members_module.members(path):
                while member.stream.read(100_000):
                    pass

    with pytest.raises(DataError, match=f"{path}: .*{message}"):
        read_all()


def test_an_error_without_a_file_or_a_reason_of_its_own() -> None:
    for error, message in (
        (PermissionError(13, "Permission denied", "b.png"), "^b.png: cannot be read: Permission"),
        (OSError(5, "Input/output error"), "^faces.zip: cannot be read: Input/output error"),
        (OSError("odd"), "^faces.zip: cannot be read: odd"),
    ):
        with pytest.raises(DataError, match=message), members_module.damage_named("faces.zip"):
            raise error


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_members_are_all_files_but_what_is_hidden(tmp_path: Path, kind: str) -> None:
    """Those of a folder and of a .zip by name, whatever their order there."""
    names = ["b/y.PNG", "b/x.png", "a.csv", "B.csv", ".DS_Store", "b/._x.png", "__MACOSX/z.png"]
    path = tmp_path / "faces"
    if kind == "folder":
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(name.encode())
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.mkdir("b")
            for name in names:
                archive.writestr(name, name)
    else:
        with tarfile.open(path, "w") as archive:
            for name in names:
                info = member_of("file", len(name))
                info.name = f"./{name}"  # as `tar -C faces .` names them
                archive.addfile(info, io.BytesIO(name.encode()))
    found = [
        (member.name, member.suffix, member.stream.read())
        for member in members_module.members(path)
    ]
    expected = [
        ("B.csv", ".csv", b"B.csv"), ("a.csv", ".csv", b"a.csv"),
        ("b/x.png", ".png", b"b/x.png"), ("b/y.PNG", ".png", b"b/y.PNG"),
    ]  # fmt: skip
    assert (sorted(found) if kind == "tar" else found) == expected


@pytest.mark.parametrize("kind", ["link", "hard"])
def test_a_link_in_a_tar_says_so_when_it_is_read(tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        info = member_of(kind, 0)
        info.linkname = "elsewhere"
        archive.addfile(info)
    [member] = members_module.members(tmp_path / "faces.tar")
    with pytest.raises(OSError, match="a link, give the archive the files themselves"):
        member.stream.read()


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x.csv", r"member \.\./x\.csv: its name climbs out of the archive"),
        ("a/../../x.csv", "its name climbs out"),
        ("a\\..\\x.csv", "its name climbs out"),
        ("/etc/x.csv", "its name climbs out"),
        ("x..csv", "member x..csv: 0.0 GB once inflated; at most 0 GB are read"),
    ],
)
def test_members_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, message: str
) -> None:
    path = tmp_path / "faces"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, bytes(3000))
    else:
        with tarfile.open(path, "w") as archive:
            info = member_of("file")
            info.name = name
            archive.addfile(info, io.BytesIO(bytes(3000)))
    monkeypatch.setattr(members_module, "MAX_MEMBER_BYTES", 2999)
    with pytest.raises(DataError, match=message):
        list(members_module.members(path))
    monkeypatch.setattr(members_module, "MAX_MEMBER_BYTES", 3000)
    if name == "x..csv":
        assert [member.name for member in members_module.members(path)] == [name]


def test_a_folder_that_cannot_be_read_is_no_class_without_faces(
    patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("happy/a.png", "sad/b.png"):
        saved(patterns.images[0], tmp_path / name)
    listed = os.scandir

    def refuses(place: Any) -> Any:
        if os.fspath(place).endswith("sad"):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", refuses)
    with pytest.raises(DataError, match=r"sad: cannot be read: Permission denied"):
        load_dataset(tmp_path)


def test_a_zip_that_inflates_to_more_than_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fer2013.csv", b"emotion,pixels,Usage\n" + b"0" * 10_000_000)
    data = bytearray(path.read_bytes())
    real = struct.pack("<I", 10_000_021)
    while (at := data.find(real)) >= 0:
        data[at : at + 4] = struct.pack("<I", 100)
    path.write_bytes(bytes(data))
    with pytest.raises(DataError):
        load_dataset(path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("notes.txt", b"hello", "expected a table of pixels .*found notes.txt"),
        ("x.parquet", b"PAR1 and then nothing PAR1", "not a readable Parquet file"),
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


def test_parquet_without_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"expected a picture column .*found text, label"):
        load_dataset(tmp_path / "x.parquet")


def test_parquet_that_names_its_classes(patterns: Dataset, tmp_path: Path) -> None:
    """As `datasets` writes a folder of classes: numbers in the order of their names."""
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


def test_parquet_shards_of_a_hub(patterns: Dataset, tmp_path: Path) -> None:
    """Bytes in a struct, labels as numbers, splits in the files' names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = (
        ("data/train-00000-of-00001", range(5)), ("data/test-00000-of-00001", range(5, 8)),
        ("data/publicTest-00000-of-00001", range(8, 9)), ("data/PrivateTest", range(9, 11)),
        ("data/test/0000", range(11, 13)), ("data/privatetest/0000", range(13, 14)),
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
    assert sorted(found.labels.tolist()) == sorted(patterns.labels[:14].tolist())
    assert np.bincount(found.splits).tolist() == [5, 1, 3 + 2 + 2 + 1]
    assert (load_dataset(tmp_path / "data" / "PrivateTest.parquet", cache=True).splits == 2).all()

    (tmp_path / "data" / "cut.parquet").write_bytes(b"PAR1 and then nothing PAR1")
    bad: list[DataError] = []
    assert len(load_dataset(tmp_path, on_bad=bad.append)) == 14
    assert [("cut.parquet: not a readable Parquet file" in str(error)) for error in bad] == [True]


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
    sheet = contact_sheet(patterns, columns=5)
    assert sheet.shape == (7 * 48, 5 * 48, 3)
    for label in range(7):
        cell = sheet[label * 48 : label * 48 + 48, :48, 0]
        assert any(
            np.array_equal(cell, image) for image in patterns.images[patterns.labels == label]
        )


# -- FER+ -------------------------------------------------------------------------------------


def slow_majority(votes: list[int]) -> int:
    """The authors' code, mode majority, in its own words."""
    votes = [0 if count < 2 else count for count in votes]
    largest = max(votes)
    if largest > 0.5 * sum(votes):
        winner = votes.index(largest)
        return winner if winner < 8 else -1
    return -1


def test_majority_row_by_row() -> None:
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, rng.dirichlet(np.full(10, 0.2)), 500)
    votes = np.stack([rng.multinomial(10, rng.dirichlet(np.full(10, 0.2))) for _ in range(500)])
    faces = FerPlus(votes, np.ones(500, bool), np.zeros(500, np.uint8))
    assert faces.majority().tolist() == [slow_majority(row.tolist()) for row in votes]
    shares = faces.distributions()
    assert np.allclose(shares.sum(axis=1), (votes[:, :8].sum(axis=1) > 0).astype(float))


def test_ferplus_names() -> None:
    assert [VOTES[index] for index in FROM_FER2013] == [
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral",
    ]  # fmt: skip


@needs_fer2013
def test_the_real_votes(fer2013: Dataset) -> None:
    faces = load_ferplus(SHARED / "fer2013" / "fer2013new.csv")
    assert np.array_equal(faces.splits, fer2013.splits)
    kept = faces.majority() >= 0
    assert [int(kept[faces.splits == split].sum()) for split in range(3)] == [25_060, 3_199, 3_153]
    nobody = faces.no_face()
    assert [int(nobody[faces.splits == split].sum()) for split in range(3)] == [150, 10, 16]


@needs_fer2013
def test_votes_of_other_rows(fer2013: Dataset) -> None:
    """The same splits, but the faces of each in another order."""
    votes = load_ferplus(SHARED / "fer2013" / "fer2013new.csv")
    votes.check_rows_of(fer2013)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(np.flatnonzero(fer2013.splits == n)) for n in range(3)])
    with pytest.raises(DataError, match="in Training they agree with 18% of the dataset's labels"):
        votes.check_rows_of(fer2013.where(order))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a,b"], "expected the header Usage,Image name"),
        (["H", "Training,x,1,2"], "line 2: expected a Usage, an image name and 10 counts"),
        (["H", "Training,x" + ",1" * 9 + ",-1"], "line 2: expected"),
        (["H", "Test,x" + ",1" * 10], "line 2: expected a Usage of Training"),
    ],
)
def test_bad_votes(tmp_path: Path, lines: list[str], expected: str) -> None:
    header = ",".join(["Usage", "Image name", *VOTES])
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join(header if line == "H" else line for line in lines) + "\n")
    with pytest.raises(DataError, match=expected):
        load_ferplus(path)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        load_ferplus(path)


def listed(tmp_path: Path, text: str) -> Path:
    """Three pictures and a list of them."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("a.png", "deeper/b.png", "c d.png")):
        image = rng.integers(0, 256, (60 + number, 50, 3)).astype(np.uint8)
        saved(image, tmp_path / "mine" / "pictures" / name)
    path = tmp_path / "mine" / "faces.csv"
    path.write_text(text)
    return path


LIST = """\ufeffpath,label,split,group,age
pictures/c d.png,sadness,test,anna,30
pictures/a.png,3,train,ben,31
pictures/deeper/b.png,Happy,PrivateTest,,32
"""


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


def test_a_list_between_semicolons(tmp_path: Path) -> None:
    """As spreadsheets write it where a comma is decimal."""
    path = listed(tmp_path, LIST.replace(",", ";"))
    assert form_of(path) == "listing"
    assert load_dataset(path, label_map={"sadness": "sad"}).labels.tolist() == [4, 3, 3]
    path.write_bytes(LIST.replace("sadness", "alegría").encode("latin-1", "ignore"))
    with pytest.raises(DataError, match=r"line 2 \(.*\): its class is not in UTF-8: save"):
        load_dataset(path)


def test_a_table_between_semicolons(patterns: Dataset, patterns_csv: Path, tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(patterns_csv.read_text().replace(",", ";"))
    assert load_dataset(path).fingerprint() == patterns.fingerprint()


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


def test_a_dropped_class_of_a_parquet_file(patterns: Dataset, tmp_path: Path) -> None:
    path = converted(patterns, tmp_path / "faces.parquet")
    found = load_dataset(path, label_map={"0": "drop"})
    assert found.labels.tolist() == [label for label in patterns.labels.tolist() if label != 0]


def test_groups_go_through_parquet(patterns: Dataset, tmp_path: Path) -> None:
    groups = np.array([str(row // 3) if row % 2 else "" for row in range(len(patterns))])
    grouped = replace(patterns, groups=groups)
    found = load_dataset(converted(grouped, tmp_path / "faces.parquet"))
    assert_same(found, patterns)
    assert found.groups is not None
    assert found.groups.tolist() == groups.tolist()
    groups = groups.astype("U4")
    groups[:2] = "Jos\udce9"  # as a list that is not in UTF-8 gives it
    convert(replace(patterns, groups=groups), tmp_path / "other.parquet")
    found = load_dataset(tmp_path / "other.parquet")
    assert found.groups is not None
    assert found.groups[:3].tolist() == ["Jos\\udce9", "Jos\\udce9", ""]


@pytest.mark.parametrize("packing", ["folder", "zip"])
def test_what_was_made_on_windows(tmp_path: Path, packing: str) -> None:
    """Lists name pictures with its own slash, and some archives their members."""
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


def test_estimates_are_no_labels(tmp_path: Path) -> None:
    """What `semblante analyze --format csv` writes is not taken for a list of labelled faces."""
    (tmp_path / "faces.csv").write_text("path,emotion,detection_score\na.png,happy,0.9\n")
    with pytest.raises(DataError, match=r"found faces\.csv"):
        load_dataset(tmp_path)


def test_faces_are_found_on_request(tmp_path: Path) -> None:
    """The framing is that of recognition, to the pixel."""
    (tmp_path / "happy").mkdir()
    with Image.open(EXAMPLE) as picture:
        wide = Image.new("RGB", (picture.width * 2, picture.height), "white")
        wide.paste(picture, (picture.width, 0))
    wide.save(tmp_path / "happy" / "eileen.png")
    find = largest_face(HaarDetector())
    found = load_dataset(tmp_path, find_face=find)
    image = load_image(tmp_path / "happy" / "eileen.png")
    [face] = Analyzer(detector=HaarDetector()).analyze(image)
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
    """As in the names of files that come from a Mac."""
    folder = tmp_path / unicodedata.normalize("NFD", "alegría")
    folder.mkdir()
    Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)).save(folder / "a.png")
    found = load_dataset(tmp_path, label_map={unicodedata.normalize("NFC", "alegría"): "happy"})
    assert found.labels.tolist() == [3]


def test_a_list_whose_header_has_no_end(tmp_path: Path) -> None:
    """A quote that opens there swallows all rows: none of them is taken for the header."""
    path = tmp_path / "list.csv"
    path.write_text('path,label,"note\n' + "a.png,happy,x\n" * 20_000)
    with pytest.raises(DataError, match=r"list\.csv, line \d+: not valid CSV: field larger"):
        load_dataset(path, on_bad=lambda _: None)
