"""The page in a real browser, with a camera that films a real face."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import semblante
from conftest import EXAMPLE, SHARED, ffmpeg, needs_ffmpeg, needs_photos

pytest.importorskip("fastapi")
pytest.importorskip("playwright")
import uvicorn
from playwright import sync_api as playwright

from semblante.emotions import EMOTIONS
from semblante.recognise.pipeline import Analyzer
from semblante.server.app import create_app
from semblante.server.settings import Settings

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    port = free_port()
    app = create_app(Settings(), Analyzer())
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eileen Collins before a camera, 640x480, swaying a little."""
    picture = semblante.load_image(EXAMPLE)
    path = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    with path.open("wb") as file:
        for number in range(60):
            shift = round(12 * np.sin(2 * np.pi * number / 60))
            frame = np.full((480, 640, 3), 110, np.uint8)
            frame[:, 64 + shift : 576 + shift] = picture[:480]
            _, encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            file.write(encoded.tobytes())
    return path


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={camera}", "--disable-background-networking",
                "--disable-component-update", "--disable-sync",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(
        viewport={"width": 1200, "height": 900}, locale="en-GB", permissions=["camera"]
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.problems = problems
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(address)
    yield page
    context.close()
    assert problems == []
    assert all(url.startswith((address, "blob:")) for url in requested)


def one_face(page: Any) -> None:
    playwright.expect(page.locator(".face")).to_have_count(1, timeout=20_000)


def until(page: Any, condition: str) -> None:
    """What Playwright has for it the page's own security policy forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def note_changes(page: Any, element: str) -> None:
    """Write what the element says, whenever it is set, to `window.said`."""
    page.evaluate(
        """(id) => { window.said = [];
        const note = ({ addedNodes: [words] }) => window.said.push(words?.textContent ?? '');
        new MutationObserver((changes) => changes.forEach(note))
        .observe(document.getElementById(id), { childList: true }); }""",
        element,
    )


def videos_exposed(page: Any) -> int:
    """Videos that a screen reader finds."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    roles = [node["role"]["value"] for node in tree["nodes"] if not node["ignored"]]
    assert "button" in roles
    return roles.count("Video")


def boxed(page: Any) -> int:
    """Pixels that are drawn over the picture."""
    return page.evaluate(
        """() => { const c = document.getElementById('boxes');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n += 1; return n; }"""
    )


def test_the_camera_live(page: Any, tmp_path: Path) -> None:
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    playwright.expect(page.locator("#summary")).to_have_text(re.compile("^1 face: "))
    assert page.locator("meter").count() == 7
    assert boxed(page) > 500
    answered = playwright.expect(page.locator("body"))
    answered.to_have_attribute("data-rate", re.compile(r"[1-9]"), timeout=20_000)
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
    monkeypatch.setattr("semblante.server.stream._SILENCE_S", 2.0)
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
    page.evaluate("window.hide(true)")
    page.wait_for_timeout(4000)
    page.evaluate("document.getElementById('bars').replaceChildren()")
    page.wait_for_timeout(1000)
    assert page.locator(".face").count() == 0
    page.evaluate("window.hide(false)")
    one_face(page)
    assert "".join(page.evaluate("window.said")) == ""


def test_a_chosen_picture_and_spanish(page: Any) -> None:
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    english = page.locator("#summary").inner_text()
    assert "happy" in english
    assert re.search(r"\d\u00a0%", page.locator("#summary").text_content())
    page.get_by_label("Language").select_option("es")
    assert "alegría" in page.locator("#summary").inner_text()
    assert page.get_by_role("button", name="Encender la cámara").is_visible()
    assert page.locator("html").get_attribute("lang") == "es"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Guardar la imagen").click()
    picture = semblante.load_image(saved.value.path())
    assert picture.shape == (512, 512, 3)
    assert not np.array_equal(picture, semblante.load_image(EXAMPLE))


def labels(page: Any, faces: int) -> tuple[list[list[float]], list[str]]:
    """The places of the labels of so many faces, and all that is written over the picture."""
    playwright.expect(page.locator("#summary")).to_have_text(
        re.compile(f"^{faces} (rostros?|faces?): "), timeout=20_000
    )
    places, words = page.evaluate(
        """() => { const places = [], words = []; const pen = CanvasRenderingContext2D.prototype;
        const { fillRect, fillText } = pen;
        pen.fillRect = function (...box) { if (this.canvas.id === 'boxes') places.push(box); };
        pen.fillText = function (text) { if (this.canvas.id === 'boxes') words.push(text); };
        window.dispatchEvent(new Event('resize')); // it is drawn once more
        Object.assign(pen, { fillRect, fillText });
        return [places, words]; }"""
    )
    for number, (x, y, wide, tall) in enumerate(places):
        for left, top, width, height in places[:number]:
            apart = x >= left + width or left >= x + wide or y >= top + height or top >= y + tall
            assert apart, places
    return places, words


@needs_photos
@pytest.mark.parametrize("width", [360, 320])
def test_no_name_covers_another_on_a_phone(page: Any, width: int) -> None:
    """Six people at a table: their names are wider than their faces."""
    page.set_viewport_size({"width": width, "height": 740})
    page.select_option("#language", "es")
    page.set_input_files("#file", SHARED / "photos" / "2008_002079.jpg")
    _, words = labels(page, 6)
    assert {word[0] for word in words} == set("123456")


def test_where_no_name_has_a_place_there_is_a_number(page: Any, tmp_path: Path) -> None:
    picture = semblante.load_image(EXAMPLE)
    Image.fromarray(np.tile(picture[:300, 60:360], (2, 8, 1))).save(tmp_path / "sixteen.png")
    page.set_viewport_size({"width": 320, "height": 740})
    page.set_input_files("#file", tmp_path / "sixteen.png")
    places, words = labels(page, 16)
    assert 0 < len(places) < 16
    assert {word.split(":")[0] for word in words} == {str(number) for number in range(1, 17)}


def test_a_tiny_picture_is_shown_and_saved_larger(page: Any, tmp_path: Path) -> None:
    """FER2013's own format; in it a label would be wider than the picture."""
    face = Image.open(EXAMPLE).crop((176, 65, 274, 163))
    for width, height in ((48, 48), (48, 60)):
        face.resize((width, height)).save(tmp_path / "tiny.png")
        page.set_input_files("#file", tmp_path / "tiny.png")
        page.locator("#picture:not(.hidden)").wait_for(timeout=20_000)
        [[x, _, wide, tall]], [label] = labels(page, 1)
        assert label.startswith("happy ")
        seen = page.locator("#picture").bounding_box()
        assert seen["width"] >= 256
        assert seen["height"] / seen["width"] == pytest.approx(height / width, abs=0.01)
        assert x >= 0
        assert x + wide <= seen["width"]
        assert tall < 0.1 * seen["height"]
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save the picture").click()
        assert semblante.load_image(saved.value.path()).shape == (256 * height // width, 256, 3)
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save as JSON").click()
        row = json.loads(Path(saved.value.path()).read_text())
        assert (row["width"], row["height"]) == (width, height)


def test_a_file_that_is_no_picture(page: Any, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "x.png")
    page.get_by_role("alert").filter(has_text="It cannot be read").wait_for(timeout=20_000)
    [told] = page.problems  # the browser's own word on the answer
    assert "status of 422" in told
    page.problems.clear()


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
    alert.filter(has_text="The camera is gone.").wait_for()
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


def test_of_several_files_and_of_many_faces_it_says_what_is_left_out(
    page: Any, tmp_path: Path
) -> None:
    picture = semblante.load_image(EXAMPLE)
    Image.fromarray(np.tile(picture[:300, 60:360], (2, 4, 1))).save(tmp_path / "eight.png")
    data = [list((tmp_path / "eight.png").read_bytes()), list(EXAMPLE.read_bytes())]
    page.evaluate(
        """(contents) => { const drop = new DataTransfer();
        contents.forEach((content, n) => drop.items.add(
          new File([new Uint8Array(content)], `${n}.png`, { type: 'image/png' })));
        const event = new DragEvent('drop', { dataTransfer: drop, bubbles: true });
        document.body.dispatchEvent(event); }""",
        data,
    )
    page.get_by_role("alert").filter(has_text="Only the first of these files was taken.").wait_for()
    playwright.expect(page.locator(".face")).to_have_count(6, timeout=20_000)
    playwright.expect(page.locator("#summary")).to_have_text(re.compile("^8 faces: "))
    assert page.locator("#rest").inner_text() == "and 2 more"


def test_another_token_in_the_address(browser: Any) -> None:
    port = free_port()
    process = serving(port, "--token", "abc")
    try:
        page = browser.new_context(locale="en-GB").new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.set_input_files("#file", EXAMPLE)
        page.get_by_role("alert").filter(has_text="token").wait_for(timeout=20_000)
        page.goto(f"http://127.0.0.1:{port}/#token=abc")  # in the same tab: nothing is loaded anew
        playwright.expect(page.get_by_role("alert")).to_have_text("")
        page.set_input_files("#file", EXAMPLE)
        one_face(page)
        page.context.close()
    finally:
        process.kill()
        process.wait()


def test_two_tabs_at_once(page: Any, address: str) -> None:
    other = page.context.new_page()
    other.goto(address)
    for tab in (page, other):
        tab.get_by_role("button", name="Start the camera").click()
    for tab in (page, other):
        tab.bring_to_front()
        one_face(tab)


def serving(port: int, *options: str) -> subprocess.Popen[bytes]:
    """The program itself, in a process that can be killed; returns when it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "semblante", "serve", "--port", str(port), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(300):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError("the server did not start")


def test_the_server_killed_and_started_again(browser: Any) -> None:
    port = free_port()
    process = serving(port)
    try:
        context = browser.new_context(locale="en-GB", permissions=["camera"])
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_role("button", name="Start the camera").click()
        one_face(page)
        process.kill()
        process.wait()
        alert = page.get_by_role("alert")
        alert.filter(has_text="The server does not answer; trying again.").wait_for(timeout=20_000)
        process = serving(port)
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
        alert.filter(has_text="The server does not answer; trying again.").wait_for(timeout=20_000)
        page.get_by_role("button", name="Stop the camera").click()
        playwright.expect(alert).to_have_text("")  # it does not try any more
        context.close()
    finally:
        process.kill()
        process.wait()


def test_a_server_that_hangs(browser: Any) -> None:
    """The connection stays, but what was found is no longer true of what the camera sees."""
    port = free_port()
    process = serving(port)
    try:
        context = browser.new_context(locale="en-GB", permissions=["camera"])
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
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
        context.close()
    finally:
        process.kill()
        process.wait()


def test_on_a_phone_by_keyboard(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    names = []
    for _ in range(4):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id"))
    assert names[:3] == ["language", "camera", "choose"]


def film(path: Path, seconds: int) -> Path:
    """WebM, which Chromium shows: a face on a wall."""
    picture = cv2.cvtColor(semblante.load_image(EXAMPLE), cv2.COLOR_RGB2BGR)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 10, (320, 320))
    assert writer.isOpened()
    for _ in range(10 * seconds):
        writer.write(cv2.resize(picture, (320, 320)))
    writer.release()
    return path


def test_a_film_plays_with_its_boxes(page: Any, tmp_path: Path) -> None:
    page.evaluate(
        """() => { window.asked = 0; const real = HTMLVideoElement.prototype
        .requestVideoFrameCallback; HTMLVideoElement.prototype.requestVideoFrameCallback =
        function (f) { window.asked += 1; return real.call(this, f); }; }"""
    )
    page.set_input_files("#file", film(tmp_path / "film.webm", 6))
    one_face(page)
    assert page.locator("#progress").is_hidden()
    page.wait_for_timeout(1000)
    before = page.evaluate("window.asked")
    page.wait_for_timeout(2000)
    # One request for a frame at a time: 10 frames a second, and what timeupdate asks for.
    assert page.evaluate("window.asked") - before < 60
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    assert len(Path(saved.value.path()).read_text().splitlines()) == 60
    page.set_input_files("#file", EXAMPLE)  # and nothing of the film stays
    page.locator("#picture:not(.hidden)").wait_for(timeout=20_000)
    assert page.locator("#timeline").get_attribute("aria-label") == ""
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    assert len(Path(saved.value.path()).read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("film.ts", "text/vnd.trolltech.linguist"), ("film.mxf", "application/mxf")]
)
def test_a_film_that_the_browser_takes_for_something_else(
    page: Any, tmp_path: Path, name: str, kind: str
) -> None:
    content = film(tmp_path / "film.webm", 1).read_bytes()
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})
    one_face(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    assert len(Path(saved.value.path()).read_text().splitlines()) == 10


def test_a_film_is_not_read_aloud_frame_by_frame(page: Any, tmp_path: Path) -> None:
    rows = [
        {"path": None, "frame": number, "time_s": number / 10, "width": 320, "height": 320,
         "faces": [{"box": [80, 80, 120, 120], "track": 1, "emotion": ["happy", "sad"][number % 2],
                    "probabilities": dict.fromkeys(EMOTIONS, 0.6 + number / 100)}]}
        for number in range(30)
    ]  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    page.route("**/v1/jobs/*/results", lambda route: route.fulfill(body=lines))
    page.evaluate("performance.now = () => 1e6")  # no time goes by, so nothing is to be said anew
    note_changes(page, "summary")
    page.set_input_files("#file", film(tmp_path / "film.webm", 3))
    summary = page.locator("#summary")
    playwright.expect(summary).to_have_text("1 face: sad 89 %", timeout=60_000)  # at its end
    page.dispatch_event("#language", "change")  # and nothing is said twice
    said = [words for words in page.evaluate("window.said") if "face" in words]
    assert said == ["1 face: happy 60\u00a0%", "1 face: sad 89\u00a0%"]


def test_no_video_is_in_the_way_while_none_is_shown(page: Any, tmp_path: Path) -> None:
    assert videos_exposed(page) == 0
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    one_face(page)
    assert videos_exposed(page) == 1
    assert page.locator("#timeline").is_visible()
    assert page.locator("#timeline").get_attribute("aria-hidden") is None
    (tmp_path / "x.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "x.png")
    page.get_by_role("alert").filter(has_text="It cannot be read").wait_for(timeout=20_000)
    page.problems.clear()
    assert videos_exposed(page) == 0
    assert page.locator("#timeline").is_hidden()
    assert page.locator("#timeline").get_attribute("aria-hidden") == "true"
    assert not page.evaluate("document.getElementById('video').controls")
    page.locator("#choose").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") != "video"


def pretend(page: Any, job: dict[str, Any]) -> None:
    """As if a video's job were as `job` says, which may change."""
    always = {"progress": 0, "frames": 0, "error": None}

    def answer(route: Any) -> None:
        if route.request.method == "GET":
            route.fulfill(json={**always, **job})
        else:
            route.continue_()

    page.route("**/v1/jobs/*", answer)


def test_a_video_that_waits_and_one_whose_length_is_not_known(page: Any, tmp_path: Path) -> None:
    job: dict[str, Any] = {"state": "waiting"}
    pretend(page, job)
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    status = page.get_by_role("status")
    status.filter(has_text="Waiting for another video").wait_for(timeout=20_000)
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
    assert page.evaluate("window.said") == ["Working on the video"]
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


def test_a_button_that_goes_takes_no_focus_with_it(page: Any, tmp_path: Path) -> None:
    held: list[Any] = []
    page.route("**/v1/analyze", lambda route: held.append(route))
    page.set_input_files("#file", EXAMPLE)
    page.get_by_role("button", name="Cancel").focus()
    held[0].continue_()
    one_face(page)
    playwright.expect(page.locator("#cancel")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "choose"


def test_a_busy_server_is_asked_more_slowly(page: Any) -> None:
    """And what it found before is not shown as what the camera sees now."""
    face = {
        "track": 1, "box": [200, 20, 160, 160], "detection_score": 1.0, "emotion": "happy",
        "probabilities": dict.fromkeys(semblante.EMOTIONS, 1 / 7),
    }  # fmt: skip
    frames: list[bytes] = []
    busy = True

    def answer(socket: Any) -> None:
        def on_message(frame: bytes) -> None:
            frames.append(frame)
            found = len(frames) == 1 or not busy
            answered = {
                "frame": len(frames) - 1, "dropped": 0, "time_s": len(frames) / 10,
                "width": 640 if found else None, "height": 480 if found else None,
                "faces": [face] if found else [], "error": None if found else "busy",
            }  # fmt: skip
            socket.send(json.dumps(answered))

        socket.on_message(on_message)

    page.route_web_socket("**/v1/stream", answer)
    page.get_by_role("button", name="Start the camera").click()
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_have_text("The server has too much to do; trying again.")
    assert page.locator("meter").count() == 0
    note_changes(page, "error")
    page.wait_for_timeout(1500)
    assert len(frames) <= 6  # as fast as it goes they were hundreds
    assert page.evaluate("window.said") == []  # once is enough
    busy = False
    playwright.expect(alert).to_have_text("")
    one_face(page)


@pytest.mark.parametrize("failure", ["network", "proxy"])
def test_a_network_that_fails_for_a_moment_costs_no_video(
    page: Any, tmp_path: Path, failure: str
) -> None:
    failed: set[str] = set()

    def fail_once(route: Any) -> None:
        if route.request.method == "GET" and route.request.url not in failed:
            failed.add(route.request.url)
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
    held: list[Any] = []
    page.route("**/v1/analyze/video", lambda route: held.append(route))  # as on a slow line
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    page.get_by_role("status").filter(has_text="Sending").wait_for(timeout=20_000)
    assert page.locator("#progress").is_visible()
    assert page.locator("#progress").get_attribute("value") is None
    held[0].continue_()
    one_face(page)
    assert page.locator("#progress").is_hidden()


def test_whoever_turns_to_something_else(page: Any, tmp_path: Path) -> None:
    """What was begun before neither comes back nor leaves a camera on."""
    deleted: list[str] = []
    page.on("request", lambda r: deleted.append(r.url) if r.method == "DELETE" else None)
    page.set_input_files("#file", film(tmp_path / "film.webm", 30))
    page.get_by_role("status").filter(has_text="Working on the video").wait_for(timeout=20_000)
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


def test_what_only_the_server_can_read(page: Any, tmp_path: Path) -> None:
    Image.open(EXAMPLE).save(tmp_path / "face.tiff")
    page.set_input_files("#file", tmp_path / "face.tiff")
    one_face(page)
    page.get_by_role("alert").filter(has_text="This browser cannot show this format").wait_for()
    assert page.get_by_role("button", name="Save as JSON").is_enabled()
    assert page.get_by_role("button", name="Save the picture").is_disabled()


def test_nothing_of_the_last_picture_stays_beside_an_error(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    (tmp_path / "x.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "x.png")
    page.get_by_role("alert").filter(has_text="It cannot be read").wait_for(timeout=20_000)
    page.problems.clear()
    assert page.locator("#hint").is_visible()
    assert page.locator("#picture.hidden").count() == 1
    for name in ("Save as JSON", "Save as CSV", "Save the picture"):
        assert page.get_by_role("button", name=name).is_disabled()


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


def test_a_browser_that_keeps_nothing_for_a_page(browser: Any, address: str) -> None:
    context = browser.new_context(locale="es-ES")
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })"
    )
    page = context.new_page()
    page.goto(address)
    assert page.get_by_role("button", name="Encender la cámara").is_visible()
    page.select_option("#language", "en")
    assert page.get_by_role("button", name="Start the camera").is_visible()
    context.close()


def test_what_is_wrong_is_said_in_the_language_of_the_moment(page: Any, tmp_path: Path) -> None:
    Image.new("L", (8000, 6000)).save(tmp_path / "large.png")
    page.set_input_files("#file", tmp_path / "large.png")
    alert = page.get_by_role("alert")
    alert.filter(has_text="8000x6000 pixels are too many").wait_for(timeout=20_000)
    page.select_option("#language", "es")
    assert alert.inner_text() == "No se puede leer: tiene demasiados píxeles."
    page.problems.clear()


def test_reasons_of_the_server_in_spanish(page: Any, tmp_path: Path) -> None:
    page.select_option("#language", "es")
    (tmp_path / "x.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "x.png")
    alert = page.get_by_role("alert")
    alert.filter(has_text="No se puede leer: no es una imagen").wait_for(timeout=20_000)
    (tmp_path / "x.mp4").write_text("no video")
    page.set_input_files("#file", tmp_path / "x.mp4")
    alert.filter(has_text="No se puede leer: no es una imagen o un video").wait_for(timeout=20_000)
    page.problems.clear()
    page.route("**/v1/jobs/*/results", lambda route: route.fulfill(body=""))
    pretend(page, {"state": "failed", "error": "more than 200000 frames"})
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    alert.filter(has_text="No se puede leer: tiene demasiados fotogramas.").wait_for(timeout=20_000)


def test_a_page_that_is_not_let_in_says_so(browser: Any) -> None:
    port = free_port()
    process = serving(port, "--token", "right")
    try:
        context = browser.new_context(locale="en-GB", permissions=["camera"])
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/#token=wrong")
        page.get_by_role("button", name="Start the camera").click()
        alert = page.get_by_role("alert")
        alert.filter(has_text="expected the token").wait_for(timeout=20_000)
        assert page.get_by_role("button", name="Start the camera").is_visible()
        page.goto("about:blank")
        page.goto(f"http://127.0.0.1:{port}/#token=right")
        page.get_by_role("button", name="Start the camera").click()
        one_face(page)
        context.close()
    finally:
        process.kill()
        process.wait()


def row_of(number: int, *faces: tuple[int, str]) -> dict[str, Any]:
    """A result, a tenth of a second after the last, of faces with these tracks and emotions."""
    found = [
        {"box": [100, 100, 99, 99], "detection_score": 0.9, "emotion": emotion, "track": track,
         "probabilities": {e: float(e == emotion) for e in EMOTIONS}}
        for track, emotion in faces
    ]  # fmt: skip
    return {"path": None, "frame": number, "time_s": number / 10, "width": 320, "height": 320,
            "faces": found, "error": None}  # fmt: skip


def answer_with(page: Any, rows: list[dict[str, Any]]) -> None:
    """As if these were found in the next video."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    page.route("**/v1/jobs/*/results", lambda route: route.fulfill(body=lines))


def test_the_timeline_shows_who_is_seen_longest(page: Any, tmp_path: Path) -> None:
    # One face all the time, then five more in a frame each.
    others = {14 + n: [(2 + n, "sad")] for n in range(5)}
    answer_with(page, [row_of(n, (1, "happy"), *others.get(n, [])) for n in range(20)])
    page.set_input_files("#file", film(tmp_path / "film.webm", 2))
    playwright.expect(page.locator("#timeline")).to_be_visible(timeout=20_000)
    yellow = page.evaluate(
        """() => { const c = document.getElementById('timeline');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
        for (let x = 0; x < c.width; x++) for (let y = 0; y < c.height; y++) {
          const i = 4 * (y * c.width + x);
          if (d[i] > 200 && d[i + 1] > 200 && d[i + 3] === 255) { n += 1; break; } }
        return n / c.width; }"""
    )
    assert yellow > 0.98  # without a gap, and without seams


def test_in_full_screen_the_boxes_stay_on_the_faces(page: Any, tmp_path: Path) -> None:
    """Shown here with room on both sides, which must not widen the boxes."""
    page.set_viewport_size({"width": 900, "height": 400})
    answer_with(page, [row_of(n, (1, "happy")) for n in range(60)])
    large = page.get_by_role("button", name="Full screen")
    assert large.count() == 0
    page.set_input_files("#file", film(tmp_path / "film.webm", 6))
    one_face(page)
    large.click()
    until(page, "document.fullscreenElement?.id === 'stage'")
    page.evaluate("document.getElementById('video').pause()")
    page.wait_for_timeout(500)
    # The box of (100, 100, 99, 99) in 320x320 pixels, of which 400 pixels' height are made.
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    yellow = (np.abs(shot - [0xF0, 0xE4, 0x42]) < 30).all(axis=2)
    left, right, top = (900 - 400) / 2 + 125, (900 - 400) / 2 + 125 + 99 * 1.25, 125
    for column in (left, right):
        assert yellow[top + 10 : top + 110, round(column) - 3 : round(column) + 4].any(axis=1).all()
    assert not yellow[:, : round(left) - 5].any()


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


def test_who_chose_larger_letters_gets_them(page: Any) -> None:
    page.evaluate("document.documentElement.style.fontSize = '32px'")
    assert page.evaluate("getComputedStyle(document.body).fontSize") == "32px"


def test_faces_are_said_by_their_numbers_and_at_once_in_another_language(
    page: Any, tmp_path: Path
) -> None:
    answer_with(page, [row_of(n, (3, "happy"), (5, "sad")) for n in range(60)])
    page.evaluate("performance.now = () => 1e6")  # no time goes by, so nothing is to be said anew
    page.set_input_files("#file", film(tmp_path / "film.webm", 6))
    summary = page.locator("#summary")
    playwright.expect(summary).to_have_text("2 faces: 3: happy 100 %, 5: sad 100 %", timeout=20_000)
    page.select_option("#language", "es")
    playwright.expect(summary).to_have_text("2 rostros: 3: alegría 100 %, 5: tristeza 100 %")
    assert not page.evaluate("document.getElementById('video').paused")


@needs_ffmpeg
def test_a_film_whose_clock_does_not_begin_at_nought(page: Any, tmp_path: Path) -> None:
    film(tmp_path / "film.webm", 3)
    later = tmp_path / "later.webm"
    ffmpeg("-i", tmp_path / "film.webm", "-c", "copy", "-output_ts_offset", "5", later)
    order = ["happy", "angry", "sad"]
    answer_with(page, [row_of(n, (1, order[n // 10])) for n in range(30)])
    page.evaluate(
        """() => { window.shown = []; const look = () => {
        const word = document.querySelector('.bar.first span')?.textContent;
        if (word && word !== window.shown.at(-1)) window.shown.push(word);
        requestAnimationFrame(look); }; look(); }"""
    )
    page.set_input_files("#file", later)
    until(page, "document.getElementById('video').ended")
    page.wait_for_timeout(200)
    assert page.evaluate("window.shown") == order


@needs_ffmpeg
def test_a_film_of_which_the_browser_knows_the_sound_alone(page: Any, tmp_path: Path) -> None:
    film(tmp_path / "film.webm", 2)
    path = tmp_path / "film.mp4"
    tone = ("-f", "lavfi", "-i", "sine=duration=2")
    ffmpeg("-i", tmp_path / "film.webm", *tone, "-c:v", "mpeg4", "-c:a", "libopus", path)
    page.set_input_files("#file", path)
    one_face(page)
    page.get_by_role("alert").filter(has_text="This browser cannot show this format").wait_for()
    assert page.locator("#picture").is_visible()
    assert page.locator("#video").is_hidden()


def test_the_server_is_not_taken_for_the_file(page: Any) -> None:
    busy = {"status": 503, "json": {"error": "too many requests at once"}}
    page.route("**/v1/analyze", lambda route: route.fulfill(**busy))
    page.set_input_files("#file", EXAMPLE)
    alert = page.get_by_role("alert")
    alert.filter(has_text="It was not analysed: too many requests at once").wait_for()
    page.select_option("#language", "es")
    assert alert.inner_text().startswith("No se analizó: el servidor tiene demasiado trabajo")
    page.problems.clear()


def test_a_file_is_called_what_it_is_called(page: Any) -> None:
    name = 'la "boda" 100%.png'
    page.set_input_files(
        "#file", {"name": name, "mimeType": "image/png", "buffer": EXAMPLE.read_bytes()}
    )
    one_face(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    assert json.loads(Path(saved.value.path()).read_text())["path"] == name


def test_what_speaks_for_an_estimate(page: Any) -> None:
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    why = page.get_by_role("button", name="What speaks for it?")
    assert why.count() == 0  # what moves is gone before it is explained
    page.set_input_files("#file", EXAMPLE)
    why.focus()
    page.keyboard.press("Enter")
    face = page.get_by_role("img", name="Orange speaks for happy, blue against it.")
    face.wait_for(timeout=20_000)
    said = page.locator(".why li").all_inner_texts()
    assert said[0] == "Orange speaks for happy, blue against it."
    assert [words.split(":")[0] for words in said[1:]] == [
        "Eyes hidden", "Nose hidden", "Mouth hidden",
    ]  # fmt: skip
    warmth = page.evaluate(
        """() => { const c = document.querySelector('.why canvas');
        const mean = (y, tall) => { let sum = 0;
          const d = c.getContext('2d').getImageData(0, y, c.width, tall).data;
          for (let i = 0; i < d.length; i += 4) sum += d[i] - d[i + 2];
          return sum / (d.length / 4); };
        return [mean(0, 60), mean(135, 30)]; }"""
    )
    assert warmth[1] > 1 > 0 > warmth[0]  # of a smile the mouth speaks
    page.select_option("#language", "es")
    assert page.locator(".why li").first.inner_text().startswith("Lo naranja habla a favor de aleg")
    page.select_option("#language", "en")
    hide = page.get_by_role("button", name="Hide")
    assert hide.get_attribute("aria-expanded") == "true"
    hide.click()
    assert face.count() == 0
    page.route("**/v1/explain?face=1", lambda route: route.fulfill(status=503, json={"error": "x"}))
    why.click()
    page.get_by_role("alert").filter(has_text="It was not analysed: x").wait_for()
    page.problems.clear()
    assert why.get_attribute("aria-disabled") is None
    assert page.evaluate("document.activeElement.textContent") == "What speaks for it?"
    page.unroute("**/v1/explain?face=1")
    page.keyboard.press("Enter")
    face.wait_for(timeout=20_000)
    assert page.get_by_role("alert").inner_text() == ""
