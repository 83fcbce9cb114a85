"""What a run's curves say, a picture and sentences: over- and underfitting, what is confused.

In English or Spanish: `language` is one of `emotions.LANGUAGES`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from semblante.emotions import EMOTIONS, emotion_name
from semblante.files import write_atomically
from semblante.metrics import wilson_interval
from semblante.train.options import TrainOptions

# The two accuracies are estimates, of some thousand faces for FER2013: a gap of less than 4 points
# may be nothing, one of more than 10 is certain. Of fewer faces neither is.
_SMALL_GAP = 0.04
_LARGE_GAP = 0.10
_ONE_ANSWER = 0.8  # of all answers, and twice its share of the faces
_FEW = 20  # faces of an emotion
_ALMOST_ALL = 0.98  # of Training: nothing is left to learn there


def diagnose(history: list[dict[str, float]], n_public: int, language: str = "en") -> str:
    """One or two plain sentences: does the run over- or underfit, and from what is it seen?

    Compares, at the last epoch, accuracy on Training faces with accuracy on PublicTest (same
    weights, no augmentation), and the last loss and accuracy on PublicTest with the best of the
    run. Where PublicTest's `n_public` faces are too few for the difference it says so.
    """
    words = _WORDS[language]
    last = history[-1]
    gap = last["training_accuracy"] - last["public_accuracy"]
    lowest = min(record["public_loss"] for record in history)
    best = max(record["public_accuracy"] for record in history)
    rise = (last["public_loss"] - lowest) / max(lowest, 1e-9)
    harmed = rise > 0.03 or best - last["public_accuracy"] > 0.01
    low, high = wilson_interval(last["public_accuracy"], n_public)
    noise = (high - low) / 2
    if gap > max(_LARGE_GAP, noise) and harmed:
        verdict = "overfits"
    elif gap > max(_LARGE_GAP, noise):
        verdict = "at the edge"
    elif noise > _SMALL_GAP:
        verdict = "too few"
    elif gap < _SMALL_GAP and last["training_accuracy"] < _ALMOST_ALL:
        verdict = "underfits"
    else:
        verdict = "neither"
    evidence = words["evidence"].format(**last, gap=100 * gap, lowest=lowest)
    if verdict == "too few":
        return f"{words[verdict].format(n=n_public, noise=100 * noise)} {evidence}"
    return f"{words[verdict]} {evidence}"


def describe_confusion(confusion: npt.NDArray[np.int64], language: str = "en") -> str:
    """One or two sentences: how much of each emotion is known, and what is confused most, or that
    nearly all faces are taken for one.

    `confusion` (7, 7) counts faces, true label by prediction; emotions without faces are left out,
    and those with fewer than 20 are no example of confusion.
    """
    counts = confusion.sum(axis=1)
    shares = confusion / np.maximum(counts, 1)[:, None]
    shown = [k for k in np.argsort(-np.diag(shares), kind="stable") if counts[k]]
    names = [emotion_name(emotion, language) for emotion in EMOTIONS]
    known = ", ".join(f"{names[k]} {shares[k, k]:.0%}" for k in shown)
    right = _WORDS[language]["right"].format(known=known)
    answers = confusion.sum(axis=0) / max(1, confusion.sum())
    answer = int(answers.argmax())
    if answers[answer] > _ONE_ANSWER and answers[answer] > 2 * counts[answer] / counts.sum():
        one = _WORDS[language]["one answer"].format(said=names[answer], share=answers[answer])
        return f"{right} {one}"
    wrong = np.where(np.eye(len(shares), dtype=bool), 0, shares)
    wrong[counts < _FEW] = 0
    if not wrong.any():
        return right
    true, said = np.unravel_index(int(wrong.argmax()), wrong.shape)
    confused = _WORDS[language]["confused"].format(
        true=names[true], said=names[said], share=wrong[true, said]
    )
    return f"{right} {confused}"


def run_title(options: TrainOptions, language: str) -> str:
    """Of a picture."""
    return f"{options.network}, {_WORDS[language]['seed']} {options.seed}"


def draw_curves(
    history: list[dict[str, float]], path: Path, title: str, language: str = "en"
) -> None:
    """Loss, accuracy, step alpha and length of the gradient over the epochs, as a PNG."""
    from matplotlib.figure import Figure  # 0.4 s to import

    words = _WORDS[language]
    epochs = [record["epoch"] for record in history]
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    loss, accuracy, alpha, gradient = figure.subplots(1, 4)
    for split, label, colour in (
        ("training", words["sample"], "#0072B2"),
        ("public", "PublicTest", "#D55E00"),
    ):
        loss.plot(epochs, [r[f"{split}_loss"] for r in history], color=colour, label=label)
        values = [100 * r[f"{split}_accuracy"] for r in history]
        accuracy.plot(epochs, values, color=colour, label=label)
    loss.set(title=words["loss"], ylabel="nats")
    accuracy.set(title=words["accuracy"], ylabel="%")
    alpha.plot(epochs, [record["alpha"] for record in history], color="#555555")
    alpha.set(title=words["alpha"])
    gradient.plot(epochs, [record["gradient_norm"] for record in history], color="#555555")
    gradient.set(title=words["gradient"])
    for axes in (loss, accuracy, alpha, gradient):
        axes.set(xlabel=words["epoch"])
        axes.grid(alpha=0.3)
        if len(epochs) == 1:  # through one point goes no line
            axes.set_xticks(epochs)
            for line in axes.lines:
                line.set_marker("o")
    accuracy.legend(loc="best")
    figure.suptitle(title)
    write_atomically(path, lambda beside: figure.savefig(beside, format="png", dpi=110))


_WORDS: Final = {
    "en": {
        "overfits": "The run overfits: it learns the Training faces by heart while PublicTest gets "
        "worse. Fewer epochs, more augmentation or a smaller network would help.",
        "at the edge": "The run knows its Training faces better than new ones, but this has not "
        "harmed PublicTest yet: it is at the edge of overfitting.",
        "underfits": "The run underfits: it knows its Training faces hardly better than new ones, "
        "so the network could learn more. More epochs, a larger network or less augmentation would "
        "help.",
        "neither": "The run neither over- nor underfits clearly.",
        "too few": "PublicTest has too few faces, {n}, to tell whether the run over- or underfits: "
        "its accuracy is uncertain by +- {noise:.0f} points.",
        "evidence": "At epoch {epoch:g} accuracy is {training_accuracy:.1%} on Training and "
        "{public_accuracy:.1%} on PublicTest, a gap of {gap:.1f} points; the loss on PublicTest is "
        "{public_loss:.3f}, its lowest was {lowest:.3f}.",
        "right": "Right: {known}.",
        "confused": "Most confused: {true}, of which {share:.0%} are taken for {said}.",
        "one answer": "It answers {said} for {share:.0%} of the faces: it has hardly learnt.",
        "sample": "Training (sample)",
        "loss": "cross-entropy",
        "accuracy": "accuracy",
        "alpha": "step alpha",
        "gradient": "length of the gradient",
        "epoch": "epoch",
        "seed": "seed",
    },
    "es": {
        "overfits": "Hay sobreajuste: la red aprende de memoria los rostros de Training mientras "
        "PublicTest empeora. Ayudarían menos épocas, más aumento de datos o una red más pequeña.",
        "at the edge": "La red conoce los rostros de Training mejor que los nuevos, pero eso "
        "todavía no ha perjudicado a PublicTest: está al borde del sobreajuste.",
        "underfits": "Hay subajuste: la red conoce los rostros de Training apenas mejor que los "
        "nuevos, así que podría aprender más. Ayudarían más épocas, una red más grande o menos "
        "aumento de datos.",
        "neither": "No hay sobreajuste ni subajuste claros.",
        "too few": "PublicTest tiene muy pocos rostros, {n}, para saber si hay sobreajuste o "
        "subajuste: su exactitud es incierta en +- {noise:.0f} puntos.",
        "evidence": "En la época {epoch:g} la exactitud es {training_accuracy:.1%} en Training y "
        "{public_accuracy:.1%} en PublicTest, {gap:.1f} puntos de diferencia; el error en "
        "PublicTest es {public_loss:.3f} y su mínimo fue {lowest:.3f}.",
        "right": "Aciertos: {known}.",
        "confused": "Lo que más confunde: {true}, que en el {share:.0%} de los casos toma por "
        "{said}.",
        "one answer": "Responde {said} para el {share:.0%} de los rostros: apenas ha aprendido.",
        "sample": "Training (muestra)",
        "loss": "entropía cruzada",
        "accuracy": "exactitud",
        "alpha": "paso alfa",
        "gradient": "longitud del gradiente",
        "epoch": "época",
        "seed": "semilla",
    },
}
