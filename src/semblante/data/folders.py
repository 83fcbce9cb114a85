"""Folders of pictures named after their class: `train/happy/Training_3908.jpg` and the like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from semblante.data.dataset import SPLITS, Dataset, OnBad, Row, collect
from semblante.data.members import Member, damage_named
from semblante.data.pictures import SPLIT_NAMES, PictureReader
from semblante.emotions import EMOTIONS
from semblante.errors import DataError

# The official name at the front of a file's name comes before the folders' names.
_OFFICIAL: Final = re.compile(rf"({'|'.join(SPLITS)})_", re.IGNORECASE)


def read_folders(
    pictures: Iterable[Member],
    root: Path,
    reader: PictureReader,
    on_bad: OnBad | None = None,
) -> Dataset:
    """One face a picture of those below `root`; its class is the name of the folder it lies in.

    The split is the official name at the front of the file's name, else a folder such as `train`,
    `validation` or `test` above the class (the last two become PublicTest; it may be `root` itself,
    where that is a folder and no archive), else Training. Rows are in the order of the numbers in
    the files' names, where each has one of its own.
    """
    above = (root.resolve().name,) if root.is_dir() else ()
    rows: list[tuple[tuple[int, str], Row | DataError]] = []
    for member in pictures:
        try:
            row = _row(member, above, reader)
        except DataError as error:
            rows.append((_place(member), error))
        else:
            if row is not None:
                rows.append((_place(member), row))
    numbers = [number for (number, _), _ in rows]
    if len(set(numbers)) == len(numbers) and -1 not in numbers:
        rows.sort(key=lambda item: item[0])
    return collect((row for _, row in rows), on_bad, str(root))


def _row(member: Member, above: tuple[str, ...], reader: PictureReader) -> Row | None:
    path = PurePosixPath(member.name)
    if len(path.parts) < 2:
        raise DataError(f"{member.where}: expected to lie in a folder named after its class")
    label = reader.label(path.parts[-2], member.where)
    if label is None:
        return None
    official = _OFFICIAL.match(path.name)
    if official:
        split = SPLIT_NAMES[official.group(1).lower()]
    else:
        named = [SPLIT_NAMES.get(part.lower()) for part in (*above, *path.parts[:-2])]
        split = next((number for number in reversed(named) if number is not None), 0)
    with damage_named(member.where):
        picture = reader.data(member.stream)
    face = reader.face(picture, member.where)
    return Row(face, label, split, member.name)


def _place(member: Member) -> tuple[int, str]:
    """The last number in the file's name, -1 where it has none; and the whole name."""
    numbers = re.findall(r"\d+", PurePosixPath(member.name).stem)
    return int(numbers[-1]) if numbers else -1, member.name


def face_name(number: int, label: int, split: int) -> str:
    """Where `data convert` writes a face, so that `read_folders` gives all of it back."""
    return f"{SPLITS[split]}/{EMOTIONS[label]}/{SPLITS[split]}_{number:06d}.png"
