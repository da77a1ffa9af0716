"""Why a job waits, in one sentence, with what would have to be otherwise; and when that is so, the job starts."""

import pytest

from ray_sched.core.capability import Capability
from ray_sched.core.dispatch.decisions import MOST
from ray_sched.core.effects import ClientBlocked, StoreCameBack, StoreWentAway
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.placement.policy import RankingPolicy
from ray_sched.core.reasons import Reason, Tier
from ray_sched.core.rules import SelectionRules
from ray_sched.core.views.explain import explain
from ray_sched.core.views.explanation import Explanation
from tests.support.builders import EN_ES, ENGLISH, DispatchHarness, a_draining_node, a_node, accepted, failed, finished

GERMAN = Capability(engine="echo", asr=("de",))


def why(harness: DispatchHarness, job: str, node: str = "") -> Explanation:
    told = explain(harness.brain, job, harness.now_ms, node)
    assert sum(told.counts.values()) == len(harness.brain.node_states) == len(told.nodes)
    return told


def occupy(harness: DispatchHarness, node: str = "node-a", audio_ms: int = 4_000) -> str:
    """A job that runs on the one slot of the only node that is free."""
    job = harness.submit("first", audio_ms=audio_ms)
    harness.report(accepted(job, audio_ms=audio_ms), node=node)
    return job


# --- the six situations, and what makes each of them end


def test_nobody_recognises_the_language_until_a_node_does() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit(src="de", tgt="de")
    told = why(harness, job)
    assert (told.tier, told.counts, told.starts) == (Tier.NO_NODE_OFFERS_IT, {"ASR_LANG_UNSUPPORTED": 2}, None)
    assert told.summary == (
        "waits for a node that offers it, and of 2 nodes none does: 2 x ASR_LANG_UNSUPPORTED (node-a, node-b); "
        "would start now if node-a recognised de; gives up in 10 s"
    )
    harness.offer(a_node("node-a"), capability=Capability(engine="echo", asr=("de", "en")))
    assert harness.status(job) == "assigned"


def test_all_slots_are_taken_until_one_is_free() -> None:
    harness = DispatchHarness()
    harness.brain.speeds.load({"node-a": {"en:en": 2.0}})
    harness.offer(a_node("node-a", slots=1))
    running = occupy(harness)
    job = harness.submit("second")
    harness.now_ms += 600
    told = why(harness, job)
    assert (told.tier, told.counts) == (Tier.ALL_BUSY, {"CAPACITY_FULL": 1})
    assert told.starts is not None
    assert (told.starts.in_ms, told.starts.node, told.starts.audio_ahead_s) == (1_400, "node-a", 2.8)
    assert told.summary == (
        "waits for a node: 1 x CAPACITY_FULL (node-a); "
        "starts in about 1.4 s (0 ms to 2.8 s) when a slot on node-a is free; gives up in 9.4 s"
    )
    harness.now_ms += 1_400
    harness.report(finished(running))
    assert harness.status(job) == "assigned"


def test_all_nodes_are_draining_until_one_is_not() -> None:
    harness = DispatchHarness()
    harness.offer(a_draining_node("node-a"), a_draining_node("node-b"))
    job = harness.submit()
    told = why(harness, job)
    assert (told.tier, told.counts, told.starts) == (Tier.DRAINING, {"DRAINING": 2}, None)
    assert told.summary == (
        "waits for a node: 2 x DRAINING (node-a, node-b); would start now if node-a were not draining; gives up in 10 s"
    )
    harness.offer(a_node("node-a"), a_draining_node("node-b"))
    assert harness.job(job).node == "node-a"


def test_a_service_is_quarantined_until_its_time_is_over() -> None:
    harness = DispatchHarness(selection=SelectionRules(unavailable_ms=3_000))
    harness.offer(a_node("node-a"), capability=EN_ES)
    first = harness.submit("first", tgt="es", services=("asr", "mt"))
    harness.report(accepted(first), failed(first, code=Code.MODEL_NOT_AVAILABLE, service="mt"))
    harness.now_ms += 1_000
    job = harness.submit("second", tgt="es", services=("asr", "mt"))
    told = why(harness, job)
    assert (told.tier, told.counts) == (Tier.RESTING, {"SERVICE_UNAVAILABLE": 1})
    assert told.summary == (
        "waits for a node: 1 x SERVICE_UNAVAILABLE (node-a); "
        "would start now if the model for mt were available on node-a, which is believed again in 2 s; "
        "1 job comes first; gives up in 10 s"
    )
    assert told.otherwise[0].by_itself_in_ms == 2_000
    harness.wait(1_999)
    assert harness.status(job) == "pending"
    harness.wait(1)
    assert harness.status(job) == "assigned"


