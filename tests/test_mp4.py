"""Films that announce more than they hold."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from semblante import VideoError
from semblante.recognise.mp4 import check_tables
from semblante.recognise.video import Video


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full_box(kind: bytes, *numbers: int, content: bytes = b"") -> bytes:
    return box(kind, struct.pack(f">{len(numbers) + 1}I", 0, *numbers) + content)


def announcing(n: int, handler: bytes = b"vide", *, size: int = 1) -> bytes:
    """An MP4 with a track of so many samples, which are not there."""
    tables = [
        full_box(b"stsd", 0), full_box(b"stts", 1, n, 1), full_box(b"stsc", 1, 1, n, 1),
        full_box(b"stsz", size, n), full_box(b"stco", 1, 40),
    ]  # fmt: skip
    media = full_box(b"hdlr", 0, content=handler + bytes(14))
    track = box(b"trak", box(b"mdia", media, box(b"minf", box(b"stbl", *tables))))
    return box(b"ftyp", b"isom", bytes(4)) + box(b"mdat", bytes(64)) + box(b"moov", track)


@pytest.mark.parametrize(
    "data",
    [
        announcing(60_000_000),  # of which FFmpeg makes 1.4 GB
        box(b"free", bytes(9)) + announcing(60_000_000, size=0),
        announcing(15_000_000) + announcing(15_000_000),
        # As many fragments as a day of stream has, which are counted once each.
        box(b"moof", box(b"traf", full_box(b"trun", 300))) * 86_400,
        box(b"ftyp", b"isom") + box(b"moof", box(b"traf", full_box(b"trun", 2_000_000_000))),
        box(b"ftyp", b"qt  ") + box(b"moov", box(b"cmov", bytes(40))),  # packed: who knows
    ],
)
def test_a_film_of_more_frames_than_any_has(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "film.mp4").write_bytes(data)
    with pytest.raises(VideoError, match="announces more samples than a film can have"):
        Video(tmp_path / "film.mp4")


@pytest.mark.parametrize(
    "data",
    [
        announcing(1000), announcing(500_000_000, b"soun"), b"RIFF" + bytes(40),
        b"\x1aE\xdf\xa3" * 9, b"YUV4MPEG2 W2 H2" + bytes(60), b"\0\0\0\3moov",
        box(b"ftyp", b"isom") + box(b"moov", box(b"udta", box(b"\xa9nam", b"An elephant's trunk"))),
        box(b"moov", bytes(3)) + b"\0\0\0\1wide" + b"\xff" * 8 + b"x",
    ],
)  # fmt: skip
def test_what_other_files_announce_is_no_matter(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "film.mp4").write_bytes(data)
    check_tables(tmp_path / "film.mp4")


def test_a_film_in_more_parts_than_any_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its tables may lie behind the parts that are looked at."""
    monkeypatch.setattr("semblante.recognise.mp4._MOST_BOXES", 100)
    path = tmp_path / "film.mp4"
    path.write_bytes(box(b"free") * 80 + announcing(1000))
    check_tables(path)
    for data in (box(b"free") * 101, box(b"moov", box(b"udta", box(b"free") * 101))):
        path.write_bytes(data + announcing(1000))
        with pytest.raises(VideoError, match=r"film\.mp4: an MP4 of more than 100 boxes"):
            check_tables(path)
