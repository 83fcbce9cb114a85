"""A picture with its faces boxed and named."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from semblante.emotions import emotion_name
from semblante.files import write_atomically
from semblante.images import RgbImage
from semblante.results import Box, Face

# Okabe & Ito's palette, told apart with every common colour blindness; dark or light text
# is chosen by what stands out on it.
COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "angry": (213, 94, 0),
    "disgust": (0, 158, 115),
    "fear": (204, 121, 167),
    "happy": (240, 228, 66),
    "sad": (0, 114, 178),
    "surprise": (230, 159, 0),
    "neutral": (200, 200, 200),
}


def annotate(image: RgbImage, faces: Sequence[Face], language: str = "en") -> RgbImage:
    """A copy of `image` (H, W, 3) with a box, the emotion and its probability for each face."""
    picture = Image.fromarray(image).copy()
    draw = ImageDraw.Draw(picture)
    shorter = min(picture.size)
    labels: list[Box] = []
    for face in faces:
        colour = COLOURS[face.emotion]
        box = face.box
        line = max(2, round(box.width / 50))
        text_size = min(max(12, round(shorter / 30)), max(12, round(box.width / 5)))
        corners = (box.left, box.top, box.left + box.width - 1, box.top + box.height - 1)
        draw.rectangle(corners, outline=colour, width=line)

        probability = face.probabilities[face.emotion]
        text = f"{emotion_name(face.emotion, language)} {probability:.0%}"
        letters = font(text_size)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=letters)
        pad = max(2, text_size // 6)
        wide, tall = ceil(right - left) + 2 * pad, ceil(bottom - top) + 2 * pad
        label = _free_place(box, wide, tall, picture.size, labels)
        labels.append(label)
        x, y = label.left, label.top
        draw.rectangle((x, y, x + wide - 1, y + tall - 1), fill=colour)
        draw.text((x + pad - left, y + pad - top), text, font=letters, fill=_text_colour(colour))
    return np.asarray(picture, dtype=np.uint8)


def blurred(image: RgbImage, faces: Sequence[Face]) -> RgbImage:
    """A copy of `image` (H, W, 3) in which nobody can be recognised: each face, with its hair and
    chin, as eight by eight squares of one colour."""
    picture = image.copy()
    height, width = image.shape[:2]
    for face in faces:
        grown = round(0.2 * face.box.width), round(0.25 * face.box.height)
        left, right = face.box.left - grown[0], face.box.left + face.box.width + grown[0]
        top, bottom = face.box.top - grown[1], face.box.top + face.box.height + grown[1]
        part = picture[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
        if part.size:
            coarse = Image.fromarray(part).resize((8, 8), Image.Resampling.BOX)
            size = (part.shape[1], part.shape[0])
            part[:] = np.asarray(coarse.resize(size, Image.Resampling.NEAREST))
    return picture


def _free_place(box: Box, wide: int, tall: int, size: tuple[int, int], taken: Sequence[Box]) -> Box:
    """Above the face, beneath it, or at its upper edge: the first that hides no other label."""
    left = min(max(0, box.left), max(0, size[0] - wide))
    tops = (box.top - tall, box.top + box.height, max(0, box.top))
    places = [Box(left, top, wide, tall) for top in tops if 0 <= top <= size[1] - tall]
    free = [place for place in places if all(place.overlap(other) == 0 for other in taken)]
    return (free or places or [Box(left, 0, wide, tall)])[0]


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """`size` in pixels. The Latin letters of DejaVu Sans: Pillow's own font has no accents."""
    file = resources.files("semblante") / "recognise" / "fonts" / "DejaVuSans-Latin.ttf"
    return ImageFont.truetype(io.BytesIO(file.read_bytes()), size)


def _text_colour(background: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = background
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return (0, 0, 0) if luma > 120 else (255, 255, 255)


_JPEG_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")


def saved_name(path: Path) -> Path:
    """`path` where its suffix says JPEG or PNG, else with .png added."""
    written = path.suffix.lower() in (*_JPEG_SUFFIXES, ".png")
    return path if written else path.with_name(path.name + ".png")


def save_picture(image: RgbImage, path: Path) -> None:
    """Write a picture to a `saved_name`, making its folder."""
    jpeg = path.suffix.lower() in _JPEG_SUFFIXES
    kind: dict[str, Any] = {"format": "JPEG", "quality": 92} if jpeg else {"format": "PNG"}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: Image.fromarray(image).save(beside, **kind))
