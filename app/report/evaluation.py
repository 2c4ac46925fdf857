"""The comparison, its evaluation and the error rates, in the words of a report."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.domain.verbal_scale import SCALE
from app.report import wording
from app.report.distances_plot import plot_distances
from app.report.document import Block, Bullets, Paragraph, Picture, Pictures, Table
from app.report.items import describe_missing_image
from app.report.wording import COPIES, warning_codes
from app.services.difference_pictures import picture_size
from app.services.differences import COUNTED
from app.services.report import SHOWN, CaseReport
from model.decision.bootstrap import LEVEL


def describe_comparison(report: CaseReport) -> Iterator[Block]:
    """Show the signatures and where they differ."""
    drawn = report.pictures
    shown = [item for item in report.references if item.picture is not None]
    pictures: list[Picture] = []
    if drawn.questioned is not None:
        picture = drawn.questioned
        pictures.append(
            Picture(picture.image, picture.width, picture.height, "The questioned signature, its ink alone.")
        )
    for item in shown:
        assert item.picture is not None  # noqa: S101 # nosec B101 - chosen above
        caption = f"Reference {item.number}, distance {wording.number(item.distance)}."
        pictures.append(Picture(item.picture.image, item.picture.width, item.picture.height, caption))
    if pictures:
        yield Pictures(tuple(pictures))
    if not report.is_image_kept:
        yield Paragraph(
            f"The questioned signature cannot be shown: its image is {describe_missing_image(report)}.",
            is_strong=True,
        )
    if not shown:
        yield Paragraph("No image of a reference that was compared is left.")
    elif len(report.references) > SHOWN:
        yield Paragraph(f"The {SHOWN} closest of {len(report.references)} references are shown.")
    maps = report.maps
    if maps is None:
        yield Paragraph(f"There is no map of differences: {report.no_maps.rstrip('.')}.")
        return
    closest = next(item.number for item in report.references if item.reference_id in maps.reference_ids)
    captions = (
        (
            drawn.overlay,
            f"Overlay: the questioned signature in blue, reference {closest} in red, aligned as they were compared.",
        ),
        (drawn.nearest, f"Where the questioned signature differs from reference {closest} (drawn faintly)."),
        (drawn.whole, "Where it differs from all references on average, near its own ink."),
        (
            drawn.own,
            f"For comparison, on the same scale: where reference {closest} differs from the other references.",
        ),
    )
    yield Pictures(
        tuple(
            Picture(image, *picture_size(image), caption) for image, caption in captions if image is not None
        )
    )
    own = maps.own_beyond
    yield Paragraph(
        "The maps show what each cell contributes to the squared distance, as a multiple of what a cell "
        "contributes on average between two genuine signatures of this signer"
        + (" (the population's, as there is one reference)" if report.count == 1 else "")
        + ". The scale is the same in all maps and does not depend on their largest value. "
        f"In the map to all references, {maps.beyond} of {maps.mean.size} cells are beyond {COUNTED:g} times "
        "the usual"
        + (
            "; what is usual for this signer is unknown with one reference."
            if own is None
            else f"; when each reference is compared with the others, it is {own[0]} to {own[1]}."
        )
        + " Differences are marked where the network sees them. They do not show who wrote the signature, and a mark "
        "is not by itself a sign of forgery."
    )


def describe_evaluation(report: CaseReport) -> Iterator[Block]:
    """Place the distance in the signer's own range and the population, and state the likelihood ratios."""
    finding, evidence = report.verification.finding, report.evidence
    own = [item.own_distance for item in report.references if item.own_distance is not None]
    yield Table(
        ("Reference", "Distance of the questioned signature", "Distance of this reference to the others"),
        tuple(
            (
                str(item.number),
                wording.number(item.distance),
                "not known" if item.own_distance is None else wording.number(item.own_distance),
            )
            for item in report.references
        ),
        (0.2, 0.4, 0.4),
    )
    if own:
        farther = sum(distance > finding.distance for distance in own)
        yield Paragraph(
            f"This signer's own range: the references are {wording.number(min(own))} to "
            f"{wording.number(max(own))} from the others; {farther} of {len(own)} are farther from the others "
            f"than the questioned signature, at {wording.number(finding.distance)}, is from the references. "
            "So few references do not show the whole range of a signer."
        )
    if evidence is None:
        yield Paragraph(
            "The position among the signers of the calibration is not stated, because the service has "
            "replaced the model or the calibration of this verification."
        )
    else:
        plot = plot_distances(report)
        if plot is not None:
            yield plot
        calibration = report.calibration
        yield Table(
            ("Signatures of the calibration", "Share", "What is counted"),
            (
                (
                    "genuine signatures",
                    wording.share(evidence.genuine_farther, calibration.floor_genuine),
                    "as far as this one, or farther",
                ),
                (
                    "skilled forgeries",
                    wording.share(evidence.skilled_nearer, calibration.floor_skilled),
                    "as near as this one, or nearer",
                ),
                (
                    "random forgeries",
                    wording.share(evidence.random_nearer, calibration.floor_random),
                    "as near as this one, or nearer",
                ),
            ),
            (0.35, 0.25, 0.4),
        )
        yield Paragraph(
            "These shares are taken over signatures whose origin was known. They are not probabilities that "
            "this signature is genuine or forged."
        )
    yield from _ratios(report)
    yield Table(
        ("Likelihood ratio", "Verbal equivalent (ENFSI, 2015)"),
        (
            ("1 to 2", "no support for either proposition"),
            *(
                (
                    f"{2 if not place else 10 ** int(SCALE[place - 1][0]):,} to {10 ** int(limit):,}",
                    f"{grade.replace('-', ' ')} support",
                )
                for place, (limit, grade) in enumerate(SCALE)
            ),
            ("above 1,000,000", "extremely strong support"),
        ),
        (0.3, 0.7),
    )


