"""The Dispatcher's brain, assignment and attempts: a fact, what follows, the next fact."""

import pytest

from ray_sched.core.effects import OrderAgent, PoolClosed, PoolOffered, Save, Swept
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.messages.agent_dispatcher import DropSpeech, RunPartial, StopRun
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Assigned,
    AudioUnreadable,
    Delivered,
    PartialText,
    PushFailed,
    SpeechFetched,
    SpeechLost,
    SpeechReady,
    Submit,
)
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import DispatchRules, SelectionRules
from tests.support.builders import (
    EN_ES,
    DispatchHarness,
    a_draining_node,
    a_node,
    a_spec,
    accepted,
    an_offer,
    answers,
    events,
    failed,
    finished,
    only,
    orders,
    receipt,
    refused,
    stopped,
    told,
    where,
)


def outcome_of(effects: list[object]) -> str:
    """Status of the one outcome the client is told."""
    return only(told(effects, Delivered)).outcome.status  # type: ignore[arg-type]


# --- a job's way --------------------------------------------------------------------------------------------------


def test_a_job_submitted_to_an_idle_cluster_is_assigned_in_the_same_step() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    effects = harness.send(Submit(spec=a_spec()))
    accepted_as = only(answers(effects))
    assert isinstance(accepted_as, Accepted)
    assert only(told(effects, Assigned)) == Assigned(
        job_id=accepted_as.job_id, attempt=1, node="node-a", incarnation=1, agent="agent:node-a"
    )
    assert (harness.free(), harness.acquired()) == (1, 1)


def test_a_job_runs_and_its_outcome_is_delivered_with_its_times() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.now_ms += 30
    harness.report(accepted(job, audio_ms=1_200))
    harness.now_ms += 400
    delivered = only(told(harness.report(finished(job, text="hello", run_ms=390)), Delivered))
    outcome = delivered.outcome
    assert (outcome.status, outcome.text, outcome.node, outcome.attempt) == ("completed", "hello", "node-a", 1)
    assert (outcome.audio_ms, outcome.wait_ms, outcome.run_ms) == (1_200, 30, 390)
    assert (harness.free(), harness.acquired()) == (2, 0)


def test_silence_completes_without_text() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    assert outcome_of([*harness.run(harness.submit(), text="")]) == "completed_no_text"


def test_a_finish_that_comes_without_its_acceptance_still_counts() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    assert outcome_of([*harness.report(finished(job))]) == "completed"


def test_a_job_that_waits_is_assigned_when_a_node_is_offered() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    assert harness.status(job) == "pending"
    assert where(harness.offer(a_node("node-a"))) == [(job, 1, "node-a")]


def test_partial_texts_are_passed_on_only_to_those_who_want_them() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    wants, does_not = harness.submit("r1", wants_partials=True), harness.submit("r2")
    partials = [RunPartial(job_id=job, attempt=1, text="he") for job in (wants, does_not)]
    harness.report(accepted(wants), accepted(does_not))
    assert events(harness.report(*partials)) == [PartialText(job_id=wants, attempt=1, text="he")]


# --- attempts that do not end the job -----------------------------------------------------------------------------


def test_a_refused_push_goes_back_to_pending_and_to_another_node() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit()
    first = harness.job(job).node
    other = {"node-a": "node-b", "node-b": "node-a"}[first]
    assert where(harness.report(refused(job), node=first)) == [(job, 2, other)]
    assert (harness.acquired(first), harness.acquired(other)) == (0, 1)


def test_a_refusal_costs_no_failover_but_there_is_an_end_to_them() -> None:
    harness = DispatchHarness(DispatchRules(max_refusals=2, max_failovers=0))
    harness.offer(a_node("node-a"))
    job = harness.submit()
    for attempt in (1, 2):
        harness.report(refused(job, attempt))
        assert harness.status(job) == "pending"
        harness.wait(2_000)
    effects = harness.report(refused(job, 3))
    assert only(told(effects, Delivered)).outcome.error == Refusal(
        code=Code.NODE_REFUSED,
        message="gave up after 3 attempts: attempt 1 on node-a: NODE_REFUSED: full; "
        "attempt 2 on node-a: NODE_REFUSED: full; attempt 3 on node-a: NODE_REFUSED: full",
    )


