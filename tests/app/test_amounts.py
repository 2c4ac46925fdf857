"""Amounts sent to ``/verify``: stored, in the order of the queue, and the threshold that they choose."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.domain.amounts import parse_bands
from app.domain.errors import StartRefused
from tests.app.keyed import Serve

Draw = Callable[..., bytes]
REVIEW = {"fixed_threshold": 1e-6, "review_far": 0.5}
BANDS = "10000:0.3, 50000:0.2, above:0.05"


def enrol(client: TestClient, draw: Draw, signer: str = "anna") -> None:
    files = [("files", draw(1, number)) for number in range(4)]
    client.post(f"/signers/{signer}/references", files=files).raise_for_status()


def verify(client: TestClient, draw: Draw, number: int = 6, **data: str) -> Any:
    files = {"signature": draw(1, number)}
    return client.post("/verify", data={"signer_id": "anna", **data}, files=files)


def test_the_queue_is_ordered_by_the_amounts_of_plain_verifications(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    enrol(client, draw)
    amounts = ("480", "25000.5", None)
    for number, amount in enumerate(amounts):
        more = {} if amount is None else {"amount": amount, "currency": "EUR"}
        told = verify(client, draw, 6 + number, **more).json()
        assert told["decision"] == "review"
        assert (told["amount"], told["band"]) == (amount, None)
        stored = client.get(f"/verifications/{told['verification_id']}").json()
        assert (stored["amount"], stored["currency"]) == (amount, more.get("currency"))
    body = {"signer_id": "anna", "signature": base64.b64encode(draw(1, 9)).decode(), "amount": 1999}
    assert client.post("/verify", json=body).json()["amount"] == "1999"
    cases = client.get("/cases?order=largest-amount").json()["cases"]
    assert [case["amount"] for case in cases] == ["25000.5", "1999", "480", None]
    assert cases[0]["currency"] == "EUR"


def test_the_amount_chooses_the_threshold(serve: Serve, draw: Draw) -> None:
    client = serve(target_far_bands=BANDS, bands_currency="EUR")
    enrol(client, draw)
    told = {amount: verify(client, draw, amount=amount).json() for amount in ("10000", "10000.01", "60000")}
    assert [one["band"]["number"] for one in told.values()] == [1, 2, 3]
    assert told["60000"]["band"] == {"number": 3, "up_to": None, "target_far": 0.05}
    thresholds = [one["threshold"] for one in told.values()]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == 3
    without = verify(client, draw).json()
    assert without["amount"] is None
    assert without["band"] == told["60000"]["band"], "leaving out the amount does not help"
    record = client.get(f"/verifications/{told['60000']['verification_id']}").json()
    assert record["basis"]["target_far"] == 0.05
    client.patch("/signers/anna", json={"target_far": 0.1})
    applied = verify(client, draw, amount="1").json()
    assert client.get(f"/verifications/{applied['verification_id']}").json()["basis"]["target_far"] == 0.1, (
        "the signer's own, lower one"
    )


def test_a_currency_is_checked_and_a_repetition_has_the_same_amount(serve: Serve, draw: Draw) -> None:
    client = serve(target_far_bands=BANDS, bands_currency="EUR")
    enrol(client, draw)
    refused = verify(client, draw, amount="100", currency="JPY")
    assert (refused.status_code, refused.json()["code"]) == (409, "currency-mismatch")
    assert verify(client, draw, amount="100", currency="EUR").status_code == 200
    alone = verify(client, draw, currency="EUR")
    assert (alone.status_code, alone.json()["code"]) == (400, "malformed-request")
    for wrong in ("-1", "1e3", "1.23456", "much", "1,000"):
        assert verify(client, draw, amount=wrong).status_code == 400, wrong

    def repeated(amount: str) -> int:
        headers = {"Idempotency-Key": "k"}
        data = {"signer_id": "anna", "amount": amount}
        return client.post("/verify", data=data, files={"signature": draw(1, 6)}, headers=headers).status_code

    assert [repeated("5"), repeated("5.00"), repeated("6")] == [200, 200, 409]


def test_bands_are_checked_when_the_service_starts(serve: Serve) -> None:
    with pytest.raises(StartRefused, match=r"1e-05 is not supported"):
        serve(target_far_bands="above:0.00001")
    assert [band.target_far for band in parse_bands(BANDS)] == [0.3, 0.2, 0.05]
    assert parse_bands(" ") == ()
    for wrong in (
        "10:0.1",
        "10:0.1,5:0.05,above:0.02",
        "above:0.1,above:0.2",
        "x:0.1,above:0.2",
        "above:1.5",
        "7",
        "10:0.02,above:0.1",
    ):
        with pytest.raises(ValueError, match=r"."):
            parse_bands(wrong)
