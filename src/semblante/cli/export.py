"""`semblante export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from semblante.cli.extras import require
from semblante.errors import OptionError


def export_command(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="folder of a training run")],
    out: Annotated[Path, typer.Option(help="ONNX file to write")],
    data: Annotated[
        Path | None,
        typer.Option(help="the dataset of the run; needed where it has been moved since"),
    ] = None,
) -> None:
    """Write a trained network as the ONNX file that recognition uses.

    Both forms are compared on all PublicTest faces first; nothing is written when an output
    differs by more than 1e-4 or the accuracy differs.
    """
    require("train", "exporting", "torch", "safetensors", "onnx", "onnxscript")
    if not out.absolute().parent.is_dir():
        raise OptionError(f"--out {out}: there is no folder {out.parent}")

    from semblante.data import load_fer2013
    from semblante.train.checkpoint import read_json
    from semblante.train.export import export

    source = data or Path(read_json(run_dir / "config.json")["data"])
    with Console(stderr=True).status(f"reading {source}") as status:
        dataset = load_fer2013(source)
        status.update("exporting")
        about = export(run_dir, out, dataset)
    public = about["training"]["public_test"]
    print(
        f"{out}: {about['network']}, {about['parameters']:,} parameters, "
        f"{out.stat().st_size / 1e6:.2f} MB, PublicTest {public['accuracy']:.2%} "
        f"(n={public['n']}, single view), outputs equal to torch's within 1e-4"
    )
