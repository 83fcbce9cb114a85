"""The page in a real browser, with a camera."""

from __future__ import annotations

import itertools
import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import semblante
from browser import (
    boxed,
    free_port,
    needs_browser,
    note_changes,
    one_face,
    serving,
    until,
    wait_on,
)
from conftest import EXAMPLE

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = needs_browser

# Each wait of the page's is fifty times as short; or those of up to `most` milliseconds.
QUICK_CLOCK = """(most) => { const later = window.setTimeout;
    const quick = (delay) => (delay <= (most ?? delay) ? delay / 50 : delay);
    window.setTimeout = (what, delay) => later(what, quick(delay)); }"""
# A camera that sees one colour, `window.see`'s.
COLOURED = """() => { const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [640, 480];
    const pen = canvas.getContext('2d');
    window.see = (colour) => { window.seen = colour; };
    window.see('#c00000');
    setInterval(() => { pen.fillStyle = window.seen; pen.fillRect(0, 0, 640, 480); }, 20);
    navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(); }"""
FOUND = {
    "frame": 0, "dropped": 0, "time_s": 0.1, "width": 640, "height": 480, "error": None,
    "faces": [{
        "track": 1, "box": [200, 20, 160, 160], "detection_score": 1.0, "emotion": "happy",
        "probabilities": dict.fromkeys(semblante.EMOTIONS, 1 / 7),
    }],
}  # fmt: skip


def test_the_camera_live(page: Any, tmp_path: Path) -> None:
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    playwright.expect(page.locator("#summary")).to_have_text(re.compile("^1 face: "))
    assert page.locator("meter").count() == 7
    assert boxed(page) > 500
    seconds = playwright.expect(page.locator("#span span").last)  # at the timeline's end
    seconds.to_have_text(re.compile(r"^[1-9]\d* s$"), timeout=20_000)
    drawn = page.evaluate("document.getElementById('timeline').toDataURL().length")
    page.wait_for_timeout(1000)
    assert page.evaluate("document.getElementById('timeline').toDataURL().length") != drawn
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert len(lines) > 1
    assert len(json.loads(lines[-1])["faces"]) == 1
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    assert Path(saved.value.path()).read_text().startswith("path,frame,time_s,")
    page.get_by_role("button", name="Stop the camera").click()
    assert page.get_by_role("button", name="Start the camera").is_visible()


def test_one_sees_oneself_as_in_a_mirror(page: Any) -> None:
    """Eileen Collins's face is left of the middle of what the camera films."""
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    row = page.evaluate(
        "import(new URL('state.js', document.baseURI)).then(({ state }) => state.shown)"
    )
    left, _, wide, _ = row["faces"][0]["box"]
    assert left + wide / 2 < 0.48 * row["width"]

    def middle() -> float:
        """Of what is drawn, as a share of the width."""
        return page.evaluate(
            """() => { const c = document.getElementById('boxes');
            const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
            let [sum, n] = [0, 0];
            for (let i = 3; i < data.length; i += 4) {
              if (data[i]) { sum += (i >> 2) % c.width; n += 1; }
            }
            return sum / n / c.width; }"""
        )

    assert middle() > 0.52
    assert "matrix(-1, 0, 0, 1, 0, 0)" in page.evaluate(
        "getComputedStyle(document.getElementById('video')).transform"
    )
    page.get_by_role("button", name="Stop the camera").click()
    page.locator("#picture:not(.hidden)").wait_for()
    assert middle() < 0.48  # a picture is as others see one


