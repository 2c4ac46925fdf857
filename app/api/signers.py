"""Signers and their references: enrolled, listed, given a policy, looked at, erased."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Path, Response, UploadFile

from app.api.dependencies import (
    ALWAYS,
    IMAGE_RESPONSE,
    ON_FILES,
    Cursor,
    IdempotencyKey,
    Limit,
    PageField,
    Running,
    as_uploaded,
    received,
)
from app.api.schemas import (
    EnrolledOut,
    ReferenceOut,
    ReferencesPage,
    SignerOut,
    SignerPath,
    SignerPolicyIn,
    SignersPage,
    after_of,
    cursor_of,
)
from app.domain.records import Reference
from app.http.authorization import Enrolling, Reading
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services import records
from app.services.enrol import enrol
from app.services.idempotency import make_idempotent_request

router = APIRouter(prefix="/signers", tags=["signers"], route_class=ImageRoute)
ReferencePath = Annotated[str, Path(max_length=64, description="As returned at enrolment.")]
_NOBODY = (*ALWAYS, "signer-not-found")


@router.post(
    "/{signer_id}/references",
    summary="Enrol reference signatures",
    status_code=201,
    response_model=EnrolledOut,
    responses=documented(
        *ALWAYS,
        *ON_FILES,
        "too-many-files",
        "duplicate-reference",
        "too-many-references",
        "signer-erased",
        "idempotency-conflict",
    ),
)
async def post_references(
    core: Running,
    caller: Enrolling,
    signer_id: SignerPath,
    files: Annotated[
        list[UploadFile], File(min_length=1, description="Genuine specimens: PNG, JPEG, TIFF, BMP or WebP.")
    ],
    page: PageField = 0,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    r"""Add genuine specimens to a signer, who is made when new. All files are kept, on disk, or none.

    ```sh
    curl -F files=@demo/writer-001/genuine/01.png -F files=@demo/writer-001/genuine/02.png \
         http://127.0.0.1:8000/signers/writer-001/references
    ```
    """
    uploads = [await received(file, "files", position, page) for position, file in enumerate(files, 1)]
    request = await make_idempotent_request(caller.tenant_id, idempotency_key, "enrol", signer_id, uploads)

    def answer(kept: tuple[Reference, ...]) -> dict[str, Any]:
        out = EnrolledOut(signer_id=signer_id, references=[ReferenceOut.of(reference) for reference in kept])
        return out.model_dump(mode="json")

    return await enrol(core, caller.tenant_id, signer_id, uploads, answer, request)


@router.get(
    "",
    summary="List signers",
    response_model=SignersPage,
    responses=documented(*ALWAYS, "invalid-cursor"),
)
async def list_signers(
    core: Running, caller: Reading, limit: Limit = 50, cursor: Cursor = None
) -> SignersPage:
    """Signers in the order of their ids, page by page.

    ```sh
    curl 'http://127.0.0.1:8000/signers?limit=20'
    ```
    """
    page = await records.list_signers(core, caller.tenant_id, limit, after_of(cursor))
    return SignersPage(signers=[SignerOut.of(s) for s in page.items], next_cursor=cursor_of(page.next_after))


@router.get("/{signer_id}", summary="Show a signer", response_model=SignerOut, responses=documented(*_NOBODY))
async def get_signer(core: Running, caller: Reading, signer_id: SignerPath) -> SignerOut:
    """One signer, with the number of references and the policy of their own.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001
    ```
    """
    return SignerOut.of(await records.get_signer(core, caller.tenant_id, signer_id))


@router.patch(
    "/{signer_id}",
    summary="Set a signer's policy",
    response_model=SignerOut,
    responses=documented(*_NOBODY, "unsupported-rate"),
)
async def patch_signer(
    core: Running, caller: Enrolling, signer_id: SignerPath, policy: SignerPolicyIn
) -> SignerOut:
    r"""Give a signer a `target_far` or a `fixed_threshold` of their own; null takes the service's again.

    ```sh
    curl -X PATCH -H 'Content-Type: application/json' -d '{"target_far": 0.05}' \
         http://127.0.0.1:8000/signers/writer-001
    ```
    """
    given = policy.model_dump(exclude_unset=True)
    return SignerOut.of(await records.set_policy(core, caller.tenant_id, signer_id, given))


@router.delete(
    "/{signer_id}",
    summary="Erase a signer",
    status_code=204,
    responses=documented(*ALWAYS, "erasure-not-logged"),
)
async def delete_signer(core: Running, caller: Enrolling, signer_id: SignerPath) -> Response:
    """Erase a signer with all reference images and templates, for good. Verifications stay on record, without images.

    ```sh
    curl -X DELETE http://127.0.0.1:8000/signers/writer-001
    ```
    """
    await records.erase_signer(core, caller.tenant_id, signer_id)
    return Response(status_code=204)


@router.get(
    "/{signer_id}/references",
    summary="List a signer's references",
    response_model=ReferencesPage,
    responses=documented(*_NOBODY, "invalid-cursor"),
)
async def list_references(
    core: Running, caller: Reading, signer_id: SignerPath, limit: Limit = 50, cursor: Cursor = None
) -> ReferencesPage:
    """References of a signer, oldest first, with their quality.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001/references
    ```
    """
    page = await records.list_references(core, caller.tenant_id, signer_id, limit, after_of(cursor))
    return ReferencesPage(
        references=[ReferenceOut.of(r) for r in page.items], next_cursor=cursor_of(page.next_after)
    )


@router.get(
    "/{signer_id}/references/{reference_id}",
    summary="Show a reference",
    response_model=ReferenceOut,
    responses=documented(*_NOBODY, "reference-not-found"),
)
async def get_reference(
    core: Running, caller: Reading, signer_id: SignerPath, reference_id: ReferencePath
) -> ReferenceOut:
    """One reference, with its quality and warnings.

    ```sh
    curl http://127.0.0.1:8000/signers/writer-001/references/REFERENCE_ID
    ```
    """
    return ReferenceOut.of(await records.get_reference(core, caller.tenant_id, signer_id, reference_id))


@router.get(
    "/{signer_id}/references/{reference_id}/image",
    summary="Fetch a reference's image",
    response_class=Response,
    responses={**IMAGE_RESPONSE, **documented(*_NOBODY, "reference-not-found")},
)
async def get_image(
    core: Running, caller: Reading, signer_id: SignerPath, reference_id: ReferencePath
) -> Response:
    """The bytes of a reference, as they were uploaded.

    ```sh
    curl -o reference.png http://127.0.0.1:8000/signers/writer-001/references/REFERENCE_ID/image
    ```
    """
    return as_uploaded(await records.get_reference_image(core, caller.tenant_id, signer_id, reference_id))


@router.delete(
    "/{signer_id}/references/{reference_id}",
    summary="Erase a reference",
    status_code=204,
    responses=documented(*ALWAYS, "erasure-not-logged"),
)
async def delete_reference(
    core: Running, caller: Enrolling, signer_id: SignerPath, reference_id: ReferencePath
) -> Response:
    """Erase one reference with its image and template, for good.

    ```sh
    curl -X DELETE http://127.0.0.1:8000/signers/writer-001/references/REFERENCE_ID
    ```
    """
    await records.erase_reference(core, caller.tenant_id, signer_id, reference_id)
    return Response(status_code=204)
