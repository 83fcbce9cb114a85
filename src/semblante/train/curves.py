"""What a run's curves say, a picture and sentences: over- and underfitting, what is confused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS
from semblante.files import write_atomically

# The two accuracies are estimates from some thousand faces: a gap of less than 4 points may
# be nothing, one of more than 10 is certain.
_SMALL_GAP = 0.04
_LARGE_GAP = 0.10
_ALMOST_ALL = 0.98  # of Training: nothing is left to learn there


def diagnose(history: list[dict[str, float]]) -> str:
    """One or two plain sentences: does the run over- or underfit, and from what is it seen?

    Compares, at the last epoch, accuracy on Training faces with accuracy on PublicTest (same
    weights, no augmentation), and the last loss on PublicTest with the lowest of the run.
    """
    last = history[-1]
    gap = last["training_accuracy"] - last["public_accuracy"]
    lowest = min(record["public_loss"] for record in history)
    best = max(record["public_accuracy"] for record in history)
    rise = (last["public_loss"] - lowest) / max(lowest, 1e-9)
    evidence = (
        f"At epoch {last['epoch']:g} accuracy is {last['training_accuracy']:.1%} on Training and "
        f"{last['public_accuracy']:.1%} on PublicTest, a gap of {100 * gap:.1f} points; the loss "
        f"on PublicTest is {last['public_loss']:.3f}, its lowest was {lowest:.3f}."
    )
    harmed = rise > 0.03 or best - last["public_accuracy"] > 0.01
    if gap > _LARGE_GAP and harmed:
        verdict = (
            "The run overfits: it learns the Training faces by heart while PublicTest gets worse. "
            "Fewer epochs, more augmentation or a smaller network would help."
        )
    elif gap > _LARGE_GAP:
        verdict = (
            "The run knows its Training faces better than new ones, but this has not "
            "harmed PublicTest yet: it is at the edge of overfitting."
        )
    elif gap < _SMALL_GAP and last["training_accuracy"] < _ALMOST_ALL:
        verdict = (
            "The run underfits: it knows its Training faces hardly better than new ones, so the "
            "network could learn more. More epochs, a larger network or less augmentation would "
            "help."
        )
    else:
        verdict = "The run neither over- nor underfits clearly."
    return f"{verdict} {evidence}"


def describe_confusion(confusion: npt.NDArray[np.int64]) -> str:
    """One or two sentences: how much of each emotion is known, and what is confused most.

    `confusion` (7, 7) counts faces, true label by prediction; emotions without faces are left out.
    """
    counts = confusion.sum(axis=1)
    shares = confusion / np.maximum(counts, 1)[:, None]
    shown = [k for k in np.argsort(-np.diag(shares), kind="stable") if counts[k]]
    known = ", ".join(f"{EMOTIONS[k]} {shares[k, k]:.0%}" for k in shown)
    wrong = np.where(np.eye(len(shares), dtype=bool), 0, shares)
    if not wrong.any():
        return f"Right: {known}."
    true, said = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return (
        f"Right: {known}. Most confused: {EMOTIONS[true]}, of which {wrong[true, said]:.0%} are "
        f"taken for {EMOTIONS[said]}."
    )


def draw_curves(history: list[dict[str, float]], path: Path, title: str) -> None:
    """Loss, accuracy, step alpha and length of the gradient over the epochs, as a PNG."""
    from matplotlib.figure import Figure  # 0.4 s to import

    epochs = [record["epoch"] for record in history]
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    loss, accuracy, alpha, gradient = figure.subplots(1, 4)
    for split, label, colour in (
        ("training", "Training (sample)", "#0072B2"),
        ("public", "PublicTest", "#D55E00"),
    ):
        loss.plot(epochs, [r[f"{split}_loss"] for r in history], color=colour, label=label)
        values = [100 * r[f"{split}_accuracy"] for r in history]
        accuracy.plot(epochs, values, color=colour, label=label)
    loss.set(title="cross-entropy", xlabel="epoch", ylabel="nats")
    accuracy.set(title="accuracy", xlabel="epoch", ylabel="%")
    alpha.plot(epochs, [record["alpha"] for record in history], color="#555555")
    alpha.set(title="step alpha", xlabel="epoch")
    gradient.plot(epochs, [record["gradient_norm"] for record in history], color="#555555")
    gradient.set(title="length of the gradient", xlabel="epoch")
    for axes in (loss, accuracy, alpha, gradient):
        axes.grid(alpha=0.3)
    accuracy.legend(loc="lower right")
    figure.suptitle(title)
    write_atomically(path, lambda beside: figure.savefig(beside, format="png", dpi=110))
