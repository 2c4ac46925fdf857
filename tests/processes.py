"""Worker processes of a service under test."""

from __future__ import annotations

import psutil


def reading_processes(owner: int | None = None) -> list[psutil.Process]:
    """Return the decoding processes of the service in process `owner`, by default in this process."""
    return [
        child
        for child in psutil.Process(owner).children()
        if child.status() != psutil.STATUS_ZOMBIE and "app.decoding" in child.cmdline()
    ]
