"""The items that were compared, their quality, and the method, in the words of a report."""

from __future__ import annotations

from collections.abc import Iterator

from app.report.document import Block, Bullets, Paragraph, Table
from app.report.wording import FEW, Words
from app.services.report import SOFTWARE, CaseReport


def describe_items(t: Words, report: CaseReport) -> Iterator[Block]:
    """Say what was compared and what limits its quality."""
    verification, quality = report.verification, report.verification.basis.get("quality", {})
    region, page = quality.get("region"), verification.basis.get("page", 0) + 1
    turned = any(warning.code == "turned" for warning in verification.finding.warnings)
    yield Table(
        (),
        (
            (t("item-image"), f"SHA-256 {verification.questioned_sha256}"),
            (
                t("item-part"),
                t("item-whole", page=page)
                if region is None
                else t("item-region", page=page, region=", ".join(map(str, region))),
            ),
            (t("item-writing"), _size(t, quality)),
            (
                t("item-kept"),
                t("item-is-kept") if report.is_image_kept else describe_missing_image(t, report),
            ),
            (t("item-orientation"), t("item-turned" if turned else "item-upright")),
        ),
        (0.2, 0.8),
    )
    warnings = [t.warning(warning) for warning in verification.finding.warnings]
    if warnings:
        yield Paragraph(t("items-warnings"))
        yield Bullets(tuple(warnings))
    else:
        yield Paragraph(t("items-no-warnings"))
    columns = ("number", "reference", "enrolled", "writing", "warnings", "sha256")
    yield Table(
        tuple(t(f"column-{name}") for name in columns),
        tuple(_reference_row(t, report, item.number) for item in report.references),
        (0.05, 0.2, 0.14, 0.17, 0.19, 0.25),
    )
    yield Bullets((t("items-genuine"), t("items-dates"), *_missing(t, report), t("items-scans")))


def _size(t: Words, quality: dict[str, object]) -> str:
    if "width_px" not in quality:
        return t("not-recorded")
    return t(
        "item-size",
        width=quality["width_px"],
        height=quality["height_px"],
        stroke=t.number(float(str(quality["stroke_width_px"])), 1),
        contrast=t.number(float(str(quality["contrast"])), 2),
    )


def describe_missing_image(t: Words, report: CaseReport) -> str:
    """Say why the image of the questioned signature is not there."""
    if not report.is_signer_enrolled:
        return t("missing-signer")
    return t("missing-retention" if report.keeps_images else "missing-never")


def _reference_row(t: Words, report: CaseReport, number: int) -> tuple[str, ...]:
    item = report.references[number - 1]
    if item.stored is None:
        return (str(number), item.reference_id, t("reference-deleted"), "-", "-", "-")
    quality = item.stored.quality
    repeats = [t("reference-repeats")] if item.is_repetition else []
    warnings = [*repeats, *(warning.code for warning in item.stored.warnings)]
    writing = (
        t("reference-size", width=quality["width_px"], height=quality["height_px"])
        if "width_px" in quality
        else t("not-recorded")
    )
    return (
        str(number),
        item.reference_id,
        f"{item.stored.created_at:%Y-%m-%d}",
        writing,
        ", ".join(warnings) or t("none"),
        item.stored.sha256,
    )


def _missing(t: Words, report: CaseReport) -> Iterator[str]:
    deleted = sum(item.stored is None for item in report.references)
    if not report.is_signer_enrolled:
        yield t("items-erased")
    elif deleted:
        yield t("items-deleted", deleted=deleted, count=len(report.references))
    if report.count == 1:
        yield t("items-single")
    elif report.count < FEW:
        yield t("items-few", count=report.count)


def describe_method(t: Words, report: CaseReport) -> Iterator[Block]:
    """Say how it was compared: model, calibration, software."""
    verification, fitted_on = report.verification, report.calibration.fitted_on
    model = verification.finding.model_version
    calibration = str(verification.basis.get("calibration", t("not-recorded")))
    yield Paragraph(t("method"))
    if report.evidence is None:
        yield Paragraph(
            t(
                "method-replaced",
                model=model,
                calibration=calibration,
                current_model=report.card.version,
                current_calibration=report.calibration_id,
            ),
            is_strong=True,
        )
    rows = [(t("method-model"), model), (t("method-calibration"), calibration)]
    if report.evidence is not None:
        fitted = t(
            "method-fitted-on",
            writers=fitted_on.writers,
            genuine=fitted_on.genuine,
            skilled=fitted_on.skilled_forgeries,
            datasets=", ".join(fitted_on.datasets),
        )
        trained = ", ".join(data.name for data in report.card.datasets)
        rows += [
            (t("method-weights"), report.card.sha256),
            (t("method-recipe"), report.card.recipe_sha256),
            (t("method-fitted"), fitted),
            (t("method-trained"), trained or t("method-unstated")),
        ]
    rows += [
        (t("method-software"), SOFTWARE),
        (t("method-finder"), t("method-in-use", network=report.page_network)),
    ]
    yield Table((), tuple(rows), (0.25, 0.75))
