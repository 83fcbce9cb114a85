"""Read pictures from paths, bytes or arrays as RGB uint8."""

from __future__ import annotations

import io
import math
import os
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from semblante.errors import ImageError, MissingExtraError, reason_of
from semblante.picture_files import (
    MAX_PIPE_BYTES,
    all_of,
    check_start,
    is_about_texts,
    png_without_texts,
    size_to_decode,
    tags_of,
    why_not_to_decode,
)

RgbImage = npt.NDArray[np.uint8]  # (H, W, 3), levels 0..255
# A path, the bytes of a picture file, an open file, a Pillow image, or a uint8 array: RGB
# (H, W, 3), RGBA (H, W, 4) or grey (H, W).
ImageSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview
    | IO[bytes] | Image.Image | npt.NDArray[Any]
)  # fmt: skip

# 150 megapixels, 450 MB once decoded: phones take pictures of 108 megapixels. The size that a file
# declares is checked before anything is decoded.
MAX_PIXELS: Final = 150_000_000
_LONGEST_SIDE: Final = 100_000  # of a picture one pixel wide, each row would take time and memory
# Pictures with more pixels are decoded one at a time: each takes up to two gigabytes meanwhile.
_LARGE_PIXELS: Final = 25_000_000
_LARGE_LOCK: Final = threading.Lock()
# Pillow's other formats (PDF, PSD, EPS, ...) are not photographs, or run external programs.
_READERS: Final = (
    JpegImagePlugin.JpegImageFile,  # MPO too: several JPEGs in one file, from phones
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    AvifImagePlugin.AvifImageFile,
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    TiffImagePlugin.TiffImageFile,
    PpmImagePlugin.PpmImageFile,
    Jpeg2KImagePlugin.Jpeg2KImageFile,
)
FORMATS: Final = tuple(reader.format for reader in _READERS)
# Other formats' first bytes are so short that a text may have them.
_SIGNED: Final = tuple(form for form in FORMATS if form not in ("BMP", "PPM"))
# HEIF files with HEVC pictures name one of these brands in their first bytes; AVIF has others.
_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_PICTURE_BRANDS: Final = (b"avif", b"avis", b"mif1", b"msf1", b"crx ")  # AVIF, HEIF, Canon's raw
_TIFF: Final = (b"II*\0", b"MM\0*")  # how these files begin
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 254, 258, 262, 339  # TIFF 6.0's tags
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_MOST_THUMBNAILS: Final = 8  # pages; Pillow takes time for each
_AT_ONCE: Final = 1_000_000  # levels
JPEG_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
SUFFIXES: Final = frozenset(
    {
        *JPEG_SUFFIXES,
        *(".png", ".apng", ".webp", ".avif", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".heic", ".heif", ".hif"),
    }
)


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> RgbImage:
    """Read a picture as RGB uint8 (H, W, 3), turned upright as its EXIF orientation says.

    `source` is a path, the bytes of a picture file, a file open for reading, a Pillow image, or an
    array: uint8, (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey. Transparent parts are laid over
    white; 16-bit pictures are scaled to 8 bits; an animation gives its first frame. Raises
    `ImageError` for a file that is missing, empty, damaged, cut off or not a picture, and for a
    picture with more than `max_pixels`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(bytes(source)), "picture", max_pixels)
    if isinstance(source, Image.Image):
        return _from_pillow(source, max_pixels)
    named = path_of(source)
    if named is None:
        try:
            read = getattr(source, "read", None)
            data = read(MAX_PIPE_BYTES) if read else None
        except (OSError, ValueError) as error:  # closed, or opened for writing
            raise ImageError(f"the open file cannot be read: {reason_of(error)}") from None
        if data == b"":
            raise ImageError("the open file is empty, or was read to its end: seek(0)")
        if isinstance(data, bytes):
            return _decode(io.BytesIO(data), "picture", max_pixels)
        raise ImageError(
            "expected a path, bytes, a file open in binary, a picture of Pillow's or an array, "
            f"found {type(source).__name__}"
        )
    if not named:
        raise ImageError("expected a file's name, found an empty one")
    path = Path(named)
    try:
        with path.open("rb") as file:
            if path.is_file():
                return _decode(file, str(path), max_pixels)
            # A pipe is read whole first, because Pillow needs to seek.
            return _decode(io.BytesIO(file.read(MAX_PIPE_BYTES)), str(path), max_pixels)
    except OSError as error:
        if "://" in named:
            raise ImageError(f"{named}: expected a file's path, or its bytes: no URL") from None
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a name that no file can have, with a null byte for example
        raise ImageError(f"{str(path)!r}: cannot be read: {error}") from None


def path_of(source: ImageSource) -> str | None:
    """Return the path if `source` is one, else None; raises `ImageError` if its `__fspath__`
    returns neither text nor bytes."""
    if not isinstance(source, (str, os.PathLike)):
        return None
    try:
        return os.fsdecode(source)
    except TypeError as error:
        raise ImageError(f"expected a path: {error}") from None


def is_picture(path: Path) -> bool:
    """Whether the start of a file is that of a picture in a known format."""
    try:
        with path.open("rb") as file:
            if _is_heic(file.read(64)):
                return True
            opened(file, FORMATS)
    except ValueError as error:
        return is_about_texts(error)
    except Exception:  # whatever a decoder makes of something else
        return False
    return True


def colour_profile(source: Path | bytes) -> bytes | None:
    """Return the ICC profile of a picture, a file or its bytes, which says what colours its numbers
    mean: those of iPhones mean Display P3. None if it has none, or one of other colours than RGB,
    which `load_image` has converted."""
    try:
        if isinstance(source, Path) and not source.is_file():  # a pipe is read only once
            return None
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            formats = (*FORMATS, _heic_reader()) if _is_heic(file.read(64)) else FORMATS
            profile = opened(file, formats).info.get("icc_profile")
    except Exception:  # whatever a decoder makes of something else
        return None
    named = isinstance(profile, bytes) and profile[16:20] == b"RGB "  # ICC.1, section 7.2.6
    return profile if named else None


def _decode(file: IO[bytes], name: str, max_pixels: int) -> RgbImage:
    """Decode a picture file. Whatever goes wrong is raised as an `ImageError` that begins with
    `name`."""
    head = file.read(64)
    if not head:
        raise ImageError(f"{name}: the file is empty")
    try:
        try:
            return _decoded(file, _is_heic(head), max_pixels)
        except ValueError as error:
            if not is_about_texts(error):
                raise
            return _decoded(io.BytesIO(png_without_texts(all_of(file))), False, max_pixels)
    except UnidentifiedImageError:
        raise _unidentified(name, head, file) from None
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except MemoryError:
        raise ImageError(f"{name}: there is not enough memory to read it") from None
    # For damaged files decoders raise nearly anything: struct.error, SyntaxError, KeyError...
    except Exception as error:
        raise ImageError(f"{name}: damaged or cut off: {reason_of(error)}") from None


def _decoded(file: IO[bytes], is_heic: bool, max_pixels: int) -> RgbImage:
    """Decode a picture file. Raises `ImageError` where it is not to be decoded, and anything where
    it is damaged."""
    image = opened(file, (*FORMATS, _heic_reader()) if is_heic else FORMATS)
    _pass_thumbnails(image)
    width, height = size_to_decode(image)
    _check_size(width, height, max_pixels)
    deep_rgb = image.format == "PPM" and image.tile[0].args == ("RGB", 65535)
    if not deep_rgb and (reason := why_not_to_decode(image, file)):
        raise ImageError(reason)
    with _LARGE_LOCK if width * height > _LARGE_PIXELS else nullcontext():
        if deep_rgb:
            file.seek(image.tile[0].offset)
            return _from_deep_rgb(file.read(6 * width * height), width, height)
        image.load()
        if image.format == "PNG" and not getattr(image, "is_animated", False):
            # Decoding stops after the last row, without checking the checksums after it.
            opened(file, ("PNG",)).verify()
        return _to_rgb(_upright(image), tags_of(image))


def _unidentified(name: str, head: bytes, file: IO[bytes]) -> ImageError:
    """The error for a file with these first bytes, which no decoder takes for its own."""
    form = "HEIC" if _is_heic(head) else next(filter(partial(_begins, head), _SIGNED), None)
    if form == "TIFF":  # its directory, which says what it is, may be behind the picture
        order: Literal["little", "big"] = "little" if head.startswith(b"II") else "big"
        if int.from_bytes(head[4:8], order) < file.seek(0, io.SEEK_END):
            form = None
    if form is not None:
        return ImageError(f"{name}: damaged or cut off: no whole {form} picture")
    if _is_video(head):
        return ImageError(f"{name}: expected a picture, found a video")
    if head.startswith(_TIFF):
        return ImageError(
            f"{name}: a TIFF of a kind that is not read: save it with 8 or 16 bits a colour"
        )
    return ImageError(f"{name}: not a picture in a known format ({', '.join(FORMATS)})")


def _begins(head: bytes, form: str) -> bool:
    """Whether a file with these first bytes can only be of the format that Pillow calls `form`."""
    accepts = Image.OPEN[form][1]
    return accepts is not None and accepts(head) is True


def opened(file: IO[bytes], formats: Sequence[str]) -> ImageFile.ImageFile:
    """Open a picture without decoding it, like `Image.open`, but without Pillow's process-wide
    limits: it warns from 90 megapixels on, and refuses pictures of 179."""
    file.seek(0)
    head = file.read(16)
    for name in formats:
        reader, accepts = Image.OPEN[name]
        taken = accepts is None or accepts(head)
        if taken and not isinstance(taken, str):  # a text says why the format cannot be read
            check_start(name, file)
            file.seek(0)
            try:
                return reader(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # only its first bytes looked like this format
    raise UnidentifiedImageError


def _pass_thumbnails(image: ImageFile.ImageFile) -> None:
    """Go to the first page of a TIFF that is not marked as a thumbnail (NewSubfileType of TIFF 6.0,
    section 8). Most cameras' raw files are TIFFs with such a first page."""
    for _ in range(_MOST_THUMBNAILS):
        kind = tags_of(image).get(_SUBFILE_TYPE, 0)
        if not isinstance(kind, int) or not kind & 1:
            return
        try:
            image.seek(image.tell() + 1)
        except EOFError:
            break
    raise ImageError(
        "only its thumbnail can be read, as of a camera's raw picture: save it as JPEG"
    )


