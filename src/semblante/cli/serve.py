"""`semblante serve`."""

from __future__ import annotations

import os
import secrets
from typing import Annotated

import typer

from semblante.cli.analyze import DetectorName
from semblante.cli.checks import complain, require
from semblante.models import DEFAULT_MODEL


def serve_command(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SEMBLANTE_TOKEN",
            help="needed by callers; made up where others than this machine can call",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="another page that may call: https://example.org")
    ] = None,
    model: Annotated[str, typer.Option(help="a shipped model or an ONNX file")] = DEFAULT_MODEL,
    detector: Annotated[DetectorName, typer.Option(help="what finds the faces")] = (
        DetectorName.haar
    ),
    workers: Annotated[int, typer.Option(min=1, help="pictures analysed at a time")] = (
        os.cpu_count() or 1
    ),
) -> None:
    """Serve the page and the HTTP API on this machine. No picture is kept."""
    require("server", "serving", "fastapi", "uvicorn", "websockets", "prometheus_client")
    import uvicorn

    from semblante.recognise.detectors import make_detector
    from semblante.recognise.pipeline import Analyzer
    from semblante.server.app import create_app
    from semblante.server.settings import Settings

    settings = Settings(
        host=host, port=port, token=token, origins=tuple(origin or ()), workers=workers
    )
    if not settings.is_local and token is None:
        settings = Settings(
            host=host, port=port, token=secrets.token_urlsafe(24), origins=settings.origins,
            workers=workers,
        )  # fmt: skip
        complain(
            f"other machines can reach {host}: they need the token that is part of the address "
            "below. Without HTTPS before it, whoever listens can read it, and the pictures"
        )
    analyzer = Analyzer(model, detector=make_detector(detector))
    shown = f"[{host}]" if ":" in host else host
    page = f"http://{shown}:{port}/" + (f"#token={settings.token}" if settings.token else "")
    print(f"semblante: {page}", flush=True)
    uvicorn.run(
        create_app(settings, analyzer),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # addresses and paths are nobody's business
        server_header=False,
        ws_max_size=settings.max_frame + 1000,
        limit_concurrency=500,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )
