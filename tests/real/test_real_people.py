"""The released model on signers it was not trained on, in process and over a socket."""

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

SIGNERS = 5
SIGNERS_OVER_A_SOCKET = 2
"""Fewer: the computation is the same, and it is measured in process."""
REFERENCES = 10

pytestmark = pytest.mark.real_data


def file_bytes(specimen: Specimen) -> bytes:
    assert specimen.path is not None
    return specimen.path.read_bytes()


def measure_accuracy(client: Any, folder: Path, count: int = SIGNERS) -> tuple[float, float]:
    """Enrol 10 references of some signers and verify the rest; return the EER and the rank-1 rate."""
    dataset = open_dataset("sigcomp2011-dutch/test", folder)
    signers = [s for s in dataset.signers() if len(dataset.genuine(s)) > REFERENCES and dataset.forgeries(s)][
        :count
    ]
    assert len(signers) == count
    genuine: list[float] = []
    forged: list[float] = []
    identified: list[bool] = []
    for signer in signers:
        files = [("files", file_bytes(s)) for s in dataset.genuine(signer)[:REFERENCES]]
        assert client.post(f"/signers/{signer}/references", files=files).status_code == 201
    for signer in signers:
        for specimens, scores in (
            (dataset.genuine(signer)[REFERENCES:], genuine),
            (dataset.forgeries(signer), forged),
        ):
            for specimen in specimens:
                response = client.post(
                    "/verify", data={"signer_id": signer}, files={"signature": file_bytes(specimen)}
                )
                assert response.status_code == 200, response.text
                body = response.json()
                scores.append(body["distance"] - body["threshold"])
        for specimen in dataset.genuine(signer)[REFERENCES:]:
            response = client.post("/identify", files={"signature": file_bytes(specimen)}).json()
            identified.append(response["candidates"][0]["signer_id"] == signer)
    return float(eer(np.array(genuine), np.array(forged))), float(np.mean(identified))


def test_accuracy_in_process(
    serve: Callable[..., TestClient], signature_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = serve(weights=RELEASED_WEIGHTS)
    rate, rank_one = measure_accuracy(client, signature_data)
    with capsys.disabled():
        print(f"\n{SIGNERS} unseen signers, {REFERENCES} references: EER {rate:.1%}, rank-1 {rank_one:.1%}")
    assert rate < 0.25
    assert rank_one > 0.85


def test_accuracy_over_a_socket(tmp_path: Path, signature_data: Path) -> None:
    service = Service(
        {
            "COUNTERSIGN_WEIGHTS": str(RELEASED_WEIGHTS),
            "COUNTERSIGN_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
    ).ready()
    try:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            rate, rank_one = measure_accuracy(client, signature_data, SIGNERS_OVER_A_SOCKET)
    finally:
        _, out = service.finish(signal.SIGTERM)
    assert "Traceback" not in out
    assert rate < 0.25
    assert rank_one > 0.85


def test_released_model_was_not_trained_on_test_writers(signature_data: Path) -> None:
    card = load_card(RELEASED_WEIGHTS)
    assert not any(part.name.endswith(("/test", "/all")) for part in card.datasets)
    test_signers = set(open_dataset("sigcomp2011-dutch/test", signature_data).signers())
    for split in ("train", "validation"):
        assert not test_signers & set(open_dataset(f"sigcomp2011-dutch/{split}", signature_data).signers())
        assert not set(open_dataset("svc2004/test", signature_data).signers()) & set(
            open_dataset(f"svc2004/{split}", signature_data).signers()
        )