def test_another_camera_can_be_chosen(page: Any) -> None:
    """As a telephone has, whose second one looks the other way."""
    page.evaluate(
        """() => { const media = navigator.mediaDevices;
        const real = media.getUserMedia.bind(media); window.asked = [];
        media.getUserMedia = async ({ video }) => {
          window.asked.push(video.deviceId?.exact ?? null);
          if (video.deviceId?.exact === 'gone') throw new DOMException('', 'OverconstrainedError');
          const stream = await real({ video: { width: video.width } });
          const back = video.deviceId?.exact === 'back';
          stream.getVideoTracks()[0].getSettings = () => (
            { deviceId: back ? 'back' : 'front', facingMode: back ? 'environment' : 'user' });
          return stream; };
        media.enumerateDevices = async () => ['Front', 'Back', 'Gone'].map((label) => (
          { kind: 'videoinput', label, deviceId: label.toLowerCase() })); }"""
    )
    which = page.get_by_label("Which camera")
    assert which.is_hidden()
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    assert which.locator("option").all_inner_texts() == ["Front", "Back", "Gone"]
    assert which.input_value() == "front"
    rows = "import(new URL('state.js', document.baseURI)).then(({ state }) => state.rows)"
    seen = page.evaluate(rows)
    page.evaluate(
        """() => { const list = document.getElementById('cameras'); // as by two arrow keys
        for (const id of ['gone', 'back']) {
          list.value = id; list.dispatchEvent(new Event('change'));
        } }"""
    )
    until(page, "window.asked.length === 3")
    one_face(page)
    until(page, f"{rows}.then((rows) => rows.length > {len(seen) + 5})")
    kept = page.evaluate(rows)
    assert kept[: len(seen)] == seen  # and what the other sees comes after it
    assert all(one["time_s"] < other["time_s"] for one, other in itertools.pairwise(kept))
    assert which.input_value() == "back"
    assert page.locator("#video.mirrored").count() == 0
    which.select_option("Gone")
    alert = page.get_by_role("alert").filter(has_text="it could not be started.")
    alert.wait_for()
    assert page.get_by_role("button", name="Save as JSON").is_enabled()  # of what was seen before
    which.select_option("Front")  # while none is on, this is remembered
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    assert page.evaluate("window.asked") == [None, "gone", "back", "gone", "front"]


def test_who_turns_to_a_picture_while_a_camera_starts_is_not_filmed_later(page: Any) -> None:
    page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); // a question
        document.getElementById('which').classList.remove('hidden');
        document.getElementById('cameras').append(new Option('Back', 'back')); }"""
    )
    page.get_by_role("button", name="Start the camera").click()
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    page.evaluate("document.getElementById('cameras').dispatchEvent(new Event('change'))")
    page.wait_for_timeout(300)
    assert page.locator(".face").count() == 1
    assert page.get_by_role("button", name="Start the camera").is_enabled()


def test_a_telephone_stays_awake_while_the_camera_is_on(page: Any) -> None:
    page.evaluate(
        """() => { window.locks = []; Object.defineProperty(navigator, 'wakeLock', { value: {
        request: async () => { const lock = { held: true, release() { this.held = false; } };
          window.locks.push(lock); return lock; } } }); }"""
    )
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    assert page.evaluate("window.locks.map((lock) => lock.held)") == [True]
    # A page that is hidden loses it, and asks for another when it is seen again.
    page.evaluate("window.locks[0].held = false")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    until(page, "window.locks.length === 2")
    page.get_by_role("button", name="Stop the camera").click()
    until(page, "window.locks.every((lock) => !lock.held)")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(200)
    assert page.evaluate("window.locks.length") == 2


def test_a_tab_in_the_background_goes_on_in_front(page: Any) -> None:
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    # Playwright makes every tab believe that it is looked at, unless it is told not to.
    told = page.context.new_cdp_session(page)
    told.send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    other = page.context.new_page()
    other.bring_to_front()
    time.sleep(2)
    other.close()
    page.bring_to_front()
    # What is drawn from here on came after the pause.
    page.evaluate("document.getElementById('bars').replaceChildren()")
    one_face(page)
    assert page.get_by_role("alert").inner_text() == ""
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    times = [json.loads(line)["time_s"] for line in lines]
    assert times == sorted(set(times))


def test_a_tab_that_was_away_for_long_goes_on_without_a_word(
    page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes a stream in which nothing comes, and nobody looks."""
    page.evaluate(
        """() => { window.said = []; new MutationObserver(() => window.said.push(
        document.getElementById('error').textContent))
        .observe(document.getElementById('error'), { childList: true });
        // Without a screen no tab is ever hidden: as if it were.
        const real = window.requestAnimationFrame; let held = null;
        window.requestAnimationFrame = (f) => { if (document.hidden) held = f; else real(f); };
        window.hide = (yes) => {
          Object.defineProperty(document, 'hidden', { value: yes, configurable: true });
          document.dispatchEvent(new Event('visibilitychange'));
          if (!yes && held) real(held);
        }; }"""
    )
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    monkeypatch.setattr("semblante.server.stream._SILENCE_S", 1.0)
    page.evaluate("window.hide(true)")
    page.wait_for_timeout(2500)
    page.evaluate("document.getElementById('bars').replaceChildren()")
    page.wait_for_timeout(1000)
    assert page.locator(".face").count() == 0
    page.evaluate("window.hide(false)")
    one_face(page)
    assert "".join(page.evaluate("window.said")) == ""