def test_a_node_that_refused_is_left_alone_for_a_little_while_and_longer_each_time() -> None:
    harness = DispatchHarness(selection=SelectionRules(refusal_rest_ms=50))
    harness.offer(a_node("node-a"))
    job = harness.submit()
    for attempt, rest_ms in ((1, 50), (2, 100), (3, 200)):
        assert where(harness.report(refused(job, attempt))) == []
        harness.now_ms += rest_ms - 1
        assert where(harness.handle(Swept())) == []
        harness.now_ms += 1
        assert where(harness.handle(Swept())) == [(job, attempt + 1, "node-a")]


def test_a_node_that_refuses_what_it_had_accepted_gives_the_job_back() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit()
    first = harness.job(job).node
    other = {"node-a": "node-b", "node-b": "node-a"}[first]
    harness.report(accepted(job), node=first)
    assert where(harness.report(refused(job, why="not this one"), node=first)) == [(job, 2, other)]
    assert harness.acquired(first) == 0


def test_a_late_ack_does_not_resurrect_the_attempt() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit()
    first = harness.job(job).node
    other = {"node-a": "node-b", "node-b": "node-a"}[first]
    assert where(harness.wait(2_020)) == [(job, 2, other)]
    effects = harness.report(accepted(job, 1), node=first)
    assert orders(effects) == [StopRun(job_id=job, attempt=1)]
    assert (harness.status(job), harness.job(job).attempt, harness.job(job).node) == ("assigned", 2, other)
    assert events(harness.report(finished(job, 1, "old"), node=first)) == []
    assert only(told(harness.run(job, node=other, text="new"), Delivered)).outcome.text == "new"
    assert harness.brain.counters.late_messages == 2


def test_a_message_of_an_attempt_from_the_wrong_node_or_incarnation_changes_nothing() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", incarnation=2))
    job = harness.submit()
    for node, incarnation in (("node-a", 1), ("node-b", 2)):
        assert events(harness.report(finished(job), node=node, incarnation=incarnation)) == []
    assert (harness.status(job), harness.acquired()) == ("assigned", 1)


@pytest.mark.parametrize(("audio_ms", "limit_ms"), [(0, 14_000), (1_000, 2_020), (600_000, 14_000)])
def test_audio_not_accepted_within_two_seconds_and_its_share_goes_elsewhere(audio_ms: int, limit_ms: int) -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit(audio_ms=audio_ms)
    first = harness.job(job).node
    assert where(harness.wait(limit_ms - 1)) == []
    effects = harness.wait(1)
    assert [attempt for _, attempt, _ in where(effects)] == [2]
    assert orders(effects) == [StopRun(job_id=job, attempt=1)]
    assert harness.acquired(first) == 1, "until the node confirms, it may still be about to run it"
    harness.report(stopped(job, 1), node=first)
    assert harness.acquired(first) == 0


def test_a_run_that_takes_too_long_is_stopped_and_its_slot_stays_taken_until_it_has_stopped() -> None:
    harness = DispatchHarness(DispatchRules(run_timeout_ms=5_000, run_timeout_factor=1.0))
    harness.offer(a_node("node-a", slots=1), a_node("node-b", slots=1))
    job = harness.submit()
    first = harness.job(job).node
    harness.report(accepted(job), node=first)
    effects = harness.wait(5_000)
    assert orders(effects) == [StopRun(job_id=job, attempt=1)]
    assert (harness.job(job).attempt, harness.free(first), harness.acquired(first)) == (2, 0, 1)
    harness.report(stopped(job, 1), node=first)
    assert (harness.free(first), harness.acquired(first)) == (1, 0)


def test_a_long_audio_may_run_ten_times_its_own_length() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit(audio_ms=20_000)
    harness.report(accepted(job, audio_ms=20_000))
    harness.wait(199_000)
    assert harness.status(job) == "processing"
    harness.wait(1_000)
    assert harness.job(job).attempt == 2


def test_a_stop_that_nobody_confirms_is_repeated_every_second_until_it_is() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    stop = StopRun(job_id=job, attempt=1)
    assert orders(harness.cancel(job)) == [stop]
    assert orders(harness.wait(3_000)) == [stop, stop, stop]
    harness.report(stopped(job))
    assert orders(harness.wait(3_000)) == []


def test_a_lost_node_gives_its_jobs_back_and_they_run_elsewhere() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    assigned, running = harness.submit("r1"), harness.submit("r2")
    harness.report(accepted(running))
    effects = harness.offer(a_node("node-a", status=NodeStatus.LOST, slots=0), a_node("node-b"))
    assert where(effects) == [(assigned, 2, "node-b"), (running, 2, "node-b")]
    assert set(harness.brain.node_states) == {"node-b"}