def _from_deep_rgb(levels: bytes, width: int, height: int) -> RgbImage:
    """Decode the levels of a PNM with 16 bits per colour, which Pillow would do pixel by pixel."""
    found = np.frombuffer(levels, np.uint8, 6 * width * height)  # raises ValueError for fewer
    return np.array(found[::2].reshape(height, width, 3))  # the upper byte of each


def _is_heic(head: bytes) -> bool:
    """Whether a file with these first bytes is HEIC, the format of iPhones."""
    brands = (head[place : place + 4] for place in range(8, len(head), 4))
    return head[4:8] == b"ftyp" and any(brand in _HEIC_BRANDS for brand in brands)


def _is_video(head: bytes) -> bool:
    """Whether a file that is not a picture starts like MP4 and MOV, Matroska and WebM, or AVI."""
    iso = head[4:8] == b"ftyp" and head[8:12] not in _PICTURE_BRANDS
    return iso or head.startswith(b"\x1aE\xdf\xa3") or (head[:4], head[8:12]) == (b"RIFF", b"AVI ")


def _heic_reader() -> str:
    """Let Pillow read HEIC, and return its name for the format."""
    try:
        import pi_heif
    except ImportError:
        raise ImageError(str(MissingExtraError("reading HEIC", "heic"))) from None
    pi_heif.register_heif_opener(thumbnails=False)
    return "HEIF"


