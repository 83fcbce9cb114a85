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
from semblante.data.duplicates import NEAR, nearest
from semblante.emotions import EMOTIONS, emotion_name
from semblante.files import write_atomically
from semblante.images import encoded_png
from semblante.translation import counted, translated

_FACES_SHOWN: Final = 48  # of each finding; the JSON has them all
_GROUPS_SHOWN: Final = 24
_GROUP_FACES_SHOWN: Final = 6
_COMPARED: Final = 500  # to find the one that is most like another: of a film there are thousands


# Of each finding its title, how its counts are told, and what it means.
_FINDINGS: Final = {
    "exact": (
        "Exact copies",
        "{:,} groups, {:,} extra copies",
        "The same to the pixel. Copies in Training weigh double; --drop keeps one: the test "
        "splits' where they have any, else the first, and none where labels disagree.",
    ),
    "conflicting": (
        "Copies that disagree",
        "{:,} groups",
        "The same face with more than one label: at least one is wrong. --drop leaves out those in "
        "Training.",
    ),
    "near": (
        "Near copies",
        "{:,} groups",
        f"One photograph in several forms: pixels, or mirrored pixels, that correlate by {NEAR} or "
        "more.",
    ),
    "leaks": (
        "{} faces that are in Training too",
        "{:,} exact, {:,} near",
        "What a network scores on these says nothing about new faces. Without the exact ones {:,} "
        "of {:,} are left, on which `semblante evaluate` reports its leak-free accuracy. --drop "
        "leaves out their copies in Training.",
    ),
    "across-tests": (
        "PrivateTest faces that are in PublicTest too",
        "{:,} faces",
        "Models are chosen on one and reported on the other.",
    ),
    "groups": (
        "Groups in several splits",
        "{:,} groups",
        "The dataset says that these faces belong together: a network that learnt from some of "
        "them is tested on the others.",
    ),
    "constant": (
        "Constant images",
        "{:,} images",
        "All pixels the same. --drop leaves them out of every split.",
    ),
    "no-face": (
        "No face",
        "{:,} images",
        "Most of FER+'s ten taggers saw no face. --drop leaves them out of every split.",
    ),
    "mislabelled": (
        "Likely mislabelled",
        "{:,} of {:,} judged",
        "Confident learning: a network gives their label so little, and another so much, that the "
        "label is likely to be wrong. It must not have learnt from these faces, or it finds too "
        "few. Surest first. A second opinion, no verdict: look before you believe it. --drop "
        "leaves out those in Training.",
    ),
    "dark": ("Very dark", "{:,} images", "Mean grey level far below the others'."),
    "bright": ("Very bright", "{:,} images", "Mean grey level far above the others'."),
    "blurred": ("Blurred", "{:,} images", "Fewer edges than nearly all others."),
    "drawn": ("Drawings and writing", "{:,} images", "More edges than photographs have."),
}


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
    more: str  # how many groups are not shown; empty where all are


