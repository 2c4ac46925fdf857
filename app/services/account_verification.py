"""Verification of a document: its questioned signatures against the signatories of an account, and the rules.

Every questioned signature is compared with every signatory who is valid on its day. Each signature is then a
verification of the signatory to whom it was assigned, stored like one of ``/verify``; the decision on the
document is stored in the same transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.domain.accounts import AccountVerification, AccountVersion, Document
from app.domain.amounts import Money
from app.domain.assignment import Evidence
from app.domain.audit_chain import Entry
from app.domain.errors import CurrencyMismatch
from app.domain.ids import new_id
from app.domain.mandate_form import amount_text
from app.domain.mandates import Ruling, apply
from app.domain.records import Specimens, Upload, now
from app.services.account_basis import Judged, Signatories, build_account_basis
from app.services.context import AppContext
from app.services.decision import (
    Comparison,
    compute_comparisons,
)
from app.services.idempotency import IdempotentRequest
from app.services.policy import refuse_unsupported_rate, resolve_band_policy
from app.services.preparation import Signature
from app.services.questioned import read_questioned_signatures
from app.services.turning import Compared, embed_turned, find_turn
from app.services.verify import build_verification, count_verification, store_verification, verify_entry
from app.settings import Settings
from app.store import account_verifications, accounts, references, signer_locks
from model.decision.calibration import Calibration
from model.decision.verdict import Decision
from model.networks.embedder import Embedder

Answer = dict[str, Any]


async def verify_account(
    context: AppContext,
    tenant_id: str,
    account_id: str,
    document: Document,
    uploads: Sequence[Upload],
    render: Callable[[AccountVerification], Answer],
    request: IdempotentRequest | None = None,
) -> Answer:
    """Verify the signatures of a document; the decision is on disk when this returns.

    Raises
    ------
    AccountNotFound, MandateNotInForce, CurrencyMismatch, UnsupportedRate
    FileRefused, TooManyFiles, DuplicateSignature, ModelVersionMismatch, IdempotencyConflict
    SignerErased
        A signatory was erased during the request; nothing was stored.
    """
    if request is not None and (earlier := await context.store.read(request.find_answer)) is not None:
        return earlier
    with context.metrics.stage("store"):
        signatories = await context.store.read(_read_signatories, context, tenant_id, account_id, document)
    # The currency of the account may change later; the decision was made on an amount in the present one.
    document = replace(document, currency=document.currency or signatories.account.mandate.currency)
    band_far = _applied_rate(context.embedder.calibration, signatories.account, document)
    signatures = await read_questioned_signatures(context, uploads)
    rows = await asyncio.to_thread(
        _compare, context.embedder, context.settings, signatures, signatories, band_far
    )
    rows = await asyncio.gather(
        *(
            _turn(context, signature, signatories, row)
            for signature, row in zip(signatures, rows, strict=True)
        )
    )
    evidence = [{signer_id: _evidence(item.comparison) for signer_id, item in row.items()} for row in rows]
    ruling = apply(
        signatories.account.mandate,
        document.signed_on,
        document.amount,
        evidence,
        signatories.not_compared.keys(),
    )
    account_verification_id = new_id()
    money = Money(document.amount, document.currency)
    judged = _judge(context.embedder, account_verification_id, signatories, ruling, signatures, rows, money)
    verifications = [item.verification for item in judged if item.verification is not None]
    verified = AccountVerification(
        account_verification_id=account_verification_id,
        account_id=account_id,
        version=signatories.account.version,
        version_id=signatories.account.version_id,
        created_at=now(),
        document=document,
        decision=ruling.decision,
        model_version=context.model_version,
        basis=build_account_basis(signatories, document, ruling, judged),
        verifications={verification.verification_id: verification for verification in verifications},
    )
    entries = [verify_entry(context, verification) for verification in verifications]
    entry = _entry(context, verified)

    def write(session: Session) -> Answer:
        if request is not None and (earlier := request.claim(session)) is not None:
            return earlier
        # All signatories, because the stored evidence and the answer are about all of them.
        locked = signer_locks.lock_all(session, tenant_id, signatories.keys)
        for item in judged:
            if item.verification is not None:
                owner = locked[item.verification.signer_id]
                compared = item.compared[owner.signer_id]
                store_verification(
                    session, context, owner, item.verification, item.signature, compared, money
                )
        account_verifications.add(session, tenant_id, verified)
        answer = render(verified)
        if request is not None:
            request.store_answer_of_many(session, locked.values(), answer)
        for verification, verification_entry in zip(verifications, entries, strict=True):
            context.trail.append(session, verification_entry, locked[verification.signer_id].key)
        context.trail.append(session, entry)
        return answer

    with context.metrics.stage("store"):
        answer = await context.store.write(write)
    for item in judged:
        if item.verification is not None:
            compared = item.compared[item.verification.signer_id]
            count_verification(
                context.metrics, context.embedder.calibration, item.verification, compared.comparison
            )
    return answer


def _read_signatories(
    session: Session, context: AppContext, tenant_id: str, account_id: str, document: Document
) -> Signatories:
    account = accounts.in_force_on(session, tenant_id, account_id, document.signed_on)
    compared: dict[str, Specimens] = {}
    not_compared: dict[str, str] = {}
    erased = 0
    for signatory in account.mandate.valid_on(document.signed_on):
        if account.signer_keys[signatory.signer_id] is None:
            erased += 1
            continue
        specimens = references.specimens(session, tenant_id, signatory.signer_id, context.model_version)
        if len(specimens.reference_ids) < max(1, context.settings.min_references):
            not_compared[signatory.signer_id] = specimens.signer.key
        else:
            compared[signatory.signer_id] = specimens
    return Signatories(account, compared, not_compared, erased)


def _applied_rate(calibration: Calibration, account: AccountVersion, document: Document) -> float | None:
    """Return the `target_far` of the document's band; None: the settings of `/verify` apply."""
    currency = account.mandate.currency
    if document.currency is not None and currency is not None and document.currency != currency:
        raise CurrencyMismatch(
            f"The amounts of account {account.account_id!r} are in {currency}, not in {document.currency}; send the "
            "amount in the currency of the account."
        )
    band = account.mandate.band_of(document.amount)
    target_far = None if band is None else account.mandate.bands[band].target_far
    if target_far is not None:  # the calibration may have been replaced since the account was changed
        refuse_unsupported_rate(calibration, target_far)
    return target_far


