"""Reads pictures in folders named after their class, such as `train/happy/Training_3908.jpg`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from semblante.data.class_names import ClassNames, is_number
from semblante.data.dataset import SPLITS, Dataset, OnBad, Row, collect
from semblante.data.members import Member, as_data_errors
from semblante.data.pictures import FaceReader, named_split
from semblante.emotions import EMOTIONS
from semblante.errors import DataError

# An official split name at the start of a file's name takes precedence over the folders' names.
_OFFICIAL: Final = re.compile(rf"({'|'.join(SPLITS)})_", re.IGNORECASE)
_SHOWN: Final = 5  # folders that an error names


def check_folders(pictures: Mapping[str, str], root: Path, classes: ClassNames) -> None:
    """Raise one error for all folders whose class is unknown, before any picture is read.

    `pictures`: their places for messages by their names below `root`, all in folders. Folders of
    which none is named after an emotion are an error even if bad rows are skipped: their pictures
    need a list.
    """
    found: dict[str, str] = {}  # the place of each class's first picture
    for name, where in pictures.items():
        path = PurePosixPath(name)
        try:
            place = _class_place(path, where, classes)
        except DataError:
            if not classes.skips_bad:
                raise
            continue
        found.setdefault(path.parts[place], where)
    if found and not any(classes.meaning(name) or is_number(name) for name in found):
        folders = sorted(found)
        shown = ", ".join(folders[:_SHOWN]) + (", ..." if len(folders) > _SHOWN else "")
        raise DataError(
            f"{root}: no folder is named after an emotion (found {shown}): say what each is with "
            "--map NAME=EMOTION, or, if they are something else, write a list, "
            "path,label[,split,group]: see docs/data.md"
        )
    classes.check_classes(found.items())


def read_folders(
    pictures: Iterable[Member],
    root: Path,
    classes: ClassNames,
    faces: FaceReader,
    on_bad: OnBad | None = None,
) -> Dataset:
    """Read one face from each picture below `root`; its class is the name of the innermost folder
    that is named after an emotion or is in the map, else that of the folder it is in. Two folders
    that name different classes are an error.

    The split is the official name at the start of the file's name, else that of a folder such as
    `train`, `validation` or `test` above the class folder (this may be `root` itself, unless it is
    an archive) or below it, else Training. If some folders name a split, a folder above a class
    that names none is an error. Rows are sorted by the numbers in the files' names if every file
    has a number of its own.
    """
    above = (root.resolve().name,) if root.is_dir() else ()
    rows: list[tuple[tuple[int, str], Row | DataError]] = []
    unnamed: dict[int, DataError] = {}  # by row: the error for a folder that names no split
    any_named = False
    for member in pictures:
        path = PurePosixPath(member.name)
        if len(path.parts) < 2:
            error = DataError(f"{member.where}: expected to lie in a folder named after its class")
            rows.append((_sort_key(member), error))
            continue
        try:
            place = _class_place(path, member.where, classes)
            split, folder = _split(path, place, above)
            any_named |= folder is not None and split is not None
            row = _row(member, path.parts[place], split or 0, classes, faces)
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


def _class_place(path: PurePosixPath, where: str, classes: ClassNames) -> int:
    """Which part of a picture's path names its class: the innermost folder whose name is a word for
    a class; else the innermost that is a number in the map; else the folder that the picture is in.

    Numbers come second because they may be persons, as in happy/1/x.jpg. Raises `DataError` if two
    folders name different classes: Joy may be a person, too.
    """
    folders = range(len(path.parts) - 2, -1, -1)  # innermost first
    words = [n for n in folders if not is_number(path.parts[n]) and classes.meaning(path.parts[n])]
    found = words or [n for n in folders if classes.maps(path.parts[n])]
    for n in found[1:]:
        if classes.meaning(path.parts[n]) != classes.meaning(path.parts[found[0]]):
            raise DataError(
                f"{where}: expected one folder that names its class, found {path.parts[n]!r} and "
                f"{path.parts[found[0]]!r}"
            )
    return found[0] if found else len(path.parts) - 2


def _split(
    path: PurePosixPath, class_place: int, above: tuple[str, ...]
) -> tuple[int | None, str | None]:
    """The split and the folder that names it.

    The split is an index into `SPLITS` or TEST, or None if no name tells it. In that case the
    folder is the one directly above the class folder, which could have named a split, or None if
    there is none. The folder is also None if the file's name tells the split.
    """
    official = _OFFICIAL.match(path.name)
    if official:
        return named_split(official.group(1)), None
    before, after = path.parts[:class_place], path.parts[class_place + 1 : -1]
    for folder in (*reversed((*above, *before)), *reversed(after)):
        if (split := named_split(folder)) is not None:
            return split, folder
    return None, before[-1] if before else None


def _row(
    member: Member, class_name: str, split: int, classes: ClassNames, faces: FaceReader
) -> Row | None:
    label = classes.label(class_name, member.where)
    if label is None:
        return None
    with as_data_errors(member.where):
        picture = faces.read(member.stream)
    face = faces.face(picture, member.where)
    return Row(face, label, split, member.name)


def _sort_key(member: Member) -> tuple[int, str]:
    """The last number in the file's name, or -1 if it has none; and the member's whole name."""
    numbers = re.findall(r"\d+", PurePosixPath(member.name).stem)
    return int(numbers[-1]) if numbers else -1, member.name


def face_name(number: int, label: int, split: int) -> str:
    """The path where `data convert` writes a face, from which `read_folders` recovers its label,
    split and position."""
    return f"{SPLITS[split]}/{EMOTIONS[label]}/{SPLITS[split]}_{number:06d}.png"
