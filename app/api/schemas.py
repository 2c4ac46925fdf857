"""Request and response schemas, with the examples of the documentation page. Records are in `app.domain.records`."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.decoding.pool import PageReading
from app.domain.caller_ids import MAX_LENGTH, signer_id
from app.domain.ids import record_id
from app.domain.records import Finding, Reference, ResultWarning, Signer, Verification
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
            "description": f"Id of the signer, chosen by the client: 1 to {MAX_LENGTH} printable characters, "
            "normalised to Unicode NFC. Percent-encode it in paths.",
        }
    ),
]
SignerPath = Annotated[
    SignerId,
    BeforeValidator(decoded_segment),
    Path(description="Id of the signer, percent-encoded.", examples=["writer-001"]),
]
RecordId = Annotated[str, AfterValidator(record_id)]
"""An id that the service made, in lower or upper case."""
SIGNIFICANT_DIGITS = 6


def _rounded(value: Any) -> Any:
    """Round every float in JSON data to :data:`SIGNIFICANT_DIGITS`."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


# Not used for verdicts. `model.decision.verdict.judge` rounds their numbers before it compares them; rounding a
# stored distance or threshold again could contradict the decision.
Rounded = Annotated[dict[str, Any], AfterValidator(_rounded)]
Outcome = Literal["genuine", "forged", "undetermined"]
EXAMPLE_ID = "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071"
EXAMPLE_TIME = "2026-01-15T09:30:00Z"


class Out(BaseModel):
    """Base of the schemas of responses."""

    model_config = ConfigDict(extra="forbid")


class WarningOut(Out):
    """A warning about a result or a reference."""

    code: str = Field(description="Stable identifier of the warning.", examples=["single-reference"])
    detail: str = Field(description="Explanation for a reader.")

    @classmethod
    def of(cls, warnings: tuple[ResultWarning, ...]) -> list[WarningOut]:
        """Convert warnings, without repetitions."""
        return [cls(code=warning.code, detail=warning.detail) for warning in dict.fromkeys(warnings)]


class OperatingPointOut(Out):
    """Error rates in [0, 1] at the applied threshold, measured on signers the model was not trained on."""

    far_skilled: float | None = Field(
        description="Share of skilled forgeries that are accepted.", examples=[0.05]
    )
    far_random: float | None = Field(
        description="Share of random forgeries (genuine signatures of other signers) that are accepted.",
        examples=[0.004],
    )
    frr: float | None = Field(
        description="Share of genuine signatures that are not accepted.", examples=[0.21]
    )


class ReferenceDistanceOut(Out):
    """Distance of the questioned signature to one reference."""

    reference_id: str = Field(examples=[EXAMPLE_ID])
    distance: float = Field(examples=[0.61])


class VerdictOut(Out):
    """Result of comparing a questioned signature with a set of references."""

    decision: Literal["accept", "review", "reject"] = Field(
        description="`accept` if `distance <= threshold`; else `review` if there is a `review_threshold` and "
        "`distance <= review_threshold`; else `reject`. `review` in any case when there is the warning "
        "`resembles-known-forgery`.",
        examples=["accept"],
    )
    distance: float = Field(
        description="Distance of the questioned signature to the set of references; larger means less similar.",
        examples=[0.64],
    )
    threshold: float = Field(
        description="Largest distance that is accepted for this signer. It is derived from `target_far` and the "
        "spread of the references, unless a `fixed_threshold` applies.",
        examples=[0.77],
    )
    review_threshold: float | None = Field(
        description="Largest distance for the decision `review`; null when there is no review.",
        examples=[0.86],
    )
    log_likelihood_ratio: float = Field(
        description="log10 of the likelihood ratio of the distances, P(distances | genuine) / "
        "P(distances | skilled forgery). Positive values support a genuine signature.",
        examples=[0.9],
    )
    operating_point: OperatingPointOut
    region: list[int] | None = Field(
        description="Left, top, right and bottom of the part of the page that was compared, in pixels; null when the "
        "image was compared as a whole.",
        examples=[None],
    )
    references: list[ReferenceDistanceOut] = Field(
        description="Distance to each reference, by `reference_id`, in the order of enrolment."
    )
    warnings: list[WarningOut]
    model_version: str = Field(
        description="Name and hash of the weights.", examples=["countersign-6@0a1b2c3d4e5f"]
    )
    created_at: datetime = Field(description="Time of the decision, in UTC.", examples=[EXAMPLE_TIME])


