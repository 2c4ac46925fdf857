"""``GET /signers/{signer_id}/quality``: what the references of a signer are worth, and what to add or remove."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from app.api.dependencies import COMMON_PROBLEMS, RunningContext
from app.api.schemas import EXAMPLE_ID, Out, SignerPath
from app.http.authorization import Reading
from app.http.problems import documented
from app.services.reference_quality import SignerQuality, describe_quality

router = APIRouter(prefix="/signers", tags=["signers"])


class QualityFindingOut(Out):
    """Something to know about the references of a signer."""

    code: Literal[
        "unlike-other-references",
        "two-variants",
        "duplicate-reference",
        "few-references",
        "much-variation",
        "little-variation",
        "one-sheet",
        "low-quality-reference",
    ] = Field(description="Stable identifier.", examples=["few-references"])
    detail: str = Field(description="What was seen.")
    advice: str = Field(description="What to do.")
    reference_ids: list[str] = Field(description="The references that it concerns; empty: all.")


class ReferenceQualityOut(Out):
    """One reference in its set."""

    reference_id: str = Field(examples=[EXAMPLE_ID])
    copy_of: str | None = Field(
        description="The earlier reference of which it is the same scan; null: it is a scan of its own.",
        examples=[None],
    )
    distance_to_others: float | None = Field(
        description="Mean distance to the other references that are scans of their own; null when there is none.",
        examples=[0.79],
    )


class SignerQualityOut(Out):
    """What the references of a signer are worth, and what to add or remove."""

    signer_id: str = Field(examples=["writer-001"])
    distinct: int = Field(
        description="Number of references that are not copies of earlier ones.", examples=[3]
    )
    spread: float | None = Field(
        description="Mean distance among these references; null with fewer than two.", examples=[0.78]
    )
    usual_spread: float = Field(
        description="Mean distance between two genuine signatures of one signer, over many signers.",
        examples=[0.8],
    )
    variation: Literal["unknown", "little", "usual", "much"] = Field(
        description="`spread` against `usual_spread`; unknown with fewer than three references.",
        examples=["usual"],
    )
    variants: list[list[str]] = Field(
        description="Two groups of reference ids that are clearly apart, the larger first; empty when there is one "
        "group.",
        examples=[[]],
    )
    frr: float | None = Field(
        description="Share of genuine signatures that are not accepted with as many references, by the calibration; "
        "null with a fixed threshold.",
        examples=[0.28],
    )
    frr_recommended: float | None = Field(
        description="The same with five references.",
        examples=[0.18],
    )
    references: list[ReferenceQualityOut] = Field(description="By `reference_id`.")
    findings: list[QualityFindingOut] = Field(
        description="The most serious first; empty when there is nothing to do."
    )
    model_version: str = Field(examples=["countersign-6@0a1b2c3d4e5f"])

    @classmethod
    def of(cls, quality: SignerQuality) -> SignerQualityOut:
        """Convert a description of references."""
        return cls(
            **{name: getattr(quality, name) for name in cls.model_fields if name not in _CONVERTED},
            variants=[list(group) for group in quality.variants],
            references=[ReferenceQualityOut(**vars(reference)) for reference in quality.references],
            findings=[
                QualityFindingOut.model_validate(
                    {**vars(finding), "reference_ids": list(finding.reference_ids)}
                )
                for finding in quality.findings
            ],
        )


_CONVERTED = {"variants", "references", "findings"}


@router.get(
    "/{signer_id}/quality",
    summary="Describe the quality of a signer's references",
    response_model=SignerQualityOut,
    responses=documented(*COMMON_PROBLEMS, "signer-not-found", "model-version-mismatch"),
)
async def get_quality(context: RunningContext, caller: Reading, signer_id: SignerPath) -> SignerQualityOut:
    """Say what the references of a signer are worth, and what to add or remove.

    Computed from the stored templates, with the distances that verifications use. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001/quality
    ```
    """
    return SignerQualityOut.of(await describe_quality(context, caller.tenant_id, signer_id))
