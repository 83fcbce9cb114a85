"""The HTTP API: takes pictures, videos and live streams, answers with faces and their emotions."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import prometheus_client as prometheus
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware

import semblante
from semblante.emotions import EMOTIONS
from semblante.errors import ImageError, OptionError
from semblante.images import RgbImage, colour_profile, load_image
from semblante.models import DEFAULT_MODEL, MODELS
from semblante.picture_writing import encoded
from semblante.recognise.annotate import annotate, pixelated
from semblante.recognise.pipeline import Analyzer
from semblante.results import Analysis
from semblante.server import answers
from semblante.server.body import Intake, Upload, read_pictures
from semblante.server.guard import Guard
from semblante.server.jobs import Jobs
from semblante.server.metrics import Metrics
from semblante.server.openapi import (
    FILE_BODY,
    FILES_BODY,
    JPEG_ANSWER,
    TEXT_ANSWER,
    error_answers,
)
from semblante.server.page import page
from semblante.server.parameters import only_known_parameters
from semblante.server.settings import Settings
from semblante.server.stream import accept, stream
from semblante.server.videos import videos
from semblante.server.work import Workers, unless_disconnected

_Result = TypeVar("_Result")


def create_app(
    settings: Settings = Settings(),  # noqa: B008 - it is frozen
    analyzer: Analyzer | None = None,
) -> FastAPI:
    """Return the application, for uvicorn or any other ASGI server."""
    analyzer = analyzer or Analyzer()
    workers = Workers(settings.workers, settings.max_waiting, settings.answer_s)
    counters = Metrics()
    jobs = Jobs(analyzer, settings.max_pixels, counters.count_video, settings.job_s)
    intake, video_intake = Intake(settings.max_intake), Intake(settings.max_video_intake)
    counters.watch("pictures", lambda: workers.under_way)
    counters.watch("videos", lambda: jobs.under_way)
    # Its parser logs every malformed form to stderr, so any client could fill the log.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        jobs.close()
        workers.close()

    app = FastAPI(
        title="semblante",
        version=semblante.__version__,
        description="Finds faces in pictures and videos and estimates the emotion each shows. "
        "Nothing that is sent is kept. Where there is a token, all calls under /v1, and /metrics, "
        "need it as `Authorization: Bearer TOKEN`.",
        docs_url=None,  # these pages load scripts from other sites; /openapi.json has it all
        redoc_url=None,
        redirect_slashes=False,  # to an address that clients behind a proxy may not reach
        lifespan=lifespan,
        middleware=[Middleware(Guard, settings=settings, count_refused=counters.count_refused)],
    )
    app.state.jobs = jobs
    app.state.is_busy = lambda: workers.is_busy or jobs.is_busy
    _add_error_handlers(app, counters)
    # `Guard` checks the token; this dependency only declares it in the OpenAPI document.
    needed = [Depends(HTTPBearer(auto_error=False))] if settings.token is not None else []
    pictures = _pictures(settings, analyzer, workers, intake, counters)
    for router in (_about(analyzer, counters), pictures, videos(settings, jobs, video_intake)):
        app.include_router(router, dependencies=needed)
    for router in (_health(), _live(settings, analyzer, workers, counters), page()):
        app.include_router(router)
    return app


def _add_error_handlers(app: FastAPI, counters: Metrics) -> None:
    """Let all errors be answered as `{"error": "..."}`."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> JSONResponse:
        counters.count_refused(error.status_code)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def misunderstood(request: Request, error: RequestValidationError) -> JSONResponse:
        counters.count_refused(422)
        reasons = (
            f"{one['loc'][-1]}: {one['msg']}, found {str(one['input'])[:50]!r}"
            for one in error.errors()
        )
        return JSONResponse({"error": "; ".join(reasons)}, 422)


def _health() -> APIRouter:
    router = APIRouter()

    @router.get(
        "/healthz",
        operation_id="healthz",
        response_class=Response,
        responses={200: TEXT_ANSWER, **error_answers(403)},
    )
    async def healthz() -> Response:
        """`ok` as long as it runs."""
        return PlainTextResponse("ok")

    router.add_api_route("/healthz", healthz, methods=["HEAD"], include_in_schema=False)
    return router


def _about(analyzer: Analyzer, counters: Metrics) -> APIRouter:
    """Routes about the server itself: its counters and its models."""
    router = APIRouter()

    @router.get(
        "/metrics",
        operation_id="metrics",
        response_class=Response,
        responses={200: TEXT_ANSWER, **error_answers(401, 403)},
    )
    async def metrics() -> Response:
        """Counters for Prometheus."""
        shown = prometheus.generate_latest(counters.registry)
        return Response(shown, headers={"content-type": prometheus.CONTENT_TYPE_LATEST})

    @router.get(
        "/v1/models",
        operation_id="models",
        response_model=answers.Models,
        responses=error_answers(400, 401, 403),
        dependencies=[Depends(only_known_parameters)],
    )
    async def models() -> dict[str, Any]:
        """The shipped models and the one in use."""
        return {
            "emotions": list(EMOTIONS),
            "default": DEFAULT_MODEL,
            "in_use": _model_name(analyzer.classifier.path),
            "head": analyzer.classifier.head,
            "models": list(MODELS.values()),  # `answers.Models` chooses what is shown of them
        }

    return router


