"""Authorization: the scopes that endpoints require of the authenticated caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.domain.callers import Caller, Scope
from app.domain.errors import Forbidden, Unauthenticated
from app.http.authentication import HEADER_NAME

HEADER = APIKeyHeader(
    name=HEADER_NAME,
    auto_error=False,
    description="A key created with `python -m app keys create NAME --scope SCOPE`. While no key exists, the "
    "service answers its own machine only, and no key is needed.",
)


BEARER = HTTPBearer(
    auto_error=False, description="The same key, for clients that send keys in the standard header."
)


def allow(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that requires `scope` and returns the caller."""

    async def authorize(
        request: Request,
        _: Annotated[str | None, Security(HEADER)] = None,
        __: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)] = None,
    ) -> Caller:
        caller = request.scope.get("state", {}).get("caller")
        if not isinstance(caller, Caller):  # the middleware has authenticated every request
            raise Unauthenticated(f"The header {HEADER_NAME} is missing.")
        if not caller.may(scope):
            raise Forbidden(f"Key {caller.name!r} lacks the scope {scope!r} that this call needs.")
        return caller

    return authorize


Enrolling = Annotated[Caller, Depends(allow("enrol"))]
Verifying = Annotated[Caller, Depends(allow("verify"))]
Reading = Annotated[Caller, Depends(allow("read"))]
Administering = Annotated[Caller, Depends(allow("admin"))]


async def _operate(request: Request, caller: Reading) -> Caller:
    operators = request.app.state.settings.operator_tenant
    if caller.tenant_id != operators:
        raise Forbidden(
            "Metrics count the requests of all tenants and need a key of the operator's tenant "
            "(COUNTERSIGN_OPERATOR_TENANT)."
        )
    return caller


Operating = Annotated[Caller, Depends(_operate)]
