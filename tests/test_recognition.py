"""From a photograph to emotions, with the shipped weights and without torch."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

import semblante
from conftest import EXAMPLE, SHARED, needs_fer2013, needs_photos
from program import semblante as program
from semblante import EMOTIONS, Analysis, Analyzer, Box, Dataset, Face, ImageError, ModelError
from semblante.data.ferplus import FERPLUS_EMOTIONS, load_ferplus
from semblante.errors import MissingExtraError, OptionError
from semblante.images import load_image
from semblante.models import MODELS, model_path, sha256
from semblante.preprocess import crop_face, to_grey
from semblante.recognise.classifier import Classifier, import_onnxruntime, softmax
from semblante.recognise.cnn import CnnDetector
from semblante.recognise.detection import Detection
from semblante.recognise.detectors import WholePicture
from semblante.tabular import COLUMNS, face_rows
from semblante.wording import percent


def test_the_smiling_astronaut_is_happy(analyzer: Analyzer) -> None:
    [face] = analyzer.analyze(EXAMPLE)
    assert face.emotion == "happy"
    assert tuple(face.probabilities) == EMOTIONS
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert face.probabilities["happy"] == max(face.probabilities.values()) > 0.5
    assert face.box.iou(Box(177, 66, 97, 97)) > 0.8
    assert 0.5 <= face.detection_score <= 1


def test_path_bytes_and_array_give_the_same(analyzer: Analyzer) -> None:
    faces = analyzer.analyze(EXAMPLE)
    assert analyzer.analyze(str(EXAMPLE)) == faces
    assert analyzer.analyze(EXAMPLE.read_bytes()) == faces
    assert analyzer.analyze(semblante.load_image(EXAMPLE)) == faces


@needs_photos
def test_faces_are_those_of_the_detector_from_left_to_right(analyzer: Analyzer) -> None:
    for name in json.loads((SHARED / "photos" / "boxes.json").read_text()):
        image = load_image(SHARED / "photos" / name)
        found = [detection.box for detection in analyzer.detector.detect(image)]
        boxes = [face.box for face in analyzer.analyze(image)]
        assert boxes == sorted(found, key=lambda box: box.left)
        assert len(boxes) > 1


def test_what_the_classifier_sees_is_the_cut_out_face_and_its_mirror_image() -> None:
    for tta in ("none", "flip"):
        analyzer = Analyzer(tta=tta, head="fer2013")
        [face] = analyzer.analyze(EXAMPLE)
        crop = crop_face(to_grey(semblante.load_image(EXAMPLE)), face.box)
        one, mirrored = analyzer.classifier.probabilities(np.stack([crop, crop[:, ::-1]]))
        assert np.abs(one - mirrored).max() > 1e-3
        expected = one if tta == "none" else (one + mirrored) / 2
        assert list(face.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    [other_way] = Analyzer(detector=WholePicture(), head="fer2013").analyze(
        np.ascontiguousarray(crop[:, ::-1])
    )
    assert list(other_way.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    with pytest.raises(OptionError, match="expected tta to be one of none, flip, found 'mirror'"):
        Analyzer(tta="mirror")


class Sees:
    """Finds the same faces in every picture."""

    def __init__(self, *found: Detection) -> None:
        self.found = found

    def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
        return list(self.found)


def test_a_tilted_head_is_levelled_before_it_is_looked_at() -> None:
    image, box = load_image(EXAMPLE), Box(177, 66, 97, 97)
    analyzer = Analyzer(detector=Sees(Detection(box, 0.9, roll=30.0)))
    [face] = analyzer.analyze(image)
    crops = np.stack([crop_face(to_grey(image), box, roll=roll) for roll in (30.0, 0.0)])
    level, as_it_is = analyzer.classifier.probabilities(crops, mirrored=True)
    assert list(face.probabilities.values()) == pytest.approx(level.tolist(), abs=1e-5)
    assert np.abs(level - as_it_is).max() > 1e-3


def test_faces_one_above_the_other_come_from_top_to_bottom() -> None:
    places = [Box(9, 50, 40, 40), Box(9, 4, 40, 40), Box(5, 60, 40, 40)]
    analyzer = Analyzer(detector=Sees(*(Detection(place, 0.9) for place in places)))
    found = [face.box for face in analyzer.analyze(np.zeros((110, 60, 3), np.uint8))]
    assert found == [places[2], places[1], places[0]]


@pytest.mark.parametrize("n", [2, 7, 37])
def test_faces_divided_among_threads_are_what_each_is_by_itself(n: int) -> None:
    rng = np.random.default_rng(n)
    faces = rng.integers(0, 256, (n, 48, 48)).astype(np.uint8)
    alone, together = (Classifier(model_path("rcnn-medium"), threads=k) for k in (1, 3))
    one_by_one = np.concatenate([alone.probabilities(face[None]) for face in faces])
    assert len(np.unique(one_by_one.round(4), axis=0)) == n
    for classifier in (alone, together):
        assert classifier.probabilities(faces) == pytest.approx(one_by_one, abs=1e-5)
    mirrored = together.probabilities(faces, mirrored=True)
    expected = (one_by_one + alone.probabilities(faces[:, :, ::-1])) / 2
    assert mirrored == pytest.approx(expected, abs=1e-5)
    with pytest.raises(OptionError, match="expected threads of at least 1, found 0"):
        Classifier(model_path("rcnn-medium"), threads=0)
    with pytest.raises(OptionError, match="expected threads to be a whole number, found '2'"):
        Analyzer(threads="2")  # type: ignore[arg-type]


def test_a_forked_process_classifies_as_well() -> None:
    """`multiprocessing` forks on Linux until Python 3.13, and threads do not go along."""
    program = """
