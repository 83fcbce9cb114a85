"""`semblante data audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from semblante.cli.checks import (
    check_not_among_pictures,
    check_not_an_input,
    check_not_part_of_dataset,
    check_output_file,
    check_output_folder,
    complain,
    require,
)
from semblante.cli.options import LanguageOption
from semblante.cli.reading import (
    DataPath,
    FindFacesOption,
    MapOption,
    SkipBadOption,
    Source,
    label_map,
    votes_beside,
)
from semblante.cli.tables import print_table
from semblante.data import SPLITS, Dataset
from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import DataError, OptionError
from semblante.files import write_json
from semblante.models import DEFAULT_MODEL, model_path
from semblante.recognise.classifier import Classifier
from semblante.train.user_code import short_name
from semblante.translation import counted, translated

if TYPE_CHECKING:
    from semblante.data.audit import Audit
    from semblante.data.ferplus import FerPlus
    from semblante.train.options import TrainOptions

# The defaults of --network and --epochs, for the networks that --folds trains.
_NETWORK, _EPOCHS = "rcnn-small", 12


def audit_command(
    path: DataPath,
    out: Annotated[
        Path, typer.Option(help="folder for report.html and rows.json", readable=False)
    ] = Path("audit"),
    drop: Annotated[
        Path | None,
        typer.Option(help="write the rows to leave out here, for --exclude", readable=False),
    ] = None,
    votes: Annotated[
        Path | None,
        typer.Option(help="FER+'s fer2013new.csv (default: beside the dataset)", readable=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"judges labels: a shipped model or an ONNX file (default: {DEFAULT_MODEL})"
        ),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            help="judge every label instead, by networks trained in this many folds (2 or more); "
            "0: by the model"
        ),
    ] = 0,
    network: Annotated[
        str | None, typer.Option(help=f"with --folds: network to train (default: {_NETWORK})")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help=f"with --folds: passes over the faces (default: {_EPOCHS})")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="with --folds: folder of the runs (default: OUT/runs)", readable=False),
    ] = None,
    mapping: MapOption = None,
    skip_bad: SkipBadOption = False,
    find_faces: FindFacesOption = False,
    lang: LanguageOption = "en",
) -> None:
    """Find copies, leaks between splits, what is no face, and labels that are likely wrong.

    The model judges the faces of the test splits, which it has not learnt from (though from near
    copies of some), or all where the dataset has none. With --folds networks are trained that judge
    each face without knowing it.
    """
    require("audit", "auditing", "cleanlab", "jinja2")
    if drop is not None:
        ours = (out / "rows.json", out / "report.html")
        check_not_an_input("--drop", drop, path, votes or votes_beside(path))
        if drop.absolute() in [file.absolute() for file in ours]:
            raise OptionError(f"--drop {drop} is a file that --out {out} holds: choose another")
        if drop.is_dir() or drop.absolute().parent != out.absolute():  # OUT is created below
            check_output_file("--drop", drop)
    check_output_folder("--out", out)
    if folds < 0 or folds == 1:
        raise OptionError(f"--folds: expected 2 or more, or 0, found {folds}")
    if folds and model is not None:
        raise OptionError("--model is of no use with --folds")
    for option, given in (("--network", network), ("--epochs", epochs), ("--work", work)):
        if given is not None and not folds:
            raise OptionError(f"{option} is of no use without --folds")
    if folds:
        require("train", "judging in folds", "torch", "safetensors", "matplotlib")
        from semblante.train.crossval import fold_recipe

        recipe = fold_recipe(network or _NETWORK, _EPOCHS if epochs is None else epochs)
        # The runs write pictures (their curves), which a later reading would take for faces.
        runs_option, runs = ("--out", out) if work is None else ("--work", work)
        check_not_among_pictures(runs_option, runs, path)

    from semblante.data.audit import audit
    from semblante.data.exclusion import is_exclusion, write_exclusion
    from semblante.data.report import write_report

    if drop is not None and not is_exclusion(drop):  # an earlier list may be overwritten
        check_not_part_of_dataset("--drop", drop, path)
    source = Source(path, label_map(mapping), skip_bad, find_faces)
    dataset = source.read()
    ferplus = _votes(votes, path, dataset)
    out.mkdir(parents=True, exist_ok=True)
    if folds:
        judge = f"{folds} folds of {short_name(recipe.network)}, {recipe.epochs} epochs"
        estimates = _by_folds(dataset, recipe, folds, work or out / "runs", source, lang)
    else:
        judge = Path(model or DEFAULT_MODEL).name
        estimates = _by_model(dataset, model or DEFAULT_MODEL, lang)
    with Console(stderr=True).status("") as status:
        found = audit(
            dataset,
            votes=ferplus,
            probabilities=estimates,
            judge=judge,
            progress=lambda doing: status.update(translated(doing, lang)),
        )
        write_json(out / "rows.json", found.to_dict())
        write_report(found, out / "report.html", str(path), lang)
    _print(found, lang)
    written = f"pictures: {out / 'report.html'}, row numbers: {out / 'rows.json'}"
    print(translated(written, lang))
    if drop is not None:
        reasons = found.to_drop()
        write_exclusion(drop, dataset, reasons)
        print(translated(f"rows to leave out: {drop} ({len(reasons):,})", lang))


def _votes(given: Path | None, data: Path, dataset: Dataset) -> FerPlus | None:
    from semblante.data.ferplus import load_ferplus

    path = given or votes_beside(data)
    if given is None and not path.exists():
        return None
    ferplus = load_ferplus(path)
    try:
        ferplus.check_rows_of(dataset)
    except DataError as error:
        if given is not None:
            raise
        complain(f"{path} is not used: {error}")
        return None
    return ferplus


def _by_model(dataset: Dataset, model: str, language: str) -> npt.NDArray[np.float32]:
    """(n, 7): the model's estimates for test faces without an exact copy in Training; NaN for all
    other faces. If all faces are Training, it judges them all."""
    from semblante.data.duplicates import seen_in

    classifier = Classifier(model_path(model))
    training = dataset.is_in("Training")
    judged = np.ones(len(dataset), np.bool_)
    if not training.all():
        judged = ~training & ~seen_in(dataset.images, dataset.images[training])
    else:
        complain(
            f"the dataset has no test split: {model} judges all its faces. Of those it has learnt "
            "from, as the shipped models of FER2013's Training, it finds too few labels wrong: "
            "use --folds"
        )
    estimates = np.full((len(dataset), len(EMOTIONS)), np.nan, np.float32)
    looking = translated(f"classifying {int(judged.sum()):,} faces with {model}", language)
    with Console(stderr=True).status(escape(looking)):
        estimates[judged] = classifier.probabilities(dataset.images[judged])
    return estimates


def _by_folds(
    dataset: Dataset, recipe: TrainOptions, folds: int, work: Path, source: Source, language: str
) -> npt.NDArray[np.float32]:
    from semblante.cli.progress import titled
    from semblante.train.crossval import out_of_fold_predictions
    from semblante.train.task import Task

    reporter = titled(Console(stderr=True), language)
    task = Task(dataset, work, reporter, source.to_dict(), language=language)
    return out_of_fold_predictions(task, recipe, folds)


def _print(found: Audit, language: str) -> None:
    from semblante.data.findings import findings

    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings(found):
        title, summary = finding.short_title, finding.summary
        table.add_row(translated(title, language), translated(summary, language))
    if balance := _class_balance(found.dataset, language):
        table.add_row(translated("class balance", language), balance)
    print_table(table)


def _class_balance(dataset: Dataset, language: str) -> str:
    """The most and the least frequent emotion, such as "happy 8,989, disgust 547"; empty if no face
    has a label."""
    counts = dataset.counts()
    totals = {emotion: sum(counts[split][emotion] for split in SPLITS) for emotion in EMOTIONS}
    if not any(totals.values()):
        return ""
    ends = [end(totals, key=totals.__getitem__) for end in (max, min)]
    return ", ".join(
        f"{emotion_name(end, language)} {counted(totals[end], language)}" for end in ends
    )
