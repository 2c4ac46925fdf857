"""``GET /signers/{signer_id}/duplicates``: other signers who may be the same person."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.dependencies import COMMON_PROBLEMS, Integer, RunningContext
from app.api.schemas import EXAMPLE_ID, Out, SignerPath
from app.http.authorization import Reading
from app.http.problems import documented
from app.services.duplicate_signers import DuplicateSigners, find_duplicate_signers

router = APIRouter(prefix="/signers", tags=["signers"])


class SameScanOut(Out):
    """The same scan, enrolled for two signers."""

    reference_id: str = Field(description="The reference of the signer.", examples=[EXAMPLE_ID])
    other_reference_id: str = Field(description="That of the other signer.", examples=[EXAMPLE_ID])


class DuplicateSignerOut(Out):
    """Another signer with references like those of the signer."""

    signer_id: str = Field(examples=["writer-002"])
    same_scans: list[SameScanOut] = Field(description="References of both that are the same scan.")
    accepted: int = Field(
        description="Number of the signer's references that would be accepted as signatures of the other signer.",
        examples=[0],
    )
    distance: float = Field(
        description="Smallest distance between a reference of the signer and one of the other signer.",
        examples=[0.0],
    )


class DuplicateSignersOut(Out):
    """Other signers who may be the same person."""

    signer_id: str = Field(examples=["writer-001"])
    references: int = Field(
        description="Number of references of the signer that are not copies of earlier ones.", examples=[3]
    )
    duplicates: list[DuplicateSignerOut] = Field(
        description="Those with the same scans first, then by distance."
    )
    truncated: bool = Field(description="Whether there are more than `limit`.", examples=[False])
    compared: int = Field(description="Number of other signers that were compared.", examples=[12])
    model_version: str = Field(description="Model of the templates.", examples=["countersign-6@3f14de8c7d0b"])

    @classmethod
    def of(cls, found: DuplicateSigners) -> DuplicateSignersOut:
        """Convert the result of the service."""
        return cls(
            signer_id=found.signer_id,
            references=found.references,
            duplicates=[
                DuplicateSignerOut(
                    **{**vars(one), "same_scans": [SameScanOut(**vars(same)) for same in one.same_scans]}
                )
                for one in found.duplicates
            ],
            truncated=found.is_truncated,
            compared=found.compared,
            model_version=found.model_version,
        )


@router.get(
    "/{signer_id}/duplicates",
    summary="Find other signers who may be the same person",
    response_model=DuplicateSignersOut,
    responses=documented(*COMMON_PROBLEMS, "signer-not-found", "model-version-mismatch"),
)
async def get_duplicates(
    context: RunningContext,
    caller: Reading,
    signer_id: SignerPath,
    limit: Annotated[Integer, Query(ge=1, le=50, description="Maximum number of other signers.")] = 10,
) -> DuplicateSignersOut:
    """Find other signers with the same scans as this signer, or with references that accept this signer's.

    A signer is listed who has the same scan as a reference of this signer, or whose references would accept more than
    half of this signer's references. The second alone is no proof that both are one person: among many signers, some
    accept each other by chance. The audit records the search. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001/duplicates
    ```
    """
    return DuplicateSignersOut.of(await find_duplicate_signers(context, caller.tenant_id, signer_id, limit))
