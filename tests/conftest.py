"""What the test session needs before any test: where temporary files are, and which worker runs what.

The fixtures are in `tests.fixtures`. It imports the service and PyTorch, which takes seconds, and the process that
only hands tests out to the workers of pytest-xdist need not wait for that.
"""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import clean_up

gc.disable()  # until the tests start: it takes a third of the time of importing and collecting them
pytest.register_assert_rewrite("tests.fixtures")  # a conftest.py below may import it first
MEMORY = Path("/dev/shm")
GROUPS = {
    # They share one trained network.
    "tests/model/training/test_training.py": "training",
    "tests/model/training/test_distributed.py": "training",
    # They share a browser and a service.
    "tests/app/desk/test_browser.py": "browser",
    "tests/app/desk/test_browser_pages.py": "browser",
    # Its last test looks at what the others provoked.
    "tests/app/http/test_problems.py": "problems",
}
"""Modules whose tests run in one worker of pytest-xdist, in their order."""
LONG = ("tests/app/test_schema.py", "tests/app/store/test_faults.py", "tests/app/test_fuzz.py", "tests/real/")
"""Modules that start first: a long test that starts last keeps one worker busy while the others have ended."""


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures where tests run, and keep temporary files in memory if there is room."""
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        config.pluginmanager.import_plugin("tests.fixtures")
    _keep_files_in_memory(config)


def _keep_files_in_memory(config: pytest.Config) -> None:
    """Choose the folder of temporary files: commits to a disk take milliseconds.

    The tests kill processes and not the machine, so durability on disk is not needed.
    """
    if "PYTEST_DEBUG_TEMPROOT" in os.environ or config.option.basetemp or not MEMORY.is_dir():
        return
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 << 30:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Keep the modules of each group together, and start with the largest group.

    Not by the mark `xdist_group`: pytest-xdist 3.8 writes the group into the id of a test, which pytest 9.2 ignores.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling  # noqa: PLC0415 - an optional plugin

    class Scheduling(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return GROUPS.get(nodeid.split("::", maxsplit=1)[0], nodeid)

    return Scheduling(config, log)


def pytest_unconfigure() -> None:
    """Remove the folders that the PostgreSQL servers share."""
    clean_up()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long modules first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish() -> None:
    """Exclude what was imported and collected from garbage collection: each full collection would take a second."""
    gc.freeze()
    gc.enable()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with the mark `both_databases` on SQLite and on PostgreSQL, and the others on SQLite."""
    if "database" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both_databases") is not None
        metafunc.parametrize("database", ["sqlite", "postgresql"] if both else ["sqlite"], indirect=True)
