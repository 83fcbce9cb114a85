"""Routes for videos: starting a job, asking about it, and fetching its results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response, StreamingResponse

from semblante.recognise.video import LEAST_EVERY_S
from semblante.server import answers
from semblante.server.body import Intake, read_video
from semblante.server.jobs import Job, Jobs
from semblante.server.openapi import FILE_BODY, ROWS_ANSWER, error_answers
from semblante.server.parameters import only_known_parameters
from semblante.server.settings import Settings

# OpenAPI links: the calls that take the job's id from the answer to a video.
_JOB_LINKS: Final = {
    call: {"operationId": call, "parameters": {"id": "$response.body#/id"}}
    for call in ("job_state", "job_results", "job_tracks", "job_forgotten")
}
_OVER: Final = ("done", "failed")  # states of a job that has ended
_ROWS_AT_ONCE: Final = 500  # of a job's results, in one piece of an answer


def videos(settings: Settings, jobs: Jobs, intake: Intake) -> APIRouter:
    """Return the router for /v1/analyze/video and /v1/jobs."""
    router = APIRouter(dependencies=[Depends(only_known_parameters)])

    @router.post(
        "/v1/analyze/video",
        operation_id="analyze_video",
        status_code=202,
        openapi_extra=FILE_BODY,
        response_model=answers.Job,
        responses={
            202: {"links": _JOB_LINKS},
            **error_answers(400, 401, 403, 408, 413, 415, 422, 503),
        },
    )
    async def analyze_video(
        request: Request,
        response: Response,
        every_s: Annotated[
            float | None,
            Query(ge=LEAST_EVERY_S, le=3600, description="a frame every so many seconds"),
        ] = None,
    ) -> dict[str, Any]:
        """Takes a video, sent as it is or in a form, and starts a job."""
        # Checked before hundreds of megabytes are received, and again afterwards.
        too_many = HTTPException(503, "too many videos: try again later", {"Retry-After": "30"})
        if not jobs.has_room():
            raise too_many
        data = await read_video(request, settings, intake)
        job = jobs.start(data, every_s)
        if job is None:
            raise too_many
        response.headers["location"] = f"../jobs/{job.id}"  # relative, as a proxy may add a path
        return job.to_dict()

    # 422 is declared although no id causes it, because FastAPI would document its own form of it.
    @router.get(
        "/v1/jobs/{id}",
        operation_id="job_state",
        response_model=answers.Job,
        responses=error_answers(400, 401, 403, 404, 410, 422),
    )
    async def job_state(id: str) -> dict[str, Any]:
        """How far a job is. One that is not asked about for five minutes is dropped."""
        return _known_job(jobs, id).to_dict()

    @router.get(
        "/v1/jobs/{id}/results",
        operation_id="job_results",
        response_class=StreamingResponse,
        responses={200: ROWS_ANSWER, **error_answers(400, 401, 403, 404, 409, 410, 422)},
    )
    async def job_results(
        id: str,
        first: Annotated[
            int | None,
            Query(alias="from", ge=0, description="rows from this one on, the first is 0"),
        ] = None,
    ) -> StreamingResponse:
        """A job's rows as JSON lines, one a frame; the last one of a failed job has no frame, but
        the `error`. Without `from` only once it has ended; with it those that are there already,
        or none, if none has come since.

        They are kept for ten minutes, less where newer jobs need the room: then those go that were
        fetched once, or that nobody asked about for a minute, the oldest first."""
        job = _known_job(jobs, id) if first is not None else _ended_job(jobs, id)
        # `job.rows[first:]` is a copy: the job may add more rows meanwhile. Only a client that asks
        # for all rows knows that the job has ended, so only then is it marked as fetched.
        rows = _fetched(job) if first is None else _in_pieces(job.rows[first:])
        return StreamingResponse(rows, media_type="application/x-ndjson")

    @router.get(
        "/v1/jobs/{id}/tracks",
        operation_id="job_tracks",
        response_model=answers.Summary,
        responses=error_answers(400, 401, 403, 404, 409, 410, 422),
    )
    async def job_tracks(id: str) -> dict[str, Any]:
        """What each track showed over all of a finished job's video, as `semblante analyze --tracks
        FILE.json` writes it."""
        return _ended_job(jobs, id).summary_builder.summary().to_dict()

    @router.delete(
        "/v1/jobs/{id}",
        operation_id="job_forgotten",
        status_code=204,
        responses=error_answers(400, 401, 403, 404, 422),
    )
    async def job_forgotten(id: str) -> Response:
        """Stops a job and drops what it found."""
        if not jobs.forget(id):
            raise HTTPException(404, "there is no such job")
        return Response(status_code=204)

    return router


def _in_pieces(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield JSON lines, many in each piece, because each piece costs a switch between threads."""
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield "".join(json.dumps(row) + "\n" for row in rows[first : first + _ROWS_AT_ONCE])


def _fetched(job: Job) -> Iterator[str]:
    """Yield all rows of a job, and mark it as fetched once the last one was taken."""
    yield from _in_pieces(job.rows)
    job.fetched = True


def _known_job(jobs: Jobs, id: str) -> Job:
    job = jobs.get(id)
    if job is None and jobs.was_dropped(id):
        raise HTTPException(410, "this job is over and was dropped: send the video again")
    if job is None:
        raise HTTPException(404, "there is no such job")
    return job


def _ended_job(jobs: Jobs, id: str) -> Job:
    """Return a job that has ended; raises 409 for one that has not."""
    job = _known_job(jobs, id)
    if job.state not in _OVER:
        raise HTTPException(409, "the job is not done yet")
    return job
