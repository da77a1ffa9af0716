import asyncio
import logging

import numpy as np
import pytest

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.agent_dispatcher import AgentBatch, RunFinished
from ray_sched.core.messages.client_dispatcher import Alive, ClientBatch, ClientReply, Mail, Poll, Refused, Submit
from ray_sched.core.messages.client_dispatcher import JobSpec as Spec
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.ports import ForgetJob, SaveJob
from ray_sched.wire.auth import agent_key
from ray_sched.wire.codec import decode, encode
from tests.support.in_process import InProcess

SECOND = np.zeros(16_000, np.int16)


async def test_each_clean_up_logs_one_line_with_count_and_bytes(caplog: pytest.LogCaptureFixture) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            for handle in client.submit_many([SECOND] * 3, src="en"):
                await handle
        records = {
            change.job_id: len(change.record)
            for commit in system.store.commits
            for change in commit
            if isinstance(change, SaveJob)
        }
        caplog.set_level(logging.INFO)
        caplog.clear()
        removed = await system.dispatcher.cleanup(0)
        lines = [record.getMessage() for record in caplog.records if "clean-up" in record.getMessage()]
        n_bytes = sum(records.values())
        assert lines == [f"clean-up: 3 finished jobs removed ({n_bytes} bytes), 0 younger ones kept"]
        assert removed == {"jobs": 3, "record_bytes": n_bytes, "kept": 0}
        forgotten = [change for change in system.store.commits[-1] if isinstance(change, ForgetJob)]
        assert {change.job_id for change in forgotten} == set(records)


async def test_the_clean_up_tick_keeps_what_ended_within_the_keep_time() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            await client.submit(SECOND, src="en")
        await system.dispatcher.tick("cleanup")
        assert len(system.brain.jobs) == 1


async def test_a_message_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    async with InProcess() as system:
        for method in (
            system.dispatcher.client,
            system.dispatcher.poll,
            system.dispatcher.agent,
            system.dispatcher.offer,
        ):
            with pytest.raises(SchedError) as error:
                await method(b"\x93garbage")
            assert error.value.code is Code.INVALID_MESSAGE
        assert system.store.commits == []


async def test_one_job_costs_two_commits_and_a_batch_of_jobs_costs_no_more() -> None:
    async with InProcess() as system:
        await system.add_node("a", slots=64)
        async with system.client() as client:
            await client.submit(SECOND, src="en")
            assert len(system.store.commits) == 2
            await client.submit_many([SECOND] * 50, src="en")[-1]
            assert len(system.store.commits) <= 2 + 8
            assert system.network.calls["push"] <= 1 + 4


async def test_events_are_repeated_until_they_are_acknowledged() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        submit = Submit(spec=Spec(request_id="r", src="en", tgt="en"))
        batch = ClientBatch(client_id="c", generation=1, messages=(submit,))
        reply = decode(await system.dispatcher.client(encode(batch)), ClientReply)
        assert [type(event).__name__ for event in reply.mail.events] == ["Assigned"]

        async def poll(acked: int, *, is_resync: bool) -> Mail:
            asked = Poll(client_id="c", generation=1, epoch=reply.mail.epoch, acked=acked, is_resync=is_resync)
            return decode(await system.dispatcher.poll(encode(asked)), Mail)

        again = await poll(0, is_resync=True)
        assert again.events == reply.mail.events
        assert (await poll(again.last, is_resync=True)).events == ()


async def test_a_second_process_with_an_older_start_is_told_that_it_was_replaced() -> None:
    async with InProcess() as system:
        new = ClientBatch(client_id="c", generation=2, messages=())
        old = ClientBatch(client_id="c", generation=1, messages=())
        await system.dispatcher.client(encode(new))
        reply = decode(await system.dispatcher.client(encode(old)), ClientReply)
        assert reply.mail.refusal is not None
        assert reply.mail.refusal.code is Code.CLIENT_REPLACED


