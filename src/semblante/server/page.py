"""Serve the web page: the files in `web/`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

_KINDS: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


def page() -> APIRouter:
    """Return a router with a route for each file in `web/`."""
    router = APIRouter()
    web = resources.files("semblante.server").joinpath("web")
    files = sorted(web.iterdir(), key=lambda file: file.name)
    # Lets browsers load all modules at once, instead of one after another as imports are found.
    preloads = "".join(
        f'<link rel="modulepreload" href="{file.name}">\n'
        for file in files
        if file.name.endswith(".js")
    )
    for file in files:
        kind = _KINDS.get(Path(file.name).suffix)
        if kind is None:  # an editor's backup copy, for example
            continue
        text = file.read_text(encoding="utf-8").replace("</head>", f"{preloads}</head>")
        router.add_api_route(
            "/" if file.name == "index.html" else f"/{file.name}",
            _sender(text, kind),
            methods=["GET", "HEAD"],
            include_in_schema=False,
        )
    return router


def _sender(text: str, kind: str) -> Callable[[], Awaitable[Response]]:
    """Return a request handler that sends one file of the page."""

    async def file() -> Response:
        return Response(text, media_type=kind)

    return file
