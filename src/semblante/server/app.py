"""The HTTP API: pictures, videos and a live stream in, faces and their emotions out."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

import prometheus_client as prometheus
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware

import semblante
from semblante.emotions import EMOTIONS
from semblante.errors import ImageError, OptionError
from semblante.images import load_image
from semblante.models import DEFAULT_MODEL, MODELS
from semblante.recognise.pipeline import Analyzer
from semblante.recognise.video import LEAST_EVERY_S
from semblante.results import Analysis
from semblante.server import answers
from semblante.server.body import Intake, Upload, read_body, read_uploads
from semblante.server.guard import Guard
from semblante.server.jobs import Job, Jobs
from semblante.server.settings import Settings
from semblante.server.stream import accept, stream
from semblante.server.work import Workers, unless_left

# Where a job's id, in the answer to a video, is of use.
_JOB_LINKS: Final = {
    call: {"operationId": call, "parameters": {"id": "$response.body#/id"}}
    for call in ("job_state", "job_results", "job_forgotten")
}
_FILE: Final = {"schema": {"type": "string", "format": "binary"}}
_FORM: Final = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "array", "items": _FILE["schema"]}},
    }
}
_A_FILE: Final = {"requestBody": {"required": True, "content": {"application/octet-stream": _FILE}}}
_FILES: Final = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": _FORM, "application/octet-stream": _FILE},
    }
}
_A_ROW: Final = {"schema": {"$ref": "#/components/schemas/Analysis"}}
_ROWS_AT_ONCE: Final = 500  # of a job's results, that are sent
_KINDS: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


def create_app(
    settings: Settings = Settings(),  # noqa: B008 - it is frozen
    analyzer: Analyzer | None = None,
) -> FastAPI:
    """The application, for uvicorn or any other ASGI server."""
    analyzer = analyzer or Analyzer()
    workers = Workers(settings.workers, settings.max_waiting, settings.answer_s)
    jobs = Jobs(analyzer, settings.max_pixels)
    intake = Intake(settings.max_intake)
    figures = _Figures(workers)
    # Its parser tells stderr of each form that is none, at the will of whoever sends them.
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
        docs_url=None,  # their pages load scripts from elsewhere; /openapi.json has it all
        redoc_url=None,
        lifespan=lifespan,
        middleware=[Middleware(Guard, settings=settings, count_refused=figures.count_refused)],
    )
    app.state.jobs = jobs
    app.state.is_busy = lambda: workers.is_busy or jobs.is_busy
    _add_refusals(app, figures)
    for router in (
        _about(analyzer, figures),
        _pictures(settings, analyzer, workers, intake, figures),
        _videos(settings, jobs, intake, figures),
        _live(settings, analyzer, workers, figures),
        _page(),
    ):
        app.include_router(router)
    return app


def _add_refusals(app: FastAPI, figures: _Figures) -> None:
    """All of them are `{"error": "..."}`."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> JSONResponse:
        figures.count_refused(error.status_code)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def misunderstood(request: Request, error: RequestValidationError) -> JSONResponse:
        figures.count_refused(422)
        reasons = (
            f"{one['loc'][-1]}: {one['msg']}, found {str(one['input'])[:50]!r}"
            for one in error.errors()
        )
        return JSONResponse({"error": "; ".join(reasons)}, 422)


def _about(analyzer: Analyzer, figures: _Figures) -> APIRouter:
    """What the server says of itself."""
    router = APIRouter()

    @router.get("/healthz", response_class=PlainTextResponse, responses=_errors(403))
    async def healthz() -> str:
        """`ok` as long as it runs."""
        return "ok"

    router.add_api_route("/healthz", healthz, methods=["HEAD"], include_in_schema=False)

    @router.get("/metrics", response_class=PlainTextResponse, responses=_errors(401, 403))
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(prometheus.generate_latest(figures.registry), media_type="text/plain")

    @router.get("/v1/models", response_model=answers.Models, responses=_errors(401, 403))
    async def models() -> dict[str, Any]:
        """The shipped models and the one in use."""
        return {
            "emotions": list(EMOTIONS),
            "default": DEFAULT_MODEL,
            "in_use": _model_name(analyzer.classifier.path),
            "head": analyzer.classifier.head,
            "models": [
                {
                    "name": entry.name,
                    "parameters": entry.parameters,
                    "public_test": entry.public_test,
                    "private_test": entry.private_test,
                }
                for entry in MODELS.values()
            ],
        }

    return router


