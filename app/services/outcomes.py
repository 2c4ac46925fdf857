"""Outcomes of verifications, and the known forgeries that result from them.

The outcome ``forged`` makes a verification a known forgery of its signer: its template is kept, and later questioned
signatures of the signer are compared with it (`app.services.decision`). A later outcome does not undo this, because
a key that may record outcomes could otherwise let a forgery pass; only an administrator withdraws it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.decoding.formats import UNLIMITED
from app.decoding.pool import DecoderPool
from app.domain.accounts import AccountVerification
from app.domain.audit_chain import Entry
from app.domain.errors import FileRefused, SignerErased
from app.domain.records import (
    KnownForgery,
    Page,
    QuestionedImage,
    Upload,
    Vector,
    Verification,
    now,
)
from app.services.context import AppContext
from app.services.preparation import start_reading
from app.services.proposals import accept_by_policy
from app.store import (
    account_verifications,
    cases,
    forgeries,
    questioned_images,
    questioned_templates,
    signer_locks,
    signers,
    verifications,
)
from app.store.signer_locks import LockedSigner
from app.store.store import Store
from model.preprocessing.ink import Canvas

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    """The kept data of a questioned signature whose signer is enrolled: models with a template, and the image."""

    signer_id: str
    signer_key: str
    models: list[str]
    image: QuestionedImage | None


@dataclass(frozen=True)
class _NewForgery:
    """A verification that becomes a known forgery; `template` is None if one of the model in use is kept."""

    kept: _Kept
    template: Vector | None


async def record_outcome(
    context: AppContext, tenant_id: str, verification_id: str, outcome: str, note: str | None
) -> Verification:
    """Record the outcome of a verification and close its case.

    ``forged`` makes it a known forgery if its template or image is kept.

    Raises
    ------
    VerificationNotFound, StoredDataDamaged, DataKeyMissing
    """
    recording = _Recording(context, tenant_id, outcome, note)
    await recording.prepare([verification_id])

    def write(session: Session) -> Verification:
        recording.write(session)
        return verifications.get(session, tenant_id, verification_id)

    verification = await context.store.write(write)
    recording.count([verification])
    await _propose(context, tenant_id, outcome, [verification])
    return verification


async def record_account_outcome(
    context: AppContext,
    tenant_id: str,
    account_id: str,
    account_verification_id: str,
    outcome: str,
    note: str | None,
) -> AccountVerification:
    """Record the outcome of a document, and of its signatures where theirs follows from it.

    Raises
    ------
    VerificationNotFound, StoredDataDamaged, DataKeyMissing
    """
    place = tenant_id, account_id, account_verification_id
    document = await context.store.read(account_verifications.get, *place)
    recording = _Recording(context, tenant_id, outcome, note)
    # Which signature of a forged document is forged is unknown when it has several.
    applies_to_signatures = outcome != "forged" or len(document.verifications) == 1
    concerned = list(document.verifications) if applies_to_signatures else []
    await recording.prepare(concerned)
    entry = context.trail.entry(
        "account-outcome", record_id=account_verification_id, outcome=outcome, verifications=concerned
    )

    def write(session: Session) -> AccountVerification:
        recording.write(session)
        account_verifications.set_outcome(session, account_verification_id, outcome, note, now())
        context.trail.append(session, entry)
        return account_verifications.get(session, *place)

    document = await context.store.write(write)
    recorded = [document.verifications[verification_id] for verification_id in concerned]
    recording.count(recorded)
    await _propose(context, tenant_id, outcome, recorded)
    return document


async def _propose(
    context: AppContext, tenant_id: str, outcome: str, recorded: Sequence[Verification]
) -> None:
    """Let signatures that were recorded as genuine become references, if the settings allow it."""
    if outcome == "genuine":
        for verification in recorded:
            await accept_by_policy(context, tenant_id, verification)


class _Recording:
    """Records one outcome for some verifications: prepare on the event loop, write in a transaction, then count."""

    def __init__(self, context: AppContext, tenant_id: str, outcome: str, note: str | None) -> None:
        self._context, self._tenant_id, self._outcome, self._note = context, tenant_id, outcome, note
        self._entries: dict[str, tuple[Entry, Entry]] = {}
        self._new_forgeries: dict[str, _NewForgery] = {}

    async def prepare(self, verification_ids: Sequence[str]) -> None:
        """Build the audit entries, and the templates of new known forgeries. Raises VerificationNotFound."""
        context = self._context
        for verification_id in verification_ids:
            self._entries[verification_id] = (
                context.trail.entry("outcome", record_id=verification_id, outcome=self._outcome),
                context.trail.entry("forgery-add", record_id=verification_id),
            )
            if self._outcome != "forged":
                continue
            kept = await context.store.read(
                _find_kept, context.model_version, self._tenant_id, verification_id
            )
            if kept is not None:
                template = None if kept.image is None else await _embed(context, kept.image)
                self._new_forgeries[verification_id] = _NewForgery(kept, template)

    def write(self, session: Session) -> None:
        """Record the outcomes and the known forgeries with their audit entries. Raises VerificationNotFound."""
        append = self._context.trail.append
        locked = {
            verification_id: _lock(session, self._tenant_id, new_forgery.kept)
            for verification_id, new_forgery in self._new_forgeries.items()
        }
        for verification_id, (outcome_entry, forgery_entry) in self._entries.items():
            verifications.set_outcome(
                session, self._tenant_id, verification_id, self._outcome, self._note, now()
            )
            if self._outcome != "undetermined":
                cases.close(session, verification_id)
            append(session, outcome_entry)
            signer = locked.get(verification_id)
            if signer is not None:
                template = self._new_forgeries[verification_id].template
                if _add_forgery(session, self._context.model_version, signer, verification_id, template):
                    append(session, forgery_entry, signer.key)

    def count(self, recorded: Sequence[Verification]) -> None:
        """Count the outcomes in the metrics."""
        for verification in recorded:
            self._context.metrics.outcomes.labels(self._outcome, verification.finding.decision).inc()
        self._context.rates.invalidate()


async def list_forgeries(
    store: Store, model_version: str, tenant_id: str, signer_id: str, limit: int, after: str | None
) -> Page[KnownForgery]:
    """List the known forgeries of a signer, newest first; raise SignerNotFound."""
    return await store.read(forgeries.page, tenant_id, signer_id, model_version, limit, after)


async def withdraw_forgery(context: AppContext, tenant_id: str, signer_id: str, verification_id: str) -> bool:
    """Stop comparing later signatures with a known forgery; return False when it is not one of the signer."""
    entry = context.trail.entry("forgery-withdraw", record_id=verification_id)

    def write(session: Session) -> bool:
        locked = signer_locks.lock_by_id_exclusively(session, tenant_id, signer_id)
        if locked is None or not forgeries.withdraw(session, locked, verification_id):
            return False
        context.trail.append(session, entry, locked.key)
        return True

    return await context.store.write(write)


def read_again(decoders: DecoderPool, image: QuestionedImage, canvas: Canvas) -> NDArray[np.uint8]:
    """Prepare the signature of a kept image as it was compared: uint8 (canvas.height, canvas.width).

    Raises
    ------
    UploadRefused, UnusableSignature, Busy, DecoderFault
    """
    if image.turned:
        return decoders.read_turned(
            image.data, None, image.page, UNLIMITED, canvas, image.region, (image.turned,)
        )[0]
    return decoders.read(image.data, None, image.page, UNLIMITED, canvas, image.region).prepared.canvas


async def read_canvas(context: AppContext, upload: Upload, turned: int = 0) -> NDArray[np.uint8]:
    """Read a stored image again, as it was compared: uint8 (height, width). Raises FileRefused, Busy."""
    image = QuestionedImage(upload.data, "", upload.page, upload.region, turned)
    return await start_reading(
        context, upload, partial(read_again, context.decoders, image, context.embedder.canvas)
    )


def _find_kept(session: Session, model_version: str, tenant_id: str, verification_id: str) -> _Kept | None:
    verification = verifications.get(session, tenant_id, verification_id)
    key = signers.key_of(session, tenant_id, verification.signer_id)
    if key is None:
        return None
    models = questioned_templates.models_of(session, verification_id, key)
    # The image is deleted with its signer, so it belongs to the signer who is enrolled now.
    image = None if model_version in models else questioned_images.read(session, tenant_id, verification_id)
    return _Kept(verification.signer_id, key, models, image) if models or image is not None else None


async def _embed(context: AppContext, image: QuestionedImage) -> Vector | None:
    """Embed a kept image; None when it cannot be read any more."""
    try:
        canvas = await read_canvas(context, image.upload, image.turned)
    except FileRefused as error:
        _log.warning("a kept image of a questioned signature could not be read again: %s", error)
        return None
    return np.asarray((await context.inference.embed([canvas]))[0], dtype=np.float32)


def _lock(session: Session, tenant_id: str, kept: _Kept) -> LockedSigner | None:
    """Lock the signer of a verification exclusively; None when they have been erased meanwhile."""
    try:
        return signer_locks.lock_exclusively(session, tenant_id, kept.signer_id, kept.signer_key)
    except SignerErased:
        return None


def _add_forgery(
    session: Session, model_version: str, locked: LockedSigner, verification_id: str, template: Vector | None
) -> bool:
    """Make a verification a known forgery; False when it is one already, or nothing is kept of it."""
    models = questioned_templates.models_of(session, verification_id, locked.key)
    if template is not None and model_version not in models:
        created_at = verifications.get(session, locked.tenant_id, verification_id).finding.created_at
        questioned_templates.add(session, locked, verification_id, model_version, template, created_at)
    elif not models:
        return False  # purged meanwhile
    return forgeries.add(session, locked, verification_id, now())
