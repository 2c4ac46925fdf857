"""Processes that a service under test has started."""

from __future__ import annotations

import psutil


def reading_processes(owner: int | None = None) -> list[psutil.Process]:
    """The reading processes of a service, by default of the one that runs in this process."""
    return [
        child
        for child in psutil.Process(owner).children()
        if child.status() != psutil.STATUS_ZOMBIE and "app.decoding" in child.cmdline()
    ]
