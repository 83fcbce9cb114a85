"""Bodies, answers and parameters, as the OpenAPI document tells of them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Depends, Request

from semblante.server import answers
from semblante.server.body import refusal

FILE: Final = {"schema": {"type": "string", "format": "binary"}}
A_FILE: Final = {"requestBody": {"required": True, "content": {"application/octet-stream": FILE}}}


def _or_a_form(files: dict[str, Any]) -> dict[str, Any]:
    """A file as the body, or a form with `files`."""
    form = {"schema": {"type": "object", "required": ["file"], "properties": {"file": files}}}
    content = {"multipart/form-data": form, "application/octet-stream": FILE}
    return {"requestBody": {"required": True, "content": content}}


ONE_FILE: Final = _or_a_form(FILE["schema"])
FILES: Final = _or_a_form({"type": "array", "items": FILE["schema"]})
TEXT: Final = {"description": "text", "content": {"text/plain": {"schema": {"type": "string"}}}}
JPEG: Final = {"description": "the copy", "content": {"image/jpeg": FILE}}
ROWS: Final = {
    "description": "JSON lines, each of which is an Analysis",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document."""
    later = {"schema": {"type": "integer"}, "description": "in so many seconds"}
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": answers.Error, "description": "see `error`"} for status in statuses
    }
    if 503 in found:
        found[503]["headers"] = {"Retry-After": later}
    return found


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


KNOWN_PARAMETERS: Final = Depends(_only_known_parameters)
