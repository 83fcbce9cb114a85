"""Times how long a face takes, for semblante's models and other recognisers installed beside it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from semblante.errors import OptionError, check_number
from semblante.models import model_path
from semblante.recognise.classifier import Classifier

THREADS: Final = (1, 2)
BATCHES: Final = (1, 64)
Faces = npt.NDArray[np.uint8]  # grey, (n, 48, 48)
Case = TypeVar("Case")


@dataclass(frozen=True)
class Milliseconds:
    """The duration of one call, over many rounds."""

    median: float
    fastest: float  # nearest to the duration on an otherwise idle machine


@dataclass(frozen=True)
class Timing:
    """The time of one recogniser, on so many threads, given so many faces at once."""

    name: str
    threads: int | None  # None: as many as it chooses
    batch: int
    ms_a_face: Milliseconds

    def to_dict(self) -> dict[str, Any]:
        """What `semblante bench --format json` prints."""
        return {
            "name": self.name,
            "threads": self.threads,
            "batch": self.batch,
            "ms_a_face": round(self.ms_a_face.median, 4),
            "fastest_ms_a_face": round(self.ms_a_face.fastest, 4),
            "faces_a_second": round(1000 / self.ms_a_face.median, 1),
        }


def time_in_turn(
    calls: Mapping[Case, Callable[[], object]], rounds: int
) -> dict[Case, Milliseconds]:
    """How long each call takes, one after another in every round, so that a busy machine slows all
    of them alike. Each call is made once untimed just before, so that its data are in the
    processor's caches, as they are where many faces follow each other.
    """
    times: dict[Case, list[float]] = {case: [] for case in calls}
    for _ in range(rounds):
        for case, call in calls.items():
            call()
            started = time.perf_counter()
            call()
            times[case].append(1000 * (time.perf_counter() - started))
    return {case: Milliseconds(statistics.median(t), min(t)) for case, t in times.items()}


def time_recognisers(
    models: Iterable[str], *, rounds: int = 30, peers: bool = True
) -> list[Timing]:
    """Time models by name or file, and the package `fer` where it is installed, in turn in one run.

    The faces are noise: how long a face takes does not depend on what it shows.
    """
    check_number("rounds", rounds, 1, whole=True)
    faces = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 48, 48)).astype(np.uint8)
    runs: dict[tuple[str, int | None], Callable[[Faces], object]] = {}
    for model in models:
        for n in THREADS:
            runs[model, n] = Classifier(model_path(model), threads=n).probabilities
    if peers and find_spec("fer") is not None:
        try:
            runs["fer", None] = _fer()
        except ImportError as error:
            raise OptionError(
                f"fer is installed but cannot be loaded, --no-peers leaves it out: {error}"
            ) from None
    found = time_in_turn(
        {
            (name, threads, batch): partial(run, faces[:batch])
            for (name, threads), run in runs.items()
            for batch in BATCHES
        },
        rounds,
    )
    return [
        Timing(name, threads, batch, Milliseconds(took.median / batch, took.fastest / batch))
        for (name, threads, batch), took in found.items()
    ]


def _fer() -> Callable[[Faces], object]:
    """A function that classifies faces by the package `fer` (mini-Xception, 2018). It is told where
    the faces are, so that only its network is timed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from fer.fer import FER

    recogniser = FER(mtcnn=False)

    def classify(faces: Faces) -> object:
        # All faces in one picture, side by side, with room between: it crops more than a box.
        n, side, _ = faces.shape
        picture = np.zeros((3 * side, 2 * side * n + side, 3), np.uint8)
        places = [(2 * side * number + side, side, side, side) for number in range(n)]
        for (left, top, _, _), face in zip(places, faces, strict=True):
            picture[top : top + side, left : left + side] = face[:, :, None]
        return recogniser.detect_emotions(picture, face_rectangles=places)

    return classify
