"""What the API answers, for the OpenAPI document: FastAPI sends what stands here, nothing else."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Why there is no other answer, in one line."""

    error: str


class Face(BaseModel):
    """One face and the emotion it shows, the one with the largest of the `probabilities`.

    `box`: left, top, width and height, in pixels. `track`: the same number for the same person in a
    video or live stream, null in a picture.
    """

    track: int | None
    box: Annotated[list[int], Field(min_length=4, max_length=4)]
    detection_score: Annotated[float, Field(ge=0, le=1)]
    emotion: str
    probabilities: dict[str, float]


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

    explained: str
    picture: list[list[int]]
    without: dict[str, dict[str, float]]
    evidence: list[list[float]]


class Job(BaseModel):
    """How far the analysis of a video is; `progress` goes from 0 to 1."""

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    progress: Annotated[float, Field(ge=0, le=1)]
    frames: int
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

    emotions: list[str]
    default: str
    in_use: str
    head: str
    models: list[Model]
