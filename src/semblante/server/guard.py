"""The outermost ASGI middleware: who may call, and the headers of every answer."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semblante.server.settings import PROTOCOL, Settings, is_loopback

_LOG: Final = logging.getLogger(__name__)
# For so long the rest of a body is dropped after the answer, before the connection is closed. If it
# were closed at once, systems would reset it, and many clients would never see the answer (RFC
# 9112, section 9.6).
_LINGER_S: Final = 2.0
# Only the server's own files, and pictures and videos that the page creates itself.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """Checks host, origin and token of each request; adds headers to every answer, also to
    errors."""

    def __init__(
        self, app: ASGIApp, settings: Settings, count_refused: Callable[[int], None]
    ) -> None:
        """`count_refused` is called with the status of each request that is refused or fails."""
        self._app = app
        self._settings = settings
        self._count_refused = count_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; see the ASGI specification."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused is not None:
            self._count_refused(refused[0])
        if scope["type"] == "http":
            await self._answer(scope, receive, send, headers, refused)
        elif refused is None:
            await self._app(scope, receive, send)
        else:
            await receive()  # the request to connect
            await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: Headers,
        refused: tuple[int, str] | None,
    ) -> None:
        """Handle one HTTP request; `refused`: see `_refusal`."""
        origin = headers.get("origin")
        begun = False
        unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def receive_noting() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                added = MutableHeaders(scope=message)
                self._add_headers(added, origin)
                if unread:  # the server would receive the rest of the body, only to drop it
                    added["connection"] = "close"
            elif unread and not message.get("more_body", False):
                await send({**message, "more_body": True})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LINGER_S):
                        while unread:
                            await receive_noting()
                message = {**message, "body": b""}
            await send(message)

        if refused is not None:
            status, reason = refused
            needs = {"www-authenticate": "Bearer"} if status == 401 else None  # RFC 9110, 15.5.2
            answer = JSONResponse({"error": reason}, status, needs)
            await answer(scope, receive, send_with_headers)
        elif scope["method"] == "OPTIONS":
            await JSONResponse({}, 200)(scope, receive, send_with_headers)
        else:
            try:
                await self._app(scope, receive_noting, send_with_headers)
            except (Exception, asyncio.CancelledError) as error:
                if begun:
                    raise
                failed = self._failed(error)
                await failed(scope, receive, send_with_headers)

    def _add_headers(self, answer: MutableHeaders, origin: str | None) -> None:
        """Add the headers of all answers, and those that let a page of an allowed `origin` read
        this one."""
        for name, value in _HEADERS.items():
            answer.setdefault(name, value)
        if origin in self._settings.origins:
            answer["access-control-allow-origin"] = str(origin)
            answer["access-control-allow-headers"] = "authorization, content-type"
            answer["access-control-allow-methods"] = "GET, POST, DELETE"
            answer["access-control-expose-headers"] = "location, retry-after"
            answer["access-control-max-age"] = "600"
            answer["cross-origin-resource-policy"] = "cross-origin"
            answer["vary"] = "origin"

    def _failed(self, error: BaseException) -> JSONResponse:
        if isinstance(error, asyncio.CancelledError):  # the server is shutting down
            status, reason = 503, "the server is shutting down"
        else:
            _LOG.error("a request failed", exc_info=error)
            status, reason = 500, "something went wrong in the server"
        self._count_refused(status)
        later = {"retry-after": "5"} if status == 503 else None
        return JSONResponse({"error": reason}, status, later)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return status and reason if the request is to be refused, else None."""
        origin = headers.get("origin")
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname
            theirs = urlsplit(origin or "").netloc.lower()
        except ValueError:
            return 403, "invalid Host or Origin header"
        # DNS rebinding: a foreign page could let its own host name resolve to this machine.
        if self._settings.is_local and not is_loopback(host or ""):
            return 403, "the Host header is not localhost"
        if (
            origin is not None
            and origin not in self._settings.origins
            and theirs != headers.get("host", "").lower()
        ):
            return 403, "requests from this origin are not allowed"
        needed = self._settings.token
        # Anywhere in the path, because the app may be mounted below a path of another application.
        guarded = any(place in scope["path"] for place in ("/v1/", "/metrics"))
        if needed is not None and guarded:
            if scope.get("method") == "OPTIONS" or hmac.compare_digest(
                self._token(scope, headers).encode(), needed.encode()
            ):
                return None
            return 401, "expected the server's token"
        return None

    @staticmethod
    def _token(scope: Scope, headers: Headers) -> str:
        if scope["type"] == "websocket":  # browsers cannot set its headers
            offered = map(str.strip, headers.get("sec-websocket-protocol", "").split(","))
            if token := next((part for part in offered if part not in ("", PROTOCOL)), ""):
                return token
        kind, _, token = headers.get("authorization", "").partition(" ")
        return token if kind.lower() == "bearer" else ""
