"""Where the faces are, and how they are cut out."""

from __future__ import annotations

import json
import math
import ssl
import sys
import threading
import urllib.error
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import semblante
from conftest import SHARED, needs_photos, turned
from semblante import Analyzer, Box, ModelError, OptionError
from semblante.preprocess import crop_face, to_grey
from semblante.pull import pull_yunet
from semblante.recognise.cnn import CnnDetector
from semblante.recognise.detection import (
    Detection,
    Detector,
    Landmarks,
    brightened,
    resized_for_search,
    without_overlaps,
)
from semblante.recognise.detectors import (
    DETECTORS,
    WholePicture,
    detected_in,
    largest_face,
    make_detector,
)
from semblante.recognise.haar import HaarDetector
from semblante.recognise.yunet import YuNetDetector

YUNET = SHARED / "models" / "face_detection_yunet_2023mar.onnx"
needs_yunet = pytest.mark.skipif(not YUNET.is_file(), reason="YuNet's file is not at hand")


@pytest.fixture(params=["cnn", "haar", pytest.param("yunet", marks=needs_yunet)])
def detector(request: pytest.FixtureRequest) -> Detector:
    return YuNetDetector(YUNET) if request.param == "yunet" else make_detector(request.param)


def test_the_astronaut(detector: Detector, astronaut: np.ndarray) -> None:
    """All frame her alike, as FER2013 does."""
    [found] = detector.detect(astronaut)
    assert found.box.iou(Box(177, 66, 97, 97)) > 0.65
    assert 0.5 <= found.score <= 1


@needs_yunet
def test_pictures_too_thin_for_a_face_have_none() -> None:
    """OpenCV's own search reads beyond them, and finds whatever lies there."""
    detector = YuNetDetector(YUNET)
    rng = np.random.default_rng(0)
    for height, width in ((30, 900), (10, 1000), (500, 1), (7, 7), (32, 32), (900, 20)):
        for _ in range(5):
            picture = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
            assert detector.detect(picture) == []


@needs_yunet
def test_a_picture_of_one_pixel_by_millions_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a file it has a few kilobytes; brought to a height of 64, gigabytes."""
    detector = YuNetDetector(YUNET)
    monkeypatch.setattr(detector, "_networks", None)  # which would fail
    for shape in ((1, 4_000_000, 3), (4_000_000, 1, 3)):
        assert detector.detect(np.zeros(shape, np.uint8)) == []


def test_boxes_of_a_large_picture_are_in_its_own_pixels(
    detector: Detector, astronaut: np.ndarray
) -> None:
    large = np.asarray(Image.fromarray(astronaut).resize((2560, 2560), Image.Resampling.BICUBIC))
    [small_face], [large_face] = (detector.detect(picture) for picture in (astronaut, large))
    scaled = Box(*(5 * value for value in small_face.box.to_list()))
    assert large_face.box.iou(scaled) > 0.8


def test_faces_of_a_panorama(astronaut: np.ndarray) -> None:
    """Its length does not make them too small to be seen."""
    panorama = np.tile(astronaut, (1, 12, 1))
    assert len(CnnDetector().detect(panorama)) == 12
    assert len(HaarDetector().detect(panorama)) == 12


@pytest.mark.parametrize("degrees", [-40, -30, 0, 30, 40])
def test_tilted_heads_are_found_and_levelled(astronaut: np.ndarray, degrees: int) -> None:
    picture = turned(astronaut, degrees)
    [found] = CnnDetector().detect(picture)
    assert found.box.iou(Box(177, 66, 97, 97)) > 0.65
    assert found.roll == pytest.approx(degrees, abs=12)
    # Its crop is that of the upright picture, tilted by what is left.
    middle = (found.box.left + found.box.width / 2, found.box.top + found.box.height / 2)
    back = cv2.getRotationMatrix2D(middle, found.roll, 1)
    straight = cv2.warpAffine(to_grey(picture), back, picture.shape[1::-1])
    level = crop_face(to_grey(picture), found.box, roll=found.roll)
    expected = crop_face(straight, found.box)
    assert np.corrcoef(level[4:44, 4:44].ravel(), expected[4:44, 4:44].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_beside_one_who_lies_the_others_stay(monkeypatch: pytest.MonkeyPatch, quarter: int) -> None:
    """One sure face in the turned picture does not take away those that are less sure as it
    stands."""

    def upright(_: CnnDetector, grey: np.ndarray, *__: object) -> list[Detection]:
        turned = grey.shape[0] > grey.shape[1] if quarter % 2 else grey[0, 0] == 9
        if turned:
            return [Detection(Box(10, 20, 30, 30), 0.98)]
        return [Detection(Box(150, 20, 40, 40), 0.7)]

    monkeypatch.setattr(CnnDetector, "_upright", upright)
    picture = np.full((100, 240, 3), 200, np.uint8)
    picture[-1, -1] = 9
    found = CnnDetector().detect(picture)
    assert [one.score for one in found] == [0.98, 0.7]
    assert found[0].roll % 180 == 90 * quarter % 180


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_pictures_that_lie_on_their_side(
    monkeypatch: pytest.MonkeyPatch, astronaut: np.ndarray, quarter: int
) -> None:
    """Turned to the right by so many quarters, as scans are, and phones' whose EXIF is lost."""
    picture = astronaut[:400]
    [upright] = CnnDetector().detect(picture)
    lying = np.ascontiguousarray(np.rot90(picture, -quarter))
    [found] = CnnDetector().detect(lying)
    assert found.roll % 360 == pytest.approx(90 * quarter)
    assert -180 < found.roll <= 180
    # As it stands, where it was; seen as it was.
    marked = np.zeros(picture.shape[:2], np.uint8)
    box = upright.box
    marked[box.top : box.top + box.height, box.left : box.left + box.width] = 255
    there = np.nonzero(np.rot90(marked, -quarter))
    assert (found.box.top, found.box.left) == (there[0].min(), there[1].min())
    crops = (
        crop_face(to_grey(p), f.box, roll=f.roll) for p, f in ((picture, upright), (lying, found))
    )
    one, other = (crop.astype(float).ravel() for crop in crops)
    assert np.corrcoef(one, other)[0, 1] > 0.99
    # Where time is to be saved, it is not turned.
    monkeypatch.setattr(CnnDetector, "_lying", lambda *_: pytest.fail("it was turned"))
    assert all(abs(one.roll) < 45 for one in CnnDetector().detect(lying, max_side=1280))


