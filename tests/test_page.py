"""The page in a real browser: who is let in, by which hand, in which letters."""

from __future__ import annotations

from typing import Any

import pytest

from browser import (
    free_port,
    needs_browser,
    one_face,
    serving,
)
from conftest import EXAMPLE

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = needs_browser


def test_another_token_in_the_address(browser: Any) -> None:
    port = free_port()
    with serving(port, "--token", "abc"):
        page = browser.new_context(locale="en-GB").new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.set_input_files("#file", EXAMPLE)
        page.get_by_role("alert").filter(has_text="token").wait_for(timeout=20_000)
        page.goto(f"http://127.0.0.1:{port}/#token=abc")  # in the same tab: nothing is loaded anew
        playwright.expect(page.get_by_role("alert")).to_have_text("")
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


def test_a_page_that_is_not_let_in_says_so(browser: Any) -> None:
    port = free_port()
    with serving(port, "--token", "right"):
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


def test_who_chose_larger_letters_gets_them(page: Any) -> None:
    page.evaluate("document.documentElement.style.fontSize = '32px'")
    assert page.evaluate("getComputedStyle(document.body).fontSize") == "32px"
