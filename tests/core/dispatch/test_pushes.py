"""How long the audio of assigned jobs may be on its way: as long as the bytes of all that travels with it need."""

from ray_sched.core.effects import StoreCameBack, StoreWentAway
from ray_sched.core.rules import DispatchRules
from tests.support.builders import DispatchHarness, a_node, accepted, stopped

RULES = DispatchRules(push_timeout_ms=2_000, push_ms_per_audio_s=20, client_ttl_ms=9_000_000)
MINUTE_MS = 60_000


def test_jobs_that_travel_together_may_take_as_long_as_the_bytes_of_all_of_them() -> None:
    harness = DispatchHarness(RULES)
    jobs = [harness.submit(f"r{number}", audio_ms=MINUTE_MS) for number in range(64)]
    harness.offer(a_node("node-a", slots=64))
    harness.wait(2_000 + 64 * 60 * 20 - 1)
    assert {(harness.status(job), harness.job(job).attempt) for job in jobs} == {("assigned", 1)}
    harness.wait(1)
    assert [harness.job(job).attempt for job in jobs] == [2] * 64


def test_a_job_waits_for_what_was_assigned_after_it_and_may_travel_with_it() -> None:
    harness = DispatchHarness(RULES)
    harness.offer(a_node("node-a", slots=2))
    first = harness.submit("r1", audio_ms=MINUTE_MS)
    harness.wait(1_000)
    second = harness.submit("r2", audio_ms=MINUTE_MS)
    harness.wait(2_000 + 2 * 60 * 20 - 1_001)
    assert [harness.job(job).attempt for job in (first, second)] == [1, 1]
    harness.wait(1)
    assert [harness.job(job).attempt for job in (first, second)] == [2, 1]


def test_what_was_accepted_first_was_on_the_way_too() -> None:
    harness = DispatchHarness(RULES)
    jobs = [harness.submit(f"r{number}", audio_ms=MINUTE_MS) for number in range(10)]
    harness.offer(a_node("node-a", slots=10))
    harness.wait(12_000)
    harness.report(*(accepted(job) for job in jobs[:9]))
    harness.wait(1_999)
    assert harness.status(jobs[9]) == "assigned"
    harness.wait(1)
    assert harness.job(jobs[9]).attempts[0].why == "PUSH_TIMEOUT: the audio was not accepted in 14 s"


def test_the_audio_of_other_clients_travels_another_way() -> None:
    harness = DispatchHarness(RULES)
    harness.offer(a_node("node-a", slots=8))
    for number in range(7):
        harness.submit(f"r{number}", client="c2", audio_ms=MINUTE_MS)
    job = harness.submit("r", audio_ms=1_000)
    harness.wait(2_019)
    assert harness.status(job) == "assigned"
    harness.wait(1)
    assert harness.job(job).attempt == 2


def test_a_job_of_unknown_length_may_be_as_long_as_a_submitter_takes() -> None:
    harness = DispatchHarness(RULES)
    harness.offer(a_node("node-a"))
    job = harness.submit(audio_ms=0)
    harness.wait(2_000 + 600 * 20 - 1)
    assert harness.status(job) == "assigned"
    harness.wait(1)
    assert harness.job(job).attempt == 2


def test_a_push_that_ended_does_not_lengthen_the_next_one() -> None:
    harness = DispatchHarness(RULES)
    harness.offer(a_node("node-a"))
    long = harness.submit("r1", audio_ms=600_000)
    harness.report(accepted(long))
    short = harness.submit("r2", audio_ms=1_000)
    harness.wait(2_019)
    assert harness.status(short) == "assigned"
    harness.wait(1)
    assert harness.job(short).attempt == 2


def test_a_store_that_comes_back_gives_the_whole_time_anew() -> None:
    harness = DispatchHarness(RULES)
    harness.offer(a_node("node-a"))
    job = harness.submit(audio_ms=MINUTE_MS)
    harness.handle(StoreWentAway())
    harness.wait(3_000)
    harness.handle(StoreCameBack())
    harness.wait(2_000 + 60 * 20 - 1)
    assert harness.status(job) == "assigned"
    harness.wait(1)
    assert harness.job(job).attempt == 2


def test_nothing_is_on_its_way_when_all_jobs_have_ended() -> None:
    harness = DispatchHarness(RULES)
    harness.offer(a_node("node-a", slots=4))
    jobs = [harness.submit(f"r{number}") for number in range(4)]
    assert harness.brain.sizes()["pushes"] == 4
    harness.run(jobs[0])
    harness.cancel(jobs[1])
    harness.report(stopped(jobs[1]))
    harness.report(accepted(jobs[2]))
    harness.offer()  # the node is gone, and with it two attempts
    assert harness.brain.sizes()["pushes"] == 0