def test_a_node_that_its_pool_names_no_more_is_lost() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.offer()
    assert (harness.status(job), harness.brain.node_states) == ("pending", {})


def test_a_new_incarnation_of_a_node_has_none_of_the_old_one_s_jobs_and_all_of_its_slots() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit()
    harness.report(accepted(job))
    effects = harness.offer(a_node("node-a", slots=1, incarnation=2))
    assert [(a.attempt, a.incarnation) for a in told(effects, Assigned)] == [(2, 2)]
    assert events(harness.report(finished(job, 1), incarnation=1)) == []
    assert harness.acquired() == 1


def test_an_offer_for_an_old_incarnation_changes_nothing() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", incarnation=2))
    job = harness.submit()
    harness.offer(a_node("node-a", incarnation=1))
    assert (harness.status(job), harness.brain.node_states["node-a"].incarnation) == ("assigned", 2)


def test_after_three_failovers_the_failure_tells_every_attempt() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-0", slots=1))
    job = harness.submit()
    for n in (1, 2, 3, 4):
        harness.report(accepted(job, n), node=f"node-{n - 1}")
        effects = harness.offer(a_node(f"node-{n}", slots=1))
    outcome = only(told(effects, Delivered)).outcome
    assert [(note.attempt, note.node) for note in outcome.attempts] == [
        (1, "node-0"),
        (2, "node-1"),
        (3, "node-2"),
        (4, "node-3"),
    ]
    assert outcome.error is not None
    assert outcome.error.code is Code.NODE_LOST
    for n in range(4):
        assert f"attempt {n + 1} on node-{n}: NODE_LOST: the node left its pool" in outcome.error.message


def test_an_error_of_the_engine_itself_is_tried_once_more_and_no_oftener() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.submit()
    first = harness.job(job).node
    other = {"node-a": "node-b", "node-b": "node-a"}[first]
    harness.report(accepted(job), node=first)
    assert where(harness.report(failed(job), node=first)) == [(job, 2, other)]
    effects = harness.report(accepted(job, 2), failed(job, 2), node=other)
    error = only(told(effects, Delivered)).outcome.error
    assert error is not None
    assert error.code is Code.ENGINE_FAILED


def test_a_push_that_did_not_get_through_goes_elsewhere_and_one_that_did_goes_on() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    lost, through = harness.submit("r1"), harness.submit("r2")
    harness.report(accepted(through), node=harness.job(through).node)
    harness.send(*(PushFailed(job_id=job, attempt=1, why="timeout") for job in (lost, through)))
    assert (harness.job(lost).attempt, harness.job(through).attempt) == (2, 1)


def test_a_push_that_failed_is_not_tried_again_at_once_on_the_only_node() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.send(PushFailed(job_id=job, attempt=1, why="there is no agent"))
    assert (harness.status(job), harness.job(job).attempt) == ("pending", 2)
    harness.wait(400)
    assert harness.status(job) == "pending"
    harness.wait(200)
    assert (harness.status(job), harness.job(job).node) == ("assigned", "node-a")


def test_audio_that_cannot_be_read_fails_its_job() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    refusal = Refusal(code=Code.INVALID_AUDIO, message="no such file")
    effects = harness.send(AudioUnreadable(job_id=job, attempt=1, refusal=refusal))
    assert only(told(effects, Delivered)).outcome.error == refusal
    assert orders(effects) == [StopRun(job_id=job, attempt=1)]


# --- speech -------------------------------------------------------------------------------------------------------


def speaking_harness() -> tuple[DispatchHarness, str]:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"), capability=EN_ES)
    job = harness.submit(tgt="es", services=("asr", "mt", "tts"))
    return harness, job


def test_a_job_with_speech_completes_when_its_submitter_has_taken_it() -> None:
    harness, job = speaking_harness()
    node = harness.job(job).node
    effects = harness.report(accepted(job), finished(job, speech_bytes=640), node=node)
    ready = SpeechReady(job_id=job, attempt=1, agent=f"agent:{node}", n_bytes=640, rate_hz=22_050)
    assert events(effects) == [ready]
    assert (harness.status(job), harness.acquired(node)) == ("processing", 0)
    effects = harness.send(SpeechFetched(job_id=job, attempt=1))
    assert orders(effects) == [DropSpeech(job_id=job, attempt=1)]
    assert only(told(effects, Delivered)).outcome.speech_bytes == 640


