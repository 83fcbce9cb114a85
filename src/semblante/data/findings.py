"""The findings of an audit in words, for the terminal's table and for the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from semblante.data.audit import Audit
from semblante.data.dataset import SPLITS
from semblante.data.duplicates import NEAR


@dataclass(frozen=True)
class Finding:
    """One kind of fault that the audit looks for: a row of the terminal's table and a section of
    the report.

    All texts are English; `translation.translated` knows them all.
    """

    key: str  # the id of the section
    groups: list[list[int]]  # row numbers of faces that belong together, or of single faces
    short_title: str  # first column of the table
    summary: str  # second column of the table
    title: str  # heading of the section
    count: str  # follows the heading
    meaning: str  # explanation below the heading
    split: str = ""  # the test split, if the finding is about leaks
    in_report: bool = True  # whether the report has such a section


def findings(audit: Audit) -> Iterator[Finding]:
    """Yield the findings in a fixed order, without those that the dataset cannot have."""
    yield Finding(
        "exact",
        audit.exact,
        short_title="exact copies",
        summary=f"{audit.n_extra_copies():,} in {len(audit.exact):,} groups",
        title="Exact copies",
        count=f"{len(audit.exact):,} groups, {audit.n_extra_copies():,} extra copies",
        meaning="The same to the pixel. Copies in Training weigh double; --drop keeps one: the "
        "test splits' where they have any, else the first with a label, and none where "
        "labels disagree.",
    )
    yield Finding(
        "conflicting",
        audit.conflicting,
        short_title="  with different labels",
        summary=f"{len(audit.conflicting):,} groups",
        title="Copies that disagree",
        count=f"{len(audit.conflicting):,} groups",
        meaning="The same face with more than one label: at least one is wrong. --drop leaves out "
        "those in Training.",
    )
    yield Finding(
        "near",
        audit.near,
        short_title="near copies",
        summary=f"{len(audit.near):,} groups (correlation {NEAR})",
        title="Near copies",
        count=f"{len(audit.near):,} groups",
        meaning="One photograph in several forms: pixels, or mirrored pixels, that correlate by "
        f"{NEAR} or more.",
    )
    yield from _leaks(audit)
    sizes = audit.dataset.split_sizes()
    if sizes["PrivateTest"] and sizes["PublicTest"]:
        yield Finding(
            "across-tests",
            _singly(audit.across_tests),
            short_title="PrivateTest in PublicTest",
            summary=f"{len(audit.across_tests):,}",
            title="PrivateTest faces that are in PublicTest too",
            count=f"{len(audit.across_tests):,} faces",
            meaning="Models are chosen on one and reported on the other.",
            in_report=bool(audit.across_tests),
        )
    if audit.dataset.groups is not None:
        yield Finding(
            "groups",
            audit.groups_across,
            short_title="groups in several splits",
            summary=f"{len(audit.groups_across):,}",
            title="Groups in several splits",
            count=f"{len(audit.groups_across):,} groups",
            meaning="The dataset says that these faces belong together: a network that learnt from "
            "some of them is tested on the others.",
        )
    yield _of_images(
        "constant",
        audit.constant,
        short_title="constant images",
        title="Constant images",
        meaning="All pixels the same. --drop leaves them out of every split.",
    )
    no_face = audit.no_face or []
    yield Finding(
        "no-face",
        _singly(no_face),
        short_title="no face, say FER+'s taggers",
        summary="no votes given" if audit.no_face is None else f"{len(no_face):,}",
        title="No face",
        count=f"{len(no_face):,} images",
        meaning="Most of FER+'s ten taggers saw no face. --drop leaves them out of every split.",
        in_report=audit.no_face is not None,
    )
    yield from _unusual(audit)
    if audit.suspects is not None:
        yield Finding(
            "mislabelled",
            _singly([suspect.row for suspect in audit.suspects]),
            short_title="likely mislabelled",
            summary=f"{len(audit.suspects):,} of {audit.n_judged:,} judged",
            title="Likely mislabelled",
            count=f"{len(audit.suspects):,} of {audit.n_judged:,} judged",
            meaning="Confident learning: a network gives their label so little, and another so "
            "much, that the label is likely to be wrong. It must not have learnt from these faces, "
            "or it finds too few. Surest first. It may be wrong itself: look at each face before "
            "you change its label. --drop leaves out those in Training.",
        )


def _leaks(audit: Audit) -> Iterator[Finding]:
    for split in SPLITS[1:]:
        size, n_leak_free = audit.dataset.split_sizes()[split], audit.n_leak_free(split)
        if not size or n_leak_free is None:
            continue
        exact, near = audit.leaks[split], audit.near_leaks[split]
        yield Finding(
            f"leaks-{split}",
            _singly([*exact, *near]),
            short_title=f"{split} in Training too",
            summary=f"{len(exact):,} exact, {len(near):,} near; {n_leak_free:,} without the exact "
            "ones",
            title=f"{split} faces that are in Training too",
            count=f"{len(exact):,} exact, {len(near):,} near",
            meaning="What a network scores on these says nothing about new faces. Without the "
            f"exact ones {n_leak_free:,} of {size:,} are left, on which `semblante evaluate` "
            "reports its leak-free accuracy. --drop leaves out their copies in Training.",
            split=split,
        )


def _unusual(audit: Audit) -> Iterator[Finding]:
    """Faces that look unlike the others, though they may be correct."""
    yield _of_images(
        "dark",
        audit.dark,
        short_title="very dark",
        title="Very dark",
        meaning="Mean grey level far below the others'.",
    )
    yield _of_images(
        "bright",
        audit.bright,
        short_title="very bright",
        title="Very bright",
        meaning="Mean grey level far above the others'.",
    )
    yield _of_images(
        "blurred",
        audit.blurred,
        short_title="very blurred",
        title="Blurred",
        meaning="Fewer edges than nearly all others.",
    )
    yield _of_images(
        "drawn",
        audit.drawn,
        short_title="drawn or written",
        title="Drawings and writing",
        meaning="More edges than photographs have.",
    )


def _of_images(key: str, rows: list[int], *, short_title: str, title: str, meaning: str) -> Finding:
    """A finding about single images, of which nothing but their number is told."""
    n = f"{len(rows):,}"
    return Finding(
        key,
        _singly(rows),
        short_title=short_title,
        summary=n,
        title=title,
        count=f"{n} images",
        meaning=meaning,
    )


def _singly(rows: list[int]) -> list[list[int]]:
    return [[row] for row in rows]
