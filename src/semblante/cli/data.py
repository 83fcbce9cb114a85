"""`semblante data`, and how every command reads a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from semblante.cli.checks import complain, output_file
from semblante.errors import DataError, OptionError

if TYPE_CHECKING:
    from semblante.data import Dataset

data_app = typer.Typer(help="Labelled faces: what a dataset holds, and other forms of it.",
                       no_args_is_help=True)  # fmt: skip

DataPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="a dataset: CSV, folder, Parquet, .zip or .tar.gz", readable=False
    ),
]
DataOption = Annotated[
    Path, typer.Option("--data", help="CSV, folder, Parquet, .zip or .tar.gz", readable=False)
]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="NAME=EMOTION", help="what a class is; EMOTION may be drop"),
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="leave out rows that cannot be read, and count them")
]


def read_dataset(path: Path, mapping: list[str] | None = None, skip_bad: bool = False) -> Dataset:
    """Read a dataset with a sign of life on the terminal; say what was left out."""
    from semblante.data import load_dataset

    label_map = dict(_pair(text) for text in mapping or [])
    bad: list[DataError] = []
    with Console(stderr=True).status(f"reading {path}"):
        dataset = load_dataset(
            path, on_bad=bad.append if skip_bad else None, label_map=label_map, cache=True
        )
    if bad:
        complain(f"{len(bad)} bad rows left out; the first: {bad[0]}")
    return dataset


def _pair(text: str) -> tuple[str, str]:
    name, equals, emotion = text.partition("=")
    if not equals or not name:
        raise OptionError(f"--map: expected NAME=EMOTION, found {text!r}")
    return name, emotion


@data_app.command("inspect")
def inspect_command(
    path: DataPath,
    mapping: MapOption = None,
    skip_bad: SkipBadOption = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(help="picture to write: a row of faces for each emotion", readable=False),
    ] = None,
) -> None:
    """Say in which form a dataset is, and count its faces by split and emotion."""
    from semblante.data import SPLITS
    from semblante.data.convert import contact_sheet as draw
    from semblante.data.dataset import UNLABELLED
    from semblante.data.load import FORMS, form_of
    from semblante.emotions import EMOTIONS
    from semblante.recognise.annotate import save_picture, saved_name

    if contact_sheet is not None:
        output_file("--contact-sheet", contact_sheet)
    dataset = read_dataset(path, mapping, skip_bad)
    print(f"{path}: {FORMS[form_of(path) or 'table']}, {len(dataset):,} faces")
    table = Table("emotion", *SPLITS, "all", box=None, pad_edge=False)
    names = [*enumerate(EMOTIONS), (UNLABELLED, "without a label")]
    for label, name in names:
        rows = dataset.labels == label
        counts = [int((rows & (dataset.splits == split)).sum()) for split in range(len(SPLITS))]
        if sum(counts) or label != UNLABELLED:
            table.add_row(name, *(f"{count:,}" for count in (*counts, sum(counts))))
    totals = [int((dataset.splits == split).sum()) for split in range(len(SPLITS))]
    table.add_row("all", *(f"{count:,}" for count in (*totals, sum(totals))))
    Console(highlight=False).print(table)
    if contact_sheet is not None:
        save_picture(draw(dataset), saved_name(contact_sheet))


@data_app.command("convert")
def convert_command(
    path: DataPath,
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="a .csv, a .parquet, or a new folder", readable=False),
    ],
    mapping: MapOption = None,
    skip_bad: SkipBadOption = False,
) -> None:
    """Write a dataset in another form: the same pixels, labels, splits and order."""
    from semblante.data.convert import convert

    if not out.absolute().parent.is_dir():
        raise OptionError(f"OUT {out}: there is no folder {out.parent}")
    dataset = read_dataset(path, mapping, skip_bad)
    convert(dataset, out)
    print(f"{out}: {len(dataset):,} faces")
