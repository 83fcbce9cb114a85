"""Reads and writes Parquet files with a picture column and a label column (extra `parquet`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from semblante.data.class_names import ClassNames
from semblante.data.dataset import SPLITS, Dataset, Row
from semblante.data.pictures import (
    GROUP_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    FaceReader,
    split_number,
)
from semblante.emotions import EMOTIONS
from semblante.errors import DataError, MissingExtraError, OptionError, reason_of
from semblante.files import write_atomically
from semblante.picture_writing import encoded_png

_IMAGE_COLUMNS: Final = ("image", "img", "bytes", "picture", "img_bytes", "jpg", "png")
_WRITTEN_AT_ONCE: Final = 1000  # rows
_READ_AT_ONCE: Final = 100  # rows: one picture may take megabytes once it is decompressed
MAGIC: Final = b"PAR1"


def parquet_rows(
    stream: IO[bytes],
    where: str,
    classes: ClassNames,
    faces: FaceReader,
    default_split: int = 0,
) -> Iterator[Row | DataError]:
    """Yield each row, or the error of a row or of the whole file.

    The picture column, one of `_IMAGE_COLUMNS`, holds encoded files, as bytes or as a struct with a
    field `bytes`. The label column, one of `LABEL_COLUMNS`, holds numbers 0..6 or
    names of classes. A column of `SPLIT_COLUMNS`, if present, holds names of splits, and one of
    `GROUP_COLUMNS` tells which faces belong together. If the file's metadata names the classes of
    its numbers, as files of the Hugging Face hub do, these names are used.
    """
    parquet = pyarrow_parquet()
    import pyarrow

    try:
        file = parquet.ParquetFile(stream)
        names = {name.lower(): name for name in file.schema_arrow.names}
        image_column, label_column, split_column, group_column = (
            next((names[name] for name in choices if name in names), None)
            for choices in (_IMAGE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS, GROUP_COLUMNS)
        )
        if image_column is None or label_column is None:
            yield DataError(
                f"{where}: expected a picture column ({', '.join(_IMAGE_COLUMNS)}) and a label "
                f"column ({', '.join(LABEL_COLUMNS)}), found {', '.join(names.values())}"
            )
            return
        named = _class_names(file.schema_arrow.metadata or {}, label_column)
        classes.check_classes(_classes(file, label_column, named, where))
        columns = (image_column, label_column, split_column, group_column)
        present = [column for column in columns if column is not None]
        number = 0
        for batch in file.iter_batches(_READ_AT_ONCE, columns=present):
            for values in batch.to_pylist():
                place = f"{where}, row {number}"
                number += 1
                try:
                    name = _class_name(values[label_column], named, place)
                    label = classes.label(name, place)
                    if label is None:
                        continue
                    split = default_split
                    if split_column is not None:
                        split = split_number(str(values[split_column]), place)
                    face = faces.face(_encoded(values[image_column], place), place)
                    group = None if group_column is None else values[group_column]
                    yield Row(face, label, split, group="" if group is None else str(group))
                except DataError as error:
                    yield error
    except OptionError:
        raise
    # Only some of pyarrow's errors are subclasses of the built-in ones as well.
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        yield DataError(f"{where}: not a readable Parquet file: {reason_of(error)}")


def _classes(
    file: Any, column: str, names: list[str] | None, where: str
) -> Iterator[tuple[str, str]]:
    """The name of each row's class, and its place for messages."""
    number = 0
    for batch in file.iter_batches(columns=[column]):
        for value in batch.column(0).to_pylist():
            place = f"{where}, row {number}"
            number += 1
            with suppress(DataError):  # it is a bad row
                yield _class_name(value, names, place), place


def _class_names(metadata: dict[bytes, bytes], column: str) -> list[str] | None:
    """The class names of a column's numbers, from metadata that the library `datasets` writes; None
    without it."""
    try:
        column_of = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        return [str(name) for name in column_of["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def _class_name(value: Any, names: list[str] | None, place: str) -> str:
    if isinstance(value, float) and value.is_integer():  # as pandas stores a column with gaps
        value = int(value)
    if names is None or not isinstance(value, int):
        return str(value)
    if not 0 <= value < len(names):
        raise DataError(f"{place}: expected a label of 0..{len(names) - 1}, found {value}")
    return names[value]


def _encoded(picture: Any, place: str) -> bytes:
    data = picture.get("bytes") if isinstance(picture, dict) else picture
    if not isinstance(data, bytes):
        raise DataError(f"{place}: expected a picture's bytes, found {type(data).__name__}")
    return data


def write_parquet(dataset: Dataset, path: Path) -> None:
    """Write the columns image (struct of PNG bytes and a path), label (0..6), Usage, and group if
    the dataset has groups. This is lossless; `datasets.load_dataset("parquet", data_files=...)`
    shows pictures and class names."""
    parquet = pyarrow_parquet()
    import pyarrow

    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = [("image", image), ("label", pyarrow.int8()), ("Usage", pyarrow.string())]
    if dataset.groups is not None:
        columns.append(("group", pyarrow.string()))
    # The class names of the labels, in the form that the Hugging Face hub's libraries use.
    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name, _ in columns}
    features |= {"image": {"_type": "Image"}, "label": {"names": EMOTIONS, "_type": "ClassLabel"}}
    noted = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pyarrow.schema(columns, metadata=noted)

    def write(beside: Path) -> None:
        with parquet.ParquetWriter(beside, schema) as file:
            rows: list[dict[str, Any]] = []
            for number, row in dataset.rows():
                rows.append(
                    {
                        "image": {"bytes": encoded_png(row.image), "path": f"{number:06d}.png"},
                        "label": row.label,
                        "Usage": SPLITS[row.split],
                        # Ignored if the schema has no such column. It may hold surrogate escapes,
                        # if it comes from a list that was not in UTF-8.
                        "group": row.group.encode("utf-8", "backslashreplace").decode(),
                    }
                )
                if len(rows) == _WRITTEN_AT_ONCE or number == len(dataset) - 1:
                    file.write_table(pyarrow.Table.from_pylist(rows, schema))
                    rows.clear()

    write_atomically(path, write)


def pyarrow_parquet() -> Any:
    """The module `pyarrow.parquet`; raises `MissingExtraError` if it is not installed."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("reading and writing Parquet", "parquet") from None
    return parquet
