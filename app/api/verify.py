"""``POST /verify``: verification of a questioned signature against an enrolled signer."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Form
from pydantic import BeforeValidator, WithJsonSchema

from app.api.account_parameters import CurrencyField
from app.api.dependencies import (
    COMMON_PROBLEMS,
    UPLOAD_PROBLEMS,
    IdempotencyKey,
    PageField,
    RegionField,
    RunningContext,
    SignatureFile,
    read_upload,
)
from app.api.schemas import SignerId, VerificationOut
from app.domain.amounts import Money
from app.domain.errors import MalformedRequest
from app.domain.mandate_form import AMOUNT_SCHEMA, amount_text
from app.domain.mandate_form import amount as checked_amount
from app.http.authorization import Verifying
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services.idempotency import make_idempotent_request
from app.services.verify import verify

router = APIRouter(tags=["verification"], route_class=ImageRoute)
AmountField = Annotated[
    Decimal | None,
    BeforeValidator(lambda value: None if value is None else checked_amount(value)),
    WithJsonSchema(AMOUNT_SCHEMA),
    Form(
        description="Amount of the document: it is stored, orders the cases of the review desk, and chooses "
        "`target_far` where the setting `target_far_bands` is set; without it, the strictest band applies.",
        examples=["2500"],
    ),
]


@router.post(
    "/verify",
    summary="Verify a questioned signature",
    response_model=VerificationOut,
    responses=documented(
        *COMMON_PROBLEMS,
        *UPLOAD_PROBLEMS,
        "signer-not-found",
        "too-few-references",
        "model-version-mismatch",
        "signer-erased",
        "currency-mismatch",
        "idempotency-conflict",
    ),
)
async def post_verify(
    context: RunningContext,
    caller: Verifying,
    signature: SignatureFile,
    signer_id: Annotated[
        SignerId, Form(description="Signer whose signature it is claimed to be.", examples=["writer-001"])
    ],
    page: PageField = 0,
    region: RegionField = "auto",
    amount: AmountField = None,
    currency: CurrencyField = None,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Compare a questioned signature with all references of a signer, decide, and store the verdict.

    The decision is `accept` when `distance <= threshold`. The threshold is the one at which the share `target_far` of
    skilled forgeries was accepted in the calibration data, raised by the spread of the signer's references; a
    `fixed_threshold` replaces it. Where the setting `target_far_bands` is set, the `amount` chooses `target_far`;
    the strictest band applies without one. Requires the scope `verify`.

    ```sh
    curl -F signer_id=writer-001 -F signature=@demo/writer-001/genuine/04.png http://127.0.0.1:8000/verify
    ```
    """
    upload = await read_upload(signature, "signature", page=page, region=region)
    if amount is None and currency is not None:
        raise MalformedRequest("There is a `currency` without an `amount`; send both.")
    money = None if amount is None else Money(amount, currency)
    # Without an amount, as in earlier releases.
    content = () if money is None else (amount_text(money.value), currency or "")
    request = await make_idempotent_request(
        caller.tenant_id, idempotency_key, "verify", signer_id, [upload], content
    )
    return await verify(
        context,
        caller.tenant_id,
        signer_id,
        upload,
        lambda v: VerificationOut.of(v).model_dump(mode="json"),
        request,
        money,
    )
