"""``GET /signers/{id}/quality``: what the references of a signer are worth, and what to add or remove."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.app.test_api import enrol, verify

Draw = Callable[..., bytes]
pytestmark = pytest.mark.both_databases


def quality_of(client: TestClient, signer: str) -> Any:
    response = client.get(f"/signers/{signer}/quality")
    assert response.status_code == 200, response.text
    return response.json()


def codes(quality: Any) -> list[str]:
    return [finding["code"] for finding in quality["findings"]]


def finding(quality: Any, code: str) -> Any:
    return next(item for item in quality["findings"] if item["code"] == code)


def test_few_references_are_told_with_what_more_would_bring(client: TestClient, draw: Draw) -> None:
    enrol(client, "anna", draw(1, 0))
    one = quality_of(client, "anna")
    assert (one["distinct"], one["spread"], one["variation"], one["variants"]) == (1, None, "unknown", [])
    assert one["references"][0]["distance_to_others"] is None
    few = finding(one, "few-references")
    assert "only one reference" in few["detail"]
    assert "Enrol 4 more signatures" in few["advice"]
    assert 0 < one["frr"] < 1

    enrol(client, "anna", *(draw(1, n) for n in range(1, 6)))
    six = quality_of(client, "anna")
    assert "few-references" not in codes(six)
    assert six["spread"] > 0
    assert len(six["references"]) == 6
    assert six["model_version"].startswith("tiny@")


def test_a_copy_is_named_with_the_reference_that_it_repeats(client: TestClient, draw: Draw) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(draw(1, 0))).save(out, "TIFF")
    first = enrol(client, "anna", draw(1, 0)).json()["references"][0]["reference_id"]
    enrol(client, "anna", draw(1, 1), draw(1, 2))
    copy = enrol(client, "anna", out.getvalue()).json()["references"][0]["reference_id"]
    quality = quality_of(client, "anna")
    assert quality["distinct"] == 3
    assert quality["references"][-1] == {
        "reference_id": copy,
        "copy_of": first,
        "distance_to_others": None,
    }
    assert finding(quality, "duplicate-reference")["reference_ids"] == [copy]


def test_a_copy_is_not_of_low_quality(client: TestClient, draw: Draw) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(draw(1, 0))).save(out, "BMP")
    enrol(client, "anna", *(draw(1, n) for n in range(2)), out.getvalue())
    listed = client.get("/signers/anna/references").json()["references"]
    warnings = [[warning["code"] for warning in one["warnings"]] for one in listed]
    assert warnings == [[], [], ["copy-of-reference"]]
    assert "low-quality-reference" not in codes(quality_of(client, "anna"))
    warned = {warning["code"] for warning in verify(client, "anna", draw(1, 9)).json()["warnings"]}
    assert "duplicate-reference" in warned
    assert "low-quality-reference" not in warned


def test_a_reference_whose_image_has_warnings_is_of_low_quality(client: TestClient, draw: Draw) -> None:
    out = io.BytesIO()
    image = Image.open(io.BytesIO(draw(1, 1))).convert("L")
    image.resize((image.width // 4, image.height // 4), Image.Resampling.LANCZOS).save(out, "PNG")
    enrol(client, "anna", draw(1, 0))
    (reference,) = enrol(client, "anna", out.getvalue()).json()["references"]
    assert "low-resolution" in {warning["code"] for warning in reference["warnings"]}
    low = finding(quality_of(client, "anna"), "low-quality-reference")
    assert low["reference_ids"] == [reference["reference_id"]]
    warned = {warning["code"] for warning in verify(client, "anna", draw(1, 9)).json()["warnings"]}
    assert "low-quality-reference" in warned


def test_signatures_of_two_writers_are_two_variants(client: TestClient, draw: Draw) -> None:
    own, others = (
        enrol(client, "anna", *(draw(writer, n) for n in range(count))).json()["references"]
        for writer, count in ((1, 3), (7, 2))
    )
    quality = quality_of(client, "anna")
    groups = [{reference["reference_id"] for reference in group} for group in (own, others)]
    assert [set(group) for group in quality["variants"]] == groups
    assert set(finding(quality, "two-variants")["reference_ids"]) == groups[1]
    assert "unlike-other-references" not in codes(quality)


def test_references_of_one_image_are_of_one_sheet(client: TestClient, draw: Draw) -> None:
    scans = [np.array(Image.open(io.BytesIO(draw(1, n))).convert("L")) for n in range(2)]
    height = max(scan.shape[0] for scan in scans)
    padded = [np.pad(scan, ((0, height - scan.shape[0]), (0, 0)), constant_values=255) for scan in scans]
    out = io.BytesIO()
    Image.fromarray(np.hstack(padded)).save(out, "PNG")
    left, right = (scan.shape[1] for scan in scans)
    regions = [f"0,0,{left},{height}", f"{left},0,{left + right},{height}"]
    response = enrol(client, "anna", out.getvalue(), data={"region": regions})
    assert response.status_code == 201, response.text
    assert "one-sheet" in codes(quality_of(client, "anna"))
    enrol(client, "anna", draw(1, 2))
    assert "one-sheet" not in codes(quality_of(client, "anna"))


def test_a_fixed_threshold_has_no_expected_error_rate(client: TestClient, draw: Draw) -> None:
    enrol(client, "anna", draw(1, 0))
    client.patch("/signers/anna", json={"fixed_threshold": 0.5})
    quality = quality_of(client, "anna")
    assert (quality["frr"], quality["frr_recommended"]) == (None, None)
    assert finding(quality, "few-references")["detail"] == "There is only one reference."


def test_a_signer_without_references_and_an_unknown_one(client: TestClient, draw: Draw) -> None:
    reference = enrol(client, "anna", draw(1, 0)).json()["references"][0]["reference_id"]
    client.delete(f"/signers/anna/references/{reference}")
    quality = quality_of(client, "anna")
    assert (quality["distinct"], quality["references"], quality["frr"]) == (0, [], None)
    assert codes(quality) == ["few-references"]
    assert client.get("/signers/nobody/quality").json()["code"] == "signer-not-found"
