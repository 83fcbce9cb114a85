"""Write pictures to files."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from semblante.errors import ImageError
from semblante.files import write_atomically
from semblante.images import FORMATS, JPEG_SUFFIXES, RgbImage, opened

_WRITER: Final = "semblante"  # marks the pictures that this program writes


def saved_name(path: Path) -> Path:
    """Return `path` if its suffix is that of a JPEG or PNG file, else `path` with .png added."""
    written = path.suffix.lower() in (*JPEG_SUFFIXES, ".png")
    return path if written else path.with_name(path.name + ".png")


def save_picture(image: RgbImage, path: Path, profile: bytes | None = None) -> None:
    """Write a picture to a `saved_name`, creating its folder; `profile`: see `colour_profile`.

    Raises `ImageError` if the format cannot hold the picture (no side of a JPEG has more than
    65,500 pixels), and as `save_file` does.
    """
    # Pillow does not write to the file itself: on a full disk it does not notice a partial write.
    try:
        form: Literal["JPEG", "PNG"] = "JPEG" if path.suffix.lower() in JPEG_SUFFIXES else "PNG"
        data = encoded(image, form, profile)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    save_file(data, path)


def save_file(data: bytes, path: Path) -> None:
    """Write a picture's file, creating its folder. Raises `ImageError` if that fails; `OSError` if
    the disk is full, which will affect the next files as well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda beside: beside.write_bytes(data))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ImageError(f"{path}: cannot be written: {error.strerror}") from None


def encoded(image: RgbImage, form: Literal["JPEG", "PNG"], profile: bytes | None = None) -> bytes:
    """Return a picture as the bytes of a file, with its `colour_profile`; raises `ImageError` if
    the format cannot hold it."""
    options: dict[str, Any]
    if form == "JPEG":
        options = {"quality": 92, "comment": _WRITER}
    else:
        about = PngImagePlugin.PngInfo()
        about.add_text("Software", _WRITER)
        options = {"pnginfo": about}
    data = io.BytesIO()
    try:
        Image.fromarray(image).save(data, form, icc_profile=profile, **options)
    except OSError as error:
        height, width = image.shape[:2]
        raise ImageError(f"{width}x{height} pixels cannot be written as {form}: {error}") from None
    return data.getvalue()


def encoded_png(face: npt.NDArray[np.uint8], profile: bytes | None = None) -> bytes:
    """Return a face, grey or RGB, as the bytes of a PNG file, with its `colour_profile`. It lacks
    the mark that `is_own` looks for, because it may be read as a picture again."""
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "PNG", icc_profile=profile)
    return buffer.getvalue()


def is_own(path: Path) -> bool:
    """Whether a file was written by `save_picture`."""
    try:
        with path.open("rb") as file:
            image = opened(file, FORMATS)
            said = image.info.get("Software", image.info.get("comment"))
            return said in (_WRITER, _WRITER.encode())
    except Exception:  # whatever a decoder makes of something else
        return False