import multiprocessing, numpy, semblante
faces = numpy.zeros((40, 48, 48), numpy.uint8)
classifier = semblante.Analyzer(threads=2).classifier
def first(_): return float(classifier.probabilities(faces)[0, 0])
here = first(0)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(first, [0]).get(timeout=60) == [here])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
    error = pickle.loads(pickle.dumps(MissingExtraError("writing Parquet", "parquet")))
    assert str(error) == 'writing Parquet needs more packages: pip install "semblante[parquet]"'


def test_a_thread_that_outlives_the_main_one_finishes_its_pictures() -> None:
    """As where a service is shut down: pools take no more work then."""
    program = f"""
import threading, time, semblante
analyzer, picture = semblante.Analyzer(threads=2), {str(EXAMPLE)!r}
def work():
    threading.main_thread().join()
    time.sleep(0.3)
    print(analyzer.analyze(picture)[0].emotion)
    print([len(found.faces) for found in analyzer.analyze_many([picture, "none.jpg"] * 2)])
threading.Thread(target=work).start()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "happy\n[1, 0, 1, 0]\n", done.stderr


def test_it_goes_into_another_process(analyzer: Analyzer) -> None:
    copied = pickle.loads(pickle.dumps(analyzer))
    (face,), (again,) = analyzer.analyze(EXAMPLE), copied.analyze(EXAMPLE)
    assert again == face
    assert {face, again} == {face}
    classifier = Analyzer(threads=2, steps=1).classifier
    copied = pickle.loads(pickle.dumps(classifier))
    assert copied.steps_taken(np.zeros((1, 48, 48), np.uint8)).tolist() == [1]
    assert copied._threads == classifier._threads == 2


def test_a_single_picture_is_no_list_of_them(analyzer: Analyzer) -> None:
    data = EXAMPLE.read_bytes()
    for single in (str(EXAMPLE), EXAMPLE, data, bytearray(data), memoryview(data),
                   load_image(EXAMPLE)):  # fmt: skip
        with pytest.raises(OptionError, match="expected several pictures"):
            analyzer.analyze_many(single)


@pytest.mark.parametrize(
    "options",
    [{"steps": 1.9}, {"steps": "1"}, {"threads": 2.5}, {"early_exit": "x"}, {"detector": None}],
)
def test_options_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="expected"):
        Analyzer(**options)


def test_options_of_numpy_and_those_out_of_range() -> None:
    options = {"threads": np.int32(1), "steps": np.int64(1), "early_exit": np.float32(1)}
    classifier = Classifier(model_path("rcnn-small-int8"), **options)
    assert classifier.steps_taken(np.zeros((1, 48, 48), np.uint8)).tolist() == [1]
    for early_exit in (-0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match="expected early_exit between 0 and 1"):
            Classifier(model_path("rcnn-small-int8"), early_exit=early_exit)


def test_probabilities_of_numbers_of_any_size() -> None:
    found = softmax(np.array([[1000, 0, 1000], [0, -1000, 0], [-1000] * 3], np.float32))
    assert found == pytest.approx(np.array([[0.5, 0, 0.5], [0.5, 0, 0.5], [1 / 3] * 3]))
    assert softmax(np.zeros((0, 7), np.float32)).shape == (0, 7)


def test_annotate_takes_what_analyze_takes(analyzer: Analyzer) -> None:
    image = load_image(EXAMPLE)
    faces = analyzer.analyze(image)
    whole = semblante.annotate(image, faces)
    for other in (EXAMPLE, EXAMPLE.read_bytes(), image[:, :, 1].copy()):
        drawn = semblante.annotate(other, faces)
        assert (drawn.shape, drawn.dtype) == (whole.shape, whole.dtype)
    with pytest.raises(ImageError, match="found float64"):
        semblante.annotate(image.astype(float), faces)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 500, 3), (500, 1, 3), (19, 19, 3), (48, 48, 3), (400, 500, 3)]
)
def test_no_face_is_an_empty_list(analyzer: Analyzer, shape: tuple[int, ...]) -> None:
    assert analyzer.analyze(np.full(shape, 128, np.uint8)) == []


def test_one_bad_picture_does_not_stop_the_others(analyzer: Analyzer) -> None:
    found = list(analyzer.analyze_many([EXAMPLE, "missing.jpg", b"text", EXAMPLE.read_bytes()]))
    assert [len(analysis.faces) for analysis in found] == [1, 0, 0, 1]
    assert [analysis.error is None for analysis in found] == [True, False, False, True]
    assert [analysis.path for analysis in found] == [str(EXAMPLE), "missing.jpg", None, None]
    assert (found[0].width, found[0].height) == (512, 512)
    assert found[1].width is None
    with pytest.raises(ImageError, match=r"missing\.jpg: cannot be read"):
        analyzer.analyze("missing.jpg")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (
            [(1, 2, 30, 30)],
            "expected each face that the detector finds to be a semblante.Detection",
        ),
        (None, "expected a list of detections from the detector, found NoneType"),
    ],
)
def test_a_detector_that_gives_something_else(found: Any, reason: str) -> None:
    class Odd(Sees):
        def detect(self, image: np.ndarray, max_side: int | None = None) -> Any:
            return found

    with pytest.raises(OptionError, match=reason):
        Analyzer(detector=Odd()).analyze(EXAMPLE)


@pytest.mark.parametrize("error", [cv2.error("too large"), MemoryError("too large")])
def test_a_picture_that_cannot_be_searched_does_not_stop_the_others(error: Exception) -> None:
    class Fails(Sees):
        def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
            if len(image) > 100:
                raise error
            return []

    small = np.zeros((50, 60, 3), np.uint8)
    analyzer = Analyzer(detector=Fails())
    bad, good = analyzer.analyze_many([EXAMPLE, small])
    assert bad.error == f"{EXAMPLE}: could not be searched: too large"
    assert (good.error, good.width, good.height) == (None, 60, 50)
    for alone in (analyzer.analyze, analyzer.explain):
        with pytest.raises(ImageError, match="could not be searched: too large"):
            alone(EXAMPLE)


def test_of_many_pictures_each_comes_once_and_few_are_read_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sixteen at once through the network, or fewer where they are large."""
    monkeypatch.setattr("semblante.recognise.read_ahead._PATIENCE_S", 60.0)
    analyzer = Analyzer("rcnn-small-int8", detector="none", threads=2)
    read: list[int] = []

    def pictures() -> Iterator[np.ndarray]:
        for number in range(40):
            read.append(number)
            yield np.zeros((8, 10 + number, 3), np.uint8)

    for most_pixels, at_first in ((10**6, 16 + 3), (400, 5 + 3)):
        monkeypatch.setattr("semblante.recognise.read_ahead._BATCH_PIXELS", most_pixels)
        read.clear()
        analyses = analyzer.analyze_many(pictures())
        first = next(analyses)
        assert len(read) == at_first
        assert [one.width for one in (first, *analyses)] == list(range(10, 50))
    # However many threads there may be, no more than sixteen read: each may hold a large picture.
    read.clear()
    next(Analyzer("rcnn-small-int8", detector="none", threads=64).analyze_many(pictures()))
    assert len(read) == 5 + 16 + 1