def _compare(
    embedder: Embedder,
    settings: Settings,
    signatures: Sequence[Signature],
    signatories: Signatories,
    band_far: float | None,
) -> list[dict[str, Compared]]:
    """Compare every signature with every signatory; runs on a worker thread."""
    questioned = np.stack([signature.template for signature in signatures])
    rows: list[dict[str, Compared]] = [{} for _ in signatures]
    for signer_id, specimens in signatories.compared.items():
        policy = resolve_band_policy(settings, specimens.signer, band_far)
        found = compute_comparisons(embedder, questioned, specimens.templates, policy, specimens.forgeries)
        for signature, row, comparison in zip(signatures, rows, found, strict=True):
            row[signer_id] = Compared(comparison, signature.template)
    return rows


async def _turn(
    context: AppContext, signature: Signature, signatories: Signatories, upright: Mapping[str, Compared]
) -> dict[str, Compared]:
    """Compare a signature that is rejected for every signatory at other angles as well. Raises FileRefused, Busy."""
    if any(item.comparison.decision is not Decision.REJECT for item in upright.values()) or not upright:
        return dict(upright)
    turned = await embed_turned(context, signature.upload)

    def find() -> dict[str, Compared]:
        found = {}
        for signer_id, item in upright.items():
            specimens = signatories.compared[signer_id]
            found[signer_id] = find_turn(
                context.embedder, turned, specimens.templates, item, specimens.forgeries
            )
        return found

    return await asyncio.to_thread(find)


def _evidence(comparison: Comparison) -> Evidence:
    verdict = comparison.verdict
    return Evidence(comparison.decision.value, verdict.log_likelihood_ratio)


def _judge(
    embedder: Embedder,
    account_verification_id: str,
    signatories: Signatories,
    ruling: Ruling,
    signatures: Sequence[Signature],
    rows: Sequence[Mapping[str, Compared]],
    money: Money,
) -> list[Judged]:
    """Build the verification of each signature that was assigned to a signatory."""
    judged = []
    for position, (signature, row, result) in enumerate(
        zip(signatures, rows, ruling.signatures, strict=True), 1
    ):
        verification = None
        if result.signatory is not None:
            signer_id = result.signatory.signer_id
            verification = build_verification(
                embedder,
                signatories.compared[signer_id],
                signature,
                row[signer_id],
                money,
                account={"account_verification_id": account_verification_id, "position": position},
            )
        judged.append(Judged(signature, row, result, verification))
    return judged


def _entry(context: AppContext, verified: AccountVerification) -> Entry:
    """Build the audit entry of a decision on a document; call it on the event loop."""
    return context.trail.entry(
        "account-verify",
        record_id=verified.account_verification_id,
        decision=verified.decision,
        reasons=[reason["code"] for reason in verified.basis["reasons"]],
        verifications=list(verified.verifications),
        version_id=verified.version_id,
        amount=amount_text(verified.document.amount),
        signed_on=verified.document.signed_on.isoformat(),
        model_version=verified.model_version,
    )
