"""``/accounts/{account_id}/verify``: decisions on documents with several signatures, and their record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile

from app.api.account_parameters import (
    AccountPath,
    AccountVerificationPath,
    AmountField,
    CurrencyField,
    DateField,
)
from app.api.account_schemas import AccountVerificationOut, AccountVerificationsPage
from app.api.cursors import Listing
from app.api.dependencies import (
    COMMON_PROBLEMS,
    UPLOAD_PROBLEMS,
    Cursor,
    IdempotencyKey,
    Limit,
    PageField,
    RegionsField,
    RunningContext,
    read_uploads,
)
from app.api.schemas import OutcomeIn
from app.api.verification_parameters import Wanted
from app.decoding.formats import FORMAT_NAMES
from app.domain.accounts import Document
from app.domain.mandate_form import amount_text
from app.http.authorization import Reading, Verifying
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services import accounts, outcomes
from app.services.account_verification import verify_account
from app.services.idempotency import make_account_request

router = APIRouter(prefix="/accounts/{account_id}", tags=["accounts"], route_class=ImageRoute)


@router.post(
    "/verify",
    summary="Verify the signatures of a document",
    response_model=AccountVerificationOut,
    responses=documented(
        *COMMON_PROBLEMS,
        *UPLOAD_PROBLEMS,
        "too-many-files",
        "duplicate-signature",
        "account-not-found",
        "mandate-not-in-force",
        "currency-mismatch",
        "unsupported-rate",
        "model-version-mismatch",
        "signer-erased",
        "idempotency-conflict",
    ),
)
async def post_account_verify(
    context: RunningContext,
    caller: Verifying,
    account_id: AccountPath,
    signatures: Annotated[
        list[UploadFile],
        File(
            min_length=1,
            description="Images of the questioned signatures of the document: crops of one signature each, or pages, "
            f"on which all signatures are found. {FORMAT_NAMES}.",
        ),
    ],
    amount: AmountField,
    signed_on: DateField = None,
    currency: CurrencyField = None,
    page: PageField = 0,
    region: RegionsField = None,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    r"""Compare each signature with all signatories of an account, apply the rules for the amount, and decide.

    Each signature is assigned to another signatory, by the best total evidence, and verified as by `/verify`. The
    decision and the verifications are stored. Requires the scope `verify`.

    ```sh
    curl -F amount=2500 -F signatures=@demo/writer-001/genuine/06.png \
         http://127.0.0.1:8000/accounts/acme/verify
    ```
    """
    uploads = await read_uploads(signatures, "signatures", page, region)
    # The date as it was sent: a repetition after midnight is the same request.
    content = (amount_text(amount), str(signed_on or ""), currency or "")
    request = await make_account_request(
        caller.tenant_id, idempotency_key, "verify-account", account_id, content, uploads
    )
    return await verify_account(
        context,
        caller.tenant_id,
        account_id,
        Document(signed_on or datetime.now(UTC).date(), amount, currency),
        uploads,
        lambda verified: AccountVerificationOut.of(verified).model_dump(mode="json"),
        request,
    )


@router.get(
    "/verifications",
    summary="List the verifications of an account",
    response_model=AccountVerificationsPage,
    responses=documented(*COMMON_PROBLEMS, "invalid-cursor"),
)
async def list_account_verifications(
    context: RunningContext,
    caller: Reading,
    account_id: AccountPath,
    wanted: Wanted,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AccountVerificationsPage:
    """List the decisions on documents of an account, newest first; also those of a deleted account.

    With `decision`, `outcome`, `created_from` or `created_before`, those that fit all of them. A cursor belongs to
    the parameters of its page; only `limit` may change. Requires the scope `read`.

    ```sh
    curl 'http://127.0.0.1:8000/accounts/acme/verifications?decision=review'
    ```
    """
    listing = Listing("account verifications", account_id, wanted)
    page = await accounts.list_verifications(
        context.store, caller.tenant_id, account_id, limit, listing.decode(cursor), wanted
    )
    return AccountVerificationsPage(
        verifications=[AccountVerificationOut.of(item) for item in page.items],
        next_cursor=listing.encode(page.next_after),
    )


@router.get(
    "/verifications/{account_verification_id}",
    summary="Show a verification of an account",
    response_model=AccountVerificationOut,
    responses=documented(*COMMON_PROBLEMS, "verification-not-found"),
)
async def get_account_verification(
    context: RunningContext,
    caller: Reading,
    account_id: AccountPath,
    account_verification_id: AccountVerificationPath,
) -> AccountVerificationOut:
    """Return a stored decision on a document, with its reasons and its evidence. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/accounts/acme/verifications/ACCOUNT_VERIFICATION_ID
    ```
    """
    return AccountVerificationOut.of(
        await accounts.get_verification(context.store, caller.tenant_id, account_id, account_verification_id)
    )


@router.put(
    "/verifications/{account_verification_id}/outcome",
    summary="Record the outcome of a document",
    response_model=AccountVerificationOut,
    responses=documented(*COMMON_PROBLEMS, "verification-not-found"),
)
async def put_account_outcome(
    context: RunningContext,
    caller: Verifying,
    account_id: AccountPath,
    account_verification_id: AccountVerificationPath,
    outcome: OutcomeIn,
) -> AccountVerificationOut:
    r"""Record the outcome of a document; it replaces an earlier outcome. Requires the scope `verify`.

    It is also recorded for the verifications of the signatures, except `forged` for a document with several: record
    for each of these at `/verifications/{verification_id}/outcome` what it is.

    ```sh
    curl -X PUT -H 'Content-Type: application/json' -d '{"outcome": "genuine"}' \
         http://127.0.0.1:8000/accounts/acme/verifications/ACCOUNT_VERIFICATION_ID/outcome
    ```
    """
    recorded = await outcomes.record_account_outcome(
        context, caller.tenant_id, account_id, account_verification_id, outcome.outcome, outcome.note
    )
    return AccountVerificationOut.of(recorded)
