"""`semblante train`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer
from rich.console import Console

from semblante.cli.checks import check_not_among_pictures, check_output_folder, complain, require
from semblante.cli.language import chosen_language
from semblante.cli.options import LanguageOption
from semblante.cli.progress import RunProgress, titled
from semblante.cli.reading import (
    DataOption,
    ExcludeOption,
    FindFacesOption,
    MapOption,
    SkipBadOption,
    Source,
    label_map,
)
from semblante.cli.tables import new_table, print_table
from semblante.emotions import emotion_name
from semblante.errors import OptionError
from semblante.recognise.classifier import Classifier
from semblante.train.options import TrainOptions
from semblante.train.presets import PRESETS, options_from
from semblante.train.released import RELEASED
from semblante.translation import counted, translated
from semblante.wording import figures

if TYPE_CHECKING:
    from semblante.train.task import Task


def _shown(default: Any) -> str:
    return str(default) if default not in ("", ()) else "none"


def _with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` a flag for each field of `TrainOptions`, which are listed only there."""
    types = get_type_hints(TrainOptions)
    types["teachers"] = list[str]  # a flag that may be repeated
    own = inspect.signature(command, eval_str=True).parameters.values()
    recipe = [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                types[option.name] | None,
                typer.Option(
                    help=f"{option.metadata['help']} (standard: {_shown(option.default)})",
                    rich_help_panel="Recipe",
                    show_default=False,
                ),
            ],
        )
        for option in fields(TrainOptions)
    ]
    parameters = [*(p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD), *recipe]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


_SERIES: Final = "released"  # the preset that stands for a series of runs


@_with_recipe_options
def train_command(
    *,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="folder to create for the run", readable=False)],
    preset: Annotated[
        str,
        typer.Option(
            help=f"recipe: {', '.join(PRESETS)}; or {_SERIES}, all runs that the shipped weights "
            "came from, one after another, and their export"
        ),
    ] = "standard",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="go on with an interrupted run of the same --out, or begin it"
        ),
    ] = False,
    mapping: MapOption = None,
    skip_bad: SkipBadOption = False,
    find_faces: FindFacesOption = False,
    exclude: ExcludeOption = None,
    votes: Annotated[
        Path | None,
        typer.Option(
            help="fer2013new.csv, if FER+ is used (default: beside the dataset)",
            readable=False,
        ),
    ] = None,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help="train on 5, 10, 25, 50 and 100 % of Training: would more data help?",
        ),
    ] = False,
    cross_fit: Annotated[
        int | None,
        typer.Option(
            "--cross-fit",
            metavar="FOLDS",
            help="train this many networks, each without one fold of Training, and save what "
            "each predicts for its fold (out-of-fold predictions), for --estimates",
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", help="write the curves for TensorBoard as well (extra: tensorboard)"
        ),
    ] = False,
    lang: LanguageOption = "en",
    **recipe: Any,
) -> None:
    """Train a network on FER2013, following its accuracy on Training and PublicTest."""
    changes = {k: v for k, v in recipe.items() if v is not None}
    modes = _modes(preset, learning_curve, cross_fit)
    if modes and tensorboard:
        raise OptionError(f"--tensorboard is for a single run: leave it out with {modes[0]}")
    recipes = _recipes(preset, changes, learning_curve, cross_fit)
    needs_votes = any(recipe.needs_votes for recipe in recipes)
    if votes is not None and not needs_votes:
        raise OptionError("--votes needs a recipe that uses them: ferplus_weight, relabel_weight")

    require("train", "training", "torch", "safetensors", "matplotlib")
    if tensorboard:
        require("tensorboard", "writing for TensorBoard", "tensorboard")
    from semblante.train.distributed import is_first
    from semblante.train.loop import train
    from semblante.train.task import Task

    first = is_first()
    console = Console(stderr=True, quiet=not first)
    check_output_folder("--out", out)
    check_not_among_pictures("--out", out, data)
    source = Source(data, label_map(mapping), skip_bad, find_faces, exclude)
    ferplus = None
    if needs_votes:
        dataset, ferplus = source.read_with_votes(votes)
    else:
        dataset = source.read_kept()
    missing = dataset.split("Training").missing_emotions()
    if missing and first:
        named = ", ".join(emotion_name(emotion, chosen_language()) for emotion in missing)
        complain(
            f"Training holds no face that is labelled {named}: the network does not learn what "
            "that looks like"
        )
    if modes and first and out.exists() and any(out.iterdir()) and not resume:
        raise OptionError(f"--out {out}: expected a new folder; --resume continues in this one")
    task = Task(dataset, out, titled(console, lang), source.to_dict(), ferplus, lang)
    try:
        if preset == _SERIES:
            _released(task, changes)
        elif learning_curve:
            _learning_curve(task, recipes[0])
        elif cross_fit is not None:
            _cross_fit(task, recipes[0], cross_fit)
        else:
            events = out / "tensorboard" if tensorboard else None
            with RunProgress(console, recipes[0].epochs, events, language=lang) as progress:
                summary = train(
                    dataset, recipes[0], out, progress,
                    source=task.source, votes=ferplus, resume=resume, language=lang,
                )  # fmt: skip
            if first:
                _print_run(summary, recipes[0], out, lang)
    except KeyboardInterrupt:
        if first:
            begun = out.exists() and any(out.iterdir())
            goes_on = f"the same command with --resume continues in {out}"
            complain(f"interrupted; {goes_on if begun else 'nothing was begun yet'}")
        raise


