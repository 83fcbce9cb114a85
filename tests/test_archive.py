"""Many inputs at once: batched, written as they come, taken up again after a kill."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from conftest import EXAMPLE
from semblante import Analysis, Analyzer
from semblante.cli.app import app
from semblante.cli.formats import COLUMNS, _clock
from semblante.cli.inputs import Picture, annotated_places, find_inputs
from semblante.cli.journal import Journal
from semblante.cli.views import Views
from semblante.errors import OptionError
from test_cli import PROGRAM, semblante
from test_video import canvas, write_video


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures, three of them broken, and a video."""
    folder = tmp_path_factory.mktemp("archive") / "fotos ñ"
    folder.mkdir()
    with Image.open(EXAMPLE) as picture:
        head = picture.crop((90, 0, 360, 270))
        for number in range(30):
            size = 120 + 4 * number
            head.resize((size, size)).save(folder / f"{number:02d}.jpg", quality=80)
    for number in (4, 17, 29):
        (folder / f"{number:02d}.jpg").write_bytes(b"broken")
    face = np.asarray(head.resize((150, 150)))
    write_video(folder / "10 clip.mp4", 30, lambda n: canvas((face, 3 * n, 40)))
    return folder


def finished(archive: Path, out: Path, *more: object) -> str:
    done = semblante("analyze", archive, "--format", "json", "--out", out, *more)
    assert done.returncode == 1, done.stderr  # for the broken ones
    assert not out.with_name(out.name + ".partial").exists()
    return out.read_text()


def test_batches_give_what_single_pictures_give(archive: Path) -> None:
    analyzer = Analyzer()
    paths = sorted(archive.glob("*.jpg"))
    together = list(analyzer.analyze_many(paths))
    assert [analysis.path for analysis in together] == [str(path) for path in paths]
    assert sum(analysis.error is not None for analysis in together) == 3
    for analysis in together:
        if analysis.error is None:
            alone = analyzer.analyze(str(analysis.path))
            assert [face.box for face in analysis.faces] == [face.box for face in alone]
            for one, other in zip(analysis.faces, alone, strict=True):
                assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_whoever_stops_early_does_not_wait_for_the_rest(archive: Path) -> None:
    asked = []

    def pictures():
        for _ in range(10_000):
            asked.append(1)
            yield archive / "00.jpg"

    results = Analyzer().analyze_many(pictures())
    next(results)
    results.close()
    assert len(asked) < 100


def test_all_formats_have_the_same_rows(archive: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = [json.loads(line) for line in finished(archive, tmp_path / "x.json").splitlines()]
    for name in ("x.csv", "x.parquet"):
        suffix = name.split(".")[1]
        done = semblante("analyze", archive, "--format", suffix, "--out", tmp_path / name)
        assert done.returncode == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    table = parquet.read_table(tmp_path / "x.parquet")
    assert tuple(table.column_names) == tuple(rows[0]) == COLUMNS
    typed = table.to_pylist()
    assert len(typed) == len(rows) == sum(max(1, len(line["faces"])) for line in lines)
    for row, values in zip(rows, typed, strict=True):
        for column in COLUMNS:
            expected = "" if values[column] is None else str(values[column])
            assert row[column] == expected
    frames = [line for line in lines if line["path"].endswith("clip.mp4")]
    assert [line["frame"] for line in frames] == list(range(30))
    assert {face["track"] for line in frames for face in line["faces"]} == {1}


def test_a_table_has_a_line_for_each_track(archive: Path) -> None:
    done = semblante("analyze", archive / "10 clip.mp4", "--every", "200ms")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if "clip.mp4" in line]
    assert "track 1" in line
    assert "0:00.0 - 0:01." in line


