"""Checks of a picture file before Pillow decodes it.

A small malicious file can keep a decoder busy for minutes, or make it allocate gigabytes, before
the size of the picture is known. Files that no camera and no program writes are refused.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import IO, Any, Final

from PIL import Image, ImageFile, TiffImagePlugin

MAX_PIPE_BYTES: Final = 500_000_000
_MOST_CHUNKS: Final = 100_000  # in a PNG; a chunk usually holds eight kilobytes
_LONGEST_HEADER: Final = 100_000  # of a PNM, in bytes
_COMMENT: Final = re.compile(rb"#[^\r\n]*")
# A progressive JPEG has about ten scans, each of which covers the whole picture; a small file with
# thousands of scans keeps the decoder busy for minutes.
_MOST_SCANS: Final = 100
# In a plain-text PNM, Pillow's time grows with the square of the number of comments.
_MOST_COMMENTS: Final = 100
_MOST_SLOW: Final = 4_000_000  # pixels of a PNM whose pixels Pillow decodes one by one
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF 6.0's tags


def check_start(format: str, file: IO[bytes]) -> None:
    """Raise `ValueError` if just opening the file would take too long. Its first bytes are those of
    `format`, a Pillow format name."""
    if format == "PNG":
        _check_chunks(file)
    if format == "PPM":
        _check_header(file)


def size_to_decode(image: Image.Image) -> tuple[int, int]:
    """Return width and height; those of a TIFF's tile if it is larger, as tiles are decoded
    whole."""
    tags = tags_of(image)
    tile = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    return max(image.size, tile, key=math.prod)


def tags_of(image: Image.Image) -> Mapping[int, Any]:
    """Return a TIFF's tags by number; empty for other formats."""
    return image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def why_not_to_decode(image: ImageFile.ImageFile, file: IO[bytes]) -> str | None:
    """Return why an opened picture should not be decoded, or None if it may be."""
    if image.format in ("JPEG", "MPO") and _scans(file) > _MOST_SCANS:
        return f"a JPEG in more than {_MOST_SCANS} scans is not read"
    if image.format != "PPM" or image.tile[0].codec_name == "raw":
        return None
    if image.tile[0].codec_name == "ppm_plain" and all_of(file).count(b"#") > _MOST_COMMENTS:
        return f"a PNM with more than {_MOST_COMMENTS} comments is not read"
    if math.prod(image.size) > _MOST_SLOW:
        return (
            "a PNM in plain text, or of other levels than 255 or 65535, is read up to "
            f"{_MOST_SLOW // 1_000_000} megapixels"
        )
    return None


def is_about_texts(error: ValueError) -> bool:
    """Whether Pillow refuses a PNG because of its texts (XMP is one) or its colour profile: it
    keeps them in memory, and allows each a megabyte."""
    return "MAX_TEXT_" in str(error)


def png_without_texts(data: bytes) -> bytes:
    """Return the bytes of a PNG file without its texts and its colour profile."""
    kept, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def all_of(file: IO[bytes]) -> bytes:
    """Return the whole content of a file, and leave its position unchanged."""
    place = file.tell()
    file.seek(0)
    data = file.read(MAX_PIPE_BYTES)
    file.seek(place)
    return data


def _check_chunks(file: IO[bytes]) -> None:
    """Raise `ValueError` for a PNG with more chunks than any real picture has: Pillow takes time
    for each of them, even if it is empty."""
    file.seek(8)
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    raise ValueError(f"in more than {_MOST_CHUNKS} chunks")


def _check_header(file: IO[bytes]) -> None:
    """Raise `ValueError` for a PNM whose header, with its comments, is longer than in any real
    picture: Pillow reads it byte by byte."""
    file.seek(0)
    words = _COMMENT.sub(b"", file.read(_LONGEST_HEADER)).split(None, 3)
    if len(words) < 3 and file.read(1):
        raise ValueError(f"a header of more than {_LONGEST_HEADER} bytes")


# A marker that ends the data of a scan: any marker except FF00 and RST0..7 (FFD0..FFD7), which are
# part of that data. Any number of further FF bytes may precede it.
_MARKER: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SOI, _EOI, _SOS = b"\xd8", b"\xd9", b"\xda"


def _scans(file: IO[bytes]) -> int:
    """Return the number of scans in a JPEG (ITU-T T.81, annex B)."""
    data = all_of(file)
    scans, at = 0, 0
    while (marker := _MARKER.search(data, at)) and marker[1] != _EOI:
        at = marker.end()
        scans += marker[1] == _SOS
        if marker[1] != _SOI:
            at += int.from_bytes(data[at : at + 2], "big")
    return scans
