"""The pages say something, what they link to is there, and what they tell a reader to run exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from app.__main__ import cli

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