class RateBandOut(Out):
    """The band of amounts by which the service has chosen `target_far`."""

    number: int = Field(description="Counted from 1, by increasing amount.", examples=[1])
    up_to: str | None = Field(
        description="Largest amount of the band; null in the last one.", examples=["10000"]
    )
    target_far: float | None = Field(
        description="Share of skilled forgeries that chose the threshold: the band's, or the signer's own where it "
        "is lower; null: the signer has a `fixed_threshold`.",
        examples=[0.1],
    )


class VerificationOut(VerdictOut):
    """A stored verdict."""

    verification_id: str = Field(examples=[EXAMPLE_ID])
    signer_id: str = Field(examples=["writer-001"])
    amount: str | None = Field(
        description="Amount of the document; null when none was sent.", examples=["2500"]
    )
    currency: str | None = Field(description="Currency code, ISO 4217.", examples=["EUR"])
    band: RateBandOut | None = Field(
        description="Band of the setting `target_far_bands`, without an amount the last one; null without bands, "
        "and for accounts, which have bands of their own.",
        examples=[None],
    )

    @classmethod
    def of(cls, verification: Verification) -> VerificationOut:
        """Convert a verification to the response of `/verify`."""
        return cls(
            verification_id=verification.verification_id,
            signer_id=verification.signer_id,
            **_document(verification),
            **_verdict(verification.finding),
        )


class VerificationRecord(VerificationOut):
    """A verification with the inputs of its decision, and the outcome of its case."""

    questioned_sha256: str = Field(description="SHA-256 of the questioned image as uploaded, hexadecimal.")
    basis: dict[str, Any] = Field(
        description="Inputs of the decision: policy, calibration, spread, distances among the references, quality of "
        "the questioned image."
    )
    outcome: Outcome | None = Field(
        default=None, description="Recorded outcome of the case; null before one is recorded."
    )
    outcome_note: str | None = Field(default=None, description="Note that was sent with the outcome.")
    outcome_at: datetime | None = Field(
        default=None, description="Time at which the outcome was recorded, in UTC."
    )
    known_forgery: bool = Field(
        default=False, description="Whether later questioned signatures of the signer are compared with it."
    )

    @classmethod
    def of(cls, verification: Verification) -> VerificationRecord:
        """Convert a stored verification, with all its fields."""
        return cls.model_validate(
            {
                "verification_id": verification.verification_id,
                "signer_id": verification.signer_id,
                **_document(verification),
                **_verdict(verification.finding),
                "questioned_sha256": verification.questioned_sha256,
                "basis": verification.basis,
                "outcome": verification.outcome,
                "outcome_note": verification.outcome_note,
                "outcome_at": verification.outcome_at,
                "known_forgery": verification.is_known_forgery,
            }
        )


