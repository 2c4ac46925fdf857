"""Holding a signer: the one way to write something of them.

A transaction that writes something of a signer first locks the signer's row here, and the functions that write ask
for the :class:`LockedSigner` that this gives. An erasure has to have the row for itself. So what is written is on
disk before an erasure begins, which then finds it, or the erasure came first and nothing is written. SQLite has no
row locks and needs none: a transaction that writes has the whole database for itself from the beginning
(`app.store.engine`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.domain.errors import SignerErased, SignerNotFound
from app.domain.records import new_id
from app.store.tables import SignerRow


@dataclass(frozen=True)
class LockedSigner:
    """A signer who is not erased before the transaction ends; only the functions of this module make one.

    Attributes
    ----------
    key : str
        Tells the signer from others who had the same id before or get it later.
    """

    tenant_id: str
    signer_id: str
    key: str


def lock(session: Session, tenant_id: str, signer_id: str, key: str) -> LockedSigner:
    """Hold the signer with this key, beside others who hold them so; raises SignerErased when they are gone."""
    # FOR KEY SHARE: it keeps an erasure waiting, and no other verification.
    shared = select(SignerRow.key).where(SignerRow.key == key).with_for_update(read=True, key_share=True)
    if session.scalar(shared) is None:
        raise _erased(signer_id)
    return LockedSigner(tenant_id, signer_id, key)


def lock_exclusively(session: Session, tenant_id: str, signer_id: str, key: str) -> LockedSigner:
    """As :func:`hold`, and nobody else holds them: for what changes with the number of their references."""
    if session.scalar(select(SignerRow.key).where(SignerRow.key == key).with_for_update()) is None:
        raise _erased(signer_id)
    return LockedSigner(tenant_id, signer_id, key)


def lock_by_id(session: Session, tenant_id: str, signer_id: str) -> LockedSigner:
    """As :func:`hold`, whoever is enrolled under this id; raises SignerNotFound."""
    key = session.scalar(key_query(tenant_id, signer_id).with_for_update(read=True, key_share=True))
    if key is None:
        raise not_enrolled(signer_id)
    return LockedSigner(tenant_id, signer_id, key)


def lock_by_id_exclusively(session: Session, tenant_id: str, signer_id: str) -> LockedSigner | None:
    """As :func:`lock_exclusively`, whoever is enrolled under this id; None when nobody is."""
    key = session.scalar(key_query(tenant_id, signer_id).with_for_update())
    return None if key is None else LockedSigner(tenant_id, signer_id, key)


def lock_or_create(
    session: Session, tenant_id: str, signer_id: str, known: str | None, at: datetime
) -> LockedSigner:
    """Hold the signer, alone, whom a request that enrols has seen under the key `known`.

    When it saw nobody under this id, whoever has it by now is locked, or the signer is made.

    Raises
    ------
    SignerErased
        The signer that the request saw is gone.
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
    """Selects the key of the signer who is enrolled under an id."""
    return select(SignerRow.key).where(SignerRow.tenant_id == tenant_id, SignerRow.signer_id == signer_id)


def not_enrolled(signer_id: str) -> SignerNotFound:
    """What is raised where nobody is enrolled under an id."""
    return SignerNotFound(f"No signer {signer_id!r} is enrolled; POST references to enrol one.")


def _erased(signer_id: str) -> SignerErased:
    return SignerErased(
        f"Signer {signer_id!r} was erased while this request was worked on; nothing was stored. Send it again if it "
        "is meant for whoever is enrolled under this id now."
    )
