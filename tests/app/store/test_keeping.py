"""Retention: images of questioned signatures and stored answers are deleted after the configured period."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.services import maintenance as service_maintenance
from app.store import maintenance
from tests.app.store.conftest import Draw, Sql, enrol, verify

pytestmark = pytest.mark.both_databases
LONG_AGO = "2020-01-01 00:00:00+00:00"


def keep(days: float) -> maintenance.Retention:
    """Keep images and templates for some days, and answers for one."""
    return maintenance.Retention(questioned_days=days, forged_days=days, template_days=days, answers_hours=24)


def test_by_default_no_questioned_image_is_kept(enrolled: TestClient, draw: Draw, sql: Sql) -> None:
    told = verify(enrolled, "writer-1", draw(1, 5)).json()
    response = enrolled.get(f"/verifications/{told['verification_id']}/image")
    assert (response.status_code, response.json()["code"]) == (404, "image-not-kept")
    assert sql("SELECT * FROM questioned_images") == []


def test_a_kept_image_is_available_until_its_retention_period_ends(
    serve: Callable[..., TestClient], draw: Draw, sql: Sql, opened: Callable[..., Any]
) -> None:
    client = serve(keep_questioned_days=30)
    enrol(client, "a", draw(1, 0))
    old, young = (verify(client, "a", draw(1, n)).json()["verification_id"] for n in (4, 5))
    assert client.get(f"/verifications/{old}/image").content == draw(1, 4)
    sql(f"UPDATE questioned_images SET created_at = '{LONG_AGO[:19]}' WHERE verification_id = :id", id=old)
    store = opened()
    assert maintenance.purge(store, keep(30)).questioned_images == 1
    assert client.get(f"/verifications/{old}/image").json()["code"] == "image-not-kept"
    assert client.get(f"/verifications/{old}").status_code == 200, "the verification is kept"
    assert client.get(f"/verifications/{young}/image").content == draw(1, 5)
    assert maintenance.purge(store, keep(0)).questioned_images == 1, "all images have expired"


def test_the_service_purges_periodically(
    serve: Callable[..., TestClient], draw: Draw, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time  # noqa: PLC0415

    monkeypatch.setattr(service_maintenance, "EVERY_S", 0.05)
    client = serve(keep_questioned_days=30)
    enrol(client, "a", draw(1, 0))
    verify(client, "a", draw(1, 4))
    sql(f"UPDATE questioned_images SET created_at = '{LONG_AGO[:19]}'")
    deadline = time.monotonic() + 10
    while sql("SELECT 1 FROM questioned_images") and time.monotonic() < deadline:
        client.get("/livez")
        time.sleep(0.05)
    assert sql("SELECT 1 FROM questioned_images") == []


def test_an_expired_answer_is_deleted_and_its_key_can_be_used_again(
    enrolled: TestClient, draw: Draw, sql: Sql, opened: Callable[..., Any]
) -> None:
    key = {"Idempotency-Key": "cheque"}
    first = verify(enrolled, "writer-1", draw(1, 5), headers=key).json()
    assert maintenance.purge(opened(), keep(0)).answers == 0
    sql(f"UPDATE idempotency SET created_at = '{LONG_AGO[:19]}'")
    assert maintenance.purge(opened(), keep(0)).answers == 1
    assert verify(enrolled, "writer-1", draw(1, 5), headers=key).json() != first
