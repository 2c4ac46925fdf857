"""Fixtures of the service's tests beside those that all tests share."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.app.keyed import Commands
from tests.app.store.conftest import sql  # noqa: F401 - a fixture
from tests.service import Service


@pytest.fixture
def commands(settings: Settings) -> Commands:
    """The command line on the store of this test."""
    return Commands(settings)


@pytest.fixture
def restored_logging(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Logging as it was, after a test that configures it; the test's own client is silent meanwhile."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel("WARNING")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def start(tmp_path: Path, model_folder: Path) -> Iterator[Callable[..., Service]]:
    """Start the service as a process of its own, with changes to its settings; it is killed at the end."""
    made: list[Service] = []

    def service(**changes: str) -> Service:
        environment = {
            "COUNTERSIGN_WEIGHTS": str(model_folder),
            "COUNTERSIGN_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}",
            "COUNTERSIGN_DEVICE": "cpu",
        }
        made.append(Service(environment | {f"COUNTERSIGN_{k.upper()}": v for k, v in changes.items()}))
        return made[-1]

    yield service
    for one in made:
        if one.process.poll() is None:
            one.finish(signal.SIGKILL)
