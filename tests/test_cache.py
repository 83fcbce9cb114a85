"""The cache gives what reading gives, never old content, and its failures do no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from conftest import pattern_dataset, write_csv
from semblante import EMOTIONS, DataError, Dataset, load_dataset
from semblante.data import load
from semblante.picture_writing import encoded_png


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEMBLANTE_CACHE", str(folder))
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were read, not taken from the cache."""
    paths: list[Path] = []
    real = load._load

    def counted(path: Path, *rest: object) -> Dataset:
        paths.append(path)
        return real(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(load, "_load", counted)
    return paths


def same(one: Dataset, other: Dataset) -> bool:
    return one.fingerprint() == other.fingerprint()


def test_read_once(tmp_path: Path, cache: Path, reads: list[Path], patterns: Dataset) -> None:
    path = write_csv(tmp_path / "faces.csv", patterns)
    assert same(load_dataset(path, cache=True), patterns)
    again = load_dataset(path, cache=True)
    assert same(again, patterns)
    assert isinstance(again.images, np.memmap)
    moved = Path(shutil.move(path, tmp_path / "moved.csv"))
    assert same(load_dataset(moved, cache=True), patterns)
    assert len(reads) == 1
    assert same(again.split("PublicTest"), patterns.split("PublicTest"))


def test_a_changed_file_is_read_again(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    path = tmp_path / "faces.csv"
    for seed in (1, 2):
        dataset = pattern_dataset(seed=seed)
        write_csv(path, dataset)
        assert same(load_dataset(path, cache=True), dataset)
    assert len(reads) == 2


def test_a_name_that_tells_the_split(tmp_path: Path, cache: Path, patterns: Dataset) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = [encoded_png(image) for image in patterns.images[:7]]
    table = pa.table({"image": cells, "label": patterns.labels[:7].tolist()})
    names = {"train": 0, "test": 1, "other": 0, "dev": 1, "eval-00000-of-00001": 1, "prueba": 1}
    for name, split in names.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table, path)
        assert load_dataset(path, cache=True).splits.tolist() == [split] * 7
    assert len(list(cache.glob("datasets/*/images.npy"))) == 3  # train and other are both Training


def test_what_is_read_in_another_way_is_neither_taken_from_the_cache_nor_stored(
    tmp_path: Path, cache: Path, reads: list[Path], patterns: Dataset, patterns_csv: Path
) -> None:
    others = {str(label): EMOTIONS[(label + 1) % 7] for label in range(7)}
    for _ in range(2):  # the second time, it is in the cache
        found = load_dataset(patterns_csv, cache=True, label_map=others)
        assert np.array_equal(found.labels, (patterns.labels + 1) % 7)
        assert same(load_dataset(patterns_csv, cache=True), patterns)
    assert len(reads) == 3
    path = tmp_path / "damaged.csv"
    path.write_text(patterns_csv.read_text() + "3,1 2 3,Training\n")
    bad: list[DataError] = []
    for n in (1, 2):
        assert same(load_dataset(path, cache=True, on_bad=bad.append), patterns)
        assert len(bad) == n
        with pytest.raises(DataError, match="found 3 words"):
            load_dataset(path, cache=True)
    pictures = tmp_path / "pictures.zip"
    with ZipFile(pictures, "w") as file:
        file.writestr("happy/0.png", encoded_png(patterns.images[0]))
    for _ in range(2):
        dark = load_dataset(pictures, cache=True, find_face=lambda picture: picture[:, :, 0] // 2)
        assert np.array_equal(dark.images[0], patterns.images[0] // 2)
        assert np.array_equal(load_dataset(pictures, cache=True).images[0], patterns.images[0])


def test_the_pictures_of_a_list_are_always_read(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text("path,label\nface.png,happy\n")
    for level in (10, 200):
        (tmp_path / "face.png").write_bytes(encoded_png(np.full((48, 48), level, np.uint8)))
        assert (load_dataset(path, cache=True).images == level).all()


def test_without_being_asked_nothing_is_written(
    tmp_path: Path, cache: Path, patterns_csv: Path
) -> None:
    load_dataset(patterns_csv)
    assert not cache.exists()


def test_damage_in_the_cache_is_mended(
    tmp_path: Path, cache: Path, reads: list[Path], patterns: Dataset, patterns_csv: Path
) -> None:
    load_dataset(patterns_csv, cache=True)
    [images] = cache.glob("datasets/*/images.npy")
    images.write_bytes(images.read_bytes()[:1000])
    assert same(load_dataset(patterns_csv, cache=True), patterns)
    assert same(load_dataset(patterns_csv, cache=True), patterns)
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: Dataset, patterns_csv: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SEMBLANTE_CACHE", str(tmp_path / "file" / "cache"))
    assert same(load_dataset(patterns_csv, cache=True), patterns)


def test_errors_are_those_of_reading(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_dataset(tmp_path / "nowhere.csv", cache=True)
    (tmp_path / "bad.csv").write_text("emotion,pixels,Usage\n9,1,Training\n")
    for _ in range(2):
        with pytest.raises(DataError, match="line 2"):
            load_dataset(tmp_path / "bad.csv", cache=True)
    assert list(cache.glob("datasets/*/images.npy")) == []


def test_two_processes_at_once(tmp_path: Path, patterns_csv: Path, patterns: Dataset) -> None:
    cache = tmp_path / "cache"
    code = (
        "import semblante\n"
        f"print(semblante.load_dataset({str(patterns_csv)!r}, cache=True).fingerprint())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "SEMBLANTE_CACHE": str(cache)},
        )
        for _ in range(3)
    ]  # fmt: skip
    printed = [process.communicate()[0].strip() for process in processes]
    assert printed == [patterns.fingerprint()] * 3
    assert len(list(cache.glob("datasets/*/images.npy"))) == 1
    assert list(cache.rglob("*.tmp")) == []


def test_what_another_process_stored_meanwhile_stays(
    cache: Path, patterns: Dataset, patterns_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes in containers that share the folder may have the same id."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    real = load._load

    def slow(path: Path, *rest: object) -> Dataset:
        monkeypatch.setattr(load, "_load", real)
        load_dataset(path, cache=True)  # the other one is faster
        [images] = cache.glob("datasets/*/images.npy")
        stored.append(images.stat().st_ino)
        return real(path, *rest)  # type: ignore[arg-type]

    stored: list[int] = []
    monkeypatch.setattr(load, "_load", slow)
    assert same(load_dataset(patterns_csv, cache=True), patterns)
    [images] = cache.glob("datasets/*/images.npy")
    assert [images.stat().st_ino] == stored
    assert list(cache.rglob("*.tmp")) == []


@pytest.mark.parametrize("left", [b"", bytes(64), b"\xff" * 64])
def test_a_note_that_was_lost_is_not_believed(
    tmp_path: Path, cache: Path, patterns: Dataset, left: bytes
) -> None:
    """A note as a power cut may leave it must not lead to another file's faces."""
    files = [write_csv(tmp_path / f"{n}.csv", pattern_dataset(per_class=n, seed=n)) for n in (1, 2)]
    before = [load_dataset(file, cache=True).fingerprint() for file in files]
    for note in (cache / "datasets" / "seen").iterdir():
        note.write_bytes(left)
    assert [load_dataset(file, cache=True).fingerprint() for file in files] == before
