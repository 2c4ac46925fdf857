"""The items that were compared, their quality, and the method, in the words of a report."""

from __future__ import annotations

from collections.abc import Iterator

from app.report.document import Block, Bullets, Paragraph, Table
from app.report.wording import FEW
from app.services.report import SOFTWARE, CaseReport


def describe_items(report: CaseReport) -> Iterator[Block]:
    """Say what was compared and what limits its quality."""
    verification, quality = report.verification, report.verification.basis.get("quality", {})
    region = quality.get("region")
    turned = any(warning.code == "turned" for warning in verification.finding.warnings)
    yield Table(
        (),
        (
            ("Questioned image", f"SHA-256 {verification.questioned_sha256}"),
            (
                "Part compared",
                f"page {verification.basis.get('page', 0) + 1}, "
                + (
                    "the whole image"
                    if region is None
                    else "pixels " + ", ".join(map(str, region)) + " (left, top, right, bottom)"
                ),
            ),
            ("Writing", _size(quality)),
            ("Image", "kept, as uploaded" if report.is_image_kept else describe_missing_image(report)),
            ("Orientation", "see the warning on turning" if turned else "compared as it was sent"),
        ),
        (0.2, 0.8),
    )
    warnings = [f"{warning.code}: {warning.detail}" for warning in verification.finding.warnings]
    if warnings:
        yield Paragraph("Warnings that bear on the weight of the finding:")
        yield Bullets(tuple(warnings))
    else:
        yield Paragraph("The service raised no warning on the images or on the comparison.")
    yield Table(
        ("No.", "Reference", "Enrolled", "Writing", "Warnings", "Image, SHA-256"),
        tuple(_reference_row(report, item.number) for item in report.references),
        (0.05, 0.2, 0.14, 0.17, 0.19, 0.25),
    )
    yield Bullets(
        (
            "The references were taken to be genuine, as enrolled. Whether they are was not examined.",
            (
                "The dates are those of enrolment, not of writing. Whether the references are from the time "
                "of the questioned signature is not known."
            ),
            *_missing(report),
            (
                "Images were compared, not originals. Ink, indentation, pressure, paper and the order of "
                "strokes were not examined, and what the scanner lost is lost."
            ),
        )
    )


def _size(quality: dict[str, object]) -> str:
    if "width_px" not in quality:
        return "not recorded"
    return (
        f"{quality['width_px']} x {quality['height_px']} pixels, strokes of "
        f"{float(str(quality['stroke_width_px'])):.1f} pixels, contrast {float(str(quality['contrast'])):.2f} "
        "of 1"
    )


def describe_missing_image(report: CaseReport) -> str:
    """Say why the image of the questioned signature is not there."""
    if not report.is_signer_enrolled:
        return "erased with the signer; the numbers of the record are left"
    if report.keeps_images:
        return "erased by retention; only its hash and the numbers are left"
    return (
        "not kept: the service was not set to keep questioned images; only its hash and the numbers are left"
    )


def _reference_row(report: CaseReport, number: int) -> tuple[str, ...]:
    item = report.references[number - 1]
    if item.stored is None:
        return (str(number), item.reference_id, "deleted since", "-", "-", "-")
    quality = item.stored.quality
    repeats = ["repeats another reference: not counted"] if item.is_repetition else []
    warnings = [*repeats, *(warning.code for warning in item.stored.warnings)]
    writing = (
        f"{quality['width_px']} x {quality['height_px']} px" if "width_px" in quality else "not recorded"
    )
    return (
        str(number),
        item.reference_id,
        f"{item.stored.created_at:%Y-%m-%d}",
        writing,
        ", ".join(warnings) or "none",
        item.stored.sha256,
    )


def _missing(report: CaseReport) -> Iterator[str]:
    deleted = sum(item.stored is None for item in report.references)
    if not report.is_signer_enrolled:
        yield "The signer was erased from the service after this verification. No image is left; what is "
        "stated here rests on the record."
    elif deleted:
        yield f"{deleted} of {len(report.references)} references were deleted since; they took part in the "
        "comparison."
    if report.count == 1:
        yield (
            "There is only one reference. How much this signer varies is unknown; the mean of the population "
            "stands in, and the ratio is accordingly uncertain."
        )
    elif report.count < FEW:
        yield f"There are only {report.count} different references, which say little of how much this signer varies."


def describe_method(report: CaseReport) -> Iterator[Block]:
    """Say how it was compared: model, calibration, software."""
    verification, fitted_on = report.verification, report.calibration.fitted_on
    yield Paragraph(
        "The ink is isolated from the paper, centred and scaled, and a neural network describes each cell of "
        "a grid. Each cell of one signature is compared with the nearest cells of the other, in both "
        "directions; the distance is the root of the sum. The distances to all references are combined by a "
        "fitted rule that takes account of how much the references differ among themselves. The calibration "
        "turns this into a likelihood ratio and error rates. It was fitted on signatures of writers whom the "
        "network had not been trained on."
    )
    if report.evidence is None:
        yield Paragraph(
            f"This verification was made with the model {verification.finding.model_version} and the "
            f"calibration {verification.basis.get('calibration', 'not recorded')}. The service now has "
            f"{report.card.version} and {report.calibration_id}, so what would have to be computed again is "
            "left out.",
            is_strong=True,
        )
    rows = [
        ("Model", verification.finding.model_version),
        ("Calibration", str(verification.basis.get("calibration", "not recorded"))),
    ]
    if report.evidence is not None:
        rows += [
            ("Weights, SHA-256", report.card.sha256),
            ("Recipe, SHA-256", report.card.recipe_sha256),
            (
                "Calibration fitted on",
                (
                    f"{fitted_on.writers} writers, {fitted_on.genuine} genuine signatures, "
                    f"{fitted_on.skilled_forgeries} skilled forgeries: {', '.join(fitted_on.datasets)}"
                ),
            ),
            ("Trained on", ", ".join(data.name for data in report.card.datasets) or "not stated by the card"),
        ]
    rows += [
        ("Software of this report", SOFTWARE),
        (
            "Network that finds signatures",
            f"{report.page_network} (in use now; a verification does not record it)",
        ),
    ]
    yield Table((), tuple(rows), (0.25, 0.75))
