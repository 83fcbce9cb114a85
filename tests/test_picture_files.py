"""Picture files that would keep Pillow busy for minutes, or take gigabytes."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from conftest import EXAMPLE
from faces import encoded
from semblante import ImageError, load_image


def test_a_jpeg_in_thousands_of_scans_is_refused() -> None:
    """A file of 40 KB, but each scan covers all 81 million pixels."""
    data = encoded(Image.new("L", (16, 16), 90), "JPEG", progressive=True)
    size = data.index(b"\xff\xc2") + 5
    data = data[:size] + struct.pack(">HH", 9000, 9000) + data[size + 4 :]
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="in more than 100 scans"):
        load_image(data[:last] + data[last:-2] * 3000 + b"\xff\xd9")
    # Data that a phone appends does not count as scans, nor does the thumbnail in the EXIF data.
    with_film = EXAMPLE.read_bytes() + b"\xff\xda\0\4" * 3000
    assert np.array_equal(load_image(with_film), load_image(EXAMPLE))


def test_padding_in_a_jpeg_costs_no_time() -> None:
    """Any number of FF bytes may precede a marker: 50 kB of them once took twenty seconds."""
    data = EXAMPLE.read_bytes()
    padded = data[:-2] + b"\xff" * 1_000_000 + b"\0" + data[-2:]
    assert np.array_equal(load_image(padded), load_image(data))
    filled = data[:2] + b"\xff" * 5000 + data[2:]
    assert np.array_equal(load_image(filled), load_image(data))


def test_a_plain_pnm_with_thousands_of_comments_is_refused() -> None:
    """Pillow takes half a minute for two megabytes of comments."""
    header = b"P3\n2 1\n255\n"
    with pytest.raises(ImageError, match="a PNM with more than 100 comments is not read"):
        load_image(header + b"#\n" * 1_000_000 + b"9 9 9 8 8 8")
    picture = load_image(header + b"# made by hand\n" * 9 + b"9 9 9 8 8 8")
    assert picture.tolist() == [[[9, 9, 9], [8, 8, 8]]]
    raw = b"P5\n60 50\n255\n" + b"#" * 3000  # these # are levels, not comments
    assert (load_image(raw) == ord("#")).all()


def test_a_pnm_that_is_decoded_number_by_number_may_not_be_large() -> None:
    """25 megapixels with four levels took 23 seconds."""
    for header, data in ((b"P5 3000 3000 3\n", bytes(9_000_000)), (b"P2 3000 3000 255\n", b"1 ")):
        with pytest.raises(ImageError, match="is read up to 4 megapixels"):
            load_image(header + data)
    assert load_image(b"P5 2 1 3\n\x00\x03").tolist() == [[[0] * 3, [255] * 3]]
    assert load_image(b"P5 3000 3000 255\n" + bytes(9_000_000)).shape == (3000, 3000, 3)


def test_headers_without_end_cost_no_time() -> None:
    """Pillow reads such files byte by byte, or chunk by chunk, for up to twenty seconds."""
    empty = b"\0\0\0\0teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    data = encoded(Image.new("L", (5, 4), 7), "PNG")
    start = 8 + 25  # the signature, and the first chunk
    few = load_image(data[:start] + empty * 1000 + data[start:])
    assert (few == 7).all()
    with pytest.raises(ImageError, match="in more than 100000 chunks"):
        load_image(data[:start] + empty * 200_000 + data[start:])
    comments = b"P6\n" + b"# words\n" * 100
    assert load_image(comments + b"1 1 255\n" + b"\1\2\3").tolist() == [[[1, 2, 3]]]
    with pytest.raises(ImageError, match="a header of more than 100000 bytes"):
        load_image(b"P6\n" + b"# words\n" * 20_000 + b"1 1 255\n" + b"\1\2\3")


def test_a_tiffs_tiles_count_as_its_size() -> None:
    """Tiles are decoded whole: a picture of 16 x 16 in a tile of 40,000 x 40,000 takes 1.6 GB."""
    tags = {256: 16, 257: 16, 258: 8, 259: 32773, 262: 1, 277: 1, 322: 40_000, 323: 40_000,
            324: 200, 325: 60}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with pytest.raises(ImageError, match="40000x40000 pixels are too many"):
        load_image(data.ljust(260, b"\0"))
