"""The server's jobs: videos that run one after another, are cancelled, or dropped."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import wait_until
from films import canvas, write_video
from semblante import EMOTIONS, Analysis, Analyzer, Box, Face
from semblante.recognise.video_file import VideoFile

pytest.importorskip("fastapi")
from semblante.server.jobs import Job, Jobs


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, 20, lambda _: canvas()).read_bytes()


class Finds:
    """Stands in for an analyzer: finds the same frames in every video."""

    def __init__(self, *frames: int) -> None:
        self.frames = frames
        self.videos: list[Any] = []

    def analyze_video(self, video: Any, *, every_s: float | None) -> Iterator[Analysis]:
        self.videos.append(video)
        for frame in self.frames:
            yield Analysis("/proc/1/fd/2", 3, 4, frame=frame, time_s=frame / 10)


def a_job(clip: bytes, *frames: int) -> Job:
    """A job that has run."""
    job = Job("x", None, clip)
    Jobs(Finds(*frames), 40_000_000)._run(job)  # type: ignore[arg-type]
    return job


def test_rows_name_no_file_of_this_machine(clip: bytes) -> None:
    job = a_job(clip, 0, 1)
    assert (job.state, job.error) == ("done", None)
    assert [(row["frame"], row["path"]) for row in job.rows] == [(0, None), (1, None)]
    assert job.ended is not None
    assert job.summary_builder.summary().path is None


def test_progress_is_short_of_one_until_all_is_done(
    clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    monkeypatch.setattr(Job, "progress", property(lambda _: 0, lambda _, x: found.append(x)))
    a_job(clip, 9, 19, 25)  # of 20 frames
    assert found[1:] == [0.5, 0.999, 0.999, 1.0]
    monkeypatch.undo()
    assert Job("x", None, progress=1 / 3).to_dict()["progress"] == 0.333


@pytest.mark.parametrize("announced", [None, 0])
def test_a_video_that_does_not_say_how_long_it_is(
    monkeypatch: pytest.MonkeyPatch, announced: int | None
) -> None:
    """As in a browser's recording."""

    class Recording:
        n_frames = announced

        def __init__(self, path: str, *, max_pixels: int, stopped: threading.Event) -> None:
            assert max_pixels == 40_000_000
            assert not stopped.is_set()

    monkeypatch.setattr("semblante.server.jobs.Video", Recording)
    job = a_job(b"video", 0, 1)
    assert (job.state, job.error, len(job.rows), job.progress) == ("done", None, 2, 1.0)


