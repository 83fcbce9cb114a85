"""Pictures of all kinds are read as RGB uint8; anything else gives a clear error."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from conftest import EXAMPLE
from faces import encoded
from semblante import ImageError, load_image
from semblante.images import is_picture
from semblante.picture_writing import save_picture

PHONE = Path(__file__).with_name("phone.heic")


def two_halves(mode: str, left: object, right: object) -> Image.Image:
    image = Image.new(mode, (40, 20), left)  # type: ignore[arg-type]
    image.paste(right, (20, 0, 40, 20))  # type: ignore[arg-type]
    return image


def declared_png(width: int, height: int) -> bytes:
    """A PNG that declares a size, but has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000"]
)
def test_every_format_gives_the_same_picture(format: str) -> None:
    picture = two_halves("RGB", (250, 10, 10), (10, 10, 250))
    found = load_image(encoded(picture, format))
    assert found.shape == (20, 40, 3)
    assert found.dtype == np.uint8
    assert np.abs(found[10, 5].astype(int) - [250, 10, 10]).max() < 12
    assert np.abs(found[10, 35].astype(int) - [10, 10, 250]).max() < 12


def test_a_phones_heic_is_upright() -> None:
    """The file is the example picture, stored on its side as phones do."""
    pytest.importorskip("pi_heif")
    found = load_image(PHONE)
    with Image.open(EXAMPLE) as picture:
        expected = np.asarray(picture.convert("RGB").resize((256, 256)))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 8
    with pytest.raises(ImageError, match=r"phone\.heic: .* pixels are too many"):
        load_image(PHONE, max_pixels=1000)
    with pytest.raises(ImageError, match="damaged or cut off"):
        load_image(PHONE.read_bytes()[:5000])


def test_heic_without_its_reader_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    expected = r'phone\.heic: reading HEIC needs more packages: pip install "semblante\[heic\]"'
    with pytest.raises(ImageError, match=expected):
        load_image(PHONE)


def test_path_text_path_and_bytes_agree() -> None:
    from_bytes = load_image(EXAMPLE.read_bytes())
    assert from_bytes.shape == (512, 512, 3)
    assert np.array_equal(load_image(EXAMPLE), from_bytes)
    assert np.array_equal(load_image(str(EXAMPLE)), from_bytes)


@pytest.mark.parametrize(
    ("picture", "format", "left", "right"),
    [
        pytest.param(two_halves("L", 0, 200), "PNG", 0, 200, id="grey"),
        pytest.param(two_halves("1", 0, 1), "PNG", 0, 255, id="one bit"),
        pytest.param(two_halves("I;16", 0, 65535), "PNG", 0, 255, id="16 bit"),
        pytest.param(two_halves("I;16", 257, 25700), "TIFF", 1, 100, id="16 bit TIFF"),
        pytest.param(two_halves("LA", (0, 255), (0, 0)), "PNG", 0, 255, id="grey with alpha"),
        pytest.param(
            two_halves("RGBA", (0, 0, 0, 255), (9, 9, 9, 0)), "PNG", 0, 255, id="transparent"
        ),
        pytest.param(
            two_halves("RGB", (0, 0, 0), (200, 200, 200)).quantize(2), "PNG", 0, 200, id="palette"
        ),
        pytest.param(two_halves("F", 0.0, 1.0), "TIFF", 0, 255, id="float"),
        pytest.param(two_halves("F", -3.0, 500.0), "TIFF", 0, 255, id="float of any range"),
    ],
)
def test_modes(picture: Image.Image, format: str, left: int, right: int) -> None:
    found = load_image(encoded(picture, format))
    assert found.shape == (20, 40, 3)
    assert np.abs(found[10, 5].astype(int) - left).max() <= 1
    assert np.abs(found[10, 35].astype(int) - right).max() <= 1


def test_palette_with_transparency() -> None:
    picture = two_halves("RGB", (0, 0, 0), (200, 200, 200)).quantize(2)
    dark = picture.getpixel((0, 0))
    found = load_image(encoded(picture, "PNG", transparency=dark))
    assert found[10, 5].tolist() == [255, 255, 255]


