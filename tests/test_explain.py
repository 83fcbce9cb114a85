"""What in a face speaks for the estimate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image, ImageDraw

import semblante
from conftest import EXAMPLE
from faces import colours, face
from films import canvas, write_video
from program import PROGRAM
from program import semblante as run
from semblante import EMOTIONS, Analyzer, Explanation, ImageError, OptionError
from semblante.cli.explain import explain_command
from semblante.recognise.annotate import COLOURS
from semblante.recognise.explain import PARTS, explanation


class Seeing:
    """Says happy the more, the brighter the left corner of the mouth is, and a little of all else;
    else sad."""

    def __init__(self) -> None:
        self.weights = np.random.default_rng(1).random((48, 48)) / 48**2
        self.weights[34:40, 10:18] += 1 / 48
        self.weights /= self.weights.sum()
        self.mirrored: list[bool] = []

    def probabilities(self, faces: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
        self.mirrored.append(mirrored)
        found = np.zeros((len(faces), 7), np.float32)
        happy = 0.1 + 0.8 * (faces * self.weights).sum(axis=(1, 2)) / 255
        found[:, EMOTIONS.index("happy")] = happy
        found[:, EMOTIONS.index("sad")] = 1 - happy
        return found


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    grey = np.random.default_rng(0).integers(40, 80, (48, 48)).astype(np.uint8)
    grey[34:40, 10:18] = 220
    return grey


def explained(picture: np.ndarray, emotion: str = "happy", mirrored: bool = False) -> Explanation:
    classifier = Seeing()
    found = explanation(classifier, face("happy"), picture, emotion, mirrored=mirrored)  # type: ignore[arg-type]
    assert classifier.mirrored == [mirrored]
    return found


def test_evidence_is_what_the_odds_lose_where_a_square_is_hidden(picture: np.ndarray) -> None:
    """The slow way: for each pixel, all squares of 8 pixels, 4 apart, that hide it."""

    def bits(image: np.ndarray) -> float:
        happy = float(Seeing().probabilities(image[None])[0, EMOTIONS.index("happy")])
        return float(np.log2(happy / (1 - happy)))

    def hidden(top: int, left: int) -> np.ndarray:
        image = picture.copy()
        image[max(0, top) : top + 8, max(0, left) : left + 8] = round(picture.mean())
        return image

    found = explained(picture).evidence
    assert found.dtype == np.float32
    for row, column in ((0, 0), (47, 47), (36, 14), (36, 21), (30, 3), (12, 40)):
        starts = [
            (top, left)
            for top in range(-4, 48, 4)
            for left in range(-4, 48, 4)
            if top <= row < top + 8 and left <= column < left + 8
        ]
        assert len(starts) == 4
        lost = [bits(picture) - bits(hidden(*start)) for start in starts]
        assert found[row, column] == pytest.approx(np.mean(lost), abs=1e-4)
    assert np.unravel_index(found.argmax(), found.shape)[0] in range(32, 42)
    np.testing.assert_allclose(explained(picture, "sad").evidence, -found, atol=1e-4)


def test_what_is_said_without_a_part_of_the_face(picture: np.ndarray) -> None:
    found = explained(picture, mirrored=True)
    grey = round(picture.mean())
    for part, (top, bottom) in {"eyes": (8, 22), "nose": (22, 32), "mouth": (32, 46)}.items():
        image = picture.copy()
        image[top:bottom] = grey
        expected = dict(zip(EMOTIONS, Seeing().probabilities(image[None])[0], strict=True))
        assert found.without[part] == pytest.approx(expected)
    assert found.without["mouth"]["happy"] < found.without["eyes"]["happy"]
    assert list(found.without) == list(PARTS)


def test_certainty_has_no_endless_evidence(picture: np.ndarray) -> None:
    class Certain(Seeing):
        def probabilities(self, faces: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
            return np.eye(7, dtype=np.float32)[np.full(len(faces), 3)]

    found = explanation(Certain(), face("happy"), picture, "happy")  # type: ignore[arg-type]
    assert (found.evidence == 0).all()


@pytest.fixture(scope="module")
def astronaut() -> Explanation:
    """Framed closely, so that the network is not as sure of it as can be."""
    [found] = Analyzer(detector="haar").explain(EXAMPLE)
    return found


def test_of_a_smile_the_mouth_speaks(astronaut: Explanation) -> None:
    assert [astronaut.face] == Analyzer(detector="haar").analyze(EXAMPLE)
    assert astronaut.emotion == astronaut.face.emotion == "happy"
    assert astronaut.picture.shape == astronaut.evidence.shape == (48, 48)
    row, _ = np.unravel_index(astronaut.evidence.argmax(), (48, 48))
    assert row >= 30
    least = min(astronaut.without, key=lambda part: astronaut.without[part]["happy"])
    assert least == "mouth"
    kept = json.loads(json.dumps(astronaut.to_dict()))
    assert kept["emotion"] == kept["explained"] == "happy"
    np.testing.assert_allclose(kept["evidence"], astronaut.evidence, atol=6e-4)
    assert kept["without"]["mouth"]["happy"] == round(astronaut.without["mouth"]["happy"], 5)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_one_face_of_two_and_as_many_views_as_of_an_estimate(tta: str) -> None:
    picture = semblante.load_image(EXAMPLE)
    analyzer = Analyzer("rcnn-small-int8", tta=tta)
    both = np.concatenate([picture, picture // 3], axis=1)
    [found] = analyzer.explain(both, face=2)
    assert found.face == analyzer.analyze(both)[1]
    hidden = found.picture.copy()
    hidden[32:46] = round(hidden.mean())
    expected = analyzer.classifier.probabilities(hidden[None], mirrored=tta == "flip")[0]
    np.testing.assert_allclose(list(found.without["mouth"].values()), expected, atol=1e-5)
    for number in (0, 3):
        with pytest.raises(OptionError, match=f"expected a face between 1 and 2, found {number}"):
            analyzer.explain(both, face=number)


def test_of_another_emotion_and_of_no_face() -> None:
    analyzer = Analyzer("rcnn-small-int8")
    [found] = analyzer.explain(EXAMPLE, "fear")
    assert (found.emotion, found.face.emotion) == ("fear", "happy")
    assert analyzer.explain(np.zeros((60, 60, 3), np.uint8)) == []
    with pytest.raises(OptionError, match="expected a picture with a face in it, found none"):
        analyzer.explain(np.zeros((60, 60, 3), np.uint8), face=1)
    with pytest.raises(OptionError, match="unknown emotion 'joy'"):
        analyzer.explain(EXAMPLE, "joy")
    with pytest.raises(ImageError):
        analyzer.explain(b"no picture")


def test_the_sheet_shows_where(astronaut: Explanation, picture: np.ndarray) -> None:
    seen = explained(picture)
    page = semblante.evidence_sheet([astronaut, seen])
    assert page.shape == (6 + 2 * 198 + 30, 726, 3)
    assert page.flags.writeable
    said: list[str] = []
    write = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, place: Any, text: str, **how: Any) -> None:
        said.append(text)
        write(self, place, text, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageDraw.ImageDraw, "text", text)
        semblante.evidence_sheet([replace(astronaut, emotion="fear")])
        semblante.evidence_sheet([])
    assert said[0].startswith("1: happy 9")
    assert [line.split(" ")[2] for line in said[2:5]] == ["fear"] * 3
    assert "no face" in said
    plain, over = page[6:198, 6:198].astype(int), page[6:198, 204:396].astype(int)
    assert (plain.max(axis=2) - plain.min(axis=2)).max() == 0
    warmth = over[:, :, 0] - over[:, :, 2]  # orange rather than blue
    assert warmth[130:170, 60:150].mean() > 5 > 0 > warmth[:60].mean()
    assert warmth.max() < 100  # a fifth of a bit is no strong evidence
    # In the second the corner of the mouth alone speaks, as strongly as there are colours.
    second = page[204:396, 204:396].astype(int)
    there = second[36 * 4, 14 * 4]
    assert np.abs(there - (0.8 * np.array(COLOURS["surprise"]) + 0.2 * 220)).max() < 45
    assert {COLOURS["surprise"], COLOURS["sad"]} <= colours(page)  # the key
    spanish, english = (semblante.evidence_sheet([seen], language) for language in ("es", "en"))
    for top, bottom in ((6, 30), (40, 60), (64, 84), (204, 234)):
        assert not np.array_equal(spanish[top:bottom, 40:], english[top:bottom, 40:])


# -- the command ----------------------------------------------------------------------------------


def test_the_table_and_the_pages(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "in" / "a.jpg")
    Image.new("RGB", (90, 60), "white").save(tmp_path / "in" / "nobody.png")
    (tmp_path / "in" / "broken.png").write_text("no picture")
    write_video(tmp_path / "in" / "film.mp4", 3, lambda _: canvas())
    # A video that a folder holds is passed over; one that is named is refused.
    named = tmp_path / "in" / "film.mp4"
    done = run("explain", tmp_path / "in", named, "--out", tmp_path / "out", "--lang", "es")
    assert done.returncode == 1
    head, *rows = done.stdout.splitlines()
    assert head.split() == [
        "imagen", "rostro", "emoción", "ojos", "tapados", "nariz", "tapada", "boca", "tapada",
    ]  # fmt: skip
    assert [row.removeprefix(f"{tmp_path}/in/").split()[:3] for row in rows] == [
        ["a.jpg", "1", "alegría"], ["broken.png", "-", "no"], ["nobody.png", "-", "sin"],
        ["film.mp4", "-", "no"],
    ]  # fmt: skip
    assert rows[0].split()[3:5] == ["99", "%"]
    assert "film.mp4: se esperaba una imagen; se encontró un video" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "nobody.png"]
    assert semblante.load_image(tmp_path / "out" / "a.jpg").shape == (234, 726, 3)


def test_pages_of_an_earlier_run_are_no_faces_and_an_empty_folder_has_none(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "a.jpg")
    (tmp_path / "empty").mkdir()
    write_video(tmp_path / "empty" / "film.mp4", 3, lambda _: canvas())
    for _ in range(2):
        done = run("explain", tmp_path, tmp_path / "empty", "--out", tmp_path / "pages")
        assert done.returncode == 1
        assert len(done.stdout.splitlines()) == 3
        assert "empty: no pictures in this folder" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudoterminal")
def test_json_goes_into_a_file_while_a_terminal_shows_that_it_works(tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    with (tmp_path / "out.jsonl").open("w") as out:
        command = [PROGRAM, "explain", EXAMPLE, "--format", "json"]
        env = {**os.environ, "TERM": "xterm"}
        assert (
            subprocess.run(command, stdout=out, stderr=terminal, env=env, timeout=120).returncode
            == 0
        )
    os.close(terminal)
    assert b"{" not in os.read(ours, 100_000)
    os.close(ours)
    assert json.loads((tmp_path / "out.jsonl").read_text())["error"] is None


def test_json_and_another_emotion(tmp_path: Path) -> None:
    done = run("explain", EXAMPLE, tmp_path / "none.jpg", "--emotion", "Miedo", "--format", "json")
    assert done.returncode == 1
    found, missing = map(json.loads, done.stdout.splitlines())
    assert found["path"] == str(EXAMPLE)
    assert found["error"] is None
    [of_face] = found["faces"]
    assert (of_face["emotion"], of_face["explained"]) == ("happy", "fear")
    assert np.shape(of_face["evidence"]) == (48, 48)
    assert missing["faces"] == []
    assert "none.jpg" in missing["error"]
    table = run("explain", EXAMPLE, "--emotion", "fear").stdout.splitlines()[1]
    assert table.count("fear") == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--emotion", "glee"], "unknown emotion 'glee'; known: angry, disgust"),
        (["--out", "file.txt"], "--out file.txt: expected a folder, found a file"),
        (["--out", "."], "--out . would overwrite face.jpg"),
    ],
)
def test_what_is_refused(tmp_path: Path, options: list[str], reason: str) -> None:
    shutil.copy(EXAMPLE, tmp_path / "face.jpg")
    (tmp_path / "file.txt").write_text("")
    done = run("explain", "face.jpg", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert (tmp_path / "face.jpg").read_bytes() == EXAMPLE.read_bytes()


class Explains:
    """Of every picture one face, which is happy, and something else without each of its parts."""

    def __init__(self, model: str, *, detector: str, head: str | None, **sought: None) -> None:
        self.model, self.detector, self.head = model, detector, head
        assert sought == {"min_face": None, "min_score": None}

    def explain(self, path: Path, emotion: str | None = None) -> list[Explanation]:
        assert (self.model, self.detector, emotion) == ("mine.onnx", "none", None)
        assert self.head == "fer2013"
        if path.stem == "huge":
            raise ImageError(f"{path}: could not be searched: too large")
        without = dict(zip(PARTS, ("sad", "angry", "fear"), strict=True))
        found = {part: face(other).probabilities for part, other in without.items()}
        grey, nothing = np.zeros((48, 48), np.uint8), np.zeros((48, 48), np.float32)
        return [Explanation(face("happy"), "happy", grey, nothing, found)]


def test_a_picture_that_cannot_be_searched_and_one_of_an_odd_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    languages: list[str] = []

    def sheet(_: object, language: str) -> np.ndarray:
        languages.append(language)
        return np.zeros((9, 9, 3), np.uint8)

    monkeypatch.setattr("semblante.cli.explain.Analyzer", Explains)
    monkeypatch.setattr("semblante.cli.explain.evidence_sheet", sheet)
    odd = f"[red]:smile:\n{'long' * 40}.png"
    for name in (odd, "huge.png"):
        (tmp_path / name).touch()
    with pytest.raises(typer.Exit):
        explain_command(
            [tmp_path], tmp_path / "pages", model="mine.onnx", head="fer2013",
            detector="none", lang="es",
        )  # fmt: skip
    said = capsys.readouterr()
    shown = said.out.replace("\N{NO-BREAK SPACE}%", "%")
    first, *others = (line.split() for line in shown.splitlines()[1:])
    path = str(tmp_path / odd).replace("\n", "\\n")
    assert first == [
        path,
        "1",
        "alegría",
        "82%",
        "tristeza",
        "82%",
        "enfado",
        "82%",
        "miedo",
        "82%",
    ]
    assert [row[1:] for row in others] == [["-", "no", "leída"]]
    assert said.err == f"semblante: {tmp_path}/huge.png: could not be searched: too large\n"
    assert languages == ["es"]
