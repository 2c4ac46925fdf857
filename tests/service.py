"""``python -m app serve`` as a process of its own, for tests that stop or kill it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time

import httpx


def free_port() -> int:
    """A port that nothing listens on, below those that the system gives to outgoing connections.

    A service binds it seconds later: one of the system's choice may be another test process's connection by then.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Service:
    """``python -m app serve`` on a port of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # A pipe that nobody reads fills after 64 KiB of log lines, and the service then waits for ever.
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `finish` closes it
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(self.port)],
            env={**os.environ, **environment},
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )

    def ready(self) -> Service:
        deadline = time.monotonic() + 120  # a machine that has much else to do
        with httpx.Client(timeout=30) as client:  # one for all tries: each loads the certificates anew
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

    def finish(self, how: signal.Signals | None = None) -> tuple[int, str]:
        if how is not None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        with self.output as output:
            output.seek(0)
            return code, output.read()
