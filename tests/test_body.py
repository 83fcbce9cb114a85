"""Request bodies: how much of one is accepted, and the files in a form."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("fastapi")
from starlette.exceptions import HTTPException
from starlette.requests import Request

from semblante.server import body
from semblante.server.settings import Settings


class Client:
    """Sends a body piece by piece; None is an endless pause, EOFError a disconnect."""

    def __init__(self, *pieces: bytes | type[EOFError] | None, length: bytes = b"") -> None:
        self.pieces = list(pieces)
        self.intake = body.Intake(1000)
        scope = {"type": "http", "headers": [(b"content-length", length)]}
        self.request = Request(scope, self.receive)

    async def receive(self) -> dict[str, Any]:
        piece = self.pieces.pop(0)
        if piece is None:
            await asyncio.Event().wait()
        if piece is EOFError:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}

    def body(self, seconds: float = 60.0) -> bytes:
        """Read the body, with a limit of ten bytes."""

        async def read() -> bytes:
            with self.intake.room() as take:
                return bytes(await body.read_body(self.request, 10, seconds, take))

        return asyncio.run(read())


@pytest.mark.parametrize("length", [b"", b"10", b"\xb2"])
def test_a_body_may_be_as_large_as_the_limit(length: bytes) -> None:
    sender = Client(b"12345", b"67890", length=length)
    assert sender.body() == b"1234567890"


@pytest.mark.parametrize(
    ("sender", "status", "left"),
    [
        (Client(b"1", length=b"11"), 413, 1),  # refused before anything is read
        (Client(b"123456", b"78901"), 413, 0),
        (Client(b"123456", b"78901", b""), 413, 1),
        (Client(b"123456", None), 408, 0),
        (Client(b"123456", EOFError), 400, 0),
        (Client(b""), 400, 0),
    ],
)
def test_a_body_that_does_not_come_leaves_its_room_to_others(
    sender: Client, status: int, left: int
) -> None:
    with pytest.raises(HTTPException) as refused:
        sender.body(seconds=0.0 if status == 408 else 60.0)
    assert refused.value.status_code == status
    assert len(sender.pieces) == left
    assert room_left(sender.intake) == 1000


@pytest.mark.parametrize(
    ("read", "setting"), [(body.read_pictures, "body_s"), (body.read_video, "video_s")]
)
def test_pictures_and_videos_have_time_limits_of_their_own(read: Any, setting: str) -> None:
    sender = Client(b"123456", None)
    settings = Settings(**{setting: 0.0})  # type: ignore[arg-type]
    waiting = asyncio.wait_for(read(sender.request, settings, sender.intake), 20)
    with pytest.raises(HTTPException, match="the request did not arrive in 0 s") as refused:
        asyncio.run(waiting)
    assert refused.value.status_code == 408


def room_left(intake: body.Intake) -> int:
    """How many more bytes it would take."""
    with intake.room() as take:
        for n in itertools.count():
            try:
                take(1)
            except HTTPException:
                return n
    raise AssertionError("without end")


def test_all_clients_together_send_only_so_much() -> None:
    intake = body.Intake(1000)
    with intake.room() as take:
        take(600)
        with intake.room() as other, pytest.raises(HTTPException) as refused:
            other(401)
        assert refused.value.status_code == 503
        assert refused.value.headers == {"Retry-After": "5"}
        with intake.room() as other:
            other(400)
    assert room_left(intake) == 1000


def test_a_form_counts_twice_until_it_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form, and the files that are copied out of it."""
    form = form_of(FILE)
    sender = Client(bytes(form))
    kind = (b"content-type", b"multipart/form-data; boundary=x")
    sender.request.scope["headers"] = [kind]
    left = []

    def parts(*_: object) -> list[body.Upload]:
        left.append(room_left(sender.intake))
        return [body.Upload("a.jpg", form)]

    monkeypatch.setattr(body, "_read_form", parts)
    asyncio.run(body.read_pictures(sender.request, Settings(), sender.intake))
    assert left == [1000 - 2 * len(form)]
    assert room_left(sender.intake) == 1000


