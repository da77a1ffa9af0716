"""What would become of a job if somebody submitted it; and what becomes of it then."""

import pytest

from ray_sched.core.capability import Capability
from ray_sched.core.effects import DrainBegan
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_dispatcher import Refused
from ray_sched.core.reasons import Tier
from ray_sched.core.rules import DispatchRules
from ray_sched.core.slices import whole
from ray_sched.core.views.dry_run import dry_running
from ray_sched.core.views.explanation import Explanation
from tests.support.builders import DispatchHarness, a_draining_node, a_node, a_spec, accepted


def dry(harness: DispatchHarness, **changes: object) -> Explanation:
    return whole(dry_running(harness.brain, a_spec("dry", **changes), harness.now_ms))


def test_a_job_that_would_start_now_is_told_where_and_starts_there() -> None:
    harness = DispatchHarness()
    harness.brain.speeds.load({"node-a": {"en:en": 1.0}, "node-b": {"en:en": 9.0}})
    harness.offer(a_node("node-a"), a_node("node-b"))
    told = dry(harness)
    assert told.summary == "would start now on node-b"
    assert told.counts == {"CANDIDATE": 2}
    assert harness.brain.jobs == {}
    assert harness.job(harness.submit()).node == "node-b"


def test_a_pair_that_nobody_serves_is_told_before_anything_is_submitted() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    told = dry(harness, src="de", tgt="fr", services=("asr", "mt"))
    assert told.tier == Tier.NO_NODE_OFFERS_IT
    assert told.summary == (
        "would wait for a node that offers it, and of 1 node none does: 1 x SERVICE_MISSING (node-a); would start now "
        "if node-a offered mt of de:fr and node-a recognised de; gives up in 10 s"
    )
    can = Capability(engine="echo", asr=("de", "en"), mt=("de:fr",))
    harness.offer(a_node("node-a"), capability=can)
    assert dry(harness, src="de", tgt="fr", services=("asr", "mt")).summary == "would start now on node-a"


def test_a_job_that_would_wait_is_told_for_how_long() -> None:
    harness = DispatchHarness()
    harness.brain.speeds.load({"node-a": {"en:en": 1.0}})
    harness.offer(a_node("node-a", slots=1), a_draining_node("node-b"))
    job = harness.submit("first", audio_ms=3_000)
    harness.report(accepted(job, audio_ms=3_000))
    harness.submit("second", audio_ms=2_000, client="c2")
    told = dry(harness)
    assert (told.ahead, told.starts and told.starts.in_ms) == (1, 5_000)
    assert told.summary.startswith("would wait for a node: 1 x CAPACITY_FULL (node-a); 1 x DRAINING (node-b); ")
    assert "would start now if node-b were not draining" in told.summary


def test_a_tenant_that_has_its_limit_waiting_is_told_how_many_have_to_leave_and_then_it_is_taken() -> None:
    harness = DispatchHarness(rules=DispatchRules(max_waiting_jobs=64))
    jobs = [harness.submit(f"r{n}", tenant="acme", client=f"c{n}") for n in range(62)]
    told = dry(harness, tenant="acme")
    assert told.tier == Tier.QUOTA
    assert told.summary == (
        "would be refused: 62 jobs of tenant 'acme' wait already; the room left is for others; try again in 1 s; "
        "would be taken now if one of these jobs had left"
    )
    assert isinstance(harness.answer("one more", tenant="acme", client="new"), Refused)
    assert dry(harness, tenant="other").tier != Tier.QUOTA
    harness.cancel(jobs[0], client="c0")
    assert dry(harness, tenant="acme").tier == Tier.NO_NODE
    taken = harness.submit("one more", tenant="acme", client="new")
    harness.offer(a_node("node-a", slots=64))
    assert harness.status(taken) == "assigned"


def test_nothing_would_be_taken_while_the_scheduler_shuts_down() -> None:
    harness = DispatchHarness()
    harness.handle(DrainBegan())
    told = dry(harness)
    assert (told.tier, told.summary) == (
        "SHUTTING_DOWN",
        "would be refused: the scheduler is shutting down and takes no new jobs",
    )


def test_what_could_not_be_a_job_is_refused_as_one() -> None:
    with pytest.raises(SchedError, match="mt goes with two different languages") as caught:
        dry(DispatchHarness(), services=("asr", "mt"))
    assert caught.value.code is Code.INVALID_MESSAGE
