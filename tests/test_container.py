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
    assert cpu["environment"]["COUNTERSIGN_ENCRYPTION_KEY_FILE"].startswith("/etc/countersign/keys/")
    for service in (cpu, gpu):
        assert service["read_only"] is True
        assert any(volume.endswith(":/var/lib/countersign") for volume in service["volumes"])
        assert service["environment"]["COUNTERSIGN_BOOTSTRAP_KEY"] == "${COUNTERSIGN_BOOTSTRAP_KEY:-}"
        assert all(
            name.removeprefix("COUNTERSIGN_").lower() in Settings.model_fields
            for name in service["environment"]
        )
    assert "store" in compose["volumes"]
    assert {cpu["build"]["target"], gpu["build"]["target"]} == {"cpu", "cuda"}


def cluster(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: s for name, s in compose["services"].items() if s.get("profiles") == ["cluster"]}


def test_the_cluster_is_postgresql_and_two_replicas_behind_a_proxy(compose: dict[str, Any]) -> None:
    services = cluster(compose)
    assert set(services) == {"postgres", "replica-1", "replica-2", "proxy"}
    assert services["replica-1"] == services["replica-2"]
    replica = services["replica-1"]
    names = {name.removeprefix("COUNTERSIGN_").lower() for name in replica["environment"]}
    names |= {name.removeprefix("countersign_") for name in replica["secrets"]}
    assert names <= set(Settings.model_fields)
    assert {"database_url", "bootstrap_key", "audit_key", "encryption_key_file", "erasure_log"} <= names
    shared = replica["environment"]["COUNTERSIGN_ERASURE_LOG"]
    assert any(shared.startswith(volume.partition(":")[2]) for volume in replica["volumes"])
    assert "ports" not in replica, "replicas are reached through the proxy only"
    assert "ports" not in services["postgres"]
    assert compose["networks"]["back"]["internal"] is True
    assert services["proxy"]["networks"] == ["front"], "the proxy does not reach the database"
    assert services["postgres"]["networks"] == ["back"]


def test_the_cluster_has_a_read_only_root_no_root_user_and_no_secret_in_its_environment(
    compose: dict[str, Any],
) -> None:
    for name, service in cluster(compose).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if "build" not in service:  # the image of the service itself is looked at above
            assert int(service["user"].partition(":")[0]) > 0, name
        for key, value in service.get("environment", {}).items():
            secret = any(word in key for word in ("PASSWORD", "KEY", "URL", "SECRET"))
            assert not secret or key.endswith("_FILE"), (name, key)
            assert "@" not in str(value), (name, key)
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "secrets/" in ignored
    assert all(secret["file"].startswith("./secrets/") for secret in compose["secrets"].values())


def test_the_proxy_knows_the_replicas_and_takes_what_the_service_takes(compose: dict[str, Any]) -> None:
    config = (ROOT / "deploy" / "nginx.conf").read_text()
    assert re.findall(r"server (replica-\d):8000", config) == ["replica-1", "replica-2"]
    (port,) = re.findall(r"listen (\d+);", config)
    assert cluster(compose)["proxy"]["ports"][0].endswith(f":{port}")
    (size,) = re.findall(r"client_max_body_size (\d+)m;", config)
    assert int(size) << 20 >= Settings.model_fields["max_request_bytes"].default
    assert config.count("{") == config.count("}")
    assert "proxy_request_buffering off;" in config, "no image is laid down on a disk on the way"
    assert not re.search(r"\$(request|request_uri|uri|args|query_string)\b", config), (
        "paths hold ids of people"
    )
    assert "error_log /dev/stderr crit;" in config
    tried_again = re.findall(r"proxy_next_upstream (.+);", config)
    assert "non_idempotent" not in tried_again[0].split(), "a POST that broke off is the caller's to repeat"
    mounted = cluster(compose)["proxy"]["volumes"][0].partition(":")[0]
    assert (ROOT / mounted).is_file()


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "countersign_database_url").write_text(
        "postgresql://countersign:secret@postgres/countersign\n"
    )
    settings = Settings(_env_file=None, _secrets_dir=tmp_path)
    assert settings.database_url == "postgresql://countersign:secret@postgres/countersign"
