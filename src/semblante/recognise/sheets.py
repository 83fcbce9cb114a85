"""Pages of overviews: faces by emotion, a video's emotions over time, evidence over faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import printable
from semblante.images import RgbImage
from semblante.recognise.annotate import COLOURS, font
from semblante.recognise.explain import STRIDE, Explanation
from semblante.results import Analysis, Face
from semblante.translation import translated
from semblante.wording import clock, figures, guess, percent

_TILE: Final = 96  # pixels a side
_GAP: Final = 6
_COLUMNS: Final = 10
_WIDTH: Final = 1200  # of a timeline
_MARGIN: Final = 110
_STRIP: Final = 44
_MOST_STRIPS: Final = 60
_BACKGROUND: Final = (250, 250, 250)
_INK: Final = (30, 30, 30)
_LARGE_TILE: Final = 192
# The label of a face without one of `explain.PARTS`.
HIDDEN: Final = {"eyes": "eyes hidden", "nose": "nose hidden", "mouth": "mouth hidden"}
_FOR: Final = COLOURS["surprise"]  # an orange and a blue that everybody tells apart
_AGAINST: Final = COLOURS["sad"]


@dataclass(frozen=True)
class Tile:
    """A face for the contact sheet."""

    picture: RgbImage  # the face alone, 96 pixels a side
    emotion: str
    probability: float
    name: str = ""  # of its file
    when: str = ""  # for a face of a video: its track and time


def tile_of(image: RgbImage, face: Face, name: str = "", when: str = "") -> Tile:
    """The tile of a face in a picture (H, W, 3); its box is cut off at the edges;
    black where all of it lies beyond them."""
    seen = face.box.crop(image)
    if seen.size == 0:
        seen = np.zeros((1, 1, 3), np.uint8)
    small = cv2.resize(seen, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return Tile(np.asarray(small, np.uint8), face.emotion, face.probability, name, when)


def contact_sheet(
    tiles: Iterable[Tile], language: str = "en", found: Mapping[str, int] | None = None
) -> RgbImage:
    """A page (H, W, 3) with a block for each emotion; in each, the surest faces come first.

    `found`: number of faces of each emotion, where some have no tile; the page tells how many.
    """
    tiles = list(tiles)
    found = found if found is not None else Counter(tile.emotion for tile in tiles)
    hidden = sum(found.values()) - len(tiles)
    blocks = {emotion: [t for t in tiles if t.emotion == emotion] for emotion in EMOTIONS}
    heading, caption, small = font(22), font(13), font(10)
    beneath = 30 if any(tile.name for tile in tiles) else 18
    step = _TILE + _GAP
    width = _COLUMNS * step + _GAP
    heights = [
        (36 + ceil(len(faces) / _COLUMNS) * (step + beneath)) if found.get(emotion) else 0
        for emotion, faces in blocks.items()
    ]
    note = 30 if hidden else 0
    page = Image.new("RGB", (width, max(60, sum(heights) + note + _GAP)), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    if not found:
        draw.text((_GAP, _GAP), translated("no face", language), font=font(18), fill=_INK)
    top = 0
    for (emotion, faces), height in zip(blocks.items(), heights, strict=True):
        if not height:
            continue
        draw.rectangle((_GAP, top + 10, _GAP + 14, top + 24), fill=COLOURS[emotion], outline=_INK)
        title = f"{emotion_name(emotion, language)} ({found[emotion]})"
        draw.text((_GAP + 22, top + 4), title, font=heading, fill=_INK)
        for number, tile in enumerate(sorted(faces, key=lambda t: -t.probability)):
            row, column = divmod(number, _COLUMNS)
            x, y = _GAP + column * step, top + 36 + row * (step + beneath)
            page.paste(Image.fromarray(tile.picture), (x, y))
            sure = percent(tile.probability, language)
            draw.text((x, y + _TILE + 1), sure, font=caption, fill=_INK)
            if tile.when:
                left = x + _TILE - draw.textlength(tile.when, font=caption)
                draw.text((left, y + _TILE + 1), tile.when, font=caption, fill=_INK)
            if tile.name:
                name = shortened(printable(tile.name), partial(draw.textlength, font=small))
                draw.text((x, y + _TILE + 16), name, font=small, fill=_INK)
        top += height
    if hidden:
        text = translated(f"{hidden} more faces are not shown", language)
        draw.text((_GAP, top + 6), text, font=font(18), fill=_INK)
    return np.array(page, dtype=np.uint8)


def shortened(name: str, length: Callable[[str], float]) -> str:
    """As much of a name's beginning and end as fits below a tile; `length` measures in pixels."""
    short = name
    for kept in range(len(name) - 1, 1, -1):
        if length(short) <= _TILE:
            break
        short = f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"
    return short