def test_killed_again_and_again_it_ends_like_an_uninterrupted_run(
    archive: Path, tmp_path: Path
) -> None:
    whole = finished(archive, tmp_path / "whole.json")
    out = tmp_path / "parts.json"
    partial = tmp_path / "parts.json.partial"
    chance = random.Random(0)
    kills = 0
    for _ in range(60):
        arguments = [PROGRAM, "analyze", archive, "--format", "json", "--out", out]
        arguments += ["--resume"] if partial.exists() else []
        process = subprocess.Popen(
            list(map(str, arguments)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = partial.stat().st_size if partial.exists() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            grown = (partial.stat().st_size if partial.exists() else before) - before
            if kills < 5 and grown > chance.uniform(500, 3000):
                process.send_signal(signal.SIGKILL)
                kills += 1
            time.sleep(0.001)
        if process.wait() >= 0:
            break
    assert kills == 5
    assert out.read_text() == whole
    assert not partial.exists()


def test_a_line_cut_off_in_the_middle_is_written_again(archive: Path, tmp_path: Path) -> None:
    whole = finished(archive, tmp_path / "whole.json")
    out = tmp_path / "parts.json"
    process = subprocess.Popen(
        [str(PROGRAM), "analyze", str(archive), "--format", "json", "--out", str(out)],
        stderr=subprocess.DEVNULL,
    )
    partial = tmp_path / "parts.json.partial"
    while not partial.exists() or partial.read_bytes().count(b"\n") < 4:
        time.sleep(0.001)
    process.kill()
    process.wait()
    head, first, second = partial.read_bytes().splitlines(keepends=True)[:3]
    cut = head + first + second[:40]
    partial.write_bytes(cut)
    again = semblante("analyze", archive, "--format", "json", "--out", out)
    assert again.returncode == 2
    assert "go on with --resume, or delete it" in again.stderr
    assert partial.read_bytes() == cut
    assert finished(archive, out, "--resume") == whole


def test_timelines_in_the_searched_folder_are_not_searched(archive: Path, tmp_path: Path) -> None:
    shutil.copy(archive / "10 clip.mp4", tmp_path / "clip.mp4")
    for _ in range(2):
        done = semblante("analyze", tmp_path, "--timeline", tmp_path, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 30
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "clip.mp4.png"}


def test_interrupted_while_the_pages_are_made(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are written by then; what is made of them is still to come."""

    def interrupted(self: Views) -> None:
        raise KeyboardInterrupt

    out, sheet = tmp_path / "x.json", tmp_path / "sheet.png"
    arguments = ["analyze", str(archive), "--format", "json", "--out", str(out)]
    arguments += ["--contact-sheet", str(sheet)]
    with monkeypatch.context() as patch:
        patch.setattr(Views, "write", interrupted)
        assert CliRunner().invoke(app, arguments).exit_code == 130
    whole = out.read_text()
    assert not sheet.exists()
    assert semblante(*arguments, "--resume").returncode == 1  # of the broken ones
    assert out.read_text() == whole
    assert sheet.exists()
    assert not Path(f"{out}.partial").exists()


def test_resume_of_something_else(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    assert semblante("analyze", archive, "--resume").returncode == 2
    out.write_text("whole")
    done = semblante("analyze", archive, "--out", out, "--resume")
    assert done.returncode == 2
    assert f"--resume: {out} is whole" in done.stderr
    assert out.read_text() == "whole"
    Journal(out, {"inputs": ["other"]}, resume=False).close(done=False)
    done = semblante("analyze", archive, "--out", out, "--resume")
    assert done.returncode == 2
    assert "of other inputs or settings" in done.stderr


def test_what_is_no_journal_is_left_alone(archive: Path, tmp_path: Path) -> None:
    kept = tmp_path / "x.csv.partial"
    kept.write_text("my own notes\n")
    done = semblante("analyze", archive, "--out", tmp_path / "x.csv", "--resume")
    assert done.returncode == 2
    assert "expected its notes, found another file" in done.stderr
    assert kept.read_text() == "my own notes\n"


def test_names_of_many_copies() -> None:
    names = ["face.jpg", "face.jpg", "face-2.jpg", "face.jpg", "other.jpg", "face-2.jpg"]
    found = [Picture(Path(f"{k}/{name}"), Path(name)) for k, name in enumerate(names)]
    places = [path.name for path in annotated_places(found, Path("out")).values()]
    assert places == ["face.jpg", "face-2.jpg", "face-2-2.jpg", "face-3.jpg", "other.jpg",
                      "face-2-3.jpg"]  # fmt: skip


def test_a_clock_does_not_say_sixty_seconds() -> None:
    assert [_clock(s) for s in (0, 59.94, 59.97, 61.25)] == ["0:00.0", "0:59.9", "1:00.0", "1:01.2"]


def test_journal_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    journal = Journal(out, {"a": 1}, resume=False)
    picture, frame = Analysis("a.jpg", 3, 4), Analysis("b.mp4", 3, 4, frame=0, time_s=0.0)
    journal.add(0, picture, ended=True)
    journal.add(1, frame, ended=False)
    journal.close(done=False)
    again = Journal(out, {"a": 1}, resume=True)
    assert again.next_input == 1  # the video starts again
    assert list(again.analyses()) == [picture]
    again.add(1, frame, ended=False)
    again.add(1, None, ended=True)
    assert list(again.analyses()) == [picture, frame]
    again.close(done=True)
    Journal(out, {"a": 1}, resume=True).close(done=True)  # not begun yet: it begins
    out.touch()
    with pytest.raises(OptionError, match="is whole; without --resume"):
        Journal(out, {"a": 1}, resume=True)


def test_the_same_again_with_a_contact_sheet_among_the_pictures(tmp_path: Path) -> None:
    """The page is no picture of the folder; a picture of one's own of that name is."""
    shutil.copy(EXAMPLE, tmp_path / "a.jpg")
    arguments = ("analyze", tmp_path, "--contact-sheet", tmp_path / "sheet.png", "--format", "json")
    first = semblante(*arguments)
    again = semblante(*arguments)
    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert again.stdout == first.stdout
    cv2.imwrite(str(tmp_path / "sheet.png"), np.zeros((50, 50, 3), np.uint8))
    done = semblante(*arguments)
    assert done.returncode == 2
    assert "would overwrite" in done.stderr


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for place in ("a.jpg", ".thumbnails/a.jpg", "b/@eaDir/a.jpg", "b/.b.jpg", "b/c.jpg"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLE, tmp_path / place)
    found = find_inputs([tmp_path])
    assert [str(item.below) for item in found if isinstance(item, Picture)] == ["a.jpg", "b/c.jpg"]
    # What is named is read, wherever it lies.
    assert len(find_inputs([tmp_path / ".thumbnails"])) == 1


def test_what_is_neither_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "sound.mp3").write_bytes(b"ID3" + bytes(3000))
    done = semblante("analyze", tmp_path / "sound.mp3")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"semblante: {tmp_path / 'sound.mp3'}: neither a picture nor a video in a known format"
    ]


def test_annotated_video(archive: Path, tmp_path: Path) -> None:
    from semblante.recognise.video import Video

    clip = archive / "10 clip.mp4"
    shutil.copy(clip, tmp_path / "clip.mp4")
    done = semblante("analyze", tmp_path / "clip.mp4", "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    marked = list(Video(tmp_path / "marked" / "clip.mp4").frames())
    plain = list(Video(clip).frames())
    assert len(marked) == len(plain) == 30
    changed = np.abs(marked[20].image.astype(int) - plain[20].image).max(axis=2) > 60
    assert 100 < changed.sum() < 20_000
    assert [path.name for path in (tmp_path / "marked").iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("name", ["picture.jpg", "clip.mp4"])
def test_no_half_of_a_marked_copy_stays_where_the_disk_is_full(
    archive: Path, tmp_path: Path, name: str
) -> None:
    """No file may grow beyond 30,000 bytes here: the first write that passes it is cut short."""
    if name == "picture.jpg":
        shutil.copy(EXAMPLE, tmp_path / name)
    else:
        shutil.copy(archive / "10 clip.mp4", tmp_path / name)
    marked = tmp_path / "marked"
    out = tmp_path / "found.json"
    small = tmp_path / "then.png"  # its copy fits
    Image.new("RGB", (40, 40)).save(small)
    done = subprocess.run(
        [PROGRAM, "analyze", tmp_path / name, small, "--annotate", marked, "--format", "json",
         "--out", out],
        capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{marked / name}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in marked.iterdir()] == [small.name]
    lines = out.read_text().splitlines()
    *of_the_first, last = (Analysis.from_dict(json.loads(line)) for line in lines)
    assert of_the_first[-1].error is not None
    assert [analysis.error is None for analysis in of_the_first[:-1]] == [True] * (
        len(of_the_first) - 1
    )
    assert (last.path, last.error) == (str(small), None)
    assert not out.with_name(out.name + ".partial").exists()


def test_a_copy_whose_folder_cannot_be_made(archive: Path, tmp_path: Path) -> None:
    deep = tmp_path / "in" / "deep"
    deep.mkdir(parents=True)
    shutil.copy(archive / "10 clip.mp4", deep / "clip.mp4")
    shutil.copy(EXAMPLE, deep.parent / "then.jpg")
    marked = tmp_path / "marked"
    marked.mkdir()
    (marked / "deep").write_text("a file in the way")
    done = semblante("analyze", deep.parent, "--annotate", marked, "--format", "json")
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["error"] is None for row in rows[-3:]] == [True, False, True]
    assert {row["frame"] for row in rows} >= {0, 1, 2}  # without a copy there are results
    assert done.stderr.startswith(f"semblante: {marked / 'deep' / 'clip.mp4'}: cannot be written")
    assert "Traceback" not in done.stderr
    assert (marked / "then.jpg").is_file()


@pytest.mark.parametrize("every", ["0s", "soon", "-1s", "inf", "s"])
def test_every_is_a_time(archive: Path, every: str) -> None:
    done = semblante("analyze", archive, "--every", every)
    assert done.returncode == 2
    assert "expected a time such as 0.5s" in done.stderr


def test_a_broken_video_does_not_stop_the_others(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    shutil.copy(archive / "00.jpg", tmp_path / "b.jpg")
    done = semblante("analyze", tmp_path, "--format", "json")
    assert done.returncode == 1
    first, second = map(json.loads, done.stdout.splitlines())
    assert "not a video" in first["error"]
    assert second["error"] is None


def test_out_to_a_pipe_or_to_standard_output(tmp_path: Path) -> None:
    command = [str(PROGRAM), "analyze", str(EXAMPLE), "--format", "csv"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([*command, "--out", str(pipe)], stderr=subprocess.PIPE) as writer:
        through_the_pipe = pipe.read_text()
        assert writer.wait(60) == 0
    assert list(tmp_path.iterdir()) == [pipe]  # no journal beside it, and it is a pipe still
    assert pipe.is_fifo()
    assert len(list(csv.DictReader(io.StringIO(through_the_pipe)))) == 1
    # A shell's redirection to a file, which holds something already.
    for name in ("-", "/dev/stdout"):
        with (tmp_path / "redirected").open("w+") as redirected:
            redirected.write("before\n")
            redirected.flush()
            subprocess.run([*command, "--out", name], stdout=redirected, check=True, timeout=60)
            redirected.seek(0)
            assert redirected.read() == "before\n" + through_the_pipe
    for more in (["--resume"], ["--format", "parquet"]):
        done = semblante("analyze", EXAMPLE, "--out", "/dev/null", *more)
        assert done.returncode == 2
        assert "--out FILE" in done.stderr
