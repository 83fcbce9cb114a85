"""Refuses MP4 and MOV files that announce impossibly many samples, before FFmpeg opens them.

On opening a file, FFmpeg makes an entry of some 24 bytes for each sample (a frame, say) that the
file's tables announce. A table need not list them: a few bytes can announce billions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from semblante.errors import VideoError

_MOST_SAMPLES: Final = 20_000_000  # a day at 240 frames a second
_MOST_BOXES: Final = 3_000_000  # a day in fragments of a second has a million
_DEEPEST: Final = 10  # levels of nested boxes, as in FFmpeg
# Boxes that contain other boxes, in which FFmpeg looks for tables.
_HOLDERS: Final = frozenset(
    b"moov hoov moof traf trak mdia minf stbl edts mvex tref udta wave dinf sinf schi meta rmra "
    b"rmda gmhd mfra".split()
)


@dataclass
class _Track:
    """What the tables of one track announce."""

    kinds: list[bytes] = field(default_factory=list)  # "vide", "soun", ...
    tables: int = 0  # number of tables that announce samples
    announced: int = 0  # samples, in all these tables
    # Of each table of times: its number of entries, and the first one's duration.
    times: list[tuple[int, int]] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """The number of entries that FFmpeg makes. Uncompressed sound has tens of thousands of
        samples a second; FFmpeg makes one entry for a thousand of them."""
        is_sound = b"soun" in self.kinds and b"vide" not in self.kinds
        plain = is_sound and self.times == [(1, 1)] and self.tables == 1
        return self.announced // (1000 if plain else 1)

    def add(self, samples: int) -> None:
        """Count the samples of another table."""
        self.tables += 1
        self.announced += samples


def check_tables(path: Path) -> None:
    """Raise `VideoError` where an MP4 or MOV (ISO/IEC 14496-12, 8.6 to 8.8) announces more samples
    than a film can have, or has too many boxes to find out; files of other formats pass. Raises
    `OSError` for unreadable files."""
    with path.open("rb") as file:
        tables = _Tables(file)
        tables.read(0, file.seek(0, os.SEEK_END))
    if sum(track.samples for track in tables.tracks) > _MOST_SAMPLES:
        raise VideoError(f"{path}: announces more samples than a film can have")
    if tables.boxes > _MOST_BOXES:
        raise VideoError(f"{path}: an MP4 of more than {_MOST_BOXES} boxes, too many to check")


class _Tables:
    """What the tables of a file announce, by tracks."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tracks = [_Track()]  # the first one is for tables outside any track
        self.boxes = 0  # that were read, one more than `_MOST_BOXES` at most

    def read(self, at: int, end: int, depth: int = 0) -> None:
        """Read all boxes between two places in the file, and those inside them."""
        while at + 8 <= end and self.boxes <= _MOST_BOXES:
            self.boxes += 1
            self._file.seek(at)
            # A header, of 8 or 16 bytes, and the numbers behind it.
            head = self._file.read(min(32, end - at))
            size, kind, start = _number(head, 0), head[4:8], 8
            if size == 0:
                size = end - at
            elif size == 1:
                size, start = int.from_bytes(head[8:16], "big"), 16
            if size < start:
                return
            self._add(kind, head[start:size], at + start, min(at + size, end), depth)
            at += size

    def _add(self, kind: bytes, content: bytes, start: int, end: int, depth: int) -> None:
        """Add what a box announces to the last track; `trak` begins one. `content`: as much of it
        as matters; `start` and `end`: where it is in the file."""
        if kind == b"trak":
            self.tracks.append(_Track())
        track = self.tracks[-1]
        if kind in _HOLDERS and depth < _DEEPEST:
            if kind == b"meta" and content[4:8] != b"hdlr":  # elsewhere than in QuickTime
                start += 4
            self.read(start, end, depth + 1)
        elif kind == b"hdlr":
            track.kinds.append(content[8:12])
        elif kind == b"stts":
            track.times.append((_number(content, 4), _number(content, 12)))
        elif kind in (b"stsz", b"stz2"):
            track.add(_number(content, 8))
        elif kind == b"trun":
            track.add(_number(content, 4))
        elif kind == b"cmov":  # compressed tables of an old QuickTime: they could announce anything
            track.add(_MOST_SAMPLES + 1)


def _number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "big")
