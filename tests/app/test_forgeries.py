"""Known forgeries: an outcome `forged` keeps a signature, and later ones of the signer are compared with it."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import SecretStr

from app.settings import Settings
from app.store.encryption.data_keys import new_key_text
from app.store.maintenance import Retention, purge
from tests.app.keyed import Commands
from tests.app.test_api import accept_nearly_everything, enrol, verify

Draw = Callable[..., bytes]
Serve = Callable[..., TestClient]
pytestmark = pytest.mark.both_databases


def codes(answer: Any) -> list[str]:
    return [warning["code"] for warning in answer["warnings"]]


def rescan(image: bytes) -> bytes:
    """The same signature in another scan: smaller, and compressed."""
    scan = Image.open(io.BytesIO(image)).convert("L")
    out = io.BytesIO()
    scan.resize((scan.width * 9 // 10, scan.height * 9 // 10), Image.Resampling.LANCZOS).save(
        out, "JPEG", quality=70
    )
    return out.getvalue()


def record(client: TestClient, verification: Any, outcome: str, **options: Any) -> Any:
    path = f"/verifications/{verification['verification_id']}/outcome"
    response = client.put(path, json={"outcome": outcome}, **options)
    assert response.status_code == 200, response.text
    return response.json()


def forgeries_of(client: TestClient, signer: str, **options: Any) -> Any:
    return client.get(f"/signers/{signer}/forgeries", **options).json()["forgeries"]


@pytest.fixture
def enrolled(client: TestClient, draw: Draw) -> TestClient:
    enrol(client, "anna", *(draw(1, n) for n in range(3)))
    return client


def forge(client: TestClient, draw: Draw) -> Any:
    """Have a skilled forgery of anna's signature recorded as forged; return its verification."""
    verification = verify(client, "anna", draw(1, 0, 3)).json()
    assert record(client, verification, "forged")["known_forgery"] is True
    return verification


def test_a_later_signature_like_a_known_forgery_is_left_to_a_person(enrolled: TestClient, draw: Draw) -> None:
    accept_nearly_everything(enrolled, "anna")
    before = verify(enrolled, "anna", rescan(draw(1, 0, 3))).json()
    assert before["decision"] == "accept"
    known = forge(enrolled, draw)
    after = verify(enrolled, "anna", rescan(draw(1, 0, 3))).json()
    assert after["distance"] == before["distance"]
    assert after["decision"] == "review"
    assert "resembles-known-forgery" in codes(after)
    stored = enrolled.get(f"/verifications/{after['verification_id']}").json()
    assert stored["decision"] == "review"
    about = stored["basis"]["known_forgeries"]
    assert about["resembled"]["verification_id"] == known["verification_id"]
    assert about["resembled"]["distance"] <= about["resembled"]["limit"] < after["distance"]
    assert about["decision_by_distance"] == "accept"


def test_the_same_forgery_again_resembles_itself_even_when_it_was_rejected(
    enrolled: TestClient, draw: Draw
) -> None:
    enrolled.patch("/signers/anna", json={"fixed_threshold": 0.0001})
    forge(enrolled, draw)
    again = verify(enrolled, "anna", draw(1, 0, 3)).json()
    assert again["decision"] == "review"
    assert "resembles-known-forgery" in codes(again)


def test_a_genuine_signature_and_another_signer_are_judged_as_before(
    enrolled: TestClient, draw: Draw
) -> None:
    enrol(enrolled, "bert", *(draw(1, n) for n in range(3)))
    before = verify(enrolled, "anna", draw(1, 1)).json()
    forge(enrolled, draw)
    after = verify(enrolled, "anna", draw(1, 1)).json()
    assert (after["decision"], codes(after)) == (before["decision"], codes(before))
    other = verify(enrolled, "bert", draw(1, 0, 3)).json()
    assert "resembles-known-forgery" not in codes(other)
    assert forgeries_of(enrolled, "bert") == []


def test_other_outcomes_make_no_known_forgery(enrolled: TestClient, draw: Draw) -> None:
    verification = verify(enrolled, "anna", draw(1, 0, 3)).json()
    for outcome in ("genuine", "undetermined"):
        assert record(enrolled, verification, outcome)["known_forgery"] is False
    assert forgeries_of(enrolled, "anna") == []


