"""`semblante evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from semblante.cli.checks import (
    check_not_among_pictures,
    check_not_an_input,
    check_not_part_of_dataset,
    check_output_file,
    check_png_file,
    complain,
    require,
)
from semblante.cli.formats import Format, format_of, write_answers
from semblante.cli.options import (
    EarlyExitOption,
    FiguresFormat,
    Head,
    LanguageOption,
    ModelOption,
    StepsOption,
)
from semblante.cli.reading import (
    DataOption,
    ExcludeOption,
    FindFacesOption,
    MapOption,
    SkipBadOption,
    Source,
    label_map,
    votes_beside,
)
from semblante.cli.tables import new_table, print_table
from semblante.errors import OptionError
from semblante.files import identity, write_atomically
from semblante.models import DEFAULT_MODEL, model_path
from semblante.recognise.classifier import Classifier
from semblante.translation import translated
from semblante.wording import figures

if TYPE_CHECKING:
    from semblante.evaluation import Evaluation
    from semblante.metrics import PairedDifference


Split = Literal["Training", "PublicTest", "PrivateTest"]  # `data.SPLITS`
Tta = Literal["none", "flip", "ten-crop"]  # `evaluation.TTA`
Labels = Literal["fer2013", "ferplus"]


def evaluate_command(
    data: DataOption,
    split: Annotated[
        Split | None,
        typer.Option(help="(default: PublicTest; of a dataset without splits, all)"),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    steps: StepsOption = None,
    early_exit: EarlyExitOption = None,
    tta: Annotated[Tta, typer.Option(help="views averaged at test time")] = "none",
    format: Annotated[FiguresFormat, typer.Option()] = "table",
    confusion: Annotated[
        Path | None, typer.Option(help="draw the confusion matrix here, as a PNG", readable=False)
    ] = None,
    reliability: Annotated[
        Path | None,
        typer.Option(help="draw the reliability diagram here, as a PNG", readable=False),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            help="table to write, .csv, .xlsx or .parquet: the model's answer for each face, "
            "with its row in the dataset, its label and the probabilities",
            readable=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="another model, or file, on the same faces: which is right more often, and "
            "could it be chance? (--steps and --early-exit apply only to the first)",
        ),
    ] = None,
    labels: Annotated[
        Labels, typer.Option(help="ferplus: the majority of FER+'s votes, by its official rule")
    ] = "fer2013",
    votes: Annotated[
        Path | None,
        typer.Option(
            help="fer2013new.csv, for --labels ferplus (default: beside the dataset)",
            readable=False,
        ),
    ] = None,
    head: Annotated[
        Head | None,
        typer.Option(
            help="which output of the network answers; analyze uses ferplus (default: that of "
            "the labels, if the model has learnt it)"
        ),
    ] = None,
    mapping: MapOption = None,
    skip_bad: SkipBadOption = False,
    find_faces: FindFacesOption = False,
    exclude: ExcludeOption = None,
    lang: LanguageOption = "en",
) -> None:
    """Measure a model on one split of FER2013, or of labelled faces of one's own."""
    if labels == "ferplus" and votes is None:
        votes = votes_beside(data)
    models = [Path(one) for one in (model, against) if one is not None]
    _check_outputs(confusion, reliability, answers, data, [data, votes, exclude, *models])
    if votes is not None and labels == "fer2013":
        raise OptionError("--votes needs --labels ferplus")

    from semblante.data.ferplus import load_ferplus
    from semblante.evaluation import compare, evaluate
    from semblante.plots import draw_confusion, draw_reliability

    if head is None and labels == "fer2013":
        head = "fer2013"
    classifier = Classifier(model_path(model), steps=steps, early_exit=early_exit, head=head)
    other = None if against is None else Classifier(model_path(against), head=head)
    ferplus = None
    if labels == "ferplus":
        assert votes is not None  # given, or beside the dataset
        ferplus = load_ferplus(votes)
    source = Source(data, label_map(mapping), skip_bad, find_faces, exclude)
    dataset = source.read()
    if split is None:
        split = "PublicTest"
        if dataset.is_in("Training").all():
            complain(f"all faces are in Training: these {len(dataset):,} are measured")
            split = "Training"
    kept = source.kept(dataset)
    how: dict[str, Any] = {"tta": tta, "votes": ferplus, "kept": kept}
    difference = None
    with Console(stderr=True).status(translated(f"classifying {split}", lang)):
        evaluation = evaluate(classifier, dataset, split, model=model, **how)
        if other is not None:
            difference = compare(evaluation, evaluate(other, dataset, split, **how))
    try:
        if format == "json":
            figures = evaluation.to_dict()
            if difference is not None:
                figures["against"] = {"model": against, **difference.to_dict()}
            print(json.dumps(figures), flush=True)
        else:
            for line in _figures(evaluation):
                print(translated(line, lang))
            if difference is not None:
                print(translated(_difference(difference, str(against)), lang))
            _print_tables(evaluation, lang)
    finally:  # Figures are printed before a file may fail to be written; and files are written even
        # if printing fails, as with a closed pipe: measuring took long.
        if answers is not None:
            names = None if dataset.names is None else dataset.names.tolist()
            form = format_of("--answers", answers)
            write_atomically(answers, lambda beside: write_answers(evaluation, names, beside, form))
        if confusion is not None:
            draw_confusion(evaluation, confusion, lang)
        if reliability is not None:
            draw_reliability(evaluation, reliability, lang)


