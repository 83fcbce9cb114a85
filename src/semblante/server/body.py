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

_MAX_FIELDS: Final = 32  # in a form, besides its pictures
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
                    503, "too many uploads at once: try again later", {"Retry-After": "5"}
                )
            self._held += n
            taken += n

        try:
            yield take
        finally:
            self._held -= taken


async def read_pictures(request: Request, settings: Settings, intake: Intake) -> list[Upload]:
    """Return the pictures of a request; raises as `_read_files` does."""
    expected = "a picture as the body, or pictures in a form"
    limits = (settings.max_body, settings.body_s, settings.max_pictures)
    return await _read_files(request, expected, *limits, intake)


async def read_video(request: Request, settings: Settings, intake: Intake) -> bytearray:
    """Return the video of a request; raises as `_read_files` does."""
    expected = "a video as the body, or one in a form"
    limits = (settings.max_video, settings.video_s, 1)
    [video] = await _read_files(request, expected, *limits, intake)
    return video.data


async def _read_files(
    request: Request, expected: str, limit: int, seconds: float, max_files: int, intake: Intake
) -> list[Upload]:
    """Return the files of a multipart form, or the whole body as one file.

    `limit` is in bytes. Raises 400 for a malformed form or an empty body, 408 if it takes more than
    `seconds` to arrive, 413 if it is too large or has too many files, 415 for another content type
    or encoding, 503 if too much is being received at once.
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
        uploads = await asyncio.to_thread(_read_form, body, boundary, max_files)
    # A browser sends a file field without a chosen file as a part without name and content.
    uploads = [one for one in uploads if one.data or one.name != ""]
    if len(uploads) > max_files:
        files = "one file" if max_files == 1 else f"{max_files} files"
        raise HTTPException(413, f"at most {files} in a request")
    if not uploads:
        raise HTTPException(400, "expected a form with at least one file that has a file name")
    return uploads


async def read_body(
    request: Request, limit: int, seconds: float, take: Callable[[int], None]
) -> bytearray:
    """Return the body. It is refused before it is read if its headers say that it is too large or
    compressed. `take` is called with the length of each part before it is kept."""
    packed = request.headers.get("content-encoding", "").strip().lower()
    if packed not in ("", "identity"):
        raise HTTPException(415, f"expected an uncompressed body, found content-encoding {packed}")
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
        raise HTTPException(
            400, "the connection was closed before the whole request had arrived"
        ) from None
    if not body:
        raise HTTPException(400, "expected a picture or a video, found an empty body")
    return body


class _FormReader:
    """Collects the files of a multipart form: parts with a file name, or with a picture's or
    video's type. Its methods are callbacks for python-multipart's parser."""

    def __init__(self, max_files: int) -> None:
        self.uploads: list[Upload] = []
        self._max_files = max_files
        self._n_parts = 0
        self._headers: dict[bytes, bytes] = {}  # of the current part
        self._field, self._value = bytearray(), bytearray()  # of its current header
        self._current: Upload | None = None  # None for a part that is no file

    def part_begin(self) -> None:
        # Counted during parsing, because a body may contain a million parts of a few bytes.
        self._n_parts += 1
        if self._n_parts > self._max_files + _MAX_FIELDS:
            raise HTTPException(
                413, f"at most {self._max_files} files and {_MAX_FIELDS} fields in a form"
            )
        self._headers.clear()
        self._current = None

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        kind = self._headers.get(b"content-type", b"").lower()
        _, options = parse_options_header(disposition)
        if extended := _EXTENDED.search(_QUOTED.sub(b"", disposition)):
            name = unquote_to_bytes(extended[2]).decode(extended[1].decode(), "replace")
        elif b"filename" in options:
            name = options[b"filename"].decode("utf-8", "replace")
        elif kind.startswith((b"image/", b"video/")):
            name = None
        else:
            return
        self._current = Upload(None if name is None else name[:200])
        self.uploads.append(self._current)

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.data += data[start:end]


def _read_form(body: bytearray, boundary: bytes, max_files: int) -> list[Upload]:
    """Return the files of a form. Raises 400 if it is malformed, 413 for many more parts than
    `max_files`."""
    reader = _FormReader(max_files)
    # The parser does not skip what may precede the first boundary (RFC 2046, section 5.1.1).
    first = 0 if body.startswith(b"--" + boundary) else body.find(b"\r\n--" + boundary)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.part_begin,
                "on_header_field": reader.header_field,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_end,
                "on_headers_finished": reader.headers_finished,
                "on_part_data": reader.part_data,
            },
        )
        for start in range(max(0, first), len(body), _PIECE):  # a copy of a piece, not of the whole
            parser.write(bytes(body[start : start + _PIECE]))
        parser.finalize()
    except ValueError as error:
        raise HTTPException(400, f"not a valid multipart form: {error}") from None
    return reader.uploads
