"""`semblante analyze` as its user runs it: output, exit codes, which files are read and written."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from conftest import EXAMPLE
from faces import head
from films import canvas, write_video
from program import PROGRAM, semblante
from semblante import EMOTIONS, Box, load_dataset, load_image
from semblante.picture_writing import is_own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad files, in a folder with a sub-folder."""
    path = tmp_path_factory.mktemp("pictures")
    shutil.copy(EXAMPLE, path / "a face.jpg")
    (path / "deep").mkdir()
    Image.open(EXAMPLE).save(path / "deep" / "same.PNG")
    Image.new("RGB", (90, 60), "white").save(path / "nobody.webp")
    (path / "text.jpg").write_text("no picture")
    (path / "cut.jpg").write_bytes(EXAMPLE.read_bytes()[:30_000])
    (path / "notes.txt").write_text("left alone")
    (path / "._a face.jpg").write_text("left alone as well, macOS's notes")
    return path


def test_json_lines_of_a_folder(folder: Path) -> None:
    done = semblante("analyze", folder, "--format", "json")
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    names = [str(Path(row["path"]).relative_to(folder)) for row in rows]
    assert names == ["a face.jpg", "cut.jpg", "deep/same.PNG", "nobody.webp", "text.jpg"]
    assert [len(row["faces"]) for row in rows] == [1, 0, 1, 0, 0]
    assert [bool(row["error"]) for row in rows] == [False, True, False, False, True]
    assert rows[0]["faces"][0]["emotion"] == "happy"
    assert (rows[3]["width"], rows[3]["height"]) == (90, 60)
    complaints = done.stderr.splitlines()
    assert len(complaints) == 2
    assert all(line.startswith("semblante: ") for line in complaints)


def test_csv_has_a_row_for_every_picture(folder: Path) -> None:
    done = semblante("analyze", folder, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["emotion"] for row in rows] == ["happy", "", "happy", "", ""]
    assert float(rows[0]["happy"]) == max(float(rows[0][emotion]) for emotion in EMOTIONS)
    assert rows[3]["face"] == rows[3]["error"] == ""
    assert "cut off" in rows[1]["error"]
    assert all(None not in row and None not in row.values() for row in rows)


def test_table_and_exit_code_of_good_input(folder: Path) -> None:
    done = semblante("analyze", EXAMPLE, folder / "nobody.webp")
    assert (done.returncode, done.stderr) == (0, "")
    assert "happy" in done.stdout
    assert "no face" in done.stdout
    spanish = semblante("analyze", EXAMPLE, folder / "nobody.webp", "--lang", "es").stdout
    assert "alegría" in spanish
    assert "sin rostros" in spanish


