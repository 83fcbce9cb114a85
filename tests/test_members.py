"""Members of folders and archives, and archives that are damaged or hostile."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forms import converted, saved, tarred, zipped
from semblante import DataError, Dataset, load_dataset
from semblante.data import members as members_module


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


def test_what_cannot_be_read_and_is_no_data_stops_nothing(
    patterns: Dataset, tmp_path: Path
) -> None:
    folder = converted(patterns, tmp_path / "faces")
    (folder / "latest").symlink_to("nowhere")
    for path in (folder, tarred(folder, tmp_path / "faces.tar.gz")):
        assert load_dataset(path).labels.tolist() == patterns.labels.tolist()
    (folder / "labels.csv").symlink_to("nowhere")  # it might be a list of pictures
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read: No such file"):
        load_dataset(folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "latest").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"found latest \(cannot be read: No such file"):
        load_dataset(tmp_path / "empty")


def test_archives_that_are_not_what_they_should_be(
    patterns_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    climbing = tmp_path / "climbing.zip"
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.writestr("../../fer2013.csv", "emotion,pixels,Usage\n")
    with pytest.raises(DataError, match=r"member \.\./\.\./fer2013\.csv: its name leads out"):
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
        with members_module.as_data_errors(path):
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
        with pytest.raises(DataError, match=message), members_module.as_data_errors("faces.zip"):
            raise error


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_members_are_all_files_but_what_is_hidden(tmp_path: Path, kind: str) -> None:
    """Members of a folder and of a .zip come sorted by name, whatever their order there."""
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
        ("../x.csv", r"member \.\./x\.csv: its name leads out of the archive"),
        ("a/../../x.csv", "its name leads out"),
        ("a\\..\\x.csv", "its name leads out"),
        ("/etc/x.csv", "its name leads out"),
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
    with pytest.raises(DataError, match="damaged or cut off"):
        load_dataset(path)
