"""The bugs of the scheduler that this one grew out of: each has a test of its number, so that it does not come back."""

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from ray_sched.client.audio import AudioSource
from ray_sched.core.capability import Capability
from ray_sched.core.dispatch.counters import Counters
from ray_sched.core.dispatch.records import read_jobs
from ray_sched.core.effects import DispatchEffect, Save
from ray_sched.core.errors import Code
from ray_sched.core.job import Job, from_record, to_record
from ray_sched.core.ledger import AudioState
from ray_sched.core.messages.agent_dispatcher import RunPartial
from ray_sched.core.messages.client_dispatcher import Accepted, Assigned, ClientBatch, ClientReply, Delivered, Submit
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.ports import Change, SaveJob
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import CleanupRules, DispatchRules
from ray_sched.store.redis_store import RedisStore
from ray_sched.wire.codec import decode, encode
from tests.support.builders import (
    EN_ES,
    ENGLISH,
    DispatchHarness,
    a_draining_node,
    a_node,
    a_spec,
    accepted,
    failed,
    finished,
    refused,
    stopped,
    told,
)
from tests.support.in_process import InProcess
from tests.support.redis import records, save
from tests.support.registry_harness import RegistryHarness

if TYPE_CHECKING:
    import redis

SECOND = np.zeros(16_000, np.int16)
UNREADABLE = b'{"job_id": "foreign", "state": "PENDING", "audio": "...."}'


def saved(effects: list[DispatchEffect]) -> list[Change]:
    return [effect.change for effect in effects if isinstance(effect, Save)]


async def restarted(store: RedisStore, now_ms: int) -> DispatchHarness:
    """A brain that knows what the store holds and nothing else."""
    harness = DispatchHarness()
    harness.now_ms = now_ms
    harness.brain.restore(read_jobs(await records(store)).readable, now_ms)
    return harness


# --- 1: jobs were stored with default fields left out and could not be read back ----------------------------------


async def test_bug_01_a_job_of_defaults_is_read_back_and_ack_timeout_failover_and_cleanup_do_something(
    store: RedisStore,
) -> None:
    before = DispatchHarness()
    before.offer(a_node("node-a", slots=4))
    await store.commit([c for n in range(3) for c in saved(before.send(Submit(spec=a_spec(f"r{n}"))))])
    harness = await restarted(store, before.now_ms)
    harness.poll()
    harness.offer(a_node("node-a", slots=4), a_node("node-b", slots=4))
    first, second, third = harness.brain.jobs
    harness.report(accepted(first), finished(first))
    assert harness.status(first) == "completed", "the acknowledgement and the result counted"
    harness.report(accepted(second))
    harness.report(failed(second))
    assert (harness.status(second), harness.job(second).node) == ("assigned", "node-b"), "failed over"
    harness.wait(11_000)
    assert harness.job(third).attempt == 2, "its push timed out"
    assert harness.clean_up(0).jobs >= 1
    assert first not in harness.brain.jobs


def test_bug_01_a_record_leaves_no_field_out() -> None:
    """The description alone leaves out what is as it is by default, which is what reading gives it back."""
    harness = DispatchHarness()
    job = harness.job(harness.submit(session="s", priority=3, deadline_ms=9_000, name="a.wav", trace_id="t"))
    raw = to_record(job).record
    assert set(msgspec.json.decode(raw)) == set(Job.__struct_encode_fields__)
    assert from_record(raw) == job


# --- 2: two representations of one job drifted apart; a dispatched job looked pending and failed after 10 s --------


async def test_bug_02_a_job_has_one_record_and_what_was_dispatched_is_still_so_after_a_restart(
    store: RedisStore, peek: "redis.Redis", prefix: str
) -> None:
    before = DispatchHarness()
    before.offer(a_node())
    await store.commit(saved(before.send(Submit(spec=a_spec(session="s")))))
    (job,) = before.brain.jobs
    await store.commit(saved(before.report(accepted(job))))
    keys = [str(key, "utf-8") if isinstance(key, bytes) else key for key in peek.keys(f"{prefix}:*")]
    assert [key for key in keys if job in key] == [f"{prefix}:job:{job}"]
    harness = await restarted(store, before.now_ms)
    harness.poll()
    harness.offer(a_node())
    assert harness.status(job) == "assigned"
    harness.report(accepted(job))
    harness.wait(30_000)
    assert harness.status(job) == "processing"
    harness.report(finished(job))
    assert harness.status(job) == "completed"


