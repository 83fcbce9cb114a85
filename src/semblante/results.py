"""What recognition returns: frozen, of the same type for every input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from semblante.emotions import EMOTIONS
from semblante.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels from a picture's left upper corner. A face's may reach beyond the
    picture, see `within`."""

    left: int
    top: int
    width: int
    height: int

    def within(self, width: int, height: int) -> Box:
        """The part that lies in a picture of that size, maybe of 0 pixels."""
        left, right = (min(max(0, x), width) for x in (self.left, self.left + self.width))
        top, bottom = (min(max(0, y), height) for y in (self.top, self.top + self.height))
        return Box(left, top, right - left, bottom - top)

    def to_list(self) -> list[int]:
        """`[left, top, width, height]`."""
        return [self.left, self.top, self.width, self.height]

    def iou(self, other: Box) -> float:
        """Intersection over union: area that both cover by the area that either covers, 0..1."""
        both = self._both(other)
        either = self.width * self.height + other.width * other.height - both
        return both / either if either else 0.0

    def shared(self, other: Box) -> float:
        """Area that both cover, as a share of the smaller one, 0..1."""
        smaller = min(self.width * self.height, other.width * other.height)
        return self._both(other) / smaller if smaller else 0.0

    def _both(self, other: Box) -> int:
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        tall = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return max(0, wide) * max(0, tall)

    def grown(self, factor: float) -> Box:
        """Around the same centre, so many times as wide and as high."""
        width, height = round(factor * self.width), round(factor * self.height)
        left, top = self.left - (width - self.width) // 2, self.top - (height - self.height) // 2
        return Box(left, top, width, height)


@dataclass(frozen=True)
class Face:
    """One face and the emotion it shows."""

    box: Box
    detection_score: float  # 0..1: how sure the detector is that this is a face
    emotion: str  # the most probable of `semblante.EMOTIONS`
    # For each of `semblante.EMOTIONS`; they add up to 1.
    probabilities: dict[str, float] = field(hash=False)
    track: int | None = None  # the same number for the same person in a video; None in a picture

    def to_dict(self) -> dict[str, Any]:
        """As it stands in JSON; probabilities are rounded to 5 digits."""
        return {
            "track": self.track,
            "box": self.box.to_list(),
            "detection_score": round(self.detection_score, 4),
            "emotion": self.emotion,
            "probabilities": {name: round(p, 5) for name, p in self.probabilities.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Face:
        """From what `to_dict` wrote."""
        return cls(
            box=Box(*values["box"]),
            detection_score=values["detection_score"],
            emotion=values["emotion"],
            probabilities=dict(values["probabilities"]),
            track=values["track"],
        )


@dataclass(frozen=True)
class Analysis:
    """One picture or video frame: its faces, or the reason why it could not be read.

    A video that failed ends with one more that has no frame, only the `error`.
    """

    path: str | None
    width: int | None  # pixels, after turning the picture as its EXIF orientation says
    height: int | None
    faces: tuple[Face, ...] = ()
    frame: int | None = None  # number of the frame in a video, from 0; None for a picture
    # Seconds since a video's first frame, which may come later than its sound; None for a picture.
    time_s: float | None = None
    error: str | None = None  # one line: why it could not be read, or its copy not be written

    def to_dict(self) -> dict[str, Any]:
        """As it stands in JSON, a line a picture or frame."""
        return {
            "path": self.path,
            "frame": self.frame,
            "time_s": self.time_s,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Analysis:
        """From what `to_dict` wrote."""
        faces = tuple(Face.from_dict(face) for face in values["faces"])
        return cls(**{**values, "faces": faces})


def percent(probability: float) -> str:
    """As a person reads it, and 99% at most: no estimate is certain."""
    return f"{min(probability, 0.99):.0%}"


# -- as a table ---------------------------------------------------------------------------------

BOX_COLUMNS: Final = ("left", "top", "face_width", "face_height")
WHOLE_COLUMNS: Final = ("frame", "width", "height", "face", "track", *BOX_COLUMNS)  # integers
COLUMNS: Final = (
    "path", "frame", "time_s", "width", "height", "face", "track", *BOX_COLUMNS, "detection_score",
    "emotion", *EMOTIONS, "error",
)  # fmt: skip


def rows_of(analysis: Analysis) -> Iterator[list[Any]]:
    """A row of `COLUMNS` for each face; a picture without any has one without face columns."""
    if not isinstance(analysis, Analysis):  # a `Face`, say
        raise OptionError(
            "expected what `analyze_many` and `analyze_video` give, an Analysis each, found "
            f"{type(analysis).__name__}"
        )
    about = [analysis.path, analysis.frame, analysis.time_s, analysis.width, analysis.height]
    if not analysis.faces:
        yield [*about, *[None] * (len(COLUMNS) - len(about) - 1), analysis.error]
    for number, face in enumerate(analysis.faces, start=1):
        values = face.to_dict()
        cells = [values["track"], *values["box"], values["detection_score"], values["emotion"]]
        probabilities = [values["probabilities"][emotion] for emotion in EMOTIONS]
        yield [*about, number, *cells, *probabilities, analysis.error]


def to_pandas(analyses: Iterable[Analysis]) -> pandas.DataFrame:
    """A row for each face, with the columns of the CSV; numbers of things are pandas's Int64.

    Raises `MissingExtraError` where pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MissingExtraError("a table of pandas", "pandas") from None
    frame = pandas.DataFrame(
        [row for analysis in analyses for row in rows_of(analysis)], columns=list(COLUMNS)
    )
    real = ["time_s", "detection_score", *EMOTIONS]
    kinds = dict.fromkeys(WHOLE_COLUMNS, "Int64") | dict.fromkeys(real, "float64")
    return frame.astype(kinds | dict.fromkeys(("path", "emotion", "error"), "string"))
