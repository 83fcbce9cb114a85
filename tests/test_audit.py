"""The audit: its findings, the report, the JSON, and lists of rows to leave out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import SHARED, needs_fer2013, pattern_dataset
from semblante.data import SPLITS, Dataset
from semblante.data.audit import audit
from semblante.data.dataset import UNLABELLED
from semblante.data.exclusion import read_exclusion, write_exclusion
from semblante.data.ferplus import VOTES, FerPlus, load_ferplus
from semblante.emotions import LANGUAGES
from semblante.errors import DataError

pytest.importorskip("cleanlab")
from semblante.data.report import _Page, write_report


@pytest.fixture
def dirty() -> Dataset:
    """A dataset with every kind of fault: 28 patterns in each split, whose first row is angry, the
    second disgust, and so on."""
    made = pattern_dataset(per_class=4)
    images, labels = made.images.copy(), made.labels.copy()
    images[10] = images[3]  # an extra copy, same label
    images[12] = images[6]  # one that disagrees: rows 6 and 12 are neutral and surprise
    images[28 + 5] = images[19]  # PublicTest, in Training too
    images[56 + 2] = images[28 + 2]  # PrivateTest, in PublicTest too
    images[56 + 4] = (images[25] * 0.7 + 20).astype(np.uint8)  # a near copy of Training
    images[8] = images[40] = 33  # constant, in Training and in PublicTest
    labels[15] = 5  # wrong: it shows class 1
    groups = np.full(len(labels), "", "U8")
    groups[[1, 2]] = "anna"
    groups[[3, 30]] = "ben"
    return Dataset(images, labels, made.splits, groups=groups)


def sure(dataset: Dataset) -> np.ndarray:
    """The estimates of a good judge: 0.9 for the true class of each pattern."""
    truth = np.tile(np.arange(7), len(dataset) // 7)
    return np.where(np.eye(7)[truth] == 1, 0.9, 0.1 / 6)


def test_each_fault_is_found(dirty: Dataset) -> None:
    found = audit(dirty, probabilities=sure(dirty))
    assert found.exact == [[3, 10], [6, 12], [8, 40], [19, 33], [30, 58]]
    assert found.conflicting == [[6, 12], [8, 40]]
    assert found.near == [[25, 60]]
    assert found.leaks == {"PublicTest": [33, 40], "PrivateTest": []}
    assert found.near_leaks == {"PublicTest": [], "PrivateTest": [60]}
    assert found.across_tests == [58]
    assert found.groups_across == [[3, 30]]
    assert found.constant == [8, 40]
    assert found.no_face is None
    assert found.suspects is not None
    assert [(s.row, s.label, s.estimate) for s in found.suspects] == [(15, 5, 1)]
    assert found.n_judged == 82  # all but the two constant images
    assert found.to_drop() == {
        6: "copies with different labels",
        8: "constant",
        10: "extra copy",
        12: "copies with different labels",
        15: "likely mislabelled",
        19: "copy of a test face",
        25: "copy of a test face",
        40: "constant",
    }


def test_a_copy_without_a_label_contradicts_nothing(dirty: Dataset) -> None:
    dirty.images[14] = dirty.images[11]
    for row in (6, 11):  # 6 is a copy of 12, and 11 comes before its copy 14
        dirty.labels[row] = UNLABELLED
    found = audit(dirty)
    assert [6, 12] in found.exact
    assert found.conflicting == [[8, 40]]
    dropped = found.to_drop()
    assert (dropped[6], dropped[11]) == ("extra copy", "extra copy")
    assert not {12, 14} & dropped.keys()


def test_only_judged_rows_can_be_suspect(dirty: Dataset) -> None:
    estimates = sure(dirty)
    estimates[15] = np.nan
    found = audit(dirty, probabilities=estimates)
    assert (found.suspects, found.n_judged) == ([], 81)
    assert audit(dirty).suspects is None


def test_a_class_that_no_face_has(dirty: Dataset) -> None:
    rows = np.flatnonzero(dirty.labels != 6)
    found = audit(dirty.where(rows), probabilities=sure(dirty)[rows])
    assert found.suspects is not None
    assert [int(rows[suspect.row]) for suspect in found.suspects] == [15]


def test_without_training_nobody_knows_what_leaked(dirty: Dataset, tmp_path: Path) -> None:
    tests = dirty.where(dirty.splits != 0)
    found = audit(tests, probabilities=np.full((len(tests), 7), 1 / 7), judge="mine.onnx")
    told = found.to_dict()
    assert [told["leaks"][split]["leak_free_n"] for split in SPLITS[1:]] == [None, None]
    assert told["mislabelled"]["judge"] == "mine.onnx"
    write_report(found, tmp_path / "report.html", "mine")
    assert "faces that are in Training too" not in (tmp_path / "report.html").read_text()


def test_of_a_large_group_faces_of_all_splits_are_shown(patterns: Dataset) -> None:
    found = replace(audit(patterns), near=[[*range(8), 90, 200]])
    sections = _Page(found, "en").sections()
    [[faces]] = [groups for finding, groups, _ in sections if finding.key == "near"]
    assert [face.detail.split(",")[0] for face in faces] == [
        "Training", "PublicTest", "PrivateTest", "Training", "Training", "Training",
    ]  # fmt: skip
    assert faces[-1].detail.endswith("; and 4 more")


def test_ferplus_says_where_no_face_is(dirty: Dataset) -> None:
    votes = np.zeros((len(dirty), len(VOTES)), np.int64)
    votes[:, VOTES.index("happiness")] = 10
    votes[7], votes[50] = np.eye(10)[VOTES.index("NF")] * 6, 0
    votes[50, [0, 9]] = 5
    named = np.ones(len(dirty), np.bool_)
    found = audit(dirty, votes=FerPlus(votes, named, dirty.splits))
    assert found.no_face == [7]
    # An image without a face has no right label, so its label is not judged.
    votes_of = FerPlus(votes, named, dirty.splits)
    judged = audit(dirty, votes=votes_of, probabilities=sure(dirty)).n_judged
    assert judged == audit(dirty, probabilities=sure(dirty)).n_judged - 1
    assert found.to_drop()[7] == "no face"
    with pytest.raises(DataError, match="in their order"):
        audit(dirty, votes=FerPlus(votes, named, dirty.splits[::-1]))


def test_light_and_sharpness() -> None:
    faces = pattern_dataset(per_class=10)
    light = np.random.default_rng(0).integers(-15, 15, (len(faces), 1, 1))
    images = (faces.images + light).astype(np.uint8)
    images[3] = images[3] // 8
    images[4] = 200 + images[4] // 8
    images[5] = np.linspace(30, 180, 48)[:, None]
    checks = np.indices((48, 48)).sum(axis=0) % 2 * 210
    images[6] = checks
    found = audit(replace(faces, images=images))
    assert (found.dark, found.bright, found.blurred) == ([3], [4], [5])
    assert 6 in found.drawn


@pytest.mark.parametrize("n", [1, 2])
def test_hardly_any_face(patterns: Dataset, n: int) -> None:
    few = patterns.where(np.arange(n))
    found = audit(few, probabilities=np.full((n, 7), 1 / 7))
    assert found.to_drop() == {}


def test_report_and_numbers(dirty: Dataset, tmp_path: Path) -> None:
    odd = replace(dirty, names=np.array([f"<b>{n}.png" for n in range(len(dirty))]))
    found = audit(odd, probabilities=sure(dirty))
    write_report(found, tmp_path / "report.html", "mine & <yours>")
    page = (tmp_path / "report.html").read_text()
    assert "mine &amp; &lt;yours&gt;" in page
    assert "<b>" not in page
    assert "rather disgust (90%)" in page
    assert "1 neutral, 1 surprise" in page
    assert page.count("data:image/png;base64,") > 10
    assert "http" not in page  # nothing is loaded from elsewhere
    numbers = json.loads(json.dumps(found.to_dict()))
    assert numbers["leaks"]["PublicTest"] == {
        "n": 2, "leak_free_n": 26, "rows": [33, 40], "near_rows": [],
    }  # fmt: skip
    assert numbers["mislabelled"]["rows"][0]["row"] == 15
    assert numbers["class_balance"]["Training"]["happy"] == 4


def test_the_report_in_spanish(dirty: Dataset, tmp_path: Path) -> None:
    """Every finding is there in both languages, with the same figures and names of splits."""
    counts = np.zeros((len(dirty), len(VOTES)), np.int64)
    votes = FerPlus(counts, np.ones(len(dirty), np.bool_), dirty.splits)
    found = audit(dirty, votes=votes, probabilities=sure(dirty))
    pages = {}
    for language in LANGUAGES:
        write_report(found, tmp_path / "report.html", "mine", language)
        pages[language] = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "más bien asco (90\u00a0%)" in pages["es"]
    assert "1 neutral, 1 sorpresa" in pages["es"]
    assert '<html lang="es">' in pages["es"]
    ids = {
        language: re.findall(r'<section id="([\w-]+)">', page) for language, page in pages.items()
    }
    assert ids["en"] == ids["es"]
    assert len(ids["en"]) == 14
    for name in ids["en"]:
        told = [
            re.findall(r"\d+", re.findall(f'#{name}">.*?</td><td>(.*?)</td>', page)[0])
            for page in pages.values()
        ]
        assert told[0] == told[1], name
    english = re.findall(r"<p>(.*?)</p>", pages["en"])
    assert not [text for text in english if text in pages["es"]]


def test_leaks_are_shown_beside_what_they_copy(dirty: Dataset, tmp_path: Path) -> None:
    """Near copies are shown too, and names of files may hold bytes that are not UTF-8."""
    names = np.array([f"face\udce9-{row}.png" for row in range(len(dirty))])
    write_report(audit(replace(dirty, names=names)), tmp_path / "report.html", "mine")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for split, rows in (("PublicTest", [33, 19, 40, 8]), ("PrivateTest", [60, 25])):
        section = page.split(f'<section id="leaks-{split}">')[1].split("</section>")[0]
        shown = re.findall(r"(\w+), row\W(\d+), face\\udce9-(\d+)\.png", section)
        assert [int(row) for _, row, _ in shown] == rows
        assert {place for place, row, _ in shown if int(row) > 27} == {split}
        assert ["more" in section, section.count('class="group many"')] == [False, len(rows) // 2]


def test_exclusion_lists(dirty: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_exclusion(path, dirty, {3: "extra copy", 40: "constant"})
    assert np.flatnonzero(read_exclusion(path, dirty)).tolist() == [3, 40]
    text = path.read_text()
    # As spreadsheets save it: each line as wide as the widest, semicolons for a decimal comma.
    for saved in (
        text.replace("\n", ",\n", 1),
        "\ufeff" + text.replace("\n", ";\r\n", 1).replace(",", ";"),
    ):
        path.write_text(saved, newline="")
        assert np.flatnonzero(read_exclusion(path, dirty)).tolist() == [3, 40]
    path.write_text(text)
    with pytest.raises(DataError, match="of another dataset"):
        read_exclusion(path, dirty.where(np.arange(50)))
    path.write_text(path.read_text() + "84,extra copy\n")
    with pytest.raises(DataError, match=r"line 5: expected a row number of 0\.\.83, found '84,"):
        read_exclusion(path, dirty)
    path.write_text("row,reason\n3,extra copy\n")
    with pytest.raises(DataError, match="expected a list of rows that `semblante data audit"):
        read_exclusion(path, dirty)
    with pytest.raises(DataError, match="cannot be read"):
        read_exclusion(tmp_path / "missing.csv", dirty)


@needs_fer2013
def test_the_real_faces(fer2013: Dataset) -> None:
    votes = load_ferplus(SHARED / "fer2013" / "fer2013new.csv")
    found = audit(fer2013, votes=votes).to_dict()
    assert found["exact_duplicates"]["n_groups"] == 1514
    assert found["conflicting_labels"]["n_groups"] == 57
    assert [found["leaks"][split]["n"] for split in ("PublicTest", "PrivateTest")] == [280, 288]
    assert found["leaks"]["PrivateTest"]["leak_free_n"] == 3301
    assert found["private_test_in_public_test"]["n"] == 44
    assert found["constant"]["n"] == 12
    splits = fer2013.splits[found["no_face"]["rows"]]
    assert np.bincount(splits).tolist() == [150, 10, 16]
