"""``GET /signers/{id}/duplicates``: other signers who may be the same person."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.app.test_api import enrol, verify

Draw = Callable[..., bytes]
pytestmark = pytest.mark.both_databases


def duplicates_of(client: TestClient, signer: str, **query: int) -> Any:
    response = client.get(f"/signers/{signer}/duplicates", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_same_scan_of_another_signer_is_named_with_the_reference(client: TestClient, draw: Draw) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(draw(1, 1))).save(out, "TIFF")
    ids = [
        one["reference_id"]
        for one in enrol(client, "anna", *(draw(1, n) for n in range(3))).json()["references"]
    ]
    other = enrol(client, "ann", out.getvalue(), draw(1, 5)).json()["references"][0]["reference_id"]
    enrol(client, "ben", *(draw(2, n) for n in range(3)))
    found = duplicates_of(client, "anna")
    assert (found["signer_id"], found["references"], found["compared"]) == ("anna", 3, 2)
    first = found["duplicates"][0]
    assert first["signer_id"] == "ann"
    assert first["same_scans"] == [{"reference_id": ids[1], "other_reference_id": other}]
    assert first["distance"] < 0.1
    assert all(other["same_scans"] == [] for other in found["duplicates"][1:])
    assert duplicates_of(client, "ann", limit=1)["duplicates"][0]["signer_id"] == "anna"
    assert not found["truncated"]
    enrol(client, "third", out.getvalue())
    shortened = duplicates_of(client, "anna", limit=1)
    assert (len(shortened["duplicates"]), shortened["truncated"]) == (1, True)


def test_a_signer_is_listed_whose_references_accept_more_than_half(client: TestClient, draw: Draw) -> None:
    own = [draw(1, n) for n in range(3)]
    enrol(client, "anna", *own)
    others = {"ann": [draw(1, n) for n in range(6, 9)], "ben": [draw(2, n) for n in range(3)]}
    for name, images in others.items():
        enrol(client, name, *images)
    listed = {one["signer_id"]: one["accepted"] for one in duplicates_of(client, "anna")["duplicates"]}
    for name in others:
        accepted = sum(verify(client, name, image).json()["decision"] == "accept" for image in own)
        assert listed.get(name) == (accepted if accepted > 1 else None)
    client.patch("/signers/ann", json={"fixed_threshold": 1e-6})
    client.patch("/signers/ben", json={"fixed_threshold": 1e-6})
    assert duplicates_of(client, "anna")["duplicates"] == []


def test_copies_among_the_references_count_once(client: TestClient, draw: Draw) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(draw(1, 0))).save(out, "BMP")
    enrol(client, "anna", draw(1, 0), out.getvalue())
    assert duplicates_of(client, "anna") | {"model_version": ""} == {
        "signer_id": "anna",
        "references": 1,
        "duplicates": [],
        "truncated": False,
        "compared": 0,
        "model_version": "",
    }


def test_the_search_is_recorded_and_a_missing_signer_is_not_found(client: TestClient, draw: Draw) -> None:
    enrol(client, "anna", draw(1, 0))
    duplicates_of(client, "anna")
    entry = client.get("/audit", params={"action": "find-duplicates"}).json()["entries"][0]
    assert entry["details"]["compared"] == 0
    missing = client.get("/signers/nobody/duplicates")
    assert (missing.status_code, missing.json()["code"]) == (404, "signer-not-found")
    assert client.get("/signers/anna/duplicates", params={"limit": 0}).status_code == 400
