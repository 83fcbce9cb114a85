"""What can be chosen about a server, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from semblante.errors import OptionError

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """Everything has a limit, since anybody who reaches the port may send anything."""

    host: str = "127.0.0.1"
    token: str | None = None  # needed by every call but the page and /healthz, where there is one
    origins: tuple[str, ...] = ()  # other pages that may call, such as https://example.org
    max_body: int = 32_000_000  # bytes of a request
    max_pictures: int = 32  # in a request
    max_pixels: int = 40_000_000  # of a picture, before it is decoded
    max_video: int = 200_000_000  # bytes; it is kept in memory
    max_frame: int = 2_000_000  # bytes of a frame of the live stream
    max_streams: int = 8  # live streams at a time
    workers: int = 2  # pictures that are analysed at a time
    max_waiting: int = 16  # requests that wait for a worker; more are told to come back
    body_s: float = 30.0  # in which a request must have arrived
    answer_s: float = 60.0  # in which it must be answered

    def __post_init__(self) -> None:
        if self.token == "":  # of a variable that is not set, say: whoever calls would have it
            raise OptionError("an empty token lets everybody in: choose one, or leave it out")

    @property
    def is_local(self) -> bool:
        """Can only programs on this machine reach it?"""
        return self.host in LOOPBACK
