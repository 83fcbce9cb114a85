"""Annotated copies of films: their frames in time, their sound, and what is left of a failure."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from conftest import ffmpeg, needs_ffmpeg
from films import FPS, canvas, write_video
from program import PROGRAM
from program import semblante as program
from semblante import VideoError
from semblante.recognise.video import Video, VideoWriter, is_whole, picture_late_s, usable_rate


def test_a_copy_that_cannot_be_opened_leaves_nothing(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "clip.mp4", 100_000)  # more than MPEG-4 can have
    with pytest.raises(VideoError, match=r"clip\.mp4: cannot be written"):
        writer.write(canvas(), 0.0)
    writer.close(done=True)
    assert list(tmp_path.iterdir()) == []


@needs_ffmpeg
def test_a_marked_copy_keeps_the_sound_and_stays_with_it(uneven: Path, tmp_path: Path) -> None:
    done = program("analyze", uneven, "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    marked = tmp_path / "marked" / "uneven.mp4"
    ffmpeg("-i", marked, "-vn", "-f", "wav", tmp_path / "sound.wav")
    assert (tmp_path / "sound.wav").stat().st_size > 3 * 44_100  # 3 s, 2 bytes each, mono
    before, after = list(Video(uneven).frames()), list(Video(marked).frames())
    assert after[-1].time_s == pytest.approx(before[-1].time_s, abs=0.1)

    def place(image: np.ndarray) -> float:
        """Where the face is: the middle of what differs from the wall, low in the picture."""
        differs = np.abs(image[110:].astype(int) - canvas()[110:]).max(axis=2) > 60
        return float(np.nonzero(differs)[1].mean())

    for moment in (0.3, 1.5, 2.8):
        one, other = (
            min(frames, key=lambda frame: (abs(frame.time_s - moment), frame.time_s)).image
            for frames in (before, after)
        )
        assert place(one) == pytest.approx(place(other), abs=9)  # two frames' way


@needs_ffmpeg
def test_a_copy_of_fewer_frames_keeps_the_sound_too(uneven: Path, tmp_path: Path) -> None:
    done = program("analyze", uneven, "--annotate", tmp_path, "--every", "500ms")
    assert done.returncode == 0, done.stderr
    ffmpeg("-i", tmp_path / "uneven.mp4", "-vn", "-f", "wav", tmp_path / "sound.wav")
    assert (tmp_path / "sound.wav").stat().st_size > 3 * 44_100  # 3 s, 2 bytes each, mono


@needs_ffmpeg
def test_sound_that_an_mp4_cannot_hold_is_encoded_anew(uneven: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    ffmpeg("-i", uneven, "-c:v", "mpeg4", "-c:a", "pcm_s16le", clip)
    done = subprocess.run(
        ["bash", "-c", '"$0" analyze "$1" --annotate "$2" > /dev/null && cat', PROGRAM, clip,
         tmp_path / "marked"], input="for the next one", capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "for the next one"  # ffmpeg would read it
    ffmpeg("-i", tmp_path / "marked" / "clip.mp4", "-vn", "-f", "wav", tmp_path / "sound.wav")
    assert (tmp_path / "sound.wav").stat().st_size > 3 * 44_100


def test_a_clock_that_jumps_is_not_filled_with_frames(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    for time_s in (3600.0, 3600.1, 3602.1, 90_000.0, 90_000.1):
        writer.write(canvas(), time_s)
    writer.close(done=True)
    assert len(list(Video(tmp_path / "copy.mp4").frames())) == 1 + 1 + 20 + 1 + 1


def test_a_frame_is_shown_in_the_copy_until_the_next_one_s_time(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    levels = (50, 100, 150, 200)
    for level, time_s in zip(levels, (0.0, 1.0, 1.02, 1.5), strict=True):
        writer.write(np.full((48, 64, 3), level, np.uint8), time_s)
    writer.close(done=True)
    shown = [int(frame.image.mean()) for frame in Video(tmp_path / "copy.mp4").frames()]
    # The third has no place of its own, but is what is seen until the fourth.
    assert shown == pytest.approx([50] * 10 + [100] + [150] * 4 + [200], abs=6)


def test_a_copy_where_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = VideoWriter(tmp_path / "file" / "copy.mp4", 10)
    with pytest.raises(VideoError, match=r"copy\.mp4: cannot be written: (Not a dir|File exists)"):
        writer.write(canvas(), 0.0)


def test_a_killed_run_s_half_copy_is_no_input_and_is_replaced(moving: Path, tmp_path: Path) -> None:
    killed = VideoWriter(tmp_path / "clip.mp4", FPS)
    killed.write(canvas(), 0.0)
    [half] = tmp_path.iterdir()
    done = program("analyze", tmp_path)
    assert "no pictures or videos in this folder" in done.stderr
    again = VideoWriter(tmp_path / "clip.mp4", FPS)
    again.write(canvas(), 0.0)
    assert list(tmp_path.iterdir()) == [half]
    again.close(done=True)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    shutil.copy(moving, tmp_path / ("\u3042" * 80 + ".mp4"))  # 244 bytes, of 255 that may be
    done = program("analyze", tmp_path, "--annotate", tmp_path / "marked")
    left_out = f"semblante: {tmp_path}: 1 pictures or videos that semblante drew on are left out\n"
    assert (done.returncode, done.stderr) == (0, left_out)


def test_annotating_a_folder_of_films_twice_into_itself(tmp_path: Path) -> None:
    """So a run that was interrupted goes on."""
    for name in ("a.avi", "b.mov"):
        write_video(tmp_path / name, 3, lambda _: canvas())
    for left_out in (0, 2):
        done = program("analyze", tmp_path, "--annotate", tmp_path, "--format", "json")
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 6)
        assert (f"{left_out} pictures or videos" in done.stderr) == bool(left_out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "a.mp4", "b.mov", "b.mp4"]
    assert is_whole(tmp_path / "a.mp4")
    assert len(list(Video(tmp_path / "a.mp4").frames())) == 3
    done = program("analyze", tmp_path / "a.mp4", "--annotate", tmp_path)  # where it is named
    assert "would overwrite" in done.stderr


@needs_ffmpeg
def test_a_picture_that_begins_after_its_sound(moving: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    ffmpeg(
        "-itsoffset", 2, "-i", moving, "-f", "lavfi", "-i", "sine=440:duration=5",
        "-map", "0:v", "-map", "1:a", "-c:v", "copy", late,
    )  # fmt: skip
    done = program("analyze", late, "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    assert picture_late_s(late) == pytest.approx(2, abs=0.1)
    assert picture_late_s(tmp_path / "marked" / "late.mp4") == pytest.approx(2, abs=0.1)
    assert picture_late_s(moving) == 0


@needs_ffmpeg
def test_sound_that_begins_after_the_picture_of_a_stream(uneven: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.ts"
    ffmpeg(
        "-i", uneven, "-itsoffset", 1.5, "-f", "lavfi", "-i", "sine=440:duration=2",
        "-map", "0:v", "-map", "1:a", "-c:v", "mpeg2video", "-r", 25, late,
    )  # fmt: skip
    done = program("analyze", late, "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    marked, sound = tmp_path / "marked" / "late.mp4", tmp_path / "sound.raw"
    # From the film's beginning on, silence included.
    ffmpeg("-i", marked, "-vn", "-af", "aresample=async=1:first_pts=0", "-f", "s16le", sound)
    samples = np.frombuffer(sound.read_bytes(), np.int16)
    begins_s = int(np.flatnonzero(np.abs(samples) > 500)[0]) / 44_100
    assert begins_s == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(("said", "taken"), [(24, 24), (240, 240), (1000, 25), (0, 25), (-1, 25)])
def test_a_rate_that_nobody_films_at(said: float, taken: float) -> None:
    assert usable_rate(said) == taken


def test_a_copy_of_a_frame_every_quarter_of_an_hour(moving: Path, tmp_path: Path) -> None:
    done = program("analyze", moving, "--every", "1000s", "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    [copy] = (tmp_path / "marked").iterdir()
    assert len(list(Video(copy).frames())) == 1


def test_a_frame_of_another_size_is_brought_to_the_first_one_s(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    for number, side in enumerate((64, 32, 96)):
        writer.write(np.full((side, side, 3), 90 + 50 * number, np.uint8), number / 10)
    writer.close(done=True)
    frames = [frame.image for frame in Video(tmp_path / "copy.mp4").frames()]
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 3
    assert [int(frame.mean()) for frame in frames] == pytest.approx([90, 140, 190], abs=6)


def test_a_copy_that_is_not_done_or_not_whole_leaves_nothing(tmp_path: Path) -> None:
    for done in (False, True):
        writer = VideoWriter(tmp_path / "copy.mp4", 10)
        writer.write(canvas(), 0.0)
        writer._written += done  # as where the disk is full, which OpenCV does not tell
        if done:
            with pytest.raises(VideoError, match="expected 2 frames in it, found 1: is the disk"):
                writer.close(done=True)
        else:
            writer.close(done=False)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("works", ["copy", "aac", None])
def test_sound_is_copied_or_else_encoded_or_else_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: str | None
) -> None:
    codecs: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        codecs.append(command[command.index("-c:a") + 1])
        both = next(Path(word) for word in command if word.endswith(".sound.mp4"))
        both.write_bytes(b"with sound")
        return subprocess.CompletedProcess(command, int(codecs[-1] != works))

    monkeypatch.setattr(shutil, "which", lambda name: name if name == "ffmpeg" else None)
    monkeypatch.setattr(subprocess, "run", run)
    writer = VideoWriter(tmp_path / "copy.mp4", 10, tmp_path / "film.mp4")
    writer.write(canvas(), 0.0)
    writer.close(done=True)
    assert codecs == (["copy"] if works == "copy" else ["copy", "aac"])
    assert writer.lost_sound == (works is None)
    assert (tmp_path / "copy.mp4").read_bytes().startswith(b"with sound") == (works is not None)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.mp4"]


@pytest.mark.parametrize(
    ("said", "late_s"),
    [
        (b'{"streams": [{"start_time": "2.5"}], "format": {"start_time": "0.5"}}', 2.0),
        (b'{"streams": [{"start_time": "0.5"}], "format": {"start_time": "2.5"}}', 0.0),
        (b'{"streams": [{}], "format": {"start_time": "2.5"}}', 0.0),
        (b'{"streams": [], "format": {"start_time": "2.5"}}', 0.0),
        (b'{"streams": [{"start_time": "N/A"}], "format": {"start_time": "2.5"}}', 0.0),
        (b"", 0.0),
    ],
)
def test_what_ffprobe_says(monkeypatch: pytest.MonkeyPatch, said: bytes, late_s: float) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, said)
    )
    assert picture_late_s(Path("film.mp4")) == late_s
