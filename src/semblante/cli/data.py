"""`semblante data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semblante.cli.audit import audit_command
from semblante.cli.checks import (
    check_not_among_pictures,
    check_not_an_input,
    check_not_part_of_dataset,
    checked_picture_file,
    complain,
)
from semblante.cli.language import localised
from semblante.cli.options import LanguageOption
from semblante.cli.reading import (
    DataPath,
    ExcludeOption,
    FindFacesOption,
    MapOption,
    SkipBadOption,
    Source,
    label_map,
)
from semblante.cli.tables import new_table, print_table
from semblante.data import SPLITS
from semblante.data.forms import FORMS, form_of
from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import OptionError
from semblante.files import lies_in
from semblante.picture_writing import save_picture
from semblante.translation import counted, translated

data_app = typer.Typer(
    help="Labelled faces: what a dataset holds, what is wrong with it, other forms of it.",
    no_args_is_help=True,
)
data_app.command("audit")(audit_command)


@data_app.command("inspect")
def inspect_command(
    path: DataPath,
    mapping: MapOption = None,
    skip_bad: SkipBadOption = False,
    find_faces: FindFacesOption = False,
    exclude: ExcludeOption = None,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(help="picture to write: a row of faces for each emotion", readable=False),
    ] = None,
    lang: LanguageOption = "en",
) -> None:
    """Say in which form a dataset is, and count its faces by split and emotion."""
    from semblante.data.convert import faces_by_emotion

    if contact_sheet is not None:
        contact_sheet = checked_picture_file("--contact-sheet", contact_sheet)
        check_not_an_input("--contact-sheet", contact_sheet, path, exclude)
        check_not_among_pictures("--contact-sheet", contact_sheet, path)
        check_not_part_of_dataset("--contact-sheet", contact_sheet, path)
    dataset = Source(path, label_map(mapping), skip_bad, find_faces, exclude).read_kept()
    form = form_of(path)
    assert form is not None  # it was read
    faces = translated(f"{len(dataset):,} faces", lang)
    print(f"{path}: {translated(FORMS[form], lang)}, {faces}")
    table = new_table("emotion", *SPLITS, "all", language=lang)
    counts, sizes = dataset.counts(), dataset.split_sizes()
    rows = {
        emotion_name(name, lang): [counts[split][name] for split in SPLITS] for name in EMOTIONS
    }
    unlabelled = [sizes[split] - sum(counts[split].values()) for split in SPLITS]
    if any(unlabelled):
        rows[translated("without a label", lang)] = unlabelled
    rows[translated("all", lang)] = list(sizes.values())
    for name, row in rows.items():
        table.add_row(name, *(counted(n, lang) for n in (*row, sum(row))))
    print_table(table)
    if contact_sheet is not None:
        save_picture(faces_by_emotion(dataset), contact_sheet)


@data_app.command("convert")
def convert_command(
    path: DataPath,
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="a .csv, a .parquet, or a new folder", readable=False),
    ],
    mapping: MapOption = None,
    skip_bad: SkipBadOption = False,
    find_faces: FindFacesOption = False,
    exclude: ExcludeOption = None,
    hold_out: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="move this share of each emotion's faces, for example 0.2, from Training to "
            "PublicTest, if the dataset has none, or no PrivateTest, which then gets what "
            "PublicTest held; copies and groups stay together",
        ),
    ] = None,
) -> None:
    """Write a dataset in another form: the same pixels, labels, splits and order."""
    from semblante.data.convert import check_out, convert
    from semblante.data.folds import held_out

    check_out(out)
    if not out.absolute().parent.is_dir():
        raise OptionError(f"OUT {out}: there is no folder {out.parent}")
    check_not_an_input("OUT", out, path, exclude)
    if path.is_dir() and lies_in(out, path) is not None:
        raise OptionError(f"OUT {out} lies in {path}, which is read: choose a place outside")
    dataset = Source(path, label_map(mapping), skip_bad, find_faces, exclude).read_kept()
    moved = ""
    if hold_out is not None:
        before = dataset.is_in("PublicTest").any()
        dataset = held_out(dataset, hold_out)
        moved = f", {int(dataset.is_in('PublicTest').sum()):,} held out"
        if before:
            moved = f"{moved}; what was PublicTest is PrivateTest now"
    convert(dataset, out)
    if dataset.groups is not None and out.suffix.lower() != ".parquet":
        complain(f"{out} does not tell which faces belong together, as {path} does: a .parquet can")
    print(localised(f"{out}: {len(dataset):,} faces{moved}"))
