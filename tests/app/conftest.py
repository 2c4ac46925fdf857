"""Fixtures of the tests of the service."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.app.keyed import Commands
from tests.app.logged import Log
from tests.app.store.conftest import sql  # noqa: F401 - a fixture
from tests.forked import Forked
from tests.service import Service


@pytest.fixture
def commands(settings: Settings) -> Commands:
    """The command line on the store of this test."""
    return Commands(settings)


@pytest.fixture
def log() -> Iterator[Log]:
    """Return a log that the test configures. Restores logging afterwards; silences the HTTP client of the test."""
    for name in ("httpx", "httpcore", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel("WARNING")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Log()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def start(tmp_path: Path, model_folder: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that starts the service in its own process, with changed settings. Kills it at the end."""
    services: list[Service] = []

    def service(program: Any = Forked, **changes: str) -> Service:
        environment = {
            "COUNTERSIGN_WEIGHTS": str(model_folder),
            "COUNTERSIGN_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}",
            "COUNTERSIGN_DEVICE": "cpu",
            "COUNTERSIGN_DEADLINE_S": "30",
        }
        changed = {f"COUNTERSIGN_{name.upper()}": value for name, value in changes.items()}
        services.append(Service(environment | changed, program))
        return services[-1]

    yield service
    for started in services:
        if started.process.poll() is None:
            started.finish(signal.SIGKILL)
