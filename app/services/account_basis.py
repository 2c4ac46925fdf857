"""The basis of a decision on a document: JSON values that are stored with it, to explain it later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.accounts import AccountVersion, Document
from app.domain.mandates import RuleResult, Ruling, SignatureResult
from app.domain.records import Specimens, Verification
from app.services.decision import Comparison
from app.services.preparation import Signature
from app.services.turning import Compared


@dataclass(frozen=True)
class Signatories:
    """The signatories of an account who are valid on the day of a document.

    Attributes
    ----------
    account : AccountVersion
        The version that applies on this day.
    compared : mapping
        Specimens of those who can be compared, by signer id.
    not_compared : mapping
        Internal keys of those who have too few references, by signer id.
    erased : int
        Number of those who have been erased. Their ids are not written any more.
    """

    account: AccountVersion
    compared: Mapping[str, Specimens]
    not_compared: Mapping[str, str]
    erased: int

    @property
    def keys(self) -> dict[str, str]:
        """Internal keys of all who are enrolled, by signer id."""
        compared = {signer_id: specimens.signer.key for signer_id, specimens in self.compared.items()}
        return compared | dict(self.not_compared)


@dataclass(frozen=True)
class Judged:
    """A questioned signature, compared with each signatory by signer id, and what became of it."""

    signature: Signature
    compared: Mapping[str, Compared]
    result: SignatureResult
    verification: Verification | None


def build_account_basis(
    signatories: Signatories, document: Document, ruling: Ruling, judged: Sequence[Judged]
) -> dict[str, Any]:
    """Collect the reasons, the band, its rules, the signatories and the evidence of a decision."""
    mandate = signatories.account.mandate
    band = None
    if ruling.band is not None:
        applied = mandate.bands[ruling.band].model_dump(mode="json")
        band = {"number": ruling.band + 1, "up_to": applied["up_to"], "target_far": applied["target_far"]}
    enrolled = signatories.keys
    return {
        "reason": ruling.sentence,
        "reasons": [vars(reason) for reason in ruling.reasons],
        "band": band,
        "rules": [_rule(number, result) for number, result in enumerate(ruling.rules, 1)],
        "signatories": [
            {**entry.model_dump(mode="json"), "compared": entry.signer_id in signatories.compared}
            for entry in mandate.valid_on(document.signed_on)
            if entry.signer_id in enrolled
        ],
        "erased_signatories": signatories.erased,
        "signatures": [_signature(position, item) for position, item in enumerate(judged, 1)],
        "instruction": mandate.instruction,
    }


def _rule(number: int, result: RuleResult) -> dict[str, Any]:
    return {
        "number": number,
        "text": result.rule.text,
        "outcome": result.outcome,
        "requirements": [vars(requirement) for requirement in result.requirements],
    }


def _signature(position: int, judged: Judged) -> dict[str, Any]:
    result = judged.result
    comparisons = ((signer_id, compared.comparison) for signer_id, compared in judged.compared.items())
    by_evidence = sorted(comparisons, key=lambda item: (-item[1].verdict.log_likelihood_ratio, item[0]))
    return {
        "position": position,
        "sha256": judged.signature.sha256,
        "signer_id": result.signatory.signer_id if result.signatory else None,
        "status": result.status,
        "counts": result.counts,
        "verification_id": judged.verification.verification_id if judged.verification else None,
        "evidence": [_candidate(signer_id, comparison) for signer_id, comparison in by_evidence],
    }


def _candidate(signer_id: str, comparison: Comparison) -> dict[str, Any]:
    verdict = comparison.verdict
    return {
        "signer_id": signer_id,
        "decision": comparison.decision.value,
        "distance": verdict.distance,
        "threshold": verdict.threshold,
        "review_threshold": verdict.review_threshold,
        "log_likelihood_ratio": verdict.log_likelihood_ratio,
        "target_far": comparison.policy.target_far,
        "fixed_threshold": comparison.policy.fixed_threshold,
    }
