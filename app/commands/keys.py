"""``python -m app keys``: make, list and revoke API keys, while the service runs or not."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app.commands.common import opened, operator
from app.domain.api_keys import NAME, Key, new_text, sha256
from app.domain.callers import DEFAULT_TENANT, SCOPES, parse_scopes
from app.domain.errors import StartRefused
from app.domain.rates import parse_limit
from app.domain.records import new_id, now
from app.services.audit.verification import describe_key
from app.store import api_keys

cli = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
Tenant = Annotated[str, typer.Option(help="The tenant whose data the key opens.")]
_SPAN = re.compile(r"(\d{1,5})([dh])")


@cli.command()
def create(
    name: Annotated[str, typer.Argument(help="Who will hold it; it stands in logs and in the audit.")],
    scope: Annotated[list[str], typer.Option(help=f"One of {', '.join(SCOPES)}; repeat for more.")],
    tenant: Tenant = DEFAULT_TENANT,
    expires: Annotated[
        str | None, typer.Option(help="90d, 12h, or a date such as 2030-12-31 (UTC); else never.")
    ] = None,
    rate_limit: Annotated[
        str | None, typer.Option(help="Such as 60/minute, instead of COUNTERSIGN_RATE_LIMIT.")
    ] = None,
) -> None:
    """Make a key; its text is shown once, on stdout, and is kept nowhere."""
    at = now()
    for word in (name, tenant):
        if re.fullmatch(NAME, word) is None:
            raise StartRefused(f"{word!r} is no name: 1 to 64 letters, digits and . _ -")
    try:
        scopes = parse_scopes(scope)
        parse_limit(rate_limit or "")
        until = _moment(expires, at)
    except ValueError as error:
        raise StartRefused(f"{error}.") from error
    text = new_text()
    key = Key(new_id(), name, tenant, sha256(text), scopes, at, until, rate_limit=rate_limit)
    with opened() as (store, trail):

        def make(session: Session) -> None:
            api_keys.add(session, key)
            by = operator(tenant)
            trail.append(session, trail.entry("key-create", record_id=key.key_id, by=by, **describe_key(key)))

        store.write_now(make)
    typer.echo(text)
    typer.echo(
        f"Key {name!r} ({key.key_id}) of tenant {tenant!r} may {', '.join(sorted(scopes))}; "
        f"{f'it expires {_shown(until)}' if until else 'it does not expire'}. "
        "Its text, above, is shown this once; send it as X-API-Key.",
        err=True,
    )


@cli.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Revoked and expired ones, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the keys in the store; those of COUNTERSIGN_API_KEYS are the settings' own."""
    at = now()
    with opened() as (store, _):
        found = [key for key in store.read_now(api_keys.listed, tenant) if everything or key.live(at)]
    rows = [
        {
            "key_id": key.key_id,
            "tenant": key.tenant_id,
            "name": key.name,
            "scopes": "+".join(sorted(key.scopes)),
            "rate_limit": key.rate_limit or "-",
            "created": _shown(key.created_at),
            "expires": _shown(key.expires_at),
            "last_used": _shown(key.last_used_at),
            "state": "revoked" if key.revoked_at else "expired" if key.expired(at) else "live",
        }
        for key in found
    ]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    if not rows:
        typer.echo("There is no key; `python -m app keys create NAME --scope SCOPE` makes one.", err=True)
        return
    widths = {head: max(len(head), *(len(row[head]) for row in rows)) for head in rows[0]}
    for row in [{head: head for head in widths}, *rows]:
        typer.echo("  ".join(row[head].ljust(width) for head, width in widths.items()).rstrip())


@cli.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or its name within the tenant.")],
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Revoke a key; running services refuse it within seconds (COUNTERSIGN_KEY_REFRESH_S)."""
    with opened() as (store, trail):

        def take_back(session: Session) -> Key:
            taken = api_keys.revoke(session, tenant, key, now())
            by = operator(taken.tenant_id)
            trail.append(session, trail.entry("key-revoke", record_id=taken.key_id, by=by, name=taken.name))
            return taken

        taken = store.write_now(take_back)
    typer.echo(f"Key {taken.name!r} ({taken.key_id}) of tenant {taken.tenant_id!r} is revoked.")


def _moment(text: str | None, at: datetime) -> datetime | None:
    if text is None:
        return None
    if (span := _SPAN.fullmatch(text)) is not None:
        amount = int(span[1])
        return at + (timedelta(days=amount) if span[2] == "d" else timedelta(hours=amount))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no moment; write 90d, 12h, or a date such as 2030-12-31") from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    if moment <= at:
        raise ValueError(f"{text} is in the past")
    return moment


def _shown(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ") if moment else "-"
