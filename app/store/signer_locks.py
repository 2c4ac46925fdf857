"""Row locks on signers: a transaction that writes data of a signer first locks the signer's row.

Functions that write require a :class:`LockedSigner`, which only this module creates. An erasure takes the lock
exclusively. So either a write is committed before the erasure begins, which then deletes it, or the erasure is
committed first and nothing is written. SQLite has no row locks and needs none: a transaction that writes locks the
whole database from its beginning (`app.store.engine`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.domain.errors import SignerErased, SignerNotFound
from app.domain.ids import new_id
from app.store.tables import SignerRow


@dataclass(frozen=True)
class LockedSigner:
    """A signer who cannot be erased before the transaction ends.

    Attributes
    ----------
    key : str
        Internal key: it distinguishes the signer from others who have the same id before or after.
    """

    tenant_id: str
    signer_id: str
    key: str


def lock(session: Session, tenant_id: str, signer_id: str, key: str) -> LockedSigner:
    """Lock the signer with this key, shared with other writers. Raises SignerErased when there is none."""
    # FOR KEY SHARE: it blocks an erasure, and no other verification.
    shared = select(SignerRow.key).where(SignerRow.key == key).with_for_update(read=True, key_share=True)
    if session.scalar(shared) is None:
        raise _erased(signer_id)
    return LockedSigner(tenant_id, signer_id, key)


def lock_exclusively(session: Session, tenant_id: str, signer_id: str, key: str) -> LockedSigner:
    """Like :func:`lock`, exclusively: for writes that depend on the number of references."""
    if session.scalar(select(SignerRow.key).where(SignerRow.key == key).with_for_update()) is None:
        raise _erased(signer_id)
    return LockedSigner(tenant_id, signer_id, key)


def lock_all(session: Session, tenant_id: str, keys: Mapping[str, str]) -> dict[str, LockedSigner]:
    """Like :func:`lock`, for several signers by signer id; they are locked in the order of their keys."""
    ordered = sorted(keys.items(), key=lambda item: item[1])
    return {signer_id: lock(session, tenant_id, signer_id, key) for signer_id, key in ordered}


def lock_by_id(session: Session, tenant_id: str, signer_id: str) -> LockedSigner:
    """Like :func:`lock`, for the signer who is enrolled under this id. Raises SignerNotFound."""
    key = session.scalar(key_query(tenant_id, signer_id).with_for_update(read=True, key_share=True))
    if key is None:
        raise not_enrolled(signer_id)
    return LockedSigner(tenant_id, signer_id, key)


def lock_by_id_exclusively(session: Session, tenant_id: str, signer_id: str) -> LockedSigner | None:
    """Like :func:`lock_exclusively`, for the signer who is enrolled under this id; None when there is none."""
    key = session.scalar(key_query(tenant_id, signer_id).with_for_update())
    return None if key is None else LockedSigner(tenant_id, signer_id, key)


def lock_or_create(
    session: Session, tenant_id: str, signer_id: str, known: str | None, at: datetime
) -> LockedSigner:
    """Lock the signer of an enrolment exclusively, and create them when new.

    Parameters
    ----------
    known : str or None
        The key of the signer that the request found under this id; None when it found none.

    Raises
    ------
    SignerErased
        The signer that the request found has been erased.
    """
    if known is not None:
        return lock_exclusively(session, tenant_id, signer_id, known)
    locked = lock_by_id_exclusively(session, tenant_id, signer_id)
    if locked is None:
        locked = LockedSigner(tenant_id, signer_id, new_id())
        session.add(SignerRow(key=locked.key, tenant_id=tenant_id, signer_id=signer_id, created_at=at))
        session.flush()
    return locked


def key_query(tenant_id: str, signer_id: str) -> Select[str]:
    """Select the key of the signer who is enrolled under an id."""
    return select(SignerRow.key).where(SignerRow.tenant_id == tenant_id, SignerRow.signer_id == signer_id)


def not_enrolled(signer_id: str) -> SignerNotFound:
    """Return the error for an id under which no signer is enrolled."""
    return SignerNotFound(f"No signer {signer_id!r} is enrolled; POST references to enrol one.")


def _erased(signer_id: str) -> SignerErased:
    return SignerErased(
        f"Signer {signer_id!r} was erased while this request was processed; nothing was stored. Send it again if it "
        "is meant for the signer who is enrolled under this id now."
    )
