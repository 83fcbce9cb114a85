"""The HTTP API: pictures, videos and a live stream in, faces and their emotions out."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import prometheus_client as prometheus
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware

import semblante
from semblante.emotions import EMOTIONS
from semblante.errors import ImageError, OptionError
from semblante.images import encoded, load_image
from semblante.models import DEFAULT_MODEL, MODELS
from semblante.recognise.annotate import annotate, pixelated
from semblante.recognise.pipeline import Analyzer
from semblante.recognise.video import LEAST_EVERY_S
from semblante.results import Analysis
from semblante.server import answers
from semblante.server.body import Intake, Upload, check_kind, read_body, read_uploads, refusal
from semblante.server.guard import Guard
from semblante.server.jobs import Job, Jobs
from semblante.server.settings import Settings
from semblante.server.stream import accept, stream
from semblante.server.work import Workers, unless_left

_Result = TypeVar("_Result")
# Where a job's id, in the answer to a video, is of use.
_JOB_LINKS: Final = {
    call: {"operationId": call, "parameters": {"id": "$response.body#/id"}}
    for call in ("job_state", "job_results", "job_tracks", "job_forgotten")
}
_FILE: Final = {"schema": {"type": "string", "format": "binary"}}
_A_FILE: Final = {"requestBody": {"required": True, "content": {"application/octet-stream": _FILE}}}


def _or_a_form(files: dict[str, Any]) -> dict[str, Any]:
    """A file as the body, or a form with `files`."""
    form = {"schema": {"type": "object", "required": ["file"], "properties": {"file": files}}}
    content = {"multipart/form-data": form, "application/octet-stream": _FILE}
    return {"requestBody": {"required": True, "content": content}}


_ONE_FILE: Final = _or_a_form(_FILE["schema"])
_FILES: Final = _or_a_form({"type": "array", "items": _FILE["schema"]})
_TEXT: Final = {"description": "text", "content": {"text/plain": {"schema": {"type": "string"}}}}
_JPEG: Final = {"description": "the copy", "content": {"image/jpeg": _FILE}}
_ROWS: Final = {
    "description": "JSON lines, each of which is an Analysis",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}
_ROWS_AT_ONCE: Final = 500  # of a job's results, that are sent
_KINDS: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


def create_app(
    settings: Settings = Settings(),  # noqa: B008 - it is frozen
    analyzer: Analyzer | None = None,
) -> FastAPI:
    """The application, for uvicorn or any other ASGI server."""
    analyzer = analyzer or Analyzer()
    workers = Workers(settings.workers, settings.max_waiting, settings.answer_s)
    counters = _Metrics()
    jobs = Jobs(analyzer, settings.max_pixels, counters.count_video)
    intake = Intake(settings.max_intake)
    counters.watch("pictures", lambda: workers.under_way)
    counters.watch("videos", lambda: jobs.under_way)
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
        redirect_slashes=False,  # to an address that a proxy's clients may not know
        lifespan=lifespan,
        middleware=[Middleware(Guard, settings=settings, count_refused=counters.count_refused)],
    )
    app.state.jobs = jobs
    app.state.is_busy = lambda: workers.is_busy or jobs.is_busy
    _add_refusals(app, counters)
    # `Guard` asks for the token; so does the OpenAPI document.
    needed = [Depends(HTTPBearer(auto_error=False))] if settings.token is not None else []
    pictures = _pictures(settings, analyzer, workers, intake, counters)
    for router in (_about(analyzer, counters), pictures, _videos(settings, jobs, intake)):
        app.include_router(router, dependencies=needed)
    for router in (_health(), _live(settings, analyzer, workers, counters), _page()):
        app.include_router(router)
    return app


def _add_refusals(app: FastAPI, counters: _Metrics) -> None:
    """All of them are `{"error": "..."}`."""

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
        responses={200: _TEXT, **_errors(403)},
    )
    async def healthz() -> Response:
        """`ok` as long as it runs."""
        return PlainTextResponse("ok")

    router.add_api_route("/healthz", healthz, methods=["HEAD"], include_in_schema=False)
    return router


def _about(analyzer: Analyzer, counters: _Metrics) -> APIRouter:
    """What the server says of itself."""
    router = APIRouter()

    @router.get(
        "/metrics",
        operation_id="metrics",
        response_class=Response,
        responses={200: _TEXT, **_errors(401, 403)},
    )
    async def metrics() -> Response:
        """Counters for Prometheus."""
        shown = prometheus.generate_latest(counters.registry)
        return Response(shown, headers={"content-type": prometheus.CONTENT_TYPE_LATEST})

    @router.get(
        "/v1/models",
        operation_id="models",
        response_model=answers.Models,
        responses=_errors(400, 401, 403),
        dependencies=[_KNOWN_PARAMETERS],
    )
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
    settings: Settings, analyzer: Analyzer, workers: Workers, intake: Intake, counters: _Metrics
) -> APIRouter:
    router = APIRouter(dependencies=[_KNOWN_PARAMETERS])

    async def read_one(request: Request) -> Upload:
        uploads = await read_uploads(request, settings, intake)
        if len(uploads) > 1:
            raise HTTPException(422, f"expected one picture, found {len(uploads)}")
        return uploads[0]

    async def counted(request: Request, work: Callable[[threading.Event], _Result]) -> _Result:
        """What comes of `work` on one picture; raises 422 where that cannot be done."""
        try:
            done = await unless_left(request, workers.run(work))
        except (ImageError, OptionError) as error:
            counters.count_picture(read=not isinstance(error, ImageError))
            raise HTTPException(422, str(error)) from None
        counters.count_picture(read=True)
        return done

    @router.post(
        "/v1/analyze",
        operation_id="analyze",
        openapi_extra=_FILES,
        response_model=answers.Analyses,
        responses={
            **_errors(400, 401, 403, 408, 413, 415, 503, 504),
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
        openapi_extra=_ONE_FILE,
        response_class=Response,
        responses={200: _JPEG, **_errors(400, 401, 403, 408, 413, 415, 422, 503, 504)},
    )
    async def annotate_picture(
        request: Request,
        blur: Annotated[bool, Query(description="pixelate the faces")] = False,
        lang: Annotated[Literal["en", "es"], Query(description="of the labels")] = "en",
    ) -> Response:
        """A copy of a picture, sent as it is or in a form, with its faces boxed and labelled.

        As `semblante analyze --annotate` writes it, as JPEG.
        """
        upload = await read_one(request)

        def drawn(given_up: threading.Event) -> bytes:
            image = load_image(upload.data, max_pixels=settings.max_pixels)
            if given_up.is_set():
                return b""
            faces = analyzer.analyze(image)
            if blur:
                image = pixelated(image, [face.box for face in faces])
            return encoded(annotate(image, faces, lang), "JPEG")

        copy = await counted(request, drawn)
        return Response(copy, media_type="image/jpeg")

    @router.post(
        "/v1/explain",
        operation_id="explain",
        openapi_extra=_ONE_FILE,
        response_model=answers.Explanation,
        responses=_errors(400, 401, 403, 408, 413, 415, 422, 503, 504),
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
        upload = await read_one(request)

        def explained(given_up: threading.Event) -> dict[str, Any]:
            image = load_image(upload.data, max_pixels=settings.max_pixels)
            if given_up.is_set():
                return {}
            [found] = analyzer.explain(image, emotion, face=face)
            return found.to_dict()

        return await counted(request, explained)

    return router


def _videos(settings: Settings, jobs: Jobs, intake: Intake) -> APIRouter:
    router = APIRouter(dependencies=[_KNOWN_PARAMETERS])

    @router.post(
        "/v1/analyze/video",
        operation_id="analyze_video",
        status_code=202,
        openapi_extra=_A_FILE,
        response_model=answers.Job,
        responses={202: {"links": _JOB_LINKS}, **_errors(400, 401, 403, 408, 413, 415, 422, 503)},
    )
    async def analyze_video(
        request: Request,
        response: Response,
        every_s: Annotated[
            float | None,
            Query(ge=LEAST_EVERY_S, le=3600, description="a frame every so many seconds"),
        ] = None,
    ) -> dict[str, Any]:
        """Takes a video, sent as it is, and starts a job."""
        check_kind(request, "the video as it is, as the body")
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
        response.headers["location"] = f"../jobs/{job.id}"  # whatever a proxy's path before it is
        return job.to_dict()

    # 422 is declared, though no id is refused with it, or FastAPI would document its own.
    @router.get(
        "/v1/jobs/{id}",
        operation_id="job_state",
        response_model=answers.Job,
        responses=_errors(400, 401, 403, 404, 410, 422),
    )
    async def job_state(id: str) -> dict[str, Any]:
        """How far a job is. One that is not asked about for five minutes is dropped."""
        return _known(jobs, id).to_dict()

    @router.get(
        "/v1/jobs/{id}/results",
        operation_id="job_results",
        response_class=StreamingResponse,
        responses={200: _ROWS, **_errors(400, 401, 403, 404, 409, 410, 422)},
    )
    async def job_results(id: str) -> StreamingResponse:
        """A finished job's rows as JSON lines, one a frame; the last one of a failed job has no
        frame, but the `error`.

        They are kept for ten minutes, less where newer jobs need the room: those of jobs that were
        fetched once go first, then those that nobody asked about for a minute."""
        job = _ended(jobs, id)
        job.fetched = True
        return StreamingResponse(_in_pieces(job), media_type="application/x-ndjson")

    @router.get(
        "/v1/jobs/{id}/tracks",
        operation_id="job_tracks",
        response_model=answers.Summary,
        responses=_errors(400, 401, 403, 404, 409, 410, 422),
    )
    async def job_tracks(id: str) -> dict[str, Any]:
        """What each track showed over all of a finished job's video, as `semblante analyze --tracks
        FILE.json` writes it."""
        return _ended(jobs, id).summing.summary().to_dict()

    @router.delete(
        "/v1/jobs/{id}",
        operation_id="job_forgotten",
        status_code=204,
        responses=_errors(400, 401, 403, 404, 422),
    )
    async def job_forgotten(id: str) -> Response:
        """Stops a job and drops what it found."""
        if not jobs.forget(id):
            raise HTTPException(404, "there is no such job")
        return Response(status_code=204)

    return router


def _live(
    settings: Settings, analyzer: Analyzer, workers: Workers, counters: _Metrics
) -> APIRouter:
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
            await stream(websocket, analyzer, workers, settings, counters.count_frame)
        finally:
            streams -= 1

    return router


def _page() -> APIRouter:
    router = APIRouter()
    web = resources.files("semblante.server").joinpath("web")
    files = sorted(web.iterdir(), key=lambda file: file.name)
    # All at once, or a browser would learn of each by one that imports it, and on a slow line wait.
    preloads = "".join(
        f'<link rel="modulepreload" href="{file.name}">\n'
        for file in files
        if file.name.endswith(".js")
    )
    for file in files:
        kind = _KINDS.get(Path(file.name).suffix)
        if kind is None:  # an editor's copy, say
            continue
        text = file.read_text(encoding="utf-8").replace("</head>", f"{preloads}</head>")
        router.add_api_route(
            "/" if file.name == "index.html" else f"/{file.name}",
            _sent(text, kind),
            methods=["GET", "HEAD"],
            include_in_schema=False,
        )
    return router


class _Metrics:
    """What /metrics tells. No picture, no face, no address."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()

        def counted(name: str, what: str, *by: str) -> prometheus.Counter:
            return prometheus.Counter(f"semblante_{name}", what, by, registry=self.registry)

        self._pictures = counted("pictures", "pictures: read, or failed", "result")
        self._faces = counted("faces", "faces found in pictures to be analysed")
        self._frames = counted("frames", "frames of live streams: read, or failed", "result")
        self._videos = counted("videos", "videos that ended: done, failed, or cancelled", "result")
        self._refused = counted("refused", "requests refused", "status")
        self._under_way = prometheus.Gauge(
            "semblante_under_way", "in work or waiting", ["kind"], registry=self.registry
        )
        for counter, results in (
            (self._pictures, ("read", "failed")),
            (self._frames, ("read", "failed")),
            (self._videos, ("done", "failed", "cancelled")),
        ):
            for result in results:  # from 0 on
                counter.labels(result)

    def watch(self, kind: str, count: Callable[[], int]) -> None:
        """Let `count` say how many of this kind are under way."""
        self._under_way.labels(kind).set_function(count)

    def count_picture(self, *, read: bool, faces: int = 0) -> None:
        """One more, and the faces found in it."""
        self._pictures.labels("read" if read else "failed").inc()
        self._faces.inc(faces)

    def count_frame(self, read: bool) -> None:
        """One more that was answered."""
        self._frames.labels("read" if read else "failed").inc()

    def count_video(self, state: str) -> None:
        """One more that ended, in this state."""
        self._videos.labels(state).inc()

    def count_refused(self, status: int) -> None:
        """One more request that was answered with this status."""
        self._refused.labels(str(status)).inc()


def _model_name(path: Path) -> str:
    """A shipped model's name; of another its file's, as the folders are nobody's business."""
    shipped = (entry.name for entry in MODELS.values() if entry.path == path)
    return next(shipped, path.name)


def _analyzed(
    analyzer: Analyzer, upload: Upload, max_pixels: int, given_up: threading.Event
) -> Analysis:
    """What is in a picture, or why it cannot be read; once it is `given_up`, it does not matter."""
    try:
        image = load_image(upload.data, max_pixels=max_pixels)
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
    if job is None and jobs.was_dropped(id):
        raise HTTPException(410, "this job is over and was dropped: send the video again")
    if job is None:
        raise HTTPException(404, "there is no such job")
    return job


def _ended(jobs: Jobs, id: str) -> Job:
    """One whose results are there."""
    job = _known(jobs, id)
    if job.state not in ("done", "failed"):
        raise HTTPException(409, "not done yet")
    return job


async def _only_known_parameters(request: Request) -> None:
    """Raises 400 for a parameter that the call does not know, or that is given twice: one that is
    misspelt would go unnoticed."""
    known = [one.alias for one in request.scope["route"].dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise refusal(
                400, f"unknown parameter {name[:50]!r}; known: {', '.join(known) or 'none'}"
            )
        if given.count(name) > 1:
            raise refusal(400, f"the parameter {name} is there twice")


_KNOWN_PARAMETERS: Final = Depends(_only_known_parameters)


def _sent(text: str, kind: str) -> Any:
    """One file of the page."""

    async def page() -> Response:
        return Response(text, media_type=kind)

    return page


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document."""
    later = {"schema": {"type": "integer"}, "description": "in so many seconds"}
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": answers.Error, "description": "see `error`"} for status in statuses
    }
    if 503 in found:
        found[503]["headers"] = {"Retry-After": later}
    return found
