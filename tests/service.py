"""The service in its own process, for tests that stop or kill it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable

import httpx

from tests.forked import Forked


def free_port() -> int:
    """Return a free port below the ephemeral range.

    The service binds the port seconds later. By then, the system could have assigned an ephemeral port to an outgoing
    connection of another test process.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Service:
    """A process of ``python -m app serve`` on a free port.

    `program` starts the process, by default as a fork of one that has imported the modules.
    """

    def __init__(
        self, environment: dict[str, str], program: Callable[..., Forked | subprocess.Popen[str]] = Forked
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        arguments = ("serve", "--port", str(self.port))
        self.process = program("app", *arguments, environment=os.environ | environment)

    def ready(self) -> Service:
        """Wait until the readiness check succeeds. Raises AssertionError when it does not within 120 s."""
        deadline = time.monotonic() + 120  # long enough for a busy machine
        with httpx.Client(timeout=30) as client:  # one client: each new one loads the certificates again
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    if client.get(f"{self.url}/readyz").status_code == 200:
                        return self
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
        if self.process.poll() is None:
            self.process.kill()
        raise AssertionError(f"not ready: {self.finish()}")

    def finish(self, stop_signal: signal.Signals | None = None) -> tuple[int, str]:
        """Send `stop_signal`, if given, wait for the end of the process, and return its exit code and output."""
        if stop_signal is not None:
            self.process.send_signal(stop_signal)
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode or 0, output + errors
