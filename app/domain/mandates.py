"""Application of a mandate: who signed where, which rule holds, and one decision.

The questioned signatures are assigned to the signatories first (:mod:`app.domain.assignment`), each to another one,
so that nobody counts twice. The rules of the amount's band are then applied to the signatories found (:func:`apply`):

- *accept* when a rule holds, every signature is accepted, and no signatory is always referred;
- *reject* when no rule holds, even if all signatures in doubt are genuine;
- *review* otherwise, and when the amount is above all bands.

An additional signature never turns *accept* or *review* into *reject*: it takes no signatory out of the assignment.
The order of the signatures does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from app.domain.assignment import Decision, Evidence, assign
from app.domain.mandate_form import Mandate, Rule, Signatory, amount_text

Status = Literal["accepted", "review", "rejected", "unassigned"]
Outcome = Literal["held", "open", "failed"]
_STATUS: dict[Decision, Status] = {"accept": "accepted", "review": "review", "reject": "rejected"}


@dataclass(frozen=True)
class Reason:
    """A part of the reason of a decision: a stable code, and a clause for a reader."""

    code: str
    detail: str


@dataclass(frozen=True)
class SignatureResult:
    """To whom a questioned signature was assigned.

    Attributes
    ----------
    signatory : Signatory or None
        None: all signatories who were compared have a signature of their own.
    status : str
        The decision against this signatory, or ``unassigned``.
    counts : bool
        Whether the signature counts for the rules: it is accepted, and the amount is within the signatory's limit.
    """

    signatory: Signatory | None
    status: Status
    counts: bool


@dataclass(frozen=True)
class Requirement:
    """A part of a rule: a number of signatories, of one panel or (None) of all.

    Attributes
    ----------
    required : int
    counted : int
        Signatories whose signature counts.
    possible : int
        Those who would count if all signatures in doubt were genuine.
    """

    panel: str | None
    required: int
    counted: int
    possible: int


@dataclass(frozen=True)
class RuleResult:
    """Whether a rule holds; ``open``: it would if all signatures in doubt were genuine."""

    rule: Rule
    outcome: Outcome
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True)
class Ruling:
    """The decision on a document.

    Attributes
    ----------
    decision : str
    reasons : tuple of Reason
        The first is about the rules.
    band : int or None
        Index of the band that was applied; None: the amount is above all bands.
    rules : tuple of RuleResult
        The rules of the band, in its order.
    signatures : tuple of SignatureResult
        In the order of the questioned signatures.
    """

    decision: Decision
    reasons: tuple[Reason, ...]
    band: int | None
    rules: tuple[RuleResult, ...]
    signatures: tuple[SignatureResult, ...]

    @property
    def sentence(self) -> str:
        """The reasons in one sentence."""
        first, *others = (reason.detail for reason in self.reasons)
        text = f"{first}; {', '.join(others)}" if others else first
        return f"{text[0].upper()}{text[1:]}."


def apply(
    mandate: Mandate,
    day: date,
    value: Decimal,
    evidence: Sequence[Mapping[str, Evidence]],
    not_compared: Collection[str] = (),
) -> Ruling:
    """Apply a mandate to the signatures of a document.

    Parameters
    ----------
    day : date
        Day of the signatures; only signatories who are valid on this day are considered.
    value : Decimal
        Amount of the document, in the currency of the mandate.
    evidence : sequence of mappings
        For each questioned signature, its evidence for each signatory who was compared, by signer id.
    not_compared : collection of str
        Signer ids of signatories who may have signed, but have too few references for a comparison.
    """
    valid = {signatory.signer_id: signatory for signatory in mandate.valid_on(day)}
    compared = sorted({signer_id for row in evidence for signer_id in row} & valid.keys())
    columns = assign([[row[signer_id] for signer_id in compared] for row in evidence])
    signatures = tuple(
        _signature(None if column is None else valid[compared[column]], row, value)
        for column, row in zip(columns, evidence, strict=True)
    )
    unknown = [
        signatory
        for signer_id, signatory in sorted(valid.items())
        if signer_id in set(not_compared) - set(compared) and _is_within_limit(signatory, value)
    ]
    band = mandate.band_of(value)
    rules = (
        ()
        if band is None
        else tuple(_apply_rule(rule, signatures, unknown, value) for rule in mandate.bands[band].rules)
    )
    doubts = tuple(_doubts(signatures))
    if band is None:
        decision: Decision = "review"
    elif any(rule.outcome == "held" for rule in rules):
        decision = "review" if doubts else "accept"
    else:
        decision = "review" if any(rule.outcome == "open" for rule in rules) else "reject"
    reasons = (_rule_reason(mandate, band, rules, value), *doubts, *_notes(signatures, unknown))
    return Ruling(decision, reasons, band, rules, signatures)


def _signature(signatory: Signatory | None, row: Mapping[str, Evidence], value: Decimal) -> SignatureResult:
    if signatory is None:
        return SignatureResult(None, "unassigned", counts=False)
    status = _STATUS[row[signatory.signer_id].decision]
    return SignatureResult(signatory, status, status == "accepted" and _is_within_limit(signatory, value))


def _is_within_limit(signatory: Signatory, value: Decimal) -> bool:
    return signatory.limit is None or value <= signatory.limit


def _apply_rule(
    rule: Rule, signatures: Iterable[SignatureResult], unknown: Sequence[Signatory], value: Decimal
) -> RuleResult:
    """Apply one rule.

    A signature that was accepted for nobody could be of a signatory of `unknown`. Such signatures fill what a rule
    lacks, as far as there are enough of both.
    """
    counted, possible, unclear = Counter[str | None](), Counter[str | None](), 0
    for item in signatures:
        if item.status in {"rejected", "unassigned"}:
            unclear += 1
        elif item.signatory is not None and _is_within_limit(item.signatory, value):
            possible[item.signatory.panel] += 1
            counted[item.signatory.panel] += item.counts
    spare = Counter(signatory.panel for signatory in unknown)
    lacking = {panel: max(0, count - possible[panel]) for panel, count in rule.panels.items()}
    filled = sum(lacking.values()) <= unclear and all(lack <= spare[panel] for panel, lack in lacking.items())
    total = possible.total() + min(unclear, spare.total())
    requirements = (
        Requirement(None, rule.signatures, counted.total(), total),
        *(
            Requirement(panel, count, counted[panel], possible[panel] + min(unclear, spare[panel]))
            for panel, count in sorted(rule.panels.items())
        ),
    )
    if all(item.counted >= item.required for item in requirements):
        outcome: Outcome = "held"
    else:
        outcome = "open" if filled and total >= rule.signatures else "failed"
    return RuleResult(rule, outcome, requirements)


def _rule_reason(mandate: Mandate, band: int | None, rules: Sequence[RuleResult], value: Decimal) -> Reason:
    if band is None:
        highest = mandate.bands[-1].up_to
        assert highest is not None  # noqa: S101 - otherwise the last band holds all amounts  # nosec B101
        detail = f"no band holds the amount {amount_text(value)}, the last one ends at {amount_text(highest)}"
        return Reason("no-band", detail)
    for outcome, code, words in (
        ("held", "rule-held", "holds"),
        ("open", "rule-open", "would hold only if all signatures in doubt were genuine"),
    ):
        for number, result in enumerate(rules, 1):
            if result.outcome == outcome:
                return Reason(code, f"rule {number} of band {band + 1} ({result.rule.text}) {words}")
    lacks = [
        f"rule {number} ({result.rule.text}) lacks {_lack(result)}" for number, result in enumerate(rules, 1)
    ]
    return Reason("rule-failed", f"no rule of band {band + 1} holds: {', '.join(lacks)}")


def _lack(result: RuleResult) -> str:
    missing = [
        f"{item.required - item.counted} of panel {item.panel}"
        for item in result.requirements
        if item.panel is not None and item.counted < item.required
    ]
    if missing:
        return " and ".join(missing)
    whole = result.requirements[0]
    return f"{whole.required - whole.counted} of {whole.required} signatures"


def _doubts(signatures: Iterable[SignatureResult]) -> Iterable[Reason]:
    """Yield what a clerk has to look at although a rule holds."""
    for position, item in enumerate(signatures, 1):
        signer_id = item.signatory.signer_id if item.signatory else ""
        if item.status == "review":
            yield Reason("signature-in-review", f"signature {position} is in doubt for {signer_id!r}")
        elif item.status == "rejected":
            yield Reason("signature-rejected", f"signature {position} was accepted for nobody")
        elif item.status == "unassigned":
            yield Reason("signature-unassigned", f"nobody is left to whom signature {position} could belong")
        if item.signatory is not None and item.signatory.always_refer and item.status != "rejected":
            yield Reason("always-refer", f"signatures of {signer_id!r} are always referred")


def _notes(signatures: Iterable[SignatureResult], unknown: Iterable[Signatory]) -> Iterable[Reason]:
    """Yield what explains why somebody does not count."""
    for item in signatures:
        if item.signatory is not None and item.status == "accepted" and not item.counts:
            limit = amount_text(item.signatory.limit or Decimal(0))
            yield Reason(
                "over-limit", f"the amount is above the limit {limit} of {item.signatory.signer_id!r}"
            )
    for signatory in unknown:
        yield Reason("not-compared", f"{signatory.signer_id!r} has too few references for a comparison")
