"""Learning curves: would more data help? The same network is trained on growing shares of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from semblante.data import Dataset
from semblante.files import write_atomically, write_json
from semblante.metrics import wilson_interval
from semblante.train.batches import Faces
from semblante.train.curves import SMALL_GAP, run_title
from semblante.train.device import this_device
from semblante.train.distributed import all_processes
from semblante.train.measure import logits_of, loss_and_accuracy
from semblante.train.options import TrainOptions
from semblante.train.task import Task
from semblante.train.trained import load_last
from semblante.translation import counted, translated

SHARES: Final = (0.05, 0.10, 0.25, 0.50, 1.00)
_HARDLY: Final = 0.3  # accuracy on Training; always saying the commonest label gives 0.25
_SEED: Final = 2013  # a share has the same faces in all runs, whatever their seed


def learning_curve(task: Task, options: TrainOptions) -> dict[str, Any]:
    """Train on each of `SHARES` of Training and return the results.

    Smaller shares are subsets of larger ones. All runs take about the same number of steps of
    gradient descent, with more epochs for fewer faces, so only the data differs. Accuracies are
    those after the last epoch. Run folders, `learning-curve.json` and `learning-curve.png` are
    written to `task.out`; repeating an interrupted call resumes it.
    """
    dataset, votes, out, language = task.dataset, task.votes, task.out, task.language
    processes = all_processes()
    points = []
    # All parts are checked before the first run, so that an error comes at once.
    parts = [_part(dataset, options, share) for share in SHARES]
    for _, _, scaled, n in parts:
        processes.check_shares(scaled.batch_size, n)
    for share, (rows, part, scaled, n) in zip(SHARES, parts, strict=True):
        run_dir = out / f"{round(100 * share):03d}-percent"
        title = translated(f"{share:.0%} of Training, {n:,} faces", language)
        task.train(part, votes and votes.where(rows), scaled, run_dir, title, share=share)
        points.append({"share": share, "faces": n, **_at_its_end(run_dir, part)})
        found = {"points": points, "verdict": would_more_help(points, language)}
        if processes.first:
            write_json(out / "learning-curve.json", found)
            title = run_title(options, language)
            draw_learning_curve(points, out / "learning-curve.png", title, language)
    return found


def _part(
    dataset: Dataset, options: TrainOptions, share: float
) -> tuple[npt.NDArray[np.int64], Dataset, TrainOptions, int]:
    """The rows of a share, the dataset of these rows, the recipe scaled to as many steps as for all
    of Training, and the number of faces in the share of Training."""
    rows = share_of_training(dataset, share)
    part = dataset.where(rows)
    n = len(part.split("Training"))
    whole = options.steps_per_epoch(len(dataset.split("Training")))
    longer = whole / options.steps_per_epoch(n)
    epochs = max(1, round(options.epochs * longer))
    scaled = replace(
        options,
        epochs=epochs,
        warmup_epochs=min(options.warmup_epochs * longer, epochs),
        patience=round(options.patience * longer),
    )
    return rows, part, scaled, n


def _at_its_end(run_dir: Path, part: Dataset) -> dict[str, float]:
    """The accuracy after a run's last epoch, on Training and PublicTest.

    Not after its best epoch: a run on few faces has up to twenty times as many epochs to choose
    from, and choosing among more of them makes the accuracy on PublicTest look better than it is.
    """
    network, _ = load_last(run_dir)
    device = this_device()
    network.to(device)
    found = {}
    for name, split in (("training", "Training"), ("public", "PublicTest")):
        faces = Faces(part.split(split), device)
        found[name] = loss_and_accuracy(logits_of(network, faces), faces)[1]
    return {**found, "n_public": len(part.split("PublicTest"))}


def share_of_training(dataset: Dataset, share: float) -> npt.NDArray[np.int64]:
    """The rows of `share` of Training (random, always the same ones) and of all other splits."""
    training = np.flatnonzero(dataset.is_in("Training"))
    shuffled = np.random.default_rng(_SEED).permutation(training)
    picked = shuffled[: max(1, round(share * len(training)))]
    others = np.flatnonzero(~dataset.is_in("Training"))
    return np.sort(np.concatenate([picked, others]))


def would_more_help(points: list[dict[str, Any]], language: str = "en") -> str:
    """A text for people: whether more data would help, and the gain on PublicTest that shows it."""
    if len(points) < 2 or points[-1]["faces"] == points[-2]["faces"]:
        return translated("At least two sizes of Training are needed to tell.", language)
    before, last = points[-2], points[-1]
    gain = (last["public"] - before["public"]) / np.log2(last["faces"] / before["faces"])
    low, high = wilson_interval(last["public"], last["n_public"])
    noise = (high - low) / 2
    if last["training"] < _HARDLY:
        verdict = "The networks have hardly learnt: only longer runs can tell."
    elif noise > SMALL_GAP:
        verdict = "PublicTest has too few faces to tell."
    elif gain > noise:
        verdict = "More data would help: the curve still rises."
    elif last["training"] - last["public"] > 0.1:
        verdict = (
            "The last doubling gained no more than chance may give, though the network knows its "
            "Training faces much better: more faces of the same kind would help little."
        )
    else:
        verdict = (
            "The last doubling gained no more than chance may give, and both accuracies lie close "
            "together: a larger network or a longer run would help more than data."
        )
    evidence = (
        f"From {before['faces']:,} to {last['faces']:,} faces accuracy on PublicTest goes from "
        f"{before['public']:.1%} to {last['public']:.1%}, {100 * gain:+.1f} points for each "
        f"doubling (the interval of one accuracy is +- {100 * noise:.1f}); on Training it is "
        f"{last['training']:.1%}."
    )
    return f"{translated(verdict, language)} {translated(evidence, language)}"


def draw_learning_curve(
    points: list[dict[str, Any]], path: Path, title: str, language: str = "en"
) -> None:
    """Draw the accuracy on both splits over the number of faces, as a PNG at `path`.

    `points`: as in `learning-curve.json`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    faces = [point["faces"] for point in points]
    for split, label, colour in (
        ("training", translated("Training (the faces learnt from)", language), "#0072B2"),
        ("public", "PublicTest", "#D55E00"),
    ):
        values = [100 * point[split] for point in points]
        axes.plot(faces, values, "o-", color=colour, label=label)
    axes.set(
        xscale="log", title=title,
        xlabel=translated("faces of Training", language),
        ylabel=translated("accuracy, %", language),
    )  # fmt: skip
    axes.set_xticks(faces, [counted(n, language) for n in faces])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    write_atomically(path, lambda beside: figure.savefig(beside, format="png", dpi=110))