def test_a_glance_that_a_full_look_does_not_bear_out_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a small copy that is turned a face seems sure; in the picture itself it is less so."""
    asked: list[tuple[int, ...]] = []

    def upright(_: CnnDetector, grey: np.ndarray, *__: object) -> list[Detection]:
        asked.append(grey.shape)
        if grey.shape == (600, 800):  # as it stands
            return [Detection(Box(150, 20, 40, 40), 0.7)]
        return [Detection(Box(10, 20, 30, 30), 0.98 if max(grey.shape) <= 240 else 0.9)]

    monkeypatch.setattr(CnnDetector, "_upright", upright)
    found = CnnDetector().detect(np.full((600, 800, 3), 200, np.uint8))
    assert [one.score for one in found] == [0.7]
    assert asked[-1] == (800, 600)  # it was turned, and looked at in full


def test_in_a_small_copy_the_smallest_face_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int | None]] = []

    def upright(
        _: CnnDetector, grey: np.ndarray, max_side: int | None, min_face: int | None
    ) -> list[Detection]:
        asked.append((max(grey.shape), min_face))
        return [Detection(Box(10, 20, 90, 90), 0.98)] if len(asked) > 1 else []

    monkeypatch.setattr(CnnDetector, "_upright", upright)
    CnnDetector(min_face=80).detect(np.full((600, 800, 3), 200, np.uint8))
    assert asked == [(800, 80), (240, 24), (240, 24), (240, 24), (800, 80)]


def test_of_a_black_picture_noise_stays_dark() -> None:
    def brightest(level: int) -> int:
        return int(brightened(np.full((40, 40), level, np.uint8)).max())

    assert [brightest(level) for level in (0, 2, 8, 100, 127, 128, 200)] == [
        0, 64, 255, 255, 255, 128, 200,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "scale"), [((20, 30), 4), ((100, 200), 2), ((300, 600), 1), ((400, 1800), 0.5)]
)
def test_small_pictures_are_enlarged_four_times_at_most(
    size: tuple[int, int], scale: float
) -> None:
    found, by = resized_for_search(np.zeros(size, np.uint8), max_side=600, least_side=400)
    assert by == pytest.approx(scale)
    assert found.shape == (round(scale * size[0]), round(scale * size[1]))


@pytest.mark.parametrize("name", ["cnn", "haar"])
def test_dark_and_small_pictures(name: str, astronaut: np.ndarray) -> None:
    place = Box(177, 66, 97, 97)
    dark = (astronaut * 0.12).astype(np.uint8)
    [found] = make_detector(name).detect(dark)
    assert found.box.iou(place) > 0.65
    assert make_detector(name).detect(np.zeros_like(astronaut)) == []
    small = cv2.resize(astronaut, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA)
    assert make_detector(name, min_face=36).detect(small) == []
    [found] = make_detector(name).detect(small)
    assert found.box.iou(Box(*(round(v / 4) for v in place.to_list()))) > 0.5


@needs_photos
def test_group_photographs(detector: Detector) -> None:
    """Hand-drawn boxes; one face in them is turned away, one half hidden."""
    boxes = json.loads((SHARED / "photos" / "boxes.json").read_text())
    found = wrong = 0
    for name, drawn in boxes.items():
        faces = detector.detect(semblante.load_image(SHARED / "photos" / name))
        true = [Box(*box) for box in drawn]
        found += sum(any(face.box.iou(box) > 0.4 for face in faces) for box in true)
        wrong += sum(all(face.box.iou(box) <= 0.4 for box in true) for face in faces)
        assert faces == sorted(faces, key=lambda face: -face.score)
    assert found >= (14 if isinstance(detector, HaarDetector) else 16)
    assert wrong == 0


@needs_yunet
@pytest.mark.parametrize("degrees", [-45, -30, -15, 0, 15, 30, 45])
def test_yunet_finds_turned_faces(astronaut: np.ndarray, degrees: float) -> None:
    height, width = astronaut.shape[:2]
    turn = cv2.getRotationMatrix2D((225, 115), degrees, 1)  # about her nose
    turned = cv2.warpAffine(astronaut, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    [found] = YuNetDetector(YUNET).detect(turned)
    assert found.box.iou(Box(163, 57, 117, 117)) > 0.6


def test_from_several_threads(detector: Detector, astronaut: np.ndarray) -> None:
    """Pictures of other sizes at the same time: each gets its own faces."""
    pictures = [astronaut, np.ascontiguousarray(astronaut[:300, 100:400]), astronaut[::2, ::2]]
    expected = [detector.detect(picture) for picture in pictures]
    failed: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):
            if detector.detect(pictures[number]) != expected[number]:
                failed.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


@pytest.mark.parametrize("detector", ["none", WholePicture()])
def test_the_whole_picture(detector: Detector | str) -> None:
    [face] = Analyzer(detector=detector).analyze(np.zeros((60, 70, 3), np.uint8))
    assert face.box == Box(0, 0, 70, 60)
    assert face.detection_score == 1


def test_of_two_boxes_on_one_face_the_surer_is_kept() -> None:
    sure, double, neighbour = (
        Detection(Box(39, 184, 55, 55), 0.9),
        Detection(Box(15, 184, 53, 53), 0.6),
        Detection(Box(90, 184, 50, 50), 0.5),
    )
    assert without_overlaps([sure, double, neighbour]) == [sure, neighbour]
    assert without_overlaps([]) == []
    mouth, chin = Detection(Box(56, 215, 20, 12), 0.8), Detection(Box(56, 234, 20, 10), 0.8)
    assert without_overlaps([mouth, sure]) == [sure]
    assert without_overlaps([chin, sure]) == [sure, chin]  # half of it lies elsewhere


@pytest.mark.parametrize(
    "options",
    [
        {"min_face": 0},
        {"min_face": "40"},
        {"min_face": 24.5},
        {"min_score": 0.0},
        {"min_score": 1.0},
        {"min_score": "x"},
        {"max_side": 0},
        {"max_side": None},
        {"max_side": math.inf},
    ],
)
@pytest.mark.parametrize("name", ["cnn", "haar", "yunet"])
def test_detector_options(name: str, options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=r"expected (min_face|min_score|max_side)"):
        make_detector(name, **options)


def test_detectors_by_name() -> None:
    assert isinstance(make_detector("cnn"), CnnDetector)
    assert isinstance(Analyzer().detector, CnnDetector)
    assert isinstance(make_detector("haar", min_face=50), HaarDetector)
    assert isinstance(make_detector("none"), WholePicture)
    with pytest.raises(
        OptionError, match="unknown detector 'mtcnn'; known: cnn, haar, yunet, none"
    ):
        make_detector("mtcnn")
    assert tuple(DETECTORS) == ("cnn", "haar", "yunet", "none")


# -- what a detector makes of what a network, or OpenCV, says ------------------------------------


class Cascade:
    """Says the same of every picture."""

    def __init__(self, *votes: int) -> None:
        self.said = [(100 * n, 100, 50, 50) for n in range(len(votes))], list(votes)

    def detectMultiScale2(  # noqa: N802
        self, *_: object, **__: object
    ) -> tuple[list[tuple[int, ...]], list[int]]:
        return self.said


def test_windows_that_agree_are_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (3, 4, 6, 30)
    monkeypatch.setattr("semblante.recognise.haar._cascade", lambda: Cascade(*said))
    picture = np.zeros((320, 320, 3), np.uint8)  # searched at twice the size
    for min_score, votes in ((0.5, [30, 6, 4]), (0.6, [30, 6]), (0.4, [30, 6, 4, 3])):
        found = HaarDetector(min_score=min_score).detect(picture)
        assert [one.score for one in found] == pytest.approx([n / (n + 4) for n in votes])
        assert [one.box for one in found] == [Box(50 * said.index(n), 50, 25, 25) for n in votes]


class Network:
    """As YuNet's: boxes in the pixels of the picture that it is given."""

    def __init__(self, *rows: list[float]) -> None:
        self.rows = np.array(rows, np.float32)

    def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802
        self.size = size

    def detect(self, picture: np.ndarray) -> tuple[int, np.ndarray]:
        self.seen = picture.copy()
        return 1, self.rows


