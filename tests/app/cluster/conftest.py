"""A Ray cluster of two nodes on this machine, one CPU each."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {
    # The processes of the nodes find the package and its dependencies here.
    "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(ROOT), *(path for path in sys.path if path)])),
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_worker_niceness": "0",  # 15 by default: on a busy machine, starting takes minutes
    # On a busy machine with two cores, importing Ray Serve takes longer than Ray expects.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}


class TwoNodes:
    """A head node, and one that can be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - an extra

        self.cluster: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self.other: Any = self.cluster.add_node(num_cpus=1, include_dashboard=False)
        self.address = str(self.cluster.address)

    def kill_one(self) -> None:
        """Kill all processes of the second node, as if its machine failed."""
        self.cluster.remove_node(self.other, allow_graceful=False)


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    """Start a cluster. Without Ray, the test is skipped with a warning, and fails in continuous integration."""
    if find_spec("ray") is None:
        message = "NOT CHECKED: the extra `ray` is not installed; `make test-cluster` installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    nodes = TwoNodes()
    try:
        yield nodes
    finally:
        nodes.cluster.shutdown()
