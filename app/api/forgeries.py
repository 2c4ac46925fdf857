"""``/signers/{signer_id}/forgeries``: the known forgeries of a signer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field

from app.api.cursors import Listing
from app.api.dependencies import COMMON_PROBLEMS, Cursor, Limit, RunningContext
from app.api.schemas import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    Out,
    Outcome,
    SignerPath,
)
from app.api.verifications import VerificationPath
from app.domain.records import KnownForgery
from app.http.authorization import Administering, Reading
from app.http.problems import documented
from app.services import outcomes

router = APIRouter(prefix="/signers/{signer_id}/forgeries", tags=["signers"])


class KnownForgeryOut(Out):
    """A questioned signature that was found to be forged, with which later ones of the signer are compared."""

    verification_id: str = Field(examples=[EXAMPLE_ID])
    verified_at: datetime = Field(description="Time of the verification, in UTC.", examples=[EXAMPLE_TIME])
    decision: Literal["accept", "review", "reject"] = Field(
        description="Decision of the verification.", examples=["accept"]
    )
    outcome: Outcome | None = Field(
        description="Recorded outcome of the verification. If it is not `forged`, it was corrected later, and an "
        "administrator should withdraw the forgery."
    )
    created_at: datetime = Field(
        description="Time at which it was recorded to be forged, in UTC.", examples=[EXAMPLE_TIME]
    )
    compared: bool = Field(
        description="Whether later signatures are compared with it; false: it has no template of the model in use."
    )
    image_kept: bool = Field(
        description="Whether its image is kept (`/verifications/{verification_id}/image`)."
    )

    @classmethod
    def of(cls, forgery: KnownForgery) -> KnownForgeryOut:
        """Convert a known forgery."""
        return cls.model_validate(
            {
                "verification_id": forgery.verification_id,
                "verified_at": forgery.verified_at,
                "decision": forgery.decision,
                "outcome": forgery.outcome,
                "created_at": forgery.created_at,
                "compared": forgery.is_compared,
                "image_kept": forgery.has_image,
            }
        )


class KnownForgeriesPage(Out):
    """One page of known forgeries. Send `next_cursor` as `cursor` to get the next page; null: this is the last."""

    forgeries: list[KnownForgeryOut]
    next_cursor: str | None


@router.get(
    "",
    summary="List a signer's known forgeries",
    response_model=KnownForgeriesPage,
    responses=documented(*COMMON_PROBLEMS, "signer-not-found", "invalid-cursor"),
)
async def list_forgeries(
    context: RunningContext, caller: Reading, signer_id: SignerPath, limit: Limit = 50, cursor: Cursor = None
) -> KnownForgeriesPage:
    """List the known forgeries of a signer, the newest verification first. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001/forgeries
    ```
    """
    listing = Listing("forgeries", signer_id)
    page = await outcomes.list_forgeries(
        context.store, context.model_version, caller.tenant_id, signer_id, limit, listing.decode(cursor)
    )
    return KnownForgeriesPage(
        forgeries=[KnownForgeryOut.of(item) for item in page.items],
        next_cursor=listing.encode(page.next_after),
    )


@router.delete(
    "/{verification_id}",
    summary="Withdraw a known forgery",
    status_code=204,
    responses=documented(*COMMON_PROBLEMS),
)
async def delete_forgery(
    context: RunningContext, caller: Administering, signer_id: SignerPath, verification_id: VerificationPath
) -> Response:
    """Compare later questioned signatures with a forgery no longer, because it was recorded by mistake.

    The outcome of its verification does not change. The response is 204 also when it is no known forgery of the
    signer. Requires the scope `admin`.

    ```sh
    curl -X DELETE http://127.0.0.1:8000/signers/writer-001/forgeries/VERIFICATION_ID
    ```
    """
    await outcomes.withdraw_forgery(context, caller.tenant_id, signer_id, verification_id)
    return Response(status_code=204)
