"""For tests with keys: keys made as an operator makes them, by the command line, in the service's own store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from app.__main__ import cli
from app.domain.errors import CountersignError
from app.settings import Settings


class Commands:
    """``python -m app`` on the store of a test."""

    def __init__(self, settings: Settings) -> None:
        self.environment = {
            "COUNTERSIGN_DATABASE_URL": settings.database_url,
            "COUNTERSIGN_ENCRYPTION_KEYS": (
                settings.encryption_keys.get_secret_value() if settings.encryption_keys else ""
            ),
            "COUNTERSIGN_ERASURE_LOG": str(settings.erasure_log or ""),
            "COUNTERSIGN_WEIGHTS": str(settings.weights),
            "COUNTERSIGN_AUDIT_KEY": settings.audit_key.get_secret_value() if settings.audit_key else "",
        }

    def run(self, *words: str, **environment: str) -> Result:
        return CliRunner().invoke(cli, list(words), env=self.environment | environment)

    def refused(self, *words: str, **environment: str) -> str:
        """Run a command that must fail, with a reason of ours."""
        result = self.run(*words, **environment)
        assert isinstance(result.exception, CountersignError), (result.output, result.exception)
        return str(result.exception)

    def key(self, name: str, *scopes: str, tenant: str = "default", **options: str) -> dict[str, str]:
        """Make a key; return it as the header that a client sends."""
        words = ["keys", "create", name, "--tenant", tenant]
        words += [word for scope in scopes or ("admin",) for word in ("--scope", scope)]
        words += [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        result = self.run(*words)
        assert result.exit_code == 0, (result.output, result.exception)
        return {"X-API-Key": result.stdout.strip()}


Serve = Callable[..., TestClient]
Draw = Callable[..., bytes]


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for something that must happen; fail after `seconds`, which are enough for a busy machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