def test_what_is_known_does_not_wait_for_what_takes_long() -> None:
    may_go_on = threading.Event()

    class Slow(Sees):
        def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
            assert len(image) < 100 or may_go_on.wait(60)
            return []

    quick, slow = np.zeros((50, 50, 3), np.uint8), np.zeros((200, 50, 3), np.uint8)
    analyses = Analyzer(detector=Slow()).analyze_many([quick, quick, slow, quick])
    assert [next(analyses).height for _ in range(2)] == [50, 50]
    may_go_on.set()
    assert [analysis.height for analysis in analyses] == [200, 50]


def test_of_a_slow_source_each_result_comes_before_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Seconds pass between two looks at this clock: the source seems slow.
    clock = itertools.count(0, 100)
    monkeypatch.setattr(
        "semblante.recognise.read_ahead.time", SimpleNamespace(monotonic=clock.__next__)
    )
    events: list[str] = []

    def pictures() -> Iterator[np.ndarray]:
        for _ in range(3):
            events.append("given")
            yield np.zeros((8, 8, 3), np.uint8)

    for analysis in Analyzer("rcnn-small-int8", detector="none").analyze_many(pictures()):
        events.append(f"{analysis.width} wide")
    assert events == ["given", "8 wide"] * 3


def test_pictures_that_change_or_close_are_held() -> None:
    """Pillow gives the frames of a film as one picture that changes."""
    film = io.BytesIO()
    frames = [Image.new("L", (20 + 0 * n, 20), 80 * n) for n in range(3)]
    frames[0].save(film, "GIF", save_all=True, append_images=frames[1:])
    analyzer = Analyzer("rcnn-small-int8", detector="none")

    def files() -> Iterator[Any]:
        with EXAMPLE.open("rb") as file:
            yield file
        yield file  # closed by now
        yield from ImageSequence.Iterator(Image.open(film))

    found = list(analyzer.analyze_many(files()))
    assert [one.width for one in found] == [512, None, 20, 20, 20]
    assert found[1].error == "the open file cannot be read: read of closed file"


