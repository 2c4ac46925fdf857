"""The comparison, its evaluation and the error rates, in the words of a report."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.domain.verbal_scale import SCALE
from app.report.distances_plot import plot_distances
from app.report.document import Block, Bullets, Paragraph, Picture, Pictures, Table
from app.report.items import describe_missing_image
from app.report.wording import COPIES, Words, warning_codes
from app.services.difference_pictures import picture_size
from app.services.differences import COUNTED, DifferenceMaps
from app.services.report import SHOWN, CaseReport
from model.decision.bootstrap import LEVEL


def describe_comparison(t: Words, report: CaseReport) -> Iterator[Block]:
    """Show the signatures and where they differ."""
    drawn = report.pictures
    shown = [item for item in report.references if item.picture is not None]
    pictures: list[Picture] = []
    if drawn.questioned is not None:
        picture = drawn.questioned
        pictures.append(Picture(picture.image, picture.width, picture.height, t("picture-questioned")))
    for item in shown:
        assert item.picture is not None  # noqa: S101 # nosec B101 - chosen above
        caption = t("picture-reference", number=item.number, distance=t.number(item.distance))
        pictures.append(Picture(item.picture.image, item.picture.width, item.picture.height, caption))
    if pictures:
        yield Pictures(tuple(pictures))
    if not report.is_image_kept:
        yield Paragraph(t("comparison-no-image", reason=describe_missing_image(t, report)), is_strong=True)
    if not shown:
        yield Paragraph(t("comparison-no-reference"))
    elif len(report.references) > SHOWN:
        yield Paragraph(t("comparison-closest", shown=SHOWN, count=len(report.references)))
    maps = report.maps
    if maps is None:
        key = f"no-maps-{report.no_maps}"
        yield Paragraph(t(key if t.has(key) else "no-maps-gone"))
        return
    closest = next(item.number for item in report.references if item.reference_id in maps.reference_ids)
    captions = (
        (drawn.overlay, "map-overlay"),
        (drawn.nearest, "map-nearest"),
        (drawn.whole, "map-whole"),
        (drawn.own, "map-own"),
    )
    yield Pictures(
        tuple(
            Picture(image, *picture_size(image), t(key, number=closest))
            for image, key in captions
            if image is not None
        )
    )
    scale = "maps-scale-population" if report.count == 1 else "maps-scale"
    yield Paragraph(" ".join((t(scale), _count_cells(t, maps), t("maps-caution"))))


def _count_cells(t: Words, maps: DifferenceMaps) -> str:
    stated = {"count": maps.beyond, "cells": maps.mean.size, "times": f"{COUNTED:g}"}
    own = maps.own_beyond
    if own is None:
        return t("maps-counts-one", **stated)
    return t("maps-counts", **stated, fewest=own[0], most=own[1])


def describe_evaluation(t: Words, report: CaseReport) -> Iterator[Block]:
    """Place the distance in the signer's own range and the population, and state the likelihood ratios."""
    finding, evidence = report.verification.finding, report.evidence
    own = [item.own_distance for item in report.references if item.own_distance is not None]
    yield Table(
        (t("column-reference"), t("column-questioned-distance"), t("column-own-distance")),
        tuple(
            (
                str(item.number),
                t.number(item.distance),
                t("not-known") if item.own_distance is None else t.number(item.own_distance),
            )
            for item in report.references
        ),
        (0.2, 0.4, 0.4),
    )
    if own:
        yield Paragraph(
            t(
                "own-range",
                least=t.number(min(own)),
                most=t.number(max(own)),
                farther=sum(distance > finding.distance for distance in own),
                count=len(own),
                distance=t.number(finding.distance),
            )
        )
    if evidence is None:
        yield Paragraph(t("evaluation-replaced"))
    else:
        plot = plot_distances(t, report)
        if plot is not None:
            yield plot
        calibration = report.calibration
        shares = (
            ("genuine", evidence.genuine_farther, calibration.floor_genuine, "counted-farther"),
            ("skilled", evidence.skilled_nearer, calibration.floor_skilled, "counted-nearer"),
            ("random", evidence.random_nearer, calibration.floor_random, "counted-nearer"),
        )
        yield Table(
            (t("column-population"), t("column-share"), t("column-counted")),
            tuple(
                (t(f"population-{kind}"), t.share(value, floor), t(counted))
                for kind, value, floor, counted in shares
            ),
            (0.35, 0.25, 0.4),
        )
        yield Paragraph(t("population-caution"))
    yield from _ratios(t, report)
    yield Table((t("column-ratio"), t("column-verbal")), tuple(_grades(t)), (0.3, 0.7))


