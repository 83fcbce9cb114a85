"""What a command makes of a film and of its copy, with stand-ins for both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import cv2
import numpy as np
import pytest

from films import FPS, SIZE, canvas, write_video
from semblante import Analysis, Analyzer, Box, VideoError
from semblante.cli.inputs import Clip
from semblante.cli.work import Result, Work
from semblante.recognise.detection import Detection
from semblante.recognise.video import Video


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "moving.mp4"
    return write_video(path, 60, lambda _: canvas())


class Finds:
    """Somebody in every frame who does not count yet; notes how it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: dict[str, Any] = {}

    def analyze_video_with_pixels(
        self, video: Video, **how: Any
    ) -> Iterator[tuple[Analysis, np.ndarray]]:
        self.asked = how
        for frame in video.frames(how["every_s"]):
            how["tracker"].update([Detection(Box(100, 60, 80, 80), 0.5)], frame.time_s)
            yield Analysis(video.name, *SIZE, (), frame.number, frame.time_s), frame.image
        if self.error is not None:
            raise self.error


class Writes:
    """Notes what a copy is made of; `fails` at a frame, or at the end."""

    made: ClassVar[list[Writes]] = []
    fails: ClassVar[set[float | str]] = set()

    def __init__(self, path: Path, fps: float, film: Video) -> None:
        self.path, self.fps, self.film, self.lost_sound = path, fps, film, True
        self.times: list[float] = []
        self.done: bool | None = None
        self.made.append(self)

    def write(self, image: np.ndarray, time_s: float) -> None:
        self.times.append(time_s)
        if time_s in self.fails:
            raise VideoError("copy.mp4: cannot be written")

    def close(self, *, done: bool) -> None:
        self.done = done
        if "end" in self.fails:
            raise VideoError("copy.mp4: is the disk full?")


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> type[Writes]:
    monkeypatch.setattr(Writes, "made", [])
    monkeypatch.setattr(Writes, "fails", set())
    monkeypatch.setattr("semblante.cli.work.VideoWriter", Writes)
    return Writes


def results_of(
    film: Path, analyzer: Finds, every_s: float | None = None, *, blur: bool = False
) -> list[Result]:
    inputs, places = [Clip(film, Path(film.name))], {0: film.with_name("copy.mp4")}
    return list(
        Work(cast(Analyzer, analyzer), inputs, places, {}, every_s, None, "es", blur).results()
    )


@pytest.mark.parametrize("blur", [True, False])
def test_who_does_not_count_yet_is_hidden_as_well(
    moving: Path, writes: type[Writes], monkeypatch: pytest.MonkeyPatch, blur: bool
) -> None:
    hidden: list[list[Box]] = []
    languages: set[str] = set()
    monkeypatch.setattr(
        "semblante.cli.work.pixelated", lambda image, boxes: hidden.append(list(boxes)) or image
    )
    monkeypatch.setattr(
        "semblante.cli.work.annotate", lambda image, faces, language: languages.add(language)
    )
    analyzer = Finds()
    results_of(moving, analyzer, blur=blur)
    assert hidden == [[Box(100, 60, 80, 80)]] * 60 * blur
    assert analyzer.asked["search_every_s"] == (0.0 if blur else 0.5)
    assert languages == {"es"}


@pytest.mark.parametrize(
    ("every_s", "rate", "n"), [(None, FPS, 60), (0.5, 2.0, 6), (0.01, FPS, 60), (1000.0, 0.1, 1)]
)
def test_the_rate_and_the_sound_of_a_copy(
    moving: Path,
    writes: type[Writes],
    capsys: pytest.CaptureFixture[str],
    every_s: float | None,
    rate: float,
    n: int,
) -> None:
    analyzer = Finds()
    results = results_of(moving, analyzer, every_s)
    assert [result.ended for result in results] == [False] * n + [True]
    assert results[-1].analysis is None
    [writer] = writes.made
    assert (writer.fps, writer.done) == (rate, True)
    assert writer.film.name == str(moving)
    assert writer.times == [result.analysis.time_s for result in results[:-1] if result.analysis]
    assert analyzer.asked["every_s"] == every_s
    assert analyzer.asked["tracker"].sure_score == (0.8 if every_s in (None, 0.01) else 0.0)
    assert capsys.readouterr().err == (
        f"semblante: {writer.path}: its sound could not be taken over from {moving}\n"
    )


@pytest.mark.parametrize(
    ("error", "said", "kept"),
    [
        (VideoError("film: breaks off"), "film: breaks off", True),
        (cv2.error("too large"), "{}: could not be searched: too large", False),
        (MemoryError("too large"), "{}: could not be searched: too large", False),
    ],
)
def test_a_film_that_fails_on_the_way(
    moving: Path, writes: type[Writes], error: Exception, said: str, kept: bool
) -> None:
    """What could be read of it is worth keeping."""
    *frames, last = results_of(moving, Finds(error), 0.5)
    assert (len(frames), last.ended) == (6, True)
    assert last.analysis is not None
    assert last.analysis.error == said.format(moving)
    assert last.analysis.width is None
    assert writes.made[0].done == kept


@pytest.mark.parametrize(
    ("fails", "said", "written"),
    [
        ({1.0, 2.0}, "cannot be written", 3),
        ({"end"}, "is the disk full?", 6),
        ({1.0, "end"}, "cannot be written", 3),
    ],
)
def test_a_copy_that_fails_costs_no_results(
    moving: Path, writes: type[Writes], fails: set[float | str], said: str, written: int
) -> None:
    writes.fails |= fails
    *frames, last = results_of(moving, Finds(), 0.5)
    assert len(frames) == 6
    assert len(writes.made[0].times) == written
    assert last.analysis == Analysis(str(moving), *SIZE, error=f"copy.mp4: {said}")


def test_how_far_a_video_is(moving: Path) -> None:
    """What the bar on a terminal shows."""
    work = Work(
        Analyzer(detector="none"),
        [Clip(moving, Path(moving.name))],
        {},
        {},
        0.5,
        None,
        "en",
        blur=False,
    )
    results = list(work.results())
    assert [result.share for result in results] == pytest.approx([n / 6 for n in range(6)] + [0])
    assert [result.ended for result in results] == [False] * 6 + [True]