def test_what_a_source_gave_before_it_failed_counts() -> None:
    def pictures() -> Iterator[np.ndarray]:
        yield from np.zeros((5, 8, 8, 3), np.uint8)
        raise OSError("the disk is gone")

    analyses = Analyzer("rcnn-small-int8", detector="none").analyze_many(pictures())
    assert [next(analyses).width for _ in range(5)] == [8] * 5
    with pytest.raises(OSError, match="the disk is gone"):
        next(analyses)


def test_what_was_found_before_a_detector_failed_counts() -> None:
    class Fails(Sees):
        def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
            if len(image) > 100:
                raise ZeroDivisionError
            return []

    small = np.zeros((50, 60, 3), np.uint8)
    analyses = Analyzer("rcnn-small-int8", detector=Fails()).analyze_many([small, EXAMPLE, small])
    assert next(analyses).width == 60
    with pytest.raises(ZeroDivisionError):
        next(analyses)


def test_a_model_is_a_name_or_a_file() -> None:
    with pytest.raises(OptionError, match="expected a model's name or file, found NoneType"):
        Analyzer(None)  # type: ignore[arg-type]


def test_a_detector_of_ones_own_is_checked() -> None:
    with pytest.raises(OptionError, match="or a Detector, found <class"):
        Analyzer(detector=WholePicture)  # type: ignore[arg-type]
    box = Box(*map(np.int64, (176, 65, 98, 98)))  # type: ignore[arg-type]
    [face] = Analyzer(detector=Sees(Detection(box, 0.9))).analyze(EXAMPLE)
    assert json.dumps(face.to_dict())
    wrong: Any
    for wrong in (Box(176.0, 65.0, 98.0, 98.0), Box(5, 5, 0, 9), (5, 5, 9, 9)):  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="expected a face's box in whole pixels"):
            Detection(wrong, 0.9)

    class OnlyPictures:
        def detect(self, image: np.ndarray) -> list[Detection]:
            return []

    with pytest.raises(OptionError, match=r"max_side=None\), found detect\(image: "):
        Analyzer(detector=OnlyPictures())  # type: ignore[arg-type]
    score: Any
    for score in (7.3, float("nan"), None, "0.9"):
        with pytest.raises(OptionError, match="score between 0 and 1"):
            Detection(Box(5, 5, 9, 9), score)


