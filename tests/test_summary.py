"""Summaries of videos: what each person showed overall."""

from __future__ import annotations

import csv
import itertools
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import semblante
from conftest import EXAMPLE
from faces import head
from films import FPS, canvas, write_video
from program import semblante as run
from program import stopped
from semblante import EMOTIONS, Analysis, Box, Face
from semblante.errors import OptionError, VideoError

IN_THE_SECOND_FILM = 33  # results of `films`: the first has 30 frames, and says that it has ended
MISSING = "semblante: {}: not written: no video among the inputs\n"


def frames(path: str = "a.mp4", n: int = 40) -> Iterator[Analysis]:
    """Frames of two people; the second one comes later and is hidden for a while."""
    rng = np.random.default_rng(0)
    for number in range(n):
        seen = [1] if number < 10 or 20 <= number < 25 else [1, 2]
        faces = []
        for track in seen:
            values = rng.dirichlet(np.ones(7))
            probabilities = dict(zip(EMOTIONS, values.tolist(), strict=True))
            emotion = EMOTIONS[int(values.argmax())]
            faces.append(Face(Box(3, 4, 20, 20), 0.9, emotion, probabilities, track))
        yield Analysis(path, 60, 60, tuple(faces), number, number / FPS)


def test_each_track_has_its_times_means_and_shares() -> None:
    found = semblante.summarize(frames())
    assert (found.path, found.frames, found.error) == ("a.mp4", 40, None)
    assert [track.track for track in found.tracks] == [1, 2]
    for track in found.tracks:
        own = [(f.time_s, face) for f in frames() for face in f.faces if face.track == track.track]
        assert (track.first_s, track.last_s) == (own[0][0], own[-1][0])
        assert track.frames == len(own)
        for emotion in EMOTIONS:
            mean = np.mean([face.probabilities[emotion] for _, face in own])
            share = np.mean([face.emotion == emotion for _, face in own])
            assert track.probabilities[emotion] == pytest.approx(mean)
            assert track.shares[emotion] == pytest.approx(share)
        assert track.emotion == max(EMOTIONS, key=lambda name: track.probabilities[name])
    assert (found.tracks[1].first_s, found.tracks[1].frames) == (0.5, 25)


def test_tracks_come_in_the_order_of_their_numbers() -> None:
    """Also where a later frame shows a person with a smaller number for the first time."""
    late = [
        replace(one, faces=tuple(replace(face, track=3 - (face.track or 0)) for face in one.faces))
        for one in frames()
    ]
    found = semblante.summarize(late)
    assert [(track.track, track.first_s) for track in found.tracks] == [(1, 0.5), (2, 0.0)]


def test_a_video_that_breaks_off_says_so() -> None:
    found = semblante.summarize([*frames(n=5), Analysis("a.mp4", None, None, error="breaks off")])
    assert (found.frames, found.error, len(found.tracks)) == (5, "breaks off", 1)

    def breaks_off(n: int) -> Iterator[Analysis]:
        yield from frames(n=n)
        raise VideoError("a.mp4: breaks off")

    found = semblante.summarize(breaks_off(5))
    assert (found.frames, found.error, len(found.tracks)) == (5, "a.mp4: breaks off", 1)
    with pytest.raises(VideoError, match="breaks off"):
        semblante.summarize(breaks_off(0))


def test_a_frame_that_cannot_be_read_is_not_the_end() -> None:
    """`analyze_frames` goes on after it, so the summary is of a whole video."""
    broken = Analysis(None, None, None, (), 3, 0.15, "nowhere.jpg: there is no such file")
    before, after = list(frames(n=3)), list(frames(n=6))[4:]
    own = [replace(one, path=None) for one in (*before, *after)]
    found = semblante.summarize([*own[:3], broken, *own[3:]])
    assert (found.frames, found.error) == (5, None)
    end = Analysis(None, None, None, error="breaks off")
    assert semblante.summarize([*own[:3], broken, end]).error == "breaks off"


