"""Reads pictures in folders named after their class, such as `train/happy/Training_3908.jpg`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from semblante.data.dataset import SPLITS, Dataset, OnBad, Row, collect
from semblante.data.members import Member, as_data_errors
from semblante.data.pictures import PictureReader, named_split
from semblante.emotions import EMOTIONS
from semblante.errors import DataError

# An official split name at the start of a file's name takes precedence over the folders' names.
_OFFICIAL: Final = re.compile(rf"({'|'.join(SPLITS)})_", re.IGNORECASE)


def read_folders(
    pictures: Iterable[Member],
    root: Path,
    reader: PictureReader,
    on_bad: OnBad | None = None,
) -> Dataset:
    """Read one face from each picture below `root`; its class is the name of its folder.

    The split is the official name at the start of the file's name, else that of a folder such as
    `train`, `validation` or `test` above the class folder (this may be `root` itself, unless it is
    an archive), else Training. If some folders name a split, a folder above a class that names
    none is an error. Rows are sorted by the numbers in the files' names if every file has a number
    of its own.
    """
    above = (root.resolve().name,) if root.is_dir() else ()
    rows: list[tuple[tuple[int, str], Row | DataError]] = []
    unnamed: dict[int, DataError] = {}  # by row: the error for a folder that names no split
    any_named = False
    for member in pictures:
        split, folder = _split(member, above)
        any_named |= folder is not None and split is not None
        try:
            row = _row(member, split or 0, reader)
        except DataError as error:
            rows.append((_sort_key(member), error))
            continue
        if row is None:
            continue
        if folder is not None and split is None:
            unnamed[len(rows)] = DataError(
                f"{member.where}: expected a folder such as train, validation or test above its "
                f"class, as others have, found {folder!r}"
            )
        rows.append((_sort_key(member), row))
    if any_named:
        for number, refusal in unnamed.items():
            rows[number] = (rows[number][0], refusal)
    numbers = [number for (number, _), _ in rows]
    if len(set(numbers)) == len(numbers) and -1 not in numbers:
        rows.sort(key=lambda item: item[0])
    return collect((row for _, row in rows), on_bad, str(root))


def _split(member: Member, above: tuple[str, ...]) -> tuple[int | None, str | None]:
    """The split and the folder that names it.

    The split is an index into `SPLITS` or TEST, or None if no name tells it. In that case the
    folder is the one directly above the class folder, which could have named a split, or None if
    there is none. The folder is also None if the file's name tells the split.
    """
    path = PurePosixPath(member.name)
    official = _OFFICIAL.match(path.name)
    if official:
        return named_split(official.group(1)), None
    for folder in reversed((*above, *path.parts[:-2])):
        if (split := named_split(folder)) is not None:
            return split, folder
    return None, path.parts[-3] if len(path.parts) > 2 else None


def _row(member: Member, split: int, reader: PictureReader) -> Row | None:
    path = PurePosixPath(member.name)
    if len(path.parts) < 2:
        raise DataError(f"{member.where}: expected to lie in a folder named after its class")
    label = reader.label(path.parts[-2], member.where)
    if label is None:
        return None
    with as_data_errors(member.where):
        picture = reader.read(member.stream)
    face = reader.face(picture, member.where)
    return Row(face, label, split, member.name)


def _sort_key(member: Member) -> tuple[int, str]:
    """The last number in the file's name, or -1 if it has none; and the member's whole name."""
    numbers = re.findall(r"\d+", PurePosixPath(member.name).stem)
    return int(numbers[-1]) if numbers else -1, member.name


def face_name(number: int, label: int, split: int) -> str:
    """The path where `data convert` writes a face, from which `read_folders` recovers its label,
    split and position."""
    return f"{SPLITS[split]}/{EMOTIONS[label]}/{SPLITS[split]}_{number:06d}.png"