def test_no_camera_and_one_that_is_taken_away(page: Any) -> None:
    page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException('Permission denied', 'NotAllowedError'); }; }"""
    )
    start = page.get_by_role("button", name="Start the camera")
    start.click()
    alert = page.get_by_role("alert")
    alert.filter(has_text="The camera cannot be used: it was not allowed.").wait_for()
    page.select_option("#language", "es")
    assert alert.inner_text() == "No se puede usar la cámara: no se permitió."
    page.select_option("#language", "en")
    page.reload()
    start.click()
    one_face(page)
    page.evaluate(
        """() => document.getElementById('video').srcObject.getTracks()[0]
        .dispatchEvent(new Event('ended'))"""
    )
    alert.filter(has_text="The camera was disconnected.").wait_for()
    assert start.is_visible()


def test_what_the_camera_saw_last_can_be_saved(page: Any) -> None:
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    page.get_by_role("button", name="Stop the camera").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the picture").click()
    assert 60 < np.asarray(Image.open(saved.value.path()).convert("L")).mean() < 200
    page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException('Starting videoinput failed', 'AbortError'); }; }"""
    )
    page.select_option("#language", "es")
    page.get_by_role("button", name="Encender la cámara").click()
    alert = page.get_by_role("alert")
    alert.filter(has_text="No se puede usar la cámara: algo falló al encenderla.").wait_for()


def silent_stream(page: Any) -> tuple[list[Any], list[bytes]]:
    """Take the place of the server's live stream. Returns the connections and the frames, to which
    those to come are added; a test answers them itself, or not at all."""
    sockets: list[Any] = []
    frames: list[bytes] = []

    def take(socket: Any) -> None:
        sockets.append(socket)
        socket.on_message(lambda frame: frames.append(frame))

    page.route_web_socket("**/v1/stream", take)
    return sockets, frames


def test_boxes_stay_with_the_frame_that_was_answered(page: Any) -> None:
    """Even if the camera sees something else by the time it is saved, or stopped."""
    sockets, frames = silent_stream(page)
    page.evaluate(COLOURED)
    page.get_by_role("button", name="Start the camera").click()
    wait_on(page, lambda: frames)
    page.evaluate("window.see('#0000c0')")
    page.wait_for_timeout(300)
    sockets[0].send(json.dumps(FOUND))
    one_face(page)
    wait_on(page, lambda: len(frames) == 2)  # a blue one, which nobody answers

    def saved() -> list[int]:
        with page.expect_download() as download:
            page.get_by_role("button", name="Save the picture").click()
        return semblante.load_image(download.value.path())[400, 100].tolist()

    assert saved() == pytest.approx([0xC0, 0, 0], abs=8)
    page.get_by_role("button", name="Stop the camera").click()
    assert saved() == pytest.approx([0xC0, 0, 0], abs=8)
    assert not page.evaluate("Boolean(document.getElementById('video').srcObject)")


def test_a_camera_that_is_stopped_before_the_first_answer_leaves_nothing(page: Any) -> None:
    silent_stream(page)
    page.get_by_role("button", name="Start the camera").click()
    page.get_by_role("button", name="Stop the camera").click()
    playwright.expect(page.locator("#video")).to_have_class("hidden")
    assert page.locator("#hint").is_visible()
    assert page.get_by_role("button", name="Full screen").is_hidden()
    assert not page.evaluate("Boolean(document.getElementById('video').srcObject)")


