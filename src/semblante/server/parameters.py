"""Check the query parameters of a request (`?lang=es`), so that misspelt ones are noticed."""

from __future__ import annotations

from fastapi import HTTPException, Request


async def only_known_parameters(request: Request) -> None:
    """Raise 400 for a parameter that the route does not have, or that is given twice. To be used as
    a FastAPI dependency."""
    known = [one.alias for one in request.scope["route"].dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise HTTPException(
                400, f"unknown parameter {name[:50]!r}; known: {', '.join(known) or 'none'}"
            )
        if given.count(name) > 1:
            raise HTTPException(400, f"the parameter {name} is given twice")
