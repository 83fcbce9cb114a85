"""The page in a real browser, with pictures."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import semblante
from browser import (
    boxed,
    film,
    needs_browser,
    note_changes,
    one_face,
)
from conftest import EXAMPLE, SHARED, needs_photos

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = needs_browser


def test_a_chosen_picture_and_spanish(page: Any) -> None:
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    english = page.locator("#summary").inner_text()
    assert "happy" in english
    assert re.search(r"\d%", page.locator("#summary").text_content())
    page.get_by_label("Language").select_option("es")
    assert "alegría" in page.locator("#summary").inner_text()
    assert re.search(r"\d\u00a0%", page.locator("#summary").text_content())
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


@pytest.mark.parametrize(
    ("boxes", "places"),
    [
        ([[20, 30, 50, 40]], [[20, 10]]),  # above the face
        ([[70, 10, 30, 40]], [[40, 50]]),  # below it, and not beyond the picture's edge
        ([[0, 0, 100, 100]], [[0, 80]]),  # in it: the one face may fill the picture
        ([[0, 20, 40, 30], [20, 25, 40, 30]], [[0, 0], [20, 55]]),  # the second not on the first
        ([[0, 0, 100, 50], [0, 50, 100, 50]], [None, None]),  # on no other face
    ],
)
def test_labels_cover_neither_each_other_nor_a_face(
    page: Any, boxes: list[list[int]], places: list[list[int] | None]
) -> None:
    """In a picture of 100x100 pixels, with labels of 60x20."""
    placed = page.evaluate(
        """(boxes) => import(new URL('painting.js', document.baseURI)).then(({ placeLabels }) =>
        placeLabels(boxes, boxes.map(() => [60, 20]), { width: 100, height: 100 }))""",
        boxes,
    )
    assert placed == places


@needs_photos
@pytest.mark.parametrize("width", [360, 320])
def test_no_name_covers_another_on_a_phone(page: Any, width: int) -> None:
    """Five people of six at a table: their names are wider than their faces."""
    page.set_viewport_size({"width": width, "height": 740})
    page.select_option("#language", "es")
    page.set_input_files("#file", SHARED / "photos" / "2008_002079.jpg")
    _, words = labels(page, 5)
    assert {word[0] for word in words} == set("12345")


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


def test_on_a_fine_screen_boxes_are_fine_and_on_a_white_wall_they_are_seen(
    opened: Callable[..., Any], address: str, tmp_path: Path
) -> None:
    picture = np.full((600, 1200, 3), 255, np.uint8)
    picture[50:562, 400:912] = np.asarray(Image.open(EXAMPLE))
    Image.fromarray(picture).save(tmp_path / "wall.png")
    page = opened(address, viewport={"width": 700, "height": 800}, device_scale_factor=2)
    page.set_input_files("#file", tmp_path / "wall.png")
    one_face(page)
    seen = page.locator("#boxes").bounding_box()
    sides = page.evaluate("[document.getElementById('boxes')].map((c) => [c.width, c.height])[0]")
    assert sides == pytest.approx([2 * seen["width"], 2 * seen["height"]], abs=2)
    assert sides[0] > 1200  # pixels, of a picture that is shown smaller than it is
    shown = "import(new URL('state.js', document.baseURI)).then(({ state }) => state.shown)"
    left, top, wide, tall = page.evaluate(shown)["faces"][0]["box"]
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    scale = 2 * seen["width"] / 1200
    row = shot[round(2 * seen["y"] + scale * (top + tall / 2))]
    edge = round(2 * seen["x"] + scale * (left + wide))
    across = row[edge - 10 : edge + 10]
    yellow = (np.abs(across - [0xF0, 0xE4, 0x42]) < 30).all(axis=1)
    dark = (across < 60).all(axis=1)
    assert 5 <= yellow.sum() <= 7  # three pixels of the page
    first, last = np.flatnonzero(yellow)[[0, -1]]
    assert dark[first - 2 : first].any()
    assert dark[last + 1 : last + 3].any()


def test_beside_an_error_nothing_of_the_last_picture_stays(page: Any, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    alert = page.get_by_role("alert").filter(has_text="It cannot be read: not a picture in a")
    for _ in range(2):
        page.set_input_files("#file", tmp_path / "x.png")
        alert.wait_for(timeout=20_000)
        assert page.locator("#nobody").is_hidden()  # or one would wait for a face
        assert page.locator("#hint").is_visible()
        assert page.locator("#picture.hidden").count() == 1
        for name in ("Save as JSON", "Save as CSV", "Save the picture"):
            assert page.get_by_role("button", name=name).is_disabled()
        [told] = page.problems  # the browser's own word on the answer
        assert "status of 422" in told
        page.problems.clear()
        page.set_input_files("#file", EXAMPLE)
        one_face(page)
        assert alert.count() == 0


def test_a_server_that_is_away_for_a_moment_costs_no_picture(page: Any) -> None:
    failed: list[str] = []

    def fail_once(route: Any) -> None:
        if failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            route.abort()

    page.route("**/v1/analyze", fail_once)
    note_changes(page, "error")
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    again = "The server does not answer; trying again."
    assert [words for words in page.evaluate("window.said") if words] == [again]
    assert page.get_by_role("alert").inner_text() == ""
    page.problems.clear()  # the browser's own word


def test_of_a_picture_there_is_nothing_over_time(page: Any, tmp_path: Path) -> None:
    title = page.locator("#time-title")
    assert title.inner_text() == "Over time"
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    assert title.inner_text() == "Save"
    page.get_by_label("Language").select_option("es")
    assert title.inner_text() == "Guardar"
    page.select_option("#language", "en")
    page.set_input_files("#file", film(tmp_path / "film.webm", 2))
    page.locator("#timeline:not(.hidden)").wait_for(timeout=20_000)
    playwright.expect(title).to_have_text("Over time")
    playwright.expect(page.locator("#span")).to_have_text(re.compile("0 s *[12] s"))


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
def test_a_long_name_stays_within_the_page(
    page: Any, tmp_path: Path, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    paths = [tmp_path / f"{'long_' * 40}{number}.jpg" for number in range(2)]
    for path in paths:
        path.write_bytes(EXAMPLE.read_bytes())
    page.set_input_files("#file", paths)
    playwright.expect(page.locator("#summary")).to_contain_text("1 face", timeout=20_000)
    wide = "[document.documentElement.scrollWidth, document.getElementById('summary').scrollWidth]"
    whole, summary = page.evaluate(wide)
    assert whole <= size[0]
    assert summary <= page.evaluate("document.getElementById('summary').clientWidth")


def test_a_picture_that_is_pasted(page: Any) -> None:
    page.evaluate(
        """(picture) => { const pasted = new DataTransfer();
        pasted.items.add(new File([new Uint8Array(picture)], 'a.jpg', { type: 'image/jpeg' }));
        const event = new ClipboardEvent('paste', { clipboardData: pasted, bubbles: true });
        document.body.dispatchEvent(event); }""",
        list(EXAMPLE.read_bytes()),
    )
    one_face(page)


def test_a_new_picture_leaves_the_keyboard_a_place(page: Any) -> None:
    """The buttons for saving, one of which was pressed last, are disabled for a moment."""
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    for name in ("Save as JSON", "Save the picture"):
        page.get_by_role("button", name=name).focus()
        page.set_input_files("#file", EXAMPLE)
        assert page.evaluate("document.activeElement.id") == "choose"
        one_face(page)


def test_every_list_is_a_list_for_safari_too(page: Any) -> None:
    """With VoiceOver, a list without bullets is one only if it says so."""
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    assert page.locator("ul").count() == 5
    assert page.locator("ul:not([role=list])").count() == 0


def test_of_several_files_and_of_many_faces_it_says_what_is_left_out(
    page: Any, tmp_path: Path
) -> None:
    picture = semblante.load_image(EXAMPLE)
    Image.fromarray(np.tile(picture[:300, 60:360], (2, 4, 1))).save(tmp_path / "eight.png")
    film(tmp_path / "film.webm", 1)
    data = [list((tmp_path / name).read_bytes()) for name in ("eight.png", "film.webm")]
    page.evaluate(
        """([picture, film]) => { const drop = new DataTransfer();
        drop.items.add(new File([new Uint8Array(picture)], 'eight.png', { type: 'image/png' }));
        drop.items.add(new File([new Uint8Array(film)], 'film.webm', { type: 'video/webm' }));
        const event = new DragEvent('drop', { dataTransfer: drop, bubbles: true });
        document.body.dispatchEvent(event); }""",
        data,
    )
    page.get_by_role("alert").filter(
        has_text="one at a time, and not together with pictures; left out: 1."
    ).wait_for()
    playwright.expect(page.locator(".face")).to_have_count(6, timeout=20_000)
    playwright.expect(page.locator("#summary")).to_have_text(re.compile("^8 faces: "))
    rest = page.get_by_role("button", name="Show 2 more")
    rest.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".face")).to_have_count(8)
    assert rest.is_hidden()
    assert page.evaluate("document.activeElement.id") == "face-6"


def test_what_only_the_server_can_read(page: Any, tmp_path: Path) -> None:
    Image.open(EXAMPLE).save(tmp_path / "face.tiff")
    page.set_input_files("#file", tmp_path / "face.tiff")
    one_face(page)
    page.get_by_role("alert").filter(has_text="This browser cannot show this format").wait_for()
    assert page.get_by_role("button", name="Save as JSON").is_enabled()
    assert page.get_by_role("button", name="Save the picture").is_disabled()


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_webp_is_turned_as_the_server_turns_it(page: Any, tmp_path: Path, order: str) -> None:
    portrait = Image.open(EXAMPLE).crop((86, 0, 427, 512))
    # By which it comes to lie as a camera writes it down.
    laid = [
        Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90,
        Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270,
    ]  # fmt: skip
    for orientation, turn in enumerate(laid, 2):
        exif = Image.Exif()
        exif.endian = {"little": "<", "big": ">"}[order]
        exif[0x010F] = "A camera"  # its maker, before the orientation
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.webp"
        portrait.transpose(turn).save(path, exif=exif)
        page.set_input_files("#file", path)
        page.locator("#picture:not(.hidden)").wait_for(timeout=20_000)
        shown = page.evaluate("document.getElementById('picture').toDataURL()")
        picture = Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))).convert("RGB")
        assert picture.size == portrait.size
        assert np.abs(np.subtract(picture, portrait, dtype=float)).mean() < 5, orientation
        page.evaluate("document.getElementById('cancel').click()")
    assert page.get_by_role("alert").inner_text() == ""


def test_a_picture_that_the_browser_does_not_turn_is_not_shown_lying(
    page: Any, tmp_path: Path
) -> None:
    """Its faces, as the server found them, would be beside them."""
    about = b'<rdf:Description tiff:Orientation="6" />'  # XMP, which the server reads as well
    Image.open(EXAMPLE).crop((0, 86, 512, 427)).save(tmp_path / "lying.jpg", xmp=about)
    page.set_input_files("#file", tmp_path / "lying.jpg")
    page.get_by_role("alert").filter(has_text="This browser cannot show this format").wait_for()
    assert page.get_by_role("button", name="Save the picture").is_disabled()


def test_what_is_wrong_is_said_in_the_language_of_the_moment(page: Any, tmp_path: Path) -> None:
    Image.new("L", (8000, 6000)).save(tmp_path / "large.png")
    page.set_input_files("#file", tmp_path / "large.png")
    alert = page.get_by_role("alert")
    alert.filter(has_text="8000x6000 pixels are too many").wait_for(timeout=20_000)
    page.select_option("#language", "es")
    assert alert.inner_text() == "No se puede leer: tiene demasiados píxeles."
    page.problems.clear()


def test_the_server_is_not_taken_for_the_file(page: Any) -> None:
    failed = {"status": 500, "json": {"error": "something went wrong"}}
    page.route("**/v1/analyze", lambda route: route.fulfill(**failed))
    page.set_input_files("#file", EXAMPLE)
    alert = page.get_by_role("alert")
    alert.filter(has_text="It was not analysed: something went wrong").wait_for()
    page.select_option("#language", "es")
    assert alert.inner_text().startswith("No se analizó: algo falló en el servidor.")
    page.problems.clear()


def test_the_page_of_a_proxy_is_no_answer_in_either_language(page: Any) -> None:
    signing_in = {"content_type": "text/html", "body": "<!DOCTYPE html><p>Please sign in."}
    page.route("**/v1/analyze", lambda route: route.fulfill(**signing_in))
    page.set_input_files("#file", EXAMPLE)
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_have_text("semblante does not answer at this address.")
    page.select_option("#language", "es")
    assert alert.inner_text() == "En esta dirección no responde semblante."


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
    why = page.get_by_role("button", name="What is it based on?")
    assert why.count() == 0  # what moves is gone before it is explained
    page.set_input_files("#file", EXAMPLE)
    why.focus()
    page.keyboard.press("Enter")
    face = page.get_by_role("img", name="Orange speaks for happy, blue against it.")
    face.wait_for(timeout=20_000)
    said = page.locator(".evidence li").all_inner_texts()
    assert said[0] == "Orange speaks for happy, blue against it."
    assert [words.split(":")[0] for words in said[1:]] == [
        "Eyes hidden", "Nose hidden", "Mouth hidden",
    ]  # fmt: skip
    warmth = page.evaluate(
        """() => { const c = document.querySelector('.evidence canvas');
        const mean = (y, tall) => { let sum = 0;
          const d = c.getContext('2d').getImageData(0, y, c.width, tall).data;
          for (let i = 0; i < d.length; i += 4) sum += d[i] - d[i + 2];
          return sum / (d.length / 4); };
        return [mean(0, 60), mean(135, 30)]; }"""
    )
    assert warmth[1] > 1 > 0 > warmth[0]  # of a smile the mouth speaks
    page.select_option("#language", "es")
    first = page.locator(".evidence li").first.inner_text()
    assert first.startswith("Lo naranja apoya la respuesta «aleg")
    page.select_option("#language", "en")
    hide = page.get_by_role("button", name="Hide")
    assert hide.get_attribute("aria-expanded") is None  # its words say it
    hide.click()
    assert face.count() == 0
    page.route("**/v1/explain?face=1", lambda route: route.fulfill(status=503, json={"error": "x"}))
    why.click()
    page.get_by_role("alert").filter(has_text="It was not analysed: x").wait_for()
    page.problems.clear()
    assert why.get_attribute("aria-disabled") is None
    assert page.evaluate("document.activeElement.textContent") == "What is it based on?"
    page.unroute("**/v1/explain?face=1")
    page.keyboard.press("Enter")
    face.wait_for(timeout=20_000)
    assert page.get_by_role("alert").inner_text() == ""


def test_whoever_hears_the_page_is_told_whose_evidence_comes(page: Any, tmp_path: Path) -> None:
    picture = semblante.load_image(EXAMPLE)
    Image.fromarray(np.tile(picture[:300, 60:360], (1, 2, 1))).save(tmp_path / "two.png")
    page.set_input_files("#file", tmp_path / "two.png")
    playwright.expect(page.locator(".face")).to_have_count(2, timeout=20_000)
    why = page.get_by_role("button", name="What is it based on? Face 2", exact=True)
    note_changes(page, "aloud")
    why.click()
    hide = page.get_by_role("button", name="Hide Face 2", exact=True)
    hide.click(timeout=20_000)
    page.route("**/v1/explain?face=2", lambda route: route.fulfill(status=503, json={"error": "x"}))
    why.click()
    page.get_by_role("alert").filter(has_text="It was not analysed: x").wait_for()
    page.problems.clear()
    looking = "Face 2: looking for what it is based on"
    shown = "Face 2: what it is based on is shown"
    playwright.expect(page.locator("#aloud")).to_have_text("")
    assert page.evaluate("window.said") == [looking, shown, "", looking, ""]
    assert page.locator("#aloud").get_attribute("aria-live") == "polite"
    assert page.locator("#aloud").evaluate("(p) => getComputedStyle(p).display") == "block"


def saved_as(page: Any, button: str) -> str:
    with page.expect_download() as saved:
        page.get_by_role("button", name=button).click()
    return Path(saved.value.path()).read_text()


def test_several_pictures(page: Any, tmp_path: Path) -> None:
    """One after the other, each to be looked at again, and one table of all."""
    picture = semblante.load_image(EXAMPLE)
    Image.fromarray(np.hstack([picture, picture])).save(tmp_path / "=two.png")
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "nobody.png")
    (tmp_path / "notes.png").write_text("no picture")
    film(tmp_path / "film.webm", 1)
    names = ["=two.png", "nobody.png", "notes.png", "film.webm"]
    page.set_input_files("#file", [EXAMPLE, *(tmp_path / name for name in names)])
    entries = page.locator("#album button")
    playwright.expect(entries).to_have_count(4, timeout=20_000)
    playwright.expect(page.locator("#under-way")).to_be_hidden()
    said = [entries.nth(n).inner_text().split("\n") for n in range(4)]
    assert said == [
        ["eileen-collins.jpg", "happy"], ["=two.png", "2 faces"], ["nobody.png", "No face found."],
        ["notes.png", "not read"],
    ]  # fmt: skip
    one_face(page)  # the first one is shown
    assert entries.nth(0).get_attribute("aria-current") == "true"
    left = "Videos are analysed one at a time, and not together with pictures; left out: 1."
    assert page.locator("#error").inner_text() == left

    entries.nth(1).click()
    playwright.expect(page.locator("#summary")).to_contain_text("=two.png: 2 faces: 1: happy")
    assert page.evaluate("document.getElementById('picture').width") == 1024
    assert entries.nth(0).get_attribute("aria-current") is None
    page.locator("#evidence-1").click()  # of the picture that is shown
    playwright.expect(page.locator(".evidence.open")).to_have_count(1, timeout=20_000)
    entries.nth(3).click()
    playwright.expect(page.locator("#error")).to_contain_text(f"{left} It cannot be read: ")
    assert page.locator("#picture").is_hidden()
    assert page.get_by_role("button", name="Save the picture").is_disabled()
    entries.nth(1).click()
    playwright.expect(page.locator(".evidence.open")).to_have_count(1)  # still
    assert page.locator("#error").inner_text() == left

    lines = [json.loads(line) for line in saved_as(page, "Save as JSON").splitlines()]
    assert [line["path"] for line in lines] == [EXAMPLE.name, *names[:3]]
    assert [len(line["faces"]) for line in lines] == [1, 2, 0, 0]
    assert [line["error"] is None for line in lines] == [True, True, True, False]
    table = list(csv.DictReader(saved_as(page, "Save as CSV").splitlines()))
    assert [row["path"] for row in table] == [EXAMPLE.name, *["./=two.png"] * 2, *names[1:3]]
    page.select_option("#language", "es")
    assert entries.nth(0).inner_text().endswith("alegría")
    assert entries.nth(3).inner_text().endswith("no se pudo leer")

    page.set_input_files("#file", EXAMPLE)  # and nothing of them stays
    one_face(page)
    assert page.locator("#album").is_hidden()
    assert len(saved_as(page, "Guardar como JSON").splitlines()) == 1
    assert [problem.count("422") for problem in page.problems] == [1]  # of notes.png
    page.problems.clear()


def test_what_was_done_of_several_pictures_stays_when_it_is_cancelled(
    page: Any, tmp_path: Path
) -> None:
    for number in range(60):
        Image.open(EXAMPLE).resize((900 + number, 900)).save(tmp_path / f"{number:02}.jpg")
    page.set_input_files("#file", sorted(tmp_path.iterdir()))
    one_face(page)
    page.get_by_role("button", name="Cancel").click()
    playwright.expect(page.locator("#under-way")).to_be_hidden()
    playwright.expect(page.locator("#aloud")).to_have_text("Cancelled.")
    done = page.locator("#album button").count()
    assert 0 < done < 60
    assert len(saved_as(page, "Save as JSON").splitlines()) == done


def test_what_is_wrong_with_one_of_several_pictures_is_said_of_that_one(
    page: Any, tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    Image.open(EXAMPLE).save(tmp_path / "face.tiff")
    Image.new("RGB", (2000, 50)).save(tmp_path / "wide.png")
    files = [tmp_path / "notes.png", EXAMPLE, tmp_path / "face.tiff", tmp_path / "wide.png"]
    page.set_input_files("#file", files)
    entries, error = page.locator("#album button"), page.get_by_role("alert")
    playwright.expect(entries).to_have_count(4, timeout=20_000)
    save = page.get_by_role("button", name="Save the picture")
    for entry, said in ((0, "It cannot be read: "), (1, ""), (2, "This browser cannot"), (1, "")):
        entries.nth(entry).click()
        playwright.expect(entries.nth(entry)).to_have_attribute("aria-current", "true")
        assert error.inner_text().startswith(said)
        assert bool(error.inner_text()) == bool(said)
        assert save.is_disabled() == bool(said)
    assert page.evaluate(
        "[...document.querySelectorAll('#album canvas')].map((c) => [c.width, c.height])[3]"
    ) == [216, 5]
    page.problems.clear()


@pytest.mark.parametrize("busy", [429, 503])
def test_a_server_that_fails_for_some_of_several_pictures(
    page: Any, tmp_path: Path, busy: int
) -> None:
    statuses = iter([busy, busy, None, 413, 500, None])

    def answer(route: Any) -> None:
        status = next(statuses)
        if status is None:
            route.continue_()
        else:
            route.fulfill(status=status, json={"error": "more than it takes"})

    page.route("**/v1/analyze", answer)
    page.select_option("#language", "es")
    for name in "abcd":
        (tmp_path / f"{name}.jpg").write_bytes(EXAMPLE.read_bytes())
    page.set_input_files("#file", sorted(tmp_path.iterdir()))
    page.get_by_role("alert").filter(has_text="tiene demasiado trabajo").wait_for()
    entries = page.locator("#album button")
    playwright.expect(entries).to_have_count(4, timeout=20_000)
    assert [entries.nth(n).inner_text().split("\n")[1] for n in range(4)] == [
        "alegría", "no se pudo leer", "no se pudo leer", "alegría"
    ]  # fmt: skip
    assert page.get_by_role("alert").inner_text() == ""
    entries.nth(1).click()
    assert page.get_by_role("alert").inner_text() == "No se puede leer: es demasiado grande."
    playwright.expect(page.locator("#aloud")).to_have_text("")
    page.problems.clear()


def test_a_server_that_is_busy_now_and_then(page: Any, tmp_path: Path) -> None:
    """It would be said, and taken back, at every picture."""
    statuses = iter([503, None, 429, None])

    def answer(route: Any) -> None:
        status = next(statuses)
        if status is None:
            route.continue_()
        else:
            route.fulfill(status=status, json={"error": "too much to do"})

    page.route("**/v1/analyze", answer)
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(EXAMPLE.read_bytes())
    note_changes(page, "error")
    page.set_input_files("#file", sorted(tmp_path.iterdir()))
    playwright.expect(page.locator("#album button")).to_have_count(2, timeout=20_000)
    assert not any(page.evaluate("window.said"))
    page.problems.clear()


def test_several_pictures_can_be_cancelled_while_the_server_is_away(
    page: Any, tmp_path: Path
) -> None:
    count = iter(range(1000))
    page.route("**/v1/analyze", lambda r: r.continue_() if next(count) < 2 else r.abort())
    for name in "abcd":
        (tmp_path / f"{name}.jpg").write_bytes(EXAMPLE.read_bytes())
    page.set_input_files("#file", sorted(tmp_path.iterdir()))
    page.get_by_role("alert").filter(has_text="trying again").wait_for()
    count_done = page.locator("#frames")
    assert count_done.inner_text() == "Pictures: 2 / 4"
    page.select_option("#language", "es")
    assert count_done.inner_text() == "Imágenes: 2 / 4"
    page.select_option("#language", "en")
    page.get_by_role("button", name="Cancel").click()
    playwright.expect(page.locator("#under-way")).to_be_hidden()
    assert page.get_by_role("alert").inner_text() == ""
    assert page.locator("#album button").count() == 2
    one_face(page)
    page.problems.clear()


def test_what_speaks_for_it_comes_to_the_picture_that_was_asked_about(
    page: Any, tmp_path: Path
) -> None:
    held: list[Any] = []
    page.route("**/v1/explain*", lambda route: held.append(route))
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(EXAMPLE.read_bytes())
    page.set_input_files("#file", sorted(tmp_path.iterdir()))
    entries, why = page.locator("#album button"), page.locator("#evidence-0")
    playwright.expect(entries).to_have_count(2, timeout=20_000)
    why.click()
    assert why.get_attribute("aria-disabled") == "true"
    entries.nth(1).click()
    playwright.expect(entries.nth(1)).to_have_attribute("aria-current", "true")
    assert why.get_attribute("aria-disabled") is None
    assert page.locator("#aloud").inner_text() == ""
    held[0].continue_()
    page.wait_for_timeout(1500)
    assert page.locator(".evidence.open").count() == 0
    entries.nth(0).click()
    playwright.expect(page.locator(".evidence.open")).to_have_count(1, timeout=20_000)


def test_letters_of_twice_the_size_on_a_telephone(page: Any, tmp_path: Path) -> None:
    """As many people set them for all pages."""
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    (tmp_path / "copy.jpg").write_bytes(EXAMPLE.read_bytes())
    page.set_input_files("#file", [EXAMPLE, tmp_path / "copy.jpg"])
    playwright.expect(page.locator("#album button")).to_have_count(2, timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert min(page.locator("meter").evaluate_all("(all) => all.map((m) => m.clientWidth)")) > 24
    assert page.evaluate(
        """() => [...document.querySelectorAll('.bar')].every((bar) => {
        const range = document.createRange();
        range.selectNodeContents(bar.children[0]);
        return range.getBoundingClientRect().right <= bar.children[1].getBoundingClientRect().left;
        })"""
    )
    edges = page.locator(".bar span:last-child, #album button").evaluate_all(
        "(all) => all.map((one) => one.getBoundingClientRect().right)"
    )
    assert max(edges) < 360


@pytest.mark.parametrize("limited", [False, True])
def test_a_picture_that_is_too_large_for_an_iphone_to_paint(
    page: Any, tmp_path: Path, limited: bool
) -> None:
    """Some of them paint nothing on a canvas of more than 16,777,216 pixels, and raise no error."""
    canvas = Image.new("RGB", (6000, 3000), "gray")
    canvas.paste(Image.open(EXAMPLE).resize((1024, 1024)), (2400, 900))
    canvas.save(tmp_path / "large.jpg", quality=80)
    if limited:
        page.evaluate(
            """() => { const pen = CanvasRenderingContext2D.prototype;
            for (const name of ['fillRect', 'strokeRect', 'drawImage', 'fillText', 'strokeText']) {
              const real = pen[name];
              pen[name] = function (...how) {
                if (this.canvas.width * this.canvas.height <= 16777216) real.apply(this, how);
              };
            } }"""
        )
    page.set_input_files("#file", tmp_path / "large.jpg")
    one_face(page)
    sides = "[document.getElementById('picture')].map((c) => [c.width, c.height])"
    assert page.evaluate(sides) == [[5657, 2828] if limited else [6000, 3000]]
    assert boxed(page) > 500
    grey = "[...document.getElementById('picture').getContext('2d').getImageData(9, 9, 1, 1).data]"
    assert page.evaluate(grey) == pytest.approx([128, 128, 128, 255], abs=3)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the picture").click()
    assert semblante.load_image(saved.value.path()).shape[1] == (5657 if limited else 6000)


def test_a_picture_without_a_face_says_so_once_and_for_all(page: Any, tmp_path: Path) -> None:
    assert page.locator("#nobody").inner_text() == "No face yet."
    Image.new("RGB", (300, 200), "white").save(tmp_path / "white.png")
    page.set_input_files("#file", tmp_path / "white.png")
    playwright.expect(page.locator("#nobody")).to_have_text("No face found.")
    page.get_by_label("Language").select_option("es")
    assert page.locator("#nobody").inner_text() == "No se encontró ningún rostro."
    page.set_input_files("#file", EXAMPLE)
    one_face(page)
    assert not page.locator("#nobody").is_visible()