def _pictures(
    settings: Settings, analyzer: Analyzer, workers: Workers, intake: Intake, figures: _Figures
) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/v1/analyze",
        openapi_extra=_FILES,
        response_model=answers.Analyses,
        responses={
            **_errors(400, 401, 403, 408, 413, 503, 504),
            422: {"model": answers.Analyses, "description": "none of the pictures could be read"},
        },
    )
    async def analyze(request: Request, response: Response) -> dict[str, Any]:
        """The faces of one picture, sent as it is, or of the pictures of a form.

        One result for each, as `semblante analyze --format json` writes them. A picture that cannot
        be read, or whose turn has not come when time is up, has an `error`; where none can be read,
        the status is 422.
        """
        uploads = await read_uploads(request, settings, intake)
        works = [partial(_analyzed, analyzer, one, settings.max_pixels) for one in uploads]
        done = await unless_left(request, workers.run_each(works))
        figures.pictures.inc(len(done))
        figures.faces.inc(sum(len(one.faces) for one in done.values()))
        late = f"not done in {settings.answer_s:g} s: send fewer pictures at a time"
        found = [
            done.get(number) or Analysis(upload.name, None, None, error=late)
            for number, upload in enumerate(uploads)
        ]
        if len(done) == len(found) and all(one.error is not None for one in found):
            response.status_code = 422
        return {"results": [one.to_dict() for one in found]}

    @router.post(
        "/v1/explain",
        openapi_extra=_FILES,
        response_model=answers.Explanation,
        responses=_errors(400, 401, 403, 408, 413, 422, 503, 504),
    )
    async def explain(
        request: Request,
        face: Annotated[int, Query(ge=1, description="which, from left to right")] = 1,
        emotion: Annotated[
            str | None, Query(description="what speaks for this one; else for what it shows")
        ] = None,
    ) -> dict[str, Any]:
        """What in a face of a picture, sent as it is or in a form, speaks for the estimate.

        As `semblante explain --format json` writes it: what is left of the estimate when parts of
        the face are hidden, and the evidence by pixel.
        """
        uploads = await read_uploads(request, settings, intake)
        if len(uploads) > 1:
            raise HTTPException(422, f"expected one picture, found {len(uploads)}")

        def explained(given_up: threading.Event) -> dict[str, Any]:
            image = load_image(bytes(uploads[0].data), max_pixels=settings.max_pixels)
            if given_up.is_set():
                return {}
            [found] = analyzer.explain(image, emotion, face=face)
            return found.to_dict()

        try:
            return await unless_left(request, workers.run(explained))
        except (ImageError, OptionError) as error:
            raise HTTPException(422, str(error)) from None

    return router


def _videos(settings: Settings, jobs: Jobs, intake: Intake, figures: _Figures) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/v1/analyze/video",
        status_code=202,
        openapi_extra=_A_FILE,
        response_model=answers.Job,
        responses={202: {"links": _JOB_LINKS}, **_errors(400, 401, 403, 408, 413, 422, 503)},
    )
    async def analyze_video(
        request: Request,
        every_s: Annotated[
            float | None,
            Query(ge=LEAST_EVERY_S, le=3600, description="a frame every so many seconds"),
        ] = None,
    ) -> dict[str, Any]:
        """Takes a video, sent as it is, and starts a job."""
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise HTTPException(400, "expected the video as it is, as the body, found a form")
        # Asked before hundreds of megabytes are taken in, and once more when they are here.
        too_many = HTTPException(
            503, "too many videos: come back later", {"Retry-After": "30", "Connection": "close"}
        )
        if not jobs.have_room():
            raise too_many
        data = await read_body(request, settings.max_video, settings.video_s, intake)
        job = jobs.start(data, every_s)
        if job is None:
            raise too_many
        figures.videos.inc()
        return job.to_dict()

    # 422 stands there, though no id is refused with it, or FastAPI would tell of its own.
    @router.get(
        "/v1/jobs/{id}",
        operation_id="job_state",
        response_model=answers.Job,
        responses=_errors(401, 403, 404, 422),
    )
    async def job_state(id: str) -> dict[str, Any]:
        """How far a job is. One that is not asked about for five minutes is dropped."""
        return _known(jobs, id).to_dict()

    @router.get(
        "/v1/jobs/{id}/results",
        operation_id="job_results",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "each line is one of these",
                "content": {"application/x-ndjson": _A_ROW},
            },
            **_errors(401, 403, 404, 409, 422),
        },
    )
    async def job_results(id: str) -> StreamingResponse:
        """A finished job's rows as JSON lines, one a frame.

        They are kept for ten minutes, less where newer jobs need the room."""
        job = _known(jobs, id)
        if job.state not in ("done", "failed"):
            raise HTTPException(409, "not done yet")
        return StreamingResponse(_in_pieces(job), media_type="application/x-ndjson")

    @router.delete(
        "/v1/jobs/{id}",
        operation_id="job_forgotten",
        status_code=204,
        responses=_errors(401, 403, 404, 422),
    )
    async def job_forgotten(id: str) -> Response:
        """Stops a job and drops what it found."""
        if not jobs.forget(id):
            raise HTTPException(404, "there is no such job")
        return Response(status_code=204)

    return router


