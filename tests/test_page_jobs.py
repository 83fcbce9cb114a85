"""The page in a real browser while the server works on a video, and what goes wrong meanwhile."""

from __future__ import annotations

import json
import math
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import (
    film,
    hold,
    needs_browser,
    note_changes,
    one_face,
    pretend_results,
)
from conftest import EXAMPLE
from semblante import Analysis, Analyzer

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = needs_browser


def assert_told(page: Any, english: str, spanish: str) -> None:
    """The page says so in English, and in Spanish as soon as that is chosen."""
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_have_text(english, timeout=20_000)
    page.select_option("#language", "es")
    assert alert.inner_text() == spanish


def pretend(page: Any, job: dict[str, Any]) -> None:
    """As if a video's job were as `job` says, which may change."""
    always = {"progress": 0, "frames": 0, "error": None}

    def answer(route: Any) -> None:
        if route.request.method == "GET":
            route.fulfill(json={**always, **job})
        else:
            route.continue_()

    page.route("**/v1/jobs/*", answer)
    pretend_results(page, "")


def test_a_video_that_waits_and_one_whose_length_is_not_known(page: Any, tmp_path: Path) -> None:
    job: dict[str, Any] = {"state": "waiting"}
    pretend(page, job)
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    status = page.get_by_role("status")
    status.filter(has_text="Waiting for another video to finish").wait_for(timeout=20_000)
    page.select_option("#language", "es")
    playwright.expect(status).to_have_text("Esperando a que termine otro video")
    page.select_option("#language", "en")
    note_changes(page, "summary")
    progress, frames = page.locator("#progress"), page.locator("#frames")
    for number in (7, 8):
        job.update(state="running", frames=number)
        playwright.expect(frames).to_have_text(f"frames: {number}", timeout=20_000)
        assert progress.get_attribute("value") is None
    assert frames.get_attribute("aria-hidden") == "true"
    job.update(progress=0.5)
    playwright.expect(progress).to_have_attribute("value", "0.5", timeout=20_000)
    assert page.evaluate("window.said") == ["Analysing the video"]
    page.locator("#choose").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    with page.expect_request(lambda request: request.method == "DELETE"):
        page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "choose"
    for gone in ("#progress", "#cancel", "#frames"):
        assert page.locator(gone).is_hidden()
    assert page.locator("#hint").is_visible()
    assert status.inner_text() == page.get_by_role("alert").inner_text() == ""


def look_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """At ten frames a second."""
    analyze_video = Analyzer.analyze_video

    def slowly(*args: Any, **options: Any) -> Iterator[Analysis]:
        for analysis in analyze_video(*args, **options):
            time.sleep(0.1)
            yield analysis

    monkeypatch.setattr(Analyzer, "analyze_video", slowly)


