"""The Helm chart and the monitoring files, read as far as that is possible without their programs.

Where `helm` or `promtool` is installed, the chart is rendered and the alert rules are checked with it, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from app.observability.metrics import Metrics
from app.settings import ROOT, Settings

CHART = ROOT / "deploy" / "helm"
MONITORING = ROOT / "deploy" / "monitoring"
TEMPLATES = sorted((CHART / "templates").glob("*.yaml"))
BLOCK = re.compile(r"\{\{-?\s*(if|with|range|define|end|else)\b.*?-?\}\}")


def program(name: str) -> str:
    """Path of a program; the test is skipped with a warning where there is none."""
    found = shutil.which(name)
    if found is None:
        warnings.warn(f"NOT CHECKED: {name} is not installed", stacklevel=2)
        pytest.skip(f"{name} is not installed")
    return found


def values() -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "values.yaml").read_text()))


def manifest(path: Path) -> dict[str, Any]:
    """Read a template with every block taken and every expression replaced by a word."""
    lines = []
    for line in path.read_text().splitlines():
        if BLOCK.search(line) or re.fullmatch(r"\s*\{\{-? (include|toYaml).*\}\}", line):
            continue
        lines.append(re.sub(r"\{\{.*?\}\}", "word", line))
    return dict(yaml.safe_load("\n".join(lines)))


def test_the_values_match_their_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(values()), list(map(str, validator.iter_errors(values())))
    for path, wrong in (
        ("replicas", 0),
        ("service", {"type": "ClusterIP"}),
        ("setings", {}),
        ("secrets", {}),
    ):
        assert not validator.is_valid(values() | {path: wrong}), path
    assert set(values()) | {"global"} == set(schema["properties"])


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_use_values_that_exist_and_close_their_blocks(path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r"\.Values\.([\w.]+)", text):
        at: Any = values()
        for part in name.split("."):
            assert part in at, name
            at = at[part]
    words = [match.group(1) for match in BLOCK.finditer(text)]
    assert words.count("end") == sum(word in {"if", "with", "range", "define"} for word in words)
    assert manifest(path)["kind"]


def test_the_pods_are_probed_confined_and_configured_with_settings_that_exist() -> None:
    pod = manifest(CHART / "templates" / "deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    grace = float(values()["settings"]["DRAIN_S"]) + Settings.model_fields["shutdown_grace_s"].default
    assert pod["terminationGracePeriodSeconds"] > grace
    names = [entry["name"].removeprefix("COUNTERSIGN_") for entry in container["env"]]
    names = [name for name in names if name != "word"] + list(values()["settings"])
    assert {name.lower() for name in names} <= set(Settings.model_fields)
    mounted = next(volume for volume in pod["volumes"] if volume["name"] == "settings")["secret"]["items"]
    assert all(item["path"].removeprefix("countersign_") in Settings.model_fields for item in mounted)


def test_the_chart_renders() -> None:
    helm = program("helm")
    everything = ["autoscaling.enabled=true", "serviceMonitor.enabled=true", "secrets.metrics.name=metrics"]
    for options in ([], [word for value in everything for word in ("--set", value)]):
        rendered = subprocess.run(
            [helm, "template", "test", str(CHART), *options], check=True, capture_output=True, text=True
        )
        kinds = {document["kind"] for document in yaml.safe_load_all(rendered.stdout) if document}
        assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"} <= kinds
        assert ("ServiceMonitor" in kinds) == bool(options)


def expressions() -> list[str]:
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    dashboard = json.loads((MONITORING / "grafana" / "dashboards" / "countersign.json").read_text())
    found = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    found += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return found


def test_rules_and_dashboard_use_metrics_and_labels_of_the_service() -> None:
    families = {family.name: family for family in Metrics().registry.collect()}
    labels = {
        "code", "decision", "instance", "le", "method", "outcome", "route", "stage", "status",
    }  # fmt: skip
    assert len(expressions()) > 20
    for expression in expressions():
        for name in re.findall(r"countersign_\w+", expression):
            base = re.sub(r"_(total|bucket|sum|count)$", "", name)
            assert base in families, name
            suffix = name.removeprefix(base)
            kind = families[base].type
            allowed = {"counter": {"_total"}, "histogram": {"_bucket", "_sum", "_count"}}.get(kind, {""})
            assert suffix in allowed, name
        used = re.findall(r"(?:by|on|ignoring) \(([\w, ]+)\)", expression)
        used += re.findall(r"[{,]\s*(\w+)=", expression)
        assert {label.strip() for group in used for label in group.split(",")} <= labels


def test_compose_mounts_monitoring_files_that_exist() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for name in ("prometheus", "grafana"):
        service = compose["services"][name]
        assert service["profiles"] == ["monitoring"]
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"]
        assert set(service["secrets"]) <= set(compose["secrets"])
    scraped = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    assert scraped[0]["static_configs"][0]["targets"] == ["countersign:8000"]
    assert "countersign" in compose["services"]


def test_promtool_accepts_the_rules() -> None:
    subprocess.run([program("promtool"), "check", "rules", str(MONITORING / "alerts.yml")], check=True)