def test_lost_speech_runs_the_job_again() -> None:
    harness, job = speaking_harness()
    harness.report(accepted(job), finished(job, speech_bytes=640), node=harness.job(job).node)
    effects = harness.send(SpeechLost(job_id=job, attempt=1, why="gone"))
    assert [attempt for _, attempt, _ in where(effects)] == [2]


def test_speech_that_died_with_its_node_is_made_again() -> None:
    harness, job = speaking_harness()
    node = harness.job(job).node
    other = {"node-a": "node-b", "node-b": "node-a"}[node]
    harness.report(accepted(job), finished(job, speech_bytes=640), node=node)
    assert where(harness.offer(a_node(other), capability=EN_ES)) == [(job, 2, other)]


def test_speech_of_a_cancelled_or_fenced_attempt_is_dropped() -> None:
    harness, job = speaking_harness()
    node = harness.job(job).node
    harness.report(accepted(job), node=node)
    harness.cancel(job)
    assert orders(harness.report(finished(job, speech_bytes=640), node=node)) == [DropSpeech(job_id=job, attempt=1)]


def test_a_repeated_finish_neither_drops_the_speech_nor_tells_it_twice() -> None:
    harness, job = speaking_harness()
    node = harness.job(job).node
    harness.report(accepted(job), finished(job, speech_bytes=640), node=node)
    effects = harness.report(accepted(job), finished(job, speech_bytes=640), node=node)
    assert (events(effects), orders(effects)) == ([], [])


# --- nodes that are passed over -----------------------------------------------------------------------------------


def test_a_service_whose_model_is_not_available_is_skipped_there_for_a_minute() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9), capability=EN_ES)
    first = harness.submit("r1", tgt="es", services=("asr", "mt"))
    harness.report(accepted(first), failed(first, code=Code.MODEL_NOT_AVAILABLE, service="mt"))
    assert harness.status(first) == "pending"
    assert harness.status(harness.submit("r2")) == "assigned", "recognition alone is still possible"
    harness.wait(9_000)
    blocked = harness.submit("r3", tgt="es", services=("asr", "mt"), deadline_ms=100_000)
    harness.wait(50_999)
    assert harness.status(blocked) == "pending"
    assert [job for job, *_ in where(harness.wait(1))] == [blocked]


def test_a_node_rests_after_three_failures_in_a_row() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    for n in (1, 2, 3):
        job = harness.submit(f"r{n}")
        harness.report(accepted(job), failed(job, code=Code.INVALID_AUDIO))
        harness.cancel(job)
    waits = harness.submit("r4", deadline_ms=60_000)
    assert harness.status(waits) == "pending"
    harness.wait(29_999)
    assert harness.status(waits) == "pending"
    harness.wait(1)
    assert harness.status(waits) == "assigned"


def test_two_failures_and_a_success_do_not_put_a_node_to_rest() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    for n, fails in enumerate([True, False, True, False]):
        job = harness.submit(f"r{n}")
        harness.report(accepted(job), failed(job) if fails else finished(job))
        harness.cancel(job)
    assert harness.status(harness.submit("last")) == "assigned"


def test_bad_jobs_do_not_put_the_last_of_several_nodes_to_rest() -> None:
    """Where every node fails it is the jobs, and others have theirs run."""
    harness = DispatchHarness()
    harness.offer(*(a_node(name) for name in ("node-a", "node-b", "node-c")))
    for n in range(20):
        bad = harness.submit(f"bad-{n}", client="c2")
        while harness.status(bad) == "assigned":
            harness.report(accepted(bad, harness.job(bad).attempt), node=harness.job(bad).node)
            harness.report(failed(bad, harness.job(bad).attempt), node=harness.job(bad).node)
        harness.cancel(bad, client="c2")
    good = harness.submit("good")
    assert harness.status(good) == "assigned"
    rest = [name for name, node_state in harness.brain.node_states.items() if node_state.quarantined_until_ms]
    assert len(rest) == 2


def test_a_draining_node_gets_nothing_new_and_finishes_what_it_has() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    running = harness.submit("r1")
    harness.report(accepted(running))
    effects = harness.offer(a_draining_node("node-a"))
    assert (receipt(effects), harness.free()) == ({"node-a": 1}, 0)
    assert harness.status(harness.submit("r2")) == "pending"
    assert outcome_of([*harness.report(finished(running))]) == "completed"
    assert (harness.free(), harness.acquired()) == (0, 0), "a revoked lease ends with its job"


