"""Query parameters: those that an endpoint does not have are refused, because a misspelt one would be ignored."""

from __future__ import annotations

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from app.domain.errors import MalformedRequest


async def refuse_unknown_query(request: Request) -> None:
    """Raise MalformedRequest for a query parameter that the endpoint does not have; a dependency of all routers."""
    route = request.scope["route"]
    assert isinstance(route, APIRoute)  # noqa: S101 - dependencies belong to such routes only  # nosec B101
    known = sorted(
        field.alias
        for field in get_flat_params(route.dependant)
        if isinstance(field.field_info, params.Query)
    )
    for name in request.query_params:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise MalformedRequest(f"The endpoint has no query parameter {name!r}; {has}.")
