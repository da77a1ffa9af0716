"""Tables on a terminal of 80 columns: names stay whole, nothing is lost."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from ray_sched.cli.jobs import _page
from ray_sched.cli.nodes import nodes_page, wide_nodes_page
from ray_sched.cli.output import Layout
from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.views.jobs import JobView
from ray_sched.core.views.nodes import NodeRow


def drawn(parts: list[RenderableType], width: int = 80) -> str:
    file = io.StringIO()
    for part in parts:
        Console(file=file, width=width, highlight=False, markup=False).print(part, soft_wrap=isinstance(part, str))
    return file.getvalue()


def a_node(**changes: Any) -> NodeRow:
    facts: dict[str, Any] = {
        "node": "gpu-worker-17",
        "status": "ready",
        "why": "",
        "pool": "speech/asr=en",
        "incarnation": 1,
        "slots": 4,
        "running": 3,
        "acquired": 3,
        "most_running": 4,
        "accepted": 20,
        "load": Load(cpu=12.4, memory=40.2),
        "capability": Capability(engine="speech", asr=("en",), mt=("en:es", "es:en"), tts=("en", "es")),
        "audio_bytes": 0,
        "speech_bytes": 0,
        "silent_ms": 320,
    }
    return NodeRow(**(facts | changes))


def a_job(**changes: Any) -> JobView:
    facts: dict[str, Any] = {
        "job_id": "19ac0f3e2b1-123",
        "name": "/recordings/austen-0880.wav",
        "status": "completed",
        "pair": "en:es",
        "services": ("asr", "mt"),
        "session": "call-7",
        "utterance_index": 3,
        "node": "node-1",
        "attempt": 1,
        "priority": 0,
        "tenant": "acme",
        "submitted_at_ms": 1_764_172_351_000,
        "age_ms": 250_000,
        "wait_ms": 340,
        "run_ms": 2_738,
        "ended_ago_ms": 240_000,
        "audio_ms": 2_990,
        "error": "",
    }
    return JobView(**(facts | changes))


def test_nodes_fit_and_what_is_wrong_is_a_sentence_below() -> None:
    why = "the engine speech cannot be loaded: no recogniser is installed; run pip install 'ray-sched[moonshine]'"
    page = drawn(nodes_page([a_node(), a_node(node="node-2", status="degraded", why=why, silent_ms=-1)]))
    *table, sentence = page.splitlines()
    assert sentence == f"node-2: {why}"
    assert max(map(len, table)) <= 80
    first = next(line.split() for line in table if "gpu-worker-17" in line)
    assert first[:8] == ["gpu-worker-17", "ready", "3/4", "12", "40", "-", "320ms", "ago"]
    assert any("never" in line for line in table)


def test_wide_nodes_have_their_pool_and_engine() -> None:
    page = drawn(wide_nodes_page([a_node()]), 200)
    assert {"speech", "en:es", "speech/asr=en", "gpu-worker-17"} <= set(page.split())


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_jobs_fit_with_ids_that_can_be_copied(status: str) -> None:
    error = "NO_AVAILABLE_NODE: no node for de:de (asr) in 10 s" if status == "failed" else ""
    page = drawn([_page([a_job(status=status, error=error)], Layout.NARROW)])
    assert max(map(len, page.splitlines())) <= 80
    assert {"19ac0f3e2b1-123", status, "node-1", "4m10s", "2.7s"} <= set(page.split())
    assert "/recordings" not in page


def test_wide_jobs_tell_everything() -> None:
    error = "NO_AVAILABLE_NODE: no node for de:de (asr) in 10 s"
    page = drawn([_page([a_job(error=error)], Layout.WIDE)], 250)
    assert error in page
    assert {"call-7", "acme", "asr+mt", "en:es", "340ms", "2.9s"} <= set(page.split())