def test_a_lease_that_is_not_renewed_is_spent_no_more() -> None:
    harness = DispatchHarness()
    harness.handle(PoolOffered(an_offer(a_node("node-a"), number=1, term_ms=10_000)))
    harness.now_ms += 9_999
    in_time = harness.submit("r1")
    harness.now_ms += 1
    too_late = harness.submit("r2")
    assert (harness.status(in_time), harness.status(too_late)) == ("assigned", "pending")
    harness.handle(Swept())
    assert (harness.free(), harness.acquired()) == (0, 1)
    harness.run(in_time)
    assert (harness.free(), harness.acquired()) == (0, 0)


def test_a_renewed_lease_that_was_about_to_end_is_spent_again() -> None:
    harness = DispatchHarness()
    harness.handle(PoolOffered(an_offer(a_node("node-a", slots=1), number=1, term_ms=1_000)))
    job = harness.submit()
    harness.now_ms += 1_000
    harness.handle(Swept())
    harness.handle(PoolOffered(an_offer(a_node("node-a", slots=1), number=2, term_ms=1_000)))
    assert (harness.free(), harness.acquired()) == (0, 1)
    harness.run(job)
    assert (harness.free(), harness.acquired()) == (1, 0)


def test_an_offer_older_than_the_last_one_changes_nothing() -> None:
    harness = DispatchHarness()
    harness.handle(PoolOffered(an_offer(a_draining_node("node-a"), number=2)))
    effects = harness.handle(PoolOffered(an_offer(a_node("node-a"), number=1)))
    assert receipt(effects) == {"node-a": 0}
    assert harness.status(harness.submit()) == "pending"
    harness.handle(PoolOffered(an_offer(a_node("node-a"), number=1, epoch=2)))
    assert harness.brain.node_states["node-a"].n_acquired == 1, "a restarted pool counts from 1 again, in a later epoch"


def test_an_offer_that_arrives_after_its_pool_was_closed_brings_no_node_back() -> None:
    harness = DispatchHarness()
    harness.handle(PoolOffered(an_offer(a_node("node-a"), number=1)))
    harness.handle(PoolOffered(an_offer(number=3)))
    harness.handle(PoolClosed("pool-1"))
    harness.handle(PoolOffered(an_offer(a_node("node-a"), number=2)))
    assert harness.brain.node_states == {}


def test_a_closed_pool_takes_its_nodes_with_it() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.handle(PoolClosed("pool-1"))
    assert (harness.brain.node_states, harness.status(job)) == ({}, "pending")


# --- which node ---------------------------------------------------------------------------------------------------


def test_en_es_is_not_es_en() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), capability=EN_ES)
    there = harness.submit("r1", src="en", tgt="es", services=("asr", "mt"))
    back = harness.submit("r2", src="es", tgt="en", services=("asr", "mt"))
    assert (harness.status(there), harness.status(back)) == ("assigned", "pending")


def test_a_pair_that_nobody_serves_fails_after_ten_seconds_with_the_reason_of_each_node() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    harness.offer(a_node("node-c"), pool="pool-2", capability=EN_ES)
    job = harness.submit(src="en", tgt="fr", services=("asr", "mt"))
    harness.wait(9_999)
    assert harness.status(job) == "pending"
    assert only(told(harness.wait(1), Delivered)).outcome.error == Refusal(
        code=Code.NO_AVAILABLE_NODE,
        message="no node for en:fr (asr+mt) in 10 s: "
        "2 x SERVICE_MISSING (node-a, node-b); 1 x LANG_PAIR_UNSUPPORTED (node-c)",
    )
    assert harness.brain.counters.no_node == {Reason.SERVICE_MISSING: 1}


def test_without_any_node_the_failure_says_so() -> None:
    harness = DispatchHarness()
    harness.submit()
    error = only(told(harness.wait(10_000), Delivered)).outcome.error
    assert error is not None
    assert error.message == "no node for en:en (asr) in 10 s: there is no node at all"


def test_a_job_with_a_deadline_of_its_own_waits_that_long() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    harness.report(accepted(harness.submit("r0", audio_ms=60_000), audio_ms=60_000))
    job = harness.submit("r1", deadline_ms=30_000)
    harness.wait(29_999)
    assert harness.status(job) == "pending"
    error = only(told(harness.wait(1), Delivered)).outcome.error
    assert error is not None
    assert error.code is Code.DEADLINE_EXCEEDED
    assert "1 x CAPACITY_FULL (node-a)" in error.message


