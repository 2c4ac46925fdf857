"""Tombstones of erased records, and the erasure of records that a restored backup contains again.

A tombstone is a keyed digest of the random internal key of a signer or reference, never of the caller's id. It
identifies no one, and it does not match a signer who enrols again, because that signer gets a new internal key.
Tombstones are kept in the database and in a log outside it (`app.store.erasure.log`), because a restored backup lacks
the tombstones that were added after it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from app.domain.records import now
from app.store import change_counters, idempotency, questioned_images
from app.store.encryption.cipher import cipher_of, digest
from app.store.tables import ReferenceRow, SignerRow, TombstoneRow

Kind = Literal["signer", "reference"]
_IN_PAGES = {"yield_per": 5000}
"""Of queries for all signers or references, which need not all be in memory at once."""


@dataclass(frozen=True)
class Erasure:
    """The tombstone of one erased record; it identifies no one."""

    kind: str
    digest: str
    key_id: str
    erased_at: datetime


@dataclass(frozen=True)
class RestoredRecord:
    """A record that was erased and is in the database again."""

    kind: Kind
    tenant_id: str
    signer_id: str
    signer_key: str
    reference_id: str | None


def add_tombstone(session: Session, kind: Kind, key: str) -> Erasure:
    """Insert a tombstone, in the transaction that erases the record."""
    active = cipher_of(session).keys.active
    tombstone = Erasure(kind, digest(active, kind, key), active.key_id, now())
    add_all(session, [tombstone])
    return tombstone


def add_all(session: Session, tombstones: Iterable[Erasure]) -> int:
    """Insert the tombstones that are not in the table yet; return their number."""
    missing = {tombstone.digest: tombstone for tombstone in tombstones}
    for present in _present(session, list(missing)):
        del missing[present]
    if missing:
        session.execute(
            insert(TombstoneRow),
            [
                {
                    "digest": tombstone.digest,
                    "kind": tombstone.kind,
                    "key_id": tombstone.key_id,
                    "erased_at": tombstone.erased_at,
                }
                for tombstone in missing.values()
            ],
        )
    return len(missing)


def count(session: Session) -> int:
    """Count the tombstones in the table."""
    return session.scalar(select(func.count()).select_from(TombstoneRow)) or 0


def all_tombstones(session: Session) -> list[Erasure]:
    """Return all tombstones in the table, in the order of the erasures."""
    rows = session.scalars(select(TombstoneRow).order_by(TombstoneRow.erased_at))
    return [Erasure(row.kind, row.digest, row.key_id, row.erased_at) for row in rows]


def unknown_keys(session: Session) -> list[str]:
    """Return the ids of keys that tombstones were made with but that are not configured.

    The tombstones of these keys cannot be applied.
    """
    keys = cipher_of(session).keys
    used = session.scalars(select(TombstoneRow.key_id).distinct())
    return sorted(key_id for key_id in used if keys.get(key_id) is None)


def find_restored(session: Session, logged: Iterable[Erasure] = ()) -> list[RestoredRecord]:
    """Return the records that have a tombstone, in the table or among `logged`, and are in the database."""
    tombstones = [*all_tombstones(session), *logged]
    if not tombstones:
        return []
    digests = {(tombstone.kind, tombstone.digest) for tombstone in tombstones}
    key_ids = {tombstone.key_id for tombstone in tombstones}
    keys = [key for key in cipher_of(session).keys.all if key.key_id in key_ids]

    def is_erased(kind: Kind, internal_key: str) -> bool:
        return any((kind, digest(key, kind, internal_key)) in digests for key in keys)

    signers = [
        RestoredRecord("signer", signer.tenant_id, signer.signer_id, signer.key, None)
        for signer in session.execute(
            select(SignerRow.key, SignerRow.tenant_id, SignerRow.signer_id), execution_options=_IN_PAGES
        )
        if is_erased("signer", signer.key)
    ]
    erased_signer_keys = {signer.signer_key for signer in signers}
    references = select(
        ReferenceRow.reference_id, SignerRow.key, SignerRow.tenant_id, SignerRow.signer_id
    ).join(SignerRow, SignerRow.key == ReferenceRow.signer_key)
    return signers + [
        RestoredRecord("reference", row.tenant_id, row.signer_id, row.key, row.reference_id)
        for row in session.execute(references, execution_options=_IN_PAGES)
        if row.key not in erased_signer_keys and is_erased("reference", row.reference_id)
    ]


def erase_again(session: Session, record: RestoredRecord) -> bool:
    """Erase a restored record with everything that belongs to it; False if another process has erased it already."""
    if record.kind == "signer":
        deletion = delete(SignerRow).where(SignerRow.key == record.signer_key).returning(SignerRow.key)
    else:
        deletion = (
            delete(ReferenceRow)
            .where(ReferenceRow.reference_id == record.reference_id)
            .returning(ReferenceRow.reference_id)
        )
    if session.scalar(deletion) is None:
        return False
    if record.kind == "signer":
        questioned_images.erase_of(session, record.tenant_id, record.signer_id)
        idempotency.forget_signer(session, record.tenant_id, record.signer_id)
    change_counters.touch(session, record.tenant_id, record.signer_key)
    return True


def _present(session: Session, digests: list[str]) -> Iterator[str]:
    """Yield those of the digests that are in the table."""
    for start in range(0, len(digests), 500):  # databases limit the number of parameters of one statement
        batch = digests[start : start + 500]
        yield from session.scalars(select(TombstoneRow.digest).where(TombstoneRow.digest.in_(batch)))