def test_two_tabs_at_once(page: Any, address: str) -> None:
    other = page.context.new_page()
    other.goto(address)
    for tab in (page, other):
        tab.get_by_role("button", name="Start the camera").click()
    for tab in (page, other):
        tab.bring_to_front()
        one_face(tab)


def test_the_server_killed_and_started_again(opened: Callable[..., Any]) -> None:
    port = free_port()
    with serving(port) as process:
        page = opened(f"http://127.0.0.1:{port}/", expected="net::ERR_CONNECTION")
        page.get_by_role("button", name="Start the camera").click()
        one_face(page)
        process.kill()
        process.wait()
        alert = page.get_by_role("alert")
        alert.filter(has_text="The server does not answer; trying again.").wait_for(timeout=20_000)
        with serving(port) as process:
            playwright.expect(alert).to_have_text("", timeout=20_000)
            page.evaluate("document.getElementById('bars').replaceChildren()")
            one_face(page)
            with page.expect_download() as saved:
                page.get_by_role("button", name="Save as JSON").click()
            rows = [json.loads(line) for line in Path(saved.value.path()).read_text().splitlines()]
            for count in ("frame", "time_s"):
                values = [row[count] for row in rows]
                assert values == sorted(set(values))
            # Who is there now is not said to be who was there before.
            assert {face["track"] for face in rows[0]["faces"] + rows[-1]["faces"]} == {1, 2}
            process.kill()
            process.wait()
            alert.filter(has_text="The server does not answer; trying again.").wait_for(
                timeout=20_000
            )
            page.get_by_role("button", name="Stop the camera").click()
            playwright.expect(alert).to_have_text("")  # it does not try any more
        page.context.close()


def test_a_server_that_hangs(opened: Callable[..., Any]) -> None:
    """The connection stays, but what was found is no longer true of what the camera sees."""
    port = free_port()
    with serving(port) as process:
        closed = "closed before the connection is established"  # which hung as well
        page = opened(f"http://127.0.0.1:{port}/", expected=closed)
        page.get_by_role("button", name="Start the camera").click()
        one_face(page)
        process.send_signal(signal.SIGSTOP)
        alert = page.get_by_role("alert")
        alert.filter(has_text="The server does not answer; trying again.").wait_for(timeout=60_000)
        assert page.locator(".face").count() == 0
        assert page.evaluate("document.getElementById('boxes').width") == 0
        assert page.get_by_role("button", name="Save the picture").is_disabled()
        process.send_signal(signal.SIGCONT)
        playwright.expect(alert).to_have_text("", timeout=60_000)
        one_face(page)
        assert page.get_by_role("button", name="Save the picture").is_enabled()
        page.context.close()


def test_a_busy_server_is_asked_more_slowly(page: Any) -> None:
    """And what it found before is not shown as what the camera sees now."""
    frames: list[bytes] = []
    busy = True

    def answer(socket: Any) -> None:
        def on_message(frame: bytes) -> None:
            frames.append(frame)
            found = len(frames) == 1 or not busy
            counted = {"frame": len(frames) - 1, "time_s": len(frames) / 10}
            failed = {"width": None, "height": None, "faces": [], "error": "busy"}
            socket.send(json.dumps({**FOUND, **counted, **({} if found else failed)}))

        socket.on_message(on_message)

    page.route_web_socket("**/v1/stream", answer)
    page.get_by_role("button", name="Start the camera").click()
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_have_text("The server is busy; trying again.")
    assert page.locator("meter").count() == 0
    note_changes(page, "error")
    page.wait_for_timeout(1500)
    assert len(frames) <= 6  # as fast as it goes they were hundreds
    assert page.evaluate("window.said") == []  # once is enough
    busy = False
    playwright.expect(alert).to_have_text("")
    one_face(page)


