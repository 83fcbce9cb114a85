"""The program as its user runs it: its commands, what they print, exit codes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from conftest import EXAMPLE, pattern_dataset, write_csv
from forms import saved
from program import PROGRAM, semblante
from semblante import EMOTIONS, Dataset, load_dataset
from semblante.cli.reading import Source, label_map
from semblante.data import LABEL_MAPS
from semblante.data.convert import write_folders, write_table
from semblante.data.exclusion import write_exclusion
from semblante.models import MODELS


def test_closed_output() -> None:
    command = f"'{PROGRAM}' analyze '{EXAMPLE}' --format json >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_version() -> None:
    import semblante as package

    assert semblante("--version").stdout.strip() == package.__version__


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["analyze", "missing.jpg"], 1, "missing.jpg: cannot be read: No such file"),
        (["analyze", "{empty}"], 1, "no pictures or videos in this folder"),
        (["analyze", "https://example.org/a.jpg"], 1, "expected a file or a folder, not an"),
        (["analyze"], 2, "Missing argument"),
        (["analyze", "{face}", "--format", "xml"], 2, "xml"),
        (["analyze", "{face}", "--out", "no/such/folder/x"], 2, "no folder no/such"),
        (["analyze", "{face}", "--out", "."], 2, "expected a file's name, found a folder"),
        (["evaluate", "--data", "{csv}", "--confusion", ".."], 2, "found a folder"),
        (["analyze", "{face}", "--annotate", "{face}"], 2, "expected a folder, found a file"),
        (["analyze", "{face}", "--model", "vgg"], 2, "unknown model 'vgg'"),
        (["analyze", "{face}", "--model", "{face}"], 1, "not a usable ONNX model"),
        (["analyze", "{face}", "--lang", "de"], 2, "de"),
        (["analyze", "{face}", "--out", "faces.ods"], 2, "expected a name that ends in .csv, "),
        (["analyze", "{face}", "--min-score", "1"], 2, "expected min_score above 0 and below 1"),
        (["evaluate", "--data", "missing.csv"], 1, "missing.csv: cannot be read"),
        (["evaluate", "--data", "{face}"], 1, "found eileen-collins.jpg outside a folder"),
        (["evaluate", "--data", "{csv}", "--split", "Test"], 2, "Test"),
        (["evaluate", "--data", "{csv}", "--confusion", "no/folder/x.png"], 2, "no folder"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--network", "vit"], 2,
         "unknown network 'vit'; known: rcnn-small"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--epochs", "0"], 2, "at least 1"),
        (["train", "--data", "{csv}", "--out", "{face}"], 2, "expected a folder, found a file"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--preset", "x"], 2, "preset"),
        (["train", "--data", "missing.csv", "--out", "{empty}/run"], 1, "missing.csv"),
        (["export", "{empty}", "--out", "{empty}/m.onnx", "--data", "{csv}"], 1, "No such file"),
        (["data", "inspect", "missing"], 1, "missing: cannot be read"),
        (["data", "inspect", "{csv}", "--map", "joy"], 2, "of lines NAME=EMOTION, found 'joy'"),
        (["data", "inspect", "{csv}", "--map", "joy=glad"], 2, "cannot map 'joy' to 'glad'"),
        (["data", "convert", "{csv}", "faces.ods"], 2, "ends in .csv or .parquet"),
        (["data", "convert", "no.csv", "faces.ods"], 2, "ends in .csv or .parquet"),
        (["data", "convert", "{csv}", "no/such/faces"], 2, "there is no folder no/such"),
        (["evaluate", "--data", "{csv}", "--labels", "ferplus"], 1, "fer2013new.csv: cannot be"),
        (["evaluate", "--data", "{csv}", "--votes", "x"], 2, "--votes needs --labels ferplus"),
        (["evaluate", "--data", "{csv}", "--confusion", "{csv}"], 2, "would overwrite"),
        (["evaluate", "--data", "{csv}", "--answers", "{csv}"], 2, "would overwrite"),
        (["evaluate", "--data", "{csv}", "--answers", "a.json"], 2, "ends in .csv, .parquet"),
        (["evaluate", "--data", "{csv}", "--answers", "no/folder/a.csv"], 2, "no folder"),
        (["evaluate", "--data", "{csv}", "--against", "nobody"], 2, "unknown model 'nobody'"),
        (["evaluate", "--data", "{csv}", "--confusion", "a.png", "--reliability", "a.png"], 2,
         "are both a.png"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--votes", "x"], 2,
         "--votes needs a recipe that uses them"),
        (["models", "show", "vgg"], 2, "unknown model"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--learning-curve", "--tensorboard"],
         2, "--tensorboard is for a single run"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--preset", "released",
          "--learning-curve"], 2, "--preset released, --learning-curve are several runs each"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--learning-curve", "--cross-fit",
          "2"], 2, "--learning-curve, --cross-fit are several runs each"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--cross-fit", "1", "--network",
          "rcnn-tiny"], 2, "expected at least 2 folds, found 1"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--cross-fit", "2", "--estimates",
          "x", "--relabel-weight", "0.5"], 2, "leave out --estimates"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--cross-fit", "2", "--teachers",
          "a", "--teacher-views", "1", "--looks-of", "b"], 2, "leave out --looks-of"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--estimates", "x"], 2,
         "estimates (x) is of no use without relabel_weight"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--learning-curve", "--initial",
          "rcnn-medium"], 2, "have seen all of it"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--preset", "released"], 2,
         "FER+'s votes are part of this recipe (ferplus_weight and relabel_weight are not both 0)"),
        (["data", "audit", "{csv}", "--network", "rcnn-tiny"], 2, "--network is of no use without"),
        (["data", "audit", "{csv}", "--folds", "2", "--model", "x"], 2, "--model is of no use"),
        (["data", "audit", "{csv}", "--folds", "1"], 2, "expected 2 or more, or 0, found 1"),
        (["data", "audit", "{csv}", "--drop", "audit/rows.json"], 2, "choose another"),
        (["data", "audit", "{csv}", "--drop", "{empty}", "--out", "{empty}/.."], 2,
         "expected a file's name, found a folder"),
        (["data", "inspect", "x[/y].csv"], 1, "x[/y].csv"),
        (["train", "--data", "{csv}", "--out", "{empty}/run", "--preset", "best"], 2,
         "known: standard, quick, refine, robust, polish, cross-fit, finish, fine-tune, wide, "),
        (["models", "pull", "yunet", "--from", "{face}"], 1, "eileen-collins.jpg: its sha256 is"),
        (["nonsense"], 2, "nonsense"),
    ],
)  # fmt: skip
def test_wrong_usage_and_bad_input(
    arguments: list[str], code: int, expected: str, tmp_path: Path, patterns_csv: Path
) -> None:
    places = {"empty": tmp_path, "face": EXAMPLE, "csv": patterns_csv}
    done = semblante(*(argument.format(**places) for argument in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_training_with_130_and_resume_goes_on(
    tmp_path: Path, patterns_csv: Path
) -> None:
    run = tmp_path / "run"
    arguments = [
        str(PROGRAM), "train", "--data", str(patterns_csv), "--out", str(run),
        "--network", "rcnn-tiny", "--epochs", "50", "--batch-size", "16", "--precision", "fp32",
    ]  # fmt: skip
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("epoch 1/50: loss ")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.endswith(f"interrupted; the same command with --resume continues in {run}\n")
    assert "Traceback" not in rest
    done = len(json.loads((run / "log.json").read_text())["history"])
    with subprocess.Popen([*arguments, "--resume"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(f"epoch {done + 1}/50: loss ")
        process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("argument", ["", "--annotate=", "--data="])
def test_an_empty_argument_is_not_the_folder_one_is_in(argument: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    done = semblante("analyze", argument, cwd=tmp_path)
    assert done.returncode == 2
    assert "found an empty argument" in done.stderr
    assert "is a variable not set?" in done.stderr


def test_ctrl_c_while_the_program_is_read(tmp_path: Path) -> None:
    """As if it came in the midst of the imports."""
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "semblante", "--version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")


def test_a_picture_of_figures_is_a_png(patterns_csv: Path, tmp_path: Path) -> None:
    done = semblante("evaluate", "--data", patterns_csv, "--confusion", tmp_path / "c.jpg")
    assert done.returncode == 2
    assert "expected a name that ends in .png" in done.stderr


def test_train_export_evaluate_analyze(tmp_path: Path, patterns_csv: Path) -> None:
    """The whole workshop, in the order its user goes through it."""
    run, model = tmp_path / "run", tmp_path / "mine.onnx"
    trained = semblante(
        "train", "--data", patterns_csv, "--out", run, "--network", "rcnn-tiny", "--epochs", 3,
        "--warmup-epochs", 1, "--batch-size", 16, "--precision", "fp32",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr.count("PublicTest") == 3  # a line an epoch
    assert "over- or underfits" in trained.stdout  # the diagnosis
    assert sorted(path.name for path in run.iterdir()) == [
        "best.safetensors", "checkpoint.safetensors", "config.json", "confusion.png", "curves.png",
        "log.json",
    ]  # fmt: skip
    again = semblante("train", "--data", patterns_csv, "--out", run)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    spanish = semblante(
        "train", "--data", patterns_csv, "--out", tmp_path / "ejecución", "--network", "rcnn-tiny",
        "--epochs", 1, "--warmup-epochs", 0, "--batch-size", 16, "--lang", "es", "--precision",
        "fp32",
    )  # fmt: skip
    assert spanish.returncode == 0, spanish.stderr
    assert spanish.stderr.startswith("época 1/1: pérdida ")
    assert "mejor época 1: PublicTest" in spanish.stdout
    assert "\nPublicTest por emoción. Aciertos: " in spanish.stdout

    unused = semblante("export", run, "--out", model, "--votes", "x.csv")
    assert (unused.returncode, "needs none of FER+'s votes" in unused.stderr) == (2, True)
    over = semblante("export", run, "--out", run / "best.safetensors")
    assert over.returncode == 2
    assert "would overwrite" in over.stderr
    exported = semblante("export", run, "--out", model)
    assert exported.returncode == 0, exported.stderr
    assert "in fp32, temperatures " in exported.stdout

    arguments = ("evaluate", "--data", patterns_csv, "--model", model)
    figures = json.loads(semblante(*arguments, "--format", "json").stdout)
    assert figures["split"] == "PublicTest"
    assert figures["n"] == 84
    assert f"accuracy {figures['accuracy']:.2%}" in semblante(*arguments).stdout
    accuracy = f"{figures['accuracy']:.2%}".replace(".", ",").replace("%", "\u00a0%")
    spanish = semblante(*arguments, "--lang", "es", "--confusion", tmp_path / "confusión.png")
    assert f"exactitud {accuracy} (intervalo del 95 %: " in spanish.stdout
    assert "\nalegría " in spanish.stdout
    assert (tmp_path / "confusión.png").exists()
    picture = semblante(*arguments, "--tta", "flip", "--confusion", tmp_path / "confusion.png")
    assert picture.returncode == 0, picture.stderr
    assert (tmp_path / "confusion.png").exists()
    shipped = ("--against", "rcnn-small-int8", "--answers", tmp_path / "answers.csv")
    compared = json.loads(semblante(*arguments, *shipped, "--format", "json").stdout)
    assert compared["against"]["model"] == "rcnn-small-int8"
    assert compared["against"]["accuracy"][0] == figures["accuracy"]
    assert (
        "en comparación con rcnn-small-int8 (exactitud "
        in semblante(*arguments, *shipped, "--lang", "es").stdout
    )
    answers = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [int(row["row"]) for row in answers] == list(range(84, 168))
    right = sum(row["label"] == row["predicted"] for row in answers)
    assert right / 84 == pytest.approx(figures["accuracy"])
    unwritable = semblante(*arguments, "--answers", "/proc/answers.csv")
    assert (unwritable.returncode, "/proc/answers.csv" in unwritable.stderr) == (1, True)
    assert f"accuracy {figures['accuracy']:.2%}" in unwritable.stdout

    shown = json.loads(semblante("models", "show", model).stdout)
    assert shown["network"] == "rcnn-tiny"
    analyzed = semblante("analyze", EXAMPLE, "--model", model, "--format", "json")
    assert json.loads(analyzed.stdout)["faces"][0]["emotion"] in EMOTIONS


def test_data_inspect(tmp_path: Path, patterns_csv: Path) -> None:
    done = semblante("data", "inspect", patterns_csv, "--contact-sheet", tmp_path / "sheet.png")
    assert done.returncode == 0, done.stderr
    assert (
        "a table of pixels (CSV with a header like emotion,pixels,Usage), 252 faces" in done.stdout
    )
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("happy")] == [
        ["happy", "12", "12", "12", "36"]
    ]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (24 * 48, 7 * 48)


def test_the_language_of_the_environment(
    patterns_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMBLANTE_LANG", "es")
    done = semblante("data", "inspect", patterns_csv)
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("alegría")] == [
        ["alegría", "12", "12", "12", "36"]
    ]
    english = semblante("data", "inspect", patterns_csv, "--lang", "en")
    assert "happy" in english.stdout


def test_no_command_overwrites_what_it_reads(patterns_csv: Path, tmp_path: Path) -> None:
    table = tmp_path / "faces.csv"
    table.write_bytes(patterns_csv.read_bytes())
    done = semblante("data", "convert", tmp_path, table)
    assert done.returncode == 2
    assert "lies in" in done.stderr
    votes = tmp_path / "fer2013new.csv"
    votes.write_text("not read")
    done = semblante("data", "audit", table, "--drop", votes)
    assert (done.returncode, "would overwrite" in done.stderr) == (2, True)
    assert votes.read_text() == "not read"
    assert table.read_bytes() == patterns_csv.read_bytes()
    assert semblante("data", "convert", table, tmp_path / "faces").returncode == 0
    face = next((tmp_path / "faces" / "Training").rglob("*.png"))
    before = face.read_bytes()
    for name in (face, tmp_path / "faces" / "new.png"):
        for arguments in (
            ("data", "inspect", tmp_path / "faces", "--contact-sheet", name),
            ("evaluate", "--data", tmp_path / "faces", "--confusion", name),
        ):
            done = semblante(*arguments)
            assert (done.returncode, "all pictures of which are read" in done.stderr) == (2, True)
    assert face.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--data", ".", "--out", "run"],
        ["data", "audit", ".", "--folds", "2"],
        ["data", "audit", ".", "--folds", "2", "--out", "../audit", "--work", "Training/runs"],
        ["data", "convert", ".", "faces.csv"],
    ],
)
def test_nothing_is_written_among_the_faces(
    tmp_path: Path, patterns_csv: Path, arguments: list[str]
) -> None:
    """The next command would take a curve for a face without a class."""
    folder = tmp_path / "faces"
    write_folders(load_dataset(patterns_csv), folder)
    done = semblante(*arguments, cwd=folder)
    assert (done.returncode, "choose a place outside" in done.stderr) == (2, True)
    assert len(load_dataset(folder)) == 252
    assert not (tmp_path / "audit").exists()


def test_data_convert_and_back(tmp_path: Path, patterns_csv: Path) -> None:
    folder, table = tmp_path / "faces", tmp_path / "again.csv"
    assert semblante("data", "convert", patterns_csv, folder).returncode == 0
    assert len(list(folder.rglob("*.png"))) == 252
    assert semblante("data", "convert", folder, table).returncode == 0
    assert table.read_bytes() == patterns_csv.read_bytes()
    again = semblante("data", "convert", patterns_csv, folder)
    assert again.returncode == 2
    assert "expected a new or an empty folder" in again.stderr
    (tmp_path / "here").mkdir()
    assert semblante("data", "convert", patterns_csv, ".", cwd=tmp_path / "here").returncode == 0
    assert len(list((tmp_path / "here").rglob("*.png"))) == 252


def test_no_input_is_overwritten(tmp_path: Path, patterns_csv: Path) -> None:
    path = Path(shutil.copy(patterns_csv, tmp_path / "own.csv"))
    (tmp_path / "link.csv").symlink_to(path)
    for arguments in (
        ("convert", path, tmp_path / "link.csv", "--map", "angry=drop"),
        ("audit", path, "--drop", path, "--out", tmp_path / "audit"),
    ):
        done = semblante("data", *arguments)
        assert done.returncode == 2, done.stderr
        assert "would overwrite" in done.stderr
    assert path.read_bytes() == patterns_csv.read_bytes()
    assert not (tmp_path / "audit").exists()
    folder = tmp_path / "listed"
    assert semblante("data", "convert", path, folder).returncode == 0
    names = [face.relative_to(folder) for face in sorted(folder.rglob("*.png"))]
    rows = [f"{name},{name.parts[1]}" for name in names]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
    drop = ("--drop", folder / "labels.csv", "--out", tmp_path / "audit")
    done = semblante("data", "audit", folder, *drop)
    assert (done.returncode, "would overwrite a part of" in done.stderr) == (2, True)
    assert len((folder / "labels.csv").read_text().splitlines()) == 253
    for _ in range(2):  # an earlier one is no data
        own = semblante("data", "audit", folder, "--drop", folder / "drop.csv", *drop[2:])
        assert own.returncode == 0, own.stderr


@pytest.mark.parametrize(
    ("place", "listed"),
    [
        ("faces/a.png", "a.png"),
        ("faces/a.png", "faces\\a.png"),
        ("faces/a.png", "FACES/../faces/./a.png"),
        ("../a.png", "../a.png"),
    ],
)
def test_no_picture_of_a_list_is_overwritten(
    tmp_path: Path, patterns: Dataset, place: str, listed: str
) -> None:
    """Wherever it lies: the list's paths start from its own folder, and may leave folders out."""
    folder = tmp_path / "data" / "lists"
    (folder / "FACES").mkdir(parents=True)
    picture = (folder / place).resolve()
    saved(patterns.images[0], picture)
    before = picture.read_bytes()
    (folder / "list.csv").write_text(f"path,label\n{listed},happy\n")
    other = folder / "other" / "b.png"
    saved(patterns.images[1], other)
    for data in (folder / "list.csv", folder, tmp_path / "data"):
        for option in ("--confusion", "--reliability"):
            done = semblante("evaluate", "--data", data, option, picture)
            assert (done.returncode, "would overwrite a part of" in done.stderr) == (2, True)
        done = semblante("data", "inspect", data, "--contact-sheet", picture)
        assert (done.returncode, "would overwrite a part of" in done.stderr) == (2, True)
        assert picture.read_bytes() == before
        done = semblante("data", "inspect", data, "--contact-sheet", other)  # is in no list
        assert done.returncode == 0, done.stderr


