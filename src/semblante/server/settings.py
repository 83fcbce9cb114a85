"""The settings of a server, and its limits."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from semblante.errors import OptionError

PROTOCOL: Final = "semblante"  # the live stream's subprotocol; a token is a second one


@dataclass(frozen=True)
class Settings:
    """The settings of a server. Everything has a limit, because anybody who reaches the port may
    send anything."""

    host: str = "127.0.0.1"
    token: str | None = None  # if set, required for all calls under /v1 and for /metrics
    origins: tuple[str, ...] = ()  # other sites whose pages may call the API: https://example.org
    max_body: int = 32_000_000  # bytes of a request
    max_pictures: int = 32  # in a request
    max_pixels: int = 40_000_000  # of a picture, before it is decoded
    max_video: int = 200_000_000  # bytes; it is kept in memory
    max_intake: int = 100_000_000  # bytes of pictures being received, from all clients together
    max_video_intake: int = 400_000_000  # the same for videos, which arrive more slowly
    max_frame: int = 2_000_000  # bytes of a frame of the live stream
    max_streams: int = 8  # simultaneous live streams
    workers: int = 2  # pictures analysed at the same time
    max_waiting: int = 16  # requests that wait for a worker; more are refused with 503
    body_s: float = 30.0  # time limit for receiving a request
    answer_s: float = 60.0  # time limit for answering it
    video_s: float = 600.0  # time limit for receiving a video
    job_s: float = 3600.0  # time limit for analysing one video; later videos wait for it

    def __post_init__(self) -> None:
        for origin in self.origins:
            # Exactly as browsers send a page's origin; otherwise they would never be equal.
            if not re.fullmatch(
                r"https?://[a-z0-9.\-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?", origin
            ):
                raise OptionError(
                    "expected an origin such as https://example.org, in small letters and without "
                    f"a path or a slash at its end, found {origin!r}"
                )
        if self.token == "":  # from an unset variable, for example: every caller would have it
            raise OptionError("an empty token lets everybody in: choose one, or leave it out")
        # It is used in the page's address, in a header, and as a WebSocket subprotocol.
        if self.token is not None and (
            not re.fullmatch(r"[A-Za-z0-9._~-]+", self.token) or self.token == PROTOCOL
        ):
            raise OptionError(
                "expected a token of letters, digits and . _ ~ - alone, other than "
                f'{PROTOCOL!r}: `python -c "import secrets; print(secrets.token_hex())"` makes one'
            )

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address always means the local machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