def test_pictures_are_no_frames() -> None:
    for single in (next(frames()), None):
        with pytest.raises(OptionError, match=f"found a single {type(single).__name__}"):
            semblante.summarize(single)  # type: ignore[arg-type]
    lone = [
        replace(one, faces=tuple(replace(f, track=None) for f in one.faces)) for one in frames()
    ]
    with pytest.raises(OptionError, match="found faces without a track"):
        semblante.summarize(lone)
    with pytest.raises(OptionError, match=r"found frame 0 of b\.mp4 after frame 39 of a\.mp4"):
        semblante.summarize([*frames(), *frames("b.mp4")])
    with pytest.raises(OptionError, match=r"found frame 4 of a\.mp4 after frame 4 of a\.mp4"):
        semblante.summarize(one for one in frames(n=5) for _ in range(1 + (one.frame == 4)))
    with pytest.raises(OptionError, match="`analyze_video` gives, found a picture"):
        semblante.summarize([Analysis("a.png", 60, 60)])
    with pytest.raises(OptionError, match="`analyze_video` gives, found Face"):
        semblante.summarize(face for frame in frames() for face in frame.faces)  # type: ignore[misc]


def test_as_a_table_of_pandas(films: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    analyzer = semblante.Analyzer()
    clips = [films / "a.mp4", films / "b.mp4"]
    table = semblante.to_pandas(semblante.summarize(analyzer.analyze_video(p)) for p in clips)
    run("analyze", *clips, "--tracks", tmp_path / "t.csv")
    run("analyze", *clips, "--tracks", tmp_path / "u.csv", "--out", tmp_path / "f.csv")
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "u.csv").read_bytes()
    read = pandas.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == list(read.columns)
    assert table["of_frames"].tolist() == read["of_frames"].tolist() == [30, 30, 5]
    assert table["happy"].dropna().tolist() == read["happy"].dropna().tolist()
    one = semblante.to_pandas(semblante.summarize(frames()))
    exact = next(frames()).faces[0].probabilities
    assert semblante.to_pandas(frames(n=1))["happy"][0] == round(exact["happy"], 5)
    assert semblante.to_pandas(frames(n=1), rounded=False)["happy"][0] == exact["happy"]
    assert one["track"].tolist() == [1, 2]
    assert len(semblante.to_pandas(next(frames()))) == 1
    with pytest.raises(OptionError, match="a VideoSummary each, found Analysis"):
        semblante.to_pandas([semblante.summarize(frames()), next(frames())])
    for other in (5, None):
        with pytest.raises(OptionError, match=f"found {type(other).__name__}"):
            semblante.to_pandas(other)  # type: ignore[arg-type]


def test_a_video_of_which_nothing_is_read_gives_no_table() -> None:
    """Whatever came before it."""

    def unreadable() -> Iterator[Analysis]:
        raise VideoError("b.mp4: not a video that can be read")
        yield

    with pytest.raises(VideoError, match=r"b\.mp4: not a video"):
        semblante.to_pandas(semblante.summarize(one) for one in (frames(), unreadable()))
    with pytest.raises(VideoError, match=r"b\.mp4: not a video"):
        semblante.to_pandas(itertools.chain(frames(n=3), unreadable()))


