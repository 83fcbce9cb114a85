"""Plots of an evaluation (matplotlib): the confusion matrix and the reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from semblante.emotions import emotion_called, emotion_name
from semblante.evaluation import Evaluation
from semblante.files import write_atomically
from semblante.translation import translated
from semblante.wording import figures


def class_name(name: str, language: str) -> str:
    """Return the word in `language` for an emotion of FER2013 or FER+."""
    if language == "en":
        return name
    emotion = emotion_called(name)
    if emotion is None:  # contempt, FER+'s eighth class
        return translated(name, language)
    return emotion_name(emotion, language)


def draw_confusion(evaluation: Evaluation, path: Path, language: str = "en") -> None:
    """Draw the confusion matrix of an evaluation, see `draw_counts`."""
    accuracy = figures(f"{evaluation.accuracy:.1%}", language)
    title = f"{_title(evaluation)}: {accuracy} (n={evaluation.n})"
    names = tuple(evaluation.per_class)
    draw_counts(evaluation.confusion, names, path, title, evaluation.labels, language)


def draw_counts(
    counts: npt.NDArray[np.int64],
    names: Sequence[str],
    path: Path,
    title: str,
    labels: str,
    language: str = "en",
) -> None:
    """Draw a confusion matrix (true label by prediction) as a PNG, with shares of each true label
    and counts below them. `labels` names the source of the true labels; the words are in
    `language`."""
    from matplotlib.figure import Figure

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.6, 6.0), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(names))
    shown = [class_name(name, language) for name in names]
    axes.set_xticks(places, shown, rotation=45, ha="right")
    axes.set_yticks(places, shown)
    axes.set(
        xlabel=translated("predicted", language), ylabel=translated(f"label ({labels})", language)
    )
    axes.set_title(title, parse_math=False)  # a path may contain dollar signs
    for row in places:
        for column in places:
            share = shares[row, column]
            shown_share = figures(f"{share:.0%}", language)
            axes.text(
                column, row, f"{shown_share}\n{counts[row, column]}", ha="center", va="center",
                fontsize=8, color="white" if share > 0.5 else "black",
            )  # fmt: skip
    write_atomically(path, lambda beside: figure.savefig(beside, dpi=120, format="png"))


def draw_reliability(evaluation: Evaluation, path: Path, language: str = "en") -> None:
    """Draw the reliability diagram, accuracy by confidence, as a PNG.

    The area of a point is the share of the faces in its bin; on the diagonal, confidence equals
    accuracy.
    """
    from matplotlib.figure import Figure

    shares, confidences, right = np.array(evaluation.reliability).T
    figure = Figure(figsize=(5.0, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter(confidences, right, s=1500 * shares, color="#0072B2", alpha=0.75)
    axes.set(
        xlim=(0, 1), ylim=(0, 1), aspect="equal",
        xlabel=translated("confidence: the probability of its answer", language),
        ylabel=translated("accuracy: the share of right answers", language),
    )  # fmt: skip
    ece = figures(f"{evaluation.ece:.3f}", language)
    title = f"{_title(evaluation)} (n={evaluation.n}), ECE {ece}"
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    write_atomically(path, lambda beside: figure.savefig(beside, dpi=110, format="png"))


def _title(evaluation: Evaluation) -> str:
    return f"{evaluation.model}, {evaluation.split}"
