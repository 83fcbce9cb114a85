"""Pictures of many faces, and of a video's emotions."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

import semblante
from conftest import EXAMPLE
from faces import colours, face, head
from films import FPS, SIZE, canvas, write_video
from program import semblante as run
from semblante import EMOTIONS, Analysis, Analyzer, Box, Face
from semblante.cli import overviews
from semblante.cli.app import app
from semblante.cli.inputs import Clip, Picture
from semblante.cli.overviews import ContactSheet, Overviews, Timelines
from semblante.emotions import emotion_name
from semblante.recognise.annotate import COLOURS, pixelated
from semblante.recognise.sheets import Tile, _axis, contact_sheet, tile_of, timeline
from semblante.recognise.video import Video


def test_contact_sheet_has_a_block_for_each_emotion_shown() -> None:
    grey = np.full((96, 96, 3), 130, np.uint8)
    tiles = [Tile(grey, "happy", 0.5), Tile(grey + 20, "happy", 0.9), Tile(grey + 40, "sad", 0.7)]
    sheet = contact_sheet(tiles)
    assert COLOURS["happy"] in colours(sheet)
    assert COLOURS["sad"] in colours(sheet)
    assert COLOURS["fear"] not in colours(sheet)
    # the surer of the two happy faces comes first
    first = {int(level): int(np.argwhere((sheet == level).all(axis=2))[:, 1].min())
             for level in (130, 150)}  # fmt: skip
    assert first[150] < first[130]


def test_a_tile_is_the_face() -> None:
    image = semblante.load_image(EXAMPLE)
    tile = tile_of(image, face("sad", box=Box(-20, -20, 60, 60)))
    expected = Image.fromarray(image[:40, :40]).resize((96, 96), Image.Resampling.BILINEAR)
    assert np.abs(tile.picture.astype(int) - np.asarray(expected)).mean() < 6


def test_timeline_has_a_strip_for_each_track() -> None:
    frames = [
        Analysis("x.mp4", 9, 9, (face("happy"),) if n < 5 else (face("sad"), face("fear", 2)),
                 frame=n, time_s=n / 10)
        for n in range(10)
    ]  # fmt: skip
    picture = timeline(frames)
    top = picture[46:90]
    happy = np.argwhere((top == COLOURS["happy"]).all(axis=2))
    sad = np.argwhere((top == COLOURS["sad"]).all(axis=2))
    assert happy[:, 1].max() <= sad[:, 1].min() + 1  # one after the other
    assert np.ptp(happy[:, 0]) > 30
    second = picture[100:144]
    assert COLOURS["fear"] in colours(second)
    assert COLOURS["sad"] not in colours(second)


def test_a_frame_is_seen_until_the_next_one_comes() -> None:
    """Of a film with ten frames in its first second and one in each of the next."""
    times = [*(n / 10 for n in range(10)), *range(1, 6)]
    frames = [
        Analysis("x.mp4", 9, 9, (face("happy"),), frame=n, time_s=float(time_s))
        for n, time_s in enumerate(times)
    ]
    line = (timeline(frames)[88] == COLOURS["happy"]).all(axis=1)
    assert np.diff(np.flatnonzero(line)).max() == 1


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """What is written on a picture, and how far from its left edge."""
    said: list[tuple[float, str]] = []
    write = ImageDraw.ImageDraw.text

    def text(self, place, text, **how):
        said.append((place[0], text))
        write(self, place, text, **how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return said


@pytest.mark.parametrize("place", [(-90, 10), (10, -90), (9000, 10), (10, 9000), (-60, 0)])
def test_of_a_face_beyond_the_picture_nothing_is_shown(place: tuple[int, int]) -> None:
    image = semblante.load_image(EXAMPLE)
    tile = tile_of(image, face("sad", box=Box(*place, 60, 60)))
    assert tile.picture.shape == (96, 96, 3)
    assert not tile.picture.any()


def test_a_timeline_begins_with_its_first_frame(written: list[tuple[float, str]]) -> None:
    """Ten frames a second, from 100.3 to 104.2 s."""
    frames = [
        Analysis("x.mp4", 9, 9, (face("happy"),), frame=n, time_s=100.3 + n / 10) for n in range(40)
    ]
    picture = timeline(frames, "es")
    rows, columns = np.nonzero((picture[:96] == COLOURS["happy"]).all(axis=2))
    assert (columns.min(), columns.max()) == pytest.approx((110, 1180), abs=1)
    assert rows.max() - rows.min() == pytest.approx(0.82 * 44, abs=1)
    marks = [(x, text) for x, text in written if text.endswith(" s")]
    seconds = [f"{n / 2:g} s".replace(".", ",") for n in range(201, 209)]
    assert [text for _, text in marks] == seconds
    assert [x for x, _ in marks] == pytest.approx(
        [113 + 1070 * (0.2 + n / 2) / 4 for n in range(8)]
    )
    names = [text for _, text in written if not text.endswith(" s")]
    assert names == ["x.mp4", "pista 1", *(emotion_name(emotion, "es") for emotion in EMOTIONS)]


def test_a_long_film_has_a_clock_and_one_without_faces_says_so(
    written: list[tuple[float, str]],
) -> None:
    path = "interviews/" * 40 + "long.mp4"
    timeline([Analysis(path, 9, 9, frame=n, time_s=600.0 * n) for n in range(11)])
    (_, title), (_, nothing), *marks = written[: -len(EMOTIONS)]
    assert title.startswith("…")
    assert title.endswith("interviews/long.mp4")
    assert nothing == "no face"
    expected = ["0:00", *(f"{n}0:00" for n in range(1, 6)), *(f"1:{n}0:00" for n in range(6))]
    assert [text for _, text in marks] == expected
    written.clear()
    timeline([Analysis("x.mp4", 9, 9, frame=n, time_s=float(n)) for n in range(100)])
    left, last = written[-len(EMOTIONS) - 1]
    assert last == "1:40"
    assert left < 1175  # and not half beyond the edge


def test_of_many_tracks_the_longest_are_shown_in_order(written: list[tuple[float, str]]) -> None:
    frames = [
        Analysis("x.mp4", 9, 9, tuple(face("happy", n) for n in range(1, 71) if n > k),
                 frame=k, time_s=float(k))
        for k in range(70)
    ]  # fmt: skip
    timeline(frames)
    tracks = [text for _, text in written if text.startswith("track ")]
    assert tracks == [f"track {n}" for n in range(11, 71)]
    assert "10 shorter tracks are not shown" in [text for _, text in written]


def test_a_contact_sheet_in_spanish(written: list[tuple[float, str]]) -> None:
    tiles = [Tile(np.zeros((96, 96, 3), np.uint8), "happy", 0.5)]
    contact_sheet(tiles, "es", {"happy": 3, "sad": 1})
    assert [text for _, text in written] == [
        "alegría (3)", "50\u00a0%", "tristeza (1)", "3 rostros más no se muestran"
    ]  # fmt: skip


def test_each_face_of_a_contact_sheet_says_what_file_it_is_in(
    written: list[tuple[float, str]],
) -> None:
    grey = np.zeros((96, 96, 3), np.uint8)
    names = ["short.jpg", "material-kit-2.0.4--card-profile6-square.jpg"]
    page = contact_sheet([Tile(grey, "sad", 0.5, name, "0:01") for name in names])
    assert page.shape[0] == 36 + 96 + 6 + 30 + 6
    _, *texts = [text for _, text in written]
    assert texts[:3] == ["50%", "0:01", "short.jpg"]
    assert re.fullmatch(r"materia\S*…\S*are\.jpg", texts[5])


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["1: happy 82%", "for fear: up to 1.3 bits", "mouth hidden: fear 3%",
                "2: angry 82%", "for fear: up to 0.0 bits", "speaks for it", "against it"]),
        ("es", ["1: alegría 82\u00a0%", "a favor de miedo: hasta 1,3 bits",
                "boca tapada: miedo 3\u00a0%", "2: enfado 82\u00a0%",
                "a favor de miedo: hasta 0,0 bits", "a favor", "en contra"]),
    ],
)  # fmt: skip
def test_what_an_evidence_sheet_says(
    language: str, expected: list[str], written: list[tuple[float, str]]
) -> None:
    grey, evidence = np.full((48, 48), 100, np.uint8), np.full((48, 48), -3.0, np.float32)
    evidence[0, 0] = 1.26
    without = {"mouth": face("sad").probabilities}
    first = semblante.Explanation(face("happy"), "fear", grey, evidence, without)
    second = semblante.Explanation(face("angry"), "fear", grey, np.minimum(evidence, -1), {})
    semblante.evidence_sheet([first, second], language)
    assert [text for _, text in written] == expected


@pytest.mark.parametrize(
    ("bits", "strength", "colour"),
    [(0.25, 0.2, "surprise"), (-0.5, 0.4, "sad"), (-2.0, 0.8, "sad")],
)
def test_little_evidence_is_pale(bits: float, strength: float, colour: str) -> None:
    grey, evidence = np.full((48, 48), 100, np.uint8), np.full((48, 48), bits, np.float32)
    page = semblante.evidence_sheet(
        [semblante.Explanation(face("happy"), "happy", grey, evidence, {})]
    )
    expected = 100 + strength * (np.array(COLOURS[colour]) - 100)
    assert np.abs(page[6:198, 204:396] - expected).max() <= 1


def test_hair_and_chin_are_hidden_too_and_nothing_beyond() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3)).astype(np.uint8)
    hidden = pixelated(image, [Box(-10, -10, 40, 40), Box(200, 10, 30, 30), Box(60, 50, 20, 20)])
    differs = (hidden != image).any(axis=2)
    for rows, columns in (((0, 40), (0, 38)), ((45, 75), (56, 84))):
        part = np.s_[rows[0] : rows[1], columns[0] : columns[1]]
        assert differs[part].mean() > 0.99
        assert len(colours(hidden[part])) <= 64
        differs[part] = False
    assert not differs.any()


def test_nobody_is_recognised_in_a_blurred_copy() -> None:
    image = semblante.load_image(EXAMPLE)
    analyzer = Analyzer()
    faces = analyzer.analyze(image)
    hidden = pixelated(image, [face.box for face in faces])
    assert analyzer.analyze(hidden) == []
    box = faces[0].box
    part = hidden[box.top : box.top + box.height, box.left : box.left + box.width]
    assert len(colours(part)) <= 64
    outside = hidden.copy()
    outside[:230, 120:330] = image[:230, 120:330]
    assert np.array_equal(outside, image)


def test_from_the_command_line(tmp_path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 20, lambda n: canvas((head(), 20 + n, 40)))
    done = run(
        "analyze", EXAMPLE, clip, "--annotate", tmp_path / "marked", "--blur",
        "--contact-sheet", tmp_path / "sheet.png", "--timeline", tmp_path / "lines",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lines" / "clip.mp4.png").exists()
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 900
    assert Analyzer().analyze(tmp_path / "marked" / EXAMPLE.name) == []
    assert "sheet.png: --blur does not pixelate its faces" in done.stderr
    assert run("analyze", EXAMPLE, "--blur").returncode == 2


def test_who_enters_a_video_is_hidden_from_the_first_frame_on(tmp_path) -> None:
    first = 4  # between two searches for new faces, were there no need to hide them
    clip = write_video(
        tmp_path / "clip.mp4", 9, lambda n: canvas((head(), 60, 40)) if n >= first else canvas()
    )
    done = run("analyze", clip, "--annotate", tmp_path / "marked", "--blur", "--format", "json")
    assert done.returncode == 0, done.stderr
    analyzer = Analyzer()
    before = [len(analyzer.analyze(frame.image)) for frame in Video(clip).frames()]
    assert before == [0] * first + [1] * 5
    [copy] = (tmp_path / "marked").iterdir()
    assert all(analyzer.analyze(frame.image) == [] for frame in Video(copy).frames())


def test_a_copy_that_cannot_be_written_stops_nothing(tmp_path) -> None:
    Image.new("L", (66_000, 3)).save(tmp_path / "a.jpg", format="PNG")  # too long for a JPEG
    Image.new("L", (60, 60)).save(tmp_path / "b.jpg")
    done = run("analyze", tmp_path, "--annotate", tmp_path / "marked", "--format", "json")
    assert done.returncode == 1
    assert "66000x3 pixels cannot be written as JPEG" in done.stderr
    assert [path.name for path in (tmp_path / "marked").iterdir()] == ["b.jpg"]
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["width"] == 66_000
    assert second["error"] is None


def test_a_timeline_needs_a_folder(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    done = run("analyze", EXAMPLE, "--timeline", tmp_path / "file")
    assert done.returncode == 2
    assert "expected a folder, found a file" in done.stderr


def test_two_videos_of_one_name_have_a_timeline_each(tmp_path) -> None:
    clips = [
        Clip(Path(path), Path(Path(path).name))
        for path in ("a/clip.mp4", "b/clip.mp4", "clip-2.mp4", "c/clip.mp4")
    ]
    found = Overviews(clips, [Timelines(tmp_path / "lines", "en")])
    for number, clip in enumerate(clips):
        found.add(number, Analysis(str(clip.path), 9, 9, (face("happy"),), frame=0, time_s=0.0))
    found.write()
    names = sorted(path.name for path in (tmp_path / "lines").iterdir())
    assert names == ["clip-2-2.mp4.png", "clip-2.mp4.png", "clip-3.mp4.png", "clip.mp4.png"]


def test_timelines_lie_as_the_videos_lay(tmp_path) -> None:
    clips = [Clip(Path("x", name, "clip.mp4"), Path(name, "clip.mp4")) for name in "ab"]
    found = Overviews(clips, [Timelines(tmp_path, "en")])
    for number, clip in enumerate(clips):
        found.add(number, Analysis(str(clip.path), 9, 9, (face("happy"),), frame=0, time_s=0.0))
    found.write()
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    assert names == ["a/clip.mp4.png", "b/clip.mp4.png"]


def test_what_was_written_is_no_input(tmp_path) -> None:
    photograph = tmp_path / "cover.png"
    Image.open(EXAMPLE).save(photograph)
    before = photograph.read_bytes()
    done = run("analyze", tmp_path, "--contact-sheet", tmp_path / "cover")  # becomes cover.png
    assert done.returncode == 2
    assert f"would overwrite {photograph}, which is read" in done.stderr
    assert photograph.read_bytes() == before
    (tmp_path / "lines").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "lines" / "clip.mp4.png")
    done = run("analyze", tmp_path, "--timeline", tmp_path / "lines", "--format", "json")
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [str(photograph)]


def test_a_video_looked_at_twice_has_two_timelines(tmp_path) -> None:
    found = Overviews([Clip(Path("clip.mp4"), Path("clip.mp4"))] * 2, [Timelines(tmp_path, "en")])
    for number, frame in ((0, 0), (0, 1), (1, 0), (1, 1)):
        seen = Analysis("clip.mp4", 9, 9, (face("happy"),), frame=frame, time_s=frame / 5)
        found.add(number, seen)
    found.write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip-2.mp4.png", "clip.mp4.png"]


def test_faces_beyond_the_contact_sheet_are_counted(tmp_path, monkeypatch, capsys) -> None:
    said: list[str] = []
    write = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text",
        lambda self, place, text, **how: (said.append(text), write(self, place, text, **how)),
    )  # fmt: skip
    monkeypatch.setattr(overviews, "_MOST_TILES", 2)
    pictures = [Picture(EXAMPLE, Path(EXAMPLE.name))] * 4
    found = Overviews(pictures, [ContactSheet(tmp_path / "sheet.png", "en")])
    for number, emotion in enumerate(("happy", "happy", "happy", "sad")):
        found.add(number, Analysis(str(EXAMPLE), 512, 512, (face(emotion),)))
    found.write()
    seen = ("82%", EXAMPLE.name)
    assert said == ["happy (3)", *seen, *seen, "sad (1)", "2 more faces are not shown"]
    assert capsys.readouterr().err == (
        f"semblante: --contact-sheet {tmp_path / 'sheet.png'}: 2 more faces are not shown on it\n"
    )


def test_watch_a_video(tmp_path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 20, lambda n: canvas((head(), 20 + n, 40)))
    done = run("watch", clip, "--lang", "es")
    assert done.returncode == 0, done.stderr
    assert "rostro 1: " in done.stdout
    for name in ("enfado", "alegría", "neutral"):
        assert name in done.stdout
    for name, n in (("seen.csv", 21), ("seen.json", 20)):
        assert run("watch", clip, "--out", tmp_path / name).returncode == 0
        lines = (tmp_path / name).read_text().splitlines()
        assert len(lines) == n
        assert "happy" in lines[-1]
    refused = run("watch", clip, "--out", tmp_path / "seen.xlsx")
    assert (refused.returncode, "ends in .csv, .json" in refused.stderr) == (2, True)
    refused = run("watch", clip, "--out", clip.with_suffix(".csv") / "x.csv")
    assert (refused.returncode, "there is no folder" in refused.stderr) == (2, True)
    assert run("watch", "nothing").returncode == 2
    missing = run("watch", "98")
    assert missing.returncode == 1
    assert "camera 98: there is no such camera" in missing.stderr


def test_ctrl_c_ends_watching_and_leaves_what_was_seen(tmp_path, monkeypatch) -> None:
    def frames(*_: object):
        yield Analysis(None, 9, 9, (face("happy", 4),), frame=0, time_s=0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(Analyzer, "analyze_video", frames)
    done = CliRunner().invoke(app, ["watch", "0", "--out", str(tmp_path / "seen.json")])
    assert done.exit_code == 0, done.output
    assert "face 4: happy" in done.stdout
    [line] = (tmp_path / "seen.json").read_text().splitlines()
    assert json.loads(line)["faces"][0]["track"] == 4


def test_a_timeline_that_cannot_be_written_stops_nothing(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    clips = [write_video(tmp_path / "in" / f"{n}.mp4", 3, lambda _: canvas()) for n in "ab"]
    (tmp_path / "lines" / "a.mp4.png").mkdir(parents=True)
    done = run("analyze", *clips, "--timeline", tmp_path / "lines", "--format", "json")
    assert done.returncode == 1
    assert "a.mp4.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert (tmp_path / "lines" / "b.mp4.png").is_file()
    out = tmp_path / "rows.csv"
    assert run("analyze", *clips, "--timeline", tmp_path / "lines", "--out", out).returncode == 1
    names = ["in", "lines", "rows.csv", "rows.csv.partial"]  # from which the plot can still be made
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_timeline_replaces_nothing_else_that_is_written(tmp_path) -> None:
    film = write_video(tmp_path / "film.mp4", 4, lambda _: canvas())
    shutil.copy(EXAMPLE, tmp_path / "film.mp4.png")
    both = tmp_path / "both"
    done = run("analyze", film, tmp_path / "film.mp4.png", "--annotate", both, "--timeline", both)
    assert done.returncode == 0, done.stderr
    names = ["film-2.mp4.png", "film.mp4", "film.mp4.png"]
    assert sorted(path.name for path in both.iterdir()) == names
    assert semblante.load_image(both / "film.mp4.png").shape == (512, 512, 3)


def test_a_contact_sheet_of_a_film_shows_each_track_where_it_is_clearest(
    tmp_path, monkeypatch, written: list[tuple[float, str]]
) -> None:
    shades = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    film = write_video(
        tmp_path / "film.mp4",
        30,
        lambda n: np.full((SIZE[1], SIZE[0], 3), shades[n // 10], np.uint8),
    )

    def one(emotion: str, probability: float, track: int) -> Face:
        rest = (1 - probability) / (len(EMOTIONS) - 1)
        return Face(
            Box(20, 20, 60, 60), 0.9, emotion,
            {name: probability if name == emotion else rest for name in EMOTIONS}, track,
        )  # fmt: skip

    shown = {
        2: (one("happy", 0.6, 1),),
        12: (one("happy", 0.9, 1), one("happy", 0.7, 2)),
        15: (one("happy", 0.8, 1),),
        25: (one("sad", 0.5, 1),),
    }
    sheets: list[list[Tile]] = []
    drawn = overviews.contact_sheet
    monkeypatch.setattr(
        overviews,
        "contact_sheet",
        lambda tiles, *about: (sheets.append(tiles), drawn(tiles, *about))[1],
    )
    inputs = [Clip(film, Path("a/film.mp4")), Picture(EXAMPLE, Path(EXAMPLE.name))]
    found = Overviews(inputs, [ContactSheet(tmp_path / "sheet.png", "en")])
    for number in range(30):
        faces = shown.get(number, ())
        found.add(0, Analysis(str(film), 320, 240, faces, frame=number, time_s=number / FPS))
    found.add(1, Analysis(str(EXAMPLE), 512, 512, (face("happy"),)))
    found.write()
    [tiles] = sheets
    assert [(tile.emotion, tile.probability, tile.when) for tile in tiles] == [
        ("happy", 0.9, "#1 0:00"), ("happy", 0.7, "#2 0:00"), ("sad", 0.5, "#1 0:01"),
        ("happy", 0.82, ""),
    ]  # fmt: skip
    for tile, colour in zip(tiles, [shades[1], shades[1], shades[2]], strict=False):
        assert np.abs(tile.picture.mean(axis=(0, 1)) - colour).max() < 25
    assert "happy (3)" in [text for _, text in written]


def test_a_contact_sheet_without_faces_says_so(written: list[tuple[float, str]]) -> None:
    contact_sheet([], "es")
    assert [text for _, text in written] == ["sin rostros"]


def test_a_contact_sheet_that_cannot_be_written_costs_no_timeline(tmp_path) -> None:
    film = write_video(tmp_path / "film.mp4", 4, lambda _: canvas())
    sheet, lines, table = (tmp_path / name for name in ("sheet.png", "lines", "tracks.csv"))
    out = ["--out", tmp_path / "rows.csv"]
    given = [film, "--contact-sheet", "/proc/x.png", "--timeline", lines, "--tracks", table]
    for more in ([], out):
        done = run("analyze", *given, *more)
        assert done.returncode == 1
        assert "/proc/x.png: cannot be written" in done.stderr
        assert [path.name for path in lines.iterdir()] == ["film.mp4.png"]
        assert table.read_text().startswith("path,track,")
    assert "rows.csv.partial" in done.stderr
    assert run("analyze", film, "--contact-sheet", sheet, *out, "--resume").returncode == 0
    assert sheet.is_file()
    assert not Path(f"{out[1]}.partial").exists()


def test_a_timeline_replaces_no_picture_that_is_read(tmp_path) -> None:
    write_video(tmp_path / "clip.mp4", 3, lambda _: canvas())
    shutil.copy(EXAMPLE, tmp_path / "clip.mp4.png")
    before = (tmp_path / "clip.mp4.png").read_bytes()
    assert run("analyze", tmp_path, "--timeline", tmp_path).returncode == 0
    assert (tmp_path / "clip.mp4.png").read_bytes() == before
    assert (tmp_path / "clip-2.mp4.png").exists()


@pytest.mark.parametrize("seconds", [1.0, 12.0, 60.0, 3600.0, 43_200.0, 100_000.0])
def test_a_time_axis_has_at_most_twelve_marks(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[object] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "line", lambda *words, **more: drawn.append(words))
    draw = ImageDraw.Draw(Image.new("RGB", (900, 100)))
    _axis(draw, 10, 0.0, seconds, 800 / seconds)
    assert 3 <= len(drawn) <= 12
