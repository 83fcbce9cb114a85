"""Analyse videos in the background, as jobs: they take longer than a request may."""

from __future__ import annotations

import logging
import os
import queue
import secrets
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from semblante.errors import VideoError
from semblante.recognise.pipeline import Analyzer
from semblante.recognise.video import Video
from semblante.results import Analysis
from semblante.summary import SummaryBuilder

_KEPT_S: Final = 600.0  # results are dropped after so long
_UNASKED_S: Final = 300.0  # so is an unfinished job that no client has asked about for so long
# Results that were fetched, or not asked about for so long, may be dropped for a new video.
_UNFETCHED_S: Final = 60.0
_SWEEP_S: Final = 30.0  # at most, between two searches for expired jobs
_REMEMBERED: Final = 1000  # ids of dropped jobs, at most
_CLOSE_TIMEOUT_S: Final = 5.0  # how long `close` waits for the current video
_MAX_JOBS: Final = 8  # running, waiting, or ended and kept
_MAX_HELD: Final = 400_000  # frames plus faces of one job
_LOG: Final = logging.getLogger(__name__)


@dataclass
class Job:
    """One video, its progress and its results."""

    id: str
    every_s: float | None
    data: bytes | bytearray | None = field(default=None, repr=False)  # until the job runs
    state: str = "waiting"  # then "running", then "done" or "failed"
    progress: float = 0.0  # 0..1
    # One per frame; if the video could not be read to its end, one more that says why.
    rows: list[dict[str, Any]] = field(default_factory=list)
    held: int = 0  # rows plus faces in them
    summary_builder: SummaryBuilder = field(default_factory=SummaryBuilder, repr=False)
    error: str | None = None
    ended: float | None = None  # when, by `time.monotonic`
    asked: float = field(default_factory=time.monotonic)  # when a client last asked about it
    fetched: bool = False  # its results, all of them
    cancelled: bool = False
    stop: threading.Event = field(default_factory=threading.Event, repr=False)  # ends its reading

    def take_data(self) -> bytes | bytearray:
        """Return the video, and hold it no longer."""
        data, self.data = self.data, None
        return data or b""

    def to_dict(self) -> dict[str, Any]:
        """Return its state, without the results."""
        return {
            "id": self.id,
            "state": self.state,
            "progress": round(self.progress, 3),
            "frames": self.summary_builder.frames,
            "error": self.error,
        }


