"""Move known forgeries to another model: embed their kept images again (for references: `app.services.reembed`).

A known forgery whose image is not kept cannot be moved: the service with the new model does not compare with
it, and adds the warning `known-forgeries-skipped`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from app.decoding.pool import DecoderFault, DecoderPool
from app.domain.callers import Caller
from app.domain.errors import CountersignError, SignerErased
from app.domain.records import Vector
from app.services.audit.trail import Trail
from app.services.outcomes import read_again
from app.store import forgeries, questioned_images, questioned_templates, signer_locks, verifications
from app.store.forgeries import LackingForgery
from app.store.store import Store
from model.errors import UnusableSignature
from model.networks.embedder import Embedder

PAGE = 200
"""Maximum number of known forgeries read in one query."""


@dataclass
class ForgeryOutcome:
    """The result of a run.

    Attributes
    ----------
    moved : int
        Known forgeries that got a template.
    left : int
        Those whose image is not kept or cannot be read.
    """

    moved: int = 0
    left: int = 0


def move_forgeries(
    store: Store, trail: Trail, embedder: Embedder, actor: Caller, decoders: DecoderPool
) -> ForgeryOutcome:
    """Give every known forgery a template of the model. It can be interrupted and run again."""
    outcome, after = ForgeryOutcome(), ""
    while lacking := store.read_now(forgeries.lacking, embedder.version, after, PAGE):
        for forgery in lacking:
            if (template := _embed(store, embedder, decoders, forgery)) is None:
                outcome.left += 1
            elif store.write_now(_add, trail, actor, forgery, embedder.version, template):
                outcome.moved += 1
        after = lacking[-1].verification_id
    return outcome


def _embed(store: Store, embedder: Embedder, decoders: DecoderPool, forgery: LackingForgery) -> Vector | None:
    try:
        image = store.read_now(questioned_images.read, forgery.tenant_id, forgery.verification_id)
        if image is None:
            return None
        canvas = decoders.threads.submit(read_again, decoders, image, embedder.canvas).result()
    except (CountersignError, UnusableSignature, DecoderFault):
        return None
    return np.asarray(embedder.embed(canvas[None])[0], dtype=np.float32)


def _add(
    session: Session,
    trail: Trail,
    actor: Caller,
    forgery: LackingForgery,
    model_version: str,
    template: Vector,
) -> bool:
    """Insert a template; False when the forgery was withdrawn, erased or moved by another process meanwhile."""
    try:
        locked = signer_locks.lock_exclusively(
            session, forgery.tenant_id, forgery.signer_id, forgery.signer_key
        )
    except SignerErased:
        return False
    if not forgeries.is_known(session, forgery.verification_id) or model_version in (
        questioned_templates.models_of(session, forgery.verification_id, locked.key)
    ):
        return False
    created_at = verifications.get(session, forgery.tenant_id, forgery.verification_id).finding.created_at
    questioned_templates.add(session, locked, forgery.verification_id, model_version, template, created_at)
    by = Caller(actor.name, forgery.tenant_id, actor.scopes)
    entry = trail.entry("reembed", by=by, model_version=model_version, forgeries=[forgery.verification_id])
    trail.append(session, entry, locked.key)
    return True
