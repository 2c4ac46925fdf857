"""Records of accounts: versions of their mandates, and verifications of documents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from app.domain.assignment import Decision
from app.domain.audit_chain import canonical
from app.domain.errors import PreconditionFailed, PreconditionRequired
from app.domain.mandate_form import Mandate
from app.domain.records import Verification


@dataclass(frozen=True)
class AccountVersion:
    """A version of an account.

    Attributes
    ----------
    version : int
        Counted from 1.
    version_id : str
        Unique also among accounts that are deleted and created again; the entity tag of the account.
    signer_keys : mapping
        Internal key of each signatory by signer id; None when the signer has been erased. A signer who is enrolled
        later under the same id has another key, and is not a signatory.
    """

    account_key: str
    account_id: str
    version: int
    version_id: str
    created_at: datetime
    mandate: Mandate
    signer_keys: Mapping[str, str | None]


@dataclass(frozen=True)
class AccountSummary:
    """The latest version of an account in a listing."""

    account_id: str
    version: int
    version_id: str
    created_at: datetime
    signatories: int


@dataclass(frozen=True)
class Document:
    """What a document says beside its signatures.

    Attributes
    ----------
    signed_on : date
    amount : Decimal
    currency : str or None
        ISO 4217; None: the currency of the account. A stored decision states that one; None there: neither has one.
    """

    signed_on: date
    amount: Decimal
    currency: str | None


@dataclass(frozen=True)
class AccountVerification:
    """A stored decision on a document.

    Attributes
    ----------
    version, version_id
        The version of the account that was applied.
    basis : dict
        The reasons, the band, the rules, the signatories, and the evidence of each signature; JSON values.
    verifications : mapping
        The verifications of the signatures, by id.
    """

    account_verification_id: str
    account_id: str
    version: int
    version_id: str
    created_at: datetime
    document: Document
    decision: Decision
    model_version: str
    basis: dict[str, Any]
    verifications: Mapping[str, Verification]
    outcome: str | None = None
    outcome_note: str | None = None
    outcome_at: datetime | None = None


@dataclass(frozen=True)
class Precondition:
    """The state of an account that a change expects (RFC 9110, section 13).

    Attributes
    ----------
    tag : str or None
        ``If-Match``: the `version_id` that the account has to have, or ``*``: any.
    is_new : bool
        ``If-None-Match: *``: the account must not exist.
    """

    tag: str | None = None
    is_new: bool = False

    def check(self, account_id: str, version_id: str | None, *, is_required: bool) -> None:
        """Check the precondition against the account's `version_id`; None: there is no such account.

        Raises
        ------
        PreconditionFailed
        PreconditionRequired
            There is no precondition, the account exists, and `is_required`.
        """
        if self.is_new and version_id is not None:
            raise PreconditionFailed(f"Account {account_id!r} exists already; nothing was changed.")
        if self.tag is not None and (version_id is None or self.tag not in {"*", version_id}):
            state = "does not exist" if version_id is None else f'is at "{version_id}"'
            raise PreconditionFailed(
                f"Account {account_id!r} {state}; nothing was changed. Read it again, and repeat the change on what "
                "it holds now."
            )
        if is_required and version_id is not None and self.tag is None:
            raise PreconditionRequired(
                f"Account {account_id!r} exists; send its ETag as If-Match, so that nobody else's change is lost."
            )


def mandate_sha256(mandate: Mandate) -> str:
    """Return the SHA-256 of a mandate as canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical(mandate.model_dump(mode="json")).encode()).hexdigest()
