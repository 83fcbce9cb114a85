"""`semblante bench`: what is timed and how it is said, never how quick it is."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from program import semblante
from semblante import OptionError
from semblante.models import model_path
from semblante.recognise import timing
from semblante.recognise.timing import Milliseconds, time_in_turn, time_recognisers


def test_models_are_timed_on_one_and_two_threads_alone_and_in_batches() -> None:
    model = "rcnn-small-int8"
    done = semblante("bench", "--rounds", 1, "--no-peers", "--format", "json", "--model", model)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    cases = [(t["name"], t["threads"], t["batch"]) for t in found["timings"]]
    assert cases == [(model, n, batch) for n in (1, 2) for batch in (1, 64)]
    assert all(one["ms_a_face"] >= one["fastest_ms_a_face"] > 0 for one in found["timings"])


def test_the_table_and_a_model_that_is_not_there(tmp_path: Path) -> None:
    shutil.copy(model_path("rcnn-small-int8"), tmp_path / "[b].onnx")
    done = semblante("bench", "--rounds", 1, "--no-peers", "--model", "[b].onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["[b].onnx"] * 4
    wrong = semblante("bench", "--model", "rcnn-smal")
    assert wrong.returncode == 2
    assert "unknown model 'rcnn-smal'" in wrong.stderr


def test_peers_see_the_same_faces_in_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package fer as it is called: faces in a picture, and where they are."""
    asked: list[list[np.ndarray]] = []

    class Fer:
        def __init__(self, mtcnn: bool) -> None:
            assert not mtcnn

        def detect_emotions(self, picture: np.ndarray, face_rectangles: list) -> list:
            asked.append(
                [picture[y : y + h, x : x + w, 0].copy() for x, y, w, h in face_rectangles]
            )
            return []

    module = ModuleType("fer.fer")
    module.FER = Fer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fer", ModuleType("fer"))
    monkeypatch.setitem(sys.modules, "fer.fer", module)
    monkeypatch.setattr(timing, "find_spec", lambda name: name == "fer")
    found = time_recognisers([], rounds=2)
    assert [(one.name, one.threads, one.batch) for one in found] == [
        ("fer", None, 1), ("fer", None, 64)
    ]  # fmt: skip
    assert [len(faces) for faces in asked] == [1, 1, 64, 64] * 2  # once untimed, once timed
    faces = np.random.default_rng(0).integers(0, 256, (64, 48, 48)).astype(np.uint8)
    assert np.array_equal(np.stack(asked[2]), faces)
    monkeypatch.delitem(sys.modules, "fer.fer")  # a folder called fer, say
    with pytest.raises(OptionError, match="fer is installed but cannot be loaded, --no-peers"):
        time_recognisers([], rounds=1)
    with pytest.raises(OptionError, match="rounds of at least 1, found 0"):
        time_recognisers(["rcnn-small-int8"], rounds=0)


def test_the_middle_and_the_fastest_of_some_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls in turn, each made once before it is timed."""
    made: list[str] = []
    seconds = iter((0, 0.003, 1, 1.01, 2, 2.001, 3, 3.03, 4, 4.002, 5, 5.02))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(seconds))
    found = time_in_turn({"a": lambda: made.append("a"), "b": lambda: made.append("b")}, 3)
    assert made == list("aabb" * 3)
    assert (found["a"].median, found["a"].fastest) == pytest.approx((2, 1))
    assert (found["b"].median, found["b"].fastest) == pytest.approx((20, 10))


def test_milliseconds_are_of_a_single_face(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    class Network:
        def __init__(self, _: Path, *, threads: int) -> None:
            self.threads = threads

        def probabilities(self, faces: np.ndarray) -> None:
            threads.append(self.threads)

    def in_turn(calls: dict[Any, Callable[[], object]], _: int) -> dict[Any, Milliseconds]:
        for call in calls.values():
            call()
        return {case: Milliseconds(case[2] * 4.0, case[2] * 2.0) for case in calls}

    monkeypatch.setattr(timing, "Classifier", Network)
    monkeypatch.setattr(timing, "time_in_turn", in_turn)
    found = time_recognisers(["rcnn-small-int8"], peers=False)
    assert threads == [1, 1, 2, 2]
    assert [(one.threads, one.batch) for one in found] == [(1, 1), (1, 64), (2, 1), (2, 64)]
    for one in found:
        said = one.to_dict()
        assert (said["ms_a_face"], said["fastest_ms_a_face"], said["faces_a_second"]) == (4, 2, 250)