# --- 3: a key scan met keys of another type and the error hid the whole list ---------------------------------------


async def test_bug_03_a_key_of_another_type_and_a_foreign_record_hide_nothing_but_themselves(
    store: RedisStore, peek: "redis.Redis", prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    harness = DispatchHarness()
    await store.commit([c for n in range(3) for c in saved(harness.send(Submit(spec=a_spec(f"r{n}"))))])
    await store.commit([save("foreign", UNREADABLE), save("list", b"x")])
    peek.delete(f"{prefix}:job:list")
    peek.rpush(f"{prefix}:job:list", "a", "b")
    read = read_jobs(await records(store))
    assert {job.job_id for job in read.readable} == set(harness.brain.jobs)
    assert read.n_left_out == 1
    assert peek.get(f"{prefix}:job:foreign") == UNREADABLE, "kept aside for whoever can read it"
    assert peek.type(f"{prefix}:job:list") == b"list"
    assert "list instead of a record" in caplog.text


async def test_bug_03_one_unreadable_record_does_not_keep_the_dispatcher_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with InProcess() as system:
        harness = DispatchHarness()
        good = [to_record(harness.job(harness.submit("r1"))).record]

        async def load_jobs():  # type: ignore[no-untyped-def]  # noqa: ANN202  # a port's method
            for record in [UNREADABLE, *good, b"\x80", b""]:
                yield record

        system.store.load_jobs = load_jobs  # type: ignore[method-assign]  # what this Redis holds
        await system.dispatcher.restore()
        assert list(system.brain.jobs) == list(harness.brain.jobs)
        (line,) = [record.getMessage() for record in caplog.records if "cannot be taken up" in record.getMessage()]
        assert line.startswith("3 records of jobs cannot be taken up and are left where they are: ")


# --- 4: failover never found capacity; running counts only grew ----------------------------------------------------


def test_bug_04_a_slot_comes_back_whatever_way_an_attempt_ends_and_failover_finds_it() -> None:
    harness = DispatchHarness(DispatchRules(max_failovers=0, max_refusals=0, max_engine_retries=0))
    harness.offer(a_node(slots=1))
    ends = (finished, failed, refused, stopped)
    for number, end in enumerate(ends * 5):
        harness.now_ms += 60_000  # a node that refused or failed rests
        harness.offer(a_node(slots=1))
        job = harness.submit(f"r{number}", deadline_ms=120_000)
        assert harness.status(job) == "assigned"
        harness.report(accepted(job))
        assert (harness.acquired(), harness.free()) == (1, 0)
        harness.report(end(job))  # type: ignore[operator]  # each takes a job's id
        assert (harness.acquired(), harness.free()) == (0, 1)


def test_bug_04_failover_goes_to_the_node_that_has_room() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1), a_node("node-b", slots=1))
    job = harness.submit()
    first = harness.job(job).node
    harness.report(accepted(job), node=first)
    other = {"node-a": "node-b", "node-b": "node-a"}[first]
    harness.offer(a_node(other, slots=1))  # the pool names the first one no more
    assert (harness.job(job).node, harness.job(job).attempt) == (other, 2)


# --- 5: audio freed at dispatch left failover nothing to send; putting it back into the job brought the leak back --