def test_a_box_outside_the_picture_is_no_face() -> None:
    """As of a detector that forgot that it had enlarged the picture."""
    edge = Detection(Box(-90, 10, 100, 100), 0.8)
    outside = (Box(512, 0, 50, 50), Box(0, -50, 50, 50))
    detector = Sees(edge, *(Detection(box, 0.9) for box in outside))
    analyzer = Analyzer(detector=detector)
    assert [face.box for face in analyzer.analyze(EXAMPLE)] == [edge.box]
    [frame] = analyzer.analyze_frames([(0.0, EXAMPLE)])
    assert [face.box for face in frame.faces] == [edge.box]


def test_an_array_of_grey_pictures_is_several(analyzer: Analyzer) -> None:
    whole = Analyzer("rcnn-small-int8", detector="none")
    faces = np.random.default_rng(0).integers(0, 255, (6, 48, 48)).astype(np.uint8)
    assert [one.faces for one in whole.analyze_many(faces)] == [
        tuple(whole.analyze(face)) for face in faces
    ]
    for single in (faces[0], faces[:, :, :3], faces[:, :, :4]):
        with pytest.raises(OptionError, match="found a single one"):
            whole.analyze_many(single)


def test_what_is_written_can_be_read_again(analyzer: Analyzer) -> None:
    [found] = analyzer.analyze_many([EXAMPLE])
    exact = found.to_dict(rounded=False)
    assert Analysis.from_dict(json.loads(json.dumps(exact))) == found
    for wrong in ({}, {**exact, "faces": [{}]}, {**exact, "colour": 3}, None):
        with pytest.raises(
            OptionError, match=r"expected what \w+\.to_dict returned; wrong or miss"
        ):
            Analysis.from_dict(wrong)  # type: ignore[arg-type]


def test_a_box_crops_what_of_it_lies_in_the_picture() -> None:
    image = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    assert np.array_equal(Box(-1, 2, 3, 9).crop(image), image[2:, :2])
    assert np.array_equal(Box(1, 1, 2, 3).crop(image[:, :, 0]), image[1:4, 1:3, 0])
    assert Box(9, 9, 3, 3).crop(image).size == 0


def test_what_of_a_box_lies_in_the_picture() -> None:
    assert Box(-11, -10, 106, 107).within(200, 90) == Box(0, 0, 95, 90)
    assert Box(190, 5, 20, 20).within(200, 90) == Box(190, 5, 10, 20)
    for beyond in (Box(300, 5, 20, 20), Box(-30, 5, 20, 20)):
        assert beyond.within(200, 90).width == 0


def test_a_copied_model_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(model_path("rcnn-small-int8"), tmp_path / "mine.onnx")
    monkeypatch.chdir(tmp_path)
    analyzer = Analyzer("mine.onnx", detector="none")
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(analyzer))
    assert again.analyze(EXAMPLE) == analyzer.analyze(EXAMPLE)


def test_overlap_by_counting_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = (Box(*map(int, rng.integers(1, 20, 4))) for _ in range(2))
        masks = np.zeros((2, 40, 40), bool)
        for mask, box in zip(masks, (one, other), strict=True):
            mask[box.top : box.top + box.height, box.left : box.left + box.width] = True
        both = masks.all(axis=0).sum()
        assert one.iou(other) == pytest.approx(both / masks.any(axis=0).sum())
        assert one.overlap_of_smaller(other) == pytest.approx(both / masks.sum(axis=(1, 2)).min())
    assert (
        Box(0, 0, 0, 0).iou(Box(0, 0, 0, 0))
        == Box(0, 0, 0, 0).overlap_of_smaller(Box(0, 0, 9, 9))
        == 0
    )


