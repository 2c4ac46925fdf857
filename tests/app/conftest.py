"""Fixtures of the service's tests beside those that all tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from app.settings import Settings
from tests.app.keyed import Commands
from tests.app.store.conftest import sql  # noqa: F401 - a fixture


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