async def test_bug_05_audio_freed_at_dispatch_leaves_failover_something_to_send() -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="0.2")
        async with system.client() as client, asyncio.timeout(20):
            handle = client.submit(SECOND, src="en", deadline_s=60)
            job = await handle.accepted()
            while system.brain.jobs[job].status != "processing":  # noqa: ASYNC110  # said by the agent in its own time
                await asyncio.sleep(0.005)
            while client.ledger.bytes_in(AudioState.STORED):  # noqa: ASYNC110  # until the push has returned
                await asyncio.sleep(0.005)
            assert client.ledger.bytes_in(AudioState.HELD) == SECOND.nbytes
            await system.add_node("b")
            await system.say_of_node("a", NodeStatus.LOST)
            result = await handle
            assert (result.node, result.text, result.attempt) == ("b", "echo of 16000 samples", 2)
            assert client.ledger.bytes_in() == 0
        sizes = [
            len(change.record) for commit in system.store.commits for change in commit if isinstance(change, SaveJob)
        ]
        assert max(sizes) < SECOND.nbytes / 8, "no record holds audio"


# --- 6: one failed job creation left the session stuck, lost the utterance and told nobody -------------------------


async def test_bug_06_an_utterance_that_fails_at_its_creation_is_told_and_its_session_goes_on() -> None:
    def broken() -> bytes:
        raise OSError("the microphone was pulled out")

    async with InProcess(DispatchRules(max_waiting_jobs_per_session=3)) as system:
        await system.add_node("a")
        async with system.client() as client, asyncio.timeout(20):
            audios: list[AudioSource] = [SECOND, broken, SECOND]
            handles = [client.submit(audio, src="en", session="s") for audio in audios]
            results = [await handle.result() for handle in handles]
            assert [result.status for result in results] == ["completed", "failed", "completed"]
            assert results[1].error is not None
            assert results[1].error.code is Code.INVALID_AUDIO
            assert [result.utterance_index for result in results] == [0, 1, 2]
            waiting = [client.submit(SECOND, src="de", session="s", deadline_s=60) for _ in range(3)]
            await asyncio.gather(*(handle.accepted() for handle in waiting))
            over = await client.submit(SECOND, src="en", session="s").result()
            assert over.error is not None
            assert over.error.code is Code.OVERLOADED
            await waiting[2].cancel()
            last = client.submit(SECOND, src="en", session="s", deadline_s=60)
            await last.accepted()
            assert last.utterance_index == 6, "what was refused has used no index"


# --- 7: cleaning up an old connection removed the node that had reconnected; slow to reach, slow to be missed ------


def test_bug_07_the_end_of_an_old_agent_does_not_remove_the_one_that_came_back() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.agent_died("node-a", 1, "its connection was cut", harness.now_ms)
    harness.wait(2_000)
    effects = harness.brain.agent_died("node-a", 1, "the old connection is cleaned up", harness.now_ms)
    assert effects == []
    assert (harness.brain.nodes["node-a"].incarnation, harness.status()) == (2, NodeStatus.REGISTERING)


def test_bug_07_a_new_node_is_given_work_at_once_and_a_dead_one_loses_it_at_once() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    assert [event.node for event in told(harness.offer(a_node("node-a")), Assigned)] == ["node-a"]
    harness.report(accepted(job))
    effects = harness.offer(a_node("node-b"))
    assert [(event.node, event.attempt) for event in told(effects, Assigned)] == [("node-b", 2)]


# --- 8: a blocking read on the shared connection held every other command ------------------------------------------


async def test_bug_08_a_long_read_holds_no_other_command(store: RedisStore) -> None:
    await store.commit([save(f"j{number}", b"x" * 600) for number in range(2_000)])
    reading = store.load_jobs()
    await anext(reading)
    await store.commit([save("j0")])  # while somebody is in the middle of a read
    await store.ping()
    assert len([record async for record in reading]) == 1_999


# --- 9: a scan under a global lock; a result checker with a period of 10 s -----------------------------------------


async def test_bug_09_a_result_is_delivered_by_its_arrival_and_by_no_timer() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client, asyncio.timeout(20):
            result = await client.submit(SECOND, src="en", session="s")
        assert result.text
        assert "tick" not in system.network.calls


