"""Draws boxes and emotion names on the faces of a picture, or pixelates the faces."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import ceil
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import OptionError
from semblante.images import ImageSource, RgbImage, load_image
from semblante.results import Box, Face
from semblante.wording import percent

# Okabe & Ito's palette, whose colours people with any common colour blindness can tell apart;
# `_text_colour` chooses dark or light text for each.
COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "angry": (213, 94, 0),
    "disgust": (0, 158, 115),
    "fear": (204, 121, 167),
    "happy": (240, 228, 66),
    "sad": (0, 114, 178),
    "surprise": (230, 159, 0),
    "neutral": (200, 200, 200),
}


def annotate(image: ImageSource, faces: Sequence[Face], language: str = "en") -> RgbImage:
    """Return a copy of a picture, RGB uint8 (H, W, 3), with the box, the emotion and its
    probability drawn for each face.

    `image`: anything that `Analyzer.analyze` takes; raises `ImageError` where it is not a picture.
    `faces`: what `Analyzer.analyze` returns, or the `faces` of an `Analysis`. `language`: "en" or
    "es". Raises `OptionError` for other faces or another language.

    Several faces are numbered; in a video a face always shows the number of its track. A bar for
    each emotion stands beside a face that is large enough, where there is room. Other faces, and
    all faces in videos, where bars would jump from place to place, have the probabilities as a
    strip along the lower edge of the box.
    """
    for face in faces if isinstance(faces, Sequence) else [faces]:
        if not isinstance(face, Face):
            raise OptionError(f"expected a list of Faces to draw, found {type(face).__name__}")
    picture = Image.fromarray(load_image(image)).copy()
    draw = ImageDraw.Draw(picture)
    labels: list[_Label] = []
    for number, face in enumerate(faces, start=1):
        text = _label_text(face, number if len(faces) > 1 else None, language)
        labels.append(_label(draw, face, text, picture.size, faces, labels))
    taken = [*(face.box for face in faces), *(label.place for label in labels)]
    for face in faces:
        panel = None if face.track is not None else _panel(face.box, picture.size, taken)
        if panel is None:
            _draw_strip(draw, face)
        else:
            taken.append(panel)
            _draw_bars(picture, face, panel, language)
    for face in faces:  # over the strips
        _draw_frame(draw, face)
    for label in labels:  # over others' frames
        _draw_label(draw, label)
    return np.array(picture, dtype=np.uint8)


@dataclass(frozen=True)
class _Label:
    """The text at a face, its place, and its background: the colour of the emotion."""

    text: str
    text_size: int  # pixels
    place: Box
    at: tuple[int, int]  # x and y at which the text is drawn
    colour: tuple[int, int, int]


def _label_text(face: Face, number: int | None, language: str) -> str:
    number = number if face.track is None else face.track
    which = "" if number is None else f"{number}: "
    shown = percent(face.probability, language)
    return f"{which}{emotion_name(face.emotion, language)} {shown}"


def _label(
    draw: ImageDraw.ImageDraw,
    face: Face,
    text: str,
    size: tuple[int, int],
    faces: Sequence[Face],
    labels: Sequence[_Label],
) -> _Label:
    """The label of a face in a picture of `size` (width, height); `labels` are placed already."""
    text_size = min(max(12, round(min(size) / 30)), max(12, round(face.box.width / 5)))
    if face.track is not None:  # so that small changes of the box do not change the text's size
        text_size -= text_size % 4
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font(text_size))
    pad = max(2, text_size // 6)
    wide, tall = ceil(right - left) + 2 * pad, ceil(bottom - top) + 2 * pad
    others = [other.box for other in faces if other is not face]
    place = _free_place(face.box, wide, tall, size, [label.place for label in labels], others)
    at = (place.left + pad - round(left), place.top + pad - round(top))
    return _Label(text, text_size, place, at, COLOURS[face.emotion])


def _draw_label(draw: ImageDraw.ImageDraw, label: _Label) -> None:
    place = label.place
    corners = (place.left, place.top, place.left + place.width - 1, place.top + place.height - 1)
    draw.rectangle(corners, fill=label.colour)
    draw.text(label.at, label.text, font=font(label.text_size), fill=_text_colour(label.colour))


def _line_width(box: Box) -> int:
    """The line width of a face's box, in pixels."""
    return max(2, round(box.width / 50))


