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
    SpeechLost,
    SpeechTaken,
)
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.ports import ForgetNode, SaveNode
from ray_sched.core.rules import DispatchRules
from tests.core.nodes.test_registry import Hall, of
from tests.support.builders import (
    Desk,
    a_beat,
    a_node,
    accepted,
    failed,
    finished,
    orders,
    refused,
    stopped,
    told,
)

HUGE = 2**53

# --- agents -------------------------------------------------------------------------------------------------------


def two_nodes() -> tuple[Desk, str, str]:
    """A job that runs, and the node where it does not."""
    desk = Desk()
    desk.offer(a_node("node-a", slots=1), a_node("node-b", slots=1))
    job = desk.submit("r1")
    desk.report(accepted(job), node=desk.job(job).node)
    return desk, job, {"node-a": "node-b", "node-b": "node-a"}[desk.job(job).node]


@pytest.mark.parametrize("lie", [accepted, refused, finished, failed, stopped])
@pytest.mark.parametrize("node", ["other", "node-x"])
def test_an_agent_that_answers_for_the_job_of_another_node_changes_nothing(lie: object, node: str) -> None:
    desk, job, other = two_nodes()
    before = (desk.status(job), desk.job(job).attempt, desk.spent("node-a"), desk.spent("node-b"))
    desk.report(lie(job), node=other if node == "other" else node)  # type: ignore[operator]  # any of the builders
    assert (desk.status(job), desk.job(job).attempt, desk.spent("node-a"), desk.spent("node-b")) == before


@pytest.mark.parametrize("lie", [accepted, refused, finished, failed, stopped])
def test_an_agent_that_answers_for_jobs_it_never_had_leaves_nothing_behind(lie: object) -> None:
    desk, job, other = two_nodes()
    for n in range(300):
        desk.report(lie(f"boot-{n + 100}"), node=other)  # type: ignore[operator]  # any of the builders
    desk.wait(3_000)
    assert set(desk.brain.jobs) == {job}
    assert (desk.free(other), desk.spent(other)) == (1, 0)
    assert len(desk.brain._board.due) <= 4


def test_a_lie_about_an_attempt_that_is_being_stopped_elsewhere_does_not_end_its_stopping() -> None:
    desk, job, other = two_nodes()
    node = desk.job(job).node
    desk.cancel(job)
    desk.report(stopped(job), node=other)
    desk.report(accepted(job), node=other)
    assert StopRun(job_id=job, attempt=1) in orders(desk.wait(1_000))
    assert desk.spent(node) == 1
    desk.report(stopped(job), node=node)
    assert (desk.spent(node), StopRun(job_id=job, attempt=1) in orders(desk.wait(5_000))) == (0, False)


def test_an_agent_that_refuses_everything_ends_every_job_and_is_left_alone_longer_and_longer() -> None:
    desk = Desk(DispatchRules(max_refusals=5))
    desk.offer(a_node("node-a"))
    job = desk.submit("r1")
    for _ in range(200):
        if desk.status(job) == "assigned":
            desk.report(refused(job, desk.job(job).attempt, why="x" * 100_000))
        desk.wait(100)
    outcome = desk.job(job).outcome
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code is Code.NODE_REFUSED
    assert len(outcome.error.message) < 5_000
    assert (desk.free(), desk.job(job).attempt) == (2, 6)


@pytest.mark.parametrize("code", [Code.NODE_REFUSED, Code.CANCELLED, Code.POISON_JOB, Code.NODE_LOST])
def test_an_agent_s_engine_fails_and_nothing_else(code: Code) -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit("r1")
    for attempt in (1, 2):
        desk.report(accepted(job, attempt), failed(job, attempt, code))
    assert (desk.job(job).refusals, desk.job(job).engine_errors, desk.status(job)) == (0, 2, "failed")


def test_services_that_do_not_exist_are_not_remembered() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    for n in range(5):
        job = desk.submit(f"r{n}")
        desk.report(RunFailed(job_id=job, attempt=1, code=Code.MODEL_NOT_AVAILABLE, why="no", service=f"service-{n}"))
    assert desk.brain.seats["node-a"].unavailable_until_ms == {}


def test_an_absurd_duration_is_a_day_at_most_and_an_absurd_speed_is_not_believed() -> None:
    desk = Desk()
    desk.offer(a_node("liar", slots=1), a_node("honest", slots=1))
    for job in [desk.submit(f"r{n}") for n in range(2)]:
        node = desk.job(job).node
        if node == "liar":
            desk.report(RunAccepted(job_id=job, attempt=1, audio_ms=HUGE, audio_bytes=HUGE, age_ms=HUGE), node=node)
            assert desk.job(job).audio_ms == 86_400_000
            desk.report(finished(job, run_ms=0), node=node)
        else:
            desk.report(accepted(job), finished(job, run_ms=HUGE), node=node)
    assert desk.brain.speeds.all() == {"liar": {"en:en": 10_000.0}, "honest": {"en:en": 0.001}}
    assert all(seat.in_flight_ms == 0 for seat in desk.brain.seats.values())


# --- clients ------------------------------------------------------------------------------------------------------


