"""The number of CPU cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores() -> int:
    """Return the number of cores of the CPU affinity, or of the cgroup quota (rounded down) if that is smaller."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        limit = cores if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        limit = cores
    return min(cores, limit)