def test_bug_09_a_step_with_ten_thousand_jobs_elsewhere_touches_none_of_them() -> None:
    harness = DispatchHarness()
    for number in range(2_000):
        harness.submit(f"w{number}", src="de", tgt="de", deadline_ms=600_000)
    harness.offer(a_node())
    job = harness.submit("r")
    effects = harness.run(job)
    assert {change.job_id for change in saved(effects) if isinstance(change, SaveJob)} == {job}


# --- 10: metrics were registered and never incremented -------------------------------------------------------------


def test_bug_10_every_counter_is_incremented_by_something() -> None:
    harness = DispatchHarness()
    counters = harness.brain.counters
    harness.offer(a_node("node-a", slots=4))
    harness.run(harness.submit("r1"))
    harness.submit("r1")  # a duplicate
    harness.refusal("r1", src="de", tgt="de")  # rejected
    held = [harness.submit(f"s{n}", session="s") for n in range(2)]
    harness.report(refused(held[0]))  # refused, and so requeued
    harness.now_ms += 2_000
    harness.offer(a_node("node-a", slots=4))
    harness.run(held[1])
    harness.wait(6_000)  # a gap is announced
    harness.offer(a_node("node-a", slots=4))
    harness.run(held[0])  # a late result
    harness.report(finished("nobody's"))  # a late message
    harness.submit("r2", src="fr", tgt="fr")
    harness.wait(11_000)  # no node
    harness.clean_up(0)
    never = [name for name, value in vars(counters).items() if not value]
    assert never == []
    assert set(vars(counters)) == set(vars(Counters()))


