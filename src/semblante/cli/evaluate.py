"""`semblante evaluate`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from semblante.cli.checks import (
    not_a_part,
    not_among,
    not_an_input,
    png_file,
    require,
    votes_beside,
)
from semblante.cli.language import said
from semblante.cli.options import (
    EarlyExitOption,
    FiguresFormat,
    Language,
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
)
from semblante.errors import OptionError
from semblante.models import DEFAULT_MODEL


class Split(StrEnum):
    """FER2013's splits."""

    Training = "Training"
    PublicTest = "PublicTest"
    PrivateTest = "PrivateTest"


class Tta(StrEnum):
    """Views of a face whose probabilities are averaged."""

    none = "none"
    flip = "flip"
    ten_crop = "ten-crop"


class Labels(StrEnum):
    """Whose labels are compared with."""

    fer2013 = "fer2013"
    ferplus = "ferplus"


def evaluate_command(
    data: DataOption,
    split: Annotated[Split, typer.Option()] = Split.PublicTest,
    model: ModelOption = DEFAULT_MODEL,
    steps: StepsOption = None,
    early_exit: EarlyExitOption = None,
    tta: Annotated[Tta, typer.Option(help="views averaged at test time")] = Tta.none,
    format: Annotated[FiguresFormat, typer.Option()] = FiguresFormat.table,
    confusion: Annotated[
        Path | None, typer.Option(help="draw the confusion matrix here, as a PNG", readable=False)
    ] = None,
    reliability: Annotated[
        Path | None,
        typer.Option(help="draw the reliability diagram here, as a PNG", readable=False),
    ] = None,
    labels: Annotated[
        Labels, typer.Option(help="ferplus: the majority of FER+'s votes, by its official rule")
    ] = Labels.fer2013,
    votes: Annotated[
        Path | None,
        typer.Option(
            help="fer2013new.csv, for --labels ferplus (default: beside the dataset)",
            readable=False,
        ),
    ] = None,
    mapping: MapOption = None,
    skip_bad: SkipBadOption = False,
    find_faces: FindFacesOption = False,
    exclude: ExcludeOption = None,
    lang: LanguageOption = Language.en,
) -> None:
    """Measure a model on one split of FER2013, or of labelled faces of one's own."""
    if labels is Labels.ferplus and votes is None:
        votes = votes_beside(data)
    for option, picture in (("--confusion", confusion), ("--reliability", reliability)):
        if picture is not None:
            require("plot", "drawing a picture", "matplotlib")
            not_an_input(option, picture, data, votes, exclude, Path(model))
            png_file(option, picture)
            not_among(option, picture, data)
    if confusion is not None and confusion == reliability:
        raise OptionError(f"--confusion and --reliability are both {confusion}")
    if votes is not None and labels is Labels.fer2013:
        raise OptionError("--votes needs --labels ferplus")

    from semblante.data.ferplus import load_ferplus
    from semblante.evaluation import (
        class_name,
        draw_confusion,
        draw_reliability,
        evaluate,
    )
    from semblante.models import model_path
    from semblante.recognise.classifier import Classifier

    classifier = Classifier(model_path(model), steps=steps, early_exit=early_exit)
    ferplus = None
    if labels is Labels.ferplus:
        assert votes is not None  # given, or beside the dataset
        ferplus = load_ferplus(votes)
    source = Source(data, mapping, skip_bad, find_faces, exclude)
    dataset = source.read()
    for option, picture in (("--confusion", confusion), ("--reliability", reliability)):
        if picture is not None:
            not_a_part(option, picture, data, dataset)
    kept = source.kept(dataset)
    with Console(stderr=True).status(said(f"classifying {split}")):
        evaluation = evaluate(
            classifier, dataset, split, tta=tta, model=model, votes=ferplus, kept=kept
        )
    if confusion is not None:
        draw_confusion(evaluation, confusion, lang)
    if reliability is not None:
        draw_reliability(evaluation, reliability, lang)
    if format is FiguresFormat.json:
        print(json.dumps(evaluation.to_dict()))
        return

    words = _WORDS[lang]
    print(words["measured"].format(evaluation))
    print(words["accuracy"].format(evaluation.accuracy, *evaluation.accuracy_ci95))
    if evaluation.mean_steps is not None:
        print(words["steps"].format(evaluation.mean_steps))
    print(words["F1"].format(evaluation))
    if evaluation.leak_free_n is None:
        print(words["no Training"])
    elif evaluation.leak_free_accuracy is None:
        print(words["all leaked"])
    else:
        print(words["leak-free"].format(evaluation))
    sure = Table(*words["sure"], box=None, pad_edge=False)
    for least, (share, *right) in evaluation.selective.items():
        shares = ("-" if value is None else f"{value:.1%}" for value in (share, *right))
        sure.add_row(f"{least:.0%}", *shares)
    Console(highlight=False).print(sure)
    table = Table(*words["columns"], box=None, pad_edge=False)
    for emotion, row in evaluation.per_class.items():
        shares = (f"{row[name]:.3f}" for name in ("precision", "recall", "f1"))
        table.add_row(class_name(emotion, lang), *shares, f"{row['n']:.0f}")
    Console(highlight=False).print(table)


_WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "measured": "{0.model} on {0.split}, n={0.n}, test-time views: {0.tta}, labels: {0.labels}",
        "accuracy": "accuracy {:.2%} (95 % interval {:.2%} to {:.2%})",
        "steps": "steps of the last recurrent layer, on average: {:.2f}",
        "F1": "macro F1 {0.macro_f1:.4f}, calibration error (ECE) {0.ece:.4f}; exact probabilities "
        "would show {0.ece_by_chance[0]:.4f} by chance, and {0.ece_by_chance[1]:.4f} one time in "
        "twenty",
        "no Training": "leak-free accuracy unknown: the dataset has no Training rows",
        "all leaked": "leak-free accuracy unknown: every face that was measured is in Training",
        "leak-free": "leak-free accuracy {0.leak_free_accuracy:.2%} (n={0.leak_free_n}, without "
        "faces that Training holds as well)",
        "sure": ["probability at least", "of the faces", "right", "leak-free"],
        "columns": ["emotion", "precision", "recall", "F1", "n"],
    },
    "es": {
        "measured": "{0.model} en {0.split}, n={0.n}, vistas al evaluar: {0.tta}, etiquetas: "
        "{0.labels}",
        "accuracy": "exactitud {:.2%} (intervalo del 95 %: {:.2%} a {:.2%})",
        "steps": "pasos de la última capa recurrente, en promedio: {:.2f}",
        "F1": "F1 macro {0.macro_f1:.4f}, error de calibración (ECE) {0.ece:.4f}; probabilidades "
        "exactas mostrarían {0.ece_by_chance[0]:.4f} por azar, y {0.ece_by_chance[1]:.4f} una de "
        "cada veinte veces",
        "no Training": "exactitud sin copias desconocida: el conjunto no tiene filas de Training",
        "all leaked": "exactitud sin copias desconocida: todos los rostros medidos están en "
        "Training",
        "leak-free": "exactitud sin copias {0.leak_free_accuracy:.2%} (n={0.leak_free_n}, sin los "
        "rostros que también están en Training)",
        "sure": ["probabilidad mínima", "de los rostros", "acierta", "sin copias"],
        "columns": ["emoción", "precisión", "exhaustividad", "F1", "n"],
    },
}
