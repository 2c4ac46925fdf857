"""From templates to a decision: distances, the policy of the signer, the verdict and its warnings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.records import Finding, OperatingPoint, ReferenceDistance, ResultWarning, Vector, now
from app.services.core import Core
from app.services.preparation import Signature
from app.services.warnings import note
from model.decision.distances import Floats
from model.decision.verdict import DISTANCE_DIGITS, Decision, Verdict, judge

_NOTE_OF = {"suspiciously-close": "possible-copy"}


@dataclass(frozen=True)
class Policy:
    """What decides for one signer."""

    target_far: float
    review_far: float | None
    fixed_threshold: float | None


def policy(core: Core, target_far: float | None = None, fixed_threshold: float | None = None) -> Policy:
    """The signer's own policy where it has one, else the service's.

    A signer's `target_far` outweighs the service's fixed threshold: it is the more particular wish.
    """
    settings = core.settings
    if fixed_threshold is None and target_far is None:
        fixed_threshold = settings.fixed_threshold
    target = settings.target_far if target_far is None else target_far
    review = settings.review_far if settings.review_far is not None and settings.review_far > target else None
    return Policy(target, review, fixed_threshold)


@dataclass(frozen=True)
class Judgement:
    """A verdict with the distances that it is based on.

    Attributes
    ----------
    verdict : Verdict
        From the distinct references alone.
    to_references : (k,) float64
    among_references : (k, k) float64
    distinct : (d,) int
        References that repeat no earlier one; the same scan in another format or size counts once.
    """

    verdict: Verdict
    to_references: Floats
    among_references: Floats
    distinct: NDArray[np.intp]


async def judged(core: Core, question: Vector, templates: Vector, rule: Policy) -> Judgement:
    """Judge a template (dimension,) against references (k, dimension) of one signer, in a worker thread.

    Local matching takes milliseconds, which is too long for the event loop.
    """
    return await asyncio.to_thread(judge_now, core, question, templates, rule)


def judge_now(core: Core, question: Vector, templates: Vector, rule: Policy) -> Judgement:
    """As :func:`judged`, on the calling thread."""
    to_references = core.embedder.compare(question[None], templates)[0]
    among = core.embedder.compare_among(templates)
    distinct = distinct_references(core, among)
    verdict = _verdict(core, to_references[distinct], among[np.ix_(distinct, distinct)], rule)
    return Judgement(verdict, to_references, among, distinct)


def distinct_references(core: Core, among_references: Floats) -> NDArray[np.intp]:
    """References that repeat no earlier one, by their distances among each other (k, k).

    Two signatures are never as close as the calibration's ``copy_distance``: such a pair is one scan, saved twice.
    Counted twice, it would make the signer look steadier than they are, and narrow the threshold.
    """
    copies = among_references < core.embedder.calibration.copy_distance
    distinct: list[int] = []
    for index in range(len(among_references)):
        if not copies[index, distinct].any():
            distinct.append(index)
    return np.array(distinct, dtype=np.intp)


def finding(
    core: Core,
    signature: Signature,
    judgement: Judgement,
    rule: Policy,
    reference_ids: Sequence[str],
    notes: Sequence[ResultWarning] = (),
) -> tuple[Finding, dict[str, Any]]:
    """The finding, and the basis that explains it a year later."""
    verdict = judgement.verdict
    point = verdict.operating_point
    warned = [*signature.notes, *(note(_NOTE_OF.get(code, code)) for code in verdict.warnings), *notes]
    if len(judgement.distinct) < len(judgement.to_references):
        warned.append(note("duplicate-reference"))
    result = Finding(
        decision=verdict.decision.value,
        distance=verdict.distance,
        threshold=verdict.threshold,
        review_threshold=verdict.review_threshold,
        log_likelihood_ratio=verdict.log_likelihood_ratio,
        operating_point=OperatingPoint(point.far_skilled, point.far_random, point.frr),
        references=tuple(
            ReferenceDistance(key, round(float(value), DISTANCE_DIGITS))
            for key, value in zip(reference_ids, judgement.to_references, strict=True)
        ),
        warnings=tuple(warned),
        model_version=core.model_version,
        created_at=now(),
    )
    basis = {
        "target_far": rule.target_far,
        "review_far": rule.review_far,
        "fixed_threshold": rule.fixed_threshold,
        "calibration": core.calibration_id,
        "spread": verdict.spread,
        "among_references": [
            [round(float(v), DISTANCE_DIGITS) for v in row] for row in judgement.among_references
        ],
        "quality": signature.quality,
    }
    if len(judgement.distinct) < len(judgement.to_references):
        basis["distinct_references"] = [reference_ids[index] for index in judgement.distinct]
    return result, basis


@dataclass(frozen=True)
class Specimen:
    """How a new reference compares with the signer's other references.

    Attributes
    ----------
    outlier : bool
        It is further from the others than a reviewer would be asked to look at; never with fewer than two others.
    copy : bool
        It repeats an earlier reference: the same scan.
    """

    outlier: bool
    copy: bool


async def compare_specimens(core: Core, templates: Vector, new: int) -> list[Specimen]:
    """Compare each of the last `new` of a signer's templates (k, dimension) with all others."""
    table = await asyncio.to_thread(core.embedder.compare_among, templates)
    distinct = distinct_references(core, table)
    rule = policy(core)
    found = []
    for position in range(len(templates) - new, len(templates)):
        if position not in distinct:
            found.append(Specimen(outlier=False, copy=True))
            continue
        others = distinct[distinct != position]
        outlier = False
        if len(others) >= 2:
            verdict = _verdict(core, table[position, others], table[np.ix_(others, others)], rule)
            outlier = verdict.decision is Decision.REJECT
        found.append(Specimen(outlier=outlier, copy=False))
    return found


def _verdict(core: Core, to_references: Floats, among_references: Floats, rule: Policy) -> Verdict:
    return judge(
        to_references,
        among_references,
        core.embedder.calibration,
        rule.target_far,
        rule.review_far,
        rule.fixed_threshold,
    )