def test_a_later_outcome_does_not_undo_it_and_an_administrator_does(
    serve: Serve, commands: Commands, draw: Draw
) -> None:
    admin, clerk = commands.key("boss", "admin"), commands.key("clerk", "verify", "read", "enrol")
    client = serve()
    enrol(client, "anna", *(draw(1, n) for n in range(3)), headers=admin)
    verification = verify(client, "anna", draw(1, 0, 3), headers=clerk).json()
    record(client, verification, "forged", headers=clerk)
    assert record(client, verification, "genuine", headers=clerk)["known_forgery"] is True
    (listed,) = forgeries_of(client, "anna", headers=clerk)
    assert (listed["outcome"], listed["compared"], listed["image_kept"]) == ("genuine", True, False)

    path = f"/signers/anna/forgeries/{verification['verification_id']}"
    assert client.delete(path, headers=clerk).json()["code"] == "forbidden"
    assert "resembles-known-forgery" in codes(verify(client, "anna", draw(1, 0, 3), headers=clerk).json())
    assert client.delete(path, headers=admin).status_code == 204
    assert client.delete(path, headers=admin).status_code == 204
    assert forgeries_of(client, "anna", headers=clerk) == []
    assert "resembles-known-forgery" not in codes(verify(client, "anna", draw(1, 0, 3), headers=clerk).json())
    record(client, verification, "forged", headers=clerk)
    assert len(forgeries_of(client, "anna", headers=clerk)) == 1


def test_additions_and_withdrawals_are_in_the_audit(
    enrolled: TestClient, draw: Draw, commands: Commands
) -> None:
    verification = forge(enrolled, draw)
    record(enrolled, verification, "forged")  # again: no second entry
    verify(enrolled, "anna", draw(1, 0, 3))
    enrolled.delete(f"/signers/anna/forgeries/{verification['verification_id']}")
    entries = enrolled.get("/audit?signer_id=anna").json()["entries"]
    told = [(entry["action"], entry["record_id"]) for entry in reversed(entries)]
    assert [(action, record_id) for action, record_id in told if action.startswith("forgery-")] == [
        ("forgery-add", verification["verification_id"]),
        ("forgery-withdraw", verification["verification_id"]),
    ]
    resembling = [entry["details"].get("resembles_known_forgery") for entry in entries]
    assert resembling.count(True) == 1
    assert commands.run("audit", "verify").exit_code == 0