def yunet_row(left: float, width: float, score: float) -> list[float]:
    """Eyes at a third of the box's height, the nose, and the mouth at three quarters."""
    x, y = left + width / 2, 100.0
    points = [x - 20, y - 20, x + 20, y - 20, x + 5, y + 90, x - 10, y + 20, x + 10, y + 20]
    return [left, 50, width, 120, *points, score]


def test_what_yunet_says_in_the_framing_of_fer2013(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of twice the size that is searched; red, green and blue are turned round."""
    network = Network(yunet_row(20, 100, 0.8), yunet_row(300, 100, 0.9), yunet_row(500, 10, 0.95))
    monkeypatch.setattr("semblante.recognise.yunet._network", lambda *_: network)
    image = np.zeros((800, 1280, 3), np.uint8)
    image[:, :, 0] = 200
    detector = YuNetDetector(Path("yunet.onnx"), min_face=30)
    first, second = detector.detect(image, 2000)
    assert network.size == (640, 400)
    assert network.seen.shape == (400, 640, 3)
    assert network.seen[0, 0].tolist() == [0, 0, 200]
    # Of the surer one: 2 * 1.30 * 100 a side, around its eyes and mouth, 0.065 of that above.
    assert first.box == Box(2 * 350 - 130, 200 - 130 - 17, 260, 260)
    assert (first.score, second.score) == pytest.approx((0.9, 0.8))
    assert first.landmarks == Landmarks((660, 160), (740, 160), (710, 380), (680, 240), (720, 240))
    assert [one.box.width for one in YuNetDetector(Path("x")).detect(image)] == [26, 260, 260]


@needs_yunet
def test_yunet_finds_those_that_it_is_sure_enough_of(astronaut: np.ndarray) -> None:
    [face] = YuNetDetector(YUNET).detect(astronaut)
    assert YuNetDetector(YUNET, min_score=(face.score + 1) / 2).detect(astronaut) == []
    assert YuNetDetector(YUNET, min_score=0.01).detect(astronaut)[0] == face
    assert len(YuNetDetector(YUNET, min_score=0.01).detect(astronaut)) > 1


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: cannot be read: No such file"):
        YuNetDetector(tmp_path / "none.onnx")
    monkeypatch.setattr(cv2, "__file__", str(tmp_path / "cv2.py"))
    with pytest.raises(ModelError, match=r"alt2\.xml: OpenCV's face cascade is missing"):
        HaarDetector()


class Looks:
    """Finds one face, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], int | None]] = []

    def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
        self.asked.append((image.shape[:2], max_side))
        nose = (3.0, 3.0)
        return [Detection(Box(1, 2, 10, 11), 0.9, Landmarks(nose, nose, nose, nose, nose), 30.0)]


