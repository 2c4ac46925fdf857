"""What was erased stays erased: tombstones, and erasing again what a restored backup brought back.

A tombstone is a keyed digest of our own random key of a signer or reference, never of the caller's id: it names
nobody, and a person who is enrolled anew has another key and is left alone. Tombstones stand in the database and in
a log outside it (`app.store.erasure.log`), since restoring the database restores it without its younger tombstones.
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


@dataclass(frozen=True)
class Erasure:
    """That something was erased, and when; names nobody."""

    kind: str
    digest: str
    key_id: str
    erased_at: datetime


@dataclass(frozen=True)
class Returned:
    """Something that was erased and is there again."""

    kind: Kind
    tenant_id: str
    signer_id: str
    signer_key: str
    reference_id: str | None


def add_tombstone(session: Session, kind: Kind, key: str) -> Erasure:
    """Put up a tombstone, in the transaction that erases."""
    active = cipher_of(session).keys.active
    tombstone = Erasure(kind, digest(active, kind, key), active.key_id, now())
    add_all(session, [tombstone])
    return tombstone


def add_all(session: Session, known_tombstones: Iterable[Erasure]) -> int:
    """Put up those of the tombstones that do not stand yet; how many."""
    wanted = {tombstone.digest: tombstone for tombstone in known_tombstones}
    for known in _standing(session, list(wanted)):
        del wanted[known]
    if wanted:
        session.execute(
            insert(TombstoneRow),
            [
                {
                    "digest": tombstone.digest,
                    "kind": tombstone.kind,
                    "key_id": tombstone.key_id,
                    "erased_at": tombstone.erased_at,
                }
                for tombstone in wanted.values()
            ],
        )
    return len(wanted)


def count(session: Session) -> int:
    """How many tombstones stand."""
    return session.scalar(select(func.count()).select_from(TombstoneRow)) or 0


def everything(session: Session) -> list[Erasure]:
    """All tombstones, in the order of the erasures."""
    rows = session.scalars(select(TombstoneRow).order_by(TombstoneRow.erased_at))
    return [Erasure(row.kind, row.digest, row.key_id, row.erased_at) for row in rows]


def unknown_keys(session: Session) -> list[str]:
    """Ids of keys that tombstones were made with and that are not configured: those cannot be applied."""
    keys = cipher_of(session).keys
    used = session.scalars(select(TombstoneRow.key_id).distinct())
    return sorted(key_id for key_id in used if keys.get(key_id) is None)


def returned(session: Session, logged: Iterable[Erasure] = ()) -> list[Returned]:
    """What has a tombstone, here or among the logged ones, and is there all the same."""
    known = [*everything(session), *logged]
    if not known:
        return []
    known_tombstones = {(tombstone.kind, tombstone.digest) for tombstone in known}
    key_ids = {tombstone.key_id for tombstone in known}
    keys = [key for key in cipher_of(session).keys.all if key.key_id in key_ids]

    def stands(kind: Kind, own_key: str) -> bool:
        return any((kind, digest(key, kind, own_key)) in known_tombstones for key in keys)

    found = [
        Returned("signer", signer.tenant_id, signer.signer_id, signer.key, None)
        for signer in session.execute(select(SignerRow.key, SignerRow.tenant_id, SignerRow.signer_id))
        if stands("signer", signer.key)
    ]
    gone = {one.signer_key for one in found}
    references = select(
        ReferenceRow.reference_id, SignerRow.key, SignerRow.tenant_id, SignerRow.signer_id
    ).join(SignerRow, SignerRow.key == ReferenceRow.signer_key)
    return found + [
        Returned("reference", row.tenant_id, row.signer_id, row.key, row.reference_id)
        for row in session.execute(references)
        if row.key not in gone and stands("reference", row.reference_id)
    ]


def erase_again(session: Session, one: Returned) -> bool:
    """Erase what came back, as it was erased the first time; False when another process was quicker."""
    if one.kind == "signer":
        gone = delete(SignerRow).where(SignerRow.key == one.signer_key).returning(SignerRow.key)
    else:
        gone = (
            delete(ReferenceRow)
            .where(ReferenceRow.reference_id == one.reference_id)
            .returning(ReferenceRow.reference_id)
        )
    if session.scalar(gone) is None:
        return False
    if one.kind == "signer":
        questioned_images.erase_of(session, one.tenant_id, one.signer_id)
        idempotency.forget_signer(session, one.tenant_id, one.signer_id)
    change_counters.touch(session, one.tenant_id, one.signer_key)
    return True


def _standing(session: Session, digests: list[str]) -> Iterator[str]:
    for start in range(0, len(digests), 500):  # databases limit the parameters of one statement
        part = digests[start : start + 500]
        yield from session.scalars(select(TombstoneRow.digest).where(TombstoneRow.digest.in_(part)))