def timeline(frames: Sequence[Analysis], language: str = "en") -> RgbImage:
    """The timeline of a video (H, W, 3): its path, and a strip for each track, which at each moment
    has the emotion's colour and the height of its probability; below, the time and a legend. Of
    more than 60 tracks those seen in most frames are shown, and the number of the others."""
    times = [analysis.time_s or 0.0 for analysis in frames]
    start, end = (times[0], times[-1]) if times else (0.0, 1.0)
    span = end - start + ((end - start) / max(1, len(times) - 1) or 1.0)
    tracks: dict[int, list[tuple[float, float, str, float]]] = {}
    # A frame lasts until the next one, however soon that comes.
    for analysis, begins, ends in zip(frames, times, [*times[1:], start + span], strict=False):
        for face in analysis.faces:
            shown = (begins, ends, face.emotion, face.probability)
            tracks.setdefault(face.track or 0, []).append(shown)
    longest = sorted(tracks, key=lambda track: -len(tracks[track]))[:_MOST_STRIPS]
    hidden = len(tracks) - len(longest)
    tracks = {track: tracks[track] for track in sorted(longest)}
    scale = (_WIDTH - _MARGIN - 20) / span

    height = 46 + max(1, len(tracks)) * (_STRIP + 10) + 70 + (26 if hidden else 0)
    page = Image.new("RGB", (_WIDTH, height), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    text = font(15)
    title = printable(frames[0].path or "") if frames else ""
    while draw.textlength(title, font=text) > _WIDTH - 28:
        title = "…" + title[2:]
    draw.text((14, 14), title, font=text, fill=_INK)
    if not tracks:
        draw.text((_MARGIN, 58), translated("no face", language), font=text, fill=_INK)
    for number, (track, moments) in enumerate(tracks.items()):
        top = 46 + number * (_STRIP + 10)
        name = translated(f"track {track}", language)
        draw.text((14, top + _STRIP // 2 - 9), name, font=text, fill=_INK)
        draw.line((_MARGIN, top + _STRIP, _WIDTH - 20, top + _STRIP), fill=(190, 190, 190))
        for begins, ends, emotion, probability in moments:
            left = _MARGIN + (begins - start) * scale
            right = max(left + 1, _MARGIN + (ends - start) * scale)
            tall = _STRIP * probability
            draw.rectangle((left, top + _STRIP - tall, right, top + _STRIP), fill=COLOURS[emotion])
    if hidden:
        note = translated(f"{hidden} shorter tracks are not shown", language)
        draw.text((14, height - 92), note, font=text, fill=_INK)
    _axis(draw, height - 64, start, span, scale, language)
    _legend(draw, height - 30, language)
    return np.array(page, dtype=np.uint8)


def evidence_sheet(explanations: Sequence[Explanation], language: str = "en") -> RgbImage:
    """A page (H, W, 3) with, for each face, the network's input, the same overlaid with evidence
    for and against the emotion, and the estimate when a part of the face is hidden.

    The colours are strongest at the strongest evidence of the face, if that is 1 bit or more.
    """
    step = _LARGE_TILE + _GAP
    height = _GAP + max(1, len(explanations)) * step + 30
    page = Image.new("RGB", (2 * step + 330, height), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    if not explanations:
        draw.text((_GAP, _GAP), translated("no face", language), font=font(18), fill=_INK)
    for number, explained in enumerate(explanations):
        top, left = _GAP + number * step, 2 * step + 12
        nothing, most = np.zeros_like(explained.evidence), float(np.abs(explained.evidence).max())
        for place, evidence in ((_GAP, nothing), (_GAP + step, explained.evidence)):
            tile = overlaid(explained.picture, evidence, _LARGE_TILE, max(1.0, most))
            page.paste(Image.fromarray(tile), (place, top))
        asked = explained.emotion if explained.emotion != explained.face.emotion else None
        title = f"{number + 1}: {guess(explained.face.probabilities, language)}"
        draw.text((left, top), title, font=font(18), fill=_INK)
        most_for = figures(f"{max(0.0, float(explained.evidence.max())):.1f}", language)
        emotion = emotion_name(explained.emotion, language)
        lines = [translated(f"for {emotion}: up to {most_for} bits", language)]
        for part, found in explained.without.items():
            hidden = translated(HIDDEN[part], language)
            lines.append(f"{hidden}: {guess(found, language, asked)}")
        for place, line in enumerate(lines):
            draw.text((left, top + 34 + 24 * place), line, font=font(14), fill=_INK)
    meanings = ((_GAP, _FOR, "speaks for it"), (_GAP + step, _AGAINST, "against it"))
    for place, colour, meaning in meanings:
        y = height - 24
        draw.rectangle((place, y, place + 14, y + 14), fill=colour, outline=_INK)
        draw.text((place + 20, y - 2), translated(meaning, language), font=font(14), fill=_INK)
    return np.array(page, dtype=np.uint8)


def overlaid(
    face: npt.NDArray[np.uint8], evidence: npt.NDArray[np.float32], side: int, most: float
) -> RgbImage:
    """A grey face (H, W) as a picture (side, side, 3), overlaid with its evidence (H, W) in
    colour, which is strongest at `most` bits, for or against."""
    grey = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)[:, :, None]
    # Smooth its steps: they come from the hidden squares, and are not edges of the face.
    smooth = cv2.GaussianBlur(evidence, (0, 0), len(evidence) * STRIDE / 2)
    bits = cv2.resize(smooth, (side, side), interpolation=cv2.INTER_CUBIC)[:, :, None]
    strength = 0.8 * np.clip(np.abs(bits) / most, 0, 1)
    over = grey + strength * (np.where(bits > 0, _FOR, _AGAINST) - grey.astype(np.float32))
    return np.asarray(np.rint(over), np.uint8)


# Seconds between two marks of a time axis, up to a day.
_UNITS: Final = (
    0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400,
)  # fmt: skip


def _axis(
    draw: ImageDraw.ImageDraw,
    top: int,
    start: float,
    span: float,
    scale: float,
    language: str = "en",
) -> None:
    """Draw at most twelve marks at round times: in seconds, or above a minute as on a clock."""
    unit = next((unit for unit in _UNITS if 11 * unit >= span), _UNITS[-1])
    moment = ceil(start / unit) * unit
    while moment <= start + span:
        x = _MARGIN + (moment - start) * scale
        draw.line((x, top, x, top + 5), fill=_INK)
        text = f"{moment:g} s" if span <= 60 else clock(moment)
        text = figures(text, language)
        left = min(x + 3, _WIDTH - 2 - draw.textlength(text, font=font(12)))
        draw.text((left, top + 2), text, font=font(12), fill=_INK)
        moment += unit


def _legend(draw: ImageDraw.ImageDraw, top: int, language: str) -> None:
    x = float(_MARGIN)
    for emotion in EMOTIONS:
        draw.rectangle((x, top, x + 14, top + 14), fill=COLOURS[emotion], outline=_INK)
        name = emotion_name(emotion, language)
        draw.text((x + 20, top - 2), name, font=font(14), fill=_INK)
        x += 20 + draw.textlength(name, font=font(14)) + 22