def test_of_a_film_that_is_cancelled_stays_what_was_found(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_slowly(monkeypatch)
    page.set_input_files("#file", film(tmp_path / "film.webm", 30))
    page.locator("#timeline:not(.hidden)").wait_for(timeout=20_000)
    with page.expect_request(lambda request: request.method == "DELETE"):
        page.get_by_role("button", name="Cancel").click()
    playwright.expect(page.locator("#aloud")).to_have_text("Cancelled.")
    one_face(page)
    assert page.locator("#progress").is_hidden()
    told = page.get_by_role("alert").inner_text()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    rows = [json.loads(line) for line in Path(saved.value.path()).read_text().splitlines()]
    assert 0 < len(rows) < 300
    assert told == f"Only the first {max(1, math.ceil(rows[-1]['time_s']))} s were analysed."
    assert [row["frame"] for row in rows] == list(range(len(rows)))
    page.evaluate("document.getElementById('video').currentTime = 29")  # of which nobody knows
    page.locator(".face").wait_for(state="detached", timeout=20_000)
    nobody = page.locator("#nobody")
    assert nobody.inner_text() == "Not analysed."
    page.select_option("#language", "es")
    assert nobody.inner_text() == "No se analizó."
    page.select_option("#language", "en")
    assert page.get_by_role("button", name="Save the picture").is_disabled()
    page.evaluate("document.getElementById('video').currentTime = 0")
    one_face(page)
    assert page.get_by_role("button", name="Save the picture").is_enabled()
    page.set_input_files("#file", EXAMPLE)  # after which nothing is left to cancel
    page.locator("#picture:not(.hidden)").wait_for(timeout=20_000)
    assert page.locator("#cancel").is_hidden()


@pytest.mark.parametrize("lost", [False, True])
def test_the_timeline_grows_while_a_film_is_worked_on(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Where the server loses the job in the midst of it, it begins anew with the second one."""
    look_slowly(monkeypatch)
    looks: list[str] = []

    def look(route: Any) -> None:
        looks.append(route.request.url)
        if lost and len(looks) == 2:
            job = route.request.url.partition("/results")[0]
            urllib.request.urlopen(urllib.request.Request(job, method="DELETE")).close()
        route.continue_()

    page.route("**/v1/jobs/*/results?from=*", look)
    page.set_input_files("#file", film(tmp_path / "film.webm", 4))
    timeline = page.locator("#timeline:not(.hidden)")
    timeline.wait_for(timeout=20_000)
    assert page.locator("#progress").is_visible()
    assert page.get_by_role("button", name="Save as CSV").is_disabled()
    assert page.locator("#shares").is_hidden()
    one_face(page)
    assert re.fullmatch(r"Over time: 0 - [34] s", timeline.get_attribute("aria-label"))
    assert page.locator("#shares").is_visible()
    assert len({url.partition("/results")[0] for url in looks}) == 1 + lost
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    rows = [json.loads(line) for line in Path(saved.value.path()).read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(40))
    if lost:
        assert ["404" in problem for problem in page.problems] == [True] * len(page.problems)
        page.problems.clear()


def test_a_button_that_goes_takes_no_focus_with_it(page: Any, tmp_path: Path) -> None:
    let_go = hold(page, "**/v1/analyze")
    page.set_input_files("#file", EXAMPLE)
    page.get_by_role("button", name="Cancel").focus()
    let_go()
    one_face(page)
    playwright.expect(page.locator("#cancel")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "choose"


@pytest.mark.parametrize("failure", ["network", "proxy"])
def test_a_network_that_fails_for_a_moment_costs_no_video(
    page: Any, tmp_path: Path, failure: str
) -> None:
    failed: set[str] = set()

    def fail_once(route: Any) -> None:
        url = route.request.url
        if route.request.method == "GET" and "?" not in url and url not in failed:
            failed.add(url)
            if failure == "network":
                route.abort("internetdisconnected")
            else:  # one before the server, which finds it away
                route.fulfill(status=502, body="Bad Gateway")
        else:
            route.continue_()

    page.route("**/v1/jobs/**", fail_once)
    note_changes(page, "error")
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    one_face(page)
    assert len(failed) == 2  # of how far it is, and of its results
    again = "The server does not answer; trying again."
    assert [words for words in page.evaluate("window.said") if words] == [again, again]
    assert page.get_by_role("alert").inner_text() == ""
    assert len(page.problems) == 2  # the browser's own words
    page.problems.clear()


@pytest.mark.parametrize("forgets", ["once", "always"])
def test_a_server_that_was_started_anew_is_sent_the_video_once_more(
    page: Any, tmp_path: Path, forgets: str
) -> None:
    """It knows nothing of the job, but the page still has the file."""
    sent: list[str] = []
    forgotten: set[str] = set()

    def forget(route: Any) -> None:
        url = route.request.url
        if route.request.method == "GET" and (forgets == "always" or not forgotten):
            forgotten.add(url)
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()
        route.continue_()

    page.on("request", lambda r: sent.append(r.url) if r.method == "POST" else None)
    page.route("**/v1/jobs/*", forget)
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    if forgets == "once":
        one_face(page)
        assert page.get_by_role("alert").inner_text() == ""
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save as JSON").click()
        assert len(Path(saved.value.path()).read_text().splitlines()) == 10
    else:
        assert_told(
            page, "It was not analysed: the server no longer has it.",
            "No se analizó: el servidor ya no lo tiene.",
        )  # fmt: skip
    assert len(sent) == 2
    # The browser's own words, of what was asked of each job that is gone, and that it be forgotten.
    gone = {"once": 2, "always": 4}[forgets]
    deadline = time.monotonic() + 20
    while len(page.problems) < gone and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert ["404" in problem for problem in page.problems] == [True] * gone
    page.problems.clear()


@pytest.mark.parametrize("answered", ["to the video", "of the job", "of the results"])
def test_the_page_of_a_proxy_is_not_taken_for_an_answer(
    page: Any, tmp_path: Path, answered: str
) -> None:
    """Nor for a fault of the file."""
    path = {
        "to the video": "**/v1/analyze/video",
        "of the job": "**/v1/jobs/*",
        "of the results": "**/v1/jobs/*/results",
    }[answered]

    def sign_in(route: Any) -> None:
        if route.request.method == "DELETE":
            route.continue_()
        else:
            route.fulfill(content_type="text/html", body="<!DOCTYPE html><p>Please sign in.")

    page.route(path, sign_in)
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    assert_told(
        page, "semblante does not answer at this address.",
        "En esta dirección no responde semblante.",
    )  # fmt: skip


def test_a_video_for_which_there_is_nobody_is_sent_once(page: Any, tmp_path: Path) -> None:
    """Only a job can have been forgotten."""
    sent: list[str] = []

    def not_found(route: Any) -> None:
        sent.append(route.request.url)
        route.fulfill(status=404, json={"error": "Not Found"})

    page.route("**/v1/analyze/video", not_found)
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    assert_told(
        page, "It was not analysed: semblante does not answer at this address.",
        "No se analizó: en esta dirección no responde semblante.",
    )  # fmt: skip
    assert len(sent) == 1
    assert ["404" in problem for problem in page.problems] == [True]
    page.problems.clear()


def test_whoever_turns_to_something_else_ends_what_is_sent(page: Any, tmp_path: Path) -> None:
    page.route("**/v1/analyze/video", lambda route: None)  # it is never answered
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    page.get_by_role("status").filter(has_text="Sending").wait_for(timeout=20_000)
    with page.expect_event("requestfailed") as ended:
        page.set_input_files("#file", EXAMPLE)
    assert ended.value.url.endswith("/v1/analyze/video")
    one_face(page)
    assert page.get_by_role("alert").inner_text() == ""


def test_while_a_film_is_sent_the_page_says_so(page: Any, tmp_path: Path) -> None:
    let_go = hold(page, "**/v1/analyze/video")
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    page.get_by_role("status").filter(has_text="Sending").wait_for(timeout=20_000)
    assert page.locator("#progress").is_visible()
    assert page.locator("#progress").get_attribute("value") is None
    let_go()
    one_face(page)
    assert page.locator("#progress").is_hidden()


def test_whoever_turns_to_something_else(page: Any, tmp_path: Path) -> None:
    """What was begun before neither comes back nor leaves a camera on."""
    deleted: list[str] = []
    page.on("request", lambda r: deleted.append(r.url) if r.method == "DELETE" else None)
    page.set_input_files("#file", film(tmp_path / "film.webm", 30))
    page.get_by_role("status").filter(has_text="Analysing the video").wait_for(timeout=20_000)
    page.set_input_files("#file", EXAMPLE)
    page.locator("#picture:not(.hidden)").wait_for(timeout=30_000)
    page.wait_for_timeout(1000)
    assert len(deleted) == 1
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    assert len(Path(saved.value.path()).read_text().splitlines()) == 1
    page.evaluate(
        """() => { window.streams = []; const media = navigator.mediaDevices;
        const real = media.getUserMedia.bind(media); media.getUserMedia = async (wanted) => {
        const stream = await real(wanted); window.streams.push(stream); return stream; };
        document.getElementById('camera').click(); document.getElementById('camera').click(); }"""
    )
    one_face(page)
    page.get_by_role("button", name="Stop the camera").click()
    states = page.evaluate("window.streams.map(s => s.getTracks()[0].readyState)")
    assert states == ["ended"]


def test_who_leaves_leaves_no_job_behind(page: Any, tmp_path: Path) -> None:
    with page.expect_request("**/v1/jobs/*") as asked:
        page.set_input_files("#file", film(tmp_path / "film.webm", 60))
    job = asked.value.url
    assert page.request.get(job).json()["state"] in ("waiting", "running")
    page.goto("about:blank")
    deadline = time.monotonic() + 60
    while page.request.get(job).status != 404:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_reasons_of_the_server_in_spanish(page: Any, tmp_path: Path) -> None:
    page.select_option("#language", "es")
    (tmp_path / "x.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "x.png")
    alert = page.get_by_role("alert")
    alert.filter(has_text="No se puede leer: no es ni una imagen").wait_for(timeout=20_000)
    (tmp_path / "x.mp4").write_text("no video")
    page.set_input_files("#file", tmp_path / "x.mp4")
    alert.filter(has_text="No se puede leer: no es ni una imagen ni un video").wait_for(
        timeout=20_000
    )
    page.problems.clear()
    pretend_results(page, "")
    pretend(page, {"state": "failed", "error": "more than 400000 frames and faces"})
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    alert.filter(has_text="No se puede leer: tiene demasiados fotogramas o rostros.").wait_for(
        timeout=20_000
    )
