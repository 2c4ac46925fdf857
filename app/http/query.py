"""Query parameters: those that an endpoint does not have, or has once, are refused instead of being ignored."""

from __future__ import annotations

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from app.domain.errors import MalformedRequest
from app.http.bodies import is_list


async def refuse_unknown_query(request: Request) -> None:
    """Raise MalformedRequest for a query parameter that the endpoint does not have; a dependency of all routers.

    Also for one that comes several times and takes one value: all but the last would be ignored.
    """
    if not request.query_params:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)  # noqa: S101 - dependencies belong to such routes only  # nosec B101
    takes_several = {
        field.alias: is_list(field.field_info.annotation)
        for field in get_flat_params(route.dependant)
        if isinstance(field.field_info, params.Query)
    }
    known = sorted(takes_several)
    for name in request.query_params:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise MalformedRequest(f"The endpoint has no query parameter {name!r}; {has}.")
        if not takes_several[name] and (count := len(request.query_params.getlist(name))) > 1:
            raise MalformedRequest(f"The query parameter {name!r} came {count} times; send it once.")
