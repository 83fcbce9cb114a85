"""Boxes, names and bars drawn on pictures."""

from __future__ import annotations

import importlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

import semblante
from conftest import EXAMPLE
from semblante import EMOTIONS, Analysis, Analyzer, Box, Face, OptionError
from semblante.cli.inputs import Picture
from semblante.cli.work import Work
from semblante.emotions import LANGUAGES, emotion_name
from semblante.images import colour_profile
from semblante.recognise.annotate import (
    COLOURS,
    _draw_bars,
    _free_place,
    _panel,
    _text_colour,
    annotate,
    font,
)


def test_what_is_drawn_are_faces() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    for wrong in (Analysis("a.png", 60, 60), [Analysis("a.png", 60, 60)], None):
        kind = "NoneType" if wrong is None else "Analysis"
        with pytest.raises(OptionError, match=f"expected a list of Faces to draw, found {kind}"):
            annotate(image, wrong)  # type: ignore[arg-type]


def test_annotated_picture_shows_the_box(analyzer: Analyzer) -> None:
    image = semblante.load_image(EXAMPLE)
    before = image.copy()
    faces = analyzer.analyze(image)
    drawn = annotate(image, faces)
    assert drawn.flags.writeable
    assert np.array_equal(image, before)
    box = faces[0].box
    assert drawn[box.top + box.height - 1, box.left + 20].tolist() == list(COLOURS["happy"])
    inside = np.s_[box.top + 10 : box.top + box.height - 10, box.left + 10 : box.left + 80]
    assert np.array_equal(drawn[inside], before[inside])
    assert np.array_equal(annotate(image, []), before)


FALLING = ("happy", "neutral", "fear", "angry")


