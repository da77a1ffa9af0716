"""Prometheus scrapes a real cluster through Ray's service discovery, and every panel and alert has its data."""

import json
import math
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from ray_sched.observe.alerts import ALERTS, RULES_FILE
from ray_sched.observe.families import FAMILIES, Kind
from ray_sched.observe.pages import DASHBOARDS
from ray_sched.observe.provision import write_all
from ray_sched.observe.queries import INTERVAL
from tests.cli.command import ROOT, SPEECH, Command, ray_sched, script

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("prometheus"), reason="Debian's prometheus is not installed"),
]

AUDIO = SPEECH / "austen-0880.wav"
STANDS_STILL_S = 60
QUERIES = {
    f"{page.title}: {panel.title}: {query.legend}": query.expr
    for page in DASHBOARDS
    for row in page.rows
    for panel in row.panels
    for query in panel.queries
} | {alert.name: alert.value for alert in ALERTS}
NEEDS_A_FAULT = {
    "pushes_refused",
    "late_messages",
    "store_refills",
    "draining",
    "late_results",
    "gateway_sessions_open",
}
"""Their series are there, at zero: what they count is brought about in the tests of the brains."""
PAST_AT_ONCE = {
    "audio_seconds",
    "ledger_bytes",
    "clients",
    "sessions",
    "mail_events",
    "gateway_requests_open",
    "gateway_held_bytes",
}
"""They are zero again before anybody looks."""

WORK = """
import asyncio, sys
import ray_sched

async def main():
    audio = sys.argv[1]
    async with ray_sched.Client() as client:
        async def ends(*handles):
            await asyncio.gather(*handles, return_exceptions=True)
        await asyncio.gather(*(client.submit(audio, src="en") for _ in range(40)))
        first = client.submit(audio, src="en", request_id="same")
        await ends(first)
        await ends(client.submit(audio, src="en", request_id="same"))  # a duplicate
        await ends(client.submit(audio, src="en", tgt="odd"))  # fails on every node
        await ends(client.submit(audio, src="fr", deadline_s=0.5))  # nobody hears French
        await ends(client.submit(audio, src="en", session="s", utterance_index=1))  # before 0: a gap
        await ends(client.submit(audio, src="en", session="s", utterance_index=1))  # taken: rejected

asyncio.run(main())
"""


class Prometheus:
    """A server of its own on a free port."""

    def __init__(self, folder: Path, discovery: Path, gateway: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        write_all(folder)
        jobs = [
            {"job_name": "ray", "file_sd_configs": [{"files": [str(discovery)], "refresh_interval": "1s"}]},
            {"job_name": "gateway", "static_configs": [{"targets": [gateway]}]},
        ]
        config = {"global": {"scrape_interval": "2s"}, "scrape_configs": jobs, "rule_files": [RULES_FILE]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data"}
        self._process = subprocess.Popen(
            [
                "prometheus",
                *(f"--{name}={value}" for name, value in options.items()),
                f"--web.listen-address={self._address}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def get(self, path: str, **query: str) -> Any:
        try:
            url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=10) as answer:  # its own server
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from None

    def values(self, expr: str) -> list[float]:
        return [float(sample["value"][1]) for sample in self.get("query", query=expr)["result"]]

    def wait_for(self, expr: str, timeout_s: float) -> float:
        """When it had data, by this test's clock."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            try:
                if self.values(expr):
                    return time.monotonic()
            except (OSError, AssertionError):  # it is starting
                pass
            assert time.monotonic() < give_up_at, f"no data within {timeout_s} s: {expr}"
            time.sleep(0.5)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


class Watched:
    """What is watched, and who watches."""

    def __init__(self, data_dir: Path, up: Command, prometheus: Prometheus, gateway: str) -> None:
        self.data_dir = data_dir
        self.up = up
        self.prometheus = prometheus
        self.gateway = gateway


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    data_dir = tmp_path_factory.mktemp("watched")
    engine = ["--engine", "tests.support.engines.EnglishBatchEngine", "--slots", "2"]
    threshold = {"RAY_SCHED_POOLS__CPU_THRESHOLD_PERCENT": "101", "RAY_SCHED_DELIVERY__GAP_WAIT_MS": "200"}
    up = Command(["up", "--nodes", "2", "--dashboards", *engine], data_dir, **threshold, PYTHONPATH=str(ROOT))
    door: Command | None = None
    prometheus: Prometheus | None = None
    try:
        folder = Path(up.wait_for_line("Grafana dashboards are in").split(" are in ")[1].strip())
        door = Command(["gateway", "--listen", "127.0.0.1:0"], data_dir)
        gateway = door.wait_for_line("listening on ").split()[2].removeprefix("http://").removesuffix("/v1")
        discovery = folder.parents[2] / "prom_metrics_service_discovery.json"
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), discovery, gateway)
        yield Watched(data_dir, up, prometheus, gateway)
    finally:
        if prometheus is not None:
            prometheus.stop()
        if door is not None:
            door.kill()
        up.kill()


def in_prometheus(expr: str) -> str:
    """A panel's query as Grafana sends it, for all sessions, clusters and pools."""
    for variable in ("SessionName", "Cluster", "Pool"):
        expr = expr.replace(f'"${variable}"', '".*"')
    return expr.replace(INTERVAL, "2m").replace("[5m]", "[2m]")


def test_every_panel_and_alert_has_data_and_what_stands_still_stays(watched: Watched) -> None:
    prometheus = watched.prometheus
    for _ in range(2):  # rates need two samples of what has moved
        done = script(watched.data_dir, WORK.replace("sys.argv[1]", repr(str(AUDIO))))
        assert done.status == 0, done.err
        with openai.OpenAI(base_url=f"http://{watched.gateway}/v1", api_key="none", max_retries=0) as client:
            client.audio.transcriptions.create(file=AUDIO, model="whisper-1")
        for path in ("v1/models", "nowhere"):
            with suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://{watched.gateway}/{path}", timeout=10).close()  # the test's own
        assert ray_sched(watched.data_dir, "cleanup", "--max-age-s", "0").status == 0
        seen_at_s = prometheus.wait_for("ray_sched_nodes > 0 and on () ray_sched_pass_runs_count > 0", 60)
    time.sleep(max(seen_at_s + STANDS_STILL_S - time.monotonic(), 0))

    assert prometheus.values('ray_sched_nodes{state="ready"}') == [2]
    gone_for = f'count_over_time(ray_sched_nodes{{state="ready"}}[{STANDS_STILL_S - 10}s])'
    assert prometheus.values(gone_for)[0] >= (STANDS_STILL_S - 10) / 2 - 3  # at every scrape, but for one or two
    empty = [where for where, expr in QUERIES.items() if not prometheus.values(in_prometheus(expr))]
    assert empty == []

    still = {
        family.name
        for family in FAMILIES.values()
        if not any(
            value > 0 or math.isnan(value)
            for value in prometheus.values(
                f"max_over_time({family.exported}{'_count' if family.kind is Kind.HISTOGRAM else ''}[10m])"
            )
        )
    }
    assert still - PAST_AT_ONCE == NEEDS_A_FAULT

    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules} == {alert.name: "ok" for alert in ALERTS}
