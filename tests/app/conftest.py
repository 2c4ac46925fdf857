"""Fixtures of the service's tests beside those that all tests share."""

from __future__ import annotations

import pytest

from app.settings import Settings
from tests.app.keyed import Commands


@pytest.fixture
def commands(settings: Settings) -> Commands:
    """The command line on the store of this test."""
    return Commands(settings)