async def test_a_client_that_says_only_that_it_lives_has_nothing_assigned_and_an_older_process_says_it_in_vain() -> (
    None
):
    async with InProcess() as system:
        submit = Submit(spec=Spec(request_id="r", src="en", tgt="en"))
        await system.dispatcher.client(encode(ClientBatch(client_id="c", generation=2, messages=(submit,))))
        await system.dispatcher.alive(encode(Alive(client_id="c", generation=1)))
        assert not system.brain.waiting.is_paused("c")
        await system.dispatcher.alive(encode(Alive(client_id="c", generation=2)))
        await system.add_node("a")
        (job,) = system.brain.jobs.values()
        assert job.status == "pending"
        poll = Poll(client_id="c", generation=2, epoch="", acked=0)
        mail = decode(await system.dispatcher.poll(encode(poll)), Mail)
        assert [type(event).__name__ for event in mail.events] == ["Assigned"]


async def test_polls_offers_and_sweeps_do_not_wait_for_a_store_that_is_away() -> None:
    async with InProcess() as system:
        system.store.is_down = True
        submit = Submit(spec=Spec(request_id="r", src="en", tgt="en"))
        batch = ClientBatch(client_id="c", generation=1, messages=(submit,))
        async with asyncio.timeout(10):
            reply = decode(await system.dispatcher.client(encode(batch)), ClientReply)
            await system.say_of_node("a", NodeStatus.READY)
            await system.dispatcher.tick("sweep")
            asked = Poll(client_id="c", generation=1, epoch="", acked=0, is_resync=False)
            mail = decode(await system.dispatcher.poll(encode(asked)), Mail)
        (answer,) = reply.answers
        assert isinstance(answer, Refused)
        assert answer.refusal.code is Code.SCHEDULER_DEPENDENCY_DOWN
        assert mail.events == ()
        system.store.is_down = False
        await until_store_error(system, is_there=False)
        again = decode(await system.dispatcher.client(encode(batch)), ClientReply)
        assert [type(event).__name__ for event in again.mail.events] == ["Assigned"]


async def test_a_submit_that_was_refused_because_it_could_not_be_saved_has_never_been() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client, asyncio.timeout(10):
            system.store.is_down = True
            refused = await client.submit(SECOND, src="en", session="s", request_id="r").result()
            assert refused.error is not None
            assert refused.error.code is Code.SCHEDULER_DEPENDENCY_DOWN
            system.store.is_down = False
            await until_store_error(system, is_there=False)
            stream = client.session("s")
            result = await client.submit(SECOND, src="en", session="s", request_id="r").result()
            assert (result.status, result.utterance_index) == ("completed", 0)
            assert await anext(stream) == result
        assert [job.job_id for job in system.brain.jobs.values()] == [result.job_id]
        assert sum(node_state.n_acquired for node_state in system.brain.node_states.values()) == 0


async def test_everything_is_written_again_into_a_store_that_was_emptied() -> None:
    async with InProcess() as system:
        await system.dispatcher.restore()
        await system.add_node("a")
        async with system.client() as client:
            done = client.submit_many([SECOND] * 3, src="en")
            waits = client.submit(SECOND, src="de", deadline_s=60)
            ids = {await handle.accepted() for handle in (*done, waits)}
            for handle in done:
                await handle
            system.store.empty()
            await system.dispatcher.tick("store")
            async with asyncio.timeout(5):
                while not system.store.is_vouched_for:  # noqa: ASYNC110  # the store tells nobody
                    await asyncio.sleep(0.002)
            saved = [change for commit in system.store.commits for change in commit]
            assert {change.job_id for change in saved if isinstance(change, SaveJob)} == ids
            assert (await client.submit(SECOND, src="en")).error is None


async def test_an_idle_scheduler_notices_that_its_store_is_away_and_that_it_is_back() -> None:
    async with InProcess() as system:
        system.store.is_down = True
        await system.dispatcher.tick("store")
        await until_store_error(system, is_there=True)
        system.store.is_down = False
        await until_store_error(system, is_there=False)


async def until_store_error(system: InProcess, *, is_there: bool) -> None:
    async with asyncio.timeout(5):
        while bool((await system.dispatcher.status()).store_error) is not is_there:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_who_gives_up_waiting_for_a_commit_does_not_call_it_off() -> None:
    async with InProcess() as system:
        await system.add_node("a", speed="0.1")
        async with system.client() as client:
            handle = client.submit(SECOND, src="en")
            report = RunFinished(job_id=await handle.accepted(), attempt=1, text="heard", run_ms=1)
            system.store.is_down = True
            batch = AgentBatch(node="a", incarnation=1, key=agent_key(b"", "a", 1), messages=(report,))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await system.dispatcher.agent(encode(batch))
            system.store.is_down = False
            assert (await handle).text == "heard"