def _grades(t: Words) -> Iterator[tuple[str, str]]:
    """Yield the rows of the verbal scale."""
    yield t("range", low="1", high="2"), t("scale-none")
    low = 2
    for limit, grade in SCALE:
        high = round(10**limit)
        yield t("range", low=t.whole(low), high=t.whole(high)), t(f"support-{grade}")
        low = high
    yield t("scale-above", limit=t.whole(low)), t("support-extremely-strong")


def _ratios(t: Words, report: CaseReport) -> Iterator[Block]:
    finding, evidence, calibration = report.verification.finding, report.evidence, report.calibration
    log_ratio = finding.log_likelihood_ratio
    recorded = t.localized(f"{log_ratio:+.3f}")
    rows = [
        (
            "H1 : H2",
            t("about", text=t.favour(log_ratio)),
            t("ratio-recorded", support=t.support(log_ratio), number=recorded),
        )
    ]
    if evidence is not None:
        if evidence.interval is not None:
            rows.append(
                (
                    t("ratio-interval", level=f"{100 * LEVEL:.0f}"),
                    t.interval(evidence.interval),
                    t("ratio-resampled"),
                )
            )
        by_density = evidence.by_density
        rows.append(
            (
                t("ratio-by-densities"),
                t("about", text=t.favour(by_density)),
                t("ratio-other-way", support=t.support(by_density)),
            )
        )
        random = evidence.against_random
        is_limit = random >= 0.999 * -math.log10(calibration.floor_random) or random <= 0.999 * math.log10(
            calibration.floor_genuine
        )
        rows.append(
            (
                "H1 : H3",
                t("at-least" if is_limit else "about", text=t.favour(random, "H3")),
                t("ratio-random", support=t.support(random, "random")),
            )
        )
    yield Table(
        (t("column-propositions"), t("column-ratio"), t("column-source")), tuple(rows), (0.2, 0.3, 0.5)
    )
    if COPIES & warning_codes(report):
        yield Paragraph(t("ratio-copy"), is_strong=True)
    if evidence is None:
        return
    low, high = calibration.llr_bounds
    limits = t(
        "ratio-limits",
        high=t.ratio(high),
        low=t.ratio(low),
        skilled=calibration.fitted_on.skilled_forgeries,
        genuine=calibration.fitted_on.genuine,
    )
    yield Paragraph(limits if evidence.interval is None else f"{t('ratio-interval-covers')} {limits}")
    yield Paragraph(
        t("reproduced" if evidence.is_reproduced else "not-reproduced"),
        is_strong=not evidence.is_reproduced,
    )


def describe_error_rates(t: Words, report: CaseReport) -> Iterator[Block]:
    """State the error rates and how they were measured."""
    finding, calibration = report.verification.finding, report.calibration
    point = finding.operating_point
    floors = (
        (calibration.floor_skilled, calibration.floor_random, calibration.floor_genuine)
        if report.evidence is not None
        else (0.0, 0.0, 0.0)
    )
    yield Paragraph(
        t(
            "errors-one" if report.count == 1 else "errors-many",
            threshold=t.number(finding.threshold),
            count=report.count,
        )
    )
    rates = (("far-skilled", point.far_skilled), ("far-random", point.far_random), ("frr", point.frr))
    yield Table(
        (t("column-error"), t("column-share"), t("column-meaning")),
        tuple(
            (t(key), t.share(rate, floor), t(f"{key}-meaning"))
            for (key, rate), floor in zip(rates, floors, strict=True)
        ),
        (0.25, 0.25, 0.5),
    )
    yield Paragraph(t("errors-caution"))
    if report.evidence is None:
        return
    if report.card.errors:
        yield from _card_errors(t, report)
    else:
        yield Paragraph(t("errors-no-card"))
    if report.card.limitations:
        yield Paragraph(t("errors-weaknesses"))
        yield Bullets(report.card.limitations)


def _card_errors(t: Words, report: CaseReport) -> Iterator[Block]:
    errors = report.card.errors
    nearest = min({error.references for error in errors}, key=lambda k: (abs(k - report.count), k))
    yield Paragraph(t("errors-card-one" if nearest == 1 else "errors-card", count=nearest))
    yield Table(
        (t("column-dataset"), t("column-forgeries"), t("column-eer"), t("column-interval")),
        tuple(
            (
                error.dataset,
                t(f"forgeries-{error.forgeries}"),
                t("share", share=t.number(100 * error.eer, 1)),
                t(
                    "range",
                    low=t.number(100 * error.low, 1),
                    high=t("share", share=t.number(100 * error.high, 1)),
                ),
            )
            for error in errors
            if error.references == nearest
        ),
        (0.4, 0.2, 0.15, 0.25),
    )
    yield Paragraph(t("errors-sets"))
