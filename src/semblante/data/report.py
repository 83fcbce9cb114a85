"""Writes an audit as a single, self-contained HTML page with pictures."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

from semblante.data.audit import Audit
from semblante.data.dataset import SPLITS, UNLABELLED
from semblante.data.duplicates import nearest
from semblante.data.findings import Finding, findings
from semblante.emotions import EMOTIONS, emotion_name
from semblante.files import write_atomically
from semblante.picture_writing import encoded_png
from semblante.translation import counted, translated

_FACES_SHOWN: Final = 48  # for each finding; the JSON has all rows
_GROUPS_SHOWN: Final = 24
_GROUP_FACES_SHOWN: Final = 6
_COMPARED: Final = 500  # copies searched for the most similar one: a film has thousands
# Findings about faces that are merely unusual come last.
_LAST: Final = ("dark", "bright", "blurred", "drawn")


@dataclass(frozen=True)
class _Picture:
    png: str  # base64
    caption: str  # the label, and the judge's estimate if there is one
    detail: str  # split, row number, file


# A finding; the pictures that are shown of it, in groups that belong together; and a text that says
# how many groups are not shown, empty if all are.
_Section = tuple[Finding, list[list[_Picture]], str]


def write_report(audit: Audit, path: Path, source: str, language: str = "en") -> None:
    """Write the page. `source`: the name of the dataset in its title. `language`: one of
    `emotions.LANGUAGES`."""
    # Imported here, since only the extra `audit` installs it.
    import jinja2

    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).from_string(
        resources.files("semblante.data").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    counts = audit.dataset.counts()
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
        translated=lambda text: translated(text, language),
        counted=lambda n: counted(n, language),
        emotions={emotion: emotion_name(emotion, language) for emotion in EMOTIONS},
        splits=[split for split in SPLITS if sum(counts[split].values())],
        counts=counts,
        largest=max((max(row.values()) for row in counts.values()), default=0) or 1,
        sections=_Page(audit, language).sections(),
    )

    def write(beside: Path) -> None:
        # Names of files may hold bytes that are not UTF-8, as surrogate escapes.
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")

    write_atomically(path, write)


class _Page:
    """The findings of an audit as the page shows them, in one language."""

    def __init__(self, audit: Audit, language: str) -> None:
        self._audit = audit
        self._language = language

    def sections(self) -> list[_Section]:
        found = [finding for finding in findings(self._audit) if finding.in_report]
        found.sort(key=lambda finding: finding.key in _LAST)
        return [self._section(finding) for finding in found]

    def _section(self, finding: Finding) -> _Section:
        shown = self._shown(finding)
        return finding, shown, self._more(len(finding.groups) - len(shown))

    def _shown(self, finding: Finding) -> list[list[_Picture]]:
        if finding.split:
            return self._leaks(finding.split)
        if finding.key == "mislabelled":
            return self._suspects()
        if finding.key in ("exact", "conflicting"):
            return self._copies(finding.groups)
        if finding.key in ("near", "groups"):
            return self._groups(finding.groups)
        return [[self._picture(row)] for [row] in finding.groups[:_FACES_SHOWN]]

    def _more(self, hidden: int) -> str:
        return translated(f"and {hidden:,} more", self._language) if hidden else ""

    def _groups(self, groups: list[list[int]]) -> list[list[_Picture]]:
        shown = []
        for group in sorted(groups, key=len, reverse=True)[:_GROUPS_SHOWN]:
            faces = [self._picture(row) for row in self._of_all_splits(group)[:_GROUP_FACES_SHOWN]]
            if more := self._more(len(group) - len(faces)):
                faces[-1] = replace(faces[-1], detail=f"{faces[-1].detail}; {more}")
            shown.append(faces)
        return shown

    def _of_all_splits(self, group: list[int]) -> list[int]:
        """The rows of a group, taken from each split in turn, so that the first few show all splits
        that the group is in."""
        splits = self._audit.dataset.splits
        met: Counter[int] = Counter()
        places = {}
        for row in group:
            split = int(splits[row])
            places[row] = met[split], split
            met[split] += 1
        return sorted(group, key=places.__getitem__)

    def _copies(self, groups: list[list[int]]) -> list[list[_Picture]]:
        """One picture for each group, since its faces are identical."""
        shown = []
        for group in sorted(groups, key=len, reverse=True)[:_FACES_SHOWN]:
            picture = self._picture(group[0])
            names = Counter(self._emotion(row) for row in group)
            splits = Counter(SPLITS[int(self._audit.dataset.splits[row])] for row in group)
            detail = f"{_listed(splits)}: {', '.join(map(str, group))}"
            shown.append([replace(picture, caption=_listed(names), detail=detail)])
        return shown

    def _leaks(self, split: str) -> list[list[_Picture]]:
        """Some faces of a test split, each beside a Training face that it is a copy of. Half are
        exact copies and half near copies, unless one kind has fewer."""
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
                copies = copies[: 1 if groups is audit.exact else _COMPARED]  # all identical
                copy = copies[nearest(images[row], images[copies])]
                shown.append([self._picture(row), self._picture(copy)])
        return shown

    def _suspects(self) -> list[list[_Picture]]:
        shown = []
        for suspect in (self._audit.suspects or [])[:_FACES_SHOWN]:
            estimate = emotion_name(EMOTIONS[suspect.estimate], self._language)
            more = f"rather {estimate} ({suspect.estimate_probability:.0%})"
            shown.append([self._picture(suspect.row, translated(more, self._language))])
        return shown

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