def test_the_node_of_its_session_is_lost_and_the_other_one_is_busy() -> None:
    harness = DispatchHarness()
    harness.brain.speeds.load({"node-a": {"en:en": 10.0}, "node-b": {"en:en": 2.0}})
    harness.offer(a_node("node-a", slots=1), a_node("node-b", slots=1))
    before = harness.submit("before", session="s")
    assert harness.job(before).node == "node-a"
    harness.run(before, node="node-a", run_ms=100)
    harness.offer(a_node("node-b", slots=1))
    running = occupy(harness, "node-b")
    job = harness.submit("second", session="s")
    told = why(harness, job)
    assert told.summary == (
        "waits for a node: 1 x CAPACITY_FULL (node-b); node-a, where its session was, is not there any more; "
        "starts in about 2 s when a slot on node-b is free; gives up in 10 s"
    )
    harness.now_ms += 2_000
    harness.report(finished(running), node="node-b")
    assert harness.job(job).node == "node-b"


# The sixth, a tenant's limit, is met before there is a job: see test_dry_run.


# --- what holds a job up whatever the nodes are


def test_redis_does_not_answer_until_it_does() -> None:
    harness = DispatchHarness()
    harness.handle(StoreWentAway())
    harness.offer(a_node("node-a"))
    job = harness.submit()
    told = why(harness, job)
    assert (told.tier, told.counts) == (Tier.STORE_AWAY, {"CANDIDATE": 1})
    assert told.summary == (
        "waits for Redis, which does not answer: nothing is given to a node; would start now if Redis answered"
    )
    harness.handle(StoreCameBack())
    assert harness.status(job) == "assigned"


def test_a_job_of_a_blocked_client_would_not_start_either_if_all_slots_were_taken() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    occupy(harness)
    job = harness.submit("second", client="c2")
    harness.handle(ClientBlocked("c2"))
    told = why(harness, job)
    assert (told.tier, told.otherwise, told.starts) == (Tier.CLIENT_BLOCKED, (), None)


# --- one node


SITUATIONS = {
    Reason.NOT_READY: "would start now if node-a were ready (loading)",
    Reason.DRAINING: "would start now if node-a were not draining",
    Reason.RESOURCE_THRESHOLD: "would start now if node-a were below its threshold (memory at 93 %, limit 85 %)",
    Reason.QUARANTINED: "would start now if node-a were not in quarantine, which ends in 5 s",
    Reason.REFUSED_LATELY: "would start now if node-a had not refused a job, for which it is left alone for 70 ms",
    Reason.RESERVED: "would start now if node-a were not kept empty for another job",
    Reason.CAPACITY_FULL: "would start now if a slot on node-a were free",
    Reason.SERVICE_UNAVAILABLE: "would start now if the model for asr were available on node-a, "
    "which is believed again in 5 s",
}


@pytest.mark.parametrize("reason", SITUATIONS)
def test_what_would_have_to_change_on_a_node_is_what_speaks_against_it(reason: Reason) -> None:
    harness = DispatchHarness()
    words = {Reason.NOT_READY: "loading", Reason.RESOURCE_THRESHOLD: "memory at 93 %, limit 85 %"}
    is_out = reason in {Reason.NOT_READY, Reason.DRAINING, Reason.RESOURCE_THRESHOLD}
    out = {"slots": 0, "total_slots": 1, "why": reason, "because": words.get(reason, "")}
    harness.offer(a_node("node-a", **out) if is_out else a_node("node-a", slots=1))  # type: ignore[arg-type]
    node_state = harness.brain.node_states["node-a"]
    node_state.quarantined_until_ms = harness.now_ms + 5_000 if reason is Reason.QUARANTINED else 0
    node_state.resting_until_ms = harness.now_ms + 70 if reason is Reason.REFUSED_LATELY else 0
    node_state.unavailable_until_ms["asr"] = harness.now_ms + 5_000 if reason is Reason.SERVICE_UNAVAILABLE else 0
    node_state.reserve_for("another job" if reason is Reason.RESERVED else "")
    if reason is Reason.CAPACITY_FULL:
        occupy(harness)
    job = harness.submit()
    told = why(harness, job, "node-a")
    assert (told.otherwise[0].reasons, told.otherwise[0].is_enough) == ((reason,), True)
    assert SITUATIONS[reason] in told.summary


NEEDS = {
    "offered mt of en:fr": ({"tgt": "fr", "services": ("asr", "mt")}, ENGLISH),
    "translated en:fr": ({"tgt": "fr", "services": ("asr", "mt")}, EN_ES),
    "recognised de": ({"src": "de", "tgt": "de"}, ENGLISH),
    "recognised which language is spoken": ({"src": "auto", "tgt": "auto"}, ENGLISH),
    "spoke en": ({"services": ("asr", "tts")}, EN_ES),
    "offered tts": ({"services": ("asr", "tts")}, ENGLISH),
    "had a GPU": ({"needs_gpu": True}, ENGLISH),
    "served tenant 'acme'": ({"tenant": "acme"}, Capability(engine="echo", asr=("en",), tenant="other")),
}