def test_a_video_of_too_many_frames(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblante.server.jobs._MAX_HELD", 2)
    assert a_job(clip, 0, 1).state == "done"
    job = a_job(clip, 0, 1, 2)
    reason = "more than 2 frames and faces"
    assert (job.state, job.error, job.summary_builder.frames) == ("failed", reason, 2)
    assert [(row["frame"], row["error"]) for row in job.rows] == [
        (0, None), (1, None), (None, reason),
    ]  # fmt: skip


def test_each_face_takes_as_much_room_as_a_frame(
    clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semblante.server.jobs._MAX_HELD", 6)
    face = Face(Box(0, 0, 9, 9), 0.9, "happy", dict.fromkeys(EMOTIONS, 1 / 7), track=1)
    frames = [Analysis(None, 3, 4, (face, face), frame=n, time_s=n / 10) for n in range(3)]
    for some, state in ((frames[:2], "done"), (frames, "failed")):
        crowd = SimpleNamespace(analyze_video=lambda *_, every_s, found=some: found)
        job = Job("x", None, clip)
        Jobs(crowd, 40_000_000)._run(job)  # type: ignore[arg-type]
        assert (job.state, job.summary_builder.frames) == (state, 2)


def test_a_video_that_takes_too_long(clip: bytes) -> None:
    """Even a small video could block the others: it is stopped, and its results so far are kept."""

    class Slow(Finds):
        def analyze_video(self, video: Any, *, every_s: float | None) -> Iterator[Analysis]:
            yield from super().analyze_video(video, every_s=every_s)
            assert video._stopped.wait(20)  # as if the next frame to analyse were far away

    jobs = Jobs(Slow(0, 1), 40_000_000, timeout_s=0.2)  # type: ignore[arg-type]
    job = Job("x", None, clip)
    jobs._run(job)
    assert (job.state, job.error) == ("failed", "took more than 0.2 s")
    assert [row["frame"] for row in job.rows] == [0, 1, None]
    wait_until(lambda: not any(isinstance(one, threading.Timer) for one in threading.enumerate()))


def test_a_job_that_goes_wrong_inside_has_failed_and_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(jobs: Jobs, job: Job, path: str) -> None:
        assert job.state == "running"
        raise RuntimeError("a secret path")

    monkeypatch.setattr(Jobs, "_analyze", broken)
    job = a_job(b"video")
    assert (job.state, job.error) == ("failed", "the video could not be analysed")
    assert job.ended is not None
    assert "a secret path" in caplog.text


def test_a_cancelled_job_gets_no_further_row(tmp_path: Path, clip: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    finds = Finds(0, 1, 2)
    jobs = Jobs(finds, 40_000_000)  # type: ignore[arg-type]
    job = Job("x", None, cancelled=True)
    jobs._analyze(job, str(path))
    assert job.rows == []
    job.stop.set()
    assert list(finds.videos[0].frames()) == []


@pytest.mark.parametrize("why", ["forgotten", "late"])
def test_a_video_without_a_frame_is_stopped_too(
    clip: bytes, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Otherwise a file of hidden frames would keep all others waiting for minutes."""
    decoded = []
    jobs = Jobs(Finds(0), 40_000_000, timeout_s=0.1 if why == "late" else 3600)  # type: ignore[arg-type]
    job = Job("x", None, clip)
    jobs._jobs = {"x": job}

    def no_frame(film: VideoFile, packet: object) -> Iterator[Any]:
        decoded.append(packet)
        if why == "forgotten":
            assert jobs.forget("x")
        assert job.stop.wait(60)
        return iter(())

    monkeypatch.setattr(VideoFile, "_frames_of", no_frame)
    jobs._run(job)
    assert len(decoded) == 1
    assert job.cancelled == (why == "forgotten")
    reason = "took more than 0.1 s" if why == "late" else "no frame in it can be read"
    assert (job.state, job.error) == ("failed", reason)


def test_whoever_forgets_a_job_stops_its_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "_work", lambda _: None)
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    first, second = (jobs.start(b"video", None) for _ in range(2))
    assert first is not None
    assert second is not None
    assert len({first.id, second.id}) == 2
    assert min(len(first.id), len(second.id)) > 20  # nobody can guess it
    assert jobs.forget(first.id)
    assert not jobs.forget(first.id)
    jobs.close()
    for job in (first, second):
        assert job.cancelled
        assert job.stop.is_set()
        assert jobs.get(job.id) is None


def test_there_is_room_for_so_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "_work", lambda _: None)
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    for _ in range(8):
        assert jobs.has_room()
        assert jobs.start(b"video", None) is not None
    assert not jobs.has_room()
    assert jobs.start(b"video", None) is None


def test_results_that_ended_first_and_nobody_asks_about_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("semblante.server.jobs.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(Jobs, "_work", lambda _: None)
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    kept = [jobs.start(b"video", None) for _ in range(8)]
    for number, job in enumerate(kept):
        assert job is not None
        job.asked, job.ended = 0.0, 8.0 - number
    now = 50.0
    assert kept[7] is not None
    assert jobs.get(kept[7].id) is kept[7]
    now = 70.0
    assert jobs.start(b"video", None) is not None
    dropped = [job is not None and jobs.was_dropped(job.id) for job in kept]
    assert dropped == [False] * 6 + [True, False]


def test_results_go_while_jobs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that analyses videos drops expired jobs."""
    monkeypatch.setattr(Jobs, "_work", lambda _: None)
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]

    class Watched(Job):
        def __getattribute__(self, name: str) -> Any:
            if name == "ended":
                jobs.forget("other")
            return super().__getattribute__(name)

    for ask in (jobs.has_room, lambda: jobs.start(b"video", None)):
        monkeypatch.setattr(jobs, "_sweep", lambda: None)
        jobs._jobs = {"x": Watched("x", None), "other": Job("other", None)}
        assert ask()


def test_jobs_begin_again_after_they_were_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: queue.SimpleQueue[tuple[Job, bool]] = queue.SimpleQueue()
    monkeypatch.setattr(Jobs, "_analyze", lambda _, job, path: ran.put((job, job.data is None)))
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    for _ in range(2):
        job = jobs.start(b"video", None)
        assert ran.get(timeout=60) == (job, True)  # the video is not held twice
        jobs.close()
        assert not jobs.is_busy


def test_a_forgotten_job_never_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: queue.SimpleQueue[Job] = queue.SimpleQueue()
    go_on = threading.Event()
    monkeypatch.setattr(Jobs, "_run", lambda _, job: begun.put(job) or go_on.wait())
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    first, second, third = (jobs.start(b"video", None) for _ in range(3))
    assert begun.get(timeout=60) is first
    assert second is not None
    jobs.forget(second.id)
    go_on.set()
    assert begun.get(timeout=60) is third
    jobs.close()


def test_the_thread_that_waits_holds_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = threading.Event()
    monkeypatch.setattr(Jobs, "_run", lambda *_: ran.set())
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    job = jobs.start(b"video", None)
    assert job is not None
    assert ran.wait(60)
    held = weakref.ref(job)
    jobs.forget(job.id)
    del job
    wait_until(lambda: held() is None)
    jobs.close()


def test_a_video_that_does_not_let_go_is_waited_for_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`semblante serve` uses `is_busy` to decide how to exit."""
    go_on = threading.Event()
    monkeypatch.setattr("semblante.server.jobs._CLOSE_TIMEOUT_S", 0.0)
    monkeypatch.setattr(Jobs, "_work", lambda _: go_on.wait())
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    assert not jobs.is_busy
    jobs.start(b"video", None)
    jobs.close()
    assert jobs.is_busy
    assert jobs._thread is not None
    go_on.set()
    jobs._thread.join()
    assert not jobs.is_busy


def test_results_go_though_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = threading.Event()

    def sweep(_: Jobs) -> None:
        if threading.current_thread() is not threading.main_thread():
            swept.set()

    monkeypatch.setattr("semblante.server.jobs._SWEEP_S", 0.01)
    monkeypatch.setattr(Jobs, "_sweep", sweep)
    monkeypatch.setattr(Jobs, "_run", lambda *_: None)
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    jobs.start(b"video", None)
    assert swept.wait(60)
    jobs.close()


def test_a_job_that_nobody_asks_about_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("semblante.server.jobs.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(Jobs, "_work", lambda _: None)
    jobs = Jobs(Finds(), 1)  # type: ignore[arg-type]
    left, asked = (jobs.start(b"video", None) for _ in range(2))
    assert left is not None
    assert asked is not None
    left.asked = asked.asked = now
    for now in (299.0, 598.0):
        assert jobs.get(asked.id) is asked
        assert left.cancelled == (now > 300)
    assert jobs.get(left.id) is None
    now = 1000.0
    assert jobs.get(asked.id) is asked  # late, but nobody else has asked in between


def test_a_video_that_nobody_asks_about_stops_though_no_other_comes(
    clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semblante.server.jobs._UNASKED_S", 0.0)
    jobs = Jobs(Finds(0, 1, 2), 40_000_000)  # type: ignore[arg-type]
    job = Job("x", None, clip)
    jobs._jobs = {"x": job}
    jobs._run(job)
    assert (job.cancelled, job.rows, jobs.get("x")) == (True, [], None)


def test_a_video_stops_at_once(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the analysed frames are far apart."""
    decoding, go_on = threading.Event(), threading.Event()
    decoded = []
    pictures = VideoFile.pictures

    def waiting(film: VideoFile) -> Iterator[Any]:
        for number, picture in enumerate(pictures(film)):
            if number == 3:
                decoding.set()
                go_on.wait(60)
            decoded.append(number)
            yield picture

    monkeypatch.setattr(VideoFile, "pictures", waiting)
    jobs = Jobs(Analyzer("rcnn-small-int8"), 40_000_000)
    job = jobs.start(clip, 3600.0)
    assert job is not None
    assert decoding.wait(60)
    wait_until(lambda: job.rows)
    assert jobs.forget(job.id)
    go_on.set()
    jobs.close()
    assert job.ended is not None
    assert (len(job.rows), decoded) == (1, [0, 1, 2, 3])
