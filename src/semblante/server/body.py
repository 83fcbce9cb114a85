"""Read the body of a request into memory, up to a limit, and split forms into files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from semblante.server.settings import Settings

_MOST_FIELDS: Final = 32  # in a form, besides its pictures
_PIECE: Final = 1_000_000  # bytes that are parsed at once
# The closing quote is optional, or each unclosed quote would cost a search up to the end.
_QUOTED: Final = re.compile(rb'"(?:\\.|[^"\\])*"?')
# A file name with an encoding (RFC 5987), which python-multipart ignores.
_EXTENDED: Final = re.compile(rb"(?i);\s*filename\*=(utf-8|iso-8859-1)'[^']*'([^\s;]*)")


@dataclass
class Upload:
    """One file of a request."""

    name: str | None = None  # as given by the client; only sent back in the answer
    data: bytearray = field(default_factory=bytearray)


class Intake:
    """Limits the bytes of request bodies, of all clients together, that are being received or
    parsed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that reserves room for `n` more bytes, and raises 503 if there is none.
        All of it is free again at the end of the `with`."""
        taken = 0

        def take(n: int) -> None:
            nonlocal taken
            if self._held + n > self._limit:
                raise HTTPException(
                    503, "too much is being sent: come back later", {"Retry-After": "5"}
                )
            self._held += n
            taken += n

        try:
            yield take
        finally:
            self._held -= taken


async def read_pictures(request: Request, settings: Settings, intake: Intake) -> list[Upload]:
    """Return the pictures of a request; raises as `_read_files` does."""
    expected = "a picture as it is, as the body, or pictures in a form"
    limits = (settings.max_body, settings.body_s, settings.max_pictures)
    return await _read_files(request, expected, *limits, intake)


async def read_video(request: Request, settings: Settings, intake: Intake) -> bytearray:
    """Return the video of a request; raises as `_read_files` does."""
    expected = "a video as it is, as the body, or one in a form"
    limits = (settings.max_video, settings.video_s, 1)
    [video] = await _read_files(request, expected, *limits, intake)
    return video.data


async def _read_files(
    request: Request, expected: str, limit: int, seconds: float, most: int, intake: Intake
) -> list[Upload]:
    """Return the files of a multipart form, or the whole body as one file.

    `limit` is in bytes; `most` is the number of files. Raises 400 for a malformed form or an empty
    body, 408 if it takes more than `seconds` to arrive, 413 if it is too large or has too many
    files, 415 for another content type or encoding, 503 if too much is being received at once.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    form = kind == b"multipart/form-data"
    if kind == b"application/json" or (not form and kind.startswith(b"multipart/")):
        raise HTTPException(415, f"expected {expected}, found {kind.decode('latin-1')}")
    with intake.room() as take:
        body = await read_body(request, limit, seconds, take)
        if not form:
            return [Upload(None, body)]
        take(len(body))  # the files of a form take the same room again
        # On a thread: a large form takes a while, and other requests are answered meanwhile.
        boundary = options.get(b"boundary", b"")
        uploads = await asyncio.to_thread(_parts, body, boundary, most)
    # A browser sends a file field without a chosen file as a part without name and content.
    uploads = [one for one in uploads if one.data or one.name != ""]
    if len(uploads) > most:
        files = "one file" if most == 1 else f"{most} files"
        raise HTTPException(413, f"at most {files} in a request")
    if not uploads:
        raise HTTPException(400, "expected a form with at least one file, with its name, in it")
    return uploads


async def read_body(
    request: Request, limit: int, seconds: float, take: Callable[[int], None]
) -> bytearray:
    """Return the body. It is refused before it is read if its headers say that it is too large or
    compressed. `take` is called with the length of each part before it is kept."""
    packed = request.headers.get("content-encoding", "").strip().lower()
    if packed not in ("", "identity"):
        raise HTTPException(415, f"expected a body as it is, found content-encoding {packed}")
    declared = request.headers.get("content-length", "")
    too_large = HTTPException(413, f"at most {limit // 1_000_000} MB in a request")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    raise too_large
                take(len(chunk))
                body += chunk
    except TimeoutError:
        raise HTTPException(408, f"the request did not arrive in {seconds:g} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the request was broken off") from None
    if not body:
        raise HTTPException(400, "expected a picture or a video, found an empty body")
    return body


def _parts(body: bytearray, boundary: bytes, most: int) -> list[Upload]:
    """Return the files of a form: parts with a file name, or with a picture's or video's type.

    Raises 413 for many more parts than `most` files. They are counted during parsing, because a
    body may contain a million parts of a few bytes.
    """
    uploads: list[Upload] = []
    headers: dict[bytes, bytes] = {}
    field, value = bytearray(), bytearray()  # of the current header
    current: Upload | None = None
    parts = 0

    def part_begin() -> None:
        nonlocal parts, current
        parts += 1
        if parts > most + _MOST_FIELDS:
            raise HTTPException(413, f"at most {most} files and {_MOST_FIELDS} fields in a form")
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

    def part_data(data: bytes, start: int, end: int) -> None:
        if current is not None:
            current.data += data[start:end]

    # The parser does not skip what may precede the first boundary (RFC 2046, section 5.1.1).
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
        for start in range(max(0, first), len(body), _PIECE):  # a copy of a piece, not of the whole
            parser.write(bytes(body[start : start + _PIECE]))
        parser.finalize()
    except ValueError as error:
        raise HTTPException(400, f"not a valid multipart form: {error}") from None
    return uploads