def windows(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program as it would be on Windows, after the code `before`."""
    code = (
        "import sys; from semblante.cli import app, inputs\n"
        "app._WINDOWS = inputs._WINDOWS = True; sys.argv[0] = 'semblante'\n"
        f"{before}\napp.main()"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def test_a_backslash_before_a_closing_quotation_mark() -> None:
    """What the program gets for `"C:\\My photos\\" --out r.csv` in Windows's shells."""
    done = windows("analyze", 'C:\\My photos" --out r.csv')
    assert done.returncode == 2
    assert "leave out the backslash before the closing quotation mark: C:\\My" in done.stderr
    done = windows("data", "inspect", "none.csv", "--map", 'a "b"=happy')
    assert (done.returncode, "none.csv" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("terminal", "said"), [(True, "semblante: Invalid argument\n"), (False, "")]
)
def test_an_error_that_may_be_a_closed_pipe(terminal: bool, said: str) -> None:
    """Windows reports much by the same number; on a terminal it is something else."""
    before = (
        "def fails(_): raise OSError(22, 'Invalid argument')\n"
        f"app._refuse_quotes = fails; sys.stdout.isatty = lambda: {terminal}"
    )
    done = windows("analyze", "x.jpg", before=before)
    assert (done.returncode, done.stderr) == (1, said)


def test_what_shells_of_windows_leave_to_programs(tmp_path: Path) -> None:
    """`~`, * and ?; but a [ is part of a name."""
    (tmp_path / "none").mkdir()
    for name in ("photo1.jpg", "photo[1].jpg", "photo[2].jpg"):
        (tmp_path / name).write_text("no picture")

    def named(*arguments: str) -> list[str]:
        done = windows("analyze", *arguments, "--format", "json", "--detector", "none")
        return [Path(json.loads(line)["path"]).name for line in done.stdout.splitlines()]

    assert named(f"{tmp_path}/photo[1].jpg") == ["photo[1].jpg"]
    assert named(f"{tmp_path}/photo[?].jpg") == ["photo[1].jpg", "photo[2].jpg"]
    assert named(f"{tmp_path}/photo*") == ["photo1.jpg", "photo[1].jpg", "photo[2].jpg"]
    assert named(f"{tmp_path}/x*.jpg") == ["x*.jpg"]  # which is reported
    assert named("~/none.jpg") == ["none.jpg"]
    done = windows("analyze", "~/none.jpg", "--detector", "none")
    assert f"{Path.home()}/none.jpg: cannot be read" in done.stderr


def test_a_dataset_of_which_nothing_is_left(tmp_path: Path, patterns_csv: Path) -> None:
    rows = tmp_path / "rows.csv"
    write_exclusion(rows, load_dataset(patterns_csv), dict.fromkeys(range(252), "unwanted"))
    for out in (tmp_path / "o.csv", tmp_path / "folder"):
        done = semblante("data", "convert", patterns_csv, out, "--exclude", rows)
        assert done.returncode == 1
        assert f"{rows}: lists all rows of {patterns_csv}: no face is left" in done.stderr
        assert not out.exists()
    done = semblante("evaluate", "--data", patterns_csv, "--exclude", rows)
    assert (done.returncode, "no face is left" in done.stderr) == (1, True)


def test_notes_hold_what_a_map_s_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "classes.txt").write_text("joy = happy  # theirs\n#\nnone#1=drop\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.json").write_text('{"smile=big": "happy"}')
    source = Source(Path("x"), label_map(["classes.txt", "rage=angry", "classes.json"]))
    (tmp_path / "classes.txt").unlink()  # what a pipe holds can be read only once
    notes = source.to_dict()
    assert notes["map"] == ["joy=happy", "none#1=drop", "rage=angry", "smile=big=happy"]
    assert Source.from_dict(notes).label_map == source.label_map
    (tmp_path / "rafdb").write_text("4=angry\n")  # no file in the way changes what a name means
    assert label_map(["rafdb", "7=drop"]) == {**LABEL_MAPS["rafdb"], "7": "drop"}
    assert label_map(["7=drop", "rafdb", "./rafdb"]) == {**LABEL_MAPS["rafdb"], "4": "angry"}


