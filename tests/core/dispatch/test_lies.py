"""Clients and agents that lie or err at the brain's border: no crash, no leak, no job of another one touched."""

import pytest

from ray_sched.core.effects import Save
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import JobStatus
from ray_sched.core.messages.agent_dispatcher import RunAccepted, RunFailed, StopRun
from ray_sched.core.messages.client_dispatcher import (
    AudioUnreadable,
    Delivered,
    MissingResult,
    PushFailed,
    SpeechFetched,
    SpeechLost,
)
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.effects import SpawnAgent
from ray_sched.core.ports import ForgetNode, SaveNode
from ray_sched.core.rules import DispatchRules
from tests.support.builders import (
    DispatchHarness,
    a_beat,
    a_node,
    a_ray_node,
    accepted,
    failed,
    finished,
    orders,
    refused,
    stopped,
    told,
)
from tests.support.registry_harness import RegistryHarness, of

HUGE = 2**53

# --- agents -------------------------------------------------------------------------------------------------------


def two_nodes() -> tuple[DispatchHarness, str, str]:
    """A job that runs, and the node where it does not."""
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1), a_node("node-b", slots=1))
    job = harness.submit("r1")
    harness.report(accepted(job), node=harness.job(job).node)
    return harness, job, {"node-a": "node-b", "node-b": "node-a"}[harness.job(job).node]


@pytest.mark.parametrize("lie", [accepted, refused, finished, failed, stopped])
@pytest.mark.parametrize("node", ["other", "node-x"])
def test_an_agent_that_answers_for_the_job_of_another_node_changes_nothing(lie: object, node: str) -> None:
    harness, job, other = two_nodes()
    before = (harness.status(job), harness.job(job).attempt, harness.acquired("node-a"), harness.acquired("node-b"))
    harness.report(lie(job), node=other if node == "other" else node)  # type: ignore[operator]  # any of the builders
    assert (
        harness.status(job),
        harness.job(job).attempt,
        harness.acquired("node-a"),
        harness.acquired("node-b"),
    ) == before


@pytest.mark.parametrize("lie", [accepted, refused, finished, failed, stopped])
def test_an_agent_that_answers_for_jobs_it_never_had_leaves_nothing_behind(lie: object) -> None:
    harness, job, other = two_nodes()
    for n in range(300):
        harness.report(lie(f"boot-{n + 100}"), node=other)  # type: ignore[operator]  # any of the builders
    harness.wait(3_000)
    assert set(harness.brain.jobs) == {job}
    assert (harness.free(other), harness.acquired(other)) == (1, 0)
    assert harness.brain.sizes()["due"] <= 4


def test_a_lie_about_an_attempt_that_is_being_stopped_elsewhere_does_not_end_its_stopping() -> None:
    harness, job, other = two_nodes()
    node = harness.job(job).node
    harness.cancel(job)
    harness.report(stopped(job), node=other)
    harness.report(accepted(job), node=other)
    assert StopRun(job_id=job, attempt=1) in orders(harness.wait(1_000))
    assert harness.acquired(node) == 1
    harness.report(stopped(job), node=node)
    assert (harness.acquired(node), StopRun(job_id=job, attempt=1) in orders(harness.wait(5_000))) == (0, False)


def test_an_agent_that_refuses_everything_ends_every_job_and_is_left_alone_longer_and_longer() -> None:
    harness = DispatchHarness(DispatchRules(max_refusals=5))
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    for _ in range(200):
        if harness.status(job) == "assigned":
            harness.report(refused(job, harness.job(job).attempt, why="x" * 100_000))
        harness.wait(100)
    outcome = harness.job(job).outcome
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code is Code.NODE_REFUSED
    assert len(outcome.error.message) < 5_000
    assert (harness.free(), harness.job(job).attempt) == (2, 6)


@pytest.mark.parametrize("code", [Code.NODE_REFUSED, Code.CANCELLED, Code.POISON_JOB, Code.NODE_LOST])
def test_an_agent_s_engine_fails_and_nothing_else(code: Code) -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    for attempt in (1, 2):
        harness.report(accepted(job, attempt), failed(job, attempt, code))
    assert (harness.job(job).refusals, harness.job(job).engine_errors, harness.status(job)) == (0, 2, "failed")


def test_services_that_do_not_exist_are_not_remembered() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    for n in range(5):
        job = harness.submit(f"r{n}")
        harness.report(
            RunFailed(job_id=job, attempt=1, code=Code.MODEL_NOT_AVAILABLE, why="no", service=f"service-{n}")
        )
    assert harness.brain.node_states["node-a"].unavailable_until_ms == {}


def test_an_absurd_duration_is_a_day_at_most_and_an_absurd_speed_is_not_believed() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("liar", slots=1), a_node("honest", slots=1))
    for job in [harness.submit(f"r{n}") for n in range(2)]:
        node = harness.job(job).node
        if node == "liar":
            harness.report(RunAccepted(job_id=job, attempt=1, audio_ms=HUGE, audio_bytes=HUGE, age_ms=HUGE), node=node)
            assert harness.job(job).audio_ms == 86_400_000
            harness.report(finished(job, run_ms=0), node=node)
        else:
            harness.report(accepted(job), finished(job, run_ms=HUGE), node=node)
    assert harness.brain.speeds.all() == {"liar": {"en:en": 10_000.0}, "honest": {"en:en": 0.001}}
    assert all(node_state.in_flight_ms == 0 for node_state in harness.brain.node_states.values())


