"""The container files, read as a machine would: what they copy exists, who they run as, what they promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import ROOT, Settings


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def stages(dockerfile: str) -> dict[str, str]:
    parts = re.split(r"^FROM (\S+) AS (\S+)$", dockerfile, flags=re.MULTILINE)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


def test_everything_that_is_copied_exists_and_is_not_ignored(dockerfile: str) -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [
        s for line in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE) for s in line.split()
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert Path(source).parts[0] in kept, source


def test_both_targets_end_as_a_numbered_user_that_is_not_root(dockerfile: str) -> None:
    for target in ("cpu", "cuda"):
        users = re.findall(r"^USER (\S+)$", stages(dockerfile)[target], re.MULTILINE)
        assert users[-1].isdigit()
        assert int(users[-1]) > 0


def test_settings_of_the_image_are_settings_of_the_service(dockerfile: str) -> None:
    for name in re.findall(r"COUNTERSIGN_([A-Z_]+)=", dockerfile):
        assert name.lower() in Settings.model_fields
    assert "HEALTHCHECK" in dockerfile
    assert "/readyz" in dockerfile


def test_compose_has_a_store_a_gpu_profile_and_no_secret(compose: dict[str, Any]) -> None:
    cpu, gpu = compose["services"]["countersign"], compose["services"]["gpu"]
    assert "profiles" not in cpu
    assert gpu["profiles"] == ["gpu"]
    device = gpu["deploy"]["resources"]["reservations"]["devices"][0]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    for service in (cpu, gpu):
        assert service["read_only"] is True
        assert any(volume.endswith(":/var/lib/countersign") for volume in service["volumes"])
        assert service["environment"]["COUNTERSIGN_API_KEYS"] == "${COUNTERSIGN_API_KEYS:-}"
        assert all(
            name.removeprefix("COUNTERSIGN_").lower() in Settings.model_fields
            for name in service["environment"]
        )
    assert "store" in compose["volumes"]
    assert {cpu["build"]["target"], gpu["build"]["target"]} == {"cpu", "cuda"}
