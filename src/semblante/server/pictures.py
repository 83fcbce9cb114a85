"""Routes for pictures: finding faces, drawing them, and explaining an estimate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response

from semblante.errors import ImageError, OptionError
from semblante.images import RgbImage, colour_profile, load_image
from semblante.picture_writing import encoded
from semblante.recognise.annotate import annotate, pixelated
from semblante.recognise.pipeline import Analyzer
from semblante.results import Analysis
from semblante.server import answers
from semblante.server.body import Intake, Upload, read_pictures
from semblante.server.metrics import Metrics
from semblante.server.openapi import FILE_BODY, FILES_BODY, JPEG_ANSWER, error_answers
from semblante.server.parameters import only_known_parameters
from semblante.server.settings import Settings
from semblante.server.work import Workers, unless_disconnected

_Result = TypeVar("_Result")


def pictures(
    settings: Settings, analyzer: Analyzer, workers: Workers, intake: Intake, counters: Metrics
) -> APIRouter:
    """Return the router for /v1/analyze, /v1/annotate and /v1/explain."""
    router = APIRouter(dependencies=[Depends(only_known_parameters)])

    async def with_one_picture(
        request: Request, use: Callable[[RgbImage, bytes], _Result]
    ) -> _Result:
        """Return the result of `use(image, file)` for the only picture of `request`, and count the
        picture. Raises 422 if there are several, or if the picture or a parameter is invalid."""
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
        lang: Annotated[Literal["en", "es"], Query(description="language of the labels")] = "en",
    ) -> Response:
        """A copy of a picture, sent as it is or in a form, with its faces boxed and labelled.

        As `semblante analyze --annotate` writes it, as JPEG.
        """

        def drawn(image: RgbImage, file: bytes) -> bytes:
            faces = analyzer.analyze(image)
            if blur:
                image = pixelated(image, [face.box for face in faces])
            return encoded(annotate(image, faces, lang), "JPEG", colour_profile(file))

        return Response(await with_one_picture(request, drawn), media_type="image/jpeg")

    @router.post(
        "/v1/explain",
        operation_id="explain",
        openapi_extra=FILE_BODY,
        response_model=answers.Explanation,
        responses=error_answers(400, 401, 403, 408, 413, 415, 422, 503, 504),
    )
    async def explain(
        request: Request,
        face: Annotated[int, Query(ge=1, description="the face's number, from left to right")] = 1,
        emotion: Annotated[
            answers.Emotion | None,
            Query(description="the emotion to explain; by default the estimated one"),
        ] = None,
    ) -> dict[str, Any]:
        """What in a face of a picture, sent as it is or in a form, speaks for the estimate.

        As `semblante explain --format json` writes it: what is left of the estimate when parts of
        the face are hidden, and the evidence by pixel.
        """

        def explained(image: RgbImage, _: bytes) -> dict[str, Any]:
            [found] = analyzer.explain(image, emotion, face=face)
            return found.to_dict()

        return await with_one_picture(request, explained)

    return router


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