def test_out_is_written_whole_or_not_at_all(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "faces.json"
    done = semblante("analyze", folder, "--format", "json", "--out", out)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(out.read_text().splitlines()) == 5
    assert list(tmp_path.iterdir()) == [out]


def test_annotated_copies_keep_the_layout_of_the_folders(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "other").mkdir()
    other = shutil.copy(EXAMPLE, tmp_path / "other")
    done = semblante("analyze", folder, EXAMPLE, other, "--annotate", tmp_path / "out")
    shutil.rmtree(tmp_path / "other")
    assert done.returncode == 1
    written = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert written == [
        "out/a face.jpg", "out/deep/same.PNG", "out/eileen-collins-2.jpg",
        "out/eileen-collins.jpg", "out/nobody.webp.png",
    ]  # fmt: skip
    with Image.open(tmp_path / "out" / "deep" / "same.PNG") as picture:
        assert picture.size == (512, 512)


def test_each_face_as_a_picture_of_its_own(tmp_path: Path) -> None:
    """They may be sorted into folders, and learnt from."""
    nobody, twice = np.zeros((90, 90, 3), np.uint8), np.concatenate([load_image(EXAMPLE)] * 2, 1)
    for place, image in (("in/deep/two.png", twice), ("in/none.png", nobody)):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / place)
    person = head(130)
    write_video(tmp_path / "in" / "film.mp4", 12, lambda n: canvas((person, 10 + 2 * n, 40)))
    for _ in range(2):  # the second time, they are no inputs
        done = semblante(
            "analyze", "in", "--crops", "in/faces", "--every", "0.2s", "--format", "json",
            "--out", "faces.json", cwd=tmp_path,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        folder = tmp_path / "in" / "faces"
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
        assert found == ["deep/two.png-1.png", "deep/two.png-2.png", "film.mp4-1.png"]
    rows = [json.loads(line) for line in (tmp_path / "faces.json").read_text().splitlines()]
    [two] = [row for row in rows if row["path"].endswith("two.png")]
    for number, face in enumerate(two["faces"], start=1):
        crop = load_image(folder / f"deep/two.png-{number}.png")
        np.testing.assert_array_equal(crop, Box(*face["box"]).crop(twice))
    frames = [row["faces"][0] for row in rows if row["frame"] is not None and row["faces"]]
    surest = max(frames, key=lambda face: face["probabilities"][face["emotion"]])
    assert load_image(folder / "film.mp4-1.png").shape == (*surest["box"][:1:-1], 3)
    assert not is_own(folder / "film.mp4-1.png")
    (tmp_path / "mine").mkdir()
    shutil.move(folder, tmp_path / "mine" / "happy")
    assert load_dataset(tmp_path / "mine").counts()["Training"]["happy"] == 3


def test_faces_of_their_own_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{EXAMPLE.name}-1.png").mkdir()  # in its place
    done = semblante("analyze", EXAMPLE, "--crops", tmp_path / "out", "--format", "json")
    assert done.returncode == 1
    assert "cannot be written" in json.loads(done.stdout)["error"]
    done = semblante("analyze", EXAMPLE, "--crops", EXAMPLE)
    assert (done.returncode, "expected a folder, found a file" in done.stderr) == (2, True)
    copies = ("--annotate", tmp_path / "a", "--blur", "--crops", tmp_path / "b")
    done = semblante("analyze", EXAMPLE, *copies)
    assert "--blur does not pixelate its faces" in done.stderr


def test_a_face_takes_no_place_of_what_is_read_or_written(tmp_path: Path) -> None:
    """Neither under the file's own name nor through a link; the rest is written."""
    for place in ("in/sub/a.jpg", "sub/a.jpg-1.png", "b.jpg", "c.jpg"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLE, tmp_path / place)
    (tmp_path / "b.jpg-1.png").symlink_to("c.jpg")
    arguments = ("in", "sub", "b.jpg", "c.jpg", "--crops", ".", "--format", "json")
    done = semblante("analyze", *arguments, cwd=tmp_path)
    errors = {row["path"]: row["error"] for row in map(json.loads, done.stdout.splitlines())}
    reason = "not overwritten by a face, since it is read or written otherwise"
    assert errors == {
        "in/sub/a.jpg": f"sub/a.jpg-1.png: {reason}", "sub/a.jpg-1.png": None,
        "b.jpg": f"b.jpg-1.png: {reason}", "c.jpg": None,
    }  # fmt: skip
    assert done.returncode == 1
    for place in ("sub/a.jpg-1.png", "c.jpg"):
        assert (tmp_path / place).read_bytes() == EXAMPLE.read_bytes()
    for place in ("a.jpg-1.png-1.png", "c.jpg-1.png"):
        assert load_image(tmp_path / place).shape == (105, 105, 3)


def test_copies_and_faces_in_one_folder(tmp_path: Path) -> None:
    """A face that cannot be written costs neither the copy nor the other pictures' faces."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("a.png", "a.png-1.png"):
        with Image.open(EXAMPLE) as picture:
            picture.save(tmp_path / name, icc_profile=profile)
    arguments = ("a.png", "a.png-1.png", "--annotate", "d", "--crops", "d", "--format", "json")
    done = semblante("analyze", *arguments, cwd=tmp_path)
    errors = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert [error is None for error in errors] == [False, True], errors
    assert errors[0].startswith("d/a.png-1.png: not overwritten by a face")
    written = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert written == ["a.png", "a.png-1.png", "a.png-1.png-1.png"]
    with Image.open(tmp_path / "d" / written[-1]) as face:
        assert (face.size, face.info["icc_profile"]) == ((105, 105), profile)
    assert [is_own(tmp_path / "d" / name) for name in written] == [True, True, False]


@pytest.mark.parametrize(("name", "place"), [("face.jpg", "marked"), ("face.bmp", ".")])
def test_annotating_a_folder_twice_into_itself_finds_the_same(
    name: str, place: str, tmp_path: Path
) -> None:
    """Below it or in its very midst, where a copy has another name."""
    with Image.open(EXAMPLE) as picture:
        picture.save(tmp_path / name)
    for _ in range(2):
        done = semblante("analyze", tmp_path, "--annotate", tmp_path / place, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1
    assert len(list((tmp_path / place).iterdir())) == (2 if place == "." else 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["A/face.jpg", "--annotate", "A"],
        ["A", "--annotate", "A"],
        ["B", "A", "--annotate", "A"],  # a copy of B's would take the place of A's picture
        ["B/face.jpg", "A/face.jpg", "--annotate", "A"],
        ["A/face.jpg", "--annotate", "link"],
        ["A", "--format", "table", "--out", "A/face.jpg"],
        ["B", "A", "--contact-sheet", "A/face.jpg"],
        ["B", "A", "--format", "csv", "--out", "A/face.jpg"],
        ["B", "--model", "A/face.jpg", "--format", "json", "--out", "A/face.jpg"],
    ],
)
def test_no_picture_is_ever_overwritten(arguments: list[str], tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / name).mkdir()
        shutil.copy(EXAMPLE, tmp_path / name / "face.jpg")
    (tmp_path / "link").symlink_to("A")
    done = semblante("analyze", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "would overwrite" in done.stderr
    assert all((tmp_path / n / "face.jpg").read_bytes() == EXAMPLE.read_bytes() for n in "AB")


def test_a_contact_sheet_s_name_says_its_format(tmp_path: Path) -> None:
    done = semblante("analyze", EXAMPLE, "--contact-sheet", tmp_path / "sheet.gif")
    assert done.returncode == 2
    assert f"{tmp_path}/sheet.gif: expected a name that ends in .png or .jpg" in done.stderr
    assert semblante("analyze", EXAMPLE, "--contact-sheet", tmp_path / "sheet").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "pages.png").mkdir()
    for name, folder in (("folder", "folder"), ("pages", "pages.png")):
        for command in (["analyze", EXAMPLE], ["data", "inspect", "missing.csv"]):
            done = semblante(*command, "--contact-sheet", tmp_path / name)
            assert done.returncode == 2
            expected = (
                f"--contact-sheet {tmp_path / folder}: expected a file's name, found a folder"
            )
            assert expected in done.stderr


def test_an_original_under_another_name_is_not_overwritten(tmp_path: Path) -> None:
    """As `Photos` is `photos` where letters' case does not count; here by a second name."""
    for name in ("Photos", "photos"):
        (tmp_path / name).mkdir()
    shutil.copy(EXAMPLE, tmp_path / "Photos" / "a.jpg")
    (tmp_path / "photos" / "a.jpg").hardlink_to(tmp_path / "Photos" / "a.jpg")
    done = semblante("analyze", tmp_path / "Photos", "--annotate", tmp_path / "photos")
    assert (done.returncode, "would overwrite" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "csv", "--out", "r.png", "--contact-sheet", "r.png"],
        ["--annotate", "copies", "--format", "csv", "--out", "copies/face.jpg"],
        ["--annotate", "copies", "--contact-sheet", "copies/face.jpg"],
    ],
)
def test_results_do_not_overwrite_each_other(arguments: list[str], tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "face.jpg")
    (tmp_path / "copies").mkdir()
    done = semblante("analyze", "face.jpg", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "would be written twice" in done.stderr


def test_what_lies_in_a_folder(tmp_path: Path) -> None:
    """Links to folders are followed, each folder once; a pipe does not hold up the others."""
    for name in ("in/real", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(EXAMPLE, tmp_path / name / "face.jpg")
    (tmp_path / "in" / "album").symlink_to("../elsewhere")
    (tmp_path / "in" / "real" / "loop").symlink_to("..")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    done = semblante("analyze", "in", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1
    found = {row["path"]: row["error"] for row in map(json.loads, done.stdout.splitlines())}
    assert found == {
        "in/album/face.jpg": None,
        "in/gone.jpg": "in/gone.jpg: cannot be read: No such file or directory",
        "in/pipe.jpg": "in/pipe.jpg: expected a file, found a pipe or a device",
        "in/real/face.jpg": None,
    }


def without_rights(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Without root's right to enter what nobody may."""
    rights = ["--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
    return subprocess.run(
        ["setpriv", *(rights if os.geteuid() == 0 else []), PROGRAM, *arguments],
        cwd=cwd, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_hidden_folders_that_may_not_be_entered(tmp_path: Path) -> None:
    """Such as a Mac and Windows have on every disk: they are nothing to us."""
    (tmp_path / "in" / "happy").mkdir(parents=True)
    shutil.copy(EXAMPLE, tmp_path / "in" / "happy" / "a.jpg")
    locked = [tmp_path / "in" / name for name in (".Trashes", "System Volume Information")]
    for folder in locked:
        folder.mkdir(mode=0)
    for command in (["analyze", "in"], ["data", "inspect", "in"]):
        done = without_rights(*command, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    for folder in locked:
        folder.chmod(0o755)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_folder_that_may_be_listed_and_not_entered(tmp_path: Path) -> None:
    (tmp_path / "in" / "locked").mkdir(parents=True)
    for name in ("a.jpg", "locked/b.jpg"):
        shutil.copy(EXAMPLE, tmp_path / "in" / name)
    (tmp_path / "in" / "locked").chmod(0o444)
    done = without_rights("analyze", "in", "--format", "csv", cwd=tmp_path)
    (tmp_path / "in" / "locked").chmod(0o755)
    assert done.returncode == 1
    assert done.stderr == "semblante: in/locked/b.jpg: cannot be read: Permission denied\n"
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == [
        "path", "in/a.jpg", "in/locked/b.jpg"
    ]  # fmt: skip


def test_a_run_that_was_killed_before_its_first_result(tmp_path: Path) -> None:
    partial = tmp_path / "faces.csv.partial"
    command = ("analyze", EXAMPLE, "--format", "csv", "--out", tmp_path / "faces.csv")
    for held in (b'{"semblante": {"inputs": []}}\n', b'{"semblante": {"inp', b""):
        partial.write_bytes(held)
        assert semblante(*command).returncode == 0
        assert not partial.exists()
    partial.write_bytes(b"somebody else's\n")
    assert semblante(*command).returncode == 2
    assert partial.read_bytes() == b"somebody else's\n"


def test_annotating_into_the_folder_above(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "in" / "face.jpg")
    for _ in range(2):
        assert semblante("analyze", "in", "--annotate", ".", cwd=tmp_path).returncode == 0
    assert (tmp_path / "in" / "face.jpg").read_bytes() == EXAMPLE.read_bytes()
    assert (tmp_path / "face.jpg").exists()


def test_out_to_a_link_replaces_what_an_older_file_held(tmp_path: Path) -> None:
    older, link = tmp_path / "older.json", tmp_path / "link.json"
    older.write_text("old")
    older.chmod(0o600)
    link.symlink_to("older.json")
    assert semblante("analyze", EXAMPLE, "--format", "json", "--out", link).returncode == 0
    assert link.is_symlink()
    assert json.loads(older.read_text())["faces"]
    assert older.stat().st_mode & 0o777 == 0o600


def test_files_with_odd_names_are_read_or_reported(tmp_path: Path) -> None:
    names = ["new\nline.jpg", "é.jpg", "tab\t.jpg"]
    for name in names:
        shutil.copy(EXAMPLE, tmp_path / name)
    (tmp_path / os.fsdecode(b"latin\xe9.jpg")).write_bytes(EXAMPLE.read_bytes())
    (tmp_path / "bad\nname.jpg").write_text("no picture")
    (tmp_path / "nowhere.jpg").symlink_to("missing")
    done = semblante("analyze", tmp_path, "--format", "json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 6
    assert sum(bool(row["faces"]) for row in rows) == 4
    assert all(Path(row["path"]).exists() for row in rows if row["error"] is None)
    assert len(done.stderr.splitlines()) == 2
    assert done.returncode == 1


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"rmdir ../gone; '{PROGRAM}' analyze '{EXAMPLE}' --annotate marked"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path / "gone", capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "semblante: the current folder does not exist any more\n"
