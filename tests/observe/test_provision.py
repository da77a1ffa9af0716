"""``ray-sched dashboards`` writes what Grafana and Prometheus read."""

import json
from pathlib import Path

import yaml

from tests.cli.command import ray_sched


def test_the_command_writes_dashboards_and_alert_rules(tmp_path: Path) -> None:
    done = ray_sched(tmp_path, "dashboards", "--write", tmp_path / "out", "--json")
    assert done.status == 0
    written = {Path(path).name for path in done.json["written"]}
    assert written == {path.name for path in (tmp_path / "out").iterdir()}
    titles = {json.loads(path.read_text())["title"] for path in (tmp_path / "out").glob("*_grafana_dashboard.json")}
    assert titles == {
        f"ray_sched: {name}" for name in ("overview", "nodes and pools", "memory and clean-up", "gateway")
    }
    assert yaml.safe_load((tmp_path / "out" / "ray_sched_alerts.yml").read_text())["groups"]


def test_without_a_folder_it_lists_what_there_is(tmp_path: Path) -> None:
    done = ray_sched(tmp_path, "dashboards")
    assert "ray_sched: overview" in done.out


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ray_sched(tmp_path, "dashboards", "--write", tmp_path / "file")
    assert done.status == 14
    assert "cannot be written" in done.err