def test_a_dataset_without_splits_gets_them(tmp_path: Path, patterns: Dataset) -> None:
    flat = patterns.where(patterns.is_in("Training"))
    write_folders(flat, tmp_path / "mine")
    (tmp_path / "mine" / "Training").rename(tmp_path / "faces")
    for face in (tmp_path / "faces").rglob("*.png"):
        face.rename(face.with_name(face.name.removeprefix("Training_")))
    done = semblante("train", "--data", tmp_path / "faces", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "`semblante data convert DATA OUT --hold-out 0.2` puts some there" in done.stderr
    done = semblante("evaluate", "--data", tmp_path / "faces", "--model", "rcnn-small-int8")
    assert done.returncode == 0, done.stderr
    assert "all faces are in Training: these 84 are measured" in done.stderr
    assert "rcnn-small-int8 on Training, n=84" in done.stdout
    assert " or more one time in twenty\n" in done.stdout
    assert "a model is right more often about faces that it has learnt from" in done.stdout
    out = tmp_path / "faces.csv"
    done = semblante("data", "convert", tmp_path / "faces", out, "--hold-out", 0.25)
    assert done.returncode == 0, done.stderr
    assert "84 faces, 21 held out" in done.stdout
    assert load_dataset(out).is_in("PublicTest").sum() == 21
    done = semblante("data", "convert", out, tmp_path / "three.csv", "--hold-out", 0.25)
    assert "84 faces, 14 held out; what was PublicTest is PrivateTest now" in done.stdout


def test_a_run_that_stops_early_says_so_and_one_that_is_no_model_too(
    tmp_path: Path, patterns_csv: Path
) -> None:
    done = semblante(
        "train", "--data", patterns_csv, "--out", tmp_path / "run", "--network", "rcnn-tiny",
        "--epochs", 20, "--patience", 1, "--learning-rate", 1e-9, "--ema-decay", 0,
        "--precision", "fp32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    taken = json.loads((tmp_path / "run" / "log.json").read_text())["summary"]["epochs"]
    assert f"stopped after epoch {taken} of 20: PublicTest has not improved for 1" in done.stdout
    done = semblante("evaluate", "--data", patterns_csv, "--model", tmp_path / "run")
    assert f"{tmp_path / 'run'} is a training run: `semblante export" in done.stderr
    # A folder of several runs is none of one run.
    for more in ((), ("--resume",)):
        done = semblante("train", "--data", patterns_csv, "--out", tmp_path, *more)
        assert done.returncode == 2
        assert f"{tmp_path} holds several runs" in done.stderr


def test_other_class_names_and_bad_rows(tmp_path: Path) -> None:
    for number, name in enumerate(("glee", "sad", "sad", "who knows")):
        (tmp_path / "my" / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (60, 60), 99).save(tmp_path / "my" / name / f"{number}.png")
    (tmp_path / "my" / "sad" / "5.png").write_text("no picture")
    refused = semblante("data", "inspect", tmp_path / "my")
    assert refused.returncode == 1
    assert "unknown classes 'glee', 'who knows'; " in refused.stderr
    assert "--map glee=EMOTION --map 'who knows=EMOTION'; EMOTION may be drop" in refused.stderr
    arguments = (
        "data",
        "inspect",
        tmp_path / "my",
        "--map",
        "glee=happy",
        "--map",
        "who knows=drop",
    )
    assert "5.png" in semblante(*arguments).stderr
    done = semblante(*arguments, "--skip-bad")
    assert done.returncode == 0
    assert "1 bad rows left out; the first: " in done.stderr
    assert "3 faces" in done.stdout


def test_audit_and_exclude(tmp_path: Path, patterns: Dataset) -> None:
    images = patterns.images.copy()
    images[9] = images[2]
    images[100] = images[50]
    images[84] = 7
    data = write_csv(tmp_path / "faces.csv", replace(patterns, images=images))
    drop, out = tmp_path / "rows.csv", tmp_path / "audit"
    done = semblante("data", "audit", data, "--out", out, "--drop", drop)
    assert done.returncode == 0, done.stderr
    assert "2 in 2 groups" in done.stdout
    numbers = json.loads((out / "rows.json").read_text())
    assert numbers["leaks"]["PublicTest"]["rows"] == [100]
    assert numbers["constant"]["rows"] == [84]
    # The tests, less a leaked and a constant face.
    assert numbers["mislabelled"]["n_judged"] == 168 - 2
    assert "data:image/png;base64" in (out / "report.html").read_text()
    assert [line.split(",")[0] for line in drop.read_text().splitlines()[2:]] == ["9", "50", "84"]

    spanish = semblante("data", "audit", data, "--out", out, "--lang", "es")
    assert spanish.returncode == 0, spanish.stderr
    assert "2 en 2 grupos" in spanish.stdout
    assert len(spanish.stdout.splitlines()) == len(done.stdout.splitlines()) - 1  # without --drop
    assert "Copias exactas" in (out / "report.html").read_text(encoding="utf-8")

    inspected = semblante("data", "inspect", data, "--exclude", drop)
    assert f"{252 - 3} faces" in inspected.stdout
    evaluated = semblante("evaluate", "--data", data, "--exclude", drop, "--format", "json")
    figures = json.loads(evaluated.stdout)
    # The copy in Training is left out of training; it still counts as a leak of what was learnt.
    assert (figures["n"], figures["leak_free"]["n"]) == (83, 82)


def test_a_mapping_file_and_faces_to_find(tmp_path: Path) -> None:
    (tmp_path / "my" / "glee").mkdir(parents=True)
    shutil.copy(EXAMPLE, tmp_path / "my" / "glee" / "1.jpg")
    Image.new("L", (60, 60), 99).save(tmp_path / "my" / "glee" / "2.png")
    (tmp_path / "names.json").write_text('{"glee": "happy"}')
    (tmp_path / "names.txt").write_text("# mine\nglee = happy  # of course\n\n")
    for name in ("names.json", "names.txt"):
        arguments = ("data", "inspect", tmp_path / "my", "--map", tmp_path / name)
        assert "2 faces" in semblante(*arguments).stdout
    (tmp_path / "empty.json").write_text('{"": "drop"}')
    refused = semblante("data", "inspect", tmp_path / "my", "--map", tmp_path / "empty.json")
    assert "empty.json: expected an object of names and emotions" in refused.stderr
    done = semblante(*arguments, "--find-faces", "--skip-bad")
    assert "1 faces" in done.stdout
    assert "2.png: no face was found in it" in done.stderr


def test_on_a_terminal_it_says_what_was_done(tmp_path: Path) -> None:
    ours, its = os.openpty()
    (tmp_path / "broken.jpg").write_bytes(b"x")
    command = [PROGRAM, "analyze", EXAMPLE, "broken.jpg", "--out", "faces.csv"]
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run(command, stderr=its, cwd=tmp_path)
        os.close(its)
        said = b""
        with suppress(OSError):  # Linux says so at the end of a terminal
            while part := terminal.read(4096):
                said += part
    assert (
        "faces.csv: inputs 2; faces 1, in 1 of their pictures and frames; not read 1"
        in said.decode()
    )


def test_models_list() -> None:
    done = semblante("models", "list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == list(MODELS)


def test_a_reader_that_stops_early() -> None:
    done = subprocess.run(
        f"'{PROGRAM}' analyze {' '.join([str(EXAMPLE)] * 30)} --format json | head -n 1",
        shell=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["faces"]
    assert done.stderr == ""


def test_training_without_an_emotion_says_so(tmp_path: Path) -> None:
    faces = pattern_dataset(seed=1)
    write_table(faces.where(faces.labels != 1), tmp_path / "faces.csv")
    done = semblante(
        "train", "--data", tmp_path / "faces.csv", "--out", tmp_path / "run", "--network",
        "rcnn-tiny", "--epochs", 1, "--warmup-epochs", 0, "--batch-size", 32, "--precision",
        "fp32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Training holds no face that is labelled disgust: the network does not" in done.stderr


def test_nobody_is_told_and_nothing_is_left_in_the_home_folder(tmp_path: Path) -> None:
    # ONNX Runtime reports to its maker unless it is stopped; where it means to, it leaves an
    # identifier in the home folder. In continuous integration it keeps quiet by itself.
    alone = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([PROGRAM, "analyze", EXAMPLE], capture_output=True, text=True, env=alone)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
