"""Folders of pictures named after their class: `train/happy/Training_3908.jpg` and the like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.data.dataset import FACE_SIZE, SPLITS, Dataset, OnBad, Row, collect
from semblante.data.members import Member
from semblante.emotions import EMOTIONS
from semblante.errors import DataError, ImageError, OptionError
from semblante.images import SUFFIXES, load_image
from semblante.preprocess import crop_face, to_grey
from semblante.results import Box

# The folder names of splits; the official name at the front of a file's name comes before them.
_SPLIT_FOLDERS: Final[dict[str, int]] = {
    **{name.lower(): number for number, name in enumerate(SPLITS)},
    **{"train": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 1},
}
_OFFICIAL: Final = re.compile(rf"({'|'.join(SPLITS)})_", re.IGNORECASE)
_MAX_PICTURE_BYTES: Final = 50_000_000

DROPPED: Final = "drop"  # maps a class to nothing: its pictures are left out


def is_picture(member: Member) -> bool:
    """Judged by its name."""
    return member.suffix in SUFFIXES


def read_folders(
    pictures: Iterable[Member],
    where: str,
    on_bad: OnBad | None = None,
    label_map: Mapping[str, str] | None = None,
) -> Dataset:
    """One face a picture; its class is the name of the folder it lies in.

    A class is one of `EMOTIONS`, a label 0..6, or a key of `label_map`, whose values are
    `EMOTIONS` or "drop". The split is the official name at the front of the file's name, else a
    folder such as `train`, `validation` or `test` above the class (the last two become
    PublicTest), else Training. Colour becomes grey; other sizes are brought to 48x48. Rows are
    in the order of the numbers in the files' names, where each has one of its own.
    """
    known = class_names(label_map)
    rows: list[tuple[tuple[int, str], Row | DataError]] = []
    for member in pictures:
        try:
            row = _row(member, known)
        except DataError as error:
            rows.append((_place(member), error))
        else:
            if row is not None:
                rows.append((_place(member), row))
    numbers = [number for (number, _), _ in rows]
    if len(set(numbers)) == len(numbers) and -1 not in numbers:
        rows.sort(key=lambda item: item[0])
    return collect((row for _, row in rows), on_bad, where)


def class_names(label_map: Mapping[str, str] | None) -> dict[str, int | None]:
    """Every class name that is understood, in small letters, with its label; None is dropped."""
    known: dict[str, int | None] = {}
    for label, emotion in enumerate(EMOTIONS):
        known[emotion] = known[str(label)] = label
    for name, emotion in (label_map or {}).items():
        if emotion != DROPPED and emotion not in EMOTIONS:
            raise OptionError(
                f"cannot map {name!r} to {emotion!r}: expected {', '.join(EMOTIONS)} or {DROPPED}"
            )
        known[name.lower()] = None if emotion == DROPPED else EMOTIONS.index(emotion)
    return known


def label_of(name: str, known: Mapping[str, int | None], where: str) -> int | None:
    """The label of a class's name; None where it is to be left out."""
    if name.lower() not in known:
        raise DataError(
            f"{where}: unknown class {name!r}; expected {', '.join(EMOTIONS)}, "
            f"or say what it is with --map {name}=EMOTION"
        )
    return known[name.lower()]


def read_face(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """A picture that is a face: grey, (48, 48)."""
    try:
        grey = to_grey(load_image(data))
    except ImageError as error:
        raise DataError(f"{where}: {str(error).removeprefix('picture: ')}") from None
    height, width = grey.shape
    if (height, width) != (FACE_SIZE, FACE_SIZE):
        grey = crop_face(grey, Box(0, 0, width, height), FACE_SIZE)
    return grey


def _row(member: Member, known: Mapping[str, int | None]) -> Row | None:
    path = PurePosixPath(member.name)
    if len(path.parts) < 2:
        raise DataError(f"{member.where}: expected to lie in a folder named after its class")
    label = label_of(path.parts[-2], known, member.where)
    if label is None:
        return None
    official = _OFFICIAL.match(path.name)
    if official:
        split = _SPLIT_FOLDERS[official.group(1).lower()]
    else:
        above = [_SPLIT_FOLDERS.get(part.lower()) for part in path.parts[:-2]]
        split = next((number for number in reversed(above) if number is not None), 0)
    data = member.stream.read(_MAX_PICTURE_BYTES + 1)
    if len(data) > _MAX_PICTURE_BYTES:
        raise DataError(f"{member.where}: larger than {_MAX_PICTURE_BYTES // 1_000_000} MB")
    return Row(read_face(data, member.where), label, split)


def _place(member: Member) -> tuple[int, str]:
    """The last number in the file's name, -1 where it has none; and the whole name."""
    numbers = re.findall(r"\d+", PurePosixPath(member.name).stem)
    return int(numbers[-1]) if numbers else -1, member.name


def face_name(number: int, label: int, split: int) -> str:
    """Where `data convert` writes a face, so that `read_folders` gives all of it back."""
    return f"{SPLITS[split]}/{EMOTIONS[label]}/{SPLITS[split]}_{number:06d}.png"


def iterate(dataset: Dataset) -> Iterator[tuple[int, Row]]:
    """Numbered rows of a dataset."""
    for number, values in enumerate(
        zip(dataset.images, dataset.labels.tolist(), dataset.splits.tolist(), strict=True)
    ):
        yield number, Row(*values)
