"""What `pip install .` gives: two commands, one version, and the weights beside the code."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points, version

import pytest
import typer
from setuptools import find_namespace_packages
from typer.testing import CliRunner

import app.__main__
import model.__main__
from app.main import create_app
from app.settings import PERMISSIVE_WEIGHTS, RELEASED_WEIGHTS, ROOT, Settings


@pytest.mark.parametrize("command", ["countersign", "countersign-model"])
def test_commands_are_installed(command: str) -> None:
    (found,) = entry_points(group="console_scripts", name=command)
    assert callable(found.load())


@pytest.mark.parametrize("cli", [app.__main__.cli, model.__main__.cli])
def test_commands_state_the_version(cli: typer.Typer) -> None:
    shown = CliRunner().invoke(cli, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"countersign {version('countersign')}\n")


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == version("countersign") == create_app(Settings(_env_file=None)).version


def test_an_installation_without_extras_needs_neither_clusters_nor_columnar_files() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[^a-z0-9-]", line.lower())[0] for line in project["dependencies"]}
    assert not required & {"ray", "pgvector", "pyarrow", "usearch"}


def test_the_wheel_has_every_package_and_the_default_weights() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = find_namespace_packages(str(ROOT), include=tools["packages"]["find"]["include"])
    folders = {file.parent for top in ("app", "model") for file in (ROOT / top).rglob("*.py")}
    assert {".".join(folder.relative_to(ROOT).parts) for folder in folders} <= set(packages)
    assert "weights" in packages
    for weights in (RELEASED_WEIGHTS, PERMISSIVE_WEIGHTS):
        assert weights.parent == ROOT / "weights"
        assert (weights / "model.safetensors").is_file()
