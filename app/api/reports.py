"""``GET /verifications/{verification_id}/report``: an evaluative report, as HTML or PDF."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from app.api.dependencies import COMMON_PROBLEMS, RunningContext
from app.api.verifications import VerificationPath
from app.http.authorization import Reading
from app.http.problems import documented
from app.report import html, pdf
from app.report.content import write_report
from app.services.context import AppContext
from app.services.report import get_report
from app.texts.negotiation import choose_language, choose_media_type

router = APIRouter(prefix="/verifications", tags=["record"])
Format = Literal["html", "pdf"]
_FORMATS: dict[str, Format] = {"text/html": "html", pdf.MEDIA_TYPE: "pdf"}
FormatQuery = Annotated[
    Format | None,
    Query(
        description="Form of the report. Without it, the one of `text/html` and `application/pdf` that `Accept` "
        "prefers, otherwise HTML.",
        examples=["pdf"],
    ),
]
Language = Literal["en", "de"]
LanguageQuery = Annotated[
    Language | None,
    Query(
        description="Language of the report. Without it, the one that `Accept-Language` prefers, otherwise English.",
        examples=["de"],
    ),
]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report.",
        "content": {
            "text/html": {"schema": {"type": "string"}},
            "application/pdf": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    **documented(*COMMON_PROBLEMS, "verification-not-found", "busy"),
}


@router.get(
    "/{verification_id}/report",
    summary="Report on a verification",
    response_class=Response,
    responses=_RESPONSES,
)
async def get_verification_report(
    request: Request,
    context: RunningContext,
    caller: Reading,
    verification_id: VerificationPath,
    format: FormatQuery = None,  # noqa: A002 - the name of the parameter
    language: LanguageQuery = None,
) -> Response:
    """Return an evaluative report: what was compared, what was found, and how much it supports which proposition.

    It follows the ENFSI guideline for evaluative reporting and states error rates, limits of the method and the audit
    entries by which `python -m app audit verify` proves that the record was not changed. Pictures are in it while the
    images are kept. The same record gives the same report in a language, byte for byte. The audit records the access.
    Requires the scope `read`.

    ```sh
    curl -o report.pdf 'http://127.0.0.1:8000/verifications/VERIFICATION_ID/report?format=pdf'
    ```
    """
    accepted = request.headers.get("accept", "")
    chosen = format or _FORMATS[choose_media_type(accepted, tuple(_FORMATS))]
    tongue = language or choose_language(request.headers.get("accept-language", ""))
    response = await build_response(context, caller.tenant_id, verification_id, chosen, tongue)
    response.headers["Vary"] = "Accept, Accept-Language"
    return response


async def build_response(
    context: AppContext, tenant_id: str, verification_id: str, form: Format, language: str
) -> Response:
    """Write the report on a verification in a form and a language; raises what `get_report` raises."""
    report = await get_report(context, tenant_id, verification_id)

    def render() -> bytes:
        document = write_report(report, language)
        return pdf.render_pdf(document) if form == "pdf" else html.render_html(document)

    content = await asyncio.to_thread(render)
    name = f"report-{report.verification.verification_id}.{form}"
    return Response(
        content,
        media_type=pdf.MEDIA_TYPE if form == "pdf" else html.MEDIA_TYPE,
        headers={
            "Content-Disposition": f'inline; filename="{name}"',
            "Content-Language": language,
            "Content-Security-Policy": html.POLICY,
        },
    )
