"""Cursors belong to the listing that issued them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from app.api.cursors import Listing
from app.domain.errors import InvalidCursor
from app.domain.verification_filter import VerificationFilter
from tests.app.test_api import enrol

Draw = Callable[..., bytes]


@pytest.mark.parametrize("position", ["1", "writer-001", "Ünal / 家", "x" * 128])
def test_a_position_is_the_same_after_encoding(position: str) -> None:
    cursor = Listing("signers", None).encode(position)
    assert cursor
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,1024}", cursor)
    assert Listing("signers", None).decode(cursor) == position


def test_there_is_no_cursor_after_the_last_page_and_none_for_the_first() -> None:
    assert Listing("signers").encode(None) is None
    assert Listing("signers").decode(None) is None
    assert Listing("audit").decode_number(None, 10) is None


@pytest.mark.parametrize(
    "other", [Listing("accounts"), Listing("signers", "a"), Listing("signers", None, None)]
)
def test_a_cursor_of_another_listing_is_refused_as_such(other: Listing) -> None:
    with pytest.raises(InvalidCursor, match="belongs to another listing"):
        Listing("signers", None).decode(other.encode("writer-001"))


def test_equal_filters_have_the_same_cursors() -> None:
    first, same, other = (
        Listing("verifications", None, VerificationFilter(created_from=datetime(2026, 1, day, tzinfo=UTC)))
        for day in (1, 1, 2)
    )
    assert first.encode("1") == same.encode("1") != other.encode("1")


@pytest.mark.parametrize(
    "cursor", ["", "x", "xyz", "%%%", "é", "MTIz", "AAAAAAAA", "AAAAAAAA_w", "AAAAAAAACg"]
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="was not issued by this service"):
        Listing("signers").decode(cursor)


def test_a_changed_cursor_is_refused() -> None:
    listing = Listing("audit")
    cursor = listing.encode("12")
    assert cursor
    assert listing.decode_number(cursor, 12) == 12
    for changed in (
        f"{cursor}=",
        f"{cursor}\n",
        cursor[:-1] + "h",
    ):  # the last differs in bits that do not count
        with pytest.raises(InvalidCursor, match="not issued"):
            listing.decode(changed)
    for position in ("13", "-1", "x", "٣", "9" * 500):
        with pytest.raises(InvalidCursor, match="not issued"):
            listing.decode_number(listing.encode(position), 12)


def test_every_listing_refuses_the_cursors_of_others(client: TestClient, draw: Draw) -> None:
    for name in ("a", "b"):
        enrol(client, name, draw(1, 0))
    cursor = client.get("/signers?limit=1").json()["next_cursor"]
    assert client.get("/signers", params={"cursor": cursor}).json()["signers"][0]["signer_id"] == "b"
    document = client.get("/openapi.json").json()
    listings = {
        path: call["get"]
        for path, call in document["paths"].items()
        if any(one["name"] == "cursor" for one in call.get("get", {}).get("parameters", ()))
    }
    assert len(listings) == 10
    for path, call in listings.items():
        assert "invalid-cursor" in call["responses"]["400"]["content"]["application/problem+json"]["examples"]
        address = re.sub(r"\{[^}]+\}", "a", path)
        refused = client.get(
            address, params={"cursor": cursor} | ({"search": "b"} if path == "/signers" else {})
        )
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid-cursor"), path
        assert "belongs to another listing, or to other parameters" in refused.json()["detail"]
