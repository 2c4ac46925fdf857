"""Accounts in the store: read by version or by day, changed by adding a version, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.domain.accounts import AccountSummary, AccountVersion
from app.domain.errors import AccountNotFound, AccountVersionNotFound, MandateNotInForce
from app.domain.ids import new_id
from app.domain.mandate_form import Mandate
from app.domain.records import Page
from app.store.account_tables import AccountRow, AccountVersionRow, SignatoryRow
from app.store.signer_locks import LockedSigner

_COLUMNS = (
    AccountRow.key,
    AccountRow.account_id,
    AccountVersionRow.version,
    AccountVersionRow.version_id,
    AccountVersionRow.created_at,
)


def get(session: Session, tenant_id: str, account_id: str) -> AccountVersion:
    """Get the latest version of an account; raise AccountNotFound."""
    found = _first(session, _versions(tenant_id, account_id))
    if found is None:
        raise not_found(account_id)
    return found


def get_version(session: Session, tenant_id: str, account_id: str, version: int) -> AccountVersion:
    """Get one version of an account; raise AccountNotFound or AccountVersionNotFound."""
    found = _first(session, _versions(tenant_id, account_id).where(AccountVersionRow.version == version))
    if found is None:
        latest = get(session, tenant_id, account_id)
        raise AccountVersionNotFound(
            f"Account {account_id!r} has the versions 1 to {latest.version}, and no version {version}."
        )
    return found


def in_force_on(session: Session, tenant_id: str, account_id: str, day: date) -> AccountVersion:
    """Get the version that applies to signatures of a day: the latest one that is effective then.

    Raises
    ------
    AccountNotFound, MandateNotInForce
    """
    effective = or_(AccountVersionRow.effective_from.is_(None), AccountVersionRow.effective_from <= day)
    found = _first(session, _versions(tenant_id, account_id).where(effective))
    if found is None:
        get(session, tenant_id, account_id)
        raise MandateNotInForce(f"No version of account {account_id!r} applies to signatures of {day}.")
    return found


def page(session: Session, tenant_id: str, limit: int, after: str | None) -> Page[AccountSummary]:
    """List accounts by id, each with its latest version."""
    signatories = (
        select(func.count())
        .select_from(SignatoryRow)
        .where(SignatoryRow.version_id == AccountVersionRow.version_id)
        .scalar_subquery()
    )
    query = (
        select(*_COLUMNS, signatories.label("signatories"))
        .join(AccountVersionRow, AccountVersionRow.account_key == AccountRow.key)
        .where(AccountRow.tenant_id == tenant_id, AccountVersionRow.version == AccountRow.version)
        .order_by(AccountRow.account_id)
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(AccountRow.account_id > after)
    rows = session.execute(query).all()
    items = tuple(
        AccountSummary(row.account_id, row.version, row.version_id, row.created_at, row.signatories)
        for row in rows[:limit]
    )
    return Page(items, items[-1].account_id if len(rows) > limit else None)


def version_page(
    session: Session, tenant_id: str, account_id: str, limit: int, before: int | None
) -> Page[AccountVersion]:
    """List the versions of an account, latest first; raise AccountNotFound."""
    get(session, tenant_id, account_id)
    query = _versions(tenant_id, account_id)
    if before is not None:
        query = query.where(AccountVersionRow.version < before)
    rows = session.execute(query.limit(limit + 1)).all()
    items = _read(session, rows[:limit])
    return Page(items, str(items[-1].version) if len(rows) > limit else None)


def lock(session: Session, tenant_id: str, account_id: str) -> AccountVersion | None:
    """Lock an account exclusively until the transaction ends; return its latest version, None without account."""
    key = session.scalar(
        select(AccountRow.key)
        .where(AccountRow.tenant_id == tenant_id, AccountRow.account_id == account_id)
        .with_for_update()
    )
    return None if key is None else get(session, tenant_id, account_id)


def add_version(
    session: Session,
    tenant_id: str,
    account_id: str,
    latest: AccountVersion | None,
    mandate: Mandate,
    signers: Sequence[LockedSigner],
    at: datetime,
) -> AccountVersion:
    """Add a version to the account, which is locked, or create the account when `latest` is None.

    Parameters
    ----------
    signers : sequence of LockedSigner
        All signatories of `mandate`.
    """
    if latest is None:
        key, version = new_id(), 1
        account = AccountRow(key=key, tenant_id=tenant_id, account_id=account_id, version=version)
        session.add(account)
        session.flush()
    else:
        key, version = latest.account_key, latest.version + 1
        session.execute(update(AccountRow).where(AccountRow.key == key).values(version=version))
    version_id = new_id()
    session.add(
        AccountVersionRow(
            version_id=version_id,
            account_key=key,
            version=version,
            created_at=at,
            effective_from=mandate.effective_from,
            mandate=mandate.model_dump(mode="json"),
        )
    )
    session.flush()
    keys: dict[str, str | None] = {signer.signer_id: signer.key for signer in signers}
    session.execute(
        insert(SignatoryRow),
        [
            {"version_id": version_id, "signer_id": signer_id, "signer_key": signer_key}
            for signer_id, signer_key in keys.items()
        ],
    )
    return AccountVersion(key, account_id, version, version_id, at, mandate, keys)


def remove(session: Session, latest: AccountVersion) -> None:
    """Delete an account, which is locked, with all its versions; verifications remain."""
    session.execute(delete(AccountRow).where(AccountRow.key == latest.account_key))


def not_found(account_id: str) -> AccountNotFound:
    """Return the error for an id under which there is no account."""
    return AccountNotFound(f"There is no account {account_id!r}; PUT it first.")


def _versions(tenant_id: str, account_id: str) -> Select[Any]:
    """Select the versions of an account, latest first."""
    return (
        select(*_COLUMNS, AccountVersionRow.mandate)
        .join(AccountVersionRow, AccountVersionRow.account_key == AccountRow.key)
        .where(AccountRow.tenant_id == tenant_id, AccountRow.account_id == account_id)
        .order_by(AccountVersionRow.version.desc())
    )


def _first(session: Session, query: Select[Any]) -> AccountVersion | None:
    return next(iter(_read(session, session.execute(query.limit(1)).all())), None)


def _read(session: Session, rows: Iterable[Row[Any]]) -> tuple[AccountVersion, ...]:
    rows = list(rows)
    keys: dict[str, dict[str, str | None]] = {row.version_id: {} for row in rows}
    if rows:
        signatories = select(SignatoryRow.version_id, SignatoryRow.signer_id, SignatoryRow.signer_key)
        for row in session.execute(signatories.where(SignatoryRow.version_id.in_(keys))):
            keys[row.version_id][row.signer_id] = row.signer_key
    return tuple(
        AccountVersion(
            account_key=row.key,
            account_id=row.account_id,
            version=row.version,
            version_id=row.version_id,
            created_at=row.created_at,
            mandate=Mandate.model_validate(row.mandate),
            signer_keys=keys[row.version_id],
        )
        for row in rows
    )
