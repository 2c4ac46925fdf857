"""``/signers``: enrolment, listing, policy and erasure of signers and their references."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Path, Query, Response, UploadFile

from app.api.cursors import Listing
from app.api.dependencies import (
    COMMON_PROBLEMS,
    IMAGE_RESPONSE,
    UPLOAD_PROBLEMS,
    Cursor,
    IdempotencyKey,
    Limit,
    PageField,
    RegionsField,
    RunningContext,
    image_response,
    read_uploads,
)
from app.api.schemas import (
    EnrolledOut,
    RecordId,
    ReferenceOut,
    ReferencesPage,
    SignerOut,
    SignerPath,
    SignerPolicyIn,
    SignersPage,
)
from app.decoding.formats import FORMAT_NAMES
from app.domain.records import Reference
from app.domain.validation import PRINTABLE_PATTERN
from app.http.authorization import Enrolling, Reading
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services import records
from app.services.enrol import enrol
from app.services.idempotency import make_idempotent_request

router = APIRouter(prefix="/signers", tags=["signers"], route_class=ImageRoute)
ReferencePath = Annotated[RecordId, Path(max_length=64, description="`reference_id` returned at enrolment.")]
_SIGNER_PROBLEMS = (*COMMON_PROBLEMS, "signer-not-found")


@router.post(
    "/{signer_id}/references",
    summary="Enrol reference signatures",
    status_code=201,
    response_model=EnrolledOut,
    responses=documented(
        *COMMON_PROBLEMS,
        *UPLOAD_PROBLEMS,
        "too-many-files",
        "duplicate-reference",
        "too-many-references",
        "signer-erased",
        "idempotency-conflict",
    ),
)
async def post_references(
    context: RunningContext,
    caller: Enrolling,
    signer_id: SignerPath,
    files: Annotated[
        list[UploadFile],
        File(
            min_length=1,
            description=f"Images of genuine signatures of the signer, one or more: {FORMAT_NAMES}.",
        ),
    ],
    page: PageField = 0,
    region: RegionsField = None,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    r"""Add references to a signer. The signer is created if it does not exist.

    Either all files are stored, durably, or none. Requires the scope `enrol`.

    ```sh
    curl -F files=@demo/writer-001/genuine/01.png -F files=@demo/writer-001/genuine/02.png \
         http://127.0.0.1:8000/signers/writer-001/references
    ```
    """
    uploads = await read_uploads(files, "files", page, region)
    request = await make_idempotent_request(caller.tenant_id, idempotency_key, "enrol", signer_id, uploads)

    def render(enrolled: tuple[Reference, ...]) -> dict[str, Any]:
        out = EnrolledOut(signer_id=signer_id, references=[ReferenceOut.of(item) for item in enrolled])
        return out.model_dump(mode="json")

    return await enrol(context, caller.tenant_id, signer_id, uploads, render, request)


@router.get(
    "",
    summary="List signers",
    response_model=SignersPage,
    responses=documented(*COMMON_PROBLEMS, "invalid-cursor"),
)
async def list_signers(
    context: RunningContext,
    caller: Reading,
    search: Annotated[
        str | None,
        Query(
            max_length=128,
            pattern=PRINTABLE_PATTERN,
            description="Only signers whose id contains this text; the letters A to Z in either case.",
            examples=["writer"],
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> SignersPage:
    """List the signers, ordered by id. Requires the scope `read`.

    ```sh
    curl 'http://127.0.0.1:8000/signers?limit=20'
    ```
    """
    listing = Listing("signers", search or None)
    page = await records.list_signers(context.store, caller.tenant_id, limit, listing.decode(cursor), search)
    return SignersPage(
        signers=[SignerOut.of(s) for s in page.items], next_cursor=listing.encode(page.next_after)
    )


@router.get(
    "/{signer_id}", summary="Show a signer", response_model=SignerOut, responses=documented(*_SIGNER_PROBLEMS)
)
async def get_signer(context: RunningContext, caller: Reading, signer_id: SignerPath) -> SignerOut:
    """Return a signer, with the number of references and the policy of the signer. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001
    ```
    """
    return SignerOut.of(await records.get_signer(context.store, caller.tenant_id, signer_id))


@router.patch(
    "/{signer_id}",
    summary="Set a signer's policy",
    response_model=SignerOut,
    responses=documented(*_SIGNER_PROBLEMS, "unsupported-rate"),
)
async def patch_signer(
    context: RunningContext, caller: Enrolling, signer_id: SignerPath, policy: SignerPolicyIn
) -> SignerOut:
    r"""Set or remove the `target_far` or the `fixed_threshold` of a signer. Requires the scope `enrol`.

    ```sh
    curl -X PATCH -H 'Content-Type: application/json' -d '{"target_far": 0.05}' \
         http://127.0.0.1:8000/signers/writer-001
    ```
    """
    changes = policy.model_dump(exclude_unset=True)
    return SignerOut.of(await records.set_policy(context, caller.tenant_id, signer_id, changes))


@router.delete(
    "/{signer_id}",
    summary="Erase a signer",
    status_code=204,
    responses=documented(*COMMON_PROBLEMS, "erasure-not-logged"),
)
async def delete_signer(context: RunningContext, caller: Enrolling, signer_id: SignerPath) -> Response:
    """Erase a signer permanently, with all images and templates. Verifications remain, without their images.

    The response is 204 also when the signer does not exist: the call can be repeated. Requires the scope `enrol`.

    ```sh
    curl -X DELETE http://127.0.0.1:8000/signers/writer-001
    ```
    """
    await records.erase_signer(context, caller.tenant_id, signer_id)
    return Response(status_code=204)


@router.get(
    "/{signer_id}/references",
    summary="List a signer's references",
    response_model=ReferencesPage,
    responses=documented(*_SIGNER_PROBLEMS, "invalid-cursor"),
)
async def list_references(
    context: RunningContext, caller: Reading, signer_id: SignerPath, limit: Limit = 50, cursor: Cursor = None
) -> ReferencesPage:
    """List the references of a signer, oldest first, with their quality. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001/references
    ```
    """
    listing = Listing("references", signer_id)
    page = await records.list_references(
        context.store, caller.tenant_id, signer_id, limit, listing.decode(cursor)
    )
    return ReferencesPage(
        references=[ReferenceOut.of(r) for r in page.items], next_cursor=listing.encode(page.next_after)
    )


@router.get(
    "/{signer_id}/references/{reference_id}",
    summary="Show a reference",
    response_model=ReferenceOut,
    responses=documented(*_SIGNER_PROBLEMS, "reference-not-found"),
)
async def get_reference(
    context: RunningContext, caller: Reading, signer_id: SignerPath, reference_id: ReferencePath
) -> ReferenceOut:
    """Return a reference, with its quality and warnings. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001/references/REFERENCE_ID
    ```
    """
    return ReferenceOut.of(
        await records.get_reference(context.store, caller.tenant_id, signer_id, reference_id)
    )


@router.get(
    "/{signer_id}/references/{reference_id}/image",
    summary="Fetch a reference's image",
    response_class=Response,
    responses={**IMAGE_RESPONSE, **documented(*_SIGNER_PROBLEMS, "reference-not-found")},
)
async def get_image(
    context: RunningContext, caller: Reading, signer_id: SignerPath, reference_id: ReferencePath
) -> Response:
    """Return the image of a reference as it was uploaded. The audit records the access. Requires the scope `read`.

    ```sh
    curl -o reference.png http://127.0.0.1:8000/signers/writer-001/references/REFERENCE_ID/image
    ```
    """
    return image_response(
        await records.get_reference_image(context, caller.tenant_id, signer_id, reference_id)
    )


@router.delete(
    "/{signer_id}/references/{reference_id}",
    summary="Erase a reference",
    status_code=204,
    responses=documented(*COMMON_PROBLEMS, "erasure-not-logged"),
)
async def delete_reference(
    context: RunningContext, caller: Enrolling, signer_id: SignerPath, reference_id: ReferencePath
) -> Response:
    """Erase a reference permanently, with its image and templates.

    The response is 204 also when the reference does not exist. Requires the scope `enrol`.

    ```sh
    curl -X DELETE http://127.0.0.1:8000/signers/writer-001/references/REFERENCE_ID
    ```
    """
    await records.erase_reference(context, caller.tenant_id, signer_id, reference_id)
    return Response(status_code=204)
