"""Difference maps over the API: where a kept questioned signature differs from its references."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from tests.app.keyed import Draw, Serve
from tests.app.test_api import enrol, verify


def verified(client: TestClient, draw: Draw, *references: int, questioned: Any = None) -> dict[str, Any]:
    assert enrol(client, "anna", *(draw(1, n) for n in references)).status_code == 201
    answer: dict[str, Any] = verify(client, "anna", draw(1, 9) if questioned is None else questioned).json()
    return answer


def pixels(response: Any) -> np.ndarray:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"), dtype=int)


def coloured(image: np.ndarray) -> float:
    """The share of pixels in a colour of the scale, without the legend; the ink of a reference is paler."""
    body = image[:-60]
    return float((np.ptp(body, axis=-1) > 80).mean())


def test_a_map_is_drawn_for_one_reference_and_for_all(serve: Serve, draw: Draw) -> None:
    client = serve(keep_questioned_days=1)
    told = verified(client, draw, 0, 1, 2, questioned=draw(3, 0))
    path = f"/verifications/{told['verification_id']}/differences"
    assert coloured(pixels(client.get(path))) > 0.01
    for item in told["references"]:
        assert coloured(pixels(client.get(f"{path}/{item['reference_id']}"))) > 0.01
    entries = client.get("/audit?action=view-image").json()["entries"]
    assert len(entries) == 4
    assert entries[0]["record_id"] == told["verification_id"]
    assert entries[-1]["details"] == {"questioned": True, "references": []}


def test_a_copy_of_a_reference_differs_nowhere_from_it(serve: Serve, draw: Draw) -> None:
    client = serve(keep_questioned_days=1)
    told = verified(client, draw, 0, 1, questioned=draw(1, 0))
    same = min(told["references"], key=lambda item: item["distance"])
    other = max(told["references"], key=lambda item: item["distance"])
    path = f"/verifications/{told['verification_id']}/differences"
    assert coloured(pixels(client.get(f"{path}/{same['reference_id']}"))) == 0.0
    assert client.get(f"{path}/{other['reference_id']}").content != b""


def test_without_the_image_there_is_no_map(serve: Serve, draw: Draw) -> None:
    client = serve()
    told = verified(client, draw, 0, 1)
    answer = client.get(f"/verifications/{told['verification_id']}/differences")
    assert (answer.status_code, answer.json()["code"]) == (404, "image-not-kept")
    kept = serve(keep_questioned_days=1)
    told = verify(kept, "anna", draw(1, 8)).json()
    path = f"/verifications/{told['verification_id']}/differences"
    assert kept.get(path).status_code == 200
    missing = kept.get(f"{path}/01900000-0000-7000-8000-000000000000")
    assert (missing.status_code, missing.json()["code"]) == (404, "reference-not-found")
    kept.delete("/signers/anna")
    assert kept.get(path).json()["code"] == "image-not-kept"


def test_a_deleted_reference_is_left_out(serve: Serve, draw: Draw) -> None:
    client = serve(keep_questioned_days=1)
    told = verified(client, draw, 0, 1)
    path = f"/verifications/{told['verification_id']}/differences"
    first, second = (item["reference_id"] for item in told["references"])
    client.delete(f"/signers/anna/references/{first}")
    assert client.get(path).status_code == 200
    assert client.get(f"{path}/{first}").json()["code"] == "reference-not-found"
    client.delete(f"/signers/anna/references/{second}")
    assert client.get(path).json()["code"] == "reference-not-found"


def test_a_model_without_cells_says_so(serve: Serve, other_model_folder: Path, draw: Draw) -> None:
    client = serve(keep_questioned_days=1, weights=other_model_folder)
    told = verified(client, draw, 0, 1)
    answer = client.get(f"/verifications/{told['verification_id']}/differences")
    assert (answer.status_code, answer.json()["code"]) == (409, "no-difference-map")
    report = client.get(f"/verifications/{told['verification_id']}/report")
    assert report.status_code == 200
    assert "no map of differences" in report.text
