"""Annotated copies of films: their frames in time, their sound, and what is left of a failure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from conftest import ffmpeg, needs_ffmpeg
from films import FPS, canvas, write_video
from program import PROGRAM
from program import semblante as program
from semblante import VideoError
from semblante.recognise.video import Video
from semblante.recognise.video_writer import _LEAST_HZ, VideoWriter


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Here by a limit on how large a file may become."""
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from semblante import VideoError
from semblante.recognise.video_writer import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
writer, rng = VideoWriter(Path(sys.argv[1]), 10), np.random.default_rng(0)
for n in range(int(sys.argv[2])):
    try:
        writer.write(rng.integers(0, 256, (240, 320, 3), np.uint8), n / 10)
    except VideoError as error:
        print("while writing:", error)
        break
try:
    writer.close(done=True)
except VideoError as error:
    print("at the end:", error)
"""
    for frames, when in (("100", "while writing"), ("5", "at the end")):
        command = [sys.executable, "-c", script, tmp_path / "copy.mp4", frames]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = f"{when}: {tmp_path}/copy.mp4: cannot be written: File too large\n"
        assert (done.stdout, done.stderr) == (said, "")
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


@needs_ffmpeg
@pytest.mark.parametrize(
    ("ending", "codec", "taken"),
    [
        ("ts", "aac", ["aac"]),
        ("avi", "libmp3lame", ["mp3float"]),  # which is what its decoder is called
        ("mkv", "libopus", ["aac"]),
        ("webm", "libvorbis", ["aac"]),
        ("mov", "pcm_u8", ["aac"]),
    ],
)
def test_sound_of_any_kind_comes_when_it_should(
    uneven: Path, tmp_path: Path, ending: str, codec: str, taken: list[str]
) -> None:
    """A tone between the second and the third second."""
    film, sound = tmp_path / f"film.{ending}", tmp_path / "sound.raw"
    tone = "aevalsrc='between(t,2,3)*sin(2000*t)':duration=4:sample_rate=48000"
    ffmpeg(
        "-i", uneven, "-f", "lavfi", "-i", tone, "-map", "0:v", "-map", "1:a", "-c:a", codec,
        "-q:v", 3, film,
    )  # fmt: skip
    writer = VideoWriter(tmp_path / "copy.mp4", FPS, Video(film))
    for frame in Video(film).frames():
        writer.write(frame.image, frame.time_s)
    writer.close(done=True)
    assert not writer.lost_sound
    with av.open(tmp_path / "copy.mp4") as container:
        assert [one.codec_context.name for one in container.streams.audio] == taken
        assert container.duration / av.time_base == pytest.approx(4, abs=0.1)
    times_s = [[one.time_s for one in Video(path).frames()] for path in (film, writer.path)]
    assert times_s[0] == pytest.approx(times_s[1], abs=1e-3)
    ffmpeg("-i", writer.path, "-vn", "-ar", 48_000, "-ac", 1, "-f", "s16le", sound)
    heard = np.flatnonzero(np.abs(np.frombuffer(sound.read_bytes(), np.int16)) > 3000) / 48_000
    start_offset_s = Video(film).start_offset_s
    assert (heard[0], heard[-1]) == pytest.approx(
        (2 + start_offset_s, 3 + start_offset_s), abs=0.08
    )


PATTERN = ("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=4")
TONE = ("-f", "lavfi", "-i", "sine=440:duration=4")


def sound_of_a_copy(film: Path) -> tuple[float, float]:
    """From when on there is some in it, and until when."""
    copy, raw = film.with_name("copy.mp4"), film.with_name("sound.raw")
    writer = VideoWriter(copy, 25, Video(film))
    for frame in Video(film).frames():
        writer.write(frame.image, frame.time_s)
    writer.close(done=True)
    assert not writer.lost_sound
    ffmpeg(
        "-i", copy, "-vn", "-ar", 48_000, "-ac", 1, "-af", "aresample=async=1:first_pts=0",
        "-f", "s16le", raw,
    )  # fmt: skip
    heard = np.flatnonzero(np.abs(np.frombuffer(raw.read_bytes(), np.int16)) > 1000) / 48_000
    return float(heard[0]), float(heard[-1])


@needs_ffmpeg
@pytest.mark.parametrize(("codec", "channels"), [("aac", (1, 1)), ("ac3", (6, 2))])
@pytest.mark.parametrize("offset", [0, 4])
def test_sound_of_films_that_were_joined(
    tmp_path: Path, codec: str, channels: tuple[int, int], offset: int
) -> None:
    """Their clock is put back, or their sound overlaps; and television changes its channels."""
    joined = tmp_path / "joined.ts"
    for part, many in enumerate(channels):
        ffmpeg(
            *PATTERN, *TONE, "-c:v", "mpeg2video", "-c:a", codec, "-ac", many,
            "-output_ts_offset", part * offset, tmp_path / "part.ts",
        )  # fmt: skip
        with joined.open("ab") as file:
            file.write((tmp_path / "part.ts").read_bytes())
    assert sound_of_a_copy(joined) == pytest.approx((0, 8), abs=0.25)


@needs_ffmpeg
def test_sound_of_fewer_hertz_than_an_mp4_may_have(tmp_path: Path) -> None:
    old = ("-ar", 8000, "-c:v", "mpeg4", "-c:a", "libmp3lame")
    ffmpeg(*PATTERN, *TONE, *old, tmp_path / "old.avi")
    assert sound_of_a_copy(tmp_path / "old.avi") == pytest.approx((0, 4), abs=0.25)


@needs_ffmpeg
def test_where_sound_keeps_a_copy_from_beginning_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ffmpeg(*PATTERN, *TONE, "-c:v", "mpeg4", "-c:a", "libmp3lame", "-ar", 8000, tmp_path / "f.avi")
    monkeypatch.setitem(_LEAST_HZ, "mp3float", 1)
    film = Video(tmp_path / "f.avi")
    writer = VideoWriter(tmp_path / "copy.mp4", 25, film)
    for frame in film.frames():
        writer.write(frame.image, frame.time_s)
    writer.close(done=True)
    assert writer.lost_sound
    assert len(list(Video(tmp_path / "copy.mp4").frames())) == 100


def test_frames_that_are_too_wide_for_a_copy(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 25)
    with pytest.raises(VideoError, match=r"frames of 16400x48 pixels; H\.264 takes at most 16384"):
        writer.write(np.zeros((48, 16_400, 3), np.uint8), 0.0)
    writer.close(done=True)
    assert (writer.lost_sound, list(tmp_path.iterdir())) == (False, [])


def test_of_frames_at_one_time_the_first_is_taken(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 25)
    for time_s in (0.0, 0.04, 0.04001, 0.08):
        writer.write(canvas(), time_s)
    writer.close(done=True)
    assert len(list(Video(tmp_path / "copy.mp4").frames())) == 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="not a Linux")
@needs_ffmpeg
def test_a_film_is_let_go_of_when_its_copy_is_written(tmp_path: Path) -> None:
    ffmpeg(*PATTERN, *TONE, tmp_path / "film.mp4")
    film = Video(tmp_path / "film.mp4")
    writer = VideoWriter(tmp_path / "copy.mp4", 25, film)
    for frame in film.frames():
        writer.write(frame.image, frame.time_s)
    writer.close(done=True)
    held = [one.resolve() for one in Path("/proc/self/fd").iterdir()]
    assert (tmp_path / "film.mp4").resolve() not in held


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="not a Linux")
def test_a_copy_that_cannot_be_ended_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    writer = VideoWriter(tmp_path / "copy.mp4", 25)
    writer.write(canvas(), 0.0)
    monkeypatch.setattr(VideoWriter, "_take_sound", fails)
    with pytest.raises(VideoError, match=r"copy\.mp4: cannot be written: No space left on device"):
        writer.close(done=True)
    assert list(tmp_path.iterdir()) == []
    held = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert not [name for name in held if name.startswith(str(tmp_path))]


@needs_ffmpeg
def test_sound_that_begins_so_late_that_nobody_knows_what_it_is(tmp_path: Path) -> None:
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=14", "-itsoffset", 10, *TONE,
        "-map", 0, "-map", 1, "-c:v", "mpeg2video", "-b:v", "4M", "-c:a", "aac",
        tmp_path / "late.ts",
    )  # fmt: skip
    assert sound_of_a_copy(tmp_path / "late.ts") == pytest.approx((10, 14), abs=0.25)


def test_sound_of_a_kind_that_nobody_knows_is_missed(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise av.error.ArgumentError(22, "no such sound")

    monkeypatch.setattr("semblante.recognise.video_writer._Sound.packets", fails)
    writer = VideoWriter(tmp_path / "copy.mp4", FPS, Video(moving))
    for frame in Video(moving).frames():
        writer.write(frame.image, frame.time_s)
    writer.close(done=True)
    assert writer.lost_sound
    assert len(list(Video(writer.path).frames())) == 60


def test_a_frame_is_shown_in_the_copy_from_its_own_time_on(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    levels, times_s = (50, 100, 150, 200), (0.0, 1.0, 1.02, 1.5)
    for level, time_s in zip(levels, times_s, strict=True):
        writer.write(np.full((48, 64, 3), level, np.uint8), time_s)
    writer.close(done=True)
    video = Video(tmp_path / "copy.mp4")
    shown = [(frame.time_s, int(frame.image.mean())) for frame in video.frames()]
    assert [time_s for time_s, _ in shown] == pytest.approx(times_s, abs=1e-4)
    assert [level for _, level in shown] == pytest.approx(levels, abs=6)
    assert video.duration_s == pytest.approx(1.6)


@pytest.mark.parametrize(("fps", "lasts_s"), [(0.1, 3.0), (2.0, 2.5)])
def test_a_copy_is_no_longer_than_its_film(
    moving: Path, tmp_path: Path, fps: float, lasts_s: float
) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", fps, Video(moving))
    for time_s in (0.0, 2.0):
        writer.write(canvas(), time_s)
    writer.close(done=True)
    assert Video(tmp_path / "copy.mp4").duration_s == pytest.approx(lasts_s)


def test_a_copy_plays_everywhere(tmp_path: Path) -> None:
    """H.264 with colours for two pixels by two, and what a player needs first at the beginning."""
    red = np.zeros((75, 101, 3), np.uint8)
    red[..., 0] = 200
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    writer.write(red, 0.0)
    writer.close(done=True)
    with av.open(tmp_path / "copy.mp4") as container:
        [stream] = container.streams
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (102, 76)
    data = (tmp_path / "copy.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    [frame] = Video(tmp_path / "copy.mp4").frames()
    np.testing.assert_allclose(frame.image.mean((0, 1)), (200, 0, 0), atol=6)


def test_a_copy_where_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = VideoWriter(tmp_path / "file" / "copy.mp4", 10)
    with pytest.raises(VideoError, match=r"copy\.mp4: cannot be written: (Not a dir|File exists)"):
        writer.write(canvas(), 0.0)


def test_a_killed_run_s_half_copy_is_no_input_and_is_replaced(moving: Path, tmp_path: Path) -> None:
    killed = VideoWriter(tmp_path / "clip.mp4", FPS)
    for number in range(60):  # the first ones wait for others
        killed.write(canvas(), number / FPS)
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
    left_out = (
        f"semblante: {tmp_path}: pictures and videos that semblante drew on are left out: 1\n"
    )
    assert (done.returncode, done.stderr) == (0, left_out)


def test_annotating_a_folder_of_films_twice_into_itself(tmp_path: Path) -> None:
    """So a run that was interrupted goes on."""
    for name in ("a.avi", "b.mov"):
        write_video(tmp_path / name, 3, lambda _: canvas())
    for left_out in (0, 2):
        done = program("analyze", tmp_path, "--annotate", tmp_path, "--format", "json")
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 6)
        assert (f"are left out: {left_out}" in done.stderr) == bool(left_out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "a.mp4", "b.mov", "b.mp4"]
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
    assert Video(late).start_offset_s == pytest.approx(2, abs=0.1)
    assert Video(tmp_path / "marked" / "late.mp4").start_offset_s == pytest.approx(2, abs=0.1)
    assert Video(moving).start_offset_s == 0


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


def test_a_copy_that_is_not_done_leaves_nothing(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "copy.mp4", 10)
    writer.write(canvas(), 0.0)
    writer.close(done=False)
    assert list(tmp_path.iterdir()) == []
