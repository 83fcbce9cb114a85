"""Read a dataset: the options that all commands share, and `Source`, which follows them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.markup import escape

from semblante.cli.checks import complain
from semblante.cli.language import localised
from semblante.data import LABEL_MAPS, Dataset, load_dataset
from semblante.errors import DataError, ModelError, OptionError
from semblante.recognise.cnn import CnnDetector
from semblante.recognise.detectors import largest_face

if TYPE_CHECKING:
    from semblante.data.ferplus import FerPlus

_FORMS = "CSV, folder, Parquet, .zip or .tar.gz"
DataPath = Annotated[
    Path, typer.Argument(metavar="PATH", help=f"a dataset: {_FORMS}", readable=False)
]
DataOption = Annotated[Path, typer.Option("--data", help=_FORMS, readable=False)]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=EMOTION",
        help="what a class means; EMOTION may be drop; or a file of such lines, or of a JSON "
        "object; or rafdb, affectnet, ferplus or fer2013: classes are numbered as in "
        "that dataset",
        rich_help_panel="Reading",
    ),
]
SkipBadOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="leave out rows that cannot be read, and count them",
        rich_help_panel="Reading",
    ),
]
FindFacesOption = Annotated[
    bool,
    typer.Option(
        "--find-faces",
        help="find the largest face of each picture and crop it as recognition does; "
        "without this a picture is the face",
        rich_help_panel="Reading",
    ),
]
ExcludeOption = Annotated[
    Path | None,
    typer.Option(
        "--exclude",
        metavar="FILE",
        help="leave out the rows that `data audit --drop` listed",
        readable=False,
        rich_help_panel="Reading",
    ),
]


@dataclass(frozen=True)
class Source:
    """The path of a dataset, and how to read it."""

    path: Path
    label_map: Mapping[str, str] = field(default_factory=dict)  # see `load_dataset`
    skip_bad: bool = False
    find_faces: bool = False
    exclude: Path | None = None

    def read(self) -> Dataset:
        """Read all faces, with a status line on the terminal; report bad rows that were left out.

        Excluded rows are still included: see `kept`.
        """
        find_face = None
        if self.find_faces:
            find_face = largest_face(CnnDetector())
        bad: list[DataError] = []
        notes: list[str] = []
        with Console(stderr=True).status(localised(f"reading {escape(str(self.path))}")):
            dataset = load_dataset(
                self.path,
                on_bad=bad.append if self.skip_bad else None,
                label_map=self.label_map,
                find_face=find_face,
                cache=True,
                on_note=notes.append,
            )
        for note in notes:
            complain(note)
        if bad:
            complain(f"{len(bad)} bad rows left out; the first: {bad[0]}")
        return dataset

    def kept(self, dataset: Dataset) -> npt.NDArray[np.bool_]:
        """Return (n,) bool: which rows of `dataset` are not excluded. Raises `DataError` if all
        are."""
        from semblante.data.exclusion import read_exclusion

        if self.exclude is None:
            return np.ones(len(dataset), np.bool_)
        kept = ~read_exclusion(self.exclude, dataset)
        if not kept.any():
            raise DataError(f"{self.exclude}: lists all rows of {self.path}: no face is left")
        return kept

    def read_kept(self) -> Dataset:
        """Read the faces that are not excluded. Raises `DataError` if none is left."""
        dataset = self.read()
        return dataset if self.exclude is None else dataset.where(self.kept(dataset))

    def read_with_votes(self, votes: Path | None) -> tuple[Dataset, FerPlus]:
        """Read the faces that are not excluded, and FER+'s votes on them from `votes`, else from
        fer2013new.csv beside the dataset."""
        from semblante.data.ferplus import load_ferplus

        usual = votes_beside(self.path)
        if votes is None and not usual.exists():
            raise OptionError(
                "FER+'s votes are part of this recipe (ferplus_weight and relabel_weight are not "
                f"both 0): expected them in {usual}, or in a file that --votes names"
            )
        dataset = self.read()
        ferplus = load_ferplus(votes or usual)
        ferplus.check_rows_of(dataset)
        kept = self.kept(dataset)
        return (dataset, ferplus) if kept.all() else (dataset.where(kept), ferplus.where(kept))

    def to_dict(self) -> dict[str, Any]:
        """For a run's config.json; with absolute paths, so that they hold in any current folder."""
        return {
            "path": str(self.path.absolute()),
            "map": [f"{name}={emotion}" for name, emotion in self.label_map.items()],
            "skip_bad": self.skip_bad,
            "find_faces": self.find_faces,
            "exclude": None if self.exclude is None else str(self.exclude.absolute()),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Source:
        """The inverse of `to_dict`. Keys other than "path" may be missing, as in a run begun from
        Python, and get the defaults. Raises `ModelError` if `values` is something else."""
        try:
            exclude = values.get("exclude")
            return cls(
                Path(values["path"]),
                _pairs([str(pair) for pair in values.get("map", ())], "--map"),
                bool(values.get("skip_bad", False)),
                bool(values.get("find_faces", False)),
                None if exclude is None else Path(exclude),
            )
        except (AttributeError, KeyError, TypeError):
            raise ModelError(f"not the notes of how a dataset was read: {dict(values)}") from None


def votes_beside(data: Path) -> Path:
    """The file of FER+'s votes in the folder that holds `data`, which may be `.` or `..`."""
    folder = data.absolute().parent if data.name not in ("", "..") else data.resolve().parent
    return folder / "fer2013new.csv"


def label_map(texts: list[str] | None) -> dict[str, str]:
    """Emotions by class name, from texts `NAME=EMOTION`, from files of such lines, and from names
    of `LABEL_MAPS`; later ones replace earlier ones. To be called once: a file may be a pipe."""
    found: dict[str, str] = {}
    for text in texts or []:
        if text in LABEL_MAPS:  # a file that is called so is ./rafdb
            found |= LABEL_MAPS[text]
        elif "=" in text:
            found |= _pairs([text], "--map")
        else:
            found |= _map_file(Path(text))
    return found


def _map_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise OptionError(f"--map {path}: not in UTF-8: save it as UTF-8") from None
    except OSError:
        raise OptionError(
            f"--map: expected NAME=EMOTION, one of {', '.join(LABEL_MAPS)}, or a file of lines "
            f"NAME=EMOTION, found {str(path)!r}"
        ) from None
    if not text.lstrip().startswith("{"):
        # A comment's # follows a space or starts the line: a class may be called "face#1".
        lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines())
        return _pairs([line for line in lines if line], f"--map {path}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"--map {path}: not valid JSON: {error}") from None
    if "" in values or not all(isinstance(value, str) for value in values.values()):
        raise OptionError(f"--map {path}: expected an object of names and emotions")
    return dict(values)


def _pairs(texts: list[str], where: str) -> dict[str, str]:
    found = {}
    for text in texts:
        # Split at the last =: a folder's name may contain one, an emotion does not.
        name, equals, emotion = (part.strip() for part in text.rpartition("="))
        if not equals or not name:
            raise OptionError(f"{where}: expected NAME=EMOTION, found {text!r}")
        found[name] = emotion
    return found
