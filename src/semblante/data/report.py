"""An audit as one HTML page with pictures, which needs nothing beside it."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

from semblante.data.audit import Audit, Suspect
from semblante.data.dataset import SPLITS, UNLABELLED
from semblante.data.duplicates import NEAR
from semblante.emotions import EMOTIONS
from semblante.files import write_atomically
from semblante.images import encoded_png

_FACES_SHOWN: Final = 48  # of each finding; the JSON has them all
_GROUPS_SHOWN: Final = 24
_GROUP_FACES_SHOWN: Final = 6


@dataclass(frozen=True)
class _Picture:
    png: str  # base64
    caption: str
    detail: str


@dataclass(frozen=True)
class _Finding:
    """A section of the page."""

    name: str
    title: str
    count: str
    meaning: str
    groups: list[list[_Picture]]  # faces that are shown together
    hidden: int  # of these, how many groups are not shown


def write_report(audit: Audit, path: Path, source: str) -> None:
    """Write the page; `source` is what the dataset is called in it."""
    # Loaded here: reading a dataset must not need it (extra `audit`).
    import jinja2

    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).from_string(
        resources.files("semblante.data").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    counts = audit.counts()
    text = template.render(
        source=source,
        n=len(audit.dataset),
        emotions=EMOTIONS,
        splits=[split for split in SPLITS if sum(counts[split].values())],
        counts=counts,
        largest=max((max(row.values()) for row in counts.values()), default=0) or 1,
        findings=_findings(audit),
        n_dropped=len(audit.to_drop()),
    )

    def write(beside: Path) -> None:
        # Names of files may be no text.
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")

    write_atomically(path, write)


def _findings(audit: Audit) -> list[_Finding]:
    extra = sum(len(group) - 1 for group in audit.exact)
    found = [
        _of_copies(
            audit, "exact", "Exact copies", audit.exact,
            f"{len(audit.exact):,} groups, {extra:,} extra copies",
            "The same to the pixel. Copies in Training weigh double; --drop keeps one: the test "
            "splits' where they have any, else the first, and none where labels disagree.",
        ),
        _of_copies(
            audit, "conflicting", "Copies that disagree", audit.conflicting,
            f"{len(audit.conflicting):,} groups",
            "The same face with more than one label: at least one is wrong. --drop leaves out "
            "those in Training.",
        ),
        _of_groups(
            audit, "near", "Near copies", audit.near,
            f"{len(audit.near):,} groups",
            f"One photograph in several forms: pixels, or mirrored pixels, that correlate by "
            f"{NEAR} or more.",
        ),
    ]  # fmt: skip
    for split, rows in audit.leaks.items():
        near = audit.near_leaks[split]
        pairs, hidden = _leaks_shown(audit, rows, near)
        total = int(audit.dataset.is_in(split).sum())
        if total:
            found.append(
                _Finding(
                    f"leaks-{split}", f"{split} faces that are in Training too",
                    f"{len(rows):,} exact, {len(near):,} near",
                    f"What a network scores on these says nothing about new faces. Without the "
                    f"exact ones {total - len(rows):,} of {total:,} are left, on which `semblante "
                    f"evaluate` reports its leak-free accuracy. --drop leaves out their copies in "
                    f"Training.",
                    pairs, hidden,
                )
            )  # fmt: skip
    if audit.across_tests:
        found.append(
            _of_rows(
                audit, "across-tests", "PrivateTest faces that are in PublicTest too",
                audit.across_tests, f"{len(audit.across_tests):,} faces",
                "Models are chosen on one and reported on the other.",
            )
        )  # fmt: skip
    if audit.dataset.groups is not None:
        found.append(
            _of_groups(
                audit, "groups", "Groups in several splits", audit.groups_across,
                f"{len(audit.groups_across):,} groups",
                "The dataset says that these faces belong together: a network that learnt from "
                "some of them is tested on the others.",
            )
        )  # fmt: skip
    found.append(
        _of_rows(
            audit, "constant", "Constant images", audit.constant, f"{len(audit.constant):,} images",
            "All pixels the same. --drop leaves them out of every split.",
        )
    )  # fmt: skip
    if audit.no_face is not None:
        found.append(
            _of_rows(
                audit, "no-face", "No face", audit.no_face, f"{len(audit.no_face):,} images",
                "Most of FER+'s ten taggers saw no face. --drop leaves them out of every split.",
            )
        )  # fmt: skip
    if audit.suspects is not None:
        found.append(
            _of_suspects(
                audit,
                audit.suspects,
                f"{len(audit.suspects):,} of {audit.n_judged:,} judged",
                "Confident learning: a network that has not learnt from these faces, but perhaps "
                "from near copies of some, gives their label so little, and another so much, that "
                "the label is likely to be wrong. Surest first. A second opinion, no verdict: "
                "look before you believe it. --drop leaves out those in Training.",
            )
        )
    for name, title, rows, meaning in (
        ("dark", "Very dark", audit.dark, "Mean grey level far below the others'."),
        ("bright", "Very bright", audit.bright, "Mean grey level far above the others'."),
        ("blurred", "Blurred", audit.blurred, "Fewer edges than nearly all others."),
        ("drawn", "Drawings and writing", audit.drawn, "More edges than photographs have."),
    ):
        found.append(_of_rows(audit, name, title, rows, f"{len(rows):,} images", meaning))
    return found


def _of_rows(
    audit: Audit, name: str, title: str, rows: list[int], count: str, meaning: str
) -> _Finding:
    shown = [[_picture(audit, row)] for row in rows[:_FACES_SHOWN]]
    return _Finding(name, title, count, meaning, shown, len(rows) - len(shown))


def _leaks_shown(
    audit: Audit, exact: list[int], near: list[int]
) -> tuple[list[list[_Picture]], int]:
    """Some faces of a test split, each beside one of Training that it is a copy of, as many near
    ones as exact ones where there are; and how many are not shown."""
    half = _GROUPS_SHOWN // 2
    training = SPLITS.index("Training")
    shown = []
    for rows, others, groups in ((exact, near, audit.exact), (near, exact, audit.near)):
        group_of = {row: group for group in groups for row in group}
        for row in rows[: max(half, _GROUPS_SHOWN - len(others))]:
            copy = next(other for other in group_of[row] if audit.dataset.splits[other] == training)
            shown.append([_picture(audit, row), _picture(audit, copy)])
    return shown, len(exact) + len(near) - len(shown)


def _of_groups(
    audit: Audit, name: str, title: str, groups: list[list[int]], count: str, meaning: str
) -> _Finding:
    shown = [
        [_picture(audit, row) for row in group[:_GROUP_FACES_SHOWN]]
        for group in sorted(groups, key=len, reverse=True)[:_GROUPS_SHOWN]
    ]
    return _Finding(name, title, count, meaning, shown, len(groups) - len(shown))


def _of_copies(
    audit: Audit, name: str, title: str, groups: list[list[int]], count: str, meaning: str
) -> _Finding:
    """Of each group one picture: they are the same."""
    shown = []
    for group in sorted(groups, key=len, reverse=True)[:_FACES_SHOWN]:
        picture = _picture(audit, group[0])
        names = Counter(_emotion(audit, row) for row in group)
        splits = Counter(SPLITS[int(audit.dataset.splits[row])] for row in group)
        rows = ", ".join(map(str, group))
        shown.append(
            [replace(picture, caption=_listed(names), detail=f"{_listed(splits)}: {rows}")]
        )
    return _Finding(name, title, count, meaning, shown, len(groups) - len(shown))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common())


def _of_suspects(audit: Audit, suspects: list[Suspect], count: str, meaning: str) -> _Finding:
    shown = [
        [_picture(audit, s.row, f"rather {EMOTIONS[s.estimate]} ({s.estimate_probability:.0%})")]
        for s in suspects[:_FACES_SHOWN]
    ]
    hidden = len(suspects) - len(shown)
    return _Finding("mislabelled", "Likely mislabelled", count, meaning, shown, hidden)


def _picture(audit: Audit, row: int, more: str = "") -> _Picture:
    dataset = audit.dataset
    detail = [SPLITS[int(dataset.splits[row])], f"row\N{NO-BREAK SPACE}{row}"]
    if dataset.names is not None:
        detail.append(str(dataset.names[row]))
    png = base64.b64encode(encoded_png(dataset.images[row])).decode("ascii")
    caption = ", ".join(text for text in (_emotion(audit, row), more) if text)
    return _Picture(png, caption, ", ".join(detail))


def _emotion(audit: Audit, row: int) -> str:
    label = int(audit.dataset.labels[row])
    return "no label" if label == UNLABELLED else EMOTIONS[label]
