"""The parameters of a call's address (`?lang=es`): none that is misspelt goes unnoticed."""

from __future__ import annotations

from fastapi import Request

from semblante.server.body import refusal


async def only_known_parameters(request: Request) -> None:
    """Raises 400 for a parameter that the call does not know, or that is given twice; for
    `Depends`."""
    known = [one.alias for one in request.scope["route"].dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise refusal(
                400, f"unknown parameter {name[:50]!r}; known: {', '.join(known) or 'none'}"
            )
        if given.count(name) > 1:
            raise refusal(400, f"the parameter {name} is there twice")
