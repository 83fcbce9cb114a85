"""Videos that are sent to the HTTP API: jobs, their results, and what makes room for others."""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import semblante
from conftest import wait_until
from semblante import Analysis, Analyzer

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from api import figure, finished, small
from semblante.server.jobs import Job, Jobs
from semblante.server.videos import _fetched


def test_a_video_is_a_job(client: TestClient, clip: bytes) -> None:
    answer = client.post("/v1/analyze/video?every_s=0.1", content=clip)
    assert answer.status_code == 202
    job = finished(client, answer.json())
    assert (job["state"], job["progress"], job["frames"]) == ("done", 1.0, 10)
    lines = client.get(f"/v1/jobs/{job['id']}/results").text.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["frame"] for row in rows] == list(range(0, 20, 2))
    assert {face["track"] for row in rows for face in row["faces"]} == {1}
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_a_video_may_come_in_a_form(client: TestClient, clip: bytes) -> None:
    answer = client.post("/v1/analyze/video?every_s=0.1", files=[("file", ("a.mp4", clip))])
    assert answer.status_code == 202
    job = finished(client, answer.json())
    assert (job["state"], job["frames"]) == ("done", 10)
    none = ("none", ("", b""))  # a field for which a browser's user chose no file
    answer = client.post("/v1/analyze/video", files=[none, ("file", ("a.mp4", clip))])
    assert answer.status_code == 202
    client.delete(f"/v1/jobs/{answer.json()['id']}")
    two = [("file", ("a.mp4", clip)), ("file", ("b.mp4", clip))]
    answer = client.post("/v1/analyze/video", files=two)
    assert answer.status_code == 413
    assert answer.json()["error"] == "at most one file in a request"


@pytest.mark.parametrize("kind", ["application/json", "multipart/mixed; boundary=x"])
def test_what_is_no_video_by_its_type_is_refused(
    client: TestClient, clip: bytes, kind: str
) -> None:
    answer = client.post("/v1/analyze/video", content=clip, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["connection"]) == (415, "close")
    assert answer.json()["error"].startswith("expected a video as the body, or one in a form")


def test_what_tracks_showed_in_a_video(client: TestClient, clip: bytes, tmp_path: Path) -> None:
    sent = client.post("/v1/analyze/video", content=clip)
    assert sent.headers["location"] == f"../jobs/{sent.json()['id']}"
    job = finished(client, sent.json())
    found = client.get(f"/v1/jobs/{job['id']}/tracks").json()
    (tmp_path / "clip.mp4").write_bytes(clip)
    own = semblante.summarize(Analyzer().analyze_video(tmp_path / "clip.mp4")).to_dict()
    assert found == {**own, "path": None}
    assert found["tracks"][0]["emotion"] == "happy"


def test_a_video_that_failed_says_so_among_its_results(client: TestClient) -> None:
    job = finished(client, client.post("/v1/analyze/video", content=b"no video").json())
    assert (job["state"], job["frames"]) == ("failed", 0)
    assert job["error"] == "not a video that can be read"
    [row] = client.get(f"/v1/jobs/{job['id']}/results").text.splitlines()
    assert (json.loads(row)["frame"], json.loads(row)["error"]) == (None, job["error"])
    assert client.get(f"/v1/jobs/{job['id']}/tracks").json()["error"] == job["error"]
    assert figure(client, 'semblante_videos_total{result="failed"}') >= 1


def test_results_of_a_job_under_way(clip: bytes) -> None:
    """A client fetches rows from the first one on that it has not seen yet."""
    go_on = threading.Semaphore(0)

    class Waits(Analyzer):
        def analyze_video(self, *args: Any, **options: Any) -> Iterator[Analysis]:
            for analysis in super().analyze_video(*args, **options):
                go_on.acquire(timeout=60)
                yield analysis

    with small(Waits()) as client:
        job = client.post("/v1/analyze/video?every_s=0.2", content=clip).json()
        results = f"/v1/jobs/{job['id']}/results"

        def frames(first: int) -> list[int]:
            answer = client.get(f"{results}?from={first}")
            assert answer.status_code == 200
            return [json.loads(line)["frame"] for line in answer.text.splitlines()]

        assert frames(0) == []
        go_on.release(2)
        wait_until(lambda: len(frames(0)) == 2, step=0.01)
        assert frames(1) == frames(0)[1:]
        assert frames(2) == frames(9) == []
        assert client.get(results).status_code == 409  # not all rows are there yet
        go_on.release(1000)
        assert finished(client, job)["state"] == "done"
        assert len(frames(0)) > 2
        assert len(frames(2)) == len(frames(0)) - 2
        assert client.get(f"{results}?from=-1").status_code == 422


def test_many_results_come_whole(client: TestClient, clip: bytes) -> None:
    job = finished(client, client.post("/v1/analyze/video", content=clip).json())
    app: Any = client.app
    rows = app.state.jobs.get(job["id"]).rows
    rows.extend({**rows[-1], "frame": 100 + n} for n in range(2000))
    lines = client.get(f"/v1/jobs/{job['id']}/results").text.splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_a_video_of_large_frames(analyzer: Analyzer, clip: bytes) -> None:
    client = small(analyzer, max_pixels=1000)
    job = finished(client, client.post("/v1/analyze/video", content=clip).json())
    assert job["state"] == "failed"
    assert job["error"].startswith("frames of ")


