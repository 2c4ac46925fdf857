"""Real people the released model has never seen, in-process and over a real socket."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.settings import RELEASED_WEIGHTS
from model.data.registry import open_dataset
from model.data.specimens import Specimen
from model.evaluation.metrics import eer
from model.networks.weights import load_card
from tests.app.test_start import Service

PEOPLE = 5
REFERENCES = 10

pytestmark = pytest.mark.real_data


def data_of(specimen: Specimen) -> bytes:
    assert specimen.path is not None
    return specimen.path.read_bytes()


def judge_five_people(client: Any, folder: Path) -> tuple[float, float]:
    """Enrol 10 references of each of 5 people, verify the rest; returns the EER and the rank-1 rate."""
    dataset = open_dataset("sigcomp2011-dutch/test", folder)
    people = [s for s in dataset.signers() if len(dataset.genuine(s)) > REFERENCES and dataset.forgeries(s)][
        :PEOPLE
    ]
    assert len(people) == PEOPLE
    genuine: list[float] = []
    forged: list[float] = []
    named: list[bool] = []
    for person in people:
        files = [("files", data_of(s)) for s in dataset.genuine(person)[:REFERENCES]]
        assert client.post(f"/signers/{person}/references", files=files).status_code == 201
    for person in people:
        for specimens, scores in (
            (dataset.genuine(person)[REFERENCES:], genuine),
            (dataset.forgeries(person), forged),
        ):
            for specimen in specimens:
                answer = client.post(
                    "/verify", data={"signer_id": person}, files={"signature": data_of(specimen)}
                )
                assert answer.status_code == 200, answer.text
                body = answer.json()
                scores.append(body["distance"] - body["threshold"])
        for specimen in dataset.genuine(person)[REFERENCES:]:
            found = client.post("/identify", files={"signature": data_of(specimen)}).json()
            named.append(found["candidates"][0]["signer_id"] == person)
    return float(eer(np.array(genuine), np.array(forged))), float(np.mean(named))


def test_in_process(
    serve: Callable[..., TestClient], signature_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = serve(weights=RELEASED_WEIGHTS)
    rate, rank_one = judge_five_people(client, signature_data)
    with capsys.disabled():
        print(f"\n{PEOPLE} unseen people, {REFERENCES} references: EER {rate:.1%}, rank-1 {rank_one:.1%}")
    assert rate < 0.25
    assert rank_one > 0.85


def test_over_a_real_socket(tmp_path: Path, signature_data: Path) -> None:
    service = Service(
        {
            "COUNTERSIGN_WEIGHTS": str(RELEASED_WEIGHTS),
            "COUNTERSIGN_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
    ).ready()
    try:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            rate, rank_one = judge_five_people(client, signature_data)
    finally:
        _, out = service.finish(signal.SIGTERM)
    assert "Traceback" not in out
    assert rate < 0.25
    assert rank_one > 0.85


def test_no_test_writer_was_trained_on(signature_data: Path) -> None:
    card = load_card(RELEASED_WEIGHTS)
    assert not any(part.name.endswith(("/test", "/all")) for part in card.datasets)
    tested = set(open_dataset("sigcomp2011-dutch/test", signature_data).signers())
    for split in ("train", "validation"):
        assert not tested & set(open_dataset(f"sigcomp2011-dutch/{split}", signature_data).signers())
        assert not set(open_dataset("svc2004/test", signature_data).signers()) & set(
            open_dataset(f"svc2004/{split}", signature_data).signers()
        )