@pytest.mark.parametrize(("side", "left"), [(140, 20), (140, 300), (50, 20), (24, 100)])
def test_bars_are_as_long_as_the_probabilities(side: int, left: int) -> None:
    """Beside a large face, right of it or left; along the lower edge of a small one."""
    wanted = dict(zip(EMOTIONS, (0.05, 0.0, 0.1, 0.5, 0.05, 0.0, 0.3), strict=True))
    face = Face(Box(left, 60, side, side), 0.9, "happy", wanted)
    ground = np.zeros((260, 480, 3), np.uint8)
    drawn = annotate(ground, [face])
    beyond = max(2, side // 30) + side
    if side > 100:
        part = drawn[60:220, left + beyond :] if left < 200 else drawn[60:220, : left - 2]
    else:
        part = drawn[60 + side // 2 : 60 + side, left : left + side]
    lengths = {
        emotion: (part == COLOURS[emotion]).all(axis=2).sum(axis=1).max()
        for emotion in ("happy", "neutral", "fear", "disgust")
    }
    assert lengths["disgust"] == 0
    if side <= 100:  # the box has the colour of the first
        lengths["happy"] = (
            side
            - 4
            - sum((part[-4] == COLOURS[e]).all(axis=1).sum() for e in EMOTIONS if e != "happy")
        )
    assert lengths["neutral"] / lengths["happy"] == pytest.approx(0.6, abs=0.12)
    assert lengths["fear"] / lengths["happy"] == pytest.approx(0.2, abs=0.12)
    if side <= 100:  # the largest first, the box's own colour before it
        starts = [np.argwhere((part[-4] == COLOURS[e]).all(axis=1)).min() for e in FALLING]
        assert starts == sorted(starts)


@pytest.mark.parametrize("size", [(1, 1), (20, 300), (300, 20)])
@pytest.mark.parametrize("language", ["en", "es"])
def test_drawing_on_any_size(size: tuple[int, int], language: str) -> None:
    face = Face(Box(-5, -5, 400, 400), 0.9, "happy", dict.fromkeys(EMOTIONS, 1 / 7))
    assert annotate(np.zeros((*size, 3), np.uint8), [face], language).shape == (*size, 3)


def test_every_name_can_be_drawn() -> None:
    """Letters the font lacks are all drawn alike, as an empty box."""
    missing = font(20).getmask("\U0001f600")
    for language in LANGUAGES:
        for letter in set("".join(emotion_name(emotion, language) for emotion in EMOTIONS)):
            assert bytes(font(20).getmask(letter)) != bytes(missing), letter


@pytest.mark.parametrize("row", range(13, 27))
def test_bars_have_rows_as_high_as_there_is_room_for(row: int) -> None:
    box = Box(0, 0, 200, 7 * row)
    place = _panel(box, (600, 400), [])
    assert place is not None
    picture = Image.new("RGB", (600, 400))
    probabilities = dict.fromkeys(EMOTIONS, 1 / 7)
    _draw_bars(picture, Face(box, 0.9, "sad", probabilities), place, "en")
    pixels = np.asarray(picture)[:, place.left + 4 * row + row // 2 :]  # not the names
    tops = [
        np.flatnonzero((pixels == COLOURS[emotion]).all(axis=2).any(axis=1))[0]
        for emotion in EMOTIONS
    ]
    assert set(np.diff(tops)) == {row}


def test_a_face_at_the_upper_edge_gets_its_bars() -> None:
    place = _panel(Box(0, -30, 200, 200), (600, 400), [])
    assert place is not None
    assert (place.top, place.left) == (0, 206)
    assert _panel(Box(0, -30, 200, 200), (600, 150), []) is None  # no room below


def test_the_emotion_stands_above_the_face() -> None:
    face = Face(Box(60, 60, 60, 60), 1.0, "sad", dict.fromkeys(EMOTIONS, 0.0) | {"sad": 1.0})
    marked = annotate(np.full((200, 200, 3), 128, np.uint8), [face])
    assert (marked[:58] == COLOURS["sad"]).all(axis=2).any()


def test_labels_and_bars_speak_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda _, place, text, **how: said.append(text)
    )
    face = Face(Box(20, 60, 140, 140), 0.9, "happy", dict.fromkeys(EMOTIONS, 0.1) | {"happy": 0.4})
    annotate(np.zeros((260, 480, 3), np.uint8), [face], "es")
    assert said == [*(emotion_name(emotion, "es") for emotion in EMOTIONS), "alegría 40\u00a0%"]


def test_faces_are_numbered_as_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda _, place, text, **how: said.append(text)
    )
    sure = dict.fromkeys(EMOTIONS, 0.0) | {"sad": 1.0}
    one, other = (Face(Box(x, 60, 40, 40), 0.9, "sad", sure) for x in (20, 120))
    ground = np.zeros((200, 200, 3), np.uint8)
    annotate(ground, [one, other])
    annotate(ground, [one])
    annotate(ground, [replace(one, track=7)])
    assert said == ["1: sad 99%", "2: sad 99%", "sad 99%", "7: sad 99%"]


def test_no_frame_runs_through_a_label() -> None:
    """Another face is close, at the place of the label."""
    sure = dict.fromkeys(EMOTIONS, 0.0) | {"sad": 1.0}
    boxes = [Box(60, 60, 60, 60), Box(80, 10, 60, 60), Box(30, 100, 60, 60)]
    faces = [Face(box, 0.9, "sad", sure) for box in boxes]
    faces[0] = replace(faces[0], emotion="happy", probabilities=dict.fromkeys(EMOTIONS, 1 / 7))
    marked = annotate(np.full((200, 200, 3), 128, np.uint8), faces)
    yellow = (marked == COLOURS["happy"]).all(axis=2)
    rows = np.flatnonzero(yellow.sum(axis=1) > 25)
    label = marked[
        rows[0] : rows[0] + 8
    ]  # above, beneath or inside: none of the others' blue in it
    columns = np.flatnonzero((label == COLOURS["happy"]).all(axis=2).all(axis=0))
    inside = label[:, columns[0] : columns[-1]]
    assert not (inside == COLOURS["sad"]).all(axis=2).any()


def test_a_frame_is_seen_on_its_own_colour() -> None:
    sure = dict.fromkeys(EMOTIONS, 0.0) | {"neutral": 1.0}
    ground = np.full((200, 200, 3), COLOURS["neutral"], np.uint8)
    marked = annotate(ground, [Face(Box(60, 60, 60, 60), 0.9, "neutral", sure)])
    assert marked[60:120, 59].max() < 50 < marked[60:120, 60].min()


def test_bars_hide_no_face_no_name_and_no_other_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("semblante.recognise.annotate")
    labels: list[Box] = []
    panels: list[Box] = []
    monkeypatch.setattr(module, "_draw_label", lambda _, label: labels.append(label.place))
    monkeypatch.setattr(module, "_draw_bars", lambda *words: panels.append(words[2]))
    rng = np.random.default_rng(0)
    picture, n = np.zeros((600, 900, 3), np.uint8), 0
    for _ in range(60):
        labels.clear()
        panels.clear()
        faces = [
            Face(Box(*map(int, rng.integers(0, (800, 500))), *[int(rng.integers(95, 200))] * 2),
                 0.9, "happy", dict.fromkeys(EMOTIONS, 1 / 7))
            for _ in range(3)
        ]  # fmt: skip
        annotate(picture, faces)
        n += len(panels)
        for place, panel in enumerate(panels):
            others = [*(face.box for face in faces), *labels, *panels[:place]]
            assert all(panel.iou(other) == 0 for other in others)
            assert panel.left >= 0 <= panel.top
            assert panel.left + panel.width <= 900
            assert panel.top + panel.height <= 600
    assert n > 60


@pytest.mark.parametrize(
    ("box", "taken", "place"),
    [
        (Box(50, 50, 40, 30), [], (50, 35)),
        (Box(50, 50, 40, 30), [Box(60, 30, 40, 15)], (50, 80)),
        (Box(50, 5, 40, 30), [], (50, 35)),
        (Box(50, 50, 40, 30), [Box(60, 30, 40, 15), Box(60, 85, 40, 15)], (50, 50)),
        (Box(50, 5, 40, 90), [], (50, 5)),
        (Box(180, 50, 40, 30), [], (140, 35)),
        (Box(-20, -10, 400, 400), [], (0, 0)),
        (Box(50, 50, 40, 30), [Box(0, 0, 200, 100)], (50, 35)),  # hidden wherever it is
    ],
)
def test_where_a_name_stands(box: Box, taken: list[Box], place: tuple[int, int]) -> None:
    """60 by 15 pixels, in a picture of 200 by 100."""
    assert _free_place(box, 60, 15, (200, 100), taken, []) == Box(*place, 60, 15)


def test_a_name_stands_on_no_other_face_where_it_can() -> None:
    box, other = Box(50, 50, 40, 30), Box(95, 20, 40, 30)
    assert _free_place(box, 60, 15, (200, 100), [], [other]) == Box(30, 35, 60, 15)
    everywhere = Box(0, 0, 200, 100)
    assert _free_place(box, 60, 15, (200, 100), [], [everywhere]) == Box(50, 35, 60, 15)


def test_names_stand_out_on_their_colours() -> None:
    dark = {emotion for emotion in EMOTIONS if _text_colour(COLOURS[emotion]) == (255, 255, 255)}
    assert dark == {"sad"}


def with_profile(form: str, mode: str = "RGB", kind: bytes = b"RGB ") -> tuple[bytes, bytes]:
    """A picture as a file, and its colour profile: sRGB's, made one of other colours by `kind`."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile[:16] + kind + profile[20:]
    with Image.open(EXAMPLE) as picture:
        data = io.BytesIO()
        picture.convert(mode).save(data, form, icc_profile=profile)
    return data.getvalue(), profile


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_copy_means_the_same_colours(tmp_path: Path, analyzer: Analyzer, form: str) -> None:
    """Those of a telephone's Display P3, say, which would look dull as sRGB."""
    data, profile = with_profile(form)
    picture = tmp_path / f"face.{form.lower()}"
    picture.write_bytes(data)
    places = {0: tmp_path / "copy.jpg", 1: tmp_path / "copy.png"}
    inputs = [Picture(picture, tmp_path), Picture(picture, tmp_path)]
    list(Work(analyzer, inputs, places, {}, None, None, "en", blur=False).results())
    for place in places.values():
        with Image.open(place) as copy:
            assert copy.info["icc_profile"] == profile


def test_a_profile_of_colours_that_were_converted_is_left_out(tmp_path: Path) -> None:
    for mode, kind in (("CMYK", b"CMYK"), ("L", b"GRAY")):
        data, _ = with_profile("JPEG", mode, kind)
        assert colour_profile(data) is None
    assert colour_profile(b"no picture") is None
    assert colour_profile(tmp_path / "missing.jpg") is None
    assert colour_profile(with_profile("JPEG")[0]) is not None
