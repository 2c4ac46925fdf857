"""Request and response schemas, with the examples of the documentation page. Records are in `app.domain.records`."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.domain.errors import InvalidCursor
from app.domain.records import Finding, Reference, ResultWarning, Signer, Verification
from app.domain.signer_ids import MAX_LENGTH, is_printable, signer_id
from app.http.paths import decoded_segment
from app.services.identify import Identification

SignerId = Annotated[
    str,
    AfterValidator(signer_id),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_LENGTH,
            "format": "signer-id",
            "description": f"Yours: 1 to {MAX_LENGTH} printable characters, normalised to NFC; percent-encoded "
            "in a path.",
        }
    ),
]
SignerPath = Annotated[
    SignerId,
    BeforeValidator(decoded_segment),
    Path(description="The caller's id of the signer, percent-encoded.", examples=["writer-001"]),
]
SIGNIFICANT_DIGITS = 6


def _short(value: Any) -> Any:
    """Every float within JSON data to :data:`SIGNIFICANT_DIGITS`."""
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_short(one) for one in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


# Not for verdicts: their numbers are rounded before they are compared, stored and signed
# (`model.decision.verdict.judge`), and rounding those of a verdict on record once more could contradict its decision.
Short = Annotated[dict[str, Any], AfterValidator(_short)]
Outcome = Literal["genuine", "forged", "undetermined"]
_EXAMPLE_ID = "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071"
_EXAMPLE_TIME = "2026-01-15T09:30:00Z"


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WarningOut(_Out):
    """Something to know about a result."""

    code: str = Field(examples=["single-reference"])
    detail: str

    @classmethod
    def of(cls, warnings: tuple[ResultWarning, ...]) -> list[WarningOut]:
        """Render notes, each code once."""
        return [cls(code=n.code, detail=n.detail) for n in dict.fromkeys(notes)]


class OperatingPointOut(_Out):
    """Error rates at the applied threshold, measured on people the model never saw; shares in [0, 1]."""

    far_skilled: float | None = Field(description="Skilled forgeries accepted.", examples=[0.05])
    far_random: float | None = Field(description="Other people's signatures accepted.", examples=[0.004])
    frr: float | None = Field(description="Genuine signatures not accepted.", examples=[0.21])


class ReferenceDistanceOut(_Out):
    """How far the questioned signature is from one reference."""

    reference_id: str = Field(examples=[_EXAMPLE_ID])
    distance: float = Field(examples=[0.61])


class VerdictOut(_Out):
    """What the comparison says: `accept` when `distance <= threshold`."""

    decision: Literal["accept", "review", "reject"] = Field(examples=["accept"])
    distance: float = Field(description="Grows with difference.", examples=[0.64])
    threshold: float = Field(
        description="This signer's; widened by how much their references vary.", examples=[0.77]
    )
    review_threshold: float | None = Field(
        description="Up to here the decision is `review`.", examples=[0.86]
    )
    log_likelihood_ratio: float = Field(
        description="log10 of how much more likely the distances are if genuine than if a skilled forgery.",
        examples=[0.9],
    )
    operating_point: OperatingPointOut
    references: list[ReferenceDistanceOut]
    warnings: list[WarningOut]
    model_version: str = Field(examples=["countersign-3@0a1b2c3d4e5f"])
    created_at: datetime = Field(examples=[_EXAMPLE_TIME])


class VerificationOut(VerdictOut):
    """A verdict on record."""

    verification_id: str = Field(examples=[_EXAMPLE_ID])
    signer_id: str = Field(examples=["writer-001"])

    @classmethod
    def of(cls, verification: Verification) -> VerificationOut:
        """Render a verification."""
        return cls(
            verification_id=verification.verification_id,
            signer_id=verification.signer_id,
            **_verdict(verification.finding),
        )


class VerificationRecord(VerificationOut):
    """A verification with what explains it, and what the case turned out to be."""

    questioned_sha256: str = Field(description="SHA-256 of the questioned image as uploaded.")
    basis: dict[str, Any] = Field(
        description="Policy, calibration, spread and quality that the verdict rests on."
    )
    outcome: Outcome | None = None
    outcome_note: str | None = None
    outcome_at: datetime | None = None

    @classmethod
    def of(cls, verification: Verification) -> VerificationRecord:
        """Render a verification in full."""
        return cls.model_validate(
            {
                "verification_id": verification.verification_id,
                "signer_id": verification.signer_id,
                **_verdict(verification.finding),
                "questioned_sha256": verification.questioned_sha256,
                "basis": verification.basis,
                "outcome": verification.outcome,
                "outcome_note": verification.outcome_note,
                "outcome_at": verification.outcome_at,
            }
        )


class OutcomeIn(BaseModel):
    """What a case turned out to be."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"outcome": "forged", "note": "customer denies it"}]}
    )

    outcome: Outcome
    note: str | None = Field(default=None, max_length=1000)


