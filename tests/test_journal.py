"""What a long analysis keeps beside its output, so that a killed run can go on from it."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from typer.testing import CliRunner

from conftest import EXAMPLE
from semblante import EMOTIONS, Analysis, Box, Face, files
from semblante.cli import journal as journal_module
from semblante.cli.app import app
from semblante.cli.journal import Journal
from semblante.errors import OptionError

if sys.platform != "win32":
    import fcntl


def test_journal_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    journal = Journal(out, {"a": 1}, resume=False)
    picture, frame = Analysis("a.jpg", 3, 4), Analysis("b.mp4", 3, 4, frame=0, time_s=0.0)
    journal.add(0, picture, ended=True)
    journal.add(1, frame, ended=False)
    journal.close(done=False)
    again = Journal(out, {"a": 1}, resume=True)
    assert again.next_input == 1  # the video starts again
    assert list(again.found()) == [(0, picture)]
    again.add(1, frame, ended=False)
    again.add(1, None, ended=True)
    assert list(again.found()) == [(0, picture), (1, frame)]
    again.close(done=True)
    Journal(out, {"a": 1}, resume=True).close(done=True)  # not begun yet: it begins
    out.touch()
    with pytest.raises(OptionError, match="is already complete; omit --resume"):
        Journal(out, {"a": 1}, resume=True)


def test_what_is_noted_is_not_rounded(tmp_path: Path) -> None:
    probabilities = {emotion: 1 / 3 if emotion == "happy" else 1 / 9 for emotion in EMOTIONS}
    face = Face(Box(1, 2, 30, 30), 2 / 3, "happy", probabilities)
    journal = Journal(tmp_path / "out.csv", {}, resume=False)
    journal.add(0, Analysis("a.jpg", 40, 40, (face,)), ended=True)
    [(_, found)] = journal.found()
    journal.close(done=True)
    assert found.faces == (face,)


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is asked there")
def test_a_file_that_another_run_replaces_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run ends, and a third begins, after this one has opened the file."""
    out, partial = tmp_path / "out.csv", tmp_path / "out.csv.partial"
    lock = fcntl.flock

    def late_lock(file: IO[bytes], how: int) -> None:
        partial.unlink()
        partial.write_bytes(HEAD)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late_lock)
    with pytest.raises(OptionError, match="another run is using it"):
        Journal(out, {}, resume=False)
    assert partial.read_bytes() == HEAD


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is asked there")
@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_with_one_output(tmp_path: Path, resume: bool) -> None:
    out, picture = tmp_path / "out.csv", Analysis("a.jpg", 3, 4)
    journal = Journal(out, {"a": 1}, resume=False)
    if resume:
        journal.add(0, picture, ended=True)
    with pytest.raises(OptionError, match=r"out\.csv\.partial: another run is using it"):
        Journal(out, {"a": 1}, resume=resume)
    journal.add(1, picture, ended=True)
    assert list(journal.found()) == [(n, picture) for n in range(1 - resume, 2)]
    journal.close(done=False)
    again = Journal(out, {"a": 1}, resume=True)
    assert again.next_input == 2
    again.close(done=True)


