"""Verification: a questioned signature against an enrolled signer, or against references in the same request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.decoding.formats import detect_media_type
from app.domain.amounts import Money, RateBand, band_of
from app.domain.audit_chain import Entry
from app.domain.cases import is_drawn
from app.domain.errors import CurrencyMismatch, TooFewReferences
from app.domain.ids import new_id
from app.domain.records import (
    Finding,
    KnownForgeries,
    QuestionedImage,
    Specimens,
    Upload,
    Vector,
    Verification,
)
from app.observability.drift import genuine_rank
from app.observability.metrics import Metrics
from app.services.context import AppContext
from app.services.decision import (
    NO_FORGERIES,
    Comparison,
    build_basis,
    build_finding,
    compare_questioned,
)
from app.services.idempotency import IdempotentRequest
from app.services.policy import Policy, resolve_band_policy, resolve_policy
from app.services.preparation import Signature, read_signature, read_signatures
from app.services.turning import Compared, embed_turned, find_turn
from app.services.warnings import make_warning
from app.settings import Settings
from app.store import cases, questioned_images, questioned_templates, references, signer_locks, verifications
from app.store.signer_locks import LockedSigner
from model.decision.calibration import Calibration
from model.decision.verdict import Decision
from model.networks.embedder import Embedder

Answer = dict[str, Any]


async def verify(
    context: AppContext,
    tenant_id: str,
    signer_id: str,
    upload: Upload,
    render: Callable[[Verification], Answer],
    request: IdempotentRequest | None = None,
    money: Money | None = None,
) -> Answer:
    """Verify a questioned signature against an enrolled signer; the finding is on disk when this returns.

    Parameters
    ----------
    render : callable
        Renders the verification as the answer, which is stored for replays of the request.
    money : Money, optional
        Amount of the document, which chooses the `target_far` where the settings have bands; without one, the
        strictest band applies.

    Raises
    ------
    FileRefused, SignerNotFound, TooFewReferences, ModelVersionMismatch, IdempotencyConflict, SignerErased
    CurrencyMismatch
        The bands of the settings are in another currency.
    """
    if request is not None and (earlier := await context.store.read(request.find_answer)) is not None:
        return earlier
    band = _applied_band(context.settings, money)
    with context.metrics.stage("store"):
        specimens = await context.store.read(
            references.specimens, tenant_id, signer_id, context.model_version
        )
    count, minimum = len(specimens.reference_ids), max(1, context.settings.min_references)
    if count < minimum:
        raise TooFewReferences(
            f"Signer {signer_id!r} has {count} references and a verification needs {minimum}; enrol more."
        )
    signature = await read_signature(context, upload)
    policy = resolve_band_policy(
        context.settings, specimens.signer, None if band is None else band.target_far
    )
    compared = await _compare(context, signature, specimens.templates, policy, specimens.forgeries)
    more = {} if band is None else {"band": band.to_basis()}
    verification = build_verification(context.embedder, specimens, signature, compared, money, **more)
    entry = verify_entry(context, verification)

    def write(session: Session) -> Answer:
        if request is not None and (earlier := request.claim(session)) is not None:
            return earlier
        locked = signer_locks.lock(session, tenant_id, signer_id, specimens.signer.key)
        store_verification(session, context, locked, verification, signature, compared, money)
        answer = render(verification)
        if request is not None:
            request.store_answer(session, locked, answer)
        context.trail.append(session, entry, locked.key)
        return answer

    with context.metrics.stage("store"):
        answer = await context.store.write(write)
    count_verification(context.metrics, context.embedder.calibration, verification, compared.comparison)
    return answer


def _applied_band(settings: Settings, money: Money | None) -> RateBand | None:
    """Return the band of the settings for an amount, the strictest one without an amount; None without bands.

    Raises CurrencyMismatch.
    """
    bands, currency = settings.rate_bands, settings.bands_currency
    if not bands:
        return None
    if money is None:
        return bands[-1]  # leaving out the amount must not make a decision more lenient
    if None not in (currency, money.currency) and money.currency != currency:
        raise CurrencyMismatch(
            f"The thresholds of this service are chosen by amounts in {currency}, not in {money.currency}; send the "
            f"amount in {currency}."
        )
    return band_of(bands, money.value)


def build_verification(
    embedder: Embedder,
    specimens: Specimens,
    signature: Signature,
    compared: Compared,
    money: Money | None = None,
    **more: Any,
) -> Verification:
    """Build the verification of a signature that was compared with a signer; `more` is added to its basis."""
    warnings, comparison = list(compared.warnings), compared.comparison
    if signature.sha256 in specimens.sha256:
        warnings.append(make_warning("identical-image"))
    if any(specimens.warned):
        warnings.append(make_warning("low-quality-reference"))
    finding = build_finding(embedder.version, signature, comparison, specimens.reference_ids, warnings)
    basis = build_basis(embedder.calibration.identifier, signature, comparison, specimens.reference_ids)
    if signature.upload.page:
        basis["page"] = signature.upload.page  # by which the kept image is read again
    if money is not None:
        basis["document"] = money.to_basis()
    return Verification(new_id(), specimens.signer.signer_id, finding, signature.sha256, basis | more)


def verify_entry(context: AppContext, verification: Verification) -> Entry:
    """Build the audit entry of a verification; call it on the event loop."""
    details = audit_details(context.embedder.calibration, verification.finding) | verification.document
    return context.trail.entry("verify", record_id=verification.verification_id, **details)


def store_verification(
    session: Session,
    context: AppContext,
    locked: LockedSigner,
    verification: Verification,
    signature: Signature,
    compared: Compared,
    money: Money | None = None,
) -> None:
    """Store a verification, its case if a clerk has to see it, and its image and template if they are to be kept.

    Parameters
    ----------
    money : Money, optional
        Amount of the document that was signed.
    """
    verifications.add(session, locked, verification)
    if verification.finding.decision == "review":
        cases.add(session, locked, verification.verification_id, "review", money)
    elif is_drawn(verification.verification_id, context.settings.quality_control_share):
        cases.add(session, locked, verification.verification_id, "quality-control", money)
    created_at = verification.finding.created_at
    if context.settings.keep_questioned_days:
        upload = signature.upload
        image = QuestionedImage(
            upload.data, detect_media_type(upload.data), upload.page, signature.region, compared.turned
        )
        questioned_images.add(session, locked, verification.verification_id, image, created_at)
    if context.settings.keep_questioned_templates_days:
        questioned_templates.add(
            session,
            locked,
            verification.verification_id,
            context.model_version,
            compared.template,
            created_at,
        )


def count_verification(
    metrics: Metrics, calibration: Calibration, verification: Verification, comparison: Comparison
) -> None:
    """Count a stored verification in the metrics."""
    rank = genuine_rank(calibration, comparison.verdict, len(comparison.distinct))
    metrics.verification(verification.finding.decision, verification.finding.distance, rank)


async def compare(
    context: AppContext, reference_uploads: Sequence[Upload], questioned_upload: Upload
) -> Finding:
    """Compare a questioned signature with references of the same request; only an audit entry is stored.

    Raises
    ------
    FileRefused, TooManyFiles
    """
    *specimens, signature = await read_signatures(context, [*reference_uploads, questioned_upload])
    templates = np.stack([specimen.template for specimen in specimens])
    compared = await _compare(context, signature, templates, resolve_policy(context.settings))
    warnings = list(compared.warnings)
    if signature.sha256 in {specimen.sha256 for specimen in specimens}:
        warnings.append(make_warning("identical-image"))
    reference_ids = [str(number) for number in range(1, len(specimens) + 1)]
    finding = build_finding(context.model_version, signature, compared.comparison, reference_ids, warnings)
    await context.store.write(
        context.trail.append,
        context.trail.entry("compare", **audit_details(context.embedder.calibration, finding)),
    )
    return finding


async def _compare(
    context: AppContext,
    signature: Signature,
    templates: Vector,
    policy: Policy,
    forgeries: KnownForgeries = NO_FORGERIES,
) -> Compared:
    """Compare a signature with references and known forgeries, also at other angles when it is rejected."""
    comparison = await compare_questioned(context.embedder, signature.template, templates, policy, forgeries)
    upright = Compared(comparison, signature.template)
    if comparison.decision is not Decision.REJECT:
        return upright
    turned = await embed_turned(context, signature.upload)
    return await asyncio.to_thread(find_turn, context.embedder, turned, templates, upright, forgeries)


def audit_details(calibration: Calibration, finding: Finding) -> dict[str, Any]:
    """Select the parts of a finding that its audit entry holds."""
    resembles = any(warning.code == "resembles-known-forgery" for warning in finding.warnings)
    return {
        "decision": finding.decision,
        "distance": finding.distance,
        "threshold": finding.threshold,
        "log_likelihood_ratio": finding.log_likelihood_ratio,
        "references": len(finding.references),
        "model_version": finding.model_version,
        "calibration": calibration.identifier,
        **({"resembles_known_forgery": True} if resembles else {}),
    }