def test_cmyk_jpeg() -> None:
    found = load_image(encoded(two_halves("CMYK", (0, 0, 0, 0), (0, 255, 255, 0)), "JPEG"))
    assert found[10, 5].min() > 245  # no ink is white
    assert found[10, 35, 0] > 200  # magenta and yellow are red
    assert found[10, 35, 1:].max() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = two_halves("RGB", (255, 255, 255), (0, 0, 0))
    operations = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(operations[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("JPEG", "TIFF"):  # Pillow turns a TIFF itself
        data = encoded(stored, format, quality=95, exif=exif)
        for source in (data, Image.open(io.BytesIO(data))):
            found = load_image(source)
            assert found.shape == (20, 40, 3)
            assert found[10, 5].min() > 200
            assert found[10, 35].max() < 50


def test_an_odd_exif_tag_does_not_spoil_the_picture() -> None:
    """Width as a fraction, resolution as text: `ImageOps.exif_transpose` fails on both."""
    for tag, value in ((0x0100, 1.5), (0x011A, "many")):
        exif = Image.Exif()
        exif[0x0112] = 3
        data = bytearray(encoded(two_halves("RGB", "white", "black"), "JPEG", exif=exif))
        marker = data.index(b"Exif\0\0") + 6
        order = "<" if data[marker : marker + 2] == b"II" else ">"
        kinds = {float: (11, struct.pack(f"{order}f", 1.5)), str: (2, b"so\0\0")}
        kind, content = kinds[type(value)]
        entry = struct.pack(f"{order}HHI", tag, kind, 1 if kind == 11 else 3) + content
        count = struct.unpack(f"{order}H", data[marker + 8 : marker + 10])[0]
        end = marker + 10 + 12 * count
        data[marker + 8 : marker + 10] = struct.pack(f"{order}H", count + 1)
        data[end:end] = entry
        length = data.index(b"\xff\xe1") + 2
        old = struct.unpack(">H", data[length : length + 2])[0]
        data[length : length + 2] = struct.pack(">H", old + 12)
        found = load_image(bytes(data))
        assert found.shape == (20, 40, 3)
        assert found[10, 35].min() > 200  # rotated by 180 degrees: the white half is on the right


def test_a_picture_may_be_written_to() -> None:
    load_image(EXAMPLE)[0, 0] = 0


def test_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(EXAMPLE.read_bytes()), daemon=True)
    writer.start()  # a daemon, which Python does not wait for if nobody opens the pipe
    assert load_image(pipe).shape == (512, 512, 3)


def test_levels_in_32_bits() -> None:
    for level, limit in ((200, 255), (40_000, 65_535)):
        grey = Image.fromarray(np.array([[0, level]], np.int32))
        assert load_image(encoded(grey, "TIFF"))[0, :, 0].tolist() == [
            0,
            round(level / limit * 255),
        ]
    dark = Image.fromarray(np.array([[0, 200]], np.uint16))  # as from a 16-bit camera
    assert load_image(encoded(dark, "TIFF"))[0, :, 0].tolist() == [0, 1]


def tiff(data: bytes, bits: int, *, white_is_zero: bool = False, kind: int = 1) -> bytes:
    """Two grey pixels side by side, in a file that Pillow would not write (TIFF 6.0)."""
    tags = {
        256: 2, 257: 1, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 8, 277: 1, 278: 1,
        279: len(data), 339: kind,
    }  # fmt: skip
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    place = 8 + len(data) + len(data) % 2
    table = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", place) + data.ljust(place - 8, b"\0") + table


@pytest.mark.parametrize(
    ("file", "levels"),
    [
        (tiff(struct.pack("<2H", 0, 65535), 16), [0, 255]),
        (tiff(struct.pack("<2H", 0, 65535), 16, white_is_zero=True), [255, 0]),
        (tiff(struct.pack("<2f", 0.25, 0.75), 32, white_is_zero=True, kind=3), [255, 0]),
        (tiff(bytes([0x00, 0x0F, 0xFF]), 12), [0, 255]),
        (tiff(bytes([0x80, 0x0F, 0xFF]), 12), [128, 255]),
        (tiff(struct.pack("<2I", 0, 2**32 - 1), 32), [0, 255]),
        (tiff(struct.pack("<2i", -5, 5), 32, kind=2), [0, 255]),
    ],
)
def test_what_a_tiff_says_of_its_levels(file: bytes, levels: list[int]) -> None:
    assert load_image(file)[0, :, 0].tolist() == levels


def test_a_png_with_a_wrong_sum_is_damaged() -> None:
    """All of its rows are there, but the second half was overwritten with zeros."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    whole = encoded(Image.fromarray(noise), "PNG", compress_level=0)
    assert np.array_equal(load_image(whole), noise)
    half = len(whole) // 2
    with pytest.raises(ImageError, match="damaged"):
        load_image(whole[:half] + bytes(100) + whole[half + 100 :])


def test_16_bits_for_each_colour() -> None:
    colours = np.array([[[0, 65535, 32768], [257, 514, 65000]]], ">u2")
    wide = load_image(b"P6 2 1 65535\n" + colours.tobytes())
    assert wide.tolist() == [[[0, 255, 128], [1, 2, 253]]]
    assert wide.flags.writeable
    assert wide.flags.c_contiguous
    assert load_image(b"P6 2500 1700 65535\n" + bytes(6 * 2500 * 1700)).shape == (1700, 2500, 3)
    with pytest.raises(ImageError, match="damaged or cut off"):
        load_image(b"P6 2 1 65535\n" + bytes(11))


def test_a_tall_picture_of_16_bits() -> None:
    tall = np.arange(60_000, dtype=np.uint16)[:, None]  # converted a few rows at a time
    assert (
        np.diff(load_image(encoded(Image.fromarray(tall), "PNG"))[:, 0, 0].astype(int)) >= 0
    ).all()


def test_a_picture_for_which_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("semblante.images._to_rgb", full)
    with pytest.raises(ImageError, match="there is not enough memory to read it"):
        load_image(EXAMPLE)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, OSError), (errno.EDQUOT, OSError), (errno.EACCES, ImageError)],
)
def test_a_full_disk_is_not_the_fault_of_one_picture(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("semblante.picture_writing.write_atomically", failing)
    with pytest.raises(kind) as caught:
        save_picture(np.zeros((9, 9, 3), np.uint8), tmp_path / "a.png")
    assert caught.type is kind


def test_one_pixel() -> None:
    assert load_image(encoded(Image.new("RGB", (1, 1), "red"), "PNG")).tolist() == [[[255, 0, 0]]]


def test_arrays() -> None:
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(load_image(rgb), rgb)
    grey = np.full((3, 5), 7, np.uint8)
    assert np.array_equal(load_image(grey), np.full((3, 5, 3), 7))
    assert np.array_equal(load_image(grey[:, :, None]), np.full((3, 5, 3), 7))
    clear = np.zeros((2, 2, 4), np.uint8)
    assert load_image(clear).min() == 255  # transparent, so white shows


def test_pillows_own_pictures_and_open_files() -> None:
    """`numpy.asarray` alone would turn palettes and CMYK into wrong colours."""
    expected = load_image(EXAMPLE).astype(int)
    with Image.open(EXAMPLE) as picture:
        assert np.array_equal(load_image(picture), expected)
        assert np.abs(load_image(picture.quantize(256)) - expected).mean() < 6
        assert np.abs(load_image(picture.convert("CMYK")) - expected).mean() < 2
    turned = Image.new("RGB", (40, 20))
    turned.getexif()[0x0112] = 6
    assert load_image(turned).shape == (40, 20, 3)
    with EXAMPLE.open("rb") as file:
        assert np.array_equal(load_image(file), expected)
    with pytest.raises(ImageError, match="the open file cannot be read: read of closed file"):
        load_image(file)
    deep = encoded(two_halves("I;16", 257, 25700), "TIFF", tiffinfo={262: 0})  # white is zero
    with Image.open(io.BytesIO(deep)) as picture:
        assert np.array_equal(load_image(picture), load_image(deep))
    with pytest.raises(ImageError, match="40x20 pixels are too many"):
        load_image(turned, max_pixels=700)
    cut = Image.open(io.BytesIO(EXAMPLE.read_bytes()[:30_000]))
    with pytest.raises(ImageError, match="damaged or cut off"):
        load_image(cut)


class Numbered(os.PathLike[str]):
    def __fspath__(self) -> str:
        return 3  # type: ignore[return-value]


def read_to_its_end() -> io.BytesIO:
    file = io.BytesIO(EXAMPLE.read_bytes())
    file.read()
    return file


def half(form: str) -> bytes:
    """The first half of a file; a TIFF's directory, which says what it is, is in the second."""
    data = encoded(two_halves("RGB", 0, 9), form, compression="tiff_lzw")
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(b"", "empty", id="empty file"),
        pytest.param(b"emotion,pixels,Usage\n", "not a picture", id="text"),
        pytest.param(EXAMPLE.read_bytes()[:30_000], "cut off", id="truncated JPEG"),
        pytest.param(EXAMPLE.read_bytes()[:40], "damaged|not a picture", id="truncated header"),
        pytest.param(declared_png(30_000, 30_000), "too many", id="30,000 x 30,000"),
        pytest.param(declared_png(1, 100_001), "a side of 100001 pixels", id="a thread"),
        pytest.param(declared_png(2_000_000_000, 2), "too many|damaged", id="absurdly wide"),
        pytest.param(declared_png(100, 100), "cut off", id="PNG without its pixels"),
        pytest.param(b"%PDF-1.7 something", "not a picture", id="PDF"),
        pytest.param(np.zeros((4, 4, 3), np.float32), "uint8", id="float array"),
        pytest.param(np.zeros((4, 4, 2), np.uint8), "shape", id="two channels"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), "shape", id="empty array"),
        pytest.param(np.zeros((4,), np.uint8), "shape", id="one dimension"),
        pytest.param(np.zeros((1, 4, 4, 3), np.uint8), "shape", id="a batch"),
        pytest.param(Path("no/such/file.jpg"), "cannot be read: No such file", id="missing"),
        pytest.param("", "expected a file's name, found an empty one", id="no name"),
        pytest.param("a\0b.jpg", "cannot be read: embedded null", id="impossible name"),
        pytest.param(encoded(two_halves("F", 0.0, float("nan")), "TIFF"), "finite", id="NaN"),
        pytest.param(Path(__file__).parent, "cannot be read: Is a directory", id="folder"),
        pytest.param(np.array(5, np.uint8), "shape", id="a number"),
        pytest.param(None, "expected a path, bytes, a file .*, found NoneType", id="None"),
        pytest.param(io.BytesIO(b"x"), "not a picture in a known format", id="a file"),
        pytest.param(
            read_to_its_end(), r"empty, or was read to its end: seek\(0\)", id="at its end"
        ),
        pytest.param(half("TIFF"), "cut off: (no whole TIFF|Corrupt)", id="half a TIFF"),
        pytest.param(half("AVIF"), "cut off: no whole AVIF", id="half an AVIF"),
        pytest.param(io.StringIO("x"), "a file open in binary, .* found StringIO", id="a text"),
        pytest.param(Image.new("RGB", (0, 0)), "with pixels, found 0x0", id="no pixels"),
        pytest.param(Numbered(), r"expected a path: .* to return str or bytes", id="odd path"),
        pytest.param("https://example.org/a.jpg", "https://example.org/a.jpg: .* no URL", id="URL"),
    ],
)
def test_bad_input(source: object, expected: str) -> None:
    with pytest.raises(ImageError, match=expected) as caught:
        load_image(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_with_long_texts(kind: bytes, tmp_path: Path) -> None:
    """Pillow refuses more than a megabyte of each."""
    image = Image.open(EXAMPLE)
    about, profile, text = PngImagePlugin.PngInfo(), None, "0123456789abcdef" * 70_000
    if kind == b"iCCP":
        profile = text.encode()
    elif kind == b"iTXt":
        about.add_itxt("XML:com.adobe.xmp", text, zip=True)
    else:
        about.add_text("Comment", text, zip=True)
    path = tmp_path / "picture.png"
    image.save(path, pnginfo=about, icc_profile=profile)
    data = path.read_bytes()
    assert kind in data
    for source in (path, data):
        np.testing.assert_array_equal(load_image(source), np.asarray(image))
    assert is_picture(path)
    # What else is wrong is still told: a damaged picture, a file that is cut off.
    for broken in (data[:-20], data[:-1000] + bytes(1000)):
        with pytest.raises(ImageError, match="damaged or cut off"):
            load_image(broken)


def test_pillows_own_limit_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns about pictures that we read, and refuses those above twice its limit."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings(action="error"):
        assert load_image(EXAMPLE).shape == (512, 512, 3)
        assert load_image(encoded(two_halves("RGB", 0, 9), "PNG")).shape == (20, 40, 3)


def test_reading_on_several_threads_leaves_the_warnings_as_they_are() -> None:
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load_image, [EXAMPLE] * 16))
    assert warnings.filters == before