_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    """Return the picture turned as its EXIF orientation says.

    `ImageOps.exif_transpose` would also rewrite the whole EXIF block, and fails if any tag in it is
    odd, even one unrelated to the orientation.
    """
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # whatever is wrong with the EXIF block, the picture itself is intact
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image: Image.Image, tags: Mapping[int, Any]) -> RgbImage:
    """Convert any mode to RGB uint8; `tags`: see `tags_of`."""
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits, which convert() would clip
        return _from_deep_grey(np.asarray(image), tags)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image, dtype=np.uint8)  # a copy, so that it can be written to


def _from_deep_grey(levels: npt.NDArray[np.number[Any]], tags: Mapping[int, Any]) -> RgbImage:
    """Scale grey levels of more than 8 bits to RGB uint8.

    Levels of 9 to 16 bits are scaled by their full range, levels of 32 bits by the 8 or 16 bits
    that they fit in. Levels that fit in neither, and fractions, are scaled by the range that they
    use. Pillow does not apply what a TIFF's `tags` say about its levels, so this is done here."""
    (bits, *_), (kind, *_) = tags.get(_BITS, (0,)), tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    if levels.dtype == np.int32 and bits == 32 and kind == _UNSIGNED:
        levels = levels.view(np.uint32)
    whole = np.issubdtype(levels.dtype, np.integer)
    low, high = float(levels.min()), float(levels.max())
    if not math.isfinite(low + high):
        raise ValueError("its levels are not all finite numbers")
    if whole and low >= 0 and high <= 65535:
        low, high = 0.0, 255.0 if high <= 255 and levels.dtype.itemsize > 2 else 65535.0
        if 8 < bits < 16:
            high = 2.0**bits - 1
    grey = np.empty(levels.shape, np.uint8)
    # A few rows at a time: the whole picture as float64 would take eight times the memory.
    some = max(1, _AT_ONCE // levels.shape[1])
    for top in range(0, len(levels), some):
        rows = levels[top : top + some].astype(np.float64)
        rows = (rows - low) * (255.0 / max(high - low, 1e-12))
        grey[top : top + some] = rows.round().clip(0, 255)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    return np.repeat(grey[:, :, None], 3, axis=2)


def _from_pillow(image: Image.Image, max_pixels: int) -> RgbImage:
    _check_size(*image.size, max_pixels)
    try:
        image.load()  # which turns a TIFF upright itself: before `_upright`, or it is turned twice
        return _to_rgb(_upright(image), tags_of(image))
    except Exception as error:  # Pillow decodes an opened file only now
        raise ImageError(f"damaged or cut off: {reason_of(error)}") from None


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height == 0:
        raise ImageError(f"expected a picture with pixels, found {width}x{height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{width}x{height} pixels are too many; "
            f"at most {max_pixels / 1e6:g} megapixels are read"
        )
    if max(width, height) > _LONGEST_SIDE:
        raise ImageError(f"a side of {max(width, height)} pixels; at most {_LONGEST_SIDE} are read")


def _from_array(array: npt.NDArray[np.uint8], max_pixels: int) -> RgbImage:
    if array.dtype != np.uint8:
        raise ImageError(
            f"expected a picture array of uint8, levels from 0 to 255, found {array.dtype}"
        )
    channels = array.shape[2] if array.ndim == 3 else int(array.ndim == 2)
    if channels not in (1, 3, 4) or array.size == 0:
        raise ImageError(
            f"expected a picture array (H, W), (H, W, 3) or (H, W, 4), found shape {array.shape}"
        )
    _check_size(array.shape[1], array.shape[0], max_pixels)
    if array.ndim == 3 and channels == 3:
        return array
    return _to_rgb(Image.fromarray(array.reshape(array.shape[:2]) if channels == 1 else array), {})
