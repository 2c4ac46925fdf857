"""Accounts: show, list, change by adding a version, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from app.domain.accounts import (
    AccountSummary,
    AccountVerification,
    AccountVersion,
    Precondition,
    mandate_sha256,
)
from app.domain.audit_chain import canonical
from app.domain.mandate_form import Mandate
from app.domain.records import Page, now
from app.domain.verification_filter import EVERYTHING, VerificationFilter
from app.services.context import AppContext
from app.services.idempotency import IdempotentRequest
from app.services.policy import refuse_unsupported_rate
from app.store import account_verifications, accounts, signer_locks
from app.store.store import Store

Answer = dict[str, Any]


async def list_accounts(store: Store, tenant_id: str, limit: int, after: str | None) -> Page[AccountSummary]:
    """List accounts by id."""
    return await store.read(accounts.page, tenant_id, limit, after)


async def get_account(store: Store, tenant_id: str, account_id: str) -> AccountVersion:
    """Get the latest version of an account; raise AccountNotFound."""
    return await store.read(accounts.get, tenant_id, account_id)


async def list_versions(
    store: Store, tenant_id: str, account_id: str, limit: int, before: int | None
) -> Page[AccountVersion]:
    """List the versions of an account, latest first; raise AccountNotFound."""
    return await store.read(accounts.version_page, tenant_id, account_id, limit, before)


async def get_version(store: Store, tenant_id: str, account_id: str, version: int) -> AccountVersion:
    """Get one version of an account; raise AccountNotFound or AccountVersionNotFound."""
    return await store.read(accounts.get_version, tenant_id, account_id, version)


async def list_verifications(
    store: Store,
    tenant_id: str,
    account_id: str,
    limit: int,
    after: str | None,
    wanted: VerificationFilter = EVERYTHING,
) -> Page[AccountVerification]:
    """List the verifications of an account, newest first; also those of a deleted account."""
    return await store.read(account_verifications.page, tenant_id, account_id, limit, after, wanted)


async def get_verification(
    store: Store, tenant_id: str, account_id: str, account_verification_id: str
) -> AccountVerification:
    """Get one verification of an account; raise VerificationNotFound."""
    return await store.read(account_verifications.get, tenant_id, account_id, account_verification_id)


async def put_account(
    context: AppContext,
    tenant_id: str,
    account_id: str,
    mandate: Mandate,
    precondition: Precondition,
    render: Callable[[AccountVersion], Answer],
    request: IdempotentRequest | None = None,
) -> Answer:
    """Add a version to an account, and create the account if it does not exist.

    If the latest version has this content already, the request is a repetition: the version is returned, and
    the precondition is not checked.

    Raises
    ------
    SignerNotFound
        A signatory is not enrolled.
    UnsupportedRate, PreconditionFailed, PreconditionRequired, IdempotencyConflict
    """
    for band in mandate.bands:
        if band.target_far is not None:
            refuse_unsupported_rate(context.embedder.calibration, band.target_far)
    signer_ids = sorted({signatory.signer_id for signatory in mandate.signatories})
    entry = context.trail.entry("account-change")

    def write(session: Session) -> Answer:
        if request is not None and (earlier := request.claim(session)) is not None:
            return earlier
        latest = accounts.lock(session, tenant_id, account_id)
        locked = [signer_locks.lock_by_id(session, tenant_id, signer_id) for signer_id in signer_ids]
        keys = {signer.signer_id: signer.key for signer in locked}
        if latest is not None and latest.mandate == mandate and latest.signer_keys == keys:
            version = latest
        else:
            precondition.check(account_id, latest.version_id if latest else None, is_required=True)
            version = accounts.add_version(session, tenant_id, account_id, latest, mandate, locked, now())
        answer = render(version)
        if request is not None:
            request.store_answer_of_many(session, locked, answer)
        if version is not latest:
            details = canonical({"version": version.version, "sha256": mandate_sha256(mandate)})
            context.trail.append(session, replace(entry, record_id=version.version_id, details=details))
        return answer

    return await context.store.write(write)


async def delete_account(
    context: AppContext,
    tenant_id: str,
    account_id: str,
    precondition: Precondition,
    request: IdempotentRequest | None = None,
) -> bool:
    """Delete an account with all versions; its verifications remain. Return False when there was none.

    Raises
    ------
    PreconditionFailed, IdempotencyConflict
    """
    entry = context.trail.entry("account-delete")

    def write(session: Session) -> bool:
        if request is not None and request.claim(session) is not None:
            return False
        latest = accounts.lock(session, tenant_id, account_id)
        precondition.check(account_id, latest.version_id if latest else None, is_required=False)
        if request is not None:
            request.store_answer_of_many(session, (), {})
        if latest is None:
            return False
        accounts.remove(session, latest)
        details = canonical({"version": latest.version})
        context.trail.append(session, replace(entry, record_id=latest.version_id, details=details))
        return True

    return await context.store.write(write)
