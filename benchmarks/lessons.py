"""Makes the pictures and figures of docs/how-it-learns.md, from training runs made for them.

    python benchmarks/lessons.py --data fer2013.csv --run runs/rcnn-small-0 --work runs/lessons

`--run` is a run of the preset "standard", the first of those that led to the shipped weights;
without it, the stored figures of that run and its picture are kept. The other runs are made in
`--work`, or reused if they are there. Takes some minutes on two cores. Writes results/lessons.json
and docs/images/lesson-*.png.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from semblante.data import Dataset, load_dataset
from semblante.errors import ModelError
from semblante.files import write_json
from semblante.images import load_image
from semblante.preprocess import network_input
from semblante.recognise.cnn import CnnDetector
from semblante.recognise.detectors import largest_face
from semblante.train.batches import augment
from semblante.train.curves import run_title
from semblante.train.learning_curve import draw_learning_curve, share_of_training
from semblante.train.loop import train
from semblante.train.options import TrainOptions
from semblante.train.recurrent import RecurrentConvolution
from semblante.train.reporter import Reporter
from semblante.train.trained import load_best
from semblante.wording import figures

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
RESULT = ROOT / "benchmarks" / "results" / "lessons.json"
# Of everything that prevents overfitting, only mirroring, dropout and averaged weights are left.
PLAIN = TrainOptions(
    rotation=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, erase_probability=0.0,
    mixup_probability=0.0, label_smoothing=0.0, weight_decay=0.0,
)  # fmt: skip
ALPHAS = (0.0003, 3.0, 10.0)
SUFFIXES = {"en": "", "es": ".es"}  # of the file names of pictures with words in them
WORDS = {
    "en": {
        "alpha": "alpha", "step": "step of gradient descent", "error": "error",
        "epoch": "epoch", "accuracy": "accuracy, %",
        "under": "too small: 29 thousand weights", "first": "first stage of the shipped weights",
        "over": "too few faces: 5 % of Training",
    },
    "es": {
        "alpha": "alfa", "step": "paso del descenso de gradiente", "error": "error",
        "epoch": "época", "accuracy": "exactitud, %",
        "under": "demasiado pequeña: 29 mil pesos", "first": "primera etapa de los pesos incluidos",
        "over": "demasiado pocos rostros: 5 % de Training",
    },
}  # fmt: skip


class Losses(Reporter):
    """A reporter that keeps the error of every step."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self.steps.append(loss)

    def epoch(self, record: dict[str, float]) -> None:
        print(
            f"  epoch {record['epoch']}: Training {record['training_accuracy']:.1%}, "
            f"PublicTest {record['public_accuracy']:.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="run of the preset standard [default: as stored]")
    parser.add_argument("--work", type=Path, required=True, help="folder for the other runs")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.data, cache=True)
    face = example_face()
    draw_numbers(face)
    draw_augmented(face)
    draw_unrolled()
    results: dict[str, Any] = {
        "alpha": alphas(dataset, arguments.work),
        "under": fitted(
            dataset, arguments.work / "under", TrainOptions(network="rcnn-tiny", epochs=20)
        ),
        "over": fitted(
            dataset.where(share_of_training(dataset, 0.05)), arguments.work / "over",
            replace(PLAIN, network="rcnn-small", epochs=30, batch_size=64),
        ),
    }  # fmt: skip
    if arguments.run is None:
        results["first"] = json.loads(RESULT.read_text())["first"]
    else:
        draw_states(face, load_best(arguments.run)[0])
        results["first"] = curves(arguments.run)
    draw_alphas(results["alpha"])
    draw_fits(results)
    draw_curve()
    write_json(RESULT, results)


def example_face() -> np.ndarray:
    """The face of Eileen Collins as the network sees it: grey, (48, 48)."""
    face = largest_face(CnnDetector())(load_image(ROOT / "examples" / "eileen-collins.jpg"))
    assert face is not None
    return face


def once(run_dir: Path, make: Callable[[], Any]) -> Any:
    """The result of `make`, which is called only once for `run_dir` and stored there."""
    path = run_dir / "lesson.json"
    if not path.exists():
        shutil.rmtree(run_dir, ignore_errors=True)  # what an interrupted call has left
        print(run_dir)
        write_json(path, make())
    return json.loads(path.read_text())


