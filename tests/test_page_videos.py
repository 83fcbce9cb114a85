"""The page in a real browser: videos that have been worked on, as they play."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import (
    film,
    needs_browser,
    note_changes,
    one_face,
    pretend_results,
    until,
)
from conftest import EXAMPLE, ffmpeg, needs_ffmpeg
from program import semblante as program
from semblante.emotions import EMOTIONS

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = needs_browser


def exposed(page: Any) -> tuple[int, int]:
    """The numbers of videos and of timelines that a screen reader finds."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    roles = [node["role"]["value"] for node in tree["nodes"] if not node["ignored"]]
    assert "button" in roles
    names = [node["name"]["value"] for node in tree["nodes"] if "name" in node]
    return roles.count("Video"), sum(name.startswith("Over time: ") for name in names)


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
    assert page.locator("#timeline").is_hidden()
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
    pretend_results(page, lines)
    page.evaluate("performance.now = () => 1e6")  # no time goes by, so nothing is to be said anew
    note_changes(page, "summary")
    page.set_input_files("#file", film(tmp_path / "film.webm", 3))
    summary = page.locator("#summary")
    playwright.expect(summary).to_have_text("1 face: sad 89%", timeout=60_000)  # at its end
    page.dispatch_event("#language", "change")  # and nothing is said twice
    said = [words for words in page.evaluate("window.said") if "face" in words]
    assert said == ["1 face: happy 60%", "1 face: sad 89%"]


def test_only_what_lasts_is_read_aloud_and_not_too_often(page: Any) -> None:
    said = page.evaluate(
        """async () => {
        const { tellChanges } = await import('./spoken.js');
        const show = (time, ...emotions) => {
          performance.now = () => time;
          tellChanges(emotions.map((emotion, n) => ({ track: n + 1, emotion })));
          return document.getElementById('aloud').textContent;
        };
        return [
          show(0, 'happy', 'sad'), show(1900, 'happy', 'sad'), show(2000, 'happy', 'sad'),
          show(2500, 'fear', 'sad'), show(3000, 'happy', 'sad'), show(8000, 'happy', 'sad'),
          show(8500, 'fear', 'sad'), show(10500, 'fear', 'sad'),
          show(10600, 'fear', 'happy'), show(15400, 'fear', 'happy'), show(15500, 'fear', 'happy'),
          show(18000), show(20500), show(21000, 'neutral'), show(26000, 'neutral'),
        ]; }"""
    )
    both, one, other = "1: happy, 2: sad", "1: fear", "2: happy"
    assert said == [
        "", "", both,  # once it has lasted two seconds
        both, both, both,  # what passes is not told
        both, one, one, one, other,  # what changed, and after five seconds of silence
        other, "No face found.", "No face found.", "neutral",
    ]  # fmt: skip


def test_who_wants_no_motion_starts_a_film_by_hand(page: Any, tmp_path: Path) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    one_face(page)
    page.wait_for_timeout(500)
    assert page.evaluate("document.getElementById('video').paused")
    assert page.evaluate("document.getElementById('video').currentTime") == 0
    # As large as the film is by now, and not as the element was before it came.
    video, boxes = (page.locator(f"#{name}").bounding_box() for name in ("video", "boxes"))
    assert boxes["width"] == pytest.approx(video["width"], abs=1)
    drawn = page.evaluate("document.getElementById('boxes').width")
    assert drawn == pytest.approx(video["width"], abs=1)
    page.evaluate("document.getElementById('video').play()")
    until(page, "document.getElementById('video').ended")


def test_a_browser_that_loads_no_frame_before_a_video_plays(page: Any, tmp_path: Path) -> None:
    """As on an iPhone: it is made to by a seek, and until then there is no picture to be saved."""
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(
        """() => { const video = document.getElementById('video');
        const { get } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'readyState');
        const state = () => Math.min(video.currentTime ? 4 : 1, get.call(video));
        Object.defineProperty(video, 'readyState', { get: state });
        const swallow = (event) => event.stopImmediatePropagation();
        video.addEventListener('loadeddata', swallow, { once: true }); }"""
    )
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    one_face(page)
    save = page.get_by_role("button", name="Save the picture")
    assert save.is_disabled()
    until(page, "document.getElementById('video').currentTime === 0.001")
    one_face(page)
    page.dispatch_event("#video", "loadeddata")
    assert save.is_enabled()