def test_faces_in_a_part_of_a_picture_are_where_they_are_in_the_whole() -> None:
    image, detector = np.zeros((60, 80, 3), np.uint8), Looks()
    for part, shape, place in (
        (Box(20, 30, 40, 20), (20, 40), Box(21, 32, 10, 11)),
        (Box(-10, -5, 40, 20), (15, 30), Box(1, 2, 10, 11)),
        (Box(60, 50, 40, 20), (10, 20), Box(61, 52, 10, 11)),
    ):
        found = detected_in(detector, image, part, 128)
        assert found == [Detection(place, 0.9, None, 30.0)]
        assert detector.asked.pop() == (shape, 128)
    for nowhere in (Box(-50, 0, 40, 20), Box(90, 0, 40, 20), Box(0, -50, 40, 20)):
        assert detected_in(detector, image, nowhere, 128) == []
    assert detector.asked == []


def test_the_largest_face_is_cut_out_level() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)

    class Sees(Looks):
        def detect(self, image: np.ndarray, max_side: int | None = None) -> list[Detection]:
            sure, large = Box(0, 0, 50, 50), Box(90, 90, 70, 70)
            return [Detection(sure, 0.9), Detection(large, 0.6, roll=-30.0)]

    found = largest_face(Sees())(image)
    assert np.array_equal(found, crop_face(to_grey(image), Box(90, 90, 70, 70), roll=-30.0))


