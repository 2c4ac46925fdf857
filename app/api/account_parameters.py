"""Parameters and headers of the endpoints of accounts."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import Form, Header, Path
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from app.api.schemas import RecordId
from app.domain.accounts import Precondition
from app.domain.caller_ids import MAX_LENGTH, account_id
from app.domain.ids import record_id
from app.domain.mandate_form import AMOUNT_SCHEMA, IsoDate, amount
from app.domain.validation import CURRENCY_PATTERN, ENTITY_TAG_PATTERN
from app.http.paths import decoded_segment

AccountPath = Annotated[
    str,
    BeforeValidator(decoded_segment),
    AfterValidator(account_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "format": "account-id"}),
    Path(
        description=f"Id of the account, chosen by the client: 1 to {MAX_LENGTH} printable characters, "
        "percent-encoded.",
        examples=["acme"],
    ),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        pattern=ENTITY_TAG_PATTERN,
        description="`ETag` of the account that the change is meant for, or `*`. If the account has changed since, "
        "the answer is 412 `precondition-failed`, and nothing is changed.",
    ),
]
IfNoneMatch = Annotated[
    Literal["*"] | None,
    Header(alias="If-None-Match", description="`*`: only create the account; do not change one that exists."),
]
AmountField = Annotated[
    Decimal,
    BeforeValidator(amount),
    WithJsonSchema(AMOUNT_SCHEMA),
    Form(description="Amount of the document, in the currency of the account.", examples=["2500"]),
]
DateField = Annotated[
    IsoDate | None,
    Form(alias="date", description="Day of the signatures, `YYYY-MM-DD`; by default today, in UTC."),
]
CurrencyField = Annotated[
    str | None,
    Form(
        pattern=CURRENCY_PATTERN,
        description="Currency of the amount, ISO 4217, to check it.",
        examples=["EUR"],
    ),
]
MAX_VERSION = 10**9
VersionPath = Annotated[int, Path(ge=1, le=MAX_VERSION, description="Number of the version.", examples=[1])]
AccountVerificationPath = Annotated[
    RecordId,
    Path(max_length=64, description="`account_verification_id` returned by `/accounts/{account_id}/verify`."),
]
ETAG_RESPONSE: dict[str, Any] = {
    "headers": {"ETag": {"schema": {"type": "string"}, "description": "For `If-Match` of the next change."}}
}


def make_precondition(if_match: str | None, if_none_match: str | None = None) -> Precondition:
    """Convert the headers of a conditional request."""
    return Precondition(if_match and record_id(if_match.strip('"')), if_none_match is not None)


def etag(version_id: str) -> str:
    """Return the entity tag of an account at a version."""
    return f'"{version_id}"'
