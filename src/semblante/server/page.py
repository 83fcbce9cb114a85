"""Serve the web page: the files in `web/`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.routing import Route

from semblante.server.settings import Settings

_KINDS: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


def page(settings: Settings) -> APIRouter:
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
    # Lets the page refuse a file that is too large before it is sent, which may take minutes.
    limits = "".join(
        f'<meta name="{name}" content="{value}">\n'
        for name, value in (("max-body", settings.max_body), ("max-video", settings.max_video))
    )
    for file in files:
        kind = _KINDS.get(Path(file.name).suffix)
        if kind is None:  # an editor's backup copy, for example
            continue
        text = file.read_text(encoding="utf-8").replace("</head>", f"{limits}{preloads}</head>")
        path = "/" if file.name == "index.html" else f"/{file.name}"
        # GET, and so HEAD. A response is an ASGI app, so it answers by itself.
        router.routes.append(Route(path, Response(text, media_type=kind), methods=["GET"]))
    return router
