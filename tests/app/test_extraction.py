"""Pages over HTTP: extraction, regions, and references that were cut out of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.app.test_api import enrol, verify
from tests.model.preprocessing.test_extraction import letter, place, sheet, signature, typed

Draw = Callable[..., bytes]


def png(page: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(page).save(out, "PNG")
    return out.getvalue()


def extract(client: TestClient, page: bytes, **data: str) -> Any:
    return client.post("/extract", files={"document": ("page.png", page)}, data=data)


def two_signatures() -> bytes:
    page = letter(signed=True)
    place(page, signature(7), 600, 320)
    return png(page)


def test_the_signatures_of_a_page_are_listed_and_returned_as_images(client: TestClient) -> None:
    listed = extract(client, two_signatures()).json()
    assert (listed["width"], listed["height"]) == (1000, 700)
    assert len(listed["signatures"]) == 2
    assert all(one["image"] is None and 0.3 < one["confidence"] <= 1 for one in listed["signatures"])
    crops = extract(client, two_signatures(), crops="true").json()["signatures"]
    for listed_one, crop in zip(listed["signatures"], crops, strict=True):
        assert crop["region"] == listed_one["region"]
        image = Image.open(io.BytesIO(base64.b64decode(crop["image"])))
        assert image.mode == "L"
        assert np.asarray(image).max() == 255


def test_a_region_of_a_turned_page_is_read_as_the_page_was(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", *(draw(5, n) for n in range(1, 5)))
    upright = verify(client, "a", png(letter(signed=True, writer=5))).json()
    page = png(np.rot90(letter(signed=True, writer=5)))
    extracted = extract(client, page).json()
    assert extracted["turned"] == 270
    (found,) = extracted["signatures"]
    for region in ("auto", ",".join(map(str, found["region"]))):
        data = {"signer_id": "a", "region": region}
        answer = client.post("/verify", data=data, files={"signature": ("page.png", page)}).json()
        assert "page-turned" in {warning["code"] for warning in answer["warnings"]}
        assert answer["region"] == found["region"]
        assert answer["distance"] == pytest.approx(upright["distance"], abs=0.05)
    assert extract(client, png(letter(signed=True, writer=5))).json()["turned"] == 0


def test_a_page_without_a_signature_has_an_empty_list(client: TestClient) -> None:
    assert extract(client, png(letter(signed=False))).json()["signatures"] == []


def test_extraction_is_audited_and_stores_nothing_else(client: TestClient) -> None:
    extract(client, two_signatures())
    entries = client.get("/audit", params={"action": "extract"}).json()["entries"]
    assert [entry["details"]["signatures"] for entry in entries] == [2]
    assert client.get("/verifications").json()["verifications"] == []


def test_a_signed_letter_is_verified_like_the_signature_alone(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", *(draw(4, n) for n in range(1, 5)))
    alone = verify(client, "a", png(signature(4))).json()
    on_letter = verify(client, "a", png(letter(signed=True))).json()
    stranger = verify(client, "a", png(letter(signed=True, writer=9))).json()
    assert alone["region"] is None
    left, top, right, bottom = on_letter["region"]
    assert 50 < left < right < 600
    assert 280 < top < bottom < 500
    assert abs(on_letter["distance"] - alone["distance"]) < stranger["distance"] - alone["distance"]
    assert "other-marks-removed" in {warning["code"] for warning in on_letter["warnings"]}
    stored = client.get(f"/verifications/{on_letter['verification_id']}").json()
    assert stored["region"] == on_letter["region"]


@pytest.mark.parametrize("path", ["/verify", "/identify", "/compare", "/signers/a/references"])
def test_a_page_of_print_is_refused_everywhere(client: TestClient, draw: Draw, path: str) -> None:
    enrol(client, "a", draw(1, 0))
    page = ("page.png", png(letter(signed=False)))
    field = "files" if path.startswith("/signers") else "signature"
    files = [(field, page)] + ([("references", ("r.png", draw(1, 1)))] if path == "/compare" else [])
    refused = client.post(path, files=files, data={"signer_id": "a"} if path == "/verify" else None)
    assert (refused.status_code, refused.json()["code"]) == (422, "no-signature")


def test_several_signatures_are_answered_with_their_regions(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(4, 1), draw(4, 2))
    refused = verify(client, "a", two_signatures())
    assert (refused.status_code, refused.json()["code"]) == (409, "several-signatures")
    signatures = extract(client, two_signatures()).json()["signatures"]
    assert refused.json()["regions"] == [one["region"] for one in signatures]
    for one in signatures:
        region = ",".join(map(str, one["region"]))
        assert region in refused.json()["detail"]
        chosen = client.post(
            "/verify",
            data={"signer_id": "a", "region": region},
            files={"signature": ("page.png", two_signatures())},
        )
        assert chosen.status_code == 200
        assert chosen.json()["region"] == one["region"]


@pytest.mark.parametrize("region", ["here", "1,2,3", "-1,0,5,5", "1,2,3,4,5", "all"])
def test_a_malformed_region_is_refused(client: TestClient, draw: Draw, region: str) -> None:
    enrol(client, "a", draw(1, 0))
    refused = client.post(
        "/verify",
        data={"signer_id": "a", "region": region},
        files={"signature": ("q.png", draw(1, 1))},
    )
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed-request")


def test_a_region_whose_sides_are_out_of_order_is_refused(client: TestClient, draw: Draw) -> None:
    refused = client.post(
        "/verify",
        data={"signer_id": "a", "region": "10,10,5,20"},
        files={"signature": ("q.png", draw(1, 1))},
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "bad-region")


def specimen_card() -> tuple[bytes, list[str]]:
    page = sheet(1200, 400)
    regions = []
    for box in range(3):
        typed(page, 20 + 390 * box, 40, f"Specimen {box + 1}", 20)
        placed = place(page, signature(4, 100 + 10 * box), 20 + 390 * box, 120)
        regions.append(",".join(map(str, placed.as_tuple())))
    return png(page), regions


def test_several_specimens_are_enrolled_from_one_page(client: TestClient) -> None:
    card, regions = specimen_card()
    enrolled = client.post(
        "/signers/a/references", files=[("files", ("card.png", card))], data={"region": regions}
    )
    assert enrolled.status_code == 201
    references = enrolled.json()["references"]
    assert [",".join(map(str, one["quality"]["region"])) for one in references] == regions
    assert len({one["sha256"] for one in references}) == 1
    again = client.post(
        "/signers/a/references", files=[("files", ("card.png", card))], data={"region": regions[:1]}
    )
    assert again.json()["code"] == "duplicate-reference"


def test_the_number_of_regions_must_fit_the_files(client: TestClient, draw: Draw) -> None:
    files = [("files", (f"{n}.png", draw(1, n))) for n in range(3)]
    refused = client.post("/signers/a/references", files=files, data={"region": ["auto", "whole"]})
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed-request")
    assert "2 values of `region` and 3 files" in refused.json()["detail"]
    one = client.post("/signers/a/references", files=files, data={"region": "whole"})
    assert one.status_code == 201


def test_a_replay_with_another_region_is_another_request(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(4, 1))
    headers = {"Idempotency-Key": "k"}
    answers = [
        client.post(
            "/verify",
            data={"signer_id": "a", "region": region},
            files={"signature": ("q.png", png(letter(signed=True)))},
            headers=headers,
        )
        for region in ("auto", "auto", "whole")
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[2].json()["code"] == "idempotency-conflict"
