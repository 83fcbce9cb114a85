"""Refuses MP4 and MOV files that announce impossibly many samples, before FFmpeg opens them.

On opening a file, FFmpeg makes an entry of some 24 bytes for each sample (a frame, say) that the
file's tables announce. A table need not list them: a few bytes can announce billions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from semblante.errors import VideoError

_MOST_SAMPLES: Final = 20_000_000  # a day at 240 frames a second
_MOST_READ: Final = 200_000_000  # bytes of a box with tables; a long film's has a few million
_MOST_BOXES: Final = 1_000_000
_DEEPEST: Final = 10  # levels of nested boxes, as in FFmpeg
_TO_THE_END: Final = 2**40
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
    than a film can have; files of other formats pass. Raises `OSError` for unreadable files."""
    tracks = [_Track()]  # the first one is for tables outside any track
    with path.open("rb") as file:
        for kind, content in _boxes_of_file(file):
            _read(kind, content, tracks)
    if sum(track.samples for track in tracks) > _MOST_SAMPLES:
        raise VideoError(f"{path}: announces more samples than a film can have")


def _boxes_of_file(file: IO[bytes]) -> Iterator[tuple[bytes, memoryview]]:
    """Yield kind and content of each box at the top level that contains other boxes."""
    for _ in range(_MOST_BOXES):
        header = file.read(8)
        size, kind = int.from_bytes(header[:4], "big"), header[4:]
        length = size - 8
        if size == 0:
            length = _TO_THE_END
        elif size == 1:
            length = min(int.from_bytes(file.read(8), "big") - 16, _TO_THE_END)
        if len(kind) < 4 or length < 0:
            return
        after = file.tell() + length
        if kind in _HOLDERS:
            yield kind, memoryview(file.read(min(length, _MOST_READ)))
        file.seek(after)


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield kind and content of each box inside a box."""
    at = 0
    while at + 8 <= len(content):
        size, kind = _number(content, at), bytes(content[at + 4 : at + 8])
        start, end = at + 8, at + size
        if size == 0:
            end = len(content)
        elif size == 1:
            start, end = at + 16, at + int.from_bytes(content[at + 8 : at + 16], "big")
        if end < start:
            return
        yield kind, content[start:end]
        at = end


def _read(kind: bytes, content: memoryview, tracks: list[_Track], depth: int = 0) -> None:
    """Add what a box and those inside it announce to the last of `tracks`; `trak` begins one."""
    if kind == b"trak":
        tracks.append(_Track())
    track = tracks[-1]
    if kind in _HOLDERS and depth < _DEEPEST:
        inside = content[4:] if kind == b"meta" and _number(content, 4) != 0x68646C72 else content
        for one, its_content in _boxes(inside):
            _read(one, its_content, tracks, depth + 1)
    elif kind == b"hdlr":
        track.kinds.append(bytes(content[8:12]))
    elif kind == b"stts":
        track.times.append((_number(content, 4), _number(content, 12)))
    elif kind in (b"stsz", b"stz2"):
        track.add(_number(content, 8))
    elif kind == b"trun":
        track.add(_number(content, 4))
    elif kind == b"cmov":  # compressed tables of an old QuickTime: they could announce anything
        track.add(_MOST_SAMPLES + 1)


def _number(content: memoryview, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "big")