def test_a_table_of_a_video_that_breaks_off() -> None:
    """Like the CSV of `semblante analyze`: the frames that were read, then why it ends."""

    def breaks_off(n: int) -> Iterator[Analysis]:
        yield from frames(n=n)
        raise VideoError("a.mp4: breaks off")

    table = semblante.to_pandas(breaks_off(3))
    assert table["frame"].dropna().tolist() == [0, 1, 2]
    assert table["error"].dropna().tolist() == ["a.mp4: breaks off"]
    assert table["path"].tolist() == ["a.mp4"] * 4
    with pytest.raises(VideoError, match="breaks off"):
        semblante.to_pandas(breaks_off(0))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with one head and then two, a film with nobody, and a file that is not a film."""
    folder = tmp_path_factory.mktemp("films")
    person = head(130)

    def one_or_two(number: int) -> np.ndarray:
        return canvas((person, 10, 40), *([(person, 170, 60)] if number >= 10 else []))

    write_video(folder / "a.mp4", 30, one_or_two)
    write_video(folder / "b.mp4", 5, lambda _: canvas())
    (folder / "c.mp4").write_bytes(b"no film" * 100)
    (folder / "d.jpg").write_bytes(EXAMPLE.read_bytes())
    return folder


def test_a_table_of_tracks(films: Path, tmp_path: Path) -> None:
    table = tmp_path / "tracks.csv"
    done = run("analyze", films, "--tracks", table, "--format", "json")
    assert done.returncode == 1  # because of c.mp4, which is not a film
    with table.open(newline="", encoding="utf-8") as file:
        first, second, nobody, broken = csv.DictReader(file)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    own = [line for line in lines if line["path"] == str(films / "a.mp4")]
    for row, track in ((first, 1), (second, 2)):
        seen = [(f["time_s"], g) for f in own for g in f["faces"] if g["track"] == track]
        assert (row["path"], row["track"]) == (str(films / "a.mp4"), str(track))
        assert (float(row["first_s"]), float(row["last_s"])) == (seen[0][0], seen[-1][0])
        assert int(row["frames"]) == len(seen)
        happy = [g["probabilities"]["happy"] for _, g in seen]
        assert float(row["happy"]) == pytest.approx(np.mean(happy), abs=1e-4)
        assert row["emotion"] == "happy"
        assert row["happy_share"] == "1.0"
        assert row["error"] == ""
    assert float(second["first_s"]) >= 0.5
    assert (nobody["path"], nobody["track"], nobody["frames"]) == (str(films / "b.mp4"), "", "")
    assert (second["of_frames"], nobody["of_frames"], broken["of_frames"]) == ("30", "5", "0")
    assert (broken["path"], broken["track"]) == (str(films / "c.mp4"), "")
    assert broken["error"].startswith(str(films / "c.mp4"))


def test_tracks_as_json_and_as_parquet(films: Path, tmp_path: Path) -> None:
    done = run("analyze", films, "--tracks", tmp_path / "t.json", "--out", tmp_path / "faces.csv")
    assert done.returncode == 1
    lines = [json.loads(line) for line in (tmp_path / "t.json").read_text().splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [len(line["tracks"]) for line in lines] == [2, 0, 0]
    assert [line["frames"] for line in lines] == [30, 5, 0]
    assert lines[0]["tracks"][0]["probabilities"]["happy"] > 0.5
    parquet = pytest.importorskip("pyarrow.parquet")
    run("analyze", films / "a.mp4", "--tracks", tmp_path / "t.parquet", "--every", "0.5s")
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table["track"].to_pylist() == [1, 2]
    assert table["frames"].to_pylist() == [3, 2]
    assert table["error"].null_count == 2


def test_a_run_that_was_killed_has_all_tracks_in_the_end(films: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "f.csv", tmp_path / "t.csv"
    clips = films / "a.mp4", films / "b.mp4"
    both = ("analyze", *clips, "--out", out, "--tracks", table, "--resume")
    killed = stopped(signal.SIGKILL, IN_THE_SECOND_FILM, *both)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not table.exists()
    assert run(*both).returncode == 0
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [Path(row["path"]).name for row in rows] == ["a.mp4", "a.mp4", "b.mp4"]


def test_an_interruption_says_what_it_leaves_unwritten(films: Path, tmp_path: Path) -> None:
    table, lines = tmp_path / "t.csv", tmp_path / "lines"
    done = stopped(
        signal.SIGINT, IN_THE_SECOND_FILM, "analyze", films / "a.mp4", films / "b.mp4",
        "--tracks", table, "--timeline", lines, "--format", "json",
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert f"--tracks {table}: not written, since not all inputs are done" in done.stderr
    assert str(lines) not in done.stderr
    assert (lines / "a.mp4.png").exists()
    assert not table.exists()


def test_places_where_tracks_cannot_be_written(films: Path, tmp_path: Path) -> None:
    done = run("analyze", films, "--tracks", tmp_path / "t.txt")
    assert done.returncode == 2
    assert (
        "t.txt: expected a name that ends in .csv, .json, .jsonl, .ndjson, .parquet" in done.stderr
    )
    done = run("analyze", films, "--tracks", tmp_path / "no" / "t.csv")
    assert (done.returncode, "there is no folder" in done.stderr) == (2, True)
    done = run("analyze", films, "--tracks", tmp_path / "t.csv", "--out", tmp_path / "t.csv")
    assert (done.returncode, "would be written twice" in done.stderr) == (2, True)


def test_pictures_alone_have_no_tracks(tmp_path: Path) -> None:
    table, lines = tmp_path / "t.csv", tmp_path / "lines"
    table.write_text("of yesterday")
    done = run("analyze", EXAMPLE, "--tracks", table, "--timeline", lines)
    assert done.returncode == 0
    assert MISSING.format(f"--tracks {table}") in done.stderr
    assert MISSING.format(f"--timeline {lines}") in done.stderr
    assert table.read_text() == "of yesterday"
