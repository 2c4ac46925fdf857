"""``/verifications/{verification_id}/differences``: where a questioned signature differs from its references."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from app.api.dependencies import COMMON_PROBLEMS, RunningContext
from app.api.schemas import RecordId
from app.api.verifications import VerificationPath
from app.http.authorization import Reading
from app.http.problems import documented
from app.services.differences import get_difference_picture

router = APIRouter(prefix="/verifications", tags=["record"])
ReferencePath = Annotated[
    RecordId, Path(max_length=64, description="`reference_id` of one of the references of the verification.")
]
_PROBLEMS = (
    *COMMON_PROBLEMS,
    "verification-not-found",
    "image-not-kept",
    "reference-not-found",
    "signer-not-found",
    "model-version-mismatch",
    "no-difference-map",
    "busy",
)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The map with the ink and a legend.", "content": {"image/png": {}}},
    **documented(*_PROBLEMS),
}


@router.get(
    "/{verification_id}/differences",
    summary="Show where a questioned signature differs",
    response_class=Response,
    responses=_RESPONSES,
)
async def get_differences(
    context: RunningContext, caller: Reading, verification_id: VerificationPath
) -> Response:
    """Return a map of the local distances between a questioned signature and all its references, as PNG.

    What a cell of the network contributes to the squared distance, after its best shift and in both directions, is
    given as a multiple of what a cell contributes on average between two genuine signatures of this signer. Up to
    twice that, there is hardly a mark. There is a map only while the image of the questioned signature is kept, and
    for verifications of the model in use. The audit records the access. Requires the scope `read`.

    ```sh
    curl -o map.png http://127.0.0.1:8000/verifications/VERIFICATION_ID/differences
    ```
    """
    return _png(await get_difference_picture(context, caller.tenant_id, verification_id, None))


@router.get(
    "/{verification_id}/differences/{reference_id}",
    summary="Show where a questioned signature differs from a reference",
    response_class=Response,
    responses=_RESPONSES,
)
async def get_differences_to_reference(
    context: RunningContext, caller: Reading, verification_id: VerificationPath, reference_id: ReferencePath
) -> Response:
    """Return the map to one reference, whose ink is drawn faintly below that of the questioned signature, as PNG.

    Requires the scope `read`.

    ```sh
    curl -o map.png http://127.0.0.1:8000/verifications/VERIFICATION_ID/differences/REFERENCE_ID
    ```
    """
    return _png(await get_difference_picture(context, caller.tenant_id, verification_id, reference_id))


def _png(image: bytes) -> Response:
    return Response(image, media_type="image/png")