def test_result_as_dictionary(analyzer: Analyzer) -> None:
    [analysis] = analyzer.analyze_many([EXAMPLE])
    values = json.loads(json.dumps(analysis.to_dict()))
    assert list(values) == ["path", "frame", "time_s", "width", "height", "faces", "error"]
    [face] = values["faces"]
    assert list(face) == ["track", "box", "detection_score", "emotion", "probabilities"]
    assert face["box"] == analysis.faces[0].box.to_list()
    assert list(face["probabilities"]) == list(EMOTIONS)
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)


# -- the shipped models -----------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_shipped_files_are_what_the_table_says(name: str) -> None:
    entry = MODELS[name]
    assert sha256(entry.path) == entry.sha256
    assert entry.path.stat().st_size < 4_000_000
    about = Analyzer(name).classifier.about
    assert about["parameters"] == entry.parameters
    # A smaller file tells what the network reached in fp32, of which it may lose so much.
    lost = 5e-5 if about["precision"] == "fp32" else 0.003
    assert about["training"]["public_test"]["accuracy"] == pytest.approx(
        entry.public_test, abs=lost
    )


def test_no_estimate_is_certain() -> None:
    assert [percent(p, "en") for p in (0.0, 0.004, 0.426, 0.985, 0.9999, 1.0)] == [
        "0%", "0%", "43%", "98%", "99%", "99%"
    ]  # fmt: skip
    assert percent(1.0, "es") == "99\u00a0%"


def test_either_head_answers() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    by_default = Classifier(model_path())
    by_label, by_majority = (Classifier(model_path(), head=head) for head in ("fer2013", None))
    assert (by_default.head, by_majority.head) == ("fer2013", "ferplus")
    assert np.array_equal(by_default.probabilities(faces), by_label.probabilities(faces))
    eight = dict(zip(FERPLUS_EMOTIONS, by_label.ferplus_probabilities(faces).T, strict=True))
    names = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
    seven = np.stack([eight[names.get(name, name)] for name in semblante.EMOTIONS], axis=1)
    expected = seven / (1 - eight["contempt"])[:, None]
    found = by_majority.probabilities(faces)
    assert found == pytest.approx(expected, abs=1e-5)
    other = by_majority.probabilities(np.ascontiguousarray(faces[:, :, ::-1]))
    both = by_majority.probabilities(faces, mirrored=True)
    assert both == pytest.approx((found + other) / 2, abs=1e-5)
    assert by_majority.probabilities(faces[:0]).shape == (0, 7)
    assert pickle.loads(pickle.dumps(by_majority)).head == "ferplus"


def test_pictures_are_judged_by_ten_people_unless_told_otherwise() -> None:
    assert repr(Analyzer()) == "Analyzer('rcnn-medium-int8', detector=CnnDetector, head='ferplus')"
    by_label = Analyzer(head="fer2013")
    [one], [other] = (analyzer.analyze(EXAMPLE) for analyzer in (Analyzer(), by_label))
    assert one.box == other.box
    assert one.probabilities != other.probabilities
    with pytest.raises(OptionError, match="expected head to be one of fer2013, ferplus, found 'x'"):
        Analyzer(head="x")


@needs_fer2013
def test_most_people_call_fewer_faces_sad(fer2013: Dataset) -> None:
    """Of the neutral faces of ten people, on PublicTest, FER2013's labels make many something
    else."""
    votes = load_ferplus(SHARED / "fer2013" / "fer2013new.csv").majority()
    neutral = fer2013.images[fer2013.is_in("PublicTest") & (votes == 0)][::6]
    by_label, by_majority = (
        (Classifier(model_path(), head=head).probabilities(neutral).argmax(axis=1) == 6).mean()
        for head in ("fer2013", "ferplus")
    )
    assert by_majority > 0.8 > 0.6 > by_label


