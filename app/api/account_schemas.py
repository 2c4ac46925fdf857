"""Schemas of accounts, and of the decisions on their documents. The mandate is in `app.domain.mandate_form`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.api.schemas import EXAMPLE_ID, EXAMPLE_TIME, Out, Outcome, VerificationOut
from app.domain.accounts import AccountSummary, AccountVerification, AccountVersion
from app.domain.mandate_form import IsoDate, Mandate, Signatory, amount_text


class AccountOut(Out):
    """A version of an account."""

    account_id: str = Field(examples=["acme"])
    version: int = Field(description="Number of the version, counted from 1.", examples=[1])
    version_id: str = Field(
        description="Id of the version; in quotation marks, it is the `ETag` of the account.",
        examples=[EXAMPLE_ID],
    )
    created_at: datetime = Field(description="Time of the change, in UTC.", examples=[EXAMPLE_TIME])
    mandate: Mandate
    erased: list[str] = Field(
        description="Signatories who have been erased since; they do not count, and the next version has to leave "
        "them out."
    )

    @classmethod
    def of(cls, account: AccountVersion) -> AccountOut:
        """Convert a version of an account."""
        return cls(
            account_id=account.account_id,
            version=account.version,
            version_id=account.version_id,
            created_at=account.created_at,
            mandate=account.mandate,
            erased=sorted(signer_id for signer_id, key in account.signer_keys.items() if key is None),
        )


class AccountSummaryOut(Out):
    """An account in a listing."""

    account_id: str = Field(examples=["acme"])
    version: int = Field(description="Number of the latest version.", examples=[1])
    version_id: str = Field(examples=[EXAMPLE_ID])
    created_at: datetime = Field(description="Time of the latest change, in UTC.", examples=[EXAMPLE_TIME])
    signatories: int = Field(description="Number of signatories.", examples=[2])

    @classmethod
    def of(cls, account: AccountSummary) -> AccountSummaryOut:
        """Convert a summary."""
        return cls(**vars(account))


class AccountsPage(Out):
    """One page of accounts. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    accounts: list[AccountSummaryOut]
    next_cursor: str | None


