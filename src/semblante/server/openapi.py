"""Descriptions of bodies and answers in the OpenAPI document that FastAPI cannot derive itself."""

from __future__ import annotations

from typing import Any, Final

from semblante.server import answers

_BYTES: Final = {"type": "string", "format": "binary"}
_FILE: Final = {"schema": _BYTES}


def _file_or_form(form_field: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a request body: a plain file, or a form whose field `file` has the
    schema `form_field`."""
    form = {"schema": {"type": "object", "required": ["file"], "properties": {"file": form_field}}}
    content = {"multipart/form-data": form, "application/octet-stream": _FILE}
    return {"requestBody": {"required": True, "content": content}}


FILE_BODY: Final = _file_or_form(_BYTES)
FILES_BODY: Final = _file_or_form({"type": "array", "items": _BYTES})
TEXT_ANSWER: Final = {
    "description": "text",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
JPEG_ANSWER: Final = {"description": "the annotated copy", "content": {"image/jpeg": _FILE}}
ROWS_ANSWER: Final = {
    "description": "JSON lines, each of which is an Analysis",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of a call's error answers with these statuses."""
    later = {"schema": {"type": "integer"}, "description": "seconds to wait before trying again"}
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": answers.Error, "description": "see `error`"} for status in statuses
    }
    if 503 in found:
        found[503]["headers"] = {"Retry-After": later}
    return found
