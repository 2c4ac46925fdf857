"""What a report says, in the order of the ENFSI guideline for evaluative reporting (2015).

The report evaluates what was found given the propositions. It never states how probable a proposition is, because
that depends on all other circumstances of a case, which the service does not know.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.verbal_scale import grade_of
from app.report.document import Block, Bullets, Document, Paragraph, Section, Table
from app.report.evaluation import describe_comparison, describe_error_rates, describe_evaluation
from app.report.items import describe_items, describe_method
from app.report.record import describe_audit, describe_decisions
from app.report.wording import COPIES, FEW, Words, warning_codes
from app.services.report import CaseReport
from model.decision.bootstrap import LEVEL
from model.decision.verdict import LLR_DIGITS

OVERSTATED = -1.5
"""log10 likelihood ratio below which the evidence was found to be overstated (docs/accuracy.md)."""
_ROUNDING = 0.5 * 10.0**-LLR_DIGITS


def write_report(report: CaseReport, language: str = "en") -> Document:
    """Write the report on a verification in one of the languages of the catalogue."""
    t, verification = Words(language), report.verification
    return Document(
        title=t("title"),
        subtitle=t("subtitle", verification=verification.verification_id, signer=verification.signer_id),
        sections=(
            Section(t("section-finding"), tuple(_finding(t, report))),
            Section(t("section-propositions"), tuple(_propositions(t, report))),
            Section(t("section-items"), tuple(describe_items(t, report))),
            Section(t("section-method"), tuple(describe_method(t, report))),
            Section(t("section-comparison"), tuple(describe_comparison(t, report))),
            Section(t("section-evaluation"), tuple(describe_evaluation(t, report))),
            Section(t("section-errors"), tuple(describe_error_rates(t, report))),
            Section(t("section-limits"), tuple(_limits(t))),
            Section(t("section-decisions"), tuple(describe_decisions(t, report))),
            Section(t("section-audit"), tuple(describe_audit(t, report))),
        ),
        language=language,
        page=t("page", number="{number}"),
    )


def _finding(t: Words, report: CaseReport) -> Iterator[Block]:
    finding, codes = report.verification.finding, warning_codes(report)
    yield Paragraph(
        t(
            "finding-one" if report.count == 1 else "finding-many",
            count=report.count,
            signer=report.verification.signer_id,
            moment=t.moment(finding.created_at),
            distance=t.number(finding.distance),
        )
    )
    if codes & COPIES:
        kind = "finding-identical" if "identical-image" in codes else "finding-copy"
        yield Paragraph(t(kind), is_strong=True)
    else:
        yield Paragraph(_statement(t, report), is_strong=True)
        yield Paragraph(state_uncertainty(t, report))
    if "resembles-known-forgery" in codes:
        yield Paragraph(t("finding-known-forgery"), is_strong=True)
    if finding.warnings or report.count < FEW:
        yield Paragraph(t("finding-quality"))
    yield Paragraph(t("finding-transposed"))


def _statement(t: Words, report: CaseReport) -> str:
    log_ratio = report.verification.finding.log_likelihood_ratio
    if abs(log_ratio) < 0.02:
        return t("finding-none")
    side = "finding-genuine" if log_ratio > 0 else "finding-forged"
    sentences = [t(side, ratio=t.ratio(log_ratio))]
    if grade_of(log_ratio) is None:
        sentences.append(t("finding-below"))
    else:
        sentences.append(t("finding-verbal", support=t.support(log_ratio)))
    low, high = report.calibration.llr_bounds
    if report.evidence is not None and not low + _ROUNDING < log_ratio < high - _ROUNDING:
        sentences.append(t("finding-largest"))
    if log_ratio < OVERSTATED:
        sentences.append(t("finding-overstated"))
    return " ".join(sentences)


def state_uncertainty(t: Words, report: CaseReport) -> str:
    """Say how far the likelihood ratio could be another one, and from what this is known."""
    evidence = report.evidence
    if evidence is None:
        return t("uncertainty-replaced")
    other = t(
        "uncertainty-density", ratio=t.favour(evidence.by_density), support=t.support(evidence.by_density)
    )
    if evidence.interval is None:
        return t("uncertainty-none", other=other)
    low, high = t.support(evidence.interval.low), t.support(evidence.interval.high)
    stated = {"interval": t.interval(evidence.interval), "level": f"{100 * LEVEL:.0f}", "other": other}
    if low == high:
        return t("uncertainty-interval-same", **stated, low=low)
    return t("uncertainty-interval", **stated, low=low, high=high)


def _propositions(t: Words, report: CaseReport) -> Iterator[Block]:
    yield Table((), tuple((name.upper(), t(name)) for name in ("h1", "h2", "h3")), (0.1, 0.9))
    yield Paragraph(t("propositions-choice"))
    yield Bullets(tuple(t(f"other-{one}") for one in ("unusual", "copy", "forger", "relative")))
    yield Paragraph(t("propositions-population"))
    yield Paragraph(t("conditioning"))
    signer_id = report.verification.signer_id
    actor = next((entry.actor for entry in report.entries if entry.action == "verify"), None)
    claimed = (
        t("conditioning-signer-only", signer=signer_id)
        if actor is None
        else t("conditioning-signer", signer=signer_id, actor=actor)
    )
    yield Bullets((claimed, t("conditioning-references"), t("conditioning-circumstances")))
    yield Paragraph(t("conditioning-change"))


def _limits(t: Words) -> Iterator[Block]:
    yield Bullets(
        tuple(t(f"limit-{one}") for one in ("who", "intent", "disguise", "script", "document", "references"))
    )
    yield Paragraph(t("limits-program"))
