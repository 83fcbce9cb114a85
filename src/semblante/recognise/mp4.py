"""What an MP4 or MOV file announces, before FFmpeg believes it.

FFmpeg makes an entry of some 24 bytes for each sample (frame, say) that a file's tables announce,
as soon as it opens it. A table need not list them: a few bytes can announce billions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from semblante.errors import VideoError

_MOST_SAMPLES: Final = 20_000_000  # a day at 240 frames a second
_MOST_READ: Final = 200_000_000  # bytes of a box with tables; those of hours have a few million
_MOST_BOXES: Final = 1_000_000
_TO_THE_END: Final = 2**40
_DATA: Final = (b"mdat", b"free", b"skip")  # in which FFmpeg looks for no tables
_TABLE: Final = re.compile(rb"trak|hdlr|stsz|stz2|stts|trun|cmov")


def check_tables(path: Path) -> None:
    """Raise `VideoError` where an MP4 or MOV (ISO/IEC 14496-12, 8.6 to 8.8) announces more samples
    than a film can have; other files are left to whoever reads them. Raises `OSError` too."""
    announced = 0
    with path.open("rb") as file:
        for content in _boxes(file):
            announced += _samples(content)
            if announced > _MOST_SAMPLES:
                raise VideoError(f"{path}: announces more samples than a film can have")


def _boxes(file: IO[bytes]) -> Iterator[bytes]:
    """The content of each box of the file that may hold tables."""
    for _ in range(_MOST_BOXES):
        header = file.read(8)
        size, kind = int.from_bytes(header[:4], "big"), header[4:]
        if len(kind) < 4 or not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
            return
        length = size - 8
        if size == 0:
            length = _TO_THE_END
        elif size == 1:
            length = min(int.from_bytes(file.read(8), "big") - 16, _TO_THE_END)
        if length < 0:
            return
        after = file.tell() + length
        if kind not in _DATA:
            yield file.read(min(length, _MOST_READ))
        file.seek(after)


def _samples(content: bytes) -> int:
    """How many samples the tables in it announce, and FFmpeg would enter one by one."""
    fragments, track, found = 0, _Track(), 0
    for table in _TABLE.finditer(content):
        at, kind = table.end(), table[0]
        if kind == b"cmov":  # packed tables, as QuickTime had them long ago
            return _MOST_SAMPLES + 1
        if kind == b"trak":
            found += track.samples
            track = _Track()
        elif kind == b"hdlr":
            track.kinds.append(content[at + 8 : at + 12])
        elif kind == b"trun":
            fragments += _number(content, at + 4)
        elif kind == b"stts":
            track.times.append(tuple(_number(content, at + place) for place in (4, 12)))
        else:
            track.counts.append(_number(content, at + 8))
    return found + track.samples + fragments


def _number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "big")


class _Track:
    """The tables of one."""

    def __init__(self) -> None:
        self.kinds: list[bytes] = []  # "vide", "soun", ...
        self.counts: list[int] = []  # of samples
        self.times: list[tuple[int, ...]] = []  # entries, and the first one's duration

    @property
    def samples(self) -> int:
        # Sound that is not packed has a sample for each of its tens of thousands of times a second;
        # FFmpeg enters those a thousand at a time.
        plain = (
            b"soun" in self.kinds
            and b"vide" not in self.kinds
            and self.times == [(1, 1)]
            and len(self.counts) == 1
        )
        return sum(self.counts) // (1000 if plain else 1)
