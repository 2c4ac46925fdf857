"""Files of documents of accounts: decoded once, turned like those of `/verify`; outcomes of whole documents."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.app.test_accounts import GENUINE, bank, codes, decide, enrol_people, put
from tests.app.test_api import verify
from tests.fixtures import png
from tests.model.preprocessing.test_extraction import PARAGRAPH, place, sheet, typed

__all__ = ["bank", "codes"]
Draw = Callable[..., bytes]
Serve = Callable[..., TestClient]


def count_decodings(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which every request to a process that decodes adds its operation."""
    asked: list[str] = []
    readers = client.app.state.context.decoders  # type: ignore[attr-defined]
    ask = readers._ask

    def noted(request: dict[str, Any], *rest: Any) -> Any:
        asked.append(request["operation"])
        return ask(request, *rest)

    monkeypatch.setattr(readers, "_ask", noted)
    return asked


def record(client: TestClient, document: Any, outcome: str) -> Any:
    path = f"/accounts/acme/verifications/{document['account_verification_id']}/outcome"
    response = client.put(path, json={"outcome": outcome, "note": "by telephone"})
    assert response.status_code == 200, response.text
    return response.json()


def test_each_file_of_a_document_is_decoded_once(
    bank: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_decodings(bank, monkeypatch)
    assert decide(bank, draw, 20000, "anna", "bert").json()["decision"] == "accept"
    assert asked == ["prepare-all"] * 2


def test_a_rejected_signature_is_compared_turned_as_by_verify(
    bank: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(draw(1, 12))).rotate(90, expand=True).save(out, "PNG")
    for name in ("bert", "carl"):  # so that it is rejected for the others in every position
        bank.patch(f"/signers/{name}", json={"fixed_threshold": 0.001})
    alone = verify(bank, "anna", out.getvalue()).json()
    assert alone["decision"] == "accept"
    assert alone["region"] is None, "the image is not turned before it is compared"
    asked = count_decodings(bank, monkeypatch)
    answer = bank.post(
        "/accounts/acme/verify", data={"amount": "1"}, files=[("signatures", ("q.png", out.getvalue()))]
    ).json()
    assert asked == ["prepare-all", "turn"]
    (signature,) = answer["signatures"]
    assert (signature["signer_id"], signature["status"]) == ("anna", "accepted")
    for field in ("distance", "threshold", "warnings"):
        assert signature["verification"][field] == alone[field]


def test_the_signatures_of_a_turned_page_are_found_as_by_extract(serve: Serve, draw: Draw) -> None:
    client = serve(keep_questioned_days=1, quality_control_share=1.0)
    enrol_people(client, draw)
    put(client)
    page = sheet(1700, 700)
    for row, line in enumerate(PARAGRAPH):
        typed(page, 80, 30 + 40 * row, line)
    for name, left in (("anna", 60), ("bert", 900)):
        typed(page, left, 440, f"{name}, for the company")
        writer, number = GENUINE[name]
        place(page, np.asarray(Image.open(io.BytesIO(draw(writer, number))).convert("L")), left, 200)
    turned = png(Image.fromarray(np.rot90(page)))
    listed = client.post("/extract", files={"document": ("page.png", turned)}).json()
    assert listed["turned"] == 270
    answer = client.post(
        "/accounts/acme/verify", data={"amount": "20000"}, files=[("signatures", ("page.png", turned))]
    )
    assert answer.status_code == 200, answer.text
    signatures = answer.json()["signatures"]
    assert len(signatures) == 2
    regions = [one["verification"]["region"] for one in signatures]
    assert regions == [one["region"] for one in listed["signatures"]]
    for one in signatures:
        assert "page-turned" in {warning["code"] for warning in one["verification"]["warnings"]}
        case = client.get(f"/cases/{one['verification']['verification_id']}/pictures").json()
        assert case["questioned"] is not None


@pytest.mark.both_databases
def test_the_outcome_of_a_document_is_recorded_for_its_signatures(bank: TestClient, draw: Draw) -> None:
    document = decide(bank, draw, 20000, "anna", "bert").json()
    assert document["outcome"] is None
    recorded = record(bank, document, "genuine")
    assert (recorded["outcome"], recorded["outcome_note"]) == ("genuine", "by telephone")
    assert recorded["outcome_at"]
    shown = bank.get(f"/accounts/acme/verifications/{document['account_verification_id']}").json()
    assert shown == recorded
    for signature in document["signatures"]:
        one = bank.get(f"/verifications/{signature['verification']['verification_id']}").json()
        assert (one["outcome"], one["known_forgery"]) == ("genuine", False)
    actions = [entry["action"] for entry in bank.get("/audit").json()["entries"]]
    assert actions[:3] == ["account-outcome", "outcome", "outcome"]


@pytest.mark.both_databases
def test_a_forged_document_makes_its_only_signature_a_known_forgery(bank: TestClient, draw: Draw) -> None:
    document = decide(bank, draw, 100, "anna").json()
    record(bank, document, "forged")
    verification = document["signatures"][0]["verification"]["verification_id"]
    assert bank.get(f"/verifications/{verification}").json()["known_forgery"] is True
    assert len(bank.get("/signers/anna/forgeries").json()["forgeries"]) == 1


def test_of_a_forged_document_with_several_signatures_none_is_taken_to_be_the_forged_one(
    bank: TestClient, draw: Draw
) -> None:
    document = decide(bank, draw, 20000, "anna", "bert").json()
    assert record(bank, document, "forged")["outcome"] == "forged"
    for name in ("anna", "bert"):
        assert bank.get(f"/signers/{name}/forgeries").json()["forgeries"] == []
    for signature in document["signatures"]:
        one = bank.get(f"/verifications/{signature['verification']['verification_id']}").json()
        assert one["outcome"] is None


def test_an_unknown_document_has_no_outcome(client: TestClient, draw: Draw) -> None:
    enrol_people(client, draw)
    put(client)
    response = client.put("/accounts/acme/verifications/none/outcome", json={"outcome": "genuine"})
    assert (response.status_code, response.json()["code"]) == (404, "verification-not-found")