# --- clients ------------------------------------------------------------------------------------------------------


def test_a_client_that_names_the_jobs_of_another_one_changes_nothing() -> None:
    harness, job, _ = two_nodes()
    assigned = harness.submit("r2")
    for victim in (job, assigned, "boot-99", "x" * 256):
        harness.send(
            PushFailed(job_id=victim, attempt=1, why="x" * 100_000),
            AudioUnreadable(job_id=victim, attempt=1, refusal=Refusal(code=Code.CANCELLED, message="x")),
            SpeechFetched(job_id=victim, attempt=1),
            SpeechLost(job_id=victim, attempt=1, why=""),
            client="thief",
        )
        harness.cancel(victim, client="thief")
    assert [harness.status(it) for it in (job, assigned)] == ["processing", "assigned"]
    assert [harness.job(it).attempt for it in (job, assigned)] == [1, 1]
    assert harness.brain.counters.late_messages == 16


@pytest.mark.parametrize(
    "absurd", [{"audio_ms": HUGE}, {"utterance_index": HUGE}, {"request_id": ""}, {"services": ("asr",) * 8}]
)
def test_absurd_numbers_are_refused(absurd: dict[str, object]) -> None:
    harness = DispatchHarness()
    facts = {"request_id": "r1"} | absurd
    assert harness.refusal(**facts).code is Code.INVALID_MESSAGE  # type: ignore[arg-type]
    assert harness.brain.jobs == {}


def test_what_a_client_says_of_its_audio_is_kept_short() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    refusal = Refusal(code=Code.INVALID_AUDIO, message="x" * 10_000_000)
    harness.send(AudioUnreadable(job_id=job, attempt=1, refusal=refusal))
    outcome = harness.job(job).outcome
    assert outcome is not None
    assert outcome.error == Refusal(code=Code.INVALID_AUDIO, message="x" * 1_000)


def test_clients_that_speak_once_are_forgotten_with_all_they_had() -> None:
    harness = DispatchHarness()
    for n in range(1_000):
        harness.submit(f"r{n}", client=f"c{n}", session="s", tenant=f"t{n}")
    harness.wait(10_000, polling=())
    harness.wait(10_000, polling=())
    harness.clean_up(0)
    assert set(harness.brain.sizes().values()) == {0}
    assert (harness.brain.waiting.demands(), len(harness.brain.waiting.shares.tenants)) == ([], 0)


def test_a_client_opens_so_many_sessions_and_no_more_unless_one_is_idle() -> None:
    harness = DispatchHarness(DispatchRules(max_sessions_per_client=20))
    harness.offer(a_node("node-a", slots=1))
    jobs = [harness.submit(f"r{n}", session=f"s{n}") for n in range(20)]
    refusal = harness.refusal("more", session="more")
    assert (refusal.code, refusal.retry_after_ms) == (Code.OVERLOADED, 50)
    harness.submit("other", session="more", client="c2")
    harness.run(jobs[0])
    harness.submit("more", session="more")
    assert len(harness.brain.sessions) == 21
    assert ("c1", "s0") not in harness.brain.sessions
    assert not harness.brain.sessions["c1", "more"].is_idle


def test_a_forgotten_session_that_goes_on_with_its_next_index_waits_for_no_gap() -> None:
    harness = DispatchHarness(DispatchRules(session_ttl_ms=60_000))
    harness.offer(a_node("node-a"))
    for n in range(3):
        harness.run(harness.submit(f"r{n}", session="s", utterance_index=n))
    harness.wait(70_000)
    assert harness.brain.sessions == {}
    effects = harness.run(harness.submit("r3", session="s", utterance_index=3))
    assert [event.utterance_index for event in told(effects, Delivered)] == [3]
    assert told(harness.wait(6_000), MissingResult) == []
    harness.wait(70_000)
    assert harness.run(harness.submit("again", session="s", utterance_index=0)), "or it begins anew"
    assert harness.job("boot-5").status is JobStatus.COMPLETED


# --- nodes --------------------------------------------------------------------------------------------------------


def test_a_node_that_lies_about_its_load_keeps_its_drain_waiting_until_the_deadline_and_no_longer() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.beat(a_beat(running=HUGE, accepted=HUGE, audio_bytes=HUGE))
    harness.brain.drain("node-a", 5_000, harness.now_ms)
    harness.wait(5_500, a_beat(running=HUGE))
    assert harness.status() is NodeStatus.GONE


def test_drained_machines_that_are_gone_for_good_are_forgotten() -> None:
    harness = RegistryHarness()
    kept = set()
    for n in range(5):
        harness.join(f"node-{n}", f"ray-{n}")
        harness.brain.drain(f"node-{n}", None, harness.now_ms)
        harness.wait(1_000, a_beat(f"node-{n}"))
        harness.listed = []
        for effect in of(harness.wait(1_202_000), Save):
            if isinstance(effect.change, SaveNode):
                kept.add(effect.change.node_id)
            elif isinstance(effect.change, ForgetNode):
                kept.discard(effect.change.node_id)
    assert (kept, harness.brain.store_was_emptied()) == (set(), [])
    assert [spawn.node for spawn in of(harness.look(a_ray_node("ray-4", "node-4")), SpawnAgent)] == ["node-4"]
