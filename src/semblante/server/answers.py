"""Models of the API's answers: FastAPI documents them and sends only the fields declared here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from semblante.emotions import EMOTIONS

Emotion = Annotated[str, Field(json_schema_extra={"enum": list(EMOTIONS)})]
# A number for each emotion.
PerEmotion = Annotated[
    dict[str, float],
    Field(
        json_schema_extra={
            "required": list(EMOTIONS),
            "properties": {emotion: {"type": "number"} for emotion in EMOTIONS},
            "additionalProperties": False,
        }
    ),
]


class Error(BaseModel):
    """Why there is no other answer, in one line."""

    error: str


class Face(BaseModel):
    """One face and the emotion it shows, the one with the largest of the `probabilities`.

    `box`: left, top, width and height, in pixels of the picture as it is seen, turned as its EXIF
    orientation says; it may reach beyond the picture, to negative places say. `track`: the same
    number for the same person in a video or live stream, for as long as they can be followed; null
    in a picture, whose faces come from left to right.
    """

    track: int | None
    box: Annotated[list[int], Field(min_length=4, max_length=4)]
    detection_score: Annotated[float, Field(ge=0, le=1)]
    emotion: Emotion
    probabilities: PerEmotion


class Analysis(BaseModel):
    """One picture, or frame of a video, or the `error` that kept it from being looked at."""

    path: str | None
    frame: int | None
    time_s: float | None
    width: int | None
    height: int | None
    faces: list[Face]
    error: str | None


class Analyses(BaseModel):
    """One result for each picture, in the order in which they came."""

    results: list[Analysis]


class Explanation(Face):
    """A face, and what in it speaks for the emotion that is `explained`.

    `picture`: rows of grey values, 0 to 255, as the network sees the face. `evidence`: for each of
    its pixels, in bits. `without`: the probabilities when a part of the face is hidden.
    """

    explained: Emotion
    picture: list[list[int]]
    without: dict[str, PerEmotion]
    evidence: list[list[float]]


class Job(BaseModel):
    """How far the analysis of a video is; `progress` goes from 0 to 1."""

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    progress: Annotated[float, Field(ge=0, le=1)]
    frames: int
    error: str | None


class Track(BaseModel):
    """What a person showed while they could be followed: on average over the frames in which they
    were seen, and the share of these in which each emotion was the likeliest."""

    track: int
    first_s: float
    last_s: float
    frames: int
    emotion: Emotion
    probabilities: PerEmotion
    shares: PerEmotion


class Summary(BaseModel):
    """A video's tracks, as far as it could be read; `frames` were analysed."""

    path: str | None
    frames: int
    tracks: list[Track]
    error: str | None


class Model(BaseModel):
    """A shipped model; its accuracies are on FER2013's test splits."""

    name: str
    parameters: int
    public_test: float
    private_test: float


class Models(BaseModel):
    """The shipped models, the emotions that they tell apart, and the model in use, with which of
    its heads answers."""

    emotions: list[Emotion]
    default: str
    in_use: str
    head: str
    models: list[Model]
