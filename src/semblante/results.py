"""What recognition returns: frozen, of the same type for every input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, in pixels from its left upper corner."""

    left: int
    top: int
    width: int
    height: int

    def to_list(self) -> list[int]:
        """`[left, top, width, height]`."""
        return [self.left, self.top, self.width, self.height]

    def overlap(self, other: Box) -> float:
        """Area that both cover, divided by the area that either covers (IoU), 0..1."""
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        tall = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        both = max(0, wide) * max(0, tall)
        either = self.width * self.height + other.width * other.height - both
        return both / either if either else 0.0

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
    probabilities: dict[str, float]  # for each of `semblante.EMOTIONS`; they add up to 1
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
        """The inverse of `to_dict`."""
        return cls(
            box=Box(*values["box"]),
            detection_score=values["detection_score"],
            emotion=values["emotion"],
            probabilities=dict(values["probabilities"]),
            track=values["track"],
        )


@dataclass(frozen=True)
class Analysis:
    """One picture or video frame: its faces, or the reason why it could not be read."""

    path: str | None
    width: int | None  # pixels, after turning the picture as its EXIF orientation says
    height: int | None
    faces: tuple[Face, ...] = ()
    frame: int | None = None  # number of the frame in a video, from 0; None for a picture
    time_s: float | None = None  # seconds from the video's start; None for a picture
    error: str | None = None  # one line; None where the picture was read

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
        """The inverse of `to_dict`."""
        faces = tuple(Face.from_dict(face) for face in values["faces"])
        return cls(**{**values, "faces": faces})