def _pictures(
    settings: Settings, analyzer: Analyzer, workers: Workers, intake: Intake, counters: Metrics
) -> APIRouter:
    router = APIRouter(dependencies=[Depends(only_known_parameters)])

    async def of_one(request: Request, use: Callable[[RgbImage, bytes], _Result]) -> _Result:
        """Return what `use` makes of the picture of `request` and of its file, and count it. Raises
        422 if it fails, or if there is more than one."""
        uploads = await read_pictures(request, settings, intake)
        if len(uploads) > 1:
            raise HTTPException(422, f"expected one picture, found {len(uploads)}")

        def work(given_up: threading.Event) -> _Result | None:
            file = bytes(uploads[0].data)
            image = load_image(file, max_pixels=settings.max_pixels)
            return None if given_up.is_set() else use(image, file)

        try:
            done = await unless_disconnected(request, workers.run(work))
        except (ImageError, OptionError) as error:
            counters.count_picture(read=not isinstance(error, ImageError))
            raise HTTPException(422, str(error)) from None
        counters.count_picture(read=True)
        assert done is not None  # nobody gave up
        return done

    @router.post(
        "/v1/analyze",
        operation_id="analyze",
        openapi_extra=FILES_BODY,
        response_model=answers.Analyses,
        responses={
            **error_answers(400, 401, 403, 408, 413, 415, 503, 504),
            422: {"model": answers.Analyses, "description": "none of the pictures could be read"},
        },
    )
    async def analyze(request: Request, response: Response) -> dict[str, Any]:
        """The faces of one picture, sent as it is, or of the pictures of a form.

        One result for each, as `semblante analyze --format json` writes them. A picture that cannot
        be read, or whose turn has not come when time is up, has an `error`; where none can be read,
        the status is 422.
        """
        uploads = await read_pictures(request, settings, intake)
        works = [partial(_analyzed, analyzer, one, settings.max_pixels) for one in uploads]
        done = await unless_disconnected(request, workers.run_each(works))
        for one in done.values():
            counters.count_picture(read=one.error is None, faces=len(one.faces))
        late = f"not done in {settings.answer_s:g} s: send fewer pictures at a time"
        found = [
            done.get(number) or Analysis(upload.name, None, None, error=late)
            for number, upload in enumerate(uploads)
        ]
        if len(done) == len(found) and all(one.error is not None for one in found):
            response.status_code = 422
        return {"results": [one.to_dict() for one in found]}

    @router.post(
        "/v1/annotate",
        operation_id="annotate",
        openapi_extra=FILE_BODY,
        response_class=Response,
        responses={200: JPEG_ANSWER, **error_answers(400, 401, 403, 408, 413, 415, 422, 503, 504)},
    )
    async def annotate_picture(
        request: Request,
        blur: Annotated[bool, Query(description="pixelate the faces")] = False,
        lang: Annotated[Literal["en", "es"], Query(description="of the labels")] = "en",
    ) -> Response:
        """A copy of a picture, sent as it is or in a form, with its faces boxed and labelled.

        As `semblante analyze --annotate` writes it, as JPEG.
        """

        def drawn(image: RgbImage, file: bytes) -> bytes:
            faces = analyzer.analyze(image)
            if blur:
                image = pixelated(image, [face.box for face in faces])
            return encoded(annotate(image, faces, lang), "JPEG", colour_profile(file))

        return Response(await of_one(request, drawn), media_type="image/jpeg")

    @router.post(
        "/v1/explain",
        operation_id="explain",
        openapi_extra=FILE_BODY,
        response_model=answers.Explanation,
        responses=error_answers(400, 401, 403, 408, 413, 415, 422, 503, 504),
    )
    async def explain(
        request: Request,
        face: Annotated[int, Query(ge=1, description="which, from left to right")] = 1,
        emotion: Annotated[
            answers.Emotion | None,
            Query(description="what speaks for this one; else for what it shows"),
        ] = None,
    ) -> dict[str, Any]:
        """What in a face of a picture, sent as it is or in a form, speaks for the estimate.

        As `semblante explain --format json` writes it: what is left of the estimate when parts of
        the face are hidden, and the evidence by pixel.
        """

        def explained(image: RgbImage, _: bytes) -> dict[str, Any]:
            [found] = analyzer.explain(image, emotion, face=face)
            return found.to_dict()

        return await of_one(request, explained)

    return router


def _live(settings: Settings, analyzer: Analyzer, workers: Workers, counters: Metrics) -> APIRouter:
    router = APIRouter()
    streams = 0

    @router.websocket("/v1/stream")
    async def live(websocket: WebSocket) -> None:
        nonlocal streams
        if streams >= settings.max_streams:
            await accept(websocket)  # else a browser would not be told the reason
            await websocket.close(1013, "too many live streams")
            return
        streams += 1
        try:
            await stream(websocket, analyzer, workers, settings, counters.count_frame)
        finally:
            streams -= 1

    return router


def _model_name(path: Path) -> str:
    """Return a shipped model's name, or the name of another model's file, without private
    folders."""
    shipped = (entry.name for entry in MODELS.values() if entry.path == path)
    return next(shipped, path.name)


def _analyzed(
    analyzer: Analyzer, upload: Upload, max_pixels: int, given_up: threading.Event
) -> Analysis:
    """Return the faces in a picture, or why it cannot be read. Once `given_up` is set nobody waits
    for the result, and its faces may be missing."""
    try:
        image = load_image(upload.data, max_pixels=max_pixels)
        faces = () if given_up.is_set() else tuple(analyzer.analyze(image))
    except ImageError as error:
        return Analysis(upload.name, None, None, error=str(error))
    height, width = image.shape[:2]
    return Analysis(upload.name, width, height, faces)
