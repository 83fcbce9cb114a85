"""`semblante data audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from semblante.cli.checks import (
    complain,
    not_among,
    not_an_input,
    output_file,
    require,
    votes_beside,
)
from semblante.cli.options import Language, LanguageOption
from semblante.cli.reading import DataPath, FindFacesOption, MapOption, SkipBadOption, Source
from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import DataError, OptionError
from semblante.models import DEFAULT_MODEL
from semblante.translation import translated

if TYPE_CHECKING:
    from semblante.data import Dataset
    from semblante.data.audit import Audit
    from semblante.data.ferplus import FerPlus
    from semblante.train.options import TrainOptions

# What --folds trains unless it is told otherwise.
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
            help="judge every label instead, by networks trained for it in so many folds (2 or "
            "more); 0: by the model"
        ),
    ] = 0,
    network: Annotated[
        str | None, typer.Option(help=f"with --folds: what is trained (default: {_NETWORK})")
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
    lang: LanguageOption = Language.en,
) -> None:
    """Find copies, leaks between splits, what is no face, and labels that are likely wrong.

    The model judges the faces of the test splits, which it has not learnt from (though from near
    copies of some), or all where the dataset has none. With --folds networks are trained that judge
    each face without knowing it.
    """
    require("audit", "auditing", "cleanlab", "jinja2")
    if drop is not None:
        ours = (out / "rows.json", out / "report.html")
        not_an_input("--drop", drop, path, votes or votes_beside(path))
        if drop.absolute() in [file.absolute() for file in ours]:
            raise OptionError(f"--drop {drop} is a file that --out {out} holds: choose another")
        if drop.absolute().parent != out.absolute():  # OUT is made here
            output_file("--drop", drop)
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out}: expected a folder")
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
        # The runs' curves are pictures; the report is none.
        not_among("--out" if work is None else "--work", out if work is None else work, path)

    from semblante.data.audit import audit
    from semblante.data.exclusion import write_exclusion
    from semblante.data.report import write_report
    from semblante.files import write_json

    words = _WORDS[lang]
    source = Source(path, mapping, skip_bad, find_faces)
    dataset = source.read()
    ferplus = _votes(votes, path, dataset)
    out.mkdir(parents=True, exist_ok=True)
    if folds:
        estimates = _by_folds(dataset, recipe, folds, work or out / "runs", source, lang)
    else:
        estimates = _by_model(dataset, model or DEFAULT_MODEL, words["looks"])
    with Console(stderr=True).status("") as status:
        found = audit(
            dataset,
            votes=ferplus,
            probabilities=estimates,
            progress=lambda doing: status.update(translated(doing, lang)),
        )
        write_json(out / "rows.json", found.to_dict())
        write_report(found, out / "report.html", str(path), lang)
    _print(found, lang)
    print(words["written"].format(out / "report.html", out / "rows.json"))
    if drop is not None:
        reasons = found.to_drop()
        write_exclusion(drop, dataset, reasons)
        print(words["to leave out"].format(drop, len(reasons)))


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


def _by_model(dataset: Dataset, model: str, looks: str) -> npt.NDArray[np.float32]:
    """Estimates for faces that Training holds no exact copy of; NaN for the others."""
    from semblante.data.duplicates import seen_in
    from semblante.models import model_path
    from semblante.recognise.classifier import Classifier

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
    with Console(stderr=True).status(looks.format(escape(model), int(judged.sum()))):
        estimates[judged] = classifier.probabilities(dataset.images[judged])
    return estimates


def _by_folds(
    dataset: Dataset, recipe: TrainOptions, folds: int, work: Path, source: Source, language: str
) -> npt.NDArray[np.float32]:
    from semblante.cli.train import RunProgress
    from semblante.train.crossval import out_of_sample

    console = Console(stderr=True)

    def reporter(fold: int) -> RunProgress:
        console.print(_WORDS[language]["fold"].format(fold + 1, folds), highlight=False)
        return RunProgress(console, recipe.epochs, language=language)

    return out_of_sample(
        dataset, recipe, folds, work, reporter, source=source.to_dict(), language=language
    )


def _print(found: Audit, language: str) -> None:
    words = _WORDS[language]
    rows = words["rows"]
    table = Table(box=None, pad_edge=False, show_header=False)

    def add(row: str, *values: Any, **more: Any) -> None:
        name, value = rows[row]
        table.add_row(name.format(**more), value.format(*values))

    shown: dict[str, Any] = found.to_dict()
    exact, near = shown["exact_duplicates"], shown["near_duplicates"]
    add("exact", exact["n_extra_copies"], exact["n_groups"])
    add("conflicting", shown["conflicting_labels"]["n_groups"])
    add("near", near["n_groups"], near["correlation"])
    for split, leak in shown["leaks"].items():
        if shown["splits"][split]:
            add("leaks", leak["n"], len(leak["near_rows"]), leak["leak_free_n"], split=split)
    add("across tests", shown["private_test_in_public_test"]["n"])
    if found.dataset.groups is not None:
        add("groups", len(found.groups_across))
    add("constant", shown["constant"]["n"])
    if shown["no_face"]:
        add("no face", shown["no_face"]["n"])
    else:
        add("no votes")
    for name in ("dark", "bright", "blurred", "drawn"):
        add(name, shown[name]["n"])
    wrong = shown["mislabelled"]
    if wrong is not None:
        add("mislabelled", wrong["n"], wrong["n_judged"])
    totals = {emotion: sum(row[emotion] for row in found.counts().values()) for emotion in EMOTIONS}
    if any(totals.values()):
        ends = [end(totals, key=totals.__getitem__) for end in (max, min)]
        add("balance", *((emotion_name(end, language), totals[end]) for end in ends))
    Console(highlight=False).print(table)


_WORDS: Final[dict[str, dict[str, Any]]] = {
    "en": {
        "looks": "{} looks at {:,} faces",
        "fold": "fold {} of {}",
        "written": "pictures: {}, row numbers: {}",
        "to leave out": "rows to leave out: {} ({:,})",
        "rows": {
            "exact": ("exact copies", "{:,} in {:,} groups"),
            "conflicting": ("  with different labels", "{:,} groups"),
            "near": ("near copies", "{:,} groups (correlation {})"),
            "leaks": (
                "{split} in Training too",
                "{:,} exact, {:,} near; {:,} without the exact ones",
            ),
            "across tests": ("PrivateTest in PublicTest", "{:,}"),
            "groups": ("groups in several splits", "{:,}"),
            "constant": ("constant images", "{:,}"),
            "no face": ("no face, say FER+'s taggers", "{:,}"),
            "no votes": ("no face, say FER+'s taggers", "no votes given"),
            "dark": ("very dark", "{:,}"),
            "bright": ("very bright", "{:,}"),
            "blurred": ("very blurred", "{:,}"),
            "drawn": ("drawn or written", "{:,}"),
            "mislabelled": ("likely mislabelled", "{:,} of {:,} judged"),
            "balance": ("class balance", "{0[0]} {0[1]:,}, {1[0]} {1[1]:,}"),
        },
    },
    "es": {
        "looks": "{} mira {} rostros",
        "fold": "parte {} de {}",
        "written": "imágenes: {}, números de fila: {}",
        "to leave out": "filas por excluir: {} ({})",
        "rows": {
            "exact": ("copias exactas", "{} en {} grupos"),
            "conflicting": ("  con etiquetas distintas", "{} grupos"),
            "near": ("copias casi exactas", "{} grupos (correlación {})"),
            "leaks": (
                "{split} también en Training",
                "{} exactas, {} casi; {} sin las exactas",
            ),
            "across tests": ("PrivateTest también en PublicTest", "{}"),
            "groups": ("grupos repartidos entre particiones", "{}"),
            "constant": ("imágenes constantes", "{}"),
            "no face": ("sin rostro, según FER+", "{}"),
            "no votes": ("sin rostro, según FER+", "no hay votos"),
            "dark": ("muy oscuras", "{}"),
            "bright": ("muy claras", "{}"),
            "blurred": ("muy borrosas", "{}"),
            "drawn": ("dibujos o texto", "{}"),
            "mislabelled": ("etiqueta probablemente equivocada", "{} de {} juzgadas"),
            "balance": ("equilibrio de clases", "{0[0]} {0[1]}, {1[0]} {1[1]}"),
        },
    },
}
