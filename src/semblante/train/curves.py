"""The verdict on a run: sentences on over- and underfitting and on confusions, and its curves.

Texts are in English or Spanish: `language` is one of `emotions.LANGUAGES`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS, emotion_name
from semblante.files import write_atomically
from semblante.metrics import wilson_interval
from semblante.train.options import TrainOptions
from semblante.train.user_code import short_name
from semblante.translation import translated

# The two accuracies are estimates, for FER2013 from a few thousand faces: a gap below 4 points may
# be chance, one above 10 points is not. With fewer faces even that is uncertain.
SMALL_GAP = 0.04
_LARGE_GAP = 0.10
_ONE_ANSWER = 0.8  # share of all answers; it must also be twice the emotion's share of the faces
_FEW = 20  # an emotion with fewer faces is no example of confusion
_ALMOST_ALL = 0.98  # accuracy on Training: there is nothing left to learn


def diagnose(history: list[dict[str, float]], n_public: int, language: str = "en") -> str:
    """A few plain sentences: whether the run over- or underfits, and the evidence.

    Compares, at the last epoch, the accuracy on Training faces with that on PublicTest (same
    weights, no augmentation), and the last loss and accuracy on PublicTest with the best of the
    run. If PublicTest's `n_public` faces are too few to judge the difference, it says so.
    """
    last = history[-1]
    gap = last["training_accuracy"] - last["public_accuracy"]
    lowest = min(record["public_loss"] for record in history)
    best = max(record["public_accuracy"] for record in history)
    rise = (last["public_loss"] - lowest) / max(lowest, 1e-9)
    harmed = rise > 0.03 or best - last["public_accuracy"] > 0.01
    low, high = wilson_interval(last["public_accuracy"], n_public)
    noise = (high - low) / 2
    if gap > max(_LARGE_GAP, noise) and harmed:
        verdict = (
            "The run overfits: it learns the Training faces by heart while PublicTest gets worse. "
            "Fewer epochs, more augmentation or a smaller network would help."
        )
    elif gap > max(_LARGE_GAP, noise):
        verdict = (
            "The run knows its Training faces better than new ones, but this has not harmed "
            "PublicTest yet: it is at the edge of overfitting."
        )
    elif noise > SMALL_GAP:
        verdict = (
            f"PublicTest has too few faces, {n_public}, to tell whether the run over- or "
            f"underfits: its accuracy is uncertain by +- {100 * noise:.0f} points."
        )
    elif gap < SMALL_GAP and last["training_accuracy"] < _ALMOST_ALL:
        verdict = (
            "The run underfits: it knows its Training faces hardly better than new ones, so the "
            "network could learn more. More epochs, a larger network or less augmentation would "
            "help."
        )
    else:
        verdict = "The run neither over- nor underfits clearly."
    evidence = (
        f"At epoch {last['epoch']:g} accuracy is {last['training_accuracy']:.1%} on Training and "
        f"{last['public_accuracy']:.1%} on PublicTest, a gap of {100 * gap:.1f} points; the loss "
        f"on PublicTest is {last['public_loss']:.3f}, its lowest was {lowest:.3f}."
    )
    return f"{translated(verdict, language)} {translated(evidence, language)}"


def describe_confusion(confusion: npt.NDArray[np.int64], language: str = "en") -> str:
    """One or two sentences: the recall of each emotion, and the most frequent confusion, or that
    nearly all faces are classified as the same emotion.

    `confusion` (7, 7) counts faces, true label by prediction. Emotions without faces are left out,
    and those with fewer than 20 faces are not named as the most confused.
    """
    counts = confusion.sum(axis=1)
    shares = confusion / np.maximum(counts, 1)[:, None]
    shown = [k for k in np.argsort(-np.diag(shares), kind="stable") if counts[k]]
    names = [emotion_name(emotion, language) for emotion in EMOTIONS]
    known = ", ".join(f"{names[k]} {shares[k, k]:.0%}" for k in shown)
    right = translated(f"Right: {known}.", language)
    answers = confusion.sum(axis=0) / max(1, int(confusion.sum()))
    answer = int(answers.argmax())
    if answers[answer] > _ONE_ANSWER and answers[answer] > 2 * counts[answer] / counts.sum():
        one = (
            f"It answers {names[answer]} for {answers[answer]:.0%} of the faces: it has hardly "
            "learnt."
        )
        return f"{right} {translated(one, language)}"
    wrong = np.where(np.eye(len(shares), dtype=bool), 0, shares)
    wrong[counts < _FEW] = 0
    if not wrong.any():
        return right
    true, said = np.unravel_index(int(wrong.argmax()), wrong.shape)
    confused = (
        f"Most confused: {names[true]}, of which {wrong[true, said]:.0%} are taken for "
        f"{names[said]}."
    )
    return f"{right} {translated(confused, language)}"


def run_title(options: TrainOptions, language: str) -> str:
    """The title of a run's pictures: its network and seed."""
    return translated(f"{short_name(options.network)}, seed {options.seed}", language)


def draw_curves(
    history: list[dict[str, float]], path: Path, title: str, language: str = "en"
) -> None:
    """Draw loss, accuracy, step alpha and length of the gradient over the epochs, as a PNG."""
    from matplotlib.figure import Figure  # 0.4 s to import

    epochs = [record["epoch"] for record in history]
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    loss, accuracy, alpha, gradient = figure.subplots(1, 4)
    for split, label, colour in (
        ("training", translated("Training (sample)", language), "#0072B2"),
        ("public", "PublicTest", "#D55E00"),
    ):
        loss.plot(epochs, [r[f"{split}_loss"] for r in history], color=colour, label=label)
        values = [100 * r[f"{split}_accuracy"] for r in history]
        accuracy.plot(epochs, values, color=colour, label=label)
    loss.set(title=translated("cross-entropy", language), ylabel="nats")
    accuracy.set(title=translated("accuracy", language), ylabel="%")
    alpha.plot(epochs, [record["alpha"] for record in history], color="#555555")
    alpha.set(title=translated("step alpha", language))
    gradient.plot(epochs, [record["gradient_norm"] for record in history], color="#555555")
    gradient.set(title=translated("length of the gradient", language))
    for axes in (loss, accuracy, alpha, gradient):
        axes.set(xlabel=translated("epoch", language))
        axes.grid(alpha=0.3)
        if len(epochs) == 1:  # a single point makes no line
            axes.set_xticks(epochs)
            for line in axes.lines:
                line.set_marker("o")
    accuracy.legend(loc="best")
    figure.suptitle(title)
    write_atomically(path, lambda beside: figure.savefig(beside, format="png", dpi=110))