def _modes(preset: str, learning_curve: bool, cross_fit: int | None) -> list[str]:
    """The option that asks for several runs, if given; raises `OptionError` for more than one."""
    modes = [
        flag
        for flag, given in (
            (f"--preset {_SERIES}", preset == _SERIES),
            ("--learning-curve", learning_curve),
            ("--cross-fit", cross_fit is not None),
        )
        if given
    ]
    if len(modes) > 1:
        raise OptionError(f"{', '.join(modes)} are several runs each: choose one of them")
    return modes


def _recipes(
    preset: str, changes: dict[str, Any], learning_curve: bool, cross_fit: int | None
) -> list[TrainOptions]:
    """The recipe of each run, or of each kind of run of the released series; raises `OptionError`
    if the options contradict each other."""
    known = [*PRESETS, _SERIES]
    if preset not in known:
        raise OptionError(f"unknown preset {preset!r}; known: {', '.join(known)}")
    if preset == _SERIES:
        recipes = [kind.options(changes) for stage in RELEASED for kind in stage.kinds]
    else:
        recipes = [options_from(preset, changes)]
    if learning_curve and (recipes[0].initial or recipes[0].teachers or recipes[0].estimates):
        raise OptionError(
            "--learning-curve asks what a part of Training teaches: the weights of --initial and "
            "--teachers have seen all of it, as have those behind --estimates"
        )
    if cross_fit is not None and recipes[0].estimates:
        raise OptionError("--cross-fit makes estimates of its own: leave out --estimates")
    if cross_fit is not None and recipes[0].looks_of:
        raise OptionError("--cross-fit trains on parts of Training: leave out --looks-of")
    return recipes


def _print_run(summary: dict[str, Any], recipe: TrainOptions, out: Path, language: str) -> None:
    if (taken := summary.get("epochs", recipe.epochs)) < recipe.epochs:
        stopped = (
            f"stopped after epoch {taken} of {recipe.epochs}: PublicTest has not improved for "
            f"{recipe.patience}"
        )
        print(translated(stopped, language))
    _print_summary(summary, language)
    print(translated(f"weights, log, curves and confusion matrix are in {out}", language))


def _print_summary(summary: dict[str, Any], language: str) -> None:
    public, training = summary["public"], summary["training"]
    best = (
        f"best epoch {summary['best_epoch']}: PublicTest {public['accuracy']:.2%} "
        f"(n={public['n']}), Training {training['accuracy']:.2%} (n={training['n']}), single view, "
        "no augmentation, fp32"
    )
    print(translated(best, language))
    print(summary["diagnosis"])
    print(translated(f"PublicTest by emotion. {summary['by_emotion']}", language))


def _released(task: Task, changes: dict[str, Any]) -> None:
    """Train all runs of the released series and print their results."""
    require("train", "exporting", "onnx", "onnxscript")
    from semblante.evaluation import evaluate
    from semblante.plots import draw_confusion
    from semblante.train.distributed import is_first
    from semblante.train.series import train_released

    models, summaries = train_released(task, changes)

    if not is_first():
        return
    language = task.language
    for name, summary in summaries.items():
        print(f"{name}:")
        _print_summary(summary, language)
    for model in models:
        found = evaluate(Classifier(model), task.dataset, "PublicTest", model=str(model))
        picture = model.with_name(f"{model.stem}-confusion.png")
        draw_confusion(found, picture, language)
        measured = (
            f"{model}: PublicTest {found.accuracy:.2%} (n={found.n}), single view, confusion "
            f"matrix in {picture}"
        )
        print(translated(measured, language))
    print(translated(f"each run's curves are in its folder in {task.out}", language))


def _learning_curve(task: Task, options: TrainOptions) -> None:
    """Train on growing parts of Training and print the results."""
    from semblante.train.distributed import is_first
    from semblante.train.learning_curve import learning_curve

    found = learning_curve(task, options)

    if not is_first():
        return
    table = new_table("faces", "Training", "PublicTest", language=task.language)
    for point in found["points"]:
        table.add_row(
            counted(point["faces"], task.language),
            figures(f"{point['training']:.2%}", task.language),
            figures(f"{point['public']:.2%}", task.language),
        )
    print_table(table)
    print(found["verdict"])
    print(translated(f"curve: {task.out / 'learning-curve.png'}", task.language))


def _cross_fit(task: Task, options: TrainOptions, folds: int) -> None:
    """Train once without each fold and print the results."""
    from semblante.train.crossval import cross_fit
    from semblante.train.distributed import is_first

    found = cross_fit(task, options, folds)

    if not is_first():
        return
    held_out, public = found["held_out"], found["public"]
    right = (
        f"{found['folds']} networks, on faces that they did not learn from, two views: "
        f"Training {held_out['accuracy']:.2%} (n={held_out['n']}), PublicTest "
        f"{public['accuracy']:.2%} (n={public['n']}). If Training is much higher, the "
        "initial weights still remember those faces."
    )
    print(translated(right, task.language))
    where = f"to learn from these predictions: --estimates {task.out}"
    print(translated(where, task.language))
