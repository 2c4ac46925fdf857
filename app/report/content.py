"""What a report says, in the order of the ENFSI guideline for evaluative reporting (2015).

The report evaluates what was found given the propositions. It never states how probable a proposition is, because
that depends on all other circumstances of a case, which the service does not know.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.report import wording
from app.report.document import Block, Bullets, Document, Paragraph, Section, Table
from app.report.evaluation import describe_comparison, describe_error_rates, describe_evaluation
from app.report.items import describe_items, describe_method
from app.report.record import describe_audit, describe_decisions
from app.report.wording import COPIES, FEW, warning_codes
from app.services.report import CaseReport
from model.decision.bootstrap import LEVEL
from model.decision.verdict import LLR_DIGITS

OVERSTATED = -1.5
"""log10 likelihood ratio below which the evidence was found to be overstated (docs/accuracy.md)."""
_ROUNDING = 0.5 * 10.0**-LLR_DIGITS


def write_report(report: CaseReport) -> Document:
    """Write the report on a verification, in English."""
    verification = report.verification
    return Document(
        title="Evaluative report on a questioned signature",
        subtitle=f"Verification {verification.verification_id}, signer {verification.signer_id}",
        sections=(
            Section("Finding", tuple(_finding(report))),
            Section("Propositions", tuple(_propositions())),
            Section("Items compared and their limits", tuple(describe_items(report))),
            Section("Method", tuple(describe_method(report))),
            Section("Comparison", tuple(describe_comparison(report))),
            Section("Evaluation", tuple(describe_evaluation(report))),
            Section("Error rates", tuple(describe_error_rates(report))),
            Section("What this report cannot say", tuple(_limits())),
            Section("Decisions and outcome on record", tuple(describe_decisions(report))),
            Section("Audit", tuple(describe_audit(report))),
        ),
    )


def _finding(report: CaseReport) -> Iterator[Block]:
    finding = report.verification.finding
    count = report.count
    references = "one reference" if count == 1 else f"{count} references"
    yield Paragraph(
        f"A questioned signature was compared with {references} of the signer {report.verification.signer_id} "
        f"on {wording.moment(finding.created_at)}. The distance is {wording.number(finding.distance)}."
    )
    if copies := COPIES & warning_codes(report):
        yield Paragraph(
            "The likelihood ratio is not stated as support for a proposition: the questioned signature is "
            + (
                "the same file as a reference"
                if "identical-image" in copies
                else "closer to a reference than genuine signatures are to each other"
            )
            + ". It may be a copy or a tracing of that reference. Neither proposition describes that, and a small "
            "distance is to be expected of a copy.",
            is_strong=True,
        )
    else:
        yield Paragraph(_statement(report), is_strong=True)
        yield Paragraph(f"Uncertainty: {state_uncertainty(report)}")
    if "resembles-known-forgery" in warning_codes(report):
        yield Paragraph(
            "The questioned signature resembles one that was found to be forged before (section 9). The "
            "ratio does not take account of that.",
            is_strong=True,
        )
    if finding.warnings or count < FEW:
        yield Paragraph(
            "The quality of the items limits the weight of this finding: see the warnings and the number of "
            "references in section 3."
        )
    yield Paragraph(
        "This is a statement about the distances, given the propositions. It is not the probability that the "
        "signer wrote the signature, or that it is forged. To get from the one to the other, everything else "
        "that is known of the case is needed, and that is for the person who decides."
    )


def _statement(report: CaseReport) -> str:
    log_ratio = report.verification.finding.log_likelihood_ratio
    low, high = report.calibration.llr_bounds
    bound = ""
    if report.evidence is not None and not low + _ROUNDING < log_ratio < high - _ROUNDING:
        bound = " It is the largest ratio that the data of the calibration can support."
    if log_ratio < OVERSTATED:
        bound += (
            " Ratios as far in favour of H2 as this one have been found overstated on other writers, three "
            "to ten times, because a few genuine signatures differ from the others more than their set "
            "suggests."
        )
    if abs(log_ratio) < 0.02:
        return "Such distances are as probable under H1 as under H2: no support for either proposition."
    favoured, other = (
        "the signer wrote the questioned signature (H1)",
        "another person forged it with skill (H2)",
    )
    if log_ratio < 0:
        favoured, other = (
            "another person forged the questioned signature with skill (H2)",
            "the signer wrote it (H1)",
        )
    return (
        f"Such distances are about {wording.ratio(log_ratio)} times as probable if {favoured} as if {other}. "
        f"On the verbal scale this is {wording.support(log_ratio)}.{bound}"
    )


def state_uncertainty(report: CaseReport) -> str:
    """Say how far the likelihood ratio could be another one, and from what this is known."""
    evidence = report.evidence
    if evidence is None:
        return (
            "no range is given, because the service has replaced the model or the calibration of this "
            "verification. Read the ratio as an order of magnitude at best."
        )
    other = (
        "Computed from the densities of the calibration instead of its fitted curve, the ratio would be "
        f"about {wording.ratio(evidence.by_density)} in favour of "
        f"{'H1' if evidence.by_density >= 0 else 'H2'}: {wording.support(evidence.by_density)}."
    )
    if evidence.interval is None:
        return (
            "no interval over writers is given, because the weights come without a bootstrap of their "
            f"calibration. {other} Read the ratio as an order of magnitude at best."
        )
    low, high = evidence.interval.low, evidence.interval.high
    return (
        "with other writers in the calibration the ratio would have been between "
        f"{wording.interval(evidence.interval)} in {100 * LEVEL:.0f} of 100 samples of writers, that is, from "
        f"{wording.support(low)} to {wording.support(high)}. {other}"
    )


def _propositions() -> Iterator[Block]:
    yield Table(
        (),
        (
            ("H1", "The signer wrote the questioned signature, in the manner of the references."),
            ("H2", "A skilled forgery: another person wrote it, with the signer's signature as a model."),
            ("H3", "A random forgery: another person wrote it without knowing the signer's signature."),
        ),
        (0.1, 0.9),
    )
    yield Paragraph(
        "The signers, forgers and random writers of the calibration (section 4) stand for those who may have "
        "written the questioned signature. No information on the circumstances of the case was used."
    )
    yield Paragraph(
        "The likelihood ratio compares H1 with H2, the alternative that is hardest to exclude. Section 6 "
        "states the ratio of H1 to H3 as well. Other explanations need other propositions, which were not "
        "evaluated:"
    )
    yield Bullets(
        (
            (
                "the signer wrote it in an unusual way: disguised, ill, in haste, with the other hand, with "
                "a guided hand;"
            ),
            "it is a copy, a tracing, or was printed or pasted from a genuine signature;",
            "it was made by a forger more skilled, or with more practice, than those of the calibration;",
            "it was written by a close relative or by a writer who shares the signer's form of signature.",
        )
    )


def _limits() -> Iterator[Block]:
    yield Bullets(
        (
            "Who wrote the signature. If it is not the signer's, nothing points to another person.",
            "Whether anybody meant to deceive, or whether the signer agreed.",
            (
                "Whether a genuine signature was disguised, or a forgery simulated freehand or traced. "
                "Copies and tracings are recognised only when they are closer to a reference than genuine "
                "signatures are."
            ),
            (
                "Anything about scripts and forms of signature that are not among the data that the model "
                "was trained and calibrated on; the ratios do not carry over."
            ),
            "Anything about the document: whether it was altered, when it was signed, or in which order.",
            (
                "More than the references allow: with few references, or with references of one sitting, a "
                "genuine signature of another day may lie outside of their range."
            ),
        )
    )
    yield Paragraph(
        "The report is written by a program. Nobody has looked at the signatures for it. It is meant as one "
        "part of an examination by a qualified person, who should see the originals."
    )