class SignerOut(_Out):
    """A person who is enrolled."""

    signer_id: str = Field(examples=["writer-001"])
    references: int = Field(examples=[3])
    target_far: float | None = Field(description="Their own; null: the service's.", examples=[None])
    fixed_threshold: float | None = Field(description="Their own; null: the service's.", examples=[None])
    created_at: datetime = Field(examples=[_EXAMPLE_TIME])

    @classmethod
    def of(cls, signer: Signer) -> SignerOut:
        """Render a signer."""
        return cls(
            signer_id=signer.signer_id,
            references=signer.references,
            target_far=signer.target_far,
            fixed_threshold=signer.fixed_threshold,
            created_at=signer.created_at,
        )


class SignerPolicyIn(BaseModel):
    """A policy of the signer's own; a null takes the service's again, what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"target_far": 0.05}]})

    target_far: float | None = Field(default=None, gt=0, lt=1, allow_inf_nan=False, strict=True)
    fixed_threshold: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)


class ReferenceOut(_Out):
    """A genuine specimen of a signer."""

    reference_id: str = Field(examples=[_EXAMPLE_ID])
    signer_id: str = Field(examples=["writer-001"])
    media_type: str = Field(examples=["image/png"])
    size: int = Field(description="Bytes.", examples=[18233])
    page: int = Field(examples=[0])
    sha256: str
    quality: dict[str, Any]
    warnings: list[WarningOut]
    model_version: str = Field(examples=["countersign-3@0a1b2c3d4e5f"])
    created_at: datetime = Field(examples=[_EXAMPLE_TIME])

    @classmethod
    def of(cls, reference: Reference) -> ReferenceOut:
        """Render a reference."""
        return cls(
            reference_id=reference.reference_id,
            signer_id=reference.signer_id,
            media_type=reference.media_type,
            size=reference.size,
            page=reference.page,
            sha256=reference.sha256,
            quality=reference.quality,
            warnings=WarningOut.of(reference.warnings),
            model_version=reference.model_version,
            created_at=reference.created_at,
        )


class EnrolledOut(_Out):
    """The references that a request added."""

    signer_id: str = Field(examples=["writer-001"])
    references: list[ReferenceOut]


class CandidateOut(_Out):
    """A signer, and what a verification against them would say."""

    signer_id: str = Field(examples=["writer-001"])
    decision: Literal["accept", "review", "reject"] = Field(examples=["accept"])
    distance: float = Field(examples=[0.64])
    threshold: float = Field(examples=[0.77])
    log_likelihood_ratio: float = Field(examples=[0.9])
    references: int = Field(examples=[3])


class IdentificationOut(_Out):
    """The nearest signers, best first."""

    accepted: bool = Field(description="Whether the first candidate passes their own threshold.")
    candidates: list[CandidateOut]
    compared: int = Field(description="Signers that were compared.", examples=[5])
    warnings: list[WarningOut]
    model_version: str = Field(examples=["countersign-3@0a1b2c3d4e5f"])

    @classmethod
    def of(cls, found: Identification) -> IdentificationOut:
        """Render an identification."""
        return cls(
            accepted=found.accepted,
            candidates=[CandidateOut(**vars(candidate)) for candidate in found.candidates],
            compared=found.compared,
            warnings=WarningOut.of(found.warnings),
            model_version=found.model_version,
        )


class SignersPage(_Out):
    """One page of signers; pass `next_cursor` as `cursor` for the next one, null is the last."""

    signers: list[SignerOut]
    next_cursor: str | None


class ReferencesPage(_Out):
    """One page of references; pass `next_cursor` as `cursor` for the next one, null is the last."""

    references: list[ReferenceOut]
    next_cursor: str | None


class VerificationsPage(_Out):
    """One page of verifications; pass `next_cursor` as `cursor` for the next one, null is the last."""

    verifications: list[VerificationRecord]
    next_cursor: str | None


class ModelOut(_Out):
    """What is running: the weights, their card, their calibration and its operating points."""

    version: str = Field(examples=["countersign-3@0a1b2c3d4e5f"])
    device: str = Field(examples=["cpu"])
    precision: str = Field(examples=["float32"])
    terms: Literal["research", "permissive"]
    calibration: Short
    operating_points: list[dict[str, float | int]]
    card: Short


class HealthOut(_Out):
    """Alive or ready."""

    status: Literal["alive", "ready"]


def verdict_out(finding: Finding) -> VerdictOut:
    """Render a finding that is not on record."""
    return VerdictOut(**_verdict(finding))


def cursor_of(after: str | None) -> str | None:
    """An opaque cursor for `after`."""
    return None if after is None else base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def after_of(cursor: str | None) -> str | None:
    """What a cursor stands for; raises InvalidCursor."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text or not is_printable(text) or cursor_of(text) != cursor:
        raise InvalidCursor("The cursor was not handed out by this listing; start again without one.")
    return text


def _verdict(finding: Finding) -> dict[str, Any]:
    return {
        "decision": finding.decision,
        "distance": finding.distance,
        "threshold": finding.threshold,
        "review_threshold": finding.review_threshold,
        "log_likelihood_ratio": finding.log_likelihood_ratio,
        "operating_point": OperatingPointOut(**vars(finding.operating_point)),
        "references": [
            ReferenceDistanceOut(reference_id=item.reference_id, distance=item.distance)
            for item in finding.references
        ],
        "warnings": WarningOut.of(finding.warnings),
        "model_version": finding.model_version,
        "created_at": finding.created_at,
    }