def test_a_client_that_names_the_jobs_of_another_one_changes_nothing() -> None:
    desk, job, _ = two_nodes()
    assigned = desk.submit("r2")
    for victim in (job, assigned, "boot-99", "x" * 256):
        desk.say(
            PushFailed(job_id=victim, attempt=1, why="x" * 100_000),
            AudioUnreadable(job_id=victim, attempt=1, refusal=Refusal(code=Code.CANCELLED, message="x")),
            SpeechTaken(job_id=victim, attempt=1),
            SpeechLost(job_id=victim, attempt=1, why=""),
            client="thief",
        )
        desk.cancel(victim, client="thief")
    assert [desk.status(it) for it in (job, assigned)] == ["processing", "assigned"]
    assert [desk.job(it).attempt for it in (job, assigned)] == [1, 1]
    assert desk.brain.counters.late_messages == 16


@pytest.mark.parametrize(
    "absurd", [{"audio_ms": HUGE}, {"utterance_index": HUGE}, {"request_id": ""}, {"services": ("asr",) * 8}]
)
def test_absurd_numbers_are_refused(absurd: dict[str, object]) -> None:
    desk = Desk()
    facts = {"request_id": "r1"} | absurd
    assert desk.refusal(**facts).code is Code.INVALID_MESSAGE  # type: ignore[arg-type]
    assert desk.brain.jobs == {}


def test_what_a_client_says_of_its_audio_is_kept_short() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit("r1")
    refusal = Refusal(code=Code.INVALID_AUDIO, message="x" * 10_000_000)
    desk.say(AudioUnreadable(job_id=job, attempt=1, refusal=refusal))
    outcome = desk.job(job).outcome
    assert outcome is not None
    assert outcome.error == Refusal(code=Code.INVALID_AUDIO, message="x" * 1_000)


def test_clients_that_speak_once_are_forgotten_with_all_they_had() -> None:
    desk = Desk()
    for n in range(1_000):
        desk.submit(f"r{n}", client=f"c{n}", session="s", tenant=f"t{n}")
    desk.wait(10_000, polling=())
    desk.wait(10_000, polling=())
    desk.clean_up(0)
    board = desk.brain._board
    assert (board.clients, desk.brain.jobs, desk.brain.sessions, len(board.waiting), len(board.due)) == (
        {},
        {},
        {},
        0,
        0,
    )
    assert (board.waiting.demands(), len(board.waiting.shares.tenants)) == ([], 0)


def test_a_client_opens_so_many_sessions_and_no_more_unless_one_is_idle() -> None:
    desk = Desk(DispatchRules(max_sessions_per_client=20))
    desk.offer(a_node("node-a", slots=1))
    jobs = [desk.submit(f"r{n}", session=f"s{n}") for n in range(20)]
    refusal = desk.refusal("more", session="more")
    assert (refusal.code, refusal.retry_after_ms) == (Code.OVERLOADED, 50)
    desk.submit("other", session="more", client="c2")
    desk.run(jobs[0])
    desk.submit("more", session="more")
    assert len(desk.brain.sessions) == 21
    assert ("c1", "s0") not in desk.brain.sessions
    assert desk.brain.sessions["c1", "more"].open_indexes


def test_a_forgotten_session_that_goes_on_with_its_next_index_waits_for_no_gap() -> None:
    desk = Desk(DispatchRules(session_ttl_ms=60_000))
    desk.offer(a_node("node-a"))
    for n in range(3):
        desk.run(desk.submit(f"r{n}", session="s", utterance_index=n))
    desk.wait(70_000)
    assert desk.brain.sessions == {}
    effects = desk.run(desk.submit("r3", session="s", utterance_index=3))
    assert [event.utterance_index for event in told(effects, Delivered)] == [3]
    assert told(desk.wait(6_000), MissingResult) == []
    desk.wait(70_000)
    assert desk.run(desk.submit("again", session="s", utterance_index=0)), "or it begins anew"
    assert desk.job("boot-5").status is JobStatus.COMPLETED


# --- nodes --------------------------------------------------------------------------------------------------------


def test_a_node_that_lies_about_its_load_keeps_its_drain_waiting_until_the_deadline_and_no_longer() -> None:
    hall = Hall()
    hall.join()
    hall.beat(a_beat(running=HUGE, accepted=HUGE, audio_bytes=HUGE))
    hall.brain.drain("node-a", 5_000, hall.now_ms)
    hall.wait(5_500, a_beat(running=HUGE))
    assert hall.status() is NodeStatus.GONE


def test_drained_machines_that_are_gone_for_good_are_forgotten() -> None:
    hall = Hall()
    kept = set()
    for n in range(5):
        hall.join(f"node-{n}", f"ray-{n}")
        hall.brain.drain(f"node-{n}", None, hall.now_ms)
        hall.wait(1_000, a_beat(f"node-{n}"))
        hall.listed = []
        for effect in of(hall.wait(1_202_000), Save):
            if isinstance(effect.change, SaveNode):
                kept.add(effect.change.node_id)
            elif isinstance(effect.change, ForgetNode):
                kept.discard(effect.change.node_id)
    assert (kept, hall.brain.store_was_emptied(), hall.brain._drained) == (set(), [], set())