class OutcomeIn(BaseModel):
    """The outcome of a case."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"outcome": "forged", "note": "customer denies it"}]}
    )

    outcome: Outcome = Field(
        description="What the questioned signature was found to be; `undetermined` if the case remained open."
    )
    note: str | None = Field(
        default=None,
        max_length=1000,
        description="Free text. It is stored unencrypted and returned with the verification.",
    )


class FoundSignatureOut(Out):
    """A handwritten signature on a page."""

    region: list[int] = Field(
        description="Left, top, right and bottom in pixels of the page; right and bottom are the first pixels "
        "outside.",
        examples=[[1040, 520, 1410, 655]],
    )
    confidence: float = Field(description="Confidence that it is a signature, in [0, 1].", examples=[0.94])
    image: str | None = Field(
        default=None,
        description="The signature alone on white paper: a PNG image in base64; null unless `crops` was set.",
        examples=[None],
    )


class ExtractionOut(Out):
    """The handwritten signatures on a page."""

    width: int = Field(description="Width of the page in pixels.", examples=[1654])
    height: int = Field(description="Height of the page in pixels.", examples=[709])
    pages: int = Field(description="Number of pages of the file.", examples=[1])
    turned: int = Field(
        description="Degrees, counter-clockwise, by which the page was turned to find its signatures: 0, 90, 180 or "
        "270. Images of signatures are turned; regions are in pixels of the page as it was sent, and can be sent "
        "back as they are.",
        examples=[0],
    )
    signatures: list[FoundSignatureOut] = Field(description="The most prominent signature first.")

    @classmethod
    def of(cls, reading: PageReading, *, crops: bool) -> ExtractionOut:
        """Convert the signatures of a page, with or without their images."""
        return cls(
            width=reading.width,
            height=reading.height,
            pages=reading.pages,
            turned=reading.turned,
            signatures=[
                FoundSignatureOut(
                    region=list(found.box),
                    confidence=found.confidence,
                    image=base64.b64encode(found.image).decode() if crops else None,
                )
                for found in reading.signatures
            ],
        )


class SignerOut(Out):
    """An enrolled signer."""

    signer_id: str = Field(examples=["writer-001"])
    references: int = Field(description="Number of references.", examples=[3])
    target_far: float | None = Field(
        description="Share of skilled forgeries that may be accepted for this signer; null: the setting of the "
        "service applies.",
        examples=[None],
    )
    fixed_threshold: float | None = Field(
        description="Largest distance that is accepted for this signer, instead of `target_far`; null: none is set "
        "for this signer.",
        examples=[None],
    )
    created_at: datetime = Field(description="Time of the first enrolment, in UTC.", examples=[EXAMPLE_TIME])

    @classmethod
    def of(cls, signer: Signer) -> SignerOut:
        """Convert a signer."""
        return cls(
            signer_id=signer.signer_id,
            references=signer.references,
            target_far=signer.target_far,
            fixed_threshold=signer.fixed_threshold,
            created_at=signer.created_at,
        )


class SignerPolicyIn(BaseModel):
    """Changes to the policy of a signer. null removes a value; omitted fields do not change."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"target_far": 0.05}]})

    target_far: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        strict=True,
        description="Share of skilled forgeries that may be accepted for this signer, within "
        "`calibration.far_range` of `/model`. It takes precedence over both settings of the service.",
    )
    fixed_threshold: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        strict=True,
        description="Largest distance that is accepted for this signer, at most `calibration.largest_threshold` of "
        "`/model`. It takes precedence over any `target_far`.",
    )


class ReferenceOut(Out):
    """A reference: a genuine signature of a signer."""

    reference_id: str = Field(examples=[EXAMPLE_ID])
    signer_id: str = Field(examples=["writer-001"])
    media_type: str = Field(description="Media type of the uploaded image.", examples=["image/png"])
    size: int = Field(description="Size of the uploaded image in bytes.", examples=[18233])
    page: int = Field(description="Page that was read, counted from 0.", examples=[0])
    sha256: str = Field(description="SHA-256 of the uploaded image, hexadecimal.")
    quality: dict[str, Any] = Field(
        description="Measurements of the writing on the image, such as its size in pixels and its contrast."
    )
    warnings: list[WarningOut]
    model_version: str = Field(
        description="Name and hash of the weights of its latest template.",
        examples=["countersign-6@0a1b2c3d4e5f"],
    )
    created_at: datetime = Field(description="Time of enrolment, in UTC.", examples=[EXAMPLE_TIME])

    @classmethod
    def of(cls, reference: Reference) -> ReferenceOut:
        """Convert a reference."""
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