def test_unknown_and_damaged_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="unknown model 'vgg': expected one of rcnn-medium"):
        Analyzer("vgg")
    monkeypatch.setattr("semblante.models.sha256", lambda path: "0" * 64)
    with pytest.raises(ModelError, match="damaged; install semblante again"):
        model_path("rcnn-medium")


def test_which_faces_are_looked_for(tmp_path: Path) -> None:
    image = semblante.load_image(EXAMPLE)
    assert len(Analyzer("rcnn-small-int8", min_face=60).analyze(image)) == 1
    assert Analyzer("rcnn-small-int8", min_face=160).analyze(image) == []
    score = Analyzer("rcnn-small-int8").analyze(image)[0].detection_score
    assert Analyzer("rcnn-small-int8", min_score=(1 + score) / 2).analyze(image) == []
    with pytest.raises(OptionError, match="expected min_score above 0"):
        Analyzer("rcnn-small-int8", min_score=2)
    for detector in ("none", CnnDetector()):
        with pytest.raises(OptionError, match="min_face is for a detector that is given by its"):
            Analyzer("rcnn-small-int8", detector=detector, min_face=40)
    for command in (("analyze", "--format", "json"), ("explain", "--format", "json")):
        done = program(*command, EXAMPLE, "--min-face", 160)
        assert json.loads(done.stdout)["faces"] == []
        done = program(*command, EXAMPLE, "--min-face", 160, "--detector", "none")
        assert "min_face is for a detector that is given by its name" in done.stderr


# -- what recognition does not need -----------------------------------------------------------


def test_recognition_imports_no_torch() -> None:
    code = (
        "import sys, semblante\n"
        f"faces = semblante.Analyzer().analyze({str(EXAMPLE)!r})\n"
        "assert len(faces) == 1\n"
        "heavy = {'torch', 'onnx', 'matplotlib', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_command_needs_torch_until_it_trains() -> None:
    """The core install has none of these packages, and importing them takes seconds."""
    code = (
        "import sys, semblante.cli.app\n"
        "heavy = {'torch', 'onnx', 'matplotlib', 'safetensors', 'uvicorn', 'cleanlab'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_onnx_runtime_is_told_not_to_call_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is imported, and where it was imported already."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    told: list[str | None] = []
    monkeypatch.setattr(
        "onnxruntime.disable_telemetry_events",
        lambda: told.append(os.environ.get("ORT_DISABLE_TELEMETRY")),
    )
    import_onnxruntime()
    assert told == ["1"]


def test_a_table_of_pandas(analyzer: Analyzer, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    analyses = list(analyzer.analyze_many([EXAMPLE, tmp_path / "broken.jpg"]))
    frame = semblante.to_pandas(analyses)
    assert len(frame) == 2
    assert frame["emotion"][0] == "happy"
    assert frame[list(semblante.EMOTIONS)].loc[0].sum() == pytest.approx(1, abs=1e-4)
    assert frame["face"].tolist() == [1, pandas.NA]
    assert "broken.jpg" in frame["error"][1]
    read = pandas.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert list(read.columns) == list(frame.columns)
    faces = semblante.to_pandas(analyzer.analyze(EXAMPLE))
    assert faces["probability"].tolist() == frame["probability"][:1].tolist()
    assert faces["path"].isna().all()
    with pytest.raises(OptionError, match="a VideoSummary each, found Analysis"):
        semblante.to_pandas([*analyzer.analyze(EXAMPLE), *analyses])  # type: ignore[list-item]
    nothing = semblante.to_pandas([])
    assert len(nothing) == 0
    for some in (nothing, semblante.to_pandas(analyses[:1]), semblante.to_pandas(analyses[-1:])):
        assert some.dtypes.equals(frame.dtypes)  # whatever it happens to hold


def test_probabilities_stand_under_their_names() -> None:
    """In whatever order somebody's own face has them."""
    others = dict.fromkeys(reversed(EMOTIONS), 0.05) | {"sad": 0.7}
    face = Face(Box(0, 0, 9, 9), 0.9, "sad", others)
    [row] = face_rows(Analysis("a.png", 10, 10, (face,)))
    cells = dict(zip(COLUMNS, row, strict=True))
    assert (cells["emotion"], cells["probability"], cells["sad"]) == ("sad", 0.7, 0.7)
