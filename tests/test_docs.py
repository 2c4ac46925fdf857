"""The pages say something, what they link to is there, and what they tell a reader to run exists."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from app.__main__ import cli
from tests.service import Service

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"])


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_a_page_has_a_title_and_something_below_it(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) > 10


def test_links_and_named_files_are_there(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    named = re.findall(r"`((?:app|model|docs|benchmarks|recipes|weights|tests|deploy)/[\w./-]+)`", text)
    missing += [name for name in named if not (ROOT / name).exists()]
    assert missing == []


def test_commands_of_the_service_exist(page: Path) -> None:
    known = typer.main.get_command(cli).commands  # type: ignore[attr-defined]  # a group has commands
    used = set(re.findall(r"python -m app\s+([a-z-]+)", page.read_text()))
    assert used <= set(known), used - set(known)


def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", page.read_text(), re.MULTILINE))
    assert {one or other for one, other in used} <= targets


RUNNABLE = ("README.md", "docs/api.md", "docs/accounts.md", "docs/references.md")
"""Pages whose commands for a running service follow on each other, in the order in which README lists them."""


def commands_for_a_service(page: Path) -> list[str]:
    """Return the shell blocks of a page that call the service and need no file or id of the reader."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "curl" in block and not re.search(r"[A-Z]_ID|@\w+\.png", block)]


def test_a_reader_can_run_the_commands_of_the_pages_one_after_the_other(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    store = {"COUNTERSIGN_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}", "COUNTERSIGN_DEVICE": "cpu"}
    service = Service(store).ready()
    try:
        script = (
            'set -eo pipefail\ncurl() { command curl --fail-with-body --silent --show-error "$@" && echo; }\n'
        )
        for name in RUNNABLE:
            script += "".join(commands_for_a_service(ROOT / name))
        script = script.replace("http://127.0.0.1:8000", service.url)
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        service.finish(signal.SIGKILL)
    assert ran.returncode == 0, (ran.stdout[-2000:], ran.stderr)
    assert '"decision":"reject"' in ran.stdout
    assert '"account_verification_id"' in ran.stdout
