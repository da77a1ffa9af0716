"""Several engines on one machine, on a real Ray: the file on a machine, and the example of the operations guide."""

import re
import sys
from pathlib import Path

import pytest

from ray_sched.core.rules import NodeRules
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.core.views.nodes import LEFT_OUT, NodeRow
from ray_sched.system.api import Client
from ray_sched.system.local import LocalNode
from tests.cli.command import SPEECH, Command, ray_sched
from tests.support.cluster import ClusterOfOurs, echo_node, wait_until
from tests.support.random_opus import random_opus
from tests.support.weights import whisper_tiny_en

pytestmark = pytest.mark.cluster

OPERATIONS = Path(sys.modules["ray_sched"].__path__[0]) / "system/README.md"
AUDIO = SPEECH / "austen-0880.wav"

PROFILES = """
two:
  english: {engine: echo, asr: en, slots: 1}
  spanish: {engine: echo, asr: [es, fr], slots: 3, options: {speed: 100}}
  rare:
    engine: tests.support.engines.HeavyEngine
    asr: it
    slots: 1
    options: {folder: FOLDER, hold-mb: 50, idle-unload-s: 1}
"""


def test_a_machine_reads_its_own_file_and_one_that_is_mended_lets_it_join(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yaml"
    text = PROFILES.replace("FOLDER", str(tmp_path))
    rules = NodeRules(profiles_file=str(path))
    with ClusterOfOurs([echo_node("head", asr="de")], tmp_path / "data", nodes=rules) as cluster:

        def rows() -> dict[str, NodeRow]:
            return {row.node: row for row in cluster.run(cluster.scheduler.nodes())}

        def why_left_out() -> str:
            return next((row.why for row in rows().values() if row.status == LEFT_OUT), "")

        def are_ready() -> bool:
            joined = [row for name, row in rows().items() if name.startswith("box/")]
            return len(joined) == 3 and all(row.status == "ready" for row in joined)

        cluster.ray.add_node(LocalNode(labels={"profile": "two", "node": "box"}))
        missing = f"the settings have no profile 'two', and on this node there is no file {path}"
        wait_until(lambda: why_left_out() == missing, 30, "that there is no file")
        path.write_text(text.replace("slots", "slot"), encoding="utf-8")
        bad = f"{path}: profile two, english: there is no 'slot'; did you mean 'slots'?"
        wait_until(lambda: why_left_out() == bad, 30, "that it is a bad one")
        path.write_text(text, encoding="utf-8")
        wait_until(are_ready, 60, "its engines are nodes")
        assert [(name, row.slots, row.capability.asr) for name, row in sorted(rows().items())] == [
            ("box/english", 1, ("en",)),
            ("box/rare", 1, ("it",)),
            ("box/spanish", 3, ("es", "fr")),
            ("head", 4, ("de",)),
        ]

        async def where(*languages: str) -> list[str]:
            async with Client(cluster.settings) as client:
                handles = [client.submit(AUDIO, src=language) for language in languages]
                return [(await handle).node for handle in handles]

        assert cluster.run(where("en", "es", "fr", "en", "de")) == [
            "box/english", "box/spanish", "box/spanish", "box/english", "head",
        ]  # fmt: skip
        wait_until(lambda: rows()["box/rare"].why.startswith("unloaded (loads in about "), 60, "nobody needs it")
        unloaded = rows()["box/rare"]
        assert (unloaded.status, unloaded.loads_in_ms > 0) == ("ready", True)
        assert cluster.run(where("it")) == ["box/rare"]
        (job,) = cluster.run(cluster.scheduler.jobs(JobFilter(node="box/rare")))
        story = [what for _, _, what in cluster.run(cluster.scheduler.explain(job.job_id)).story]
        assert any(line.startswith("its model was loaded in ") for line in story), story
        cluster.run(cluster.scheduler.drain_node("box", None))
        names = ("box/english", "box/spanish", "box/rare")
        wait_until(lambda: all(rows()[name].status == "gone" for name in names), 30, "all leave")


def test_the_example_of_the_operations_guide_runs_with_up(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n# /etc/ray_sched/profiles.yaml\n(.*?)```", OPERATIONS.read_text("utf-8"), re.DOTALL)
    assert found
    text = found[1].replace("/data/whisper", str(whisper_tiny_en()))
    random_opus(tmp_path / "opus" / "en-es")
    path = tmp_path / "profiles.yaml"
    path.write_text(text.replace("/data/opus", str(tmp_path / "opus")), encoding="utf-8")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    up = Command(["up", "--nodes", "1", "--no-dashboard", "--profile", path], data_dir)
    try:
        up.wait_for_line("nodes: 2 of 2 ready", timeout_s=120)
        rows = ray_sched(data_dir, "nodes", "--json").json
        assert [(row["node"], row["slots"]) for row in rows] == [("node-1/english", 2), ("node-1/translator", 1)]
        (row,) = ray_sched(data_dir, "submit", AUDIO, "--from", "en", "--to", "es", "--json").json
        assert (row["status"], row["node"]) == ("completed", "node-1/translator")
        story = ray_sched(data_dir, "explain", row["job_id"]).out
        assert "node-1/english" in story
        assert ray_sched(data_dir, "down").status == 0
        assert up.end().status == 0
    finally:
        up.kill()
