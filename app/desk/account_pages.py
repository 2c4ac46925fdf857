"""The pages of accounts: list, show, change the signatories in a table and the rules as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from starlette.datastructures import FormData

from app.api.account_parameters import AccountPath
from app.api.cursors import Listing
from app.api.dependencies import RunningContext
from app.desk.forms import PAGE, CursorText, FormSession, segment
from app.desk.pages import redirect, render
from app.domain.accounts import Precondition
from app.domain.caller_ids import account_id as checked_account_id
from app.domain.errors import (
    MalformedRequest,
    PreconditionFailed,
    PreconditionRequired,
    SignerNotFound,
    UnsupportedRate,
)
from app.domain.mandate_form import MAX_SIGNATORIES, Mandate
from app.domain.request_context import prefix
from app.domain.validation import describe_fault, without_consequences
from app.http.authorization import Enrolling, Reading
from app.http.sessions import DESK
from app.services import accounts

router = APIRouter(prefix="/desk", include_in_schema=False)
COLUMNS = ("signer_id", "panel", "role", "valid_from", "valid_to", "limit", "always_refer")
"""Fields of a signatory, one column each."""
EMPTY_ROWS = 3
RECENT = 10
"""Number of versions and documents that are shown."""
MAX_TEXT = 100_000
EXAMPLE_RULES = {"bands": [{"up_to": None, "rules": [{"signatures": 1}]}]}
_WRONG = (MalformedRequest, PreconditionFailed, PreconditionRequired, SignerNotFound, UnsupportedRate)
"""What is wrong with a form rather than with the service."""


async def _form(request: Request) -> FormData:
    return await request.form()


Sent = Annotated[FormData, Depends(_form)]


@router.get("/accounts")
async def get_accounts(
    request: Request, context: RunningContext, caller: Reading, cursor: CursorText = None
) -> Response:
    """List the accounts."""
    listing = Listing("accounts")
    page = await accounts.list_accounts(context.store, caller.tenant_id, PAGE, listing.decode(cursor))
    return render(request, "accounts.html", listed=page.items, next_cursor=listing.encode(page.next_after))


@router.get("/new-account")
async def get_new_account(request: Request, _: Enrolling) -> Response:
    """Show the form of a new account."""
    return _form_page(request, None, None, [], _json(EXAMPLE_RULES))


@router.post("/new-account")
async def post_new_account(
    request: Request, context: RunningContext, caller: Enrolling, _: FormSession, sent: Sent
) -> Response:
    """Create an account and lead to it."""
    name = str(sent.get("account_id", ""))
    try:
        account_id = checked_account_id(name)
    except ValueError as error:
        return _form_page(request, None, None, _rows(sent), _text(sent, "rules"), [str(error)], name=name)
    return await _put(request, context, caller.tenant_id, account_id, Precondition(is_new=True), sent)


@router.get("/accounts/{account_id}")
async def get_account(
    request: Request, context: RunningContext, caller: Reading, account_id: AccountPath
) -> Response:
    """Show an account with its form."""
    version = await accounts.get_account(context.store, caller.tenant_id, account_id)
    content = version.mandate.model_dump(mode="json")
    rows = [_cells(signatory) for signatory in content.pop("signatories")]
    versions = await accounts.list_versions(context.store, caller.tenant_id, account_id, RECENT, None)
    erased = sorted(signer_id for signer_id, key in version.signer_keys.items() if key is None)
    return _form_page(
        request,
        account_id,
        version.version_id,
        rows,
        _json(content),
        version=version,
        erased=erased,
        versions=versions.items,
        currencies={one.version: one.mandate.currency for one in versions.items},
        documents=(
            await accounts.list_verifications(context.store, caller.tenant_id, account_id, RECENT, None)
        ).items,
    )


@router.post("/accounts/{account_id}")
async def post_account(
    request: Request,
    context: RunningContext,
    caller: Enrolling,
    _: FormSession,
    sent: Sent,
    account_id: AccountPath,
) -> Response:
    """Add a version to an account and lead to it."""
    precondition = Precondition(tag=_text(sent, "version_id", 64))
    return await _put(request, context, caller.tenant_id, account_id, precondition, sent)


async def _put(
    request: Request,
    context: RunningContext,
    tenant_id: str,
    account_id: str,
    precondition: Precondition,
    sent: FormData,
) -> Response:
    """Store what was sent, or show the form again with what is wrong with it."""
    rows, rules = _rows(sent), _text(sent, "rules")
    try:
        mandate = _mandate(rows, rules)
        await accounts.put_account(context, tenant_id, account_id, mandate, precondition, lambda _: {})
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        wrong = [_message(item) for item in without_consequences(faults)]
    except _WRONG as error:
        wrong = [str(error)]
    else:
        return redirect(request, f"/accounts/{segment(account_id)}")
    version_id = None if precondition.is_new else precondition.tag
    known = None if precondition.is_new else account_id
    return _form_page(request, known, version_id, rows, rules, wrong, name=account_id)


def _form_page(
    request: Request,
    account_id: str | None,
    version_id: str | None,
    rows: list[dict[str, str]],
    rules: str,
    wrong: list[str] | None = None,
    **values: Any,
) -> Response:
    path = "/new-account" if account_id is None else f"/accounts/{segment(account_id)}"
    empty = [dict.fromkeys(COLUMNS, "")] * min(EMPTY_ROWS, MAX_SIGNATORIES - len(rows))
    shown = {"name": "", "version": None, "erased": [], "versions": (), "documents": ()} | values
    return render(
        request,
        "account.html",
        400 if wrong else 200,
        account_id=account_id,
        version_id=version_id,
        action=f"{prefix()}{DESK}{path}",
        columns=COLUMNS,
        rows=rows + empty,
        rules=rules,
        wrong=wrong or [],
        **shown,
    )


def _cells(signatory: Mapping[str, Any]) -> dict[str, str]:
    cells = {name: "" if signatory[name] is None else str(signatory[name]) for name in COLUMNS}
    return cells | {"always_refer": "yes" if signatory["always_refer"] else ""}


def _rows(sent: FormData) -> list[dict[str, str]]:
    """Return the rows of the table that have a signer."""
    columns = {name: [str(value) for value in sent.getlist(name)] for name in COLUMNS}
    count = len(columns["signer_id"])
    if any(len(values) != count for values in columns.values()) or count > MAX_SIGNATORIES + EMPTY_ROWS:
        raise MalformedRequest("The rows of the table are not complete; reload the page and try again.")
    rows = [{name: columns[name][number].strip() for name in COLUMNS} for number in range(count)]
    return [row for row in rows if row["signer_id"]]


def _mandate(rows: list[dict[str, str]], rules: str) -> Mandate:
    """Build the mandate; raises ValidationError, or MalformedRequest when the rules are no JSON object."""
    try:
        content = json.loads(rules)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"The rules are not JSON: {error}.") from error
    if not isinstance(content, dict) or "signatories" in content:
        raise MalformedRequest(
            "The rules have to be a JSON object without signatories, which are in the table."
        )
    signatories = [
        {name: value or None for name, value in row.items() if name != "always_refer"}
        | {"always_refer": row["always_refer"] == "yes"}
        for row in rows
    ]
    return Mandate.model_validate(content | {"signatories": signatories})


def _message(error: Mapping[str, Any]) -> str:
    """Return where an error of the form is, counted from 1, and what it is."""
    place = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in error["loc"])
    message = describe_fault(error, Mandate)
    return f"{place}: {message}" if place else message


def _text(sent: FormData, name: str, limit: int = MAX_TEXT) -> str:
    value = sent.get(name, "")
    if not isinstance(value, str) or len(value) > limit:
        raise MalformedRequest(f"The field {name} is too long.")
    return value


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)
