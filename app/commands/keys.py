"""``python -m app keys``: creates, lists and revokes API keys, also while the service runs."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app.commands.common import (
    SecretFile,
    operator,
    put_secret,
    secret_file,
    store_and_trail,
    warn_of_new_tenant,
)
from app.domain.api_keys import NAME, Key, new_text, sha256
from app.domain.callers import DEFAULT_TENANT, SCOPES, parse_scopes
from app.domain.errors import InvalidSettings
from app.domain.ids import new_id
from app.domain.rates import parse_limit
from app.domain.records import now
from app.services.audit.verification import describe_key
from app.store import api_keys

cli = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)
Tenant = Annotated[str, typer.Option(help="Tenant whose data the key gives access to.")]
_DURATION = re.compile(r"(\d{1,5})([dh])")


@cli.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the key; it appears in logs and in the audit log.")],
    scope: Annotated[
        list[str], typer.Option(help=f"One of {', '.join(SCOPES)}; repeat the option for more.")
    ],
    tenant: Tenant = DEFAULT_TENANT,
    expires: Annotated[
        str | None,
        typer.Option(help="Time of expiry: 90d, 12h, or a date such as 2030-12-31 (UTC). Default: never."),
    ] = None,
    rate_limit: Annotated[
        str | None,
        typer.Option(help="Rate limit of the key, such as 60/minute. Default: COUNTERSIGN_RATE_LIMIT."),
    ] = None,
    file: SecretFile = None,
) -> None:
    """Create a key. Its text is printed once, on stdout or to a file, and is not stored."""
    created_at = now()
    for word in (name, tenant):
        if re.fullmatch(NAME, word) is None:
            raise InvalidSettings(
                f"{word!r} is not a valid name: use 1 to 64 letters, digits, and the characters . _ -"
            )
    try:
        scopes = parse_scopes(scope)
        parse_limit(rate_limit or "")
        expires_at = _parse_expiry(expires, created_at)
    except ValueError as error:
        raise InvalidSettings(f"{error}.") from error
    text = new_text()
    key = Key(new_id(), name, tenant, sha256(text), scopes, created_at, expires_at, rate_limit=rate_limit)
    with (
        store_and_trail() as (store, trail),
        nullcontext(typer.echo) if file is None else secret_file(file) as show,
    ):
        warn_of_new_tenant(store, tenant)

        def add(session: Session) -> None:
            api_keys.add(session, key)
            entry = trail.entry("key-create", record_id=key.key_id, by=operator(tenant), **describe_key(key))
            trail.append(session, entry)

        store.write_now(add)
        show(text)
    typer.echo(
        f"Key {name!r} ({key.key_id}) of tenant {tenant!r}, scopes: {', '.join(sorted(scopes))}; "
        f"{f'it expires at {_format_time(expires_at)}' if expires_at else 'it does not expire'}. "
        f"The text of the key is {'printed above' if file is None else f'in {file}'} and cannot be shown again; send "
        "it in the header X-API-Key.",
        err=True,
    )


@cli.command()
def generate(file: SecretFile = None) -> None:
    """Print the text of a new key for COUNTERSIGN_BOOTSTRAP_KEY, or write it to a file. It is not stored."""
    put_secret(new_text(), file, "key")


@cli.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="List only keys of this tenant.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Include revoked and expired keys.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the keys in the store, without COUNTERSIGN_BOOTSTRAP_KEY."""
    time = now()
    with store_and_trail() as (store, _):
        if tenant is not None:
            warn_of_new_tenant(store, tenant)
        listed = [key for key in store.read_now(api_keys.all_keys, tenant) if everything or key.live(time)]
    rows = [
        {
            "key_id": key.key_id,
            "tenant": key.tenant_id,
            "name": key.name,
            "scopes": "+".join(sorted(key.scopes)),
            "rate_limit": key.rate_limit or "-",
            "created": _format_time(key.created_at),
            "expires": _format_time(key.expires_at),
            "last_used": _format_time(key.last_used_at),
            "state": "revoked" if key.revoked_at else "expired" if key.expired(time) else "live",
        }
        for key in listed
    ]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    if not rows:
        typer.echo("There are no keys. `python -m app keys create NAME --scope SCOPE` creates one.", err=True)
        return
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in rows[0]}
    for row in [{column: column for column in widths}, *rows]:
        typer.echo("  ".join(row[column].ljust(width) for column, width in widths.items()).rstrip())


@cli.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Id of the key, or its name within the tenant.")],
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Revoke a key. Running services refuse it within COUNTERSIGN_KEY_REFRESH_S seconds."""
    with store_and_trail() as (store, trail):

        def revoke_key(session: Session) -> Key:
            revoked = api_keys.revoke(session, tenant, key, now())
            actor = operator(revoked.tenant_id)
            entry = trail.entry("key-revoke", record_id=revoked.key_id, by=actor, name=revoked.name)
            trail.append(session, entry)
            return revoked

        revoked = store.write_now(revoke_key)
    typer.echo(f"Key {revoked.name!r} ({revoked.key_id}) of tenant {revoked.tenant_id!r} is revoked.")


def _parse_expiry(text: str | None, created_at: datetime) -> datetime | None:
    if text is None:
        return None
    if (duration := _DURATION.fullmatch(text)) is not None:
        amount = int(duration[1])
        return created_at + (timedelta(days=amount) if duration[2] == "d" else timedelta(hours=amount))
    try:
        expires_at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time of expiry; write 90d, 12h, or a date such as 2030-12-31"
        ) from None
    expires_at = expires_at.replace(tzinfo=expires_at.tzinfo or UTC)
    if expires_at <= created_at:
        raise ValueError(f"{text} is in the past")
    return expires_at


def _format_time(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ") if time else "-"
