"""The results of recognition: frozen dataclasses, the same for every kind of input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from semblante.errors import OptionError


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels from a picture's upper left corner. A face's box may reach beyond the
    picture, see `within`."""

    left: int
    top: int
    width: int
    height: int

    def within(self, width: int, height: int) -> Box:
        """Return the part that lies in a picture of this size; it may be empty."""
        left, right = (min(max(0, x), width) for x in (self.left, self.left + self.width))
        top, bottom = (min(max(0, y), height) for y in (self.top, self.top + self.height))
        return Box(left, top, right - left, bottom - top)

    def crop(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the covered part of a picture (H, W) or (H, W, C), as a view; it may be empty."""
        seen = self.within(image.shape[1], image.shape[0])
        return image[seen.top : seen.top + seen.height, seen.left : seen.left + seen.width]

    def to_list(self) -> list[int]:
        """Return `[left, top, width, height]`."""
        return [self.left, self.top, self.width, self.height]

    def iou(self, other: Box) -> float:
        """Return the intersection over union of two boxes, 0..1."""
        both = self._intersection(other)
        either = self.width * self.height + other.width * other.height - both
        return both / either if either else 0.0

    def overlap_of_smaller(self, other: Box) -> float:
        """Return the intersection's area as a share of the smaller box's area, 0..1."""
        smaller = min(self.width * self.height, other.width * other.height)
        return self._intersection(other) / smaller if smaller else 0.0

    def grown(self, factor: float) -> Box:
        """Return a box with the same centre that is `factor` times as wide and as high."""
        width, height = round(factor * self.width), round(factor * self.height)
        left, top = self.left - (width - self.width) // 2, self.top - (height - self.height) // 2
        return Box(left, top, width, height)

    def _intersection(self, other: Box) -> int:
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        tall = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return max(0, wide) * max(0, tall)


@dataclass(frozen=True)
class Face:
    """One face and the emotion it shows.

    `box`: its place in the picture. `detection_score`: 0..1, how sure the detector is that this is
    a face. `emotion`: the most probable of `semblante.EMOTIONS`. `probabilities`: of each of them;
    they add up to 1. `track`: in a video, the same number for as long as this face can be followed;
    None in a picture.
    """

    box: Box
    detection_score: float
    emotion: str
    probabilities: dict[str, float] = field(hash=False)
    track: int | None = None

    @property
    def probability(self) -> float:
        """The probability of `emotion`."""
        return self.probabilities[self.emotion]

    def to_dict(self, *, rounded: bool = True) -> dict[str, Any]:
        """Return the face as it is written in JSON; if `rounded`, probabilities have 5 digits and
        the score 4."""
        shown = self.probabilities
        return {
            "track": self.track,
            "box": self.box.to_list(),
            "detection_score": round(self.detection_score, 4) if rounded else self.detection_score,
            "emotion": self.emotion,
            "probabilities": {n: round(p, 5) if rounded else p for n, p in shown.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Face:
        """Restore it from what `to_dict` returned; raises `OptionError` if something is missing."""
        try:
            return cls(
                box=Box(*values["box"]),
                detection_score=values["detection_score"],
                emotion=values["emotion"],
                probabilities=dict(values["probabilities"]),
                track=values["track"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _not_ours("Face", error) from None


@dataclass(frozen=True)
class Analysis:
    """One picture or video frame: its faces, or the reason why it could not be read.

    `path`: None for bytes, arrays and cameras. `width` and `height`: in pixels, of the picture
    turned as its EXIF orientation says. `frame`: its number in a video, from 0; `time_s`: seconds
    since the video's first frame, which may start later than its sound; both are None for a
    picture. `error`: one line, why it could not be read, or its copy not written.

    In the files of `semblante analyze`, and in what `to_pandas` returns, a video that could not be
    read to its end has one more analysis, without a frame's number, with the `error`.
    """

    path: str | None
    width: int | None
    height: int | None
    faces: tuple[Face, ...] = ()
    frame: int | None = None
    time_s: float | None = None
    error: str | None = None

    def to_dict(self, *, rounded: bool = True) -> dict[str, Any]:
        """Return the analysis as it is written in JSON lines, one line per picture or frame."""
        return {
            "path": self.path,
            "frame": self.frame,
            "time_s": self.time_s,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict(rounded=rounded) for face in self.faces],
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Analysis:
        """Restore it from what `to_dict` returned; raises `OptionError` if something is missing."""
        try:
            faces = tuple(Face.from_dict(face) for face in values["faces"])
            return cls(**{**values, "faces": faces})
        except (KeyError, TypeError) as error:
            raise _not_ours("Analysis", error) from None


def _not_ours(kind: str, error: Exception) -> OptionError:
    return OptionError(f"expected what {kind}.to_dict returned; wrong or missing: {error}")