def test_a_tenant_s_node_serves_nobody_else() -> None:
    harness = DispatchHarness()
    acme = EN_ES.__class__(engine="echo", asr=("en",), tenant="acme")
    harness.offer(a_node("node-a", slots=9), capability=acme)
    assert harness.status(harness.submit("r1")) == "pending"
    assert harness.status(harness.submit("r2", tenant="other")) == "pending"
    assert harness.status(harness.submit("r3", tenant="acme")) == "assigned"


def test_a_job_that_needs_a_gpu_waits_for_a_node_that_has_one() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit(needs_gpu=True)
    assert harness.status(job) == "pending"
    gpu = EN_ES.__class__(engine="echo", asr=("en",), has_gpu=True)
    assert where(harness.offer(a_node("node-g"), pool="pool-g", capability=gpu)) == [(job, 1, "node-g")]


def learned_harness() -> DispatchHarness:
    """A harness whose node-fast is four times as fast as node-slow."""
    harness = DispatchHarness(selection=SelectionRules(newcomer_penalty=1))
    harness.offer(a_node("node-fast", slots=9))
    harness.run(harness.submit("fast"), node="node-fast", run_ms=250)
    harness.offer(a_node("node-slow", slots=9))
    harness.run(harness.submit("slow"), node="node-slow", run_ms=1_000)
    harness.offer(a_node("node-fast", slots=9), a_node("node-slow", slots=9))
    return harness


def test_the_node_that_was_faster_is_preferred_as_long_as_it_has_a_free_slot() -> None:
    harness = learned_harness()
    nodes = [harness.job(harness.submit(f"r{n}")).node for n in range(10)]
    assert nodes == ["node-fast"] * 9 + ["node-slow"]


def test_a_session_stays_at_its_node_but_not_at_any_price() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    harness.run(harness.submit("r0", session="s1"), node="node-a")
    harness.offer(a_node("node-a", slots=9), a_node("node-b", slots=9))
    assert harness.job(harness.submit("r1", session="s1")).node == "node-a"
    harness.run(harness.submit("r2"), node="node-b", run_ms=399)
    assert harness.job(harness.submit("r3", session="s1")).node == "node-b", "a fifth faster is worth the move"


def test_a_session_that_was_silent_for_five_minutes_has_no_favourite() -> None:
    harness = DispatchHarness(selection=SelectionRules(affinity_ttl_ms=300_000))
    harness.offer(a_node("node-a", slots=9))
    job = harness.submit("r0", session="s1")
    harness.run(job)
    harness.submit("r1", session="s1", utterance_index=2**40)
    session = harness.brain.sessions["c1", "s1"]
    assert session.affine_node(harness.now_ms + 299_999, 300_000) == "node-a"
    assert session.affine_node(harness.now_ms + 300_000, 300_000) == ""


# --- what every step keeps ----------------------------------------------------------------------------------------


def test_what_is_told_was_saved_before() -> None:
    harness = DispatchHarness()
    steps = [
        harness.offer(a_node("node-a", slots=1)),
        harness.send(*(Submit(spec=a_spec(f"r{n}", session="s1")) for n in range(4))),
        harness.report(accepted("boot-1")),
        harness.report(finished("boot-1")),
        harness.report(refused("boot-2")),
        harness.cancel("boot-3"),
        harness.wait(30_000),
    ]
    kinds = [[isinstance(effect, Save) for effect in step] for step in steps[:-1]]
    assert all(kind == sorted(kind, reverse=True) for kind in kinds)
    assert any(kind.count(True) for kind in kinds)


def test_every_job_that_a_client_or_an_agent_is_told_about_is_saved_in_that_step() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    effects = harness.send(*(Submit(spec=a_spec(f"r{n}")) for n in range(3)))
    saved = [e.change.job_id for e in effects if isinstance(e, Save)]  # type: ignore[union-attr]
    assert saved == ["boot-1", "boot-2", "boot-3"]
    effects = harness.cancel("boot-1")
    assert [e.change.job_id for e in effects if isinstance(e, Save)] == ["boot-1"]  # type: ignore[union-attr]
    assert [e.incarnation for e in effects if isinstance(e, OrderAgent)] == [1]
