"""Clients that live and do not answer, as their event loop is blocked: they keep their jobs and take no slots."""

from ray_sched.core.effects import ClientBlocked
from ray_sched.core.errors import Code
from ray_sched.core.messages.client_dispatcher import Assigned
from ray_sched.core.rules import DispatchRules
from tests.support.builders import DispatchHarness, a_node, accepted, told, where


def block(harness: DispatchHarness, duration_ms: int, client: str = "c1") -> None:
    """The client says for so long that it lives, and nothing else."""
    for _ in range(duration_ms // 1_000):
        harness.handle(ClientBlocked(client))
        harness.wait(1_000, polling=[])


def test_a_client_that_is_blocked_for_a_minute_keeps_its_jobs_and_they_run_when_it_answers() -> None:
    harness = DispatchHarness()
    jobs = [harness.submit(f"r{n}") for n in range(3)]
    block(harness, 60_000)
    assert [harness.status(job) for job in jobs] == ["pending"] * 3
    harness.offer(a_node("node-a", slots=4))
    assert [harness.status(job) for job in jobs] == ["pending"] * 3
    assert {job for job, _, _ in where(harness.poll())} == set(jobs)


def test_a_client_that_neither_answers_nor_lives_is_gone() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    block(harness, 5_000)
    harness.wait(12_000, polling=[])
    error = harness.job(job).outcome
    assert error is not None
    assert error.error is not None
    assert error.error.code is Code.CLIENT_GONE
    new = harness.submit(submission="again")
    harness.offer(a_node("node-a"))
    assert harness.status(new) == "assigned"


def test_others_pass_the_jobs_of_a_client_that_is_blocked() -> None:
    harness = DispatchHarness()
    first = harness.submit("r1", priority=5)
    harness.handle(ClientBlocked("c1"))
    second = harness.submit("r2", client="c2")
    harness.offer(a_node("node-a", slots=2))
    assert (harness.status(first), harness.status(second)) == ("pending", "assigned")
    answer = harness.submit("r3")
    assert (harness.status(first), harness.status(answer)) == ("assigned", "pending"), "who submits answers"


def test_a_push_that_a_blocked_client_does_not_make_is_no_fault_of_a_node_and_is_not_asked_for_again() -> None:
    harness = DispatchHarness(DispatchRules(max_failovers=0))
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit(audio_ms=1_000)
    block(harness, 10_000)
    assert (harness.status(job), harness.job(job).attempt, harness.job(job).failovers) == ("pending", 2, 0)
    harness.offer(a_node("node-b", slots=1))
    assert [event.attempt for event in told(harness.poll(), Assigned)] == [2]


def test_a_push_that_a_client_does_not_make_though_it_answers_counts() -> None:
    harness = DispatchHarness(DispatchRules(max_failovers=0))
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit(audio_ms=1_000)
    harness.wait(10_000)
    assert harness.status(job) == "failed"


def test_what_runs_for_a_client_that_is_blocked_goes_on() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    block(harness, 30_000)
    harness.run(job)
    assert harness.status(job) == "completed"


def test_a_job_without_a_deadline_has_its_whole_time_when_its_client_answers_again() -> None:
    harness = DispatchHarness(DispatchRules(pending_timeout_ms=10_000))
    job = harness.submit()
    harness.wait(1_000)
    block(harness, 8_000)
    harness.poll()
    harness.wait(9_000)
    assert harness.status(job) == "pending"
    harness.wait(1_000)
    assert harness.status(job) == "failed"


def test_a_deadline_goes_on_while_a_client_is_blocked_and_says_why() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    harness.submit("r1", client="c2")
    job = harness.submit("r2", deadline_ms=5_000)
    block(harness, 6_000)
    outcome = harness.job(job).outcome
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code is Code.DEADLINE_EXCEEDED
    says = "its client has not answered, as its event loop was blocked, until 5 s had passed"
    assert outcome.error.message == says


def test_a_job_that_comes_back_to_a_client_that_is_blocked_waits_for_it() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit()
    node = harness.job(job).node
    harness.report(accepted(job), node=node)
    harness.handle(ClientBlocked("c1"))
    harness.offer(a_node("node-b" if node == "node-a" else "node-a"))
    assert harness.status(job) == "pending"
    assert len(where(harness.poll())) == 1


def test_a_session_of_a_client_that_was_blocked_goes_on_in_its_order() -> None:
    harness = DispatchHarness()
    jobs = [harness.submit(f"r{n}", session="s") for n in range(3)]
    harness.handle(ClientBlocked("c1"))
    harness.offer(a_node("node-a", slots=1))
    harness.cancel(jobs[0])  # who cancels answers
    assert [harness.status(job) for job in jobs] == ["cancelled", "assigned", "pending"]