# -- the detector that is pulled ------------------------------------------------------------------


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMBLANTE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models" / YUNET.name


def test_the_detector_is_not_here_yet(own_folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"`semblante models pull yunet` fetches it. Offline: copy"
    ):
        make_detector("yunet")


@needs_yunet
def test_pulled_from_a_file(own_folder: Path, astronaut: np.ndarray) -> None:
    assert pull_yunet(YUNET) == own_folder
    assert own_folder.read_bytes() == YUNET.read_bytes()
    assert len(make_detector("yunet").detect(astronaut)) == 1
    own_folder.write_bytes(YUNET.read_bytes()[:-1])
    with pytest.raises(ModelError, match="the file is damaged; delete it and"):
        make_detector("yunet")


@needs_yunet
def test_another_file_does_not_replace_it(own_folder: Path, tmp_path: Path) -> None:
    pull_yunet(YUNET)
    (tmp_path / "other.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="another than the one that is known to work"):
        pull_yunet(tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=r"missing\.onnx: cannot be read: No such file"):
        pull_yunet(tmp_path / "missing.onnx")
    assert own_folder.read_bytes() == YUNET.read_bytes()
    assert [path.name for path in own_folder.parent.iterdir()] == [YUNET.name]


@needs_yunet
def test_pulled_over_the_network(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import functools
    import http.server

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=YUNET.parent)
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        for url in (f"{here}/{YUNET.name}", f"{here}/nothing"):
            monkeypatch.setattr("semblante.pull.YUNET_URL", url)
            if url.endswith("nothing"):
                with pytest.raises(ModelError, match=r"cannot be read: .*Without a connection"):
                    pull_yunet()
            else:
                pull_yunet()
        server.shutdown()
    assert own_folder.read_bytes() == YUNET.read_bytes()


@pytest.mark.parametrize("platform", ["darwin", "linux"])
def test_certificates_that_macos_s_python_cannot_check(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    """python.org's has none before its owner has run a command that came with it."""

    def fail(*_: object, **__: object) -> None:
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed"))

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(ModelError, match=r"onnx: cannot be read: .*verify failed.*--from") as said:
        pull_yunet()
    assert ("`Install Certificates.command`" in str(said.value)) == (platform == "darwin")


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("no network")
    with pytest.raises(ModelError, match=r"x\.onnx: not YuNet's network"):
        YuNetDetector(tmp_path / "x.onnx")


def test_in_videos_too_a_detector_searches_at_its_own_size_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first size of the picture is the largest."""
    detector = CnnDetector(max_side=200)
    searched: list[int] = []
    proposed = CnnDetector._proposed

    def spy(self: CnnDetector, seen: np.ndarray) -> np.ndarray:
        searched.append(max(seen.shape))
        return proposed(self, seen)

    monkeypatch.setattr(CnnDetector, "_proposed", spy)
    for asked, expected in ((640, 200), (128, 128), (None, 200)):
        searched.clear()
        detector.detect(np.zeros((480, 640, 3), np.uint8), asked)
        assert searched[0] == expected
