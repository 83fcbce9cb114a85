"""The HTTP API: takes pictures, videos and live streams, answers with faces and their emotions."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import prometheus_client as prometheus
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware

import semblante
from semblante.emotions import EMOTIONS
from semblante.models import DEFAULT_MODEL, MODELS
from semblante.recognise.pipeline import Analyzer
from semblante.server import answers
from semblante.server.body import Intake
from semblante.server.guard import Guard
from semblante.server.jobs import Jobs
from semblante.server.metrics import Metrics
from semblante.server.openapi import TEXT_ANSWER, error_answers
from semblante.server.page import page
from semblante.server.parameters import only_known_parameters
from semblante.server.pictures import pictures
from semblante.server.settings import Settings
from semblante.server.stream import accept, stream
from semblante.server.videos import videos
from semblante.server.work import Workers


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
    for router in (
        _about(analyzer, counters),
        pictures(settings, analyzer, workers, intake, counters),
        videos(settings, jobs, video_intake),
    ):
        app.include_router(router, dependencies=needed)
    for router in (_health(), _live(settings, analyzer, workers, counters), page(settings)):
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
