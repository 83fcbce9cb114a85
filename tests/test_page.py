"""The page in a real browser: who is let in, by which hand, in which letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import (
    film,
    needs_browser,
    one_face,
    running,
)
from conftest import EXAMPLE
from semblante import Analyzer, images
from semblante.recognise import video

pytest.importorskip("fastapi")
from semblante.server.app import create_app
from semblante.server.settings import Settings

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = needs_browser


def test_another_token_in_the_address(opened: Callable[..., Any]) -> None:
    with running(create_app(Settings(token="abc"), Analyzer())) as address:
        page = opened(address, expected="status of 401")
        page.set_input_files("#file", EXAMPLE)
        page.get_by_role("alert").filter(has_text="token").wait_for(timeout=20_000)
        with page.expect_event("load"):  # of which the page itself must think
            page.goto(f"{address}#token=abc")  # in the same tab
        assert page.get_by_role("alert").inner_text() == ""
        page.set_input_files("#file", EXAMPLE)
        one_face(page)
        page.context.close()


def test_on_a_phone_by_keyboard(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    names = []
    for _ in range(4):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id"))
    assert names[:3] == ["language", "camera", "choose"]


def test_a_browser_that_keeps_nothing_for_a_page(opened: Callable[..., Any], address: str) -> None:
    blocked = "{ get() { throw new Error('blocked'); } }"
    script = f"Object.defineProperty(window, 'localStorage', {blocked})"
    page = opened(address, locale="es-ES", script=script)
    assert page.get_by_role("button", name="Encender la cámara").is_visible()
    page.select_option("#language", "en")
    assert page.get_by_role("button", name="Start the camera").is_visible()


def test_a_page_that_is_not_let_in_says_so(opened: Callable[..., Any]) -> None:
    with running(create_app(Settings(token="right"), Analyzer())) as address:
        page = opened(f"{address}#token=wrong", expected="status of 401|response code: 403")
        page.get_by_role("button", name="Start the camera").click()
        alert = page.get_by_role("alert")
        alert.filter(has_text="expected the server's token").wait_for(timeout=20_000)
        assert page.get_by_role("button", name="Start the camera").is_visible()
        page.goto("about:blank")
        page.goto(f"{address}#token=right")
        page.get_by_role("button", name="Start the camera").click()
        one_face(page)
        page.context.close()


def test_a_button_that_is_disabled_does_not_move_the_page(page: Any) -> None:
    """The focus goes to another one, which may be far from what one looks at."""
    page.set_viewport_size({"width": 360, "height": 300})
    set_enabled = """(yes) => import(new URL('elements.js', document.baseURI)).then(
        ({ enable }) => { enable('save-json', yes); return window.scrollY; })"""
    page.evaluate(set_enabled, True)
    page.locator("#save-json").focus()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    before = page.evaluate("window.scrollY")
    assert before > 300
    assert page.evaluate(set_enabled, False) == before
    assert page.evaluate("document.activeElement.id") == "choose"


def test_who_chose_larger_letters_gets_them(page: Any) -> None:
    page.evaluate("document.documentElement.style.fontSize = '32px'")
    assert page.evaluate("getComputedStyle(document.body).fontSize") == "32px"


@pytest.fixture(scope="module")
def below() -> Iterator[str]:
    """The address of a server behind a proxy that gives it one path of its own, and no other; and
    under another path the page alone."""
    app = create_app(Settings())

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            _, prefix, path = scope["path"].split("/", 2)
            theirs = prefix == "faces" or (prefix == "page" and not path.startswith("v1"))
            path = f"/{path}" if theirs else "/nowhere"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    with running(proxy) as address:
        yield address


def test_below_a_path(opened: Callable[..., Any], below: str, tmp_path: Path) -> None:
    page = opened(f"{below}faces/")
    page.get_by_role("button", name="Start the camera").click()
    one_face(page)
    page.set_input_files("#file", EXAMPLE)
    page.get_by_role("button", name="What is it based on?").click()
    page.get_by_role("button", name="Hide").wait_for(timeout=20_000)
    with page.expect_request(lambda request: request.method == "DELETE"):
        page.set_input_files("#file", film(tmp_path / "film.webm", 1))
    one_face(page)


@pytest.mark.parametrize("answered", ["not found", "a proxy's page"])
def test_where_there_is_no_server_the_camera_does_not_try_for_ever(
    opened: Callable[..., Any], below: str, answered: str
) -> None:
    page = opened(f"{below}page/", expected="status of 404|response code: 403")
    if answered == "a proxy's page":
        signing_in = {"content_type": "text/html", "body": "<!DOCTYPE html><p>Please sign in."}
        page.route("**/v1/models", lambda route: route.fulfill(**signing_in))
    page.get_by_role("button", name="Start the camera").click()
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_have_text("semblante does not answer at this address.")
    assert page.get_by_role("button", name="Start the camera").is_visible()
    page.select_option("#language", "es")
    assert alert.inner_text() == "En esta dirección no responde semblante."


def test_every_kind_of_file_that_the_server_reads_can_be_chosen(
    opened: Callable[..., Any], page: Any, address: str
) -> None:
    types, endings = ["image/*", "video/*"], sorted(images.SUFFIXES | video.SUFFIXES)
    accepted = page.locator("#file").get_attribute("accept").split(",")
    assert (accepted[:2], sorted(accepted[2:])) == (types, endings)
    telephone = opened(address, has_touch=True, is_mobile=True)
    assert telephone.locator("#file").get_attribute("accept") == ",".join(types)


def test_without_javascript_the_page_says_what_it_needs(
    opened: Callable[..., Any], address: str
) -> None:
    page = opened(address, java_script_enabled=False)
    english, spanish = page.locator("noscript p").all()
    assert english.is_visible()
    assert "needs JavaScript" in english.inner_text()
    assert spanish.is_visible()
    assert "necesita JavaScript" in spanish.inner_text()


def test_what_is_hidden_is_hidden_from_everybody(page: Any) -> None:
    """Except for a few texts, which screen readers alone find, and for the video, which a camera
    must be able to start in."""
    shown = """(all) => all.map((one) => [one.id, getComputedStyle(one)])
        .filter(([id, { display }]) => display !== 'none').map(([id]) => id)"""
    assert page.locator(".hidden").evaluate_all(shown) == ["video"]
    visibility = "getComputedStyle(document.getElementById('video')).visibility"
    assert page.evaluate(visibility) == "hidden"
    sizes = "(all) => all.map((one) => one.getBoundingClientRect().width)"
    assert page.locator(".unseen:not(.hidden .unseen)").evaluate_all(sizes) == [1, 1]
    page.get_by_role("heading", name="Picture").wait_for(state="attached")


def test_a_file_that_is_too_large_is_not_sent(opened: Callable[..., Any]) -> None:
    """With the words in which the server would refuse it, minutes later."""
    settings = Settings(max_body=1_000_000, max_video=2_000_000)
    with running(create_app(settings, Analyzer())) as address:
        page = opened(address)
        sent: list[str] = []
        page.on("request", lambda r: sent.append(r.url) if r.method == "POST" else None)
        alert = playwright.expect(page.get_by_role("alert"))
        large = {"name": "a.png", "mimeType": "image/png", "buffer": bytes(1_000_001)}
        page.set_input_files("#file", large)
        alert.to_have_text("It cannot be read: it is too large: at most 1 MB.")
        page.set_input_files(
            "#file", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": bytes(2_000_001)}
        )
        alert.to_have_text("It cannot be read: it is too large: at most 2 MB.")
        page.select_option("#language", "es")
        alert.to_have_text("No se puede leer: es demasiado grande: se aceptan hasta 2 MB.")
        assert sent == []
        small = {"name": "b.jpg", "mimeType": "image/jpeg", "buffer": EXAMPLE.read_bytes()}
        page.set_input_files("#file", [large, small])  # of several, the others are
        entries = page.locator("#album button")
        playwright.expect(entries).to_have_count(2, timeout=20_000)
        assert len(sent) == 1
        page.context.close()