@pytest.mark.skipif(sys.platform == "win32", reason="imitates it")
def test_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte far behind the end is locked, and an open file cannot be deleted."""
    locked: set[int] = set()
    pauses: list[float] = []

    def locking(descriptor: int, how: int, n: int) -> None:
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        assert (place, n) == (1 << 30, 1)
        if how == msvcrt.LK_UNLCK:
            locked.remove(place)
            return
        if place in locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        locked.add(place)

    msvcrt = SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
    monkeypatch.setattr(journal_module, "msvcrt", msvcrt, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    out, picture = tmp_path / "out.csv", Analysis("a.jpg", 3, 4)
    journal = Journal(out, {}, resume=False)
    with pytest.raises(OptionError, match="another run is using it"):
        Journal(out, {}, resume=True)
    journal.add(0, picture, ended=True)
    assert list(journal.found()) == [(0, picture)]
    journal.close(done=False)
    again = Journal(out, {}, resume=True)
    assert again.next_input == 1

    def held(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(files, "_WINDOWS", True)
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    with monkeypatch.context() as here:
        here.setattr(Path, "unlink", held)
        again.close(done=True)
    assert len(pauses) == 3
    assert again.path.read_bytes() == b""
    Journal(out, {}, resume=False).close(done=True)
    assert not again.path.exists()


def noted(number: int, ended: bool = True) -> bytes:
    """A line of a journal: a picture, or a frame of a video."""
    analysis = Analysis(f"{number}.jpg", 3, 4).to_dict()
    return json.dumps({"input": number, "ended": ended, "analysis": analysis}).encode() + b"\n"


HEAD = b'{"semblante": {"inputs": ["a", "b"]}}\n'


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", 0),
        (HEAD[:20], 0),  # killed while it was written
        (HEAD, 0),
        (HEAD + noted(0), 1),
        (HEAD + noted(0) + noted(1)[:-1], 1),
        (HEAD + noted(0) + noted(1) + noted(2, ended=False), 2),
        (HEAD + noted(0) + b"damage\n" + noted(1), 1),  # what comes after it is found again
        (HEAD + noted(0) + b'{"input": 1}\n', 1),
        (HEAD + noted(0) + b"[]\n", 1),
    ],
)
def test_a_journal_goes_on_after_the_last_input_that_was_done(
    left: bytes, kept: int, tmp_path: Path
) -> None:
    out, partial = tmp_path / "out.csv", tmp_path / "out.csv.partial"
    partial.write_bytes(left)
    journal = Journal(out, {"inputs": ("a", "b")}, resume=True)
    assert journal.next_input == kept
    whole = HEAD + b"".join(noted(number) for number in range(kept))
    assert partial.read_bytes() == whole
    journal.add(kept, Analysis(f"{kept}.jpg", 3, 4), ended=True)
    assert partial.read_bytes() == whole + noted(kept)  # at once, should it be killed now
    journal.close(done=False)


@pytest.mark.parametrize(
    ("left", "resume", "message"),
    [
        (HEAD + noted(0), False, "holds the results of an unfinished run"),
        (b"my notes\n", False, "holds the results of an unfinished run"),
        (b'{"mine": 1}\n', False, "holds the results of an unfinished run"),
        (b"my notes\n" + noted(0), True, "expected the results of an unfinished run in"),
        (b"my notes", True, "expected the results of an unfinished run in"),
        (b'{"mine": 1}\n' + noted(0), True, "with other inputs or settings"),
    ],
)
def test_a_file_that_is_no_journal_of_this_run_is_left_alone(
    left: bytes, resume: bool, message: str, tmp_path: Path
) -> None:
    partial = tmp_path / "out.csv.partial"
    partial.write_bytes(left)
    with pytest.raises(OptionError, match=message):
        Journal(tmp_path / "out.csv", {"inputs": ["a", "b"]}, resume=resume)
    assert partial.read_bytes() == left


@pytest.mark.parametrize("left", [None, b"", HEAD[:20], HEAD, b'{"semblante": {"other": 1}}\n'])
def test_what_a_run_left_that_found_nothing_is_in_nobody_s_way(
    left: bytes | None, tmp_path: Path
) -> None:
    partial = tmp_path / "out.csv.partial"
    if left is not None:
        partial.write_bytes(left)
    journal = Journal(tmp_path / "out.csv", {"inputs": ["a", "b"]}, resume=False)
    assert partial.read_bytes() == HEAD
    assert list(journal.found()) == []
    journal.close(done=True)
    assert not partial.exists()


def test_a_run_goes_on_with_no_other_setting_that_its_results_depend_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []

    def notes(out: Path, about: dict[str, object], *, resume: bool) -> Journal:
        noted.append(json.dumps(about))
        raise OptionError("it is only asked for its notes")

    def loaded(model: str, *, head: str | None, **_: object) -> SimpleNamespace:
        return SimpleNamespace(classifier=SimpleNamespace(about=model, head=head or "ferplus"))

    monkeypatch.setattr("semblante.cli.analyze.Journal", notes)
    monkeypatch.setattr("semblante.cli.analyze.Analyzer", loaded)
    other = tmp_path / "other.jpg"
    other.write_bytes(EXAMPLE.read_bytes())
    copies = ["--annotate", str(tmp_path / "copies")]
    settings = [
        [], [str(other)], ["--model", "rcnn-small"], ["--detector", "haar"],
        ["--min-face", "30"], ["--min-score", "0.7"], ["--every", "1s"], ["--smoothing", "1"],
        ["--steps", "1"], ["--early-exit", "0.9"], ["--tta", "none"], ["--head", "fer2013"],
        ["--lang", "es"], copies, [*copies, "--blur"],
    ]  # fmt: skip
    for chosen in settings:
        arguments = ["analyze", str(EXAMPLE), "--out", str(tmp_path / "out.json"), *chosen]
        CliRunner().invoke(app, arguments)
    assert len(set(noted)) == len(noted) == len(settings)