def _live(settings: Settings, analyzer: Analyzer, workers: Workers, figures: _Figures) -> APIRouter:
    router = APIRouter()
    streams = 0

    @router.websocket("/v1/stream")
    async def live(websocket: WebSocket) -> None:
        nonlocal streams
        if streams >= settings.max_streams:
            await accept(websocket)  # or a browser would not hear why
            await websocket.close(1013, "too many live streams")
            return
        streams += 1
        try:
            await stream(websocket, analyzer, workers, settings, figures.frames.inc)
        finally:
            streams -= 1

    return router


def _page() -> APIRouter:
    router = APIRouter()
    for name in ("index.html", "app.js", "painting.js", "words.js", "style.css"):
        router.add_api_route(
            "/" if name == "index.html" else f"/{name}",
            _file(name),
            methods=["GET", "HEAD"],
            include_in_schema=False,
        )
    return router


class _Figures:
    """What /metrics tells. No picture, no face, no address."""

    def __init__(self, workers: Workers) -> None:
        self.registry = prometheus.CollectorRegistry()
        counter = prometheus.Counter

        def counted(name: str, what: str) -> prometheus.Counter:
            return counter(f"semblante_{name}", what, registry=self.registry)

        self.pictures = counted("pictures", "pictures analysed")
        self.faces = counted("faces", "faces found in pictures")
        self.frames = counted("frames", "frames of live streams answered")
        self.videos = counted("videos", "videos taken")
        self.refused = counter(
            "semblante_refused", "requests refused", ["status"], registry=self.registry
        )
        gauge = prometheus.Gauge(
            "semblante_under_way", "requests in work or waiting", registry=self.registry
        )
        gauge.set_function(lambda: workers.under_way)

    def count_refused(self, status: int) -> None:
        """One more request that was answered with this status."""
        self.refused.labels(str(status)).inc()


def _model_name(path: Path) -> str:
    """A shipped model's name; of another its file's, as the folders are nobody's business."""
    shipped = (entry.name for entry in MODELS.values() if entry.path == path)
    return next(shipped, path.name)


def _analyzed(
    analyzer: Analyzer, upload: Upload, max_pixels: int, given_up: threading.Event
) -> Analysis:
    """What is in a picture, or why it cannot be read; once it is `given_up`, it does not matter."""
    try:
        image = load_image(bytes(upload.data), max_pixels=max_pixels)
        faces = () if given_up.is_set() else tuple(analyzer.analyze(image))
    except ImageError as error:
        return Analysis(upload.name, None, None, error=str(error))
    height, width = image.shape[:2]
    return Analysis(upload.name, width, height, faces)


def _in_pieces(job: Job) -> Iterator[str]:
    """JSON lines, many at a time: each piece costs a change of threads."""
    rows = list(job.rows)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield "".join(json.dumps(row) + "\n" for row in rows[first : first + _ROWS_AT_ONCE])


def _known(jobs: Jobs, id: str) -> Job:
    job = jobs.get(id)
    if job is None:
        raise HTTPException(404, "there is no such job")
    return job


def _file(name: str) -> Any:
    """One file of the page."""
    text = resources.files("semblante.server").joinpath("web", name).read_text(encoding="utf-8")
    kind = _KINDS[name[name.rindex(".") :]]

    async def page() -> Response:
        return Response(text, media_type=kind)

    return page


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document."""
    return {status: {"model": answers.Error, "description": "see `error`"} for status in statuses}
