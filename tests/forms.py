"""Write datasets for tests in their various forms: files, archives, and lists of pictures."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from semblante import Dataset
from semblante.data.convert import convert

LIST = """\ufeffpath,label,split,group,age
pictures/c d.png,sadness,test,anna,30
pictures/a.png,3,train,ben,31
pictures/deeper/b.png,Happy,PrivateTest,,32
"""


def zipped(source: Path, out: Path) -> Path:
    """Pack a file or a folder as a .zip, with a hidden file as macOS adds, to be ignored."""
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


def saved(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def listed(tmp_path: Path, text: str) -> Path:
    """Write three pictures, and `text` as the list of them; return the list's path."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("a.png", "deeper/b.png", "c d.png")):
        image = rng.integers(0, 256, (60 + number, 50, 3)).astype(np.uint8)
        saved(image, tmp_path / "mine" / "pictures" / name)
    path = tmp_path / "mine" / "faces.csv"
    path.write_text(text)
    return path


def assert_same(found: Dataset, expected: Dataset) -> None:
    assert np.array_equal(found.images, expected.images)
    assert np.array_equal(found.labels, expected.labels)
    assert np.array_equal(found.splits, expected.splits)