def alphas(dataset: Dataset, work: Path) -> list[dict[str, Any]]:
    """Losses of plain gradient descent, with steps that are too small, right and too large."""
    part = dataset.where(share_of_training(dataset, 0.25))
    results = []
    for alpha in ALPHAS:
        options = replace(
            PLAIN, network="rcnn-tiny", epochs=3, momentum=0.0, learning_rate=alpha,
            schedule="constant", warmup_epochs=0.0, clip_norm=1e9, precision="fp32",
        )  # fmt: skip
        run_dir = work / f"alpha-{alpha:g}"

        def make(options: TrainOptions = options, run_dir: Path = run_dir) -> list[float]:
            losses = Losses()
            try:
                train(part, options, run_dir, losses, source={})
            except ModelError:  # the weights have become infinite or NaN, as intended
                if not losses.steps:
                    raise
            return losses.steps

        results.append({"alpha": alpha, "losses": once(run_dir, make)})
    return results


def fitted(dataset: Dataset, run_dir: Path, options: TrainOptions) -> dict[str, Any]:
    """The curves and the diagnosis of a run, see `curves`; it is trained unless that is done."""

    def make() -> dict[str, Any]:
        train(dataset, options, run_dir, Losses(), source={})
        return curves(run_dir)

    found: dict[str, Any] = once(run_dir, make)
    return found


def curves(run_dir: Path) -> dict[str, Any]:
    log = json.loads((run_dir / "log.json").read_text())
    keys = ("epoch", "training_loss", "public_loss", "training_accuracy", "public_accuracy")
    return {
        "history": [{key: record[key] for key in keys} for record in log["history"]],
        **{key: log["summary"][key] for key in ("best_epoch", "training", "public", "diagnosis")},
    }


# -- pictures -----------------------------------------------------------------------------------


def save(figure: Figure, name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"lesson-{name}.png"
    figure.savefig(path, dpi=110)
    # 256 colours look the same, in half of the bytes.
    few = Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def draw_numbers(face: np.ndarray) -> None:
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    whole, part = figure.subplots(1, 2)
    whole.imshow(face, cmap="gray", vmin=0, vmax=255)
    top, left, side = 14, 8, 10  # an eye
    frame = [left - 0.5, left + side - 0.5], [top - 0.5, top + side - 0.5]
    (x0, x1), (y0, y1) = frame
    whole.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="#D55E00", linewidth=2)
    piece = face[top : top + side, left : left + side]
    part.imshow(piece, cmap="gray", vmin=0, vmax=255)
    for (row, column), level in np.ndenumerate(piece):
        colour = "black" if level > 127 else "white"
        part.text(column, row, str(level), ha="center", va="center", color=colour, fontsize=8)
    for axes in (whole, part):
        axes.set_axis_off()
    save(figure, "numbers")


def draw_augmented(face: np.ndarray) -> None:
    torch.manual_seed(4)
    views = augment(torch.from_numpy(network_input(face[None])).repeat(12, 1, 1, 1), TrainOptions())
    figure = Figure(figsize=(9, 3.1), layout="constrained")
    for axes, view in zip(figure.subplots(2, 6).flat, views, strict=True):
        axes.imshow(view[0], cmap="gray", vmin=-2.5, vmax=2.5)
        axes.set_axis_off()
    save(figure, "augmented")