@pytest.mark.parametrize(
    ("reason", "spec", "node"),
    [
        (Reason.NOT_READY, {}, {"slots": 0, "why": Reason.NOT_READY, "status": "suspect"}),
        (Reason.DRAINING, {}, None),
        (Reason.TENANT_MISMATCH, {}, {"capability": Capability(engine="e", asr=("en",), tenant="acme")}),
        (Reason.SERVICE_MISSING, {"services": ("asr", "tts")}, {}),
        (Reason.ASR_LANG_UNSUPPORTED, {"src": "fr", "tgt": "fr"}, {}),
        (Reason.LANG_PAIR_UNSUPPORTED, {"tgt": "de", "services": ("asr", "mt")}, {"capability": EN_ES}),
        (Reason.TTS_LANG_UNSUPPORTED, {"services": ("asr", "tts")}, {"capability": EN_ES}),
        (Reason.GPU_REQUIRED, {"needs_gpu": True}, {}),
        (Reason.RESOURCE_THRESHOLD, {}, {"slots": 0, "why": Reason.RESOURCE_THRESHOLD}),
        (Reason.CAPACITY_FULL, {}, {"slots": 1, "total_slots": 1}),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
def test_bug_10_no_available_node_is_counted_by_reason(
    reason: Reason, spec: dict[str, Any], node: dict[str, object] | None
) -> None:
    harness = DispatchHarness()
    facts = dict(node or {})
    capability = facts.pop("capability", ENGLISH)
    assert isinstance(capability, Capability)
    offered = a_draining_node() if node is None else a_node(**facts)  # type: ignore[arg-type]  # as the table has them
    harness.offer(offered, capability=capability)
    if reason is Reason.CAPACITY_FULL:
        harness.report(accepted(harness.submit("first", audio_ms=60_000)))
    harness.submit("r1", **spec)
    harness.wait(11_000)
    assert harness.brain.counters.no_node.get(reason) == 1


def test_bug_10_every_refusal_is_counted_by_code() -> None:
    harness = DispatchHarness(DispatchRules(max_waiting_jobs=2))
    harness.submit("r1", session="s", utterance_index=0)
    harness.refusal("r2", session="s", utterance_index=0)
    harness.refusal("r1", session="t")
    harness.refusal("")
    harness.submit("r3")
    harness.refusal("r4")
    assert {str(code) for code in harness.brain.counters.rejected} == {
        "DUPLICATE_INDEX",
        "DUPLICATE_REQUEST",
        "INVALID_MESSAGE",
        "OVERLOADED",
    }


# --- 11: duplicate check, create and bind were three steps, and two creators both dispatched -----------------------


async def test_bug_11_two_who_submit_the_same_request_at_once_get_one_job_that_runs_once() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        submit = Submit(spec=a_spec("r1"))

        async def create() -> Accepted:
            raw = encode(ClientBatch(client_id="c", generation=1, messages=(submit, submit)))
            first, second = decode(await system.dispatcher.client(raw), ClientReply).answers
            assert isinstance(first, Accepted)
            assert first.job_id == getattr(second, "job_id", "")
            return first

        answers = await asyncio.gather(*(create() for _ in range(20)))
        assert len({answer.job_id for answer in answers}) == 1
        assert sum(not answer.is_duplicate for answer in answers) == 1
        assert system.brain.counters.assigned == 1
        assert len(system.brain.jobs) == 1


# --- the six cases of the clean-up ---------------------------------------------------------------------------------

AGE_MS = CleanupRules().keep_ms


class Kitchen(DispatchHarness):
    """Jobs of every status."""

    def __init__(self) -> None:
        super().__init__()
        self.offer(a_node(slots=100))

    def ended(self, how: str, request_id: str) -> str:
        job = self.submit(request_id)
        if how == "cancelled":
            self.cancel(job)
        elif how == "failed":
            self.report(accepted(job))
            self.report(failed(job))
            self.report(failed(job, 2))
        else:
            self.run(job, text="" if how == "completed_no_text" else "hello")
        assert self.status(job) == how
        return job


def test_cleanup_1_with_nothing_to_clean_nothing_happens() -> None:
    assert Kitchen().clean_up(AGE_MS).jobs == 0


def test_cleanup_2_pending_assigned_and_processing_jobs_are_kept_however_old() -> None:
    harness = Kitchen()
    pending = harness.submit("r1", src="de", tgt="de", deadline_ms=10**9)
    on_its_way = harness.submit("r2", audio_ms=86_400_000)
    processing = harness.submit("r3", audio_ms=86_400_000)
    harness.report(accepted(processing, audio_ms=86_400_000))
    harness.wait(2 * AGE_MS)
    assert harness.clean_up(AGE_MS).jobs == 0
    assert [harness.status(job) for job in (pending, on_its_way, processing)] == ["pending", "assigned", "processing"]


@pytest.mark.parametrize("how", ["completed", "failed", "completed_no_text", "cancelled"])
def test_cleanup_3_and_4_old_jobs_that_have_ended_go(how: str) -> None:
    harness = Kitchen()
    job = harness.ended(how, "r1")
    harness.now_ms += AGE_MS
    assert harness.clean_up(AGE_MS).jobs == 1
    assert job not in harness.brain.jobs


def test_cleanup_5_recently_ended_jobs_stay() -> None:
    harness = Kitchen()
    job = harness.ended("completed", "r1")
    harness.now_ms += AGE_MS - 1
    assert harness.clean_up(AGE_MS).jobs == 0
    assert harness.status(job) == "completed"


def test_cleanup_6_a_mixture_loses_only_the_old_ended_ones() -> None:
    harness = Kitchen()
    old = [harness.ended(how, how) for how in ("completed", "failed", "completed_no_text")]
    waiting = harness.submit("waiting", src="de", tgt="de", deadline_ms=10**9)
    harness.now_ms += AGE_MS
    young = harness.ended("completed", "young")
    assert harness.clean_up(AGE_MS).jobs == len(old)
    assert set(harness.brain.jobs) == {waiting, young}


def test_partial_texts_are_no_results_and_clean_nothing() -> None:
    harness = Kitchen()
    job = harness.submit("r1", wants_partials=True)
    harness.report(accepted(job), RunPartial(job_id=job, attempt=1, text="hel"))
    harness.now_ms += AGE_MS
    assert harness.clean_up(0).jobs == 0


def test_a_cleaned_job_was_delivered_first() -> None:
    harness = Kitchen()
    job = harness.submit("r1")
    effects = harness.run(job)
    assert [event.job_id for event in told(effects, Delivered)] == [job]
