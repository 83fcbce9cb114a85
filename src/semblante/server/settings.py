"""What can be chosen about a server, and its limits."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from semblante.errors import OptionError

PROTOCOL: Final = "semblante"  # of the live stream; a token comes as a second one


@dataclass(frozen=True)
class Settings:
    """Everything has a limit, since anybody who reaches the port may send anything."""

    host: str = "127.0.0.1"
    token: str | None = None  # needed by all calls under /v1 and for /metrics, if there is one
    origins: tuple[str, ...] = ()  # other pages that may call, such as https://example.org
    max_body: int = 32_000_000  # bytes of a request
    max_pictures: int = 32  # in a request
    max_pixels: int = 40_000_000  # of a picture, before it is decoded
    max_video: int = 200_000_000  # bytes; it is kept in memory
    max_intake: int = 100_000_000  # bytes of pictures that are on their way, of all clients
    max_video_intake: int = 400_000_000  # the same of videos, which may take their time
    max_frame: int = 2_000_000  # bytes of a frame of the live stream
    max_streams: int = 8  # live streams at a time
    workers: int = 2  # pictures that are analysed at a time
    max_waiting: int = 16  # requests that wait for a worker; more are told to come back
    body_s: float = 30.0  # in which a request must have arrived
    answer_s: float = 60.0  # in which it must be answered
    video_s: float = 600.0  # in which a video must have arrived
    job_s: float = 3600.0  # in which it must have been analysed: others wait meanwhile

    def __post_init__(self) -> None:
        for origin in self.origins:
            # As a browser names a page's origin, or it would never be the same.
            if not re.fullmatch(
                r"https?://[a-z0-9.\-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?", origin
            ):
                raise OptionError(
                    "expected an origin such as https://example.org, in small letters and without "
                    f"a path or a slash at its end, found {origin!r}"
                )
        if self.token == "":  # of a variable that is not set, say: whoever calls would have it
            raise OptionError("an empty token lets everybody in: choose one, or leave it out")
        # It stands in the page's address, in a header, and as the name of a WebSocket protocol.
        if self.token is not None and (
            not re.fullmatch(r"[A-Za-z0-9._~-]+", self.token) or self.token == PROTOCOL
        ):
            raise OptionError(
                "expected a token of letters, digits and . _ ~ - alone, other than "
                f'{PROTOCOL!r}: `python -c "import secrets; print(secrets.token_hex())"` makes one'
            )

    @property
    def is_local(self) -> bool:
        """Can only programs on this machine reach it?"""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Does a name or an address mean the machine that it is used on?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
