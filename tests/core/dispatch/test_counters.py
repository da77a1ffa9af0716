"""How fast jobs end, and how often things happened."""

from ray_sched.core.capability import Capability
from ray_sched.core.dispatch.counters import Rate
from ray_sched.core.effects import ClientBlocked, Swept
from ray_sched.core.errors import Code
from ray_sched.core.messages.client_dispatcher import PushFailed, Submit
from ray_sched.core.reasons import Reason, Tier
from tests.support.builders import DispatchHarness, a_draining_node, a_node, a_spec, accepted, failed, refused


def test_the_rate_follows_what_is_counted_a_fifth_at_a_time() -> None:
    rate = Rate()
    rate.measure(100, 5_000)
    assert rate.per_s == 0
    rate.measure(110, 6_000)
    assert rate.per_s == 2
    rate.measure(150, 8_000)
    assert rate.per_s == 2 + 0.2 * (20 - 2)


def test_the_rate_is_measured_once_a_second_at_most() -> None:
    rate = Rate()
    rate.measure(0, 5_000)
    rate.measure(50, 5_999)
    assert rate.per_s == 0
    rate.measure(100, 6_000)
    assert rate.per_s == 20
    rate.measure(900, 6_999)
    assert rate.per_s == 20


def test_everything_that_happens_is_counted_once() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.send(Submit(spec=a_spec("r1")), Submit(spec=a_spec("r1")))
    harness.report(refused(job))
    harness.wait(1_000)
    harness.report(accepted(job, 2), failed(job, 2))
    harness.send(PushFailed(job_id=job, attempt=1, why="late"))
    harness.cancel(job)
    harness.wait(2_000)
    harness.clean_up(0)
    counters = harness.brain.counters
    assert (counters.submitted, counters.duplicates, counters.rejected) == (1, 2, {})
    assert (counters.assigned, counters.requeued, counters.refused, counters.late_messages) == (3, 2, 1, 1)
    assert (counters.ended, counters.gaps, counters.late_results, counters.cleaned) == ({"cancelled": 1}, 0, 0, 1)


def test_jobs_that_found_no_node_are_counted_and_not_the_nodes_that_were_none_for_them() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    for n in range(2):
        harness.submit(f"r{n}", src="de", tgt="de")
    harness.wait(10_000)
    assert harness.brain.counters.no_node == {Reason.ASR_LANG_UNSUPPORTED: 2}
    assert harness.refusal("r0", src="de", tgt="de", digest="other").code is Code.DUPLICATE_REQUEST


def test_a_job_without_any_node_is_counted_too() -> None:
    harness = DispatchHarness()
    harness.submit()
    harness.wait(10_000)
    assert harness.brain.counters.no_node == {Tier.NO_NODE: 1}


def test_a_job_is_counted_by_what_was_against_the_nodes_that_were_nearest_to_serving_it() -> None:
    harness = DispatchHarness()
    german = Capability(engine="echo", asr=("de",))
    harness.offer(*(a_node(f"node-{n}") for n in range(9)), pool="pool-2", capability=german)
    harness.offer(a_node("busy", slots=1), a_draining_node("drained"))
    harness.report(accepted(harness.submit("first", audio_ms=60_000)), node="busy")
    harness.submit("second")
    harness.wait(10_000)
    assert harness.brain.counters.no_node == {Reason.CAPACITY_FULL: 1}


def test_a_job_whose_client_was_blocked_until_its_deadline_is_counted_by_that() -> None:
    harness = DispatchHarness()
    harness.submit(deadline_ms=2_000)
    for _ in range(3):
        harness.now_ms += 1_000
        harness.handle(ClientBlocked("c1"))
        harness.handle(Swept())
    assert harness.brain.counters.no_node == {Tier.CLIENT_BLOCKED: 1}
