"""The index of enrolled signers, for identification: its interface, and the choice of an implementation."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from app.services.exhaustive_index import Matrix, Neighbours
from app.services.gallery import Gallery, Reductions
from app.services.open_store import open_snapshots
from app.services.pgvector_index import PgvectorIndex
from app.settings import Settings
from app.store import candidate_vectors
from app.store.candidate_vectors import PgvectorUnavailable, Writer
from app.store.store import Store
from model.networks.embedder import Embedder

_log = logging.getLogger(__name__)


class SignerIndex(Protocol):
    """Finds the signers of a tenant near a template. Use it from one event loop."""

    async def nearest(
        self, tenant_id: str, template: Matrix, count: int, among: Collection[str] | None = None
    ) -> Neighbours:
        """Find the signers nearest to `template` (dimension,), at least `count` if there are as many.

        The result reflects every change committed before this call. It may have more signers, in no order: the caller
        computes exact distances.

        Parameters
        ----------
        among : collection of str or None
            Ids of the signers to compare with; None for all.
        """
        ...

    async def maintain(self) -> None:
        """Apply changes of other processes, and do work that no search waits for; called every few minutes."""
        ...

    async def erase(self, tenant_id: str, signer_key: str) -> None:
        """Remove a signer from memory and files, after the erasure of the signer or of a reference was committed."""
        ...

    def close(self) -> None:
        """Wait for running searches to finish, and release what the index holds."""
        ...


def open_index(settings: Settings, store: Store, embedder: Embedder) -> SignerIndex:
    """Open the index that the settings choose; without pgvector, the one in memory, with a warning."""
    reductions = Reductions(embedder.search_vectors, embedder.candidate_vectors)
    writer = attach_writer(settings, store, embedder)
    if writer is not None:
        return PgvectorIndex(store, writer, reductions, settings.exhaustive_signers)
    if settings.candidate_index == "memory" and (left := store.read_now(candidate_vectors.state).rows):
        _log.warning(
            "the database holds %d vectors of signers in clear text, which are not used because "
            "COUNTERSIGN_CANDIDATE_INDEX is memory; when no replica uses them, delete them with "
            "`python -m app index drop`",
            left,
        )
    return Gallery(
        store,
        embedder.version,
        reductions,
        settings.exhaustive_signers,
        open_snapshots(settings, store, embedder.version),
    )


def attach_writer(settings: Settings, store: Store, embedder: Embedder) -> Writer | None:
    """Update the vectors in the database with each change of a signer, if pgvector is chosen and available."""
    if settings.candidate_index != "pgvector":
        return None
    try:
        version = candidate_vectors.open_table(store.engine)
    except PgvectorUnavailable as error:
        _log.warning(
            "COUNTERSIGN_CANDIDATE_INDEX=pgvector cannot be used: %s. Identification uses the index in memory",
            error,
        )
        return None
    _log.info(
        "identification uses pgvector %s: the database holds one reduced vector of each signer in clear text",
        version,
    )
    store.index_writer = writer = Writer(embedder.version, embedder.candidate_vectors)
    return writer