def write_report(audit: Audit, path: Path, source: str, language: str = "en") -> None:
    """Write the page; `source` is what the dataset is called in it, `language` one of
    `emotions.LANGUAGES`."""
    # Loaded here: reading a dataset must not need it (extra `audit`).
    import jinja2

    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).from_string(
        resources.files("semblante.data").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    counts = audit.counts()
    about = (
        f"{len(audit.dataset):,} faces. Rows are numbered from 0, in the dataset's order. Of each "
        "finding a part is shown; the JSON has all row numbers. --drop would leave out "
        f"{len(audit.to_drop()):,} rows."
    )
    balance = (
        "A network learns the frequent emotions best, and accuracy counts them most: look at macro "
        "F1 and at the figures of each class as well."
    )
    text = template.render(
        language=language,
        title=translated(f"Audit of {source}", language),
        about=translated(about, language),
        findings_title=translated("Findings", language),
        balance_title=translated("Class balance", language),
        balance=translated(balance, language),
        emotion_title=translated("emotion", language),
        counted=lambda n: counted(n, language),
        emotions={emotion: emotion_name(emotion, language) for emotion in EMOTIONS},
        splits=[split for split in SPLITS if sum(counts[split].values())],
        counts=counts,
        largest=max((max(row.values()) for row in counts.values()), default=0) or 1,
        findings=_Page(audit, language).findings(),
    )

    def write(beside: Path) -> None:
        # Names of files may be no text.
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")

    write_atomically(path, write)


class _Page:
    """The findings of an audit as the page shows them, in one language."""

    def __init__(self, audit: Audit, language: str) -> None:
        self._audit = audit
        self._language = language

    def findings(self) -> list[_Finding]:
        """Always in the same order; those that the dataset cannot have are left out."""
        audit = self._audit
        extra = sum(len(group) - 1 for group in audit.exact)
        found = [
            self._copies("exact", audit.exact, len(audit.exact), extra),
            self._copies("conflicting", audit.conflicting, len(audit.conflicting)),
            self._groups("near", audit.near),
        ]
        if audit.dataset.is_in("Training").any():
            tests = (split for split in SPLITS[1:] if audit.dataset.is_in(split).any())
            found += map(self._leaks, tests)
        if audit.across_tests:
            found.append(self._rows("across-tests", audit.across_tests))
        if audit.dataset.groups is not None:
            found.append(self._groups("groups", audit.groups_across))
        found.append(self._rows("constant", audit.constant))
        if audit.no_face is not None:
            found.append(self._rows("no-face", audit.no_face))
        if audit.suspects is not None:
            found.append(self._suspects(audit.suspects))
        for name in ("dark", "bright", "blurred", "drawn"):
            found.append(self._rows(name, getattr(audit, name)))
        return found

    def _finding(
        self, name: str, counts: tuple[int, ...], shown: list[list[_Picture]], total: int
    ) -> _Finding:
        title, count, meaning = _FINDINGS[name]
        return _Finding(
            name,
            translated(title, self._language),
            translated(count.format(*counts), self._language),
            translated(meaning, self._language),
            shown,
            self._more(total - len(shown)),
        )

    def _more(self, hidden: int) -> str:
        return translated(f"and {hidden:,} more", self._language) if hidden else ""

    def _rows(self, name: str, rows: list[int]) -> _Finding:
        shown = [[self._picture(row)] for row in rows[:_FACES_SHOWN]]
        return self._finding(name, (len(rows),), shown, len(rows))

    def _groups(self, name: str, groups: list[list[int]]) -> _Finding:
        shown = []
        for group in sorted(groups, key=len, reverse=True)[:_GROUPS_SHOWN]:
            faces = [self._picture(row) for row in self._of_all_splits(group)[:_GROUP_FACES_SHOWN]]
            if more := self._more(len(group) - len(faces)):
                faces[-1] = replace(faces[-1], detail=f"{faces[-1].detail}; {more}")
            shown.append(faces)
        return self._finding(name, (len(groups),), shown, len(groups))

    def _of_all_splits(self, group: list[int]) -> list[int]:
        """Its rows, each split's in turn: that several have some is what matters."""
        splits = self._audit.dataset.splits
        met: Counter[int] = Counter()
        places = {}
        for row in group:
            split = int(splits[row])
            places[row] = met[split], split
            met[split] += 1
        return sorted(group, key=places.__getitem__)

    def _copies(self, name: str, groups: list[list[int]], *counts: int) -> _Finding:
        """Of each group one picture: they are the same."""
        shown = []
        for group in sorted(groups, key=len, reverse=True)[:_FACES_SHOWN]:
            picture = self._picture(group[0])
            names = Counter(self._emotion(row) for row in group)
            splits = Counter(SPLITS[int(self._audit.dataset.splits[row])] for row in group)
            detail = f"{_listed(splits)}: {', '.join(map(str, group))}"
            shown.append([replace(picture, caption=_listed(names), detail=detail)])
        return self._finding(name, counts, shown, len(groups))

    def _leaks(self, split: str) -> _Finding:
        """Some faces of a test split, each beside one of Training that it is a copy of, as many
        near ones as exact ones where there are."""
        audit = self._audit
        exact, near = audit.leaks[split], audit.near_leaks[split]
        half = _GROUPS_SHOWN // 2
        training = SPLITS.index("Training")
        shown = []
        for rows, others, groups in ((exact, near, audit.exact), (near, exact, audit.near)):
            group_of = {row: group for group in groups for row in group}
            for row in rows[: max(half, _GROUPS_SHOWN - len(others))]:
                images, splits = audit.dataset.images, audit.dataset.splits
                copies = [other for other in group_of[row] if splits[other] == training]
                copies = copies[: 1 if groups is audit.exact else _COMPARED]  # these are the same
                copy = copies[nearest(images[row], images[copies])]
                shown.append([self._picture(row), self._picture(copy)])
        total = int(audit.dataset.is_in(split).sum())
        title, count, meaning = _FINDINGS["leaks"]
        return _Finding(
            f"leaks-{split}",
            translated(title.format(split), self._language),
            translated(count.format(len(exact), len(near)), self._language),
            translated(meaning.format(total - len(exact), total), self._language),
            shown,
            self._more(len(exact) + len(near) - len(shown)),
        )

    def _suspects(self, suspects: list[Suspect]) -> _Finding:
        shown = []
        for suspect in suspects[:_FACES_SHOWN]:
            estimate = emotion_name(EMOTIONS[suspect.estimate], self._language)
            more = f"rather {estimate} ({suspect.estimate_probability:.0%})"
            shown.append([self._picture(suspect.row, translated(more, self._language))])
        counts = (len(suspects), self._audit.n_judged)
        return self._finding("mislabelled", counts, shown, len(suspects))

    def _picture(self, row: int, more: str = "") -> _Picture:
        dataset = self._audit.dataset
        row_name = f"{translated('row', self._language)}\N{NO-BREAK SPACE}{row}"
        detail = [SPLITS[int(dataset.splits[row])], row_name]
        if dataset.names is not None:
            detail.append(str(dataset.names[row]))
        png = base64.b64encode(encoded_png(dataset.images[row])).decode("ascii")
        caption = ", ".join(text for text in (self._emotion(row), more) if text)
        return _Picture(png, caption, ", ".join(detail))

    def _emotion(self, row: int) -> str:
        label = int(self._audit.dataset.labels[row])
        if label == UNLABELLED:
            return translated("no label", self._language)
        return emotion_name(EMOTIONS[label], self._language)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common())
