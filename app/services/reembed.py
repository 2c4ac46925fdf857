"""Move references to another model: embed their stored images again while the service runs.

A reference may have templates of several models. The service compares only templates of its own model, and answers
409 for a signer when one of their references has none. References can therefore be moved before the new model is
served, while replicas of the old model answer requests, and templates of two models are never compared.

The references are moved signer by signer, in chunks of limited size. Images are read in one transaction and embedded
outside of any transaction; the templates are written in another, which checks again which references are still
enrolled. Passes are repeated until one moves nothing, so that references enrolled meanwhile by replicas of the old
model are moved too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.decoding.formats import UNLIMITED
from app.decoding.pool import DecoderFault, DecoderPool
from app.domain.callers import Caller
from app.domain.errors import CountersignError, DataKeyMissing, StoredDataDamaged
from app.domain.records import Vector
from app.services.audit.trail import Trail
from app.store import templates
from app.store.store import Store
from app.store.templates import Owner, PendingReference
from model.errors import UnusableSignature
from model.networks.embedder import Embedder

CHUNK = 16
"""Maximum number of references in one transaction."""
CHUNK_BYTES = 32 * 2**20
"""Maximum bytes of the images of one transaction; a larger image is moved alone."""
PAGE = 200
"""Maximum number of signers or templates read in one query."""


@dataclass(frozen=True)
class Failure:
    """A reference that cannot be moved, with the reason."""

    owner: Owner
    reference_id: str
    why: str


@dataclass
class Outcome:
    """The result of a run.

    Attributes
    ----------
    moved : int
        References that got a template.
    passed_over : int
        References that were erased or moved by another process during the run.
    dropped : dict of str to int
        Number of deleted templates by model version.
    kept : int
        Signers whose old templates were not deleted because some of their references could not be moved.
    failed : dict of str to Failure
        By reference id.
    """

    moved: int = 0
    passed_over: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    failed: dict[str, Failure] = field(default_factory=dict)


class Reembedding:
    """One run of the migration.

    Parameters
    ----------
    store : Store
    trail : Trail
    embedder : Embedder
        The model to which references are moved.
    actor : Caller
        The actor of the audit entries; each entry gets the tenant of its signer.
    decoders : DecoderPool
        Decodes the images and isolates their ink, with the resource limits of uploads.
    """

    def __init__(
        self, store: Store, trail: Trail, embedder: Embedder, actor: Caller, decoders: DecoderPool
    ) -> None:
        self._store = store
        self._trail = trail
        self._embedder = embedder
        self._actor = actor
        self._decoders = decoders
        self._version = embedder.version
        self.outcome = Outcome()

    def waiting(self) -> int:
        """Count the references without a template of the model, including failed ones."""
        return self._store.read_now(templates.count_lacking, self._version)

    def move(self) -> Iterator[int]:
        """Move all references; yield the number of processed references after each transaction.

        Raises
        ------
        StoreUnavailable
            Moved references stay moved; the next run continues with the others.
        """
        while True:
            moved_before = self.outcome.moved
            for owner in self._owners(templates.owners_lacking):
                references = self._store.read_now(templates.lacking_of, owner, self._version)
                yield from self._move(
                    owner, [ref for ref in references if ref.reference_id not in self.outcome.failed]
                )
            if self.outcome.moved == moved_before:
                return

    def present(self) -> tuple[int, int]:
        """Count the templates of the model, and those of all other models."""
        counts = self._store.read_now(templates.count_by_model)
        count = counts.get(self._version, 0)
        return count, sum(counts.values()) - count

    def repair(self) -> Iterator[int]:
        """Replace damaged templates of the model; yield the number of checked templates."""
        after: str | None = ""
        while after is not None:
            damaged, checked, after = self._store.read_now(
                templates.damaged_after, self._version, self._embedder.dimension, after, PAGE
            )
            for owner, group in groupby(sorted(damaged, key=lambda row: row[0].key), key=lambda row: row[0]):
                for _ in self._move(owner, [reference for _, reference in group]):
                    pass
            yield checked

    def drop_others(self) -> Iterator[int]:
        """Delete templates of other models of completely moved signers; yield the number deleted per signer."""
        for owner in self._owners(templates.owners_with_others):
            deleted = self._store.write_now(self._delete_others, owner)
            if deleted is None:
                self.outcome.kept += 1
            for version, count in (deleted or {}).items():
                self.outcome.dropped[version] = self.outcome.dropped.get(version, 0) + count
            yield sum((deleted or {}).values())
        self._store.sweep()

    def _owners(self, list_page: templates.Paged) -> Iterator[Owner]:
        after = ""
        while owners := self._store.read_now(list_page, self._version, after, PAGE):
            yield from owners
            after = owners[-1].key

    def _move(self, owner: Owner, references: Sequence[PendingReference]) -> Iterator[int]:
        for chunk in chunks(references):
            embedded = self._embed(owner, chunk)
            failed = sum(reference.reference_id in self.outcome.failed for reference in chunk)
            moved = self._store.write_now(self._add_templates, owner, embedded) if embedded else []
            self.outcome.moved += len(moved)
            self.outcome.passed_over += len(chunk) - len(moved) - failed
            yield len(chunk)

    def _embed(self, owner: Owner, chunk: Sequence[PendingReference]) -> dict[str, Vector]:
        """Embed a chunk; return the templates by reference id, without failed and erased references."""
        images = [
            (reference, image)
            for reference in chunk
            if (image := self._read_image(owner, reference)) is not None
        ]
        canvases = list(self._decoders.threads.map(lambda pair: self._prepare(owner, *pair), images))
        prepared = [
            (reference.reference_id, canvas)
            for (reference, _), canvas in zip(images, canvases, strict=True)
            if canvas is not None
        ]
        if not prepared:
            return {}
        embeddings = self._embedder.embed(np.stack([canvas for _, canvas in prepared]))
        return {reference_id: vector for (reference_id, _), vector in zip(prepared, embeddings, strict=True)}

    def _read_image(self, owner: Owner, reference: PendingReference) -> bytes | None:
        try:
            image = self._store.read_now(templates.image_of, owner, reference.reference_id)
        except (StoredDataDamaged, DataKeyMissing) as error:
            self._add_failure(owner, reference, str(error))
            return None
        if image is None and self._store.read_now(templates.has_reference, reference.reference_id):
            self._add_failure(owner, reference, "Its image is missing from the store.")
        return image

    def _prepare(self, owner: Owner, reference: PendingReference, image: bytes) -> NDArray[np.uint8] | None:
        try:
            reading = self._decoders.read(
                image, None, reference.page, UNLIMITED, self._embedder.canvas, reference.region
            )
            return reading.prepared.canvas
        except (CountersignError, UnusableSignature, DecoderFault) as error:
            self._add_failure(owner, reference, str(error))
            return None

    def _add_failure(self, owner: Owner, reference: PendingReference, reason: str) -> None:
        self.outcome.failed[reference.reference_id] = Failure(owner, reference.reference_id, reason)

    def _add_templates(self, session: Session, owner: Owner, embedded: dict[str, Vector]) -> list[str]:
        moved = templates.add(session, owner, self._version, embedded)
        if moved:
            self._append_entry(session, owner, references=moved)
        return moved

    def _delete_others(self, session: Session, owner: Owner) -> dict[str, int] | None:
        deleted = templates.drop_others(session, owner, self._version)
        if deleted:
            self._append_entry(session, owner, dropped=deleted)
        return deleted

    def _append_entry(self, session: Session, owner: Owner, **details: Any) -> None:
        actor = Caller(self._actor.name, owner.tenant_id, self._actor.scopes)
        entry = self._trail.entry("reembed", by=actor, model_version=self._version, **details)
        self._trail.append(session, entry, owner.key)


def chunks(references: Sequence[PendingReference]) -> Iterator[list[PendingReference]]:
    """Split references into chunks of at most `CHUNK` references and `CHUNK_BYTES` bytes."""
    chunk: list[PendingReference] = []
    size = 0
    for reference in references:
        if chunk and (len(chunk) == CHUNK or size + reference.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(reference)
        size += reference.size
    if chunk:
        yield chunk