class Jobs:
    """Runs one video at a time, on a separate thread; the others wait."""

    def __init__(
        self,
        analyzer: Analyzer,
        max_pixels: int,
        count_ended: Callable[[str], None] = lambda state: None,
        timeout_s: float = 3600.0,
    ) -> None:
        """`max_pixels`: limit for a video's frame; `count_ended` is called with the state in which
        each job ends; `timeout_s`: limit for the time that one job may run."""
        self._analyzer = analyzer
        self._max_pixels = max_pixels
        self._count_ended = count_ended
        self._timeout_s = timeout_s
        self._jobs: dict[str, Job] = {}
        self._dropped: deque[str] = deque(maxlen=_REMEMBERED)
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def has_room(self) -> bool:
        """Whether `start` would accept one more job."""
        self._sweep()
        return len(self._jobs) - len(self._replaceable()) < _MAX_JOBS

    def start(self, data: bytes | bytearray, every_s: float | None) -> Job | None:
        """Start a new job and return it; None if there are too many."""
        if not self.has_room():
            return None
        for id in self._replaceable():
            if len(self._jobs) >= _MAX_JOBS:
                self._drop(id)
        job = Job(secrets.token_urlsafe(16), every_s, data)
        self._jobs[job.id] = job
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._waiting.put(job)
        return job

    def _replaceable(self) -> list[str]:
        """Return the ids of ended jobs that may be dropped to make room for a new one, oldest
        first."""
        now = time.monotonic()
        ended = [
            (job.ended, job.id)
            for job in self._snapshot()
            if job.ended is not None
            and (job.fetched or now - max(job.asked, job.ended) > _UNFETCHED_S)
        ]
        return [id for _, id in sorted(ended)]

    def was_dropped(self, id: str) -> bool:
        """Whether there was such a job and it was dropped without a request to delete it."""
        return id in self._dropped

    @property
    def under_way(self) -> int:
        """The number of jobs that run or wait."""
        return sum(job.ended is None for job in self._snapshot())

    def get(self, id: str) -> Job | None:
        """Return the job with this id, and note that it was asked about; None if there is none."""
        job = self._jobs.get(id)
        if job is not None:
            job.asked = time.monotonic()
        self._sweep()
        return self._jobs.get(id)

    def forget(self, id: str) -> bool:
        """Stop a job and drop its data; False if there is none."""
        job = self._jobs.pop(id, None)
        if job is None:
            return False
        job.cancelled, job.data = True, None
        job.stop.set()
        return True

    def _drop(self, id: str) -> None:
        if self.forget(id):
            self._dropped.append(id)

    @property
    def is_busy(self) -> bool:
        """Whether the thread that analyses videos runs; it may still do so after `close`."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Stop all jobs and wait for the thread, so that Python does not exit while FFmpeg is
        working."""
        for id in list(self._jobs):
            self.forget(id)
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(_CLOSE_TIMEOUT_S)
            if not self._thread.is_alive():
                self._thread = None

    def _snapshot(self) -> list[Job]:
        """Return a copy of the list of jobs: the other thread may remove some while one
        iterates."""
        return list(self._jobs.values())

    def _sweep(self) -> None:
        now = time.monotonic()
        for job in self._snapshot():
            since, most = (job.asked, _UNASKED_S) if job.ended is None else (job.ended, _KEPT_S)
            if now - since > most:
                self._drop(job.id)

    def _work(self) -> None:
        while True:
            try:
                job = self._waiting.get(timeout=_SWEEP_S)
            except queue.Empty:
                self._sweep()
                continue
            if job is None:
                return
            if job.data is not None:
                self._run(job)
            else:
                self._count_ended("cancelled")  # before it ran
            del job  # so that nothing of this job is held while waiting for the next

    def _run(self, job: Job) -> None:
        job.state = "running"
        try:
            with _as_file(job.take_data()) as path:
                self._analyze(job, path)
            job.state, job.progress = "done", 1.0
        except VideoError as error:
            # Without the path of our temporary file, which means nothing to the client.
            self._fail(job, str(error).partition(": ")[2])
        except Exception:  # otherwise clients would ask for ever
            self._fail(job, "the video could not be analysed")
            _LOG.exception("a video could not be analysed")
        finally:
            job.ended = time.monotonic()
            self._count_ended("cancelled" if job.cancelled else job.state)

    @staticmethod
    def _fail(job: Job, error: str) -> None:
        at_end = Analysis(None, None, None, error=error)
        job.summary_builder.add(at_end)
        job.rows.append(at_end.to_dict())
        job.state, job.error = "failed", error

    def _analyze(self, job: Job, path: str) -> None:
        with _stopped_after(self._timeout_s, job.stop):
            # Opening may take long as well: it decodes up to the first frame.
            video = Video(path, max_pixels=self._max_pixels, stopped=job.stop)
            announced = video.n_frames
            for analysis in self._analyzer.analyze_video(video, every_s=job.every_s):
                self._sweep()
                if job.cancelled:
                    return
                job.held += 1 + len(analysis.faces)
                if job.held > _MAX_HELD:
                    raise VideoError(f"video: more than {_MAX_HELD} frames and faces")
                job.rows.append({**analysis.to_dict(), "path": None})
                job.summary_builder.add(replace(analysis, path=None))
                if announced and analysis.frame is not None:
                    job.progress = min(0.999, (analysis.frame + 1) / announced)


@contextmanager
def _stopped_after(seconds: float, stop: threading.Event) -> Iterator[None]:
    """Set `stop` if the body of the `with` takes longer than `seconds`, then raise `VideoError`."""
    late = threading.Event()

    def end() -> None:
        late.set()
        stop.set()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except VideoError:
        if not late.is_set():  # else it was read no further
            raise
    finally:
        timer.cancel()
    if late.is_set():
        raise VideoError(f"video: took more than {seconds:g} s")


@contextmanager
def _as_file(data: bytes | bytearray) -> Iterator[str]:
    """Yield a path at which a video in memory can be opened; on Linux it never touches a disk."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("video")
        try:
            with os.fdopen(os.dup(number), "wb") as file:
                file.write(data)
            del data  # otherwise it would be in memory twice
            yield f"/proc/{os.getpid()}/fd/{number}"
        finally:
            os.close(number)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = os.path.join(folder, "video")  # noqa: PTH118
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(data)
        del data
        yield path
