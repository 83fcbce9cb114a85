"""Atomic writes, names of files, and listing folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from semblante import Dataset, files
from semblante.data.convert import convert
from semblante.errors import ModelError
from semblante.files import (
    files_below,
    identity,
    is_hidden,
    lies_in,
    user_folder,
    write_atomically,
    write_json,
)
from semblante.models import yunet_path


def test_the_user_s_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANTE_CACHE", "/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("HOME", "/home/anna")
    assert user_folder("models") == Path("/chosen/models")
    monkeypatch.delenv("SEMBLANTE_CACHE")
    assert user_folder("models") == Path("/caches/semblante/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_folder("models") == Path("/home/anna/.cache/semblante/models")

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(OSError, match="SEMBLANTE_CACHE can name a folder"):
        user_folder("models")
    with pytest.raises(
        ModelError, match="the detector yunet: no home folder is known; SEMBLANTE_C"
    ):
        yunet_path()


def test_two_names_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, link, hard = (tmp_path / name for name in ("one", "other", "link", "hard"))
    one.touch()
    other.touch()
    link.symlink_to("one")
    os.link(one, hard)
    assert identity(one) == identity(link) == identity(hard)
    assert identity(one) != identity(other)
    # If nothing exists there yet, the name decides, ignoring case.
    names = ["Größe", "GRÖSSE", unicodedata.normalize("NFD", "größe"), "./größe"]
    assert len({identity(tmp_path / name) for name in names}) == 1
    monkeypatch.chdir(tmp_path)
    assert identity("größe") == identity(tmp_path / "größe")
    # Some network drives have no inode numbers.
    real = os.stat

    def without_number(path: Any, **more: Any) -> os.stat_result:
        found = list(real(path, **more))
        return os.stat_result([found[0], 0, *found[2:]])

    monkeypatch.setattr(os, "stat", without_number)
    assert identity(one) == identity(link)
    assert identity(one) != identity(other)


def test_what_lies_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("in")
    for folder in (tmp_path / "in", tmp_path / "link"):
        for above in (tmp_path / "in", tmp_path / "link"):
            assert lies_in(above / "deep" / "new" / "x.csv", folder) == PurePosixPath(
                "deep/new/x.csv"
            )
            assert lies_in(above, folder) == PurePosixPath()
        assert lies_in(tmp_path / "in" / ".." / "x.csv", folder) is None
        assert lies_in(tmp_path / "inside.csv", folder) is None


def test_every_file_below_a_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in/b/2", "in/a/1", "in/c/3", "in/.git/4", "in/c/.5", "out/6"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in" / "d").symlink_to("../out")
    (tmp_path / "in" / "a" / "up").symlink_to("..")
    (tmp_path / "in" / "a" / "z").symlink_to("../b")  # seen before its own name
    folder = tmp_path / "in"

    def found(**more: Any) -> list[str]:
        return [str(path.relative_to(folder)) for path in files_below(folder, **more)]

    assert found() == ["a/1", "a/z/2", "c/3", "d/6"]
    assert found(leave_out=[folder / "c", tmp_path / "out"]) == ["a/1", "a/z/2"]
    assert found(leave_out=[folder]) == found()
    listed, errors = os.scandir, []

    def refuses(place: Any) -> Any:
        if os.fspath(place).endswith("c"):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", refuses)
    assert found(onerror=errors.append) == ["a/1", "a/z/2", "d/6"]
    assert [error.filename for error in errors] == [str(folder / "c")]


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("a/b.png", False),
        (".git/b.png", True),
        ("a/.b.png", True),
        ("a/..png", True),
        ("../a.png", False),
        ("a/.../b.png", False),
        ("__MACOSX/b.png", True),
        ("a/@eaDir/b.png", True),
        ("$RECYCLE.BIN/b.png", True),
        ("System Volume Information/b.png", True),
        ("system.png", False),
        ("a/Photos Library.photoslibrary/originals/b.heic", True),
    ],
)
def test_what_systems_add_beside_the_data(name: str, hidden: bool) -> None:
    assert is_hidden(name) is hidden


# -- writing ----------------------------------------------------------------------------------


def test_a_file_appears_when_it_is_whole_and_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, link = tmp_path / "x", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to("x")
    happened = []
    monkeypatch.setattr(os, "fsync", lambda _: happened.append(path.read_text()))

    def write(beside: Path) -> None:
        beside.write_text("new")
        assert beside.parent == tmp_path
        assert is_hidden(beside.name)
        happened.append(path.read_text())

    write_atomically(link, write)
    assert happened == ["old", "old"]  # while the new one was written, and flushed to disk
    assert (link.is_symlink(), path.read_text()) == (True, "new")
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_files_that_are_written_at_once_have_places_of_their_own(tmp_path: Path) -> None:
    places = []

    def outer(beside: Path) -> None:
        beside.write_text("outer")
        places.append(beside.name)
        write_atomically(tmp_path / "y", inner)

    def inner(beside: Path) -> None:
        beside.write_text("inner")
        places.append(beside.name)

    write_atomically(tmp_path / "x", outer)
    assert (tmp_path / "x").read_text() == "outer"
    assert (tmp_path / "y").read_text() == "inner"
    assert len(set(places)) == 2
    assert all(is_hidden(place) and place.startswith(".semblante-") for place in places)
    assert all(len(place) <= 20 for place in places)  # Windows has a limit for whole paths


def test_another_process_of_the_same_number_has_a_place_of_its_own(tmp_path: Path) -> None:
    """Two containers that share a folder may both have process id 1, and both write a first
    file."""
    code = (
        "import os, sys; from pathlib import Path; from semblante.files import write_atomically\n"
        "os.getpid = lambda: 1\n"
        "write_atomically(Path(sys.argv[1]), lambda beside: beside.write_text(beside.name))"
    )
    for name in ("x", "y"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], check=True)
    assert (tmp_path / "x").read_text() != (tmp_path / "y").read_text()


@pytest.mark.parametrize(
    ("error", "file", "message"),
    [
        (OSError(28, "No space left on device"), "link", "No space left on device"),
        (OSError("odd"), "link", "odd"),
        (FileNotFoundError(2, "No such file", "picture.jpg"), "picture.jpg", "No such file"),
    ],
)
def test_what_cannot_be_written_leaves_what_there_was(
    tmp_path: Path, error: OSError, file: str, message: str
) -> None:
    (tmp_path / "x").write_text("old")
    (tmp_path / "link").symlink_to("x")

    def write(beside: Path) -> None:
        beside.write_text("half")
        raise error

    with pytest.raises(OSError, match=message) as caught:
        write_atomically(tmp_path / "link", write)
    assert Path(caught.value.filename).name == file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "x"]
    assert (tmp_path / "x").read_text() == "old"


def test_an_error_of_the_file_beside_names_the_one_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "x"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, lambda beside: beside.write_text("new"))
    assert caught.value.filename == str(path)


def test_a_folder_is_not_replaced_and_a_device_is_written_directly(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path / "x", lambda beside: beside.write_text("new"))
    assert caught.value.filename == str(tmp_path / "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]
    written: list[Path] = []
    write_atomically(Path(os.devnull), written.append)
    assert written == [Path(os.devnull)]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="has no such names")
def test_a_pipe_that_is_open_already_is_written_directly() -> None:
    """As a shell gives it for `--drop >(gzip > rows.gz)`."""
    ours, theirs = os.pipe()
    write_atomically(Path(f"/dev/fd/{theirs}"), lambda beside: beside.write_text("rows"))
    os.close(theirs)
    assert os.read(ours, 100) == b"rows"
    os.close(ours)


def test_on_windows_a_file_that_another_program_holds_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, pauses, real = [3], [], Path.replace

    def replace(self: Path, target: Path) -> Path:
        if held[0]:
            held[0] -= 1
            raise PermissionError(13, "Permission denied", str(self), None, str(target))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files, "_WINDOWS", True)
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    write_json(tmp_path / "x", 1)
    assert pauses == [0.05, 0.2, 0.8]
    held[0] = 4
    with pytest.raises(PermissionError):
        write_json(tmp_path / "x", 2)
    held[0] = 0
    write_json(tmp_path / "x", 3)
    assert len(pauses) == 6
    assert (tmp_path / "x").read_text() == "3\n"


def test_on_windows_a_folder_of_many_new_files_is_tried_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: Dataset
) -> None:
    pauses: list[float] = []

    def replace(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files, "_WINDOWS", True)
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    with pytest.raises(PermissionError):
        convert(patterns.where(np.arange(2)), tmp_path / "faces")
    assert 20 < sum(pauses) < 60


def test_a_drive_without_modes_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chmod(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "x.json"
    write_json(path, 1)
    monkeypatch.setattr(os, "chmod", chmod)
    write_json(path, 2)
    assert path.read_text() == "2\n"


def test_json_is_for_people_too_and_knows_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 2.5]})
    assert path.read_text() == '{\n "a": [\n  1,\n  2.5\n ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, 2.5]}
    assert list(tmp_path.iterdir()) == [path]
