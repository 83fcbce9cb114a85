"""What a client sends, taken into memory up to a limit, not onto a disk."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from semblante.server.settings import Settings

_MOST_FIELDS: Final = 32  # of a form besides its pictures
# One that is never closed goes on to the end: looking for that end from each quote would take long.
_QUOTED: Final = re.compile(rb'"(?:\\.|[^"\\])*"?')
# A name in letters that a header cannot hold (RFC 5987), which the library passes over.
_EXTENDED: Final = re.compile(rb"(?i);\s*filename\*=(utf-8|iso-8859-1)'[^']*'([^\s;]*)")


@dataclass
class Upload:
    """One file of a request."""

    name: str | None = None  # as the client calls it; only ever handed back
    data: bytearray = field(default_factory=bytearray)


class Intake:
    """Bytes of bodies that are still on their way, or taken apart, of all clients together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def take(self, n: int) -> None:
        """Make room for `n` more; raises 503 where there is none."""
        if self._held + n > self._limit:
            raise HTTPException(
                503,
                "too much is being sent: come back later",
                {"Retry-After": "5", "Connection": "close"},
            )
        self._held += n

    def release(self, n: int) -> None:
        """`n` of them are here, or will not come."""
        self._held -= n


async def read_uploads(request: Request, settings: Settings, intake: Intake) -> list[Upload]:
    """The files of a multipart form, or the whole body as one file.

    Raises 400 for a form that is none or an empty body, 408 where it takes too long, 413 where it
    is too large or holds too many files, 415 where it says that it is something else, 503 where too
    much is on its way.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    form = kind == b"multipart/form-data"
    if not form:
        check_kind(request, "a picture as it is, as the body, or pictures in a form")
    body = await read_body(request, settings.max_body, settings.body_s, intake)
    if not form:
        return [Upload(None, body)]
    # On a thread: large ones take a while, in which others are answered.
    boundary = options.get(b"boundary", b"")
    intake.take(len(body))  # of which there is a copy, and its parts, meanwhile
    try:
        uploads = await asyncio.to_thread(_parts, body, boundary, settings.max_pictures)
    finally:
        intake.release(len(body))
    # A browser sends a field in which no file was chosen as one without name and content.
    uploads = [one for one in uploads if one.data or one.name != ""]
    if not uploads:
        raise HTTPException(400, "expected a form with at least one file, with its name, in it")
    return uploads


def check_kind(request: Request, expected: str) -> None:
    """Raise 415 for a form, or JSON, where the body is to be a picture or a video."""
    kind, _ = parse_options_header(request.headers.get("content-type"))
    if kind == b"application/json" or kind.startswith(b"multipart/"):
        raise refusal(415, f"expected {expected}, found {kind.decode('latin-1')}")


def refusal(status: int, reason: str) -> HTTPException:
    """Of a request whose body is not read: the connection is closed with it, or the body would be
    taken in and dropped."""
    return HTTPException(status, reason, {"Connection": "close"})


async def read_body(request: Request, limit: int, seconds: float, intake: Intake) -> bytearray:
    """The body, refused before it is read where it says that it is too large, or packed."""
    packed = request.headers.get("content-encoding", "").strip().lower()
    if packed not in ("", "identity"):
        raise refusal(415, f"expected a body as it is, found content-encoding {packed}")
    declared = request.headers.get("content-length", "")
    too_large = refusal(413, f"at most {limit // 1_000_000} MB in a request")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    raise too_large
                intake.take(len(chunk))
                body += chunk
    except TimeoutError:
        raise refusal(408, f"the request did not arrive in {seconds:g} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the request was broken off") from None
    finally:
        intake.release(len(body))
    if not body:
        raise HTTPException(400, "expected a picture or a video, found an empty body")
    return body


def _parts(body: bytearray, boundary: bytes, most: int) -> list[Upload]:
    """The files of a form, `most` of them: what has a file name, or says that it is a picture.

    Counted as they come: a body has room for a million parts of a few bytes.
    """
    uploads: list[Upload] = []
    headers: dict[bytes, bytes] = {}
    field, value = bytearray(), bytearray()  # of the header at hand
    current: Upload | None = None
    parts = 0

    def part_begin() -> None:
        nonlocal parts, current
        parts += 1
        if parts > most + _MOST_FIELDS:
            raise HTTPException(413, f"at most {most} pictures in a request")
        headers.clear()
        current = None

    def header_end() -> None:
        headers[bytes(field).lower()] = bytes(value)
        field.clear()
        value.clear()

    def headers_finished() -> None:
        nonlocal current
        disposition = headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        if extended := _EXTENDED.search(_QUOTED.sub(b"", disposition)):
            name = unquote_to_bytes(extended[2]).decode(extended[1].decode(), "replace")
        elif b"filename" in options:
            name = options[b"filename"].decode("utf-8", "replace")
        elif headers.get(b"content-type", b"").lower().startswith((b"image/", b"video/")):
            name = None
        else:
            return
        current = Upload(None if name is None else name[:200])
        uploads.append(current)
        if len(uploads) > most:
            raise HTTPException(413, f"at most {most} pictures in a request")

    def part_data(data: bytes, start: int, end: int) -> None:
        if current is not None:
            current.data += data[start:end]

    # What may stand before the first boundary (RFC 2046, section 5.1.1) the library does not skip.
    first = 0 if body.startswith(b"--" + boundary) else body.find(b"\r\n--" + boundary)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": part_begin,
                "on_header_field": lambda data, s, e: field.extend(data[s:e]),
                "on_header_value": lambda data, s, e: value.extend(data[s:e]),
                "on_header_end": header_end,
                "on_headers_finished": headers_finished,
                "on_part_data": part_data,
            },
        )
        parser.write(bytes(memoryview(body)[max(0, first) :]))
        parser.finalize()
    except ValueError as error:
        raise HTTPException(400, f"not a valid multipart form: {error}") from None
    return uploads