def form_of(*parts: bytes) -> bytearray:
    """A form with these parts, each consisting of headers and content."""
    return bytearray(b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n")


FIELD = b"Content-Disposition: form-data; name=note\r\n\r\nwords"
FILE = b"Content-Disposition: form-data; name=a; filename=a.jpg\r\n\r\npixels"


def test_a_form_may_have_as_many_files_and_fields_as_the_limits() -> None:
    assert len(body._read_form(form_of(FILE, FILE, *[FIELD] * 32), b"x", 2)) == 2
    for one_more in (FILE, FIELD):
        with pytest.raises(HTTPException, match="at most 2 files and 32 fields"):
            body._read_form(form_of(FILE, FILE, *[FIELD] * 32, one_more), b"x", 2)


def test_a_part_that_says_nothing_of_itself_is_no_file() -> None:
    [upload] = body._read_form(form_of(FILE, b"A: b\r\n\r\nwords"), b"x", 32)
    assert bytes(upload.data) == b"pixels"


def test_names_that_are_odd_or_long_come_back_readable() -> None:
    long = FILE.replace(b"a.jpg", b"n" * 300)
    uploads = body._read_form(
        form_of(FILE.replace(b"a.jpg", b'"\xff\xc3\xb1.jpg"'), long), b"x", 32
    )
    assert [upload.name for upload in uploads] == ["\ufffdñ.jpg", "n" * 200]


def test_a_field_after_a_picture_is_no_part_of_it() -> None:
    form = b"--x\r\nContent-Disposition: form-data; name=a; filename=a.jpg\r\n\r\npixels\r\n"
    form += b"--x\r\nContent-Disposition: form-data; name=note\r\n\r\nwords\r\n--x--\r\n"
    [upload] = body._read_form(bytearray(form), b"x", 32)
    assert (upload.name, bytes(upload.data)) == ("a.jpg", b"pixels")


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (b"Content-Disposition: form-data; filename*=UTF-8''gr%C3%B6%C3%9Fe.jpg", "größe.jpg"),
        (b"Content-Disposition: form-data; filename*=utf-8'de'a%20b.jpg; filename=c", "a b.jpg"),
        (b"Content-Disposition: form-data; filename=c; filename*=iso-8859-1''%F1", "ñ"),
        (b"Content-Disposition: form-data; filename=c; filename*=UTF-8''%F1", "\ufffd"),
        (b"Content-Disposition: form-data; filename=c; filename*=x''d", "c"),
        (
            b"Content-Disposition: form-data; filename=\"c; filename*=utf-8''d\"",
            "c; filename*=utf-8''d",
        ),
        (b"Content-Disposition: form-data; filename=c; name=\"a; filename*=utf-8''d", "c"),
        (b"Content-Disposition: form-data; name=a\r\nContent-Type: Image/jpeg", None),
        (b"Content-Type: video/mp4", None),
    ],
)
def test_what_is_a_file_and_its_name(headers: bytes, name: str | None) -> None:
    text = b"Content-Disposition: form-data; name=note\r\nContent-Type: text/plain\r\n\r\nwords"
    [upload] = body._read_form(form_of(headers + b"\r\n\r\npixels", text), b"x", 2)
    assert (upload.name, bytes(upload.data)) == (name, b"pixels")


@pytest.mark.parametrize("before", [b"\r\n", b"for old readers\r\n", b"x\r\n--y\r\n\r\n"])
def test_what_stands_before_the_first_boundary_is_passed_over(before: bytes) -> None:
    [upload] = body._read_form(bytearray(before) + form_of(FILE), b"x", 32)
    assert (upload.name, bytes(upload.data)) == ("a.jpg", b"pixels")


LARGE_FORM = r"""
from semblante.server import body

part = b'--x\r\nContent-Disposition: form-data; filename=a; x=' + b'"\\' * 1900
form = bytearray((part + b'\r\n\r\npixels\r\n') * 8000 + b'--x--\r\n')
assert len(body._read_form(form, b'x', 8000)) == 8000
"""


def test_quotes_that_are_never_closed_take_no_time() -> None:
    """A search for the end of each takes seconds for each form, during which nobody else is
    served: minutes for one as large as this, which takes half a second else."""
    subprocess.run([sys.executable, "-c", LARGE_FORM], check=True, timeout=60)
