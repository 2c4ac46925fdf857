"""Questioned signatures that become references: the proposals of a signer, and their acceptance."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from app.api.cursors import Listing
from app.api.dependencies import COMMON_PROBLEMS, UPLOAD_PROBLEMS, Cursor, Limit, RunningContext
from app.api.schemas import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    EnrolledOut,
    Out,
    ReferenceOut,
    SignerPath,
    WarningOut,
)
from app.api.verifications import VerificationPath
from app.domain.records import Reference, Verification
from app.http.authorization import Enrolling, Reading
from app.http.problems import documented
from app.services import proposals

router = APIRouter(tags=["signers"])


class ProposalOut(Out):
    """A questioned signature that may become a reference. `/verifications/{verification_id}/image` shows it."""

    verification_id: str = Field(examples=[EXAMPLE_ID])
    verified_at: datetime = Field(description="Time of the verification, in UTC.", examples=[EXAMPLE_TIME])
    decision: Literal["accept", "review", "reject"] = Field(examples=["accept"])
    distance: float = Field(
        description="Distance to the references at that time. A large one shows most of how the signer varies.",
        examples=[0.64],
    )
    threshold: float = Field(examples=[0.77])
    warnings: list[WarningOut] = Field(description="Those of the verification.")

    @classmethod
    def of(cls, verification: Verification) -> ProposalOut:
        """Convert a verification."""
        finding = verification.finding
        return cls.model_validate(
            {
                "verification_id": verification.verification_id,
                "verified_at": finding.created_at,
                "decision": finding.decision,
                "distance": finding.distance,
                "threshold": finding.threshold,
                "warnings": WarningOut.of(finding.warnings),
            }
        )


class ProposalsPage(Out):
    """One page of proposals. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    proposals: list[ProposalOut]
    next_cursor: str | None


@router.get(
    "/signers/{signer_id}/proposals",
    summary="List proposed references",
    response_model=ProposalsPage,
    responses=documented(*COMMON_PROBLEMS, "signer-not-found", "invalid-cursor"),
)
async def list_proposals(
    context: RunningContext, caller: Reading, signer_id: SignerPath, limit: Limit = 50, cursor: Cursor = None
) -> ProposalsPage:
    """List the questioned signatures of a signer that may become references, newest first.

    Their outcome is `genuine`, and their images are kept. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001/proposals
    ```
    """
    listing = Listing("proposals", signer_id)
    page = await proposals.list_proposals(
        context.store, caller.tenant_id, signer_id, limit, listing.decode(cursor)
    )
    return ProposalsPage(
        proposals=[ProposalOut.of(item) for item in page.items], next_cursor=listing.encode(page.next_after)
    )


@router.delete(
    "/signers/{signer_id}/proposals/{verification_id}",
    summary="Decline a proposed reference",
    status_code=204,
    responses=documented(*COMMON_PROBLEMS),
)
async def delete_proposal(
    context: RunningContext, caller: Enrolling, signer_id: SignerPath, verification_id: VerificationPath
) -> Response:
    """Propose a questioned signature no longer as a reference of its signer.

    The response is 204 also when it is none of the signer. `POST /verifications/{verification_id}/reference` still
    accepts it. Requires the scope `enrol`.

    ```sh
    curl -X DELETE http://127.0.0.1:8000/signers/writer-001/proposals/VERIFICATION_ID
    ```
    """
    await proposals.decline_proposal(context, caller.tenant_id, signer_id, verification_id)
    return Response(status_code=204)


@router.post(
    "/verifications/{verification_id}/reference",
    summary="Make a questioned signature a reference",
    status_code=201,
    response_model=EnrolledOut,
    responses=documented(
        *COMMON_PROBLEMS,
        *UPLOAD_PROBLEMS,
        "verification-not-found",
        "image-not-kept",
        "not-confirmed",
        "duplicate-reference",
        "too-many-references",
        "signer-erased",
    ),
)
async def post_reference(
    context: RunningContext, caller: Enrolling, verification_id: VerificationPath
) -> dict[str, Any]:
    """Enrol the questioned signature of a verification as a reference of its signer.

    Its outcome must be `genuine`, and its image must be kept. Requires the scope `enrol`.

    ```sh
    curl -X POST http://127.0.0.1:8000/verifications/VERIFICATION_ID/reference
    ```
    """

    def render(enrolled: tuple[Reference, ...]) -> dict[str, Any]:
        out = EnrolledOut(
            signer_id=enrolled[0].signer_id, references=[ReferenceOut.of(item) for item in enrolled]
        )
        return out.model_dump(mode="json")

    return await proposals.accept_proposal(context, caller.tenant_id, verification_id, render)
