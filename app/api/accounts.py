"""``/accounts``: accounts, the versions of their mandates, and their deletion."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.api.account_parameters import (
    ETAG_RESPONSE,
    MAX_VERSION,
    AccountPath,
    IfMatch,
    IfNoneMatch,
    VersionPath,
    etag,
    make_precondition,
)
from app.api.account_schemas import AccountOut, AccountsPage, AccountSummaryOut, VersionsPage
from app.api.cursors import Listing
from app.api.dependencies import COMMON_PROBLEMS, Cursor, IdempotencyKey, Limit, RunningContext
from app.domain.accounts import mandate_sha256
from app.domain.mandate_form import Mandate
from app.http.authorization import Enrolling, Reading
from app.http.json_bodies import JsonRoute
from app.http.problems import documented
from app.services import accounts
from app.services.idempotency import make_account_request

router = APIRouter(prefix="/accounts", tags=["accounts"], route_class=JsonRoute)


@router.get(
    "",
    summary="List accounts",
    response_model=AccountsPage,
    responses=documented(*COMMON_PROBLEMS, "invalid-cursor"),
)
async def list_accounts(
    context: RunningContext, caller: Reading, limit: Limit = 50, cursor: Cursor = None
) -> AccountsPage:
    """List the accounts, ordered by id. Requires the scope `read`.

    ```sh
    curl 'http://127.0.0.1:8000/accounts?limit=20'
    ```
    """
    listing = Listing("accounts")
    page = await accounts.list_accounts(context.store, caller.tenant_id, limit, listing.decode(cursor))
    return AccountsPage(
        accounts=[AccountSummaryOut.of(item) for item in page.items],
        next_cursor=listing.encode(page.next_after),
    )


@router.put(
    "/{account_id}",
    summary="Create or change an account",
    response_model=AccountOut,
    responses={
        200: {"description": "The account has this mandate.", **ETAG_RESPONSE},
        201: {
            "description": "The account was created and is at its first version.",
            "model": AccountOut,
            **ETAG_RESPONSE,
        },
        **documented(
            *COMMON_PROBLEMS,
            "signer-not-found",
            "unsupported-rate",
            "precondition-failed",
            "precondition-required",
            "idempotency-conflict",
        ),
    },
)
async def put_account(
    context: RunningContext,
    caller: Enrolling,
    account_id: AccountPath,
    mandate: Mandate,
    response: Response,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    r"""Create an account, or add a version to it.

    A change needs the account's `ETag` as `If-Match`, so that nobody else's change is lost. A repeated request makes
    no new version. Requires the scope `enrol`.

    ```sh
    curl -X PUT -H 'Content-Type: application/json' \
         -d '{"signatories": [{"signer_id": "writer-001"}], "bands": [{"rules": [{"signatures": 1}]}]}' \
         http://127.0.0.1:8000/accounts/acme
    ```
    """
    content = (mandate_sha256(mandate), if_match or "", if_none_match or "")
    request = await make_account_request(
        caller.tenant_id, idempotency_key, "put-account", account_id, content
    )
    answer = await accounts.put_account(
        context,
        caller.tenant_id,
        account_id,
        mandate,
        make_precondition(if_match, if_none_match),
        lambda account: AccountOut.of(account).model_dump(mode="json"),
        request,
    )
    response.headers["ETag"] = etag(answer["version_id"])
    response.status_code = 201 if answer["version"] == 1 else 200
    return answer


@router.get(
    "/{account_id}",
    summary="Show an account",
    response_model=AccountOut,
    responses={
        200: {"description": "The latest version.", **ETAG_RESPONSE},
        **documented(*COMMON_PROBLEMS, "account-not-found"),
    },
)
async def get_account(
    context: RunningContext, caller: Reading, account_id: AccountPath, response: Response
) -> AccountOut:
    """Return the latest version of an account. Requires the scope `read`.

    ```sh
    curl -i http://127.0.0.1:8000/accounts/acme
    ```
    """
    account = AccountOut.of(await accounts.get_account(context.store, caller.tenant_id, account_id))
    response.headers["ETag"] = etag(account.version_id)
    return account


@router.delete(
    "/{account_id}",
    summary="Delete an account",
    status_code=204,
    responses=documented(*COMMON_PROBLEMS, "precondition-failed", "idempotency-conflict"),
)
async def delete_account(
    context: RunningContext,
    caller: Enrolling,
    account_id: AccountPath,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Delete an account with all versions of its mandate. Verifications of its documents remain on record.

    The response is 204 also when the account does not exist. Requires the scope `enrol`.

    ```sh
    curl -X DELETE http://127.0.0.1:8000/accounts/acme
    ```
    """
    request = await make_account_request(
        caller.tenant_id, idempotency_key, "delete-account", account_id, (if_match or "",)
    )
    await accounts.delete_account(context, caller.tenant_id, account_id, make_precondition(if_match), request)
    return Response(status_code=204)


@router.get(
    "/{account_id}/versions",
    summary="List the versions of an account",
    response_model=VersionsPage,
    responses=documented(*COMMON_PROBLEMS, "account-not-found", "invalid-cursor"),
)
async def list_versions(
    context: RunningContext,
    caller: Reading,
    account_id: AccountPath,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> VersionsPage:
    """List all versions of an account, latest first. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/accounts/acme/versions
    ```
    """
    listing = Listing("versions", account_id)
    before = listing.decode_number(cursor, MAX_VERSION)
    page = await accounts.list_versions(context.store, caller.tenant_id, account_id, limit, before)
    return VersionsPage(
        versions=[AccountOut.of(item) for item in page.items], next_cursor=listing.encode(page.next_after)
    )


@router.get(
    "/{account_id}/versions/{version}",
    summary="Show a version of an account",
    response_model=AccountOut,
    responses=documented(*COMMON_PROBLEMS, "account-not-found", "account-version-not-found"),
)
async def get_version(
    context: RunningContext, caller: Reading, account_id: AccountPath, version: VersionPath
) -> AccountOut:
    """Return one version of an account, such as the one that a verification states. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/accounts/acme/versions/1
    ```
    """
    return AccountOut.of(await accounts.get_version(context.store, caller.tenant_id, account_id, version))