def test_a_server_that_leaves_out_some_frames_is_complained_of_once(page: Any) -> None:
    """And one that leaves out single ones, not at all."""
    plan = [False, True] * 3 + [True, True, False] * 3  # whether it is too busy for a frame

    def answer(socket: Any) -> None:
        frames: list[bytes] = []

        def on_message(frame: bytes) -> None:
            frames.append(frame)
            number = len(frames)
            counted = {"frame": number, "time_s": number / 10}
            failed = (
                {"faces": [], "error": "busy"} if number <= len(plan) and plan[number - 1] else {}
            )
            socket.send(json.dumps({**FOUND, **counted, **failed}))

        socket.on_message(on_message)

    page.route_web_socket("**/v1/stream", answer)
    page.evaluate(QUICK_CLOCK, 1000)  # not how long it waits for an answer
    note_changes(page, "error")
    page.get_by_role("button", name="Start the camera").click()
    busy = "The server is busy; trying again."
    until(page, f"window.said.includes({busy!r}) && !document.getElementById('error').textContent")
    assert page.evaluate("window.said") == [busy, ""]


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_too_busy_to_take_the_camera_is_busy(page: Any, status: int) -> None:
    """A failed WebSocket does not say so, but the answer to a request does."""
    page.route("**/v1/models", lambda route: route.fulfill(status=status, json={"error": "later"}))
    page.evaluate(
        """() => { window.WebSocket = class { constructor() {
        setTimeout(() => this.onclose({ code: 1006 }), 100); } close() {} }; }"""
    )
    note_changes(page, "error")
    page.get_by_role("button", name="Start the camera").click()
    until(page, "window.said.length > 0")
    page.wait_for_timeout(2500)
    assert page.evaluate("window.said") == ["The server is busy; trying again."]
    page.goto("about:blank")  # or it would try again
    page.problems.clear()  # the browser's own words


def test_a_server_that_works_on_what_others_sent_is_busy(page: Any) -> None:
    """It is there, but has no time for the frame."""
    sockets, _ = silent_stream(page)
    page.evaluate(QUICK_CLOCK)
    note_changes(page, "error")
    page.get_by_role("button", name="Start the camera").click()
    alert = page.get_by_role("alert")
    busy = "The server is busy; trying again."
    playwright.expect(alert).to_have_text(busy, timeout=20_000)
    assert [words for words in page.evaluate("window.said") if words] == [busy]
    sockets[0].send(json.dumps(FOUND))
    playwright.expect(alert).to_have_text("")
    assert len(sockets) == 1


def test_a_server_that_stays_away_is_given_up(page: Any) -> None:
    """Or the camera would film in vain for ever."""
    page.route_web_socket("**/v1/stream", lambda socket: socket.close(code=1012))
    page.evaluate(
        """() => { window.ahead = 0; const real = performance.now.bind(performance);
        performance.now = () => real() + window.ahead; }"""
    )
    page.get_by_role("button", name="Start the camera").click()
    alert = playwright.expect(page.get_by_role("alert"))
    alert.to_have_text("The server does not answer; trying again.")
    page.wait_for_timeout(2000)
    assert page.get_by_role("button", name="Stop the camera").is_visible()
    page.evaluate("window.ahead = 301_000")
    alert.to_have_text(re.compile("has not answered for 5 minutes, so the camera was stopped"))
    page.select_option("#language", "es")
    alert.to_have_text(re.compile("lleva 5 minutos sin responder, así que se apagó la cámara"))
    page.select_option("#language", "en")
    assert not page.evaluate("Boolean(document.getElementById('video').srcObject)")
    page.get_by_role("button", name="Start the camera").click()
    alert.to_have_text("The server does not answer; trying again.")


def test_a_camera_that_sends_no_picture_for_a_while(page: Any) -> None:
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    mute = """(muted) => { const track = document.getElementById('video').srcObject.getTracks()[0];
        Object.defineProperty(track, 'muted', { value: muted, configurable: true });
        track.dispatchEvent(new Event(muted ? 'mute' : 'unmute')); }"""
    alert = playwright.expect(page.get_by_role("alert"))
    page.evaluate(mute, True)
    alert.to_have_text(re.compile("^The camera sends no picture at present"))
    page.evaluate(mute, False)
    alert.to_have_text("")
    page.evaluate(mute, True)
    page.get_by_role("button", name="Stop the camera").click()
    alert.to_have_text("")