def test_so_much_may_be_on_its_way(analyzer: Analyzer) -> None:
    client = small(analyzer, max_intake=1000, max_video_intake=3000)
    for call, limit in (("/v1/analyze", 1000), ("/v1/analyze/video", 3000)):
        answer = client.post(call, content=bytes(limit + 1))
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert client.post(call, content=bytes(limit)).status_code in (202, 422)  # nothing is held


def test_a_video_may_be_larger_than_pictures(analyzer: Analyzer) -> None:
    client = small(analyzer, max_body=1000, max_video=3000)
    assert client.post("/v1/analyze/video", content=bytes(3000)).status_code == 202
    assert client.post("/v1/analyze/video", content=bytes(3001)).status_code == 413
    assert client.post("/v1/analyze", content=bytes(1001)).status_code == 413


def test_the_server_s_time_limit_for_a_video(clip: bytes) -> None:
    """How a video is stopped: see test_jobs.py."""

    class Endless:
        def analyze_video(self, video: Any, **_: Any) -> Iterator[Analysis]:
            assert video._stopped.wait(20)
            yield from ()

    with small(Endless(), job_s=0.1) as client:  # type: ignore[arg-type]
        job = finished(client, client.post("/v1/analyze/video", content=clip).json())
    assert (job["state"], job["error"]) == ("failed", "took more than 0.1 s")


@pytest.mark.parametrize("every_s", ["0", "1e-9", "abc", "nan", ""])
def test_a_time_that_is_none(client: TestClient, every_s: str) -> None:
    answer = client.post(f"/v1/analyze/video?every_s={every_s}", content=b"x")
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith("every_s: Input should be ")
    assert answer.json()["error"].endswith(f", found {every_s!r}")


def test_only_so_many_videos(analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = small(analyzer)
    go_on = threading.Event()
    monkeypatch.setattr(Jobs, "_analyze", lambda *_: go_on.wait())
    answers = [client.post("/v1/analyze/video", content=b"video") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [202] * 8 + [503]
    assert answers[-1].headers["retry-after"] == "30"
    go_on.set()
    for answer in answers[:8]:
        assert finished(client, answer.json())["state"] == "done"
    # Results are kept until they are fetched, unless nobody asks about them.
    ids = [answer.json()["id"] for answer in answers[:8]]
    assert client.post("/v1/analyze/video", content=b"video").status_code == 503
    assert client.get(f"/v1/jobs/{ids[2]}/tracks").status_code == 200  # its rows are still wanted
    assert client.get(f"/v1/jobs/{ids[3]}/results").status_code == 200
    assert client.post("/v1/analyze/video", content=b"video").status_code == 202
    known = [client.get(f"/v1/jobs/{id}").status_code for id in ids]
    assert known == [200] * 3 + [410] + [200] * 4
    assert client.post("/v1/analyze/video", content=b"video").status_code == 503
    monkeypatch.setattr("semblante.server.jobs._UNFETCHED_S", -1.0)
    assert client.post("/v1/analyze/video", content=b"video").status_code == 202
    gone = client.get(f"/v1/jobs/{ids[0]}/tracks")
    assert (gone.status_code, "send the video again" in gone.json()["error"]) == (410, True)
    assert client.get("/v1/jobs/another").status_code == 404


def test_only_who_has_all_results_has_fetched_them() -> None:
    job = Job("x", None, rows=[{"frame": n} for n in range(1200)])
    broken = _fetched(job)
    assert next(broken).count("\n") == 500
    broken.close()  # as if the connection broke
    assert not job.fetched
    assert "".join(_fetched(job)).count("\n") == 1200
    assert job.fetched


def test_a_cancelled_video_holds_nothing(clip: bytes) -> None:
    """It holds neither its bytes nor a thread, and does not delay the next one."""
    begun, go_on = threading.Event(), threading.Event()

    class Waits:
        def analyze_video(self, *_: Any, **__: Any) -> Iterator[Analysis]:
            begun.set()
            go_on.wait(60)
            yield from ()

    jobs = Jobs(Waits(), 40_000_000)  # type: ignore[arg-type]
    first = jobs.start(clip, None)
    assert first is not None
    assert begun.wait(60)
    before = threading.active_count()
    for _ in range(50):
        job = jobs.start(bytes(1000), None)
        assert job is not None
        assert jobs.forget(job.id)
        assert job.data is None
    assert threading.active_count() <= before
    go_on.set()
    wait_until(lambda job=first: job.state == "done")
    held = weakref.ref(first)
    assert jobs.forget(first.id)
    del first, job
    wait_until(lambda: held() is None)
    jobs.close()


def test_results_are_kept_for_so_long(
    client: TestClient, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished(client, client.post("/v1/analyze/video?every_s=0.5", content=clip).json())
    monkeypatch.setattr("semblante.server.jobs._KEPT_S", 0.0)
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 410


def test_a_video_after_nothing_for_long(
    analyzer: Analyzer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semblante.server.jobs._SWEEP_S", 0.01)
    client = small(analyzer)
    for _ in range(2):
        job = finished(client, client.post("/v1/analyze/video?every_s=1", content=clip).json())
        assert job["state"] == "done"
        time.sleep(0.1)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="keeps no file in memory here")
def test_a_video_that_is_done_leaves_no_memory_behind(client: TestClient, clip: bytes) -> None:
    finished(client, client.post("/v1/analyze/video?every_s=1", content=clip).json())
    names = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    assert not [name for name in names if "memfd:video" in name]
