"""Schemathesis tests the running service against its OpenAPI document, with all phases and all checks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.domain.api_keys import new_text
from app.settings import ROOT
from tests.app.test_start import Service

Draw = Callable[..., bytes]
EXAMPLES = os.environ.get("SCHEMA_EXAMPLES", "8")  # for each operation and phase


@pytest.fixture
def service(tmp_path: Path, model_folder: Path) -> Iterator[tuple[Service, str]]:
    """A service that requires a key, and the key."""
    text = new_text()
    started = Service(
        {
            "COUNTERSIGN_WEIGHTS": str(model_folder),
            "COUNTERSIGN_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}",
            "COUNTERSIGN_DEVICE": "cpu",
            "COUNTERSIGN_BOOTSTRAP_KEY": text,
            "COUNTERSIGN_LOG_LEVEL": "warning",
            "COUNTERSIGN_RATE_LIMIT": "",
            # The many requests without a valid key must get 401, as documented, and not 429.
            "COUNTERSIGN_FAILED_KEY_LIMIT": "",
        }
    )
    yield started.ready(), text
    started.finish(signal.SIGKILL)


def test_service_conforms_to_its_openapi_document(service: tuple[Service, str], draw: Draw) -> None:
    running, key = service
    headers = {"X-API-Key": key}
    files = [("files", draw(1, n)) for n in range(3)]
    # The signer in the examples of the document.
    httpx.post(
        f"{running.url}/signers/writer-001/references", files=files, headers=headers, timeout=60
    ).raise_for_status()
    result = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
            "run",
            f"{running.url}/openapi.json",
            *("--header", f"X-API-Key: {key}"),
            *("--checks", "all"),
            *("--max-examples", EXAMPLES),
            "--generation-deterministic",
            "--continue-on-failure",
            # Seconds on the clock, while other tests run; test_fuzz limits the processor time of an answer to one.
            *("--max-response-time", "5"),
            "--no-color",
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.app.schema_hooks", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2000:]
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in result.stdout
    assert httpx.get(f"{running.url}/readyz", timeout=60).status_code == 200
