"""Results as table rows: one per face, or one per track of a video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from semblante.emotions import EMOTIONS
from semblante.errors import MissingExtraError, OptionError, VideoError
from semblante.results import Analysis, Face
from semblante.summary import VideoSummary

if TYPE_CHECKING:
    import pandas

    from semblante.evaluation import Evaluation

Row = list[Any]
BOX_COLUMNS: Final = ("left", "top", "face_width", "face_height")
COLUMNS: Final = (
    "path", "frame", "time_s", "width", "height", "face", "track", *BOX_COLUMNS, "detection_score",
    "emotion", "probability", *EMOTIONS, "error",
)  # fmt: skip
TRACK_COLUMNS: Final = (
    "path", "track", "first_s", "last_s", "frames", "of_frames", "emotion", "probability",
    *EMOTIONS,
    *(f"{emotion}_share" for emotion in EMOTIONS), "error",
)  # fmt: skip
# Columns for a model's answers on a split; the probabilities of its classes follow them.
ANSWER_COLUMNS: Final = ("row", "name", "label", "predicted", "in_training")
# The types of columns; all others hold real numbers.
INTEGER_COLUMNS: Final = (
    "frame", "width", "height", "face", "track", *BOX_COLUMNS, "frames", "of_frames", "row",
)  # fmt: skip
TEXT_COLUMNS: Final = ("path", "emotion", "error", "name", "label", "predicted")
BOOLEAN_COLUMNS: Final = ("in_training",)


def face_rows(analysis: Analysis, *, rounded: bool = True) -> Iterator[Row]:
    """Yield a row of `COLUMNS` for each face; for a picture without faces, one row with empty face
    columns. `rounded`: see `Face.to_dict`."""
    about = [analysis.path, analysis.frame, analysis.time_s, analysis.width, analysis.height]
    if not analysis.faces:
        yield [*about, *[None] * (len(COLUMNS) - len(about) - 1), analysis.error]
    for number, face in enumerate(analysis.faces, start=1):
        values = face.to_dict(rounded=rounded)
        cells = [values["track"], *values["box"], values["detection_score"], values["emotion"]]
        probabilities = values["probabilities"]
        cells += [probabilities[face.emotion], *(probabilities[emotion] for emotion in EMOTIONS)]
        yield [*about, number, *cells, analysis.error]


def track_rows(summary: VideoSummary) -> Iterator[Row]:
    """Yield a row of `TRACK_COLUMNS` for each track; for a video without tracks, one row with empty
    track columns. `of_frames` is the number of all analysed frames of the video."""
    about = {"path": summary.path, "of_frames": summary.frames, "error": summary.error}
    if not summary.tracks:
        yield [about.get(name) for name in TRACK_COLUMNS]
    for track in summary.tracks:
        values = track.to_dict()
        shares = {f"{emotion}_share": share for emotion, share in values.pop("shares").items()}
        values["probability"] = values["probabilities"][track.emotion]
        values |= values.pop("probabilities") | shares | about
        yield [values[name] for name in TRACK_COLUMNS]


def answer_rows(found: Evaluation, names: Sequence[str] | None) -> Iterator[Row]:
    """Yield a row of `ANSWER_COLUMNS` for each evaluated face, and its probabilities: its row in
    the dataset, from 0, its name in `names`, its label, the most probable class, and whether
    Training holds a copy (None if unknown)."""
    answers = found.probabilities.argmax(axis=1).tolist()
    copied = [None] * found.n if found.in_training is None else found.in_training.tolist()
    for row, label, answer, copy, probabilities in zip(
        found.rows.tolist(), found.truth.tolist(), answers, copied,
        found.probabilities.tolist(), strict=True,
    ):  # fmt: skip
        name = None if names is None else names[row]
        yield [row, name, found.classes[label], found.classes[answer], copy, *probabilities]


def to_pandas(
    results: Face
    | Analysis
    | VideoSummary
    | Iterable[Face]
    | Iterable[Analysis]
    | Iterable[VideoSummary],
    *,
    rounded: bool = True,
) -> pandas.DataFrame:
    """Return a data frame of the results of `analyze`, `analyze_many` or `analyze_video`, with a
    row for each face, or of one or several results of `summarize`, with a row for each track. It
    has the columns of the CSV that `semblante analyze` writes; whole numbers are pandas's Int64.

    `rounded`: probabilities of faces have 5 digits, scores 4, as in that CSV. A video that breaks
    off ends with a row that has only its `error`.

    Raises `MissingExtraError` if pandas is not installed, `OptionError` for other `results`, and
    `VideoError` for a video of which no frame can be read.
    """
    try:
        import pandas
    except ImportError:
        raise MissingExtraError("a table of pandas", "pandas") from None
    kind: type = Analysis
    found: list[Any] = []
    for one in _as_far_as_read(results if isinstance(results, Iterable) else [results]):
        if not found:
            kind = next((k for k in (VideoSummary, Face) if isinstance(one, k)), Analysis)
        if not isinstance(one, kind):  # told at once, not at the end of a long video
            raise OptionError(
                "expected what `analyze`, `analyze_many` and `analyze_video` give, Faces or an "
                "Analysis each, or what `summarize` does, a VideoSummary each, found "
                f"{type(one).__name__}"
            )
        found.append(one)
    if kind is Face:
        found = [Analysis(None, None, None, tuple(found))]  # faces of one picture
    of_tracks = kind is VideoSummary
    columns = TRACK_COLUMNS if of_tracks else COLUMNS
    rows = [
        row
        for one in found
        for row in (track_rows(one) if of_tracks else face_rows(one, rounded=rounded))
    ]
    whole, text = dict.fromkeys(INTEGER_COLUMNS, "Int64"), dict.fromkeys(TEXT_COLUMNS, "string")
    kinds = {name: (whole | text).get(name, "float64") for name in columns}
    return pandas.DataFrame(rows, columns=list(columns)).astype(kinds)


def _as_far_as_read(results: Iterable[Any]) -> Iterator[Any]:
    """Yield `results`; a video that breaks off ends with an `Analysis` that has only its error.

    Raises the error of a video of which nothing was read, such as the next of several.
    """
    last: Any = None
    try:
        for last in results:
            yield last
    except VideoError as error:
        of_a_video = isinstance(last, Analysis) and last.frame is not None
        if not of_a_video or not str(error).startswith(f"{last.path}:"):
            raise
        yield Analysis(last.path, None, None, error=str(error))
