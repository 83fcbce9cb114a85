"""An audit as one HTML page with pictures, which needs nothing beside it."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from semblante.data.audit import Audit, Suspect
from semblante.data.dataset import SPLITS, UNLABELLED
from semblante.data.duplicates import NEAR
from semblante.emotions import EMOTIONS, emotion_name
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
    text = template.render(
        language=language,
        words=_WORDS[language],
        source=source,
        n=len(audit.dataset),
        emotions={emotion: emotion_name(emotion, language) for emotion in EMOTIONS},
        splits=[split for split in SPLITS if sum(counts[split].values())],
        counts=counts,
        largest=max((max(row.values()) for row in counts.values()), default=0) or 1,
        findings=_Page(audit, language).findings(),
        n_dropped=len(audit.to_drop()),
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
        self._words = _WORDS[language]

    def findings(self) -> list[_Finding]:
        """Always in the same order; those that the dataset cannot have are left out."""
        audit = self._audit
        extra = sum(len(group) - 1 for group in audit.exact)
        found = [
            self._copies("exact", audit.exact, len(audit.exact), extra),
            self._copies("conflicting", audit.conflicting, len(audit.conflicting)),
            self._groups("near", audit.near),
        ]
        found += [self._leaks(split) for split in SPLITS[1:] if audit.dataset.is_in(split).any()]
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
        title, count, meaning = self._words[name]
        return _Finding(name, title, count.format(*counts), meaning, shown, total - len(shown))

    def _rows(self, name: str, rows: list[int]) -> _Finding:
        shown = [[self._picture(row)] for row in rows[:_FACES_SHOWN]]
        return self._finding(name, (len(rows),), shown, len(rows))

    def _groups(self, name: str, groups: list[list[int]]) -> _Finding:
        shown = [
            [self._picture(row) for row in group[:_GROUP_FACES_SHOWN]]
            for group in sorted(groups, key=len, reverse=True)[:_GROUPS_SHOWN]
        ]
        return self._finding(name, (len(groups),), shown, len(groups))

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
                copy = next(
                    other for other in group_of[row] if audit.dataset.splits[other] == training
                )
                shown.append([self._picture(row), self._picture(copy)])
        total = int(audit.dataset.is_in(split).sum())
        title, count, meaning = self._words["leaks"]
        return _Finding(
            f"leaks-{split}",
            title.format(split),
            count.format(len(exact), len(near)),
            meaning.format(total - len(exact), total),
            shown,
            len(exact) + len(near) - len(shown),
        )

    def _suspects(self, suspects: list[Suspect]) -> _Finding:
        shown = []
        for suspect in suspects[:_FACES_SHOWN]:
            estimate = emotion_name(EMOTIONS[suspect.estimate], self._language)
            more = self._words["rather"].format(estimate, suspect.estimate_probability)
            shown.append([self._picture(suspect.row, more)])
        counts = (len(suspects), self._audit.n_judged)
        return self._finding("mislabelled", counts, shown, len(suspects))

    def _picture(self, row: int, more: str = "") -> _Picture:
        dataset = self._audit.dataset
        row_name = f"{self._words['row']}\N{NO-BREAK SPACE}{row}"
        detail = [SPLITS[int(dataset.splits[row])], row_name]
        if dataset.names is not None:
            detail.append(str(dataset.names[row]))
        png = base64.b64encode(encoded_png(dataset.images[row])).decode("ascii")
        caption = ", ".join(text for text in (self._emotion(row), more) if text)
        return _Picture(png, caption, ", ".join(detail))

    def _emotion(self, row: int) -> str:
        label = int(self._audit.dataset.labels[row])
        if label == UNLABELLED:
            return str(self._words["no label"])
        return emotion_name(EMOTIONS[label], self._language)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common())


# Of each finding its title, how its counts are told, and what it means.
_WORDS: Final[dict[str, dict[str, Any]]] = {
    "en": {
        "page": "Audit of {}",
        "about": "{:,} faces. Rows are numbered from 0, in the dataset's order. Of each finding a "
        "part is shown; the JSON has all row numbers. --drop would leave out {:,} rows.",
        "findings": "Findings",
        "balance": "Class balance",
        "about balance": "A network learns the frequent emotions best, and accuracy counts them "
        "most: look at macro F1 and at the figures of each class as well.",
        "emotion": "emotion",
        "count": "{:,}",
        "more": "and {:,} more",
        "row": "row",
        "no label": "no label",
        "rather": "rather {} ({:.0%})",
        "exact": (
            "Exact copies",
            "{:,} groups, {:,} extra copies",
            "The same to the pixel. Copies in Training weigh double; --drop keeps one: the test "
            "splits' where they have any, else the first, and none where labels disagree.",
        ),
        "conflicting": (
            "Copies that disagree",
            "{:,} groups",
            "The same face with more than one label: at least one is wrong. --drop leaves out "
            "those in Training.",
        ),
        "near": (
            "Near copies",
            "{:,} groups",
            f"One photograph in several forms: pixels, or mirrored pixels, that correlate by "
            f"{NEAR} or more.",
        ),
        "leaks": (
            "{} faces that are in Training too",
            "{:,} exact, {:,} near",
            "What a network scores on these says nothing about new faces. Without the exact ones "
            "{:,} of {:,} are left, on which `semblante evaluate` reports its leak-free accuracy. "
            "--drop leaves out their copies in Training.",
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
            "Confident learning: a network that has not learnt from these faces, but perhaps from "
            "near copies of some, gives their label so little, and another so much, that the label "
            "is likely to be wrong. Surest first. A second opinion, no verdict: look before you "
            "believe it. --drop leaves out those in Training.",
        ),
        "dark": ("Very dark", "{:,} images", "Mean grey level far below the others'."),
        "bright": ("Very bright", "{:,} images", "Mean grey level far above the others'."),
        "blurred": ("Blurred", "{:,} images", "Fewer edges than nearly all others."),
        "drawn": ("Drawings and writing", "{:,} images", "More edges than photographs have."),
    },
    "es": {
        "page": "Auditoría de {}",
        "about": "{} rostros. Las filas se numeran desde 0, en el orden del conjunto. De cada "
        "hallazgo se muestra una parte; el JSON tiene todos los números de fila. --drop dejaría "
        "fuera {} filas.",
        "findings": "Hallazgos",
        "balance": "Equilibrio de clases",
        "about balance": "Una red aprende mejor las emociones frecuentes, y son las que más pesan "
        "en la exactitud: mire también el F1 macro y las cifras de cada clase.",
        "emotion": "emoción",
        "count": "{}",
        "more": "y {} más",
        "row": "fila",
        "no label": "sin etiqueta",
        "rather": "más bien {} ({:.0%})",
        "exact": (
            "Copias exactas",
            "{} grupos, {} copias de más",
            "Iguales hasta el último píxel. Las copias en Training pesan el doble; --drop conserva "
            "una: la de las particiones de prueba si la hay, si no la primera, y ninguna si las "
            "etiquetas se contradicen.",
        ),
        "conflicting": (
            "Copias que se contradicen",
            "{} grupos",
            "El mismo rostro con más de una etiqueta: al menos una está equivocada. --drop deja "
            "fuera las de Training.",
        ),
        "near": (
            "Copias casi exactas",
            "{} grupos",
            f"Una misma fotografía en varias formas: sus píxeles, o los de su espejo, tienen una "
            f"correlación de {NEAR} o más.",
        ),
        "leaks": (
            "Rostros de {} que también están en Training",
            "{} exactos, {} casi",
            "Lo que una red acierta en estos no dice nada sobre rostros nuevos. Sin los exactos "
            "quedan {} de {}, con los que `semblante evaluate` da su exactitud sin copias. "
            "--drop deja fuera sus copias en Training.",
        ),
        "across-tests": (
            "Rostros de PrivateTest que también están en PublicTest",
            "{} rostros",
            "Los modelos se eligen con una partición y se miden con la otra.",
        ),
        "groups": (
            "Grupos repartidos entre particiones",
            "{} grupos",
            "El conjunto dice que estos rostros van juntos: una red que aprendió de unos se prueba "
            "con los otros.",
        ),
        "constant": (
            "Imágenes constantes",
            "{} imágenes",
            "Todos los píxeles son iguales. --drop las deja fuera de todas las particiones.",
        ),
        "no-face": (
            "Sin rostro",
            "{} imágenes",
            "La mayoría de los diez anotadores de FER+ no vio ningún rostro. --drop las deja fuera "
            "de todas las particiones.",
        ),
        "mislabelled": (
            "Etiqueta probablemente equivocada",
            "{} de {} juzgados",
            "Aprendizaje confiado (confident learning): una red que no aprendió de estos rostros, "
            "aunque quizá de copias casi exactas de algunos, da tan poco a su etiqueta, y tanto a "
            "otra, que es probable que la etiqueta esté equivocada. Primero los más seguros. Es "
            "una segunda opinión, no un veredicto: mire antes de creerlo. --drop deja fuera los de "
            "Training.",
        ),
        "dark": ("Muy oscuras", "{} imágenes", "Nivel medio de gris muy inferior al resto."),
        "bright": ("Muy claras", "{} imágenes", "Nivel medio de gris muy superior al resto."),
        "blurred": ("Borrosas", "{} imágenes", "Menos bordes que casi todas las demás."),
        "drawn": ("Dibujos y texto", "{} imágenes", "Más bordes que los de una fotografía."),
    },
}