def _check_outputs(
    confusion: Path | None,
    reliability: Path | None,
    answers: Path | None,
    data: Path,
    read: Sequence[Path | None],
) -> None:
    """Raise `OptionError` if an output cannot be written, or would overwrite what is `read`."""
    outputs = {"--confusion": confusion, "--reliability": reliability, "--answers": answers}
    for option, path in outputs.items():
        if path is None:
            continue
        check_not_an_input(option, path, *read)
        if option == "--answers":
            format_of(option, path, but=(Format.table, Format.json))
            check_output_file(option, path)
        else:
            require("plot", "drawing a picture", "matplotlib")
            check_png_file(option, path)
        check_not_among_pictures(option, path, data)
        check_not_part_of_dataset(option, path, data)
    if confusion and reliability and identity(confusion) == identity(reliability):
        raise OptionError(f"--confusion and --reliability are both {confusion}")


def _print_tables(evaluation: Evaluation, lang: str) -> None:
    """Print how often the more confident answers are right, and the figures of each emotion."""
    from semblante.plots import class_name

    headings = ("probability at least", "of the faces", "right", "leak-free")
    sure = new_table(*headings, language=lang)
    for least, (share, *right) in evaluation.selective.items():
        shares = (
            "-" if value is None else figures(f"{value:.1%}", lang) for value in (share, *right)
        )
        sure.add_row(figures(f"{least:.0%}", lang), *shares)
    print_table(sure)
    table = new_table("emotion", "precision", "recall", "F1", "n", language=lang)
    for emotion, row in evaluation.per_class.items():
        shares = (figures(f"{row[name]:.3f}", lang) for name in ("precision", "recall", "f1"))
        table.add_row(class_name(emotion, lang), *shares, f"{row['n']:.0f}")
    print_table(table)


def _figures(found: Evaluation) -> Iterator[str]:
    """Lines with all figures that are not in the tables."""
    low, high = found.accuracy_ci95
    yield (
        f"{found.model} on {found.split}, n={found.n}, test-time views: {found.tta}, labels: "
        f"{found.labels}, head: {found.head}"
    )
    yield f"accuracy {found.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%})"
    if found.mean_steps is not None:
        yield f"steps of the last recurrent layer, on average: {found.mean_steps:.2f}"
    chance, seldom = found.ece_by_chance
    yield (
        f"macro F1 {found.macro_f1:.4f}, calibration error (ECE) {found.ece:.4f}; exact "
        f"probabilities would show {chance:.4f} by chance, and {seldom:.4f} or more one time in "
        "twenty"
    )
    if found.split == "Training":
        yield "a model is right more often about faces that it has learnt from"
    elif found.leak_free_n is None:
        yield "leak-free accuracy unknown: the dataset has no Training rows"
    elif found.leak_free_accuracy is None:
        yield "leak-free accuracy unknown: every face that was measured is in Training"
    else:
        yield (
            f"leak-free accuracy {found.leak_free_accuracy:.2%} (n={found.leak_free_n}, without "
            "faces that Training holds as well)"
        )


def _difference(found: PairedDifference, against: str) -> str:
    low, high = found.ci95
    ours, theirs = found.only_right
    return (
        f"compared with {against} (accuracy {found.accuracy[1]:.2%}): "
        f"{100 * found.difference:+.2f} points (95 % interval {100 * low:+.2f} to "
        f"{100 * high:+.2f}); only the first model is right on {ours} faces, only {against} on "
        f"{theirs} (p = {found.p:.2g}, McNemar's exact test)"
    )