class VersionsPage(Out):
    """One page of versions. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    versions: list[AccountOut]
    next_cursor: str | None


class ReasonOut(Out):
    """A part of the reason of a decision."""

    code: Literal[
        "rule-held",
        "rule-open",
        "rule-failed",
        "no-band",
        "signature-in-review",
        "signature-rejected",
        "signature-unassigned",
        "always-refer",
        "over-limit",
        "not-compared",
    ]
    detail: str


class BandOut(Out):
    """The band that was applied."""

    number: int = Field(description="Number of the band in the mandate, counted from 1.", examples=[1])
    up_to: str | None = Field(examples=["10000"])
    target_far: float | None = Field(
        description="The band's share of skilled forgeries that may be accepted; null: the setting of the service. "
        "`evidence` states the share that was applied to each signatory.",
        examples=[0.1],
    )


class RequirementOut(Out):
    """A number of signatories whom a rule asks for."""

    panel: str | None = Field(description="null: of whatever panel.", examples=["A"])
    required: int = Field(examples=[1])
    counted: int = Field(description="Signatories whose signature counts.", examples=[1])
    possible: int = Field(
        description="Those who would count if all signatures in doubt were genuine.", examples=[1]
    )


class RuleOut(Out):
    """A rule of the band, and whether it holds."""

    number: int = Field(description="Number of the rule in the band, counted from 1.", examples=[1])
    text: str = Field(examples=["1 of panel A and 1 of panel B"])
    outcome: Literal["held", "open", "failed"] = Field(
        description="`open`: it would hold if all signatures in doubt were genuine."
    )
    requirements: list[RequirementOut]


class SignatoryOut(Signatory):
    """A signatory who is valid on the day of the document."""

    compared: bool = Field(description="False: there are too few references of this signer.")


class EvidenceOut(Out):
    """Comparison of a questioned signature with one signatory."""

    signer_id: str = Field(examples=["writer-001"])
    decision: Literal["accept", "review", "reject"] = Field(examples=["accept"])
    distance: float = Field(examples=[0.64])
    threshold: float = Field(examples=[0.77])
    review_threshold: float | None = Field(examples=[0.86])
    log_likelihood_ratio: float = Field(examples=[0.9])
    target_far: float = Field(
        description="Share of skilled forgeries that chose the threshold, unless there is a `fixed_threshold`.",
        examples=[0.1],
    )
    fixed_threshold: float | None = Field(examples=[None])


class QuestionedOut(Out):
    """A questioned signature of the document."""

    position: int = Field(description="Number of the file in `signatures`, counted from 1.", examples=[1])
    sha256: str = Field(description="SHA-256 of the uploaded image, hexadecimal.")
    signer_id: str | None = Field(
        description="The signatory to whom it was assigned; null: there are more signatures than signatories.",
        examples=["writer-001"],
    )
    status: Literal["accepted", "review", "rejected", "unassigned"] = Field(
        description="The decision against this signatory. A rejected signature was accepted for nobody."
    )
    counts: bool = Field(description="Whether it counts for the rules: accepted, and within the own limit.")
    verification: VerificationOut | None = Field(
        description="The stored verification of the signature, also at `/verifications/{verification_id}`."
    )
    evidence: list[EvidenceOut] = Field(
        description="Comparisons with all signatories, strongest evidence first."
    )


class AccountVerificationOut(Out):
    """A stored decision on a document."""

    account_verification_id: str = Field(examples=[EXAMPLE_ID])
    account_id: str = Field(examples=["acme"])
    version: int = Field(description="Version of the account that was applied.", examples=[1])
    version_id: str = Field(examples=[EXAMPLE_ID])
    date: IsoDate = Field(description="Day of the signatures.")
    amount: str = Field(examples=["2500"])
    currency: str | None = Field(
        description="Currency of the amount, that of the account where none was sent; null: the account has none.",
        examples=["EUR"],
    )
    decision: Literal["accept", "review", "reject"] = Field(
        description="`accept`: a rule holds, all signatures are accepted, and no signatory is always referred. "
        "`reject`: no rule holds, even if all signatures in doubt are genuine. Otherwise `review`.",
        examples=["accept"],
    )
    reason: str = Field(description="The reasons in one sentence.")
    reasons: list[ReasonOut] = Field(description="The first is about the rules.")
    band: BandOut | None = Field(description="null: the amount is above all bands.")
    rules: list[RuleOut] = Field(description="The rules of the band; one has to hold.")
    signatures: list[QuestionedOut]
    signatories: list[SignatoryOut] = Field(description="All who are valid on the day.")
    erased_signatories: int = Field(
        description="Number of further signatories, who have been erased.", examples=[0]
    )
    instruction: str | None = Field(description="Instruction for the clerk, from the mandate.")
    model_version: str = Field(examples=["countersign-6@0a1b2c3d4e5f"])
    created_at: datetime = Field(description="Time of the decision, in UTC.", examples=[EXAMPLE_TIME])
    outcome: Outcome | None = Field(
        default=None, description="Recorded outcome of the document; null before one is recorded."
    )
    outcome_note: str | None = Field(default=None, description="Note that was sent with the outcome.")
    outcome_at: datetime | None = Field(
        default=None, description="Time at which the outcome was recorded, in UTC."
    )

    @classmethod
    def of(cls, verified: AccountVerification) -> AccountVerificationOut:
        """Convert a stored decision."""
        basis = dict(verified.basis)
        signatures = []
        for item in basis.pop("signatures"):
            signature = dict(item)
            verification = verified.verifications.get(signature.pop("verification_id"))
            signature["verification"] = None if verification is None else VerificationOut.of(verification)
            signatures.append(signature)
        return cls.model_validate(
            {
                **basis,
                "account_verification_id": verified.account_verification_id,
                "account_id": verified.account_id,
                "version": verified.version,
                "version_id": verified.version_id,
                "date": verified.document.signed_on,
                "amount": amount_text(verified.document.amount),
                "currency": verified.document.currency,
                "decision": verified.decision,
                "signatures": signatures,
                "model_version": verified.model_version,
                "created_at": verified.created_at,
                "outcome": verified.outcome,
                "outcome_note": verified.outcome_note,
                "outcome_at": verified.outcome_at,
            }
        )


class AccountVerificationsPage(Out):
    """One page of decisions. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    verifications: list[AccountVerificationOut]
    next_cursor: str | None