def test_no_video_is_in_the_way_while_none_is_shown(page: Any, tmp_path: Path) -> None:
    assert exposed(page) == (0, 0)
    page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    one_face(page)
    assert exposed(page) == (1, 1)
    assert page.locator("#timeline").is_visible()
    (tmp_path / "x.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "x.png")
    page.get_by_role("alert").filter(has_text="It cannot be read").wait_for(timeout=20_000)
    page.problems.clear()
    assert exposed(page) == (0, 0)
    assert page.locator("#timeline").is_hidden()
    assert not page.evaluate("document.getElementById('video').controls")
    page.locator("#choose").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") != "video"


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
    pretend_results(page, lines)


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
    said = [f"Face {n}: {'sad' if n > 1 else 'happy'} 100%" for n in range(1, 7)]
    playwright.expect(page.locator("#tracks li")).to_have_text(said)
    page.set_input_files("#file", EXAMPLE)
    playwright.expect(page.locator("#tracks li")).to_have_count(0)


def test_a_click_on_the_timeline_shows_that_moment(page: Any, tmp_path: Path) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.set_input_files("#file", film(tmp_path / "film.webm", 6))
    one_face(page)
    timeline, line = page.locator("#timeline"), page.locator("#moment")
    place = timeline.bounding_box()
    timeline.click(position={"x": 0.5 * place["width"], "y": 20})
    until(page, "!document.getElementById('video').seeking")
    now = page.evaluate("document.getElementById('video').currentTime")
    assert now == pytest.approx(2.95, abs=0.1)  # of 5.9 seconds from the first frame to the last
    until(page, "!document.getElementById('moment').classList.contains('hidden')")
    middle = place["x"] + 0.5 * place["width"]
    assert line.bounding_box()["x"] == pytest.approx(middle, abs=0.02 * place["width"])
    page.set_viewport_size({"width": 900, "height": 900})  # the timeline is drawn anew
    page.wait_for_timeout(200)
    place = timeline.bounding_box()
    middle = place["x"] + 0.5 * place["width"]
    assert line.bounding_box()["x"] == pytest.approx(middle, abs=0.02 * place["width"])
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    timeline.click(position={"x": 0.5 * place["width"], "y": 20})
    assert "hidden" in line.get_attribute("class")


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
    # And what is wrong is seen there.
    page.evaluate(
        """import(new URL('messages.js', document.baseURI))
        .then(({ complain }) => complain(() => 'Something is wrong.'))"""
    )
    assert page.evaluate(
        "document.getElementById('stage').contains(document.getElementById('error'))"
    )
    assert page.get_by_role("alert").filter(has_text="Something is wrong.").is_visible()
    page.evaluate("document.exitFullscreen()")
    until(page, "document.activeElement?.id === 'large'")
    assert page.evaluate("document.getElementById('error').parentElement.className") == "view"


def test_faces_are_said_by_their_numbers_and_at_once_in_another_language(
    page: Any, tmp_path: Path
) -> None:
    answer_with(page, [row_of(n, (3, "happy"), (5, "sad")) for n in range(60)])
    page.evaluate("performance.now = () => 1e6")  # no time goes by, so nothing is to be said anew
    page.set_input_files("#file", film(tmp_path / "film.webm", 6))
    summary = page.locator("#summary")
    playwright.expect(summary).to_have_text("2 faces: 3: happy 99%, 5: sad 99%", timeout=20_000)
    page.select_option("#language", "es")
    playwright.expect(summary).to_have_text("2 rostros: 3: alegría 99 %, 5: tristeza 99 %")
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
    alert = page.get_by_role("alert").filter(has_text="This browser cannot play this format")
    alert.wait_for()
    assert page.locator("#picture").is_visible()
    assert page.locator("#video").is_hidden()


@needs_ffmpeg
def test_an_annotated_copy_plays_in_a_browser(page: Any, tmp_path: Path) -> None:
    """With the sound of its film."""
    with_sound = tmp_path / "film.webm"
    film(tmp_path / "silent.webm", 2)
    tone = ("-f", "lavfi", "-i", "sine=duration=2")
    ffmpeg("-i", tmp_path / "silent.webm", *tone, "-c:v", "copy", "-c:a", "libopus", with_sound)
    done = program("analyze", with_sound, "--annotate", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    page.set_input_files("#file", tmp_path / "marked" / "film.mp4")
    one_face(page)
    until(page, "document.getElementById('video').ended")
    playing = (
        "(({ videoWidth, duration }) => [videoWidth, duration])(document.getElementById('video'))"
    )
    width, seconds = page.evaluate(playing)
    assert (width, seconds) == (320, pytest.approx(2, abs=0.1))
    assert page.evaluate("document.getElementById('video').webkitAudioDecodedByteCount") > 0
    assert page.get_by_role("alert").inner_text() == ""