@pytest.mark.parametrize("fact", NEEDS)
def test_what_a_node_would_have_to_offer_is_named(fact: str) -> None:
    spec, capability = NEEDS[fact]
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), capability=capability)
    told = why(harness, harness.submit("r1", **spec))  # type: ignore[arg-type]  # as the table has them
    assert told.tier == Tier.NO_NODE_OFFERS_IT
    assert f"would start now if node-a {fact}; " in told.summary


def test_a_node_may_have_to_change_in_several_ways() -> None:
    harness = DispatchHarness()
    harness.offer(a_draining_node("node-a", slots=1), capability=EN_ES)
    harness.brain.node_states["node-a"].quarantined_until_ms = harness.now_ms + 5_000
    told = why(harness, harness.submit(src="de", tgt="fr", services=("asr", "mt", "tts")), "node-a")
    assert told.summary == (
        "waits for a node that offers it, and of 1 node none does: 1 x ASR_LANG_UNSUPPORTED (node-a); would start now "
        "if node-a recognised de and node-a translated de:fr and node-a spoke fr and node-a were not draining and "
        "node-a were not in quarantine, which ends in 5 s; gives up in 10 s"
    )
    assert harness.brain.node_states["node-a"].capability == EN_ES, "it was a twin that was changed"


def test_the_node_that_is_asked_about_has_to_be_there() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    with pytest.raises(SchedError, match="there is no node 'node-x'") as caught:
        explain(harness.brain, job, harness.now_ms, "node-x")
    assert caught.value.code is Code.UNKNOWN_NODE


def test_a_node_whose_slots_others_would_take_first_is_told_with_the_time_it_would_take() -> None:
    harness = DispatchHarness()
    harness.brain.speeds.load({"node-a": {"en:en": 1.0}, "node-b": {"en:en": 1.0}})
    harness.offer(a_node("node-a", slots=1), a_draining_node("node-b", slots=1))
    occupy(harness)
    others = [harness.submit(f"r{n}") for n in range(3)]
    told = why(harness, others[-1])
    assert told.starts is not None
    assert told.starts.in_ms == 6_000
    assert "would start in about 2 s if node-b were not draining" in told.summary


def test_nothing_is_changed_by_asking() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1), a_draining_node("node-b"), a_node("node-c", slots=0, total_slots=2))
    occupy(harness)
    job = harness.submit("second")
    sizes = harness.brain.sizes()
    first = why(harness, job)
    assert why(harness, job) == first
    assert harness.brain.sizes() == sizes
    assert harness.brain.node_states["node-b"].why is Reason.DRAINING
    assert harness.acquired("node-a") == 1


# --- as it was then


def test_a_job_that_was_placed_is_told_with_the_scores_of_its_candidates_as_they_were_then() -> None:
    harness = DispatchHarness()
    harness.brain.speeds.load({"node-a": {"en:en": 1.0}, "node-b": {"en:en": 4.0}, "node-c": {"en:en": 2.0}})
    harness.offer(a_node("node-a"), a_node("node-b"), a_draining_node("node-c"))
    job = harness.submit(audio_ms=4_000)
    harness.now_ms += 700
    harness.brain.speeds.load({"node-d": {"en:en": 9.0}})
    harness.offer(a_node("node-a"), a_draining_node("node-b"), a_node("node-c"), a_node("node-d"))
    then = why(harness, job).then
    assert then is not None
    assert (then.attempt, then.node, then.ago_ms) == (1, "node-b", 700)
    assert [(verdict.node, verdict.score) for verdict in then.nodes] == [("node-b", 1.0), ("node-a", 4.0)]
    assert then.nodes[0].parts == {
        "expected_completion_s": 1.0,
        "affinity": 1.0,
        "occupancy": 1.0,
        "slow_start": 1.0,
    }


def test_of_many_candidates_sixteen_are_kept_and_of_many_jobs_the_newest() -> None:
    harness = DispatchHarness(policy=RankingPolicy(is_sampled=False))
    harness.offer(*(a_node(f"node-{n}", slots=200) for n in range(30)))
    first = harness.submit("first")
    told = why(harness, first).then
    assert told is not None
    assert len(told.nodes) == 16
    for n in range(MOST):
        harness.submit(f"r{n}", deadline_ms=60_000)
    assert why(harness, first).then is None
    assert len(harness.brain.decisions) == MOST
