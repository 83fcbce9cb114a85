"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

FiguresFormat = Literal["table", "json"]
# The same as `LANGUAGES`, `DETECTORS` and `HEADS` elsewhere (checked in tests/test_forwarding.py).
# The language is that of what a person reads; files always have the English labels.
Language = Literal["en", "es"]
DetectorName = Literal["cnn", "haar", "yunet", "none"]
Head = Literal["fer2013", "ferplus"]

LanguageOption = Annotated[
    Language,
    typer.Option(
        envvar="SEMBLANTE_LANG",
        show_default="the system's",
        help="language of texts and pictures",
    ),
]
ModelOption = Annotated[str, typer.Option(help="a shipped model or an ONNX file")]
StepsOption = Annotated[
    int | None,
    typer.Option(help="steps of the last recurrent layer: fewer are quicker (default: all)"),
]
DetectorOption = Annotated[DetectorName, typer.Option(help="face detector")]
MinFaceOption = Annotated[
    int | None,
    typer.Option(
        help="smallest face to look for, pixels a side (default: 24, in small pictures an eighth "
        "of the shorter side)",
        show_default=False,
    ),
]
MinScoreOption = Annotated[
    float | None,
    typer.Option(
        help="how sure the detector must be of a face, above 0 and below 1 (default: cnn 0.6, "
        "haar 0.5, yunet 0.7)",
        show_default=False,
    ),
]
HeadOption = Annotated[
    Head | None,
    typer.Option(
        help="which output answers: ferplus, what most of ten people would say; fer2013, "
        "what that dataset's label would be (default: ferplus, if the model has learnt "
        "it)",
    ),
]
EarlyExitOption = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="stop early for a face whose likeliest emotion has a probability of at least P, "
        "by FER2013's head",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        help="threads that work at the same time (default: one for each processor)",
        show_default=False,
    ),
]