def test_a_tiff_that_begins_with_its_thumbnail() -> None:
    picture = Image.fromarray(load_image(EXAMPLE))
    picture.encoderinfo = {"tiffinfo": TiffImagePlugin.ImageFileDirectory_v2()}
    file = io.BytesIO()
    thumbnail = picture.resize((64, 64))
    thumbnail.save(
        file, "TIFF", tiffinfo=marked_as_thumbnail(), save_all=True, append_images=[picture]
    )
    np.testing.assert_array_equal(load_image(file.getvalue()), np.asarray(picture))


def test_a_scan_of_several_pages_begins_with_the_first() -> None:
    pages = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    for page in pages:
        page.encoderinfo = {"tiffinfo": of_kind(2)}  # one of many, and no thumbnail
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    assert load_image(file.getvalue())[0, 0].tolist() == [255, 0, 0]


def test_a_raw_picture_whose_thumbnail_alone_can_be_read() -> None:
    raw = encoded(Image.new("RGB", (64, 64)), "TIFF", tiffinfo=marked_as_thumbnail())
    with pytest.raises(ImageError, match="only its thumbnail can be read"):
        load_image(raw)


def marked_as_thumbnail() -> TiffImagePlugin.ImageFileDirectory_v2:
    return of_kind(1)


def of_kind(kind: int) -> TiffImagePlugin.ImageFileDirectory_v2:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = kind  # TIFF 6.0, section 8: NewSubfileType
    return tags


def test_a_tiff_of_colours_in_floats() -> None:
    data = bytearray(tiff(struct.pack("<2f", 0.25, 0.75), 32, kind=3))
    interpretation = data.index(struct.pack("<H", 262))
    data[interpretation + 8] = 2  # RGB
    with pytest.raises(ImageError, match="a TIFF of a kind that is not read"):
        load_image(bytes(data))