def test_a_forgery_deleted_from_the_database_is_found_by_the_audit(
    enrolled: TestClient, draw: Draw, commands: Commands, settings: Settings
) -> None:
    if not settings.database_url.startswith("sqlite"):
        pytest.skip("deletes a row by hand")
    forge(enrolled, draw)
    with sqlite3.connect(settings.database_url.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM known_forgeries")
    result = commands.run("audit", "verify")
    assert result.exit_code == 1
    assert "was deleted" in result.output


def test_without_template_and_image_a_forgery_is_not_remembered(serve: Serve, draw: Draw) -> None:
    client = serve(keep_questioned_templates_days=0)
    enrol(client, "anna", draw(1, 0))
    verification = verify(client, "anna", draw(1, 0, 3)).json()
    assert record(client, verification, "forged")["known_forgery"] is False
    assert forgeries_of(client, "anna") == []


def test_a_kept_image_replaces_the_template(serve: Serve, draw: Draw) -> None:
    client = serve(keep_questioned_templates_days=0, keep_questioned_days=30)
    enrol(client, "anna", draw(1, 0))
    verification = verify(client, "anna", draw(1, 0, 3)).json()
    assert record(client, verification, "forged")["known_forgery"] is True
    (listed,) = forgeries_of(client, "anna")
    assert (listed["compared"], listed["image_kept"]) == (True, True)
    again = verify(client, "anna", draw(1, 0, 3)).json()
    stored = client.get(f"/verifications/{again['verification_id']}").json()
    assert stored["basis"]["known_forgeries"]["resembled"]["distance"] == pytest.approx(0.0, abs=1e-3)


def test_the_retention_period_ends_for_templates_and_not_for_known_forgeries(
    serve: Serve, draw: Draw
) -> None:
    client = serve(keep_questioned_days=30)
    enrol(client, "anna", *(draw(1, n) for n in range(3)))
    forge(client, draw)
    verify(client, "anna", draw(1, 1))
    store = client.app.state.context.store  # type: ignore[attr-defined]
    purged = purge(store, Retention(questioned_days=0, forged_days=1, template_days=0, answers_hours=1))
    assert (purged.questioned_images, purged.questioned_templates) == (1, 1)
    (listed,) = forgeries_of(client, "anna")
    assert (listed["compared"], listed["image_kept"]) == (True, True)
    purge(store, Retention(questioned_days=0, forged_days=0, template_days=0, answers_hours=1))
    (listed,) = forgeries_of(client, "anna")
    assert (listed["compared"], listed["image_kept"]) == (True, False)


def test_erasure_of_the_signer_removes_known_forgeries_and_templates(
    enrolled: TestClient, draw: Draw, commands: Commands
) -> None:
    verification = forge(enrolled, draw)
    assert enrolled.delete("/signers/anna").status_code == 204
    enrol(enrolled, "anna", draw(1, 0))
    assert forgeries_of(enrolled, "anna") == []
    assert "resembles-known-forgery" not in codes(verify(enrolled, "anna", draw(1, 0, 3)).json())
    # The earlier signer's verification stays on record, and cannot become a forgery of the new one.
    assert record(enrolled, verification, "forged")["known_forgery"] is False
    assert commands.run("audit", "verify").exit_code == 0


def test_identification_does_not_accept_what_resembles_a_known_forgery(
    enrolled: TestClient, draw: Draw
) -> None:
    accept_nearly_everything(enrolled, "anna")
    forge(enrolled, draw)
    answer = enrolled.post("/identify", files={"signature": draw(1, 0, 3)}).json()
    assert (answer["accepted"], answer["candidates"][0]["decision"]) == (False, "review")
    assert enrolled.post("/identify", files={"signature": draw(1, 1)}).json()["accepted"] is True


def test_a_document_with_a_resembling_signature_is_left_to_a_person(enrolled: TestClient, draw: Draw) -> None:
    accept_nearly_everything(enrolled, "anna")
    mandate = {"signatories": [{"signer_id": "anna"}], "bands": [{"rules": [{"signatures": 1}]}]}
    assert enrolled.put("/accounts/acme", json=mandate).status_code in {200, 201}

    def decide() -> Any:
        files = [("signatures", ("q.png", rescan(draw(1, 0, 3))))]
        return enrolled.post("/accounts/acme/verify", data={"amount": "1"}, files=files).json()

    assert decide()["decision"] == "accept"
    forge(enrolled, draw)
    answer = decide()
    assert answer["decision"] == "review"
    assert answer["signatures"][0]["evidence"][0]["decision"] == "review"
    assert "resembles-known-forgery" in codes(answer["signatures"][0]["verification"])


def test_known_forgeries_move_to_a_new_model_from_their_images(
    serve: Serve, draw: Draw, commands: Commands, other_model_folder: Path
) -> None:
    client = serve(keep_questioned_days=30)
    enrol(client, "anna", *(draw(1, n) for n in range(3)))
    forge(client, draw)
    moved = commands.run("reembed", "--weights", str(other_model_folder))
    assert moved.exit_code == 0, moved.output
    assert "1 known forgeries moved" in moved.output
    newer = serve(weights=other_model_folder, keep_questioned_days=30)
    assert forgeries_of(newer, "anna")[0]["compared"] is True
    assert "resembles-known-forgery" in codes(verify(newer, "anna", draw(1, 0, 3)).json())


def test_a_known_forgery_without_image_is_skipped_by_a_new_model_and_said_so(
    serve: Serve, draw: Draw, commands: Commands, other_model_folder: Path
) -> None:
    client = serve()
    enrol(client, "anna", *(draw(1, n) for n in range(3)))
    forge(client, draw)
    assert (
        "1 known forgeries cannot be moved"
        in commands.run("reembed", "--weights", str(other_model_folder)).output
    )
    newer = serve(weights=other_model_folder)
    assert forgeries_of(newer, "anna")[0]["compared"] is False
    assert "known-forgeries-skipped" in codes(verify(newer, "anna", draw(1, 0, 3)).json())


def test_templates_of_questioned_signatures_are_encrypted_and_move_to_a_new_key(
    serve: Serve, draw: Draw, settings: Settings, commands: Commands
) -> None:
    client = serve()
    enrol(client, "anna", draw(1, 0))
    forge(client, draw)
    assert settings.encryption_keys is not None
    old = settings.encryption_keys.get_secret_value()
    new = new_key_text()
    keys = f"{old},{new}"
    rotated = commands.run("encryption", "rotate", COUNTERSIGN_ENCRYPTION_KEYS=keys)
    assert rotated.exit_code == 0, rotated.output
    retired = serve(encryption_keys=SecretStr(new))
    again = verify(retired, "anna", draw(1, 0, 3)).json()
    assert "resembles-known-forgery" in codes(again)
