"""``/problems``: the codes of problems, as JSON for programs and as a page for people."""

from __future__ import annotations

import html
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field

from app.api.schemas import Out
from app.domain.errors import NotFound
from app.http.problem_codes import PROBLEMS, ProblemKind, Stored
from app.http.problems import documented
from app.texts.negotiation import choose_media_type

router = APIRouter(prefix="/problems", tags=["operation"])
_JSON, _HTML = "application/json", "text/html"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {_HTML: {"schema": {"type": "string"}}}},
    **documented("malformed-request", "deadline-passed"),
}


class ProblemCodeOut(Out):
    """A code of problems, with what all problems with this code have in common."""

    code: str = Field(examples=["signer-not-found"])
    status: int = Field(description="HTTP status.", examples=[404])
    title: str = Field(examples=["There is no such signer"])
    explanation: str = Field(
        description="What it means, and what to do.",
        examples=[
            "The tenant of the key has no signer with this id. Check the id, or enrol the signer first."
        ],
    )
    stored: Stored = Field(
        description="What the failed request has stored; `unknown` means everything or nothing, never a part.",
        examples=["nothing"],
    )

    @classmethod
    def of(cls, code: str) -> ProblemCodeOut:
        """Describe a key of `PROBLEMS`."""
        return cls(code=code, **vars(PROBLEMS[code]))


class ProblemCodesOut(Out):
    """All codes of problems."""

    problems: list[ProblemCodeOut] = Field(description="By status.")


@router.get(
    "",
    summary="List the codes of problems",
    response_model=ProblemCodesOut,
    responses=_RESPONSES,
)
async def list_problem_codes(request: Request) -> Response:
    """List all codes that problems of this service can have, as JSON, or as a page where `Accept` prefers HTML.

    The `type` of a problem leads to its row of the page. Later releases may add codes: a program treats one that it
    does not know by its status. No API key is needed.

    ```sh
    curl http://127.0.0.1:8000/problems
    ```
    """
    chosen = choose_media_type(request.headers.get("accept", ""), (_JSON, _HTML))
    headers = {"Vary": "Accept"}
    if chosen == _HTML:
        return HTMLResponse(_page(), headers=headers)
    listed = ProblemCodesOut(problems=[ProblemCodeOut.of(code) for code in PROBLEMS])
    return JSONResponse(listed.model_dump(mode="json"), headers=headers)


@router.get(
    "/{code}",
    summary="Show a code of problems",
    response_model=ProblemCodeOut,
    responses=documented("malformed-request", "not-found", "deadline-passed"),
)
async def get_problem_code(
    code: Annotated[str, Path(description="`code` of a problem.", examples=["signer-not-found"])],
) -> ProblemCodeOut:
    """Return what a code of problems means, and what to do. No API key is needed.

    ```sh
    curl http://127.0.0.1:8000/problems/signer-not-found
    ```
    """
    if code not in PROBLEMS:
        raise NotFound(f"There is no problem with the code {code!r}; /problems lists all codes.")
    return ProblemCodeOut.of(code)


def _page() -> str:
    rows = "\n".join(_row(code, kind) for code, kind in PROBLEMS.items())
    return (
        "<!doctype html><meta charset=utf-8><title>Countersign: problems</title>"
        "<style>body{font:16px/1.5 system-ui;margin:2rem;max-width:80rem}"
        "td,th{padding:.2rem 1rem .2rem 0;text-align:left;vertical-align:top}tr:target{background:#fff3c4}</style>"
        "<h1>Problems</h1><p>All error codes of the API, and what the failed request has stored. Unknown means "
        "everything or nothing, never a part. Repeating a request with the same Idempotency-Key is always safe: if "
        "it was carried out before, the earlier answer is returned. DELETE, PATCH and PUT can be repeated without a "
        "key.</p><table><tr><th>Status<th>Code<th>Title<th>What it means, and what to do<th>Stored</tr>"
        f"{rows}</table>"
    )


def _row(code: str, kind: ProblemKind) -> str:
    explanation = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(kind.explanation))
    return (
        f'<tr id="{html.escape(code)}"><td>{kind.status}</td><td><code>{html.escape(code)}</code></td>'
        f"<td>{html.escape(kind.title)}</td><td>{explanation}</td><td>{kind.stored}</td></tr>"
    )