def draw_unrolled() -> None:
    """Draw a recurrent layer with three steps as the feed-forward network that computes it."""
    figure = Figure(figsize=(8, 2.3), layout="constrained")
    axes = figure.subplots()
    arrow = {"arrowstyle": "-|>", "color": "#0072B2", "shrinkA": 0, "shrinkB": 0}
    box = {"boxstyle": "round,pad=0.35", "facecolor": "#F0F0F0", "edgecolor": "#555555"}
    for t in range(4):
        x = 3 * t
        axes.text(x, 1.5, f"x({t})", ha="center", va="center", fontsize=13, bbox=box)
        axes.text(x, 0, "u", ha="center", va="center", fontsize=13, bbox=box)
        axes.annotate("", (x, 1.1), (x, 0.4), arrowprops=arrow)
        axes.text(x + 0.12, 0.72, r"$w_f,\ b$", va="center", fontsize=11)
        axes.text(x, 1.98, rf"norm$_{t}$(relu(z({t})))", ha="center", fontsize=10)
        if t:
            again = {**arrow, "color": "#D55E00"}
            axes.annotate("", (x - 0.5, 1.5), (x - 2.5, 1.5), arrowprops=again)
            axes.text(x - 1.5, 1.6, r"$w_r$", ha="center", fontsize=12)
    axes.set(xlim=(-1.2, 10.2), ylim=(-0.4, 2.3))
    axes.set_axis_off()
    save(figure, "unrolled")


def draw_states(face: np.ndarray, network: torch.nn.Module) -> None:
    """Draw six feature maps of the second recurrent layer, with a row for each step."""
    layer = cast(RecurrentConvolution, network.get_submodule("layers.1"))
    kept: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    with torch.no_grad():
        network(torch.from_numpy(network_input(face[None])))
        states = [state[0] for state in layer.states(kept[0])]
    hook.remove()
    # The maps that change most from the first step to the last.
    changes = (states[-1] - states[0]).flatten(1).std(dim=1)
    chosen = changes.topk(6).indices.tolist()
    figure = Figure(figsize=(8, 5.4), layout="constrained")
    for t, row in enumerate(figure.subplots(len(states), 6)):
        for axes, number in zip(row, chosen, strict=True):
            values = torch.stack([state[number] for state in states])
            small = states[t][number].numpy()
            large = cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)
            axes.imshow(large, cmap="magma", vmin=float(values.min()), vmax=float(values.max()))
            axes.set_axis_off()
        row[0].set_title(f"t = {t}", loc="left", fontsize=10)
    save(figure, "steps")


def draw_alphas(runs: list[dict[str, Any]]) -> None:
    for language, words in WORDS.items():
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axes = figure.subplots()

        def tick(value: float, _: float, language: str = language) -> str:
            return figures(f"{value:.1f}", language)

        for run, colour in zip(runs, ("#0072B2", "#009E73", "#D55E00"), strict=True):
            smooth = [run["losses"][0]]
            for loss in run["losses"][1:]:
                smooth.append(0.8 * smooth[-1] + 0.2 * loss)
            alpha = figures(f"{run['alpha']:g}", language)
            axes.plot(smooth, color=colour, label=f"{words['alpha']} = {alpha}")
        axes.set(xlabel=words["step"], ylabel=words["error"], ylim=(1.4, 3))
        axes.yaxis.set_major_formatter(tick)
        axes.grid(alpha=0.3)
        axes.legend()
        save(figure, f"alpha{SUFFIXES[language]}")


def draw_fits(results: dict[str, Any]) -> None:
    for language, words in WORDS.items():
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for axes, name in zip(panels, ("under", "first", "over"), strict=True):
            history = results[name]["history"]
            epochs = [record["epoch"] for record in history]
            for key, label, colour in (
                ("training_accuracy", "Training", "#0072B2"),
                ("public_accuracy", "PublicTest", "#D55E00"),
            ):
                values = [100 * record[key] for record in history]
                axes.plot(epochs, values, color=colour, label=label)
            axes.set(title=words[name], xlabel=words["epoch"])
            axes.grid(alpha=0.3)
        panels[0].set_ylabel(words["accuracy"])
        panels[0].legend(loc="lower right")
        save(figure, f"fits{SUFFIXES[language]}")


def draw_curve() -> None:
    """Draw the stored learning curve, which `semblante train --learning-curve --network rcnn-tiny
    --epochs 10` measured."""
    points = json.loads((RESULT.parent / "learning-curve.json").read_text())["points"]
    for language, suffix in SUFFIXES.items():
        title = run_title(TrainOptions(network="rcnn-tiny"), language)
        path = IMAGES / f"learning-curve{suffix}.png"
        draw_learning_curve(points, path, title, language)


if __name__ == "__main__":
    main()