def test_a_server_that_asks_for_a_token_since_it_was_started_anew(
    opened: Callable[..., Any],
) -> None:
    port = free_port()
    gone = "ERR_|WebSocket connection|status of 401"
    with serving(port) as process:
        page = opened(f"http://127.0.0.1:{port}/", expected=gone)
        page.get_by_role("button", name="Start the camera").click()
        one_face(page)
        process.kill()
        process.wait()
    alert = page.get_by_role("alert")
    with serving(port, "--token", "right"):
        alert.filter(has_text="expected the server's token").wait_for(timeout=20_000)
        assert page.get_by_role("button", name="Start the camera").is_visible()


def test_what_is_told_anew_stays_in_its_place(page: Any) -> None:
    page.get_by_role("button", name="Start the camera").focus()
    page.keyboard.press("Enter")
    one_face(page)
    assert page.evaluate("document.activeElement.id") == "camera"
    page.evaluate("window.nodes = [...document.querySelectorAll('#bars *')]")
    values = "[...document.querySelectorAll('meter')].map((meter) => meter.value)"
    before = page.evaluate(values)
    until(page, f"String({values}) !== '{','.join(map(str, before))}'")
    assert page.evaluate("window.nodes.length > 7 && window.nodes.every((n) => n.isConnected)")


def test_nobody_answers_whether_the_camera_may_be_used(page: Any) -> None:
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); }")
    start = page.get_by_role("button", name="Start the camera")
    start.click()
    playwright.expect(page.locator("#camera")).to_be_disabled()
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    playwright.expect(start).to_be_enabled()


def test_a_camera_that_is_still_starting_can_be_stopped(page: Any) -> None:
    """While the browser asks, say. What is allowed later is turned off again."""
    page.evaluate(
        """() => { const media = navigator.mediaDevices;
        const real = media.getUserMedia.bind(media);
        media.getUserMedia = () => new Promise((resolve) => { window.allow = async () => {
          window.stream = await real({ video: true });
          resolve(window.stream); }; }); }"""
    )
    start = page.get_by_role("button", name="Start the camera")
    stop = page.get_by_role("button", name="Stop the camera")
    start.focus()
    page.keyboard.press("Enter")
    status = playwright.expect(page.get_by_role("status"))
    status.to_have_text("The camera is starting; the browser may ask you to allow it.")
    page.select_option("#language", "es")
    assert page.get_by_role("button", name="Apagar la cámara").is_enabled()
    page.select_option("#language", "en")
    stop.focus()
    page.keyboard.press("Enter")
    assert start.is_enabled()
    status.to_have_text("")
    assert page.evaluate("document.activeElement.id") == "camera"
    page.evaluate("window.allow()")
    until(page, "window.stream?.getTracks()[0].readyState === 'ended'")
    assert page.locator("#hint").is_visible()
    start.click()
    status.to_have_text(re.compile("is starting"))
    page.evaluate("window.allow()")
    one_face(page)
    stop.click()
    assert start.is_visible()


def test_a_connection_that_died_is_replaced(page: Any) -> None:
    """As after a change of networks: nothing comes, and nothing closes it."""
    page.evaluate(QUICK_CLOCK)
    page.evaluate(
        """() => { const Real = window.WebSocket;
        let made = 0;
        window.WebSocket = class extends Real {
          constructor(...how) {
            super(...how);
            window.made = made += 1;
            this.dead = made === 1;
          }
          send(data) { if (!this.dead) super.send(data); }
        }; }"""
    )
    page.get_by_role("button", name="Start the camera").click()
    playwright.expect(page.get_by_role("alert")).to_have_text(re.compile("is busy"))
    one_face(page)
    assert page.evaluate("window.made") == 2
    playwright.expect(page.get_by_role("alert")).to_have_text("")
