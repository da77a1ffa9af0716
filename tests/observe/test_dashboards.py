"""The dashboards and alerts that ship: fresh, of families that exist, and of the shape of Ray's own."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.dashboard.modules.metrics.dashboards.default_dashboard_panels import default_dashboard_config
from ray.dashboard.modules.metrics.grafana_dashboard_factory import generate_default_grafana_dashboard

from ray_sched.observe.alerts import ALERTS, manifest, rule_file
from ray_sched.observe.families import FAMILIES
from ray_sched.observe.pages import DASHBOARDS
from ray_sched.observe.provision import dashboard_files
from ray_sched.observe.queries import gauge, metrics_in, per_second
from tests.observe.grafana import files

PANELS = [panel for page in DASHBOARDS for row in page.rows for panel in row.panels]
QUERIES = [query.expr for panel in PANELS for query in panel.queries]
RAYS_OWN = {"ray_object_store_memory"}


def series_of_the_table() -> set[str]:
    suffixes = ("", "_bucket", "_sum", "_count")
    return {f"{family.exported}{suffix}" for family in FAMILIES.values() for suffix in suffixes}


def test_the_json_that_ships_is_what_the_code_says() -> None:
    assert dashboard_files() == files(), "run python -m tests.observe.grafana"


def test_every_query_is_of_families_of_the_table() -> None:
    for expr in [*QUERIES, *(alert.expr for alert in ALERTS)]:
        assert metrics_in(expr)
        assert metrics_in(expr) <= series_of_the_table() | RAYS_OWN, expr


def test_every_family_is_on_a_panel() -> None:
    shown = " ".join(QUERIES)
    assert [family.name for family in FAMILIES.values() if family.exported not in shown] == []


def test_a_query_of_what_is_not_in_the_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        gauge("job_count")
    with pytest.raises(ValueError, match="jobs is a gauge"):
        gauge("jobs", "pool")
    with pytest.raises(ValueError, match="jobs is a gauge"):
        per_second("jobs")


def test_every_panel_and_alert_says_what_to_do_in_a_sentence() -> None:
    for advice in [*(panel.advice for panel in PANELS), *(alert.advice for alert in ALERTS)]:
        assert re.fullmatch(r"[^\n]{20,140}\.", advice), advice


@pytest.mark.parametrize("name", dashboard_files())
def test_a_dashboard_has_the_shape_of_rays_own(name: str) -> None:
    rays: dict[str, Any] = json.loads(generate_default_grafana_dashboard()[0])
    ours: dict[str, Any] = json.loads(dashboard_files()[name])
    assert rays["uid"] == default_dashboard_config.default_uid
    assert {"title", "uid", "panels", "templating", "time", "schemaVersion", "tags"} <= ours.keys() & rays.keys()
    variables = {one["name"]: one for one in ours["templating"]["list"]}
    of_ray = {one["name"]: one for one in rays["templating"]["list"]}
    for variable in ("datasource", "SessionName", "Cluster"):
        assert variables[variable]["type"] == of_ray[variable]["type"]
    kinds = {panel["type"] for panel in ours["panels"]}
    assert kinds == {"row", "timeseries"}
    ids = [panel["id"] for panel in ours["panels"]]
    assert len(set(ids)) == len(ids)
    used = set(re.findall(r"\$([A-Z]\w+)", json.dumps(ours["panels"])))
    assert used <= variables.keys()


def test_the_manifest_holds_the_rules_of_the_file() -> None:
    read = yaml.safe_load(manifest())
    assert (read["apiVersion"], read["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert read["spec"] == yaml.safe_load(rule_file())


@pytest.mark.skipif(not shutil.which("promtool"), reason="Debian's prometheus is not installed")
def test_prometheus_itself_accepts_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rule_file())
    subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], check=True, capture_output=True)