class EnrolledOut(Out):
    """The references that a request added."""

    signer_id: str = Field(examples=["writer-001"])
    references: list[ReferenceOut]


class CandidateOut(Out):
    """A signer, and the verdict that a verification against this signer would give."""

    signer_id: str = Field(examples=["writer-001"])
    decision: Literal["accept", "review", "reject"] = Field(examples=["accept"])
    distance: float = Field(examples=[0.64])
    threshold: float = Field(examples=[0.77])
    log_likelihood_ratio: float = Field(examples=[0.9])
    references: int = Field(description="Number of references of the signer.", examples=[3])


class IdentificationOut(Out):
    """The closest signers."""

    accepted: bool = Field(description="Whether the decision of the first candidate is `accept`.")
    candidates: list[CandidateOut] = Field(description="Closest first.")
    compared: int = Field(description="Number of signers that were compared.", examples=[5])
    warnings: list[WarningOut]
    model_version: str = Field(examples=["countersign-6@0a1b2c3d4e5f"])

    @classmethod
    def of(cls, found: Identification) -> IdentificationOut:
        """Convert an identification."""
        return cls(
            accepted=found.accepted,
            candidates=[CandidateOut(**vars(candidate)) for candidate in found.candidates],
            compared=found.compared,
            warnings=WarningOut.of(found.warnings),
            model_version=found.model_version,
        )


class SignersPage(Out):
    """One page of signers. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    signers: list[SignerOut]
    next_cursor: str | None


class ReferencesPage(Out):
    """One page of references. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    references: list[ReferenceOut]
    next_cursor: str | None


class VerificationsPage(Out):
    """One page of verifications. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    verifications: list[VerificationRecord]
    next_cursor: str | None


class ModelOut(Out):
    """The weights in use, with their card, their calibration and its operating points."""

    version: str = Field(description="Name and hash of the weights.", examples=["countersign-6@0a1b2c3d4e5f"])
    device: str = Field(
        description="Device of this process, on which the network runs unless `COUNTERSIGN_INFERENCE` names another "
        "place.",
        examples=["cpu"],
    )
    precision: str = Field(
        description="Precision of the forward pass in this process: float32, bfloat16, float16 or int8.",
        examples=["float32"],
    )
    terms: Literal["research", "permissive"] = Field(
        description="Terms of the data that the weights were trained on."
    )
    calibration: Rounded = Field(
        description="Id, date and data of the calibration; `far_range`, the range of `target_far` that it supports, "
        "and `largest_threshold`, the maximum of `fixed_threshold`."
    )
    operating_points: list[dict[str, float | int]] = Field(
        description="Error rates in [0, 1] by number of references and `target_far`."
    )
    card: Rounded = Field(description="Model card of the weights.")


class HealthOut(Out):
    """Status of the process."""

    status: Literal["alive", "ready"]


def verdict_out(finding: Finding) -> VerdictOut:
    """Convert a finding that is not stored."""
    return VerdictOut(**_verdict(finding))


def _document(verification: Verification) -> dict[str, Any]:
    basis = verification.basis
    band = basis.get("band")
    if band is not None:
        # The basis of the decision holds the share of the band; the answer states the one that was applied.
        band = band | {"target_far": None if basis["fixed_threshold"] is not None else basis["target_far"]}
    return {"amount": None, "currency": None, "band": band} | verification.document


def _verdict(finding: Finding) -> dict[str, Any]:
    return {
        "decision": finding.decision,
        "distance": finding.distance,
        "threshold": finding.threshold,
        "review_threshold": finding.review_threshold,
        "log_likelihood_ratio": finding.log_likelihood_ratio,
        "operating_point": OperatingPointOut(**vars(finding.operating_point)),
        "region": None if finding.region is None else list(finding.region),
        "references": [
            ReferenceDistanceOut(reference_id=item.reference_id, distance=item.distance)
            for item in finding.references
        ],
        "warnings": WarningOut.of(finding.warnings),
        "model_version": finding.model_version,
        "created_at": finding.created_at,
    }
