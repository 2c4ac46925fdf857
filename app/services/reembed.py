"""Moving references to another model: their kept images are embedded anew, beside a service that runs.

A reference may have templates of several models; the service compares those of its own model only, and says 409 for a
signer of whom one lacks. So references can be moved before the new model is served, while the old one goes on
answering, and nothing is ever mixed. The work goes signer by signer, in chunks of a bounded number of bytes: images
are read in one transaction, embedded outside of any, and the templates are kept in another one, which looks again at
what is still enrolled. Passes follow each other until one finds nothing: a reference that a replica enrolled with the
old model meanwhile is moved by a later one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.decoding.pool import DecoderFault, DecoderPool
from app.decoding.uploads import UploadLimits
from app.domain.callers import Caller
from app.domain.errors import CountersignError, DataKeyMissing, StoredDataDamaged
from app.domain.records import Vector
from app.services.audit.trail import Trail
from app.store import templates
from app.store.store import Store
from app.store.templates import Owner, Waiting
from model.errors import UnusableSignature
from model.networks.embedder import Embedder

CHUNK = 16
"""Most references in one transaction."""
CHUNK_BYTES = 32 * 2**20
"""Most bytes of their images, unless one alone has more."""
PAGE = 200
_AS_ENROLLED = UploadLimits(max_bytes=sys.maxsize, max_pixels=sys.maxsize)  # each was within them once


@dataclass(frozen=True)
class Failure:
    """A reference that cannot be moved, and why."""

    owner: Owner
    reference_id: str
    why: str


@dataclass
class Outcome:
    """What a run did.

    Attributes
    ----------
    moved : int
        References that got a template.
    passed_over : int
        References that were erased meanwhile, or that somebody else moved.
    dropped : dict of str to int
        Templates that were deleted, by model.
    kept : int
        Signers whose old templates were not deleted, as not all their references could be moved.
    failed : dict of str to Failure
        By reference.
    """

    moved: int = 0
    passed_over: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    failed: dict[str, Failure] = field(default_factory=dict)


class Reembedding:
    """One run.

    Parameters
    ----------
    store : Store
    trail : Trail
    embedder : Embedder
        Of the model that references are moved to.
    by : Caller
        Who does it; the tenant is each signer's own.
    readers : DecoderPool
        The processes that decode the images and isolate their ink, with the limits that they have for uploads.
    """

    def __init__(
        self, store: Store, trail: Trail, embedder: Embedder, by: Caller, readers: DecoderPool
    ) -> None:
        self._store = store
        self._trail = trail
        self._embedder = embedder
        self._by = by
        self._readers = readers
        self._version = embedder.version
        self.outcome = Outcome()

    def waiting(self) -> int:
        """How many references lack a template, those that failed included."""
        return self._store.read_now(templates.count_lacking, self._version)

    def move(self) -> Iterator[int]:
        """Move all references; yields after each transaction how many were dealt with.

        Raises
        ------
        StoreUnavailable
            What was moved stays moved; the next run does the rest.
        """
        while True:
            before = self.outcome.moved
            for owner in self._owners(templates.owners_lacking):
                waiting = self._store.read_now(templates.lacking_of, owner, self._version)
                yield from self._move(
                    owner, [w for w in waiting if w.reference_id not in self.outcome.failed]
                )
            if self.outcome.moved == before:
                return

    def present(self) -> tuple[int, int]:
        """How many templates there are of the model, and of all others."""
        counts = self._store.read_now(templates.count_by_model)
        mine = counts.get(self._version, 0)
        return mine, sum(counts.values()) - mine

    def repair(self) -> Iterator[int]:
        """Make templates of the model anew that do not open; yields how many were looked at."""
        after: str | None = ""
        while after is not None:
            damaged, seen, after = self._store.read_now(
                templates.damaged_after, self._version, self._embedder.dimension, after, PAGE
            )
            for owner, group in groupby(sorted(damaged, key=lambda d: d[0].key), key=lambda d: d[0]):
                for _ in self._move(owner, [waiting for _, waiting in group]):
                    pass
            yield seen

    def drop_others(self) -> Iterator[int]:
        """Delete the templates of other models, of signers who moved entirely; yields how many after each one."""
        for owner in self._owners(templates.owners_with_others):
            gone = self._store.write_now(self._drop, owner)
            if gone is None:
                self.outcome.kept += 1
            for version, count in (gone or {}).items():
                self.outcome.dropped[version] = self.outcome.dropped.get(version, 0) + count
            yield sum((gone or {}).values())
        self._store.sweep()

    def _owners(self, page: templates.Paged) -> Iterator[Owner]:
        after = ""
        while owners := self._store.read_now(page, self._version, after, PAGE):
            yield from owners
            after = owners[-1].key

    def _move(self, owner: Owner, waiting: Sequence[Waiting]) -> Iterator[int]:
        for chunk in chunks(waiting):
            made = self._embedded(owner, chunk)
            failed = sum(one.reference_id in self.outcome.failed for one in chunk)
            moved = self._store.write_now(self._keep, owner, made) if made else []
            self.outcome.moved += len(moved)
            self.outcome.passed_over += len(chunk) - len(moved) - failed
            yield len(chunk)

    def _embedded(self, owner: Owner, chunk: Sequence[Waiting]) -> dict[str, Vector]:
        """Templates of a chunk by reference, without those that are gone and those that fail."""
        images = [(one, image) for one in chunk if (image := self._image(owner, one)) is not None]
        prepared = list(self._readers.threads.map(lambda pair: self._prepared(owner, *pair), images))
        sound = [
            (one.reference_id, canvas)
            for (one, _), canvas in zip(images, prepared, strict=True)
            if canvas is not None
        ]
        if not sound:
            return {}
        embeddings = self._embedder.embed(np.stack([canvas for _, canvas in sound]))
        return {reference_id: vector for (reference_id, _), vector in zip(sound, embeddings, strict=True)}

    def _image(self, owner: Owner, one: Waiting) -> bytes | None:
        try:
            image = self._store.read_now(templates.image_of, owner, one.reference_id)
        except (StoredDataDamaged, DataKeyMissing) as error:
            self._fail(owner, one, str(error))
            return None
        if image is None and self._store.read_now(templates.is_there, one.reference_id):
            self._fail(owner, one, "Its image is not in the store any more.")
        return image

    def _prepared(self, owner: Owner, one: Waiting, image: bytes) -> NDArray[np.uint8] | None:
        try:
            read = self._readers.read(image, None, one.page, _AS_ENROLLED, self._embedder.canvas)
            return read.prepared.canvas
        except (CountersignError, UnusableSignature, DecoderFault) as error:
            self._fail(owner, one, str(error))
            return None

    def _fail(self, owner: Owner, one: Waiting, why: str) -> None:
        self.outcome.failed[one.reference_id] = Failure(owner, one.reference_id, why)

    def _keep(self, session: Session, owner: Owner, made: dict[str, Vector]) -> list[str]:
        moved = templates.add(session, owner, self._version, made)
        if moved:
            self._tell(session, owner, references=moved)
        return moved

    def _drop(self, session: Session, owner: Owner) -> dict[str, int] | None:
        gone = templates.drop_others(session, owner, self._version)
        if gone:
            self._tell(session, owner, dropped=gone)
        return gone

    def _tell(self, session: Session, owner: Owner, **details: Any) -> None:
        by = Caller(self._by.name, owner.tenant_id, self._by.scopes)
        entry = self._trail.entry("reembed", by=by, model_version=self._version, **details)
        self._trail.append(session, entry, owner.key)


def chunks(waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """Cut references into chunks that are dealt with at once."""
    chunk: list[Waiting] = []
    size = 0
    for one in waiting:
        if chunk and (len(chunk) == CHUNK or size + one.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += one.size
    if chunk:
        yield chunk
