"""Fixtures of the service's tests beside those that all tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from app.settings import Settings
from tests.app.keyed import Commands


@pytest.fixture
def commands(settings: Settings) -> Commands:
    """The command line on the store of this test."""
    return Commands(settings)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Logging as it was, after a test that configures it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
