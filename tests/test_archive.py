"""Many inputs at once: batched, written as they come, taken up again after a kill."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from conftest import EXAMPLE
from faces import head
from films import canvas, write_video
from program import PROGRAM, semblante, stopped
from semblante import Analysis, Analyzer
from semblante.cli.analyze import _progress
from semblante.cli.app import app
from semblante.cli.formats import write_table
from semblante.cli.inputs import Clip, Input, Picture, Unreadable, annotated_places, find_inputs
from semblante.cli.journal import Journal
from semblante.cli.overviews import Overviews
from semblante.cli.work import Result, Work
from semblante.errors import OptionError
from semblante.picture_writing import save_picture
from semblante.tabular import COLUMNS
from semblante.wording import clock


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures, three of them broken, and a video."""
    folder = tmp_path_factory.mktemp("archive") / "fotos ñ"
    folder.mkdir()
    for number in range(30):
        Image.fromarray(head(120 + 4 * number)).save(folder / f"{number:02d}.jpg", quality=80)
    for number in (4, 17, 29):
        (folder / f"{number:02d}.jpg").write_bytes(b"broken")
    write_video(folder / "10 clip.mp4", 30, lambda n: canvas((head(), 3 * n, 40)))
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
    openpyxl = pytest.importorskip("openpyxl")
    for name in ("x.csv", "x.parquet", "x.xlsx"):
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
    sheet = openpyxl.load_workbook(tmp_path / "x.xlsx").active
    assert list(sheet.values) == [COLUMNS, *(tuple(values.values()) for values in typed)]
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
    # Among the first ten pictures, twice in the video's 30 frames, and among the other pictures.
    for results in (3, 12, 20, 39):
        killed = stopped(
            signal.SIGKILL, results, "analyze", archive, "--format", "json", "--out", out,
            "--resume",
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not out.exists()
    assert finished(archive, out, "--resume") == whole


def test_on_a_full_disk_the_user_is_told_how_to_go_on(archive: Path, tmp_path: Path) -> None:
    """No file may grow beyond 10,000 bytes here, which is enough for the first results."""
    out, partial = tmp_path / "x.json", tmp_path / "x.json.partial"
    done = subprocess.run(
        [PROGRAM, "analyze", archive, "--format", "json", "--out", out],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        f"semblante: the same command with --resume continues from {partial}",
        f"semblante: {partial}: File too large",
    ]
    assert finished(archive, out, "--resume") == finished(archive, tmp_path / "whole.json")


def test_a_line_cut_off_in_the_middle_is_written_again(archive: Path, tmp_path: Path) -> None:
    whole = finished(archive, tmp_path / "whole.json")
    out = tmp_path / "parts.json"
    stopped(signal.SIGKILL, 2, "analyze", archive, "--format", "json", "--out", out)
    partial = tmp_path / "parts.json.partial"
    head, first, second = partial.read_bytes().splitlines(keepends=True)
    cut = head + first + second[:40]
    partial.write_bytes(cut)
    again = semblante("analyze", archive, "--format", "json", "--out", out)
    assert again.returncode == 2
    assert "continue it with --resume, or delete the file" in again.stderr
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

    def interrupted(self: Overviews) -> None:
        raise KeyboardInterrupt

    out, sheet = tmp_path / "x.json", tmp_path / "sheet.png"
    arguments = ["analyze", str(archive), "--format", "json", "--out", str(out)]
    arguments += ["--contact-sheet", str(sheet)]
    with monkeypatch.context() as patch:
        patch.setattr(Overviews, "write", interrupted)
        assert CliRunner().invoke(app, arguments).exit_code == 130
    whole = out.read_text()
    assert not sheet.exists()
    assert semblante(*arguments, "--resume").returncode == 1  # of the broken ones
    assert out.read_text() == whole
    assert sheet.exists()
    assert not Path(f"{out}.partial").exists()


def test_what_is_named_twice_is_there_once(archive: Path) -> None:
    once = semblante("analyze", archive, "--format", "json").stdout
    again = semblante(
        "analyze", archive / "00.jpg", archive, f"{archive}/../{archive.name}", "--format", "json"
    ).stdout
    assert again == once


def test_resume_of_something_else(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    assert semblante("analyze", archive, "--resume").returncode == 2
    out.write_text("whole")
    done = semblante("analyze", archive, "--out", out, "--resume")
    assert done.returncode == 2
    assert f"{out} is already complete; omit --resume" in done.stderr
    assert out.read_text() == "whole"
    Journal(out, {"inputs": ["other"]}, resume=False).close(done=False)
    done = semblante("analyze", archive, "--out", out, "--resume")
    assert done.returncode == 2
    assert "with other inputs or settings" in done.stderr


def test_names_of_many_copies() -> None:
    names = ["face.jpg", "face.jpg", "face-2.jpg", "face.jpg", "other.jpg", "face-2.jpg"]
    found = [Picture(Path(f"{k}/{name}"), Path(name)) for k, name in enumerate(names)]
    places = [path.name for path in annotated_places(found, Path("out")).values()]
    assert places == ["face.jpg", "face-2.jpg", "face-2-2.jpg", "face-3.jpg", "other.jpg",
                      "face-2-3.jpg"]  # fmt: skip


def test_names_of_copies_of_all_kinds(tmp_path: Path) -> None:
    found = [
        Picture(Path("1/a.JPG"), Path("deep/a.JPG")),
        Unreadable(Path("x.jpg"), "x.jpg: is none"),
        Picture(Path("2/A.jpg"), Path("deep/A.jpg")),  # the same for a system that knows no case
        Clip(Path("b.avi"), Path("b.avi")),
        Clip(Path("b.mp4"), Path("b.mp4")),
        Picture(Path("1/c.gif"), Path("c.gif")),
        Picture(Path("2/c.gif"), Path("c.gif")),
        Picture(Path("c.gif.png"), Path("c.gif.png")),
        Picture(Path("C-2.GIF.png"), Path("C-2.GIF.png")),
    ]
    places = annotated_places(found, tmp_path)
    assert {number: str(place.relative_to(tmp_path)) for number, place in places.items()} == {
        0: "deep/a.JPG", 2: "deep/A-2.jpg", 3: "b.avi.mp4", 4: "b.mp4", 5: "c-3.gif.png",
        6: "c-4.gif.png", 7: "c.gif.png", 8: "C-2.GIF.png",
    }  # fmt: skip
    (tmp_path / "original.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("original.jpg")
    with pytest.raises(OptionError, match=r"would overwrite .*link\.jpg"):
        annotated_places([Picture(tmp_path / "original.jpg", Path("link.jpg"))], tmp_path)


def test_a_suffix_or_else_the_content_says_what_is_named(archive: Path, tmp_path: Path) -> None:
    picture, clip = EXAMPLE.read_bytes(), (archive / "10 clip.mp4").read_bytes()
    contents = {
        "a.JPG": b"broken", "b.MP4": b"broken", "c": picture, "d.xyz": clip, "e.txt": b"words",
        "f": b"",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = find_inputs([tmp_path / name for name in (*contents, "missing")])
    kinds = [Picture, Clip, Picture, Clip, Unreadable, Picture, Picture]
    assert [type(item) for item in found] == kinds
    assert [str(item.below) for item in found if not isinstance(item, Unreadable)] == [
        "a.JPG", "b.MP4", "c", "d.xyz", "f", "missing",
    ]  # fmt: skip
    # Of a folder only what has a suffix is looked at.
    assert [item.path.name for item in find_inputs([tmp_path])] == ["a.JPG", "b.MP4"]


def test_what_is_chosen_in_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, empty, locked = (tmp_path / name for name in ("full", "empty", "locked"))
    for name in ("z.jpg", "a/y.png", "b.jpg", "marked/b.jpg", "notes.txt"):
        (full / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLE, full / name)
    empty.mkdir()
    locked.mkdir()
    (full / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(full / "pipe.jpg")
    for name in ("sheet.png", "other.png"):
        save_picture(np.zeros((4, 4, 3), np.uint8), full / name)
    # What this program has drawn is left out, and what is called as what it is about to write only
    # where it has drawn it.
    own = [full / "sheet.png", full / "b.jpg", full / "marked"]
    listed = os.scandir

    def refuses(place: Path) -> object:
        if os.fspath(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", refuses)
    found = find_inputs([full, empty, locked, full], own=iter(own))
    half = found[:5]
    assert [item.path.relative_to(full).as_posix() for item in half] == [
        "a/y.png", "b.jpg", "gone.jpg", "pipe.jpg", "z.jpg",
    ]  # fmt: skip
    assert str(half[0].below) == "a/y.png"  # type: ignore[union-attr]
    assert isinstance(half[2], Picture)  # which says that it is gone
    assert isinstance(half[3], Unreadable)
    assert half[3].error.endswith("expected a file, found a pipe or a device")
    assert [item.error for item in found[5:7] if isinstance(item, Unreadable)] == [
        f"{empty}: no pictures or videos in this folder",
        f"{locked}: cannot be read: Permission denied",
    ]
    assert len(found) == 7  # what is named twice is there once


def test_a_pipe_in_the_folder_of_the_copies_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_own(path: Path) -> bool:
        assert path.is_file()  # or its opening would wait for somebody to write
        return False

    monkeypatch.setattr("semblante.cli.inputs.is_own", is_own)
    shutil.copy(EXAMPLE, tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    found = find_inputs([tmp_path], own=[tmp_path])
    assert [type(item) for item in found] == [Picture, Unreadable]


def test_a_clock_does_not_say_sixty_seconds() -> None:
    times = [clock(s, tenths=True) for s in (0, 59.94, 59.97, 61.25, 3661)]
    assert times == ["0:00.0", "0:59.9", "1:00.0", "1:01.2", "1:01:01.0"]
    assert [clock(s) for s in (0, 59.97, 600, 7205)] == ["0:00", "1:00", "10:00", "2:00:05"]


@pytest.mark.parametrize(
    ("name", "begins"), [("x.CSV", "path,frame,"), ("x.jsonl", '{"path"'), ("x.txt", "picture ")]
)
def test_the_format_is_what_the_name_says(name: str, begins: str, tmp_path: Path) -> None:
    assert semblante("analyze", EXAMPLE, "--out", tmp_path / name).returncode == 0
    assert (tmp_path / name).read_text().startswith(begins)
    done = semblante("analyze", EXAMPLE, "--out", tmp_path / name, "--format", "table")
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(line.endswith(" ") for line in (tmp_path / name).read_text().splitlines())
    assert (tmp_path / name).read_text().startswith("picture ")


def test_what_it_drew_on_is_no_input_of_a_later_run(archive: Path, tmp_path: Path) -> None:
    for name in ("00.jpg", "10 clip.mp4"):
        shutil.copy(archive / name, tmp_path)
    command = ("analyze", tmp_path, "--format", "json", "--every", "1s")
    before = semblante(*command)
    made = ("--annotate", "marked", "--timeline", "lines", "--contact-sheet", "sheet.png")
    assert semblante(*command, *made, cwd=tmp_path).returncode == 0
    after = semblante(*command)
    assert after.stdout == before.stdout
    assert before.stderr == ""
    left_out = f"{tmp_path}: pictures and videos that semblante drew on are left out: 4"
    assert after.stderr == f"semblante: {left_out}\n"
    named = semblante("analyze", tmp_path / "marked" / "00.jpg", "--format", "json")
    assert json.loads(named.stdout)["path"].endswith("marked/00.jpg")


def test_a_table_that_is_interrupted_shows_what_there_is(archive: Path) -> None:
    done = stopped(signal.SIGINT, 2, "analyze", *sorted(archive.glob("*.jpg")))
    assert done.returncode == 130, done.stderr
    shown = [str(archive / f"0{number}.jpg") in done.stdout for number in range(4)]
    assert shown == [True, True, False, False]


def test_the_bar_says_how_far_a_film_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, str]] = []
    monkeypatch.setattr(
        Progress, "update", lambda *_, completed, how: told.append((completed, how))
    )
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr("semblante.cli.analyze.Console", lambda **_: terminal)
    films: list[Input] = [Clip(Path("x.mp4"), Path("x.mp4"))] * 2
    with _progress(
        Work(Analyzer("rcnn-small-int8"), films, {}, {}, None, None, "en", blur=False)
    ) as tell:
        tell(Result(0, Analysis("x.mp4", 3, 4, frame=9, time_s=83.4), ended=False))
        tell(Result(0, None, ended=True))
    assert told == [(0, "1:23"), (1, "")]


def test_the_end_of_a_long_path_is_shown(tmp_path: Path) -> None:
    place = tmp_path / ("interviews-of-the-second-year" * 3)
    place.mkdir()
    shutil.copy(EXAMPLE, place / "participant-07.jpg")
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semblante.cli.tables.Console", lambda **_: console)
        write_table([(0, Analysis(str(place / "participant-07.jpg"), 3, 4))], out, "en")
    cells = "".join(line.split(" ")[0] for line in out.getvalue().splitlines()[1:])
    assert cells.endswith("participant-07.jpg")


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
def test_no_half_of_a_marked_copy_stays_where_the_disk_is_full(tmp_path: Path, name: str) -> None:
    """No file may grow beyond 30,000 bytes here: the first write that passes it is cut short."""
    if name == "picture.jpg":
        shutil.copy(EXAMPLE, tmp_path / name)
    else:
        rng = np.random.default_rng(0)  # noise, which cannot be made smaller
        write_video(tmp_path / name, 10, lambda _: rng.integers(0, 256, (240, 320, 3), np.uint8))
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
        # A process reads, which can be given up if the other one never opens the pipe.
        through_the_pipe = subprocess.run(
            ["cat", pipe], stdout=subprocess.PIPE, text=True, check=True, timeout=60
        ).stdout
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
    for more in (["--resume"], ["--format", "parquet"], ["--format", "xlsx"]):
        done = semblante("analyze", EXAMPLE, "--out", "/dev/null", *more)
        assert done.returncode == 2
        assert "--out FILE" in done.stderr
