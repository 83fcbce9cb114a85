"""`semblante serve`."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from types import FrameType
from typing import Annotated, Final

import cv2
import typer

from semblante.cli.checks import complain, require
from semblante.cli.language import localised
from semblante.cli.options import (
    DetectorOption,
    HeadOption,
    MinFaceOption,
    MinScoreOption,
    ModelOption,
)
from semblante.errors import OptionError
from semblante.models import DEFAULT_MODEL
from semblante.recognise.pipeline import Analyzer

# Windows' usual event loop stops listening for good when a client breaks off a connection too early
# (python/cpython issue 93821).
_LOOP: Final = "asyncio:SelectorEventLoop" if sys.platform == "win32" else "auto"


def serve_command(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="port to listen on; 0: one that is free")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SEMBLANTE_TOKEN",
            help="token that callers need; generated if other machines can call",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="origin of another page that may call, such as https://example.org"),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    head: HeadOption = None,
    detector: DetectorOption = "cnn",
    min_face: MinFaceOption = None,
    min_score: MinScoreOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="pictures analysed at the same time (default: one per core)"),
    ] = None,
    access_log: Annotated[
        bool,
        typer.Option(
            "--access-log", help="print a line for each request: who called what, and the status"
        ),
    ] = False,
) -> None:
    """Serve the page and the HTTP API on this machine. No picture is kept."""
    require(
        "server", "serving", "fastapi", "uvicorn", "websockets", "prometheus_client",
        "python_multipart",
    )  # fmt: skip
    import uvicorn

    from semblante.server.app import create_app
    from semblante.server.settings import Settings

    if token is None and "SEMBLANTE_TOKEN" in os.environ:
        token = ""  # set, but empty, which Typer treats as not set
    settings = Settings(
        host=host,
        token=token,
        origins=tuple(origin or ()),
        workers=workers or cv2.getNumberOfCPUs(),
    )
    listening = listen(host, port)
    if not settings.is_local and token is None:
        settings = replace(settings, token=secrets.token_urlsafe(24))
        complain(
            f"other machines can reach {host}: they need the token that is part of the address "
            "below. Without HTTPS, anyone on the network can read it, and see the pictures"
        )
    app = create_app(
        settings,
        Analyzer(model, detector=detector, min_face=min_face, min_score=min_score, head=head),
    )
    _print_addresses(listening, host, settings.token)
    config = uvicorn.Config(
        app,
        # Its warnings are about single requests: any client could fill the log with them.
        log_level="info" if access_log else "error",
        access_log=access_log,  # off by default: addresses and paths are private
        server_header=False,
        ws_max_size=settings.max_frame + 1000,
        limit_concurrency=500,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        loop=_LOOP,
    )

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit:  # the second signal: exit at once
                os._exit(0)
            super().handle_exit(sig, frame)

    with suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listening])
    if app.state.is_busy():
        # A thread that is analysing a picture cannot be stopped, and Python would wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _print_addresses(listening: socket.socket, host: str, token: str | None) -> None:
    """Print the addresses of the page, for this machine and for others."""
    bound, port = listening.getsockname()[:2]
    if token is not None and token == os.environ.get("SEMBLANTE_TOKEN"):
        token = "$SEMBLANTE_TOKEN"  # the token itself must not end up in a log
    rest = f":{port}/" + (f"#token={token}" if token else "")
    everywhere = ip_address(bound).is_unspecified
    if everywhere:  # at 0.0.0.0 a browser allows no camera, and other machines cannot open it
        host = "localhost" if listening.family == socket.AF_INET6 else "127.0.0.1"
    print(f"semblante: http://{_in_url(host)}{rest}", flush=True)
    if everywhere:
        outside = f"http://{_in_url(outside_host(listening.family))}{rest}"
        print("semblante:", localised(f"from other machines: {outside}"), flush=True)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; called before slower work. Raises `OptionError` if the address
    cannot be used."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise OptionError(f"--host {host}: this is no address of a machine ({error})") from None
    listening = socket.socket(family, kind, protocol)
    if os.name == "posix":  # a restarted server need not wait for old connections to time out
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    elif alone := getattr(socket, "SO_EXCLUSIVEADDRUSE", None):  # Windows would share it
        listening.setsockopt(socket.SOL_SOCKET, alone, 1)
    if family == socket.AF_INET6 and host in ("::", ""):  # by default Windows refuses IPv4 here
        with suppress(OSError):
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listening.bind(address)
        listening.listen(2048)  # calls wait while the model is loaded
    except OSError as error:
        listening.close()
        raise OptionError(_why_not(error, host, port)) from None
    return listening


def outside_host(family: int) -> str:
    """The address of this machine in the network, else its name: for other machines to use."""
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # RFC 3849, RFC 5737
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect((elsewhere, 9))  # over UDP this sends nothing
        return str(way.getsockname()[0])
    return socket.gethostname()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"--port {port} is in use on {host}, perhaps by another semblante: "
            "choose another, or 0 for one that is free"
        )
    if error.errno == errno.EACCES:
        return (
            f"--port {port} may not be used: ports below 1024 are the administrator's, and some "
            "others the system's; choose another"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine"
    return f"--host {host} --port {port}: {error.strerror}"