def _draw_frame(draw: ImageDraw.ImageDraw, face: Face) -> None:
    """Draw a box in the emotion's colour, with a dark line around it: neutral is grey, and so are
    many walls."""
    box = face.box
    right, bottom = box.left + box.width - 1, box.top + box.height - 1
    line = _line_width(box)
    dark = max(1, line // 3)
    around = (box.left - dark, box.top - dark, right + dark, bottom + dark)
    draw.rectangle(around, outline=_DARK, width=dark)
    draw.rectangle((box.left, box.top, right, bottom), outline=COLOURS[face.emotion], width=line)


# Least and largest height of a row of the bars; in a lower one, its name could not be read.
_ROW: Final = 13
_LARGEST_ROW: Final = 26
_WIDE: Final = 9  # the bars' width, in heights of a row
_DARK: Final = (20, 20, 22)


def _panel(box: Box, size: tuple[int, int], taken: Sequence[Box]) -> Box | None:
    """The place of a face's bars, right or left of its box; None for a small face, or where neither
    side is free."""
    row = min(box.height // len(EMOTIONS), _LARGEST_ROW)
    if row < _ROW:
        return None
    wide, tall = _WIDE * row, len(EMOTIONS) * row + row // 2
    gap = max(2, box.width // 30)
    top = max(0, min(box.top, size[1] - tall))
    for left in (box.left + box.width + gap, box.left - gap - wide):
        place = Box(left, top, wide, tall)
        inside = left >= 0 and left + wide <= size[0] and top + tall <= size[1]
        if inside and all(place.iou(other) == 0 for other in taken):
            return place
    return None


def _draw_bars(picture: Image.Image, face: Face, place: Box, language: str) -> None:
    """Draw names and bars, in the order of `EMOTIONS`, on a translucent background."""
    corners = (place.left, place.top, place.left + place.width, place.top + place.height)
    ground = picture.crop(corners)
    ground = Image.blend(ground, Image.new("RGB", ground.size, _DARK), 0.72)
    draw = ImageDraw.Draw(ground)
    row = place.width // _WIDE
    letters = font(max(9, round(0.72 * row)))
    start, end = round(4.6 * row), place.width - row // 3
    for number, emotion in enumerate(EMOTIONS):
        top = row // 4 + number * row
        draw.text(
            (row // 3, top + row / 2), emotion_name(emotion, language), font=letters,
            fill=(255, 255, 255), anchor="lm",
        )  # fmt: skip
        thin = max(1, row // 5)
        draw.rectangle((start, top + thin, end, top + row - thin), fill=(70, 70, 74))
        filled = start + round((end - start) * face.probabilities[emotion])
        if filled > start:
            draw.rectangle((start, top + thin, filled, top + row - thin), fill=COLOURS[emotion])
    picture.paste(ground, corners[:2])


def _draw_strip(draw: ImageDraw.ImageDraw, face: Face) -> None:
    """Draw the probabilities side by side, largest first, along the lower edge of the box."""
    box = face.box
    line = _line_width(box)
    tall = max(3, box.height // 14)
    bottom = box.top + box.height - 1 - line
    x = float(box.left + line)
    whole = box.width - 2 * line
    for emotion, probability in sorted(face.probabilities.items(), key=lambda item: -item[1]):
        end = x + whole * probability
        if round(end) > round(x):
            draw.rectangle(
                (round(x), bottom - tall + 1, round(end) - 1, bottom), fill=COLOURS[emotion]
            )
        x = end


def pixelated(image: RgbImage, boxes: Iterable[Box]) -> RgbImage:
    """Return a copy of `image` (H, W, 3) in which each face of `boxes`, with its hair and chin, is
    reduced to eight by eight squares of one colour.

    People do not recognise such a face, but programs that look for a known one may (McPherson,
    Shokri & Shmatikov, Defeating Image Obfuscation with Deep Learning, arXiv:1609.00408, 2016).
    """
    picture = image.copy()
    for box in boxes:
        wide, tall = round(0.2 * box.width), round(0.25 * box.height)
        whole = Box(box.left - wide, box.top - tall, box.width + 2 * wide, box.height + 2 * tall)
        part = whole.crop(picture)
        if part.size:
            coarse = Image.fromarray(part).resize((8, 8), Image.Resampling.BOX)
            size = (part.shape[1], part.shape[0])
            part[:] = np.asarray(coarse.resize(size, Image.Resampling.NEAREST))
    return picture


def _free_place(
    box: Box,
    wide: int,
    tall: int,
    size: tuple[int, int],
    labels: Sequence[Box],
    faces: Sequence[Box],
) -> Box:
    """The place of a label: above the face, below it, or at the upper edge of its box, each aligned
    left or right. The first that hides no other label and no other face, else no other label."""
    farthest = max(0, size[0] - wide)
    lefts = [min(max(0, x), farthest) for x in (box.left, box.left + box.width - wide)]
    tops = (box.top - tall, box.top + box.height, max(0, box.top))
    places = [Box(x, y, wide, tall) for y in tops for x in lefts if 0 <= y <= size[1] - tall]
    legible = [place for place in places if all(place.iou(other) == 0 for other in labels)]
    free = [place for place in legible if all(place.iou(other) == 0 for other in faces)]
    return (free or legible or places or [Box(lefts[0], 0, wide, tall)])[0]


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font, `size` in pixels: Latin letters of DejaVu Sans, as Pillow's own has no accents."""
    file = resources.files("semblante") / "recognise" / "fonts" / "DejaVuSans-Latin.ttf"
    return ImageFont.truetype(io.BytesIO(file.read_bytes()), size)


def _text_colour(background: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = background
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return (0, 0, 0) if luma > 100 else (255, 255, 255)