def _ratios(report: CaseReport) -> Iterator[Block]:
    finding, evidence, calibration = report.verification.finding, report.evidence, report.calibration
    log_ratio = finding.log_likelihood_ratio
    rows = [
        (
            "H1 : H2",
            f"about {wording.ratio(log_ratio)} in favour of {'H1' if log_ratio >= 0 else 'H2'}",
            f"{wording.support(log_ratio)}; recorded as log10 {log_ratio:+.3f}",
        )
    ]
    if evidence is not None:
        if evidence.interval is not None:
            rows.append(
                (
                    f"H1 : H2, {100 * LEVEL:.0f} % interval",
                    wording.interval(evidence.interval),
                    "the rule was fitted again on resampled writers of the calibration",
                )
            )
        by_density = evidence.by_density
        rows.append(
            (
                "H1 : H2, by densities",
                f"about {wording.ratio(by_density)} in favour of {'H1' if by_density >= 0 else 'H2'}",
                f"{wording.support(by_density)}; the same calibration, computed in another way",
            )
        )
        random = evidence.against_random
        is_limit = random >= 0.999 * -math.log10(calibration.floor_random) or random <= 0.999 * math.log10(
            calibration.floor_genuine
        )
        rows.append(
            (
                "H1 : H3",
                (
                    f"{'at least' if is_limit else 'about'} {wording.ratio(random)} in favour of "
                    f"{'H1' if random >= 0 else 'H3'}"
                ),
                wording.support(random, "H1 (written by the signer)", "H3 (a random forgery)")
                + "; from the densities of the calibration, without an interval",
            )
        )
    yield Table(("Propositions", "Likelihood ratio", "Verbal scale and source"), tuple(rows), (0.2, 0.3, 0.5))
    if COPIES & warning_codes(report):
        yield Paragraph(
            "Because of the possible copy, these ratios must not be used as support for H1.", is_strong=True
        )
    if evidence is None:
        return
    low, high = calibration.llr_bounds
    interval = (
        ""
        if evidence.interval is None
        else "The interval covers the choice of the writers, and nothing else. "
    )
    yield Paragraph(
        f"{interval}Not covered is that the scanner, the pens, the script and the forgers of a case may "
        f"differ from those of the calibration. Ratios are limited to {wording.ratio(high)} in favour of H1 "
        f"and {wording.ratio(low)} in favour of H2, because {calibration.fitted_on.skilled_forgeries} "
        f"forgeries and {calibration.fitted_on.genuine} genuine signatures cannot support more."
    )
    yield Paragraph(
        "Distance, threshold and ratio were computed again from the stored distances: they agree with the record."
        if evidence.is_reproduced
        else "Distance, threshold and ratio were computed again from the stored distances, and THEY DO NOT "
        "AGREE with the record. Do not use this report before the reason is known.",
        is_strong=not evidence.is_reproduced,
    )


def describe_error_rates(report: CaseReport) -> Iterator[Block]:
    """State the error rates and how they were measured."""
    finding, calibration = report.verification.finding, report.calibration
    point = finding.operating_point
    floors = (
        (calibration.floor_skilled, calibration.floor_random, calibration.floor_genuine)
        if report.evidence is not None
        else (0.0, 0.0, 0.0)
    )
    yield Paragraph(
        f"The service accepts up to a distance of {wording.number(finding.threshold)} for this signer. At "
        f"this threshold, with {report.count} reference{'' if report.count == 1 else 's'}:"
    )
    yield Table(
        ("Error", "Share", "Meaning"),
        (
            (
                "FAR, skilled",
                wording.share(point.far_skilled, floors[0]),
                "skilled forgeries that are accepted",
            ),
            ("FAR, random", wording.share(point.far_random, floors[1]), "random forgeries that are accepted"),
            ("FRR", wording.share(point.frr, floors[2]), "genuine signatures that are not accepted"),
        ),
        (0.25, 0.25, 0.5),
    )
    yield Paragraph(
        "They were measured on the writers of the calibration: the rule was fitted on the same writers, so "
        "the rates are somewhat optimistic. They are rates of the threshold, not of this finding, and not "
        "the probability of an error in this case."
    )
    errors = report.card.errors if report.evidence is not None else ()
    if errors:
        nearest = min({error.references for error in errors}, key=lambda k: (abs(k - report.count), k))
        yield Paragraph(
            "On test writers whom neither training nor calibration had seen, by the model card, with "
            f"{nearest} reference{'' if nearest == 1 else 's'} (the nearest number that was measured). The "
            "EER is the rate at the threshold at which FAR and FRR are equal; the interval is a bootstrap "
            "over writers:"
        )
        yield Table(
            ("Data set", "Forgeries", "EER", "95 % interval"),
            tuple(
                (
                    error.dataset,
                    error.forgeries,
                    f"{100 * error.eer:.1f} %",
                    f"{100 * error.low:.1f} to {100 * error.high:.1f} %",
                )
                for error in errors
                if error.references == nearest
            ),
            (0.4, 0.2, 0.15, 0.25),
        )
        yield Paragraph(
            "The sets differ from each other more than the intervals are wide: a set of other signers, "
            "scanners or forgers may have rates outside of all of them. Equal intervals of 0.0 to 0.0 % mean "
            "that no error was observed, not that none is possible."
        )
    elif report.evidence is not None:
        yield Paragraph(
            "The model card states no error rates on test writers; these rates are all that is known."
        )
    if report.evidence is not None and report.card.limitations:
        yield Paragraph("Known weaknesses, by the model card:")
        yield Bullets(report.card.limitations)
