"""`semblante export`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from semblante.cli.checks import check_not_an_input, check_output_file, require
from semblante.cli.language import localised
from semblante.cli.reading import Source, votes_beside
from semblante.errors import DataError, OptionError

if TYPE_CHECKING:
    from semblante.train.run_folder import RunConfig

Precision = Literal["fp32", "fp16", "int8"]  # `train.precision.PRECISIONS`


def export_command(
    run_dirs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_DIR",
            help="folder of a training run; several with the same --initial: the mean of their "
            "last epochs",
            readable=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="ONNX file to write", readable=False)],
    precision: Annotated[
        Precision,
        typer.Option(help="fp16: half the size; int8: a quarter, and faster"),
    ] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(help="the run's dataset, if it has been moved since", readable=False),
    ] = None,
    votes: Annotated[
        Path | None,
        typer.Option(
            help="fer2013new.csv, if the run learnt FER+ (default: beside the dataset)",
            readable=False,
        ),
    ] = None,
    initial_share: Annotated[
        float,
        typer.Option(help="share (0 to 1) of the weights that the run started from (WiSE-FT)"),
    ] = 0.0,
) -> None:
    """Write a trained network as the ONNX file that recognition uses.

    Both forms are compared on all PublicTest faces first; nothing is written when an output differs
    by more than 1e-4 or the accuracy differs; or, in fp16 and int8, when 0.3 points are lost (of
    few faces, more than chance explains).
    """
    require("train", "exporting", "torch", "safetensors", "onnx", "onnxscript")
    check_output_file("--out", out)
    from semblante.train.run_folder import BEST, CHECKPOINT, CONFIG, LOG, read_config

    kept = [run / name for run in run_dirs for name in (BEST, CHECKPOINT, CONFIG, LOG)]
    check_not_an_input("--out", out, data, votes, *kept)

    from semblante.train.export import export
    from semblante.train.learning_curve import share_of_training

    config = read_config(run_dirs[0])
    check_not_an_input("--out", out, Path(config.options.initial))
    source = _source(run_dirs[0], config, data)
    ferplus = None
    if config.options.ferplus_weight > 0:
        check_not_an_input("--out", out, votes_beside(source.path))
        dataset, ferplus = source.read_with_votes(votes)
    elif votes is not None:
        raise OptionError(f"--votes: exporting {run_dirs[0]} needs none of FER+'s votes")
    else:
        dataset = source.read_kept()
    check_not_an_input("--out", out, source.path)
    share = config.source.get("share", 1)
    if share < 1:  # a run of `train --learning-curve`
        rows = share_of_training(dataset, share)
        dataset = dataset.where(rows)
        ferplus = None if ferplus is None else ferplus.where(rows)
    with Console(stderr=True).status(localised("exporting and comparing")):
        about = export(run_dirs, out, dataset, precision, ferplus, initial_share)
    public = about["training"]["public_test"]
    written = (
        f"{out}: {about['network']}, {about['parameters']:,} parameters, "
        f"{out.stat().st_size / 1e6:.2f} MB, PublicTest {public['accuracy']:.2%} "
        f"(n={public['n']}, single view) in fp32, "
        f"temperatures {min(about['temperatures'][-1]):.2f} to {max(about['temperatures'][-1]):.2f}"
    )
    print(localised(written))


def _source(run_dir: Path, config: RunConfig, data: Path | None) -> Source:
    """Where the run's dataset lies: at `data` if given, else where it was when the run began."""
    if data is None and "path" not in config.source:  # of a run that was started from Python
        raise DataError(
            f"{run_dir} does not say where its dataset lies: give its place with --data"
        )
    source = Source.from_dict({"path": "", **config.source})
    if data is not None:
        return replace(source, path=data)
    if not source.path.exists():
        raise DataError(
            f"{source.path}, the run's dataset, is gone: give its new place with --data"
        )
    return source
