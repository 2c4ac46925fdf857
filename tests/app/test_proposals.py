"""Confirmed questioned signatures are proposed as references, and accepted by a person or by policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.test_api import accept_nearly_everything, enrol, verify
from tests.app.test_forgeries import record

Draw = Callable[..., bytes]
Serve = Callable[..., TestClient]
pytestmark = pytest.mark.both_databases


def proposals_of(client: TestClient) -> list[str]:
    answer = client.get("/signers/anna/proposals")
    assert answer.status_code == 200, answer.text
    return [proposal["verification_id"] for proposal in answer.json()["proposals"]]


def accept(client: TestClient, verification: Any) -> Any:
    return client.post(f"/verifications/{verification['verification_id']}/reference")


@pytest.fixture
def keeping(serve: Serve, draw: Draw) -> TestClient:
    """A service that keeps images of questioned signatures, with one signer."""
    client = serve(keep_questioned_days=30)
    enrol(client, "anna", *(draw(1, n) for n in range(3)))
    return client


def test_a_confirmed_signature_is_proposed_and_becomes_a_reference(keeping: TestClient, draw: Draw) -> None:
    verification = verify(keeping, "anna", draw(1, 5)).json()
    assert proposals_of(keeping) == []
    assert accept(keeping, verification).json()["code"] == "not-confirmed"
    record(keeping, verification, "genuine")
    assert proposals_of(keeping) == [verification["verification_id"]]
    accepted = accept(keeping, verification)
    assert accepted.status_code == 201, accepted.text
    (reference,) = accepted.json()["references"]
    assert keeping.get("/signers/anna").json()["references"] == 4
    path = f"/signers/anna/references/{reference['reference_id']}/image"
    assert keeping.get(path).content == draw(1, 5)
    assert proposals_of(keeping) == []
    assert accept(keeping, verification).json()["code"] == "duplicate-reference"
    entry = keeping.get("/audit?action=enrol").json()["entries"][0]
    assert entry["details"]["verification_id"] == verification["verification_id"]


def test_a_declined_proposal_does_not_come_back(keeping: TestClient, draw: Draw) -> None:
    verification = verify(keeping, "anna", draw(1, 5)).json()
    record(keeping, verification, "genuine")
    path = f"/signers/anna/proposals/{verification['verification_id']}"
    assert [keeping.delete(path).status_code for _ in range(2)] == [204, 204]
    assert keeping.delete("/signers/anna/proposals/x").status_code == 204
    assert proposals_of(keeping) == []
    (entry,) = keeping.get("/audit?action=proposal-decline").json()["entries"]
    assert (entry["record_id"], entry["signer_id"]) == (verification["verification_id"], "anna")
    record(keeping, verification, "genuine")
    assert proposals_of(keeping) == []
    assert accept(keeping, verification).status_code == 201, "a person may change their mind"


def test_a_forgery_is_not_proposed_even_when_its_outcome_changes(keeping: TestClient, draw: Draw) -> None:
    verification = verify(keeping, "anna", draw(1, 0, 3)).json()
    record(keeping, verification, "forged")
    record(keeping, verification, "genuine")
    assert proposals_of(keeping) == []
    assert accept(keeping, verification).json()["code"] == "not-confirmed"


def test_a_signature_without_image_is_not_proposed(client: TestClient, draw: Draw) -> None:
    enrol(client, "anna", draw(1, 0))
    verification = verify(client, "anna", draw(1, 5)).json()
    record(client, verification, "genuine")
    assert proposals_of(client) == []
    assert accept(client, verification).json()["code"] == "image-not-kept"


def test_a_policy_enrols_confirmed_signatures_that_were_accepted(serve: Serve, draw: Draw) -> None:
    client = serve(keep_questioned_days=30, add_confirmed_references=True)
    enrol(client, "anna", *(draw(1, n) for n in range(3)))
    client.patch("/signers/anna", json={"fixed_threshold": 0.0001})
    rejected = verify(client, "anna", draw(1, 6)).json()
    record(client, rejected, "genuine")
    assert client.get("/signers/anna").json()["references"] == 3
    accept_nearly_everything(client, "anna")
    accepted = verify(client, "anna", draw(1, 5)).json()
    record(client, accepted, "genuine")
    added = 0 if accepted["warnings"] else 1
    assert client.get("/signers/anna").json()["references"] == 3 + added
    assert rejected["verification_id"] in proposals_of(client)
