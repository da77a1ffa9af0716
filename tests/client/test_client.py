"""The client against the real Dispatcher and agents, over a network that loses what a test tells it to lose."""

import asyncio
import os
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from ray_sched.client.client import Client
from ray_sched.client.options import ClientOptions
from ray_sched.client.results import Missing, Result
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.ledger import AudioState
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.rules import DeliveryRules, DispatchRules
from ray_sched.wire.peers import Payload
from ray_sched.wire.samples import Samples
from tests.support.in_process import InProcess, MemoryObjectStore

SECOND = np.zeros(16_000, np.int16)


async def test_a_submitted_utterance_is_recognised_and_its_audio_let_go() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            result = await client.submit(SECOND, src="en", name="hello")
            assert (result.text, result.node, result.audio_ms, result.name) == (
                "echo of 16000 samples",
                "a",
                1000,
                "hello",
            )
            assert client.ledger.bytes_in() == 0


@pytest.mark.parametrize("method", ["client", "poll", "push", "agent"])
@pytest.mark.parametrize("way", ["lose_requests", "lose_replies"])
async def test_each_job_ends_once_whatever_call_gets_lost(method: str, way: str) -> None:
    async with InProcess(DispatchRules(push_timeout_ms=100)) as system:
        await system.add_node("a")
        await system.add_node("b")
        getattr(system.network, way)[method] = 2
        async with system.client() as client, asyncio.timeout(20):
            sweeping = asyncio.create_task(sweep(system))
            results = [await handle.result() for handle in client.submit_many([SECOND] * 10, src="en")]
            sweeping.cancel()
        assert [result.status for result in results] == ["completed"] * 10
        assert len({result.job_id for result in results}) == 10
        assert system.brain.counters.submitted == 10


async def sweep(system: InProcess) -> None:
    while True:
        await system.dispatcher.tick("sweep")
        await asyncio.sleep(0.02)


async def test_while_redis_is_away_submits_are_refused_in_time_and_all_goes_on_by_itself() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            system.store.is_down = True
            refused = [await client.submit(SECOND, src="en").result() for _ in range(2)]
            assert [r.error.code for r in refused if r.error] == [Code.SCHEDULER_DEPENDENCY_DOWN] * 2
            system.store.is_down = False
            async with asyncio.timeout(5):
                while (result := await client.submit(SECOND, src="en").result()).error:  # noqa: ASYNC110  # asked anew
                    await asyncio.sleep(0.05)
            assert result.status == "completed"


async def test_a_job_that_was_taken_outlives_a_dispatcher_that_comes_back_without_its_store() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        handle = client.submit(SECOND, src="en", deadline_s=60)
        await handle.accepted()
        system.replace_dispatcher("boot2")
        system.store.is_down = True
        await system.dispatcher.tick("store")
        while not (await system.dispatcher.status()).store_error:  # noqa: ASYNC110  # the store tells nobody
            await asyncio.sleep(0.002)
        asked = system.network.calls["client"]
        while system.network.calls["client"] == asked:  # noqa: ASYNC110  # until it has submitted again
            await asyncio.sleep(0.002)
        system.store.is_down = False
        await system.add_node("a")
        assert (await handle).status == "completed"


async def test_nobody_is_told_what_is_not_saved() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            system.store.is_down = True
            handle = client.submit(SECOND, src="en")
            await handle.result()
            assert system.network.calls.get("push", 0) == 0


async def test_a_session_stream_tells_results_in_order_gaps_and_late_ones() -> None:
    async with InProcess(delivery=DeliveryRules(gap_wait_ms=50)) as system:
        await system.add_node("a")
        async with system.client() as client:
            stream = client.session("s")
            sweeping = asyncio.create_task(sweep(system))
            for index in (0, 2):
                await client.submit(SECOND, src="en", session="s", utterance_index=index).result()
            await client.submit(SECOND, src="en", session="s", utterance_index=1).result()
            told = [await anext(stream) for _ in range(4)]
            sweeping.cancel()
            stream.end()
            assert [what async for what in stream] == []
    kinds = [(type(w).__name__, w.utterance_index if isinstance(w, Result) else w.first_index) for w in told]
    assert kinds == [("Result", 0), ("Missing", 1), ("Result", 2), ("Result", 1)]
    assert isinstance(told[1], Missing)
    assert told[1].why == "not submitted"
    assert isinstance(told[3], Result)
    assert told[3].is_late


async def test_a_session_begins_at_the_index_that_its_user_names() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client, asyncio.timeout(20):
            stream = client.session("s", first_index=17)
            handles = client.submit_many([SECOND] * 3, src="en", session="s")
            told = [await anext(stream) for _ in range(3)]
            assert [what.utterance_index for what in told if isinstance(what, Result)] == [17, 18, 19]
            assert [handle.utterance_index for handle in handles] == [17, 18, 19]
            with pytest.raises(SchedError, match="the first index of a session is a whole number from 0 on, not -1"):
                client.session("s", first_index=-1)


async def test_a_stream_that_has_ended_may_be_ended_again_and_leaves_a_new_one_of_its_name_alone() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            old = client.session("s")
            old.end()
            new = client.session("s")
            old.end()
            assert [what async for what in old] == [what async for what in old] == []
            await client.submit(SECOND, src="en", session="s")
            assert (await anext(new)).session == "s"
        new.end()  # the client was closed, which has ended it
        assert [what async for what in new] == []


async def test_a_job_of_a_lost_node_is_sent_again_to_another_one() -> None:
    async with InProcess() as system:
        await system.add_node("slow", speed="0.5")
        async with system.client() as client:
            handle = client.submit(SECOND, src="en")
            await handle.accepted()
            async with asyncio.timeout(5):
                while system.registry.beats["slow"].running == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await system.add_node("fast")
            await system.say_of_node("slow", NodeStatus.LOST)
            result = await handle
            assert (result.node, result.attempt) == ("fast", 2)
            assert result.attempts[0].node == "slow"


async def test_a_source_is_read_only_when_a_node_is_ready() -> None:
    reads = []

    def source() -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        reads.append(1)
        return SECOND

    async with InProcess() as system, system.client() as client:
        handle = client.submit(source, src="en")
        await handle.accepted()
        assert reads == []
        assert client.ledger.bytes_in(AudioState.HELD) == 0
        await system.add_node("a")
        await handle
        assert reads == [1]


async def test_speech_is_fetched_from_the_node_before_the_job_completes() -> None:
    async with InProcess() as system:
        agent = await system.add_node("a", capability=Capability(engine="echo", asr=("en",), tts=("en",)))
        async with system.client() as client:
            result = await client.submit(SECOND + 7, src="en", speech=True)
            assert result.speech == (SECOND + 7).tobytes()
            assert result.speech_rate_hz == 16_000
            assert system.network.calls["fetch_speech"] == 1
            async with asyncio.timeout(5):
                while system.registry.beats["a"].speech_bytes:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        del agent


async def test_map_keeps_within_its_window_and_yields_everything() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        taken = 0
        done = 0

        def sources() -> object:
            nonlocal taken
            for _ in range(200):
                taken += 1
                assert taken - done <= 8
                yield SECOND

        async with system.client() as client:
            async for result in client.map(sources(), src="en", window=8):  # type: ignore[arg-type]  # a generator
                assert result.status == "completed"
                done += 1
        assert done == 200


async def test_an_overloaded_scheduler_is_asked_again_by_map_and_refuses_a_plain_submit() -> None:
    async with InProcess(DispatchRules(max_waiting_jobs=3)) as system, system.client() as client:
        handles = client.submit_many([SECOND] * 5, src="en")
        results = [await asyncio.wait_for(handle.result(), 5) for handle in handles[3:]]
        assert [r.error.code for r in results if r.error] == [Code.OVERLOADED] * 2
        assert all(r.error.retry_after_ms > 0 for r in results if r.error)
        mapped = asyncio.create_task(collect(client, 10))
        await system.add_node("a")
        assert await mapped == 10


async def collect(client: object, n_jobs: int) -> int:
    return len([r async for r in client.map([SECOND] * n_jobs, src="en") if r.error is None])  # type: ignore[attr-defined]


async def test_a_client_that_was_thought_gone_gets_the_result_it_missed() -> None:
    async with InProcess(DispatchRules(client_ttl_ms=50)) as system:
        await system.add_node("slow", speed="2")
        async with system.client() as client:
            handle = client.submit(SECOND, src="en")
            await handle.accepted()
            system.network.lose_requests["poll"] = 8
            sweeping = asyncio.create_task(sweep(system))
            result = await asyncio.wait_for(handle.result(), 10)
            sweeping.cancel()
            assert result.status == "completed"
            assert system.brain.counters.submitted == 1


async def test_open_jobs_are_submitted_again_to_a_dispatcher_that_knows_nothing() -> None:
    async with InProcess() as system, system.client() as client:
        handles = client.submit_many([SECOND] * 3, src="en")
        old_ids = [await handle.accepted() for handle in handles]
        system.replace_dispatcher("second life")
        await system.add_node("a")
        results = [await asyncio.wait_for(handle.result(), 10) for handle in handles]
        assert [result.status for result in results] == ["completed"] * 3
        assert not {result.job_id for result in results} & set(old_ids)


async def test_a_newer_process_of_the_same_client_id_takes_over() -> None:
    async with InProcess() as system, system.client(client_id="secret") as old:
        waiting = old.submit(SECOND, src="en", request_id="r")
        job_id = await waiting.accepted()
        async with system.client(client_id="secret") as new:
            again = new.submit(SECOND, src="en", request_id="r")
            assert await again.accepted() == job_id
            with pytest.raises(SchedError) as error:
                await waiting
            assert error.value.code is Code.CLIENT_REPLACED
            await system.add_node("a")
            assert (await again).job_id == job_id


async def test_a_session_is_numbered_as_it_was_submitted_whatever_has_to_be_read_first() -> None:
    may_be_read = threading.Event()

    def slow() -> Samples:
        may_be_read.wait(10)
        return SECOND

    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client, asyncio.timeout(20):
            first = client.submit(slow, src="en", session="s", request_id="first")
            second = client.submit(SECOND, src="en", session="s")
            assert (await client.submit(SECOND, src="en", session="another")).status == "completed"
            may_be_read.set()
            assert [(await handle).status for handle in (first, second)] == ["completed", "completed"]
            assert [handle.utterance_index for handle in (first, second)] == [0, 1]


async def test_a_client_cannot_touch_the_job_of_another() -> None:
    async with InProcess() as system, system.client() as owner, system.client() as stranger:
        handle = owner.submit(SECOND, src="en")
        foreign = stranger.submit(SECOND, src="en")
        await foreign.accepted()
        foreign.job_id = await handle.accepted()
        with pytest.raises(SchedError) as error:
            await foreign.cancel()
        assert error.value.code is Code.UNKNOWN_JOB
        await system.add_node("a")
        assert (await handle).status == "completed"


async def test_without_a_scheduler_a_submit_is_refused_after_its_retries() -> None:
    async with InProcess() as system:
        del system.network.actors["dispatcher"]
        async with system.client(retry_for_s=0.2) as client:
            result = await client.submit(SECOND, src="en").result()
    assert result.error is not None
    assert result.error.code is Code.SCHEDULER_NOT_RUNNING


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"src": "english"}, Code.INVALID_LANGUAGE),
        ({"src": "en", "tgt": "x"}, Code.INVALID_LANGUAGE),
        ({"src": "en", "priority": 5000}, Code.INVALID_MESSAGE),
        ({"src": "en", "session": "s" * 1000}, Code.INVALID_MESSAGE),
        ({"src": "en", "session": "s", "utterance_index": -1}, Code.INVALID_MESSAGE),
    ],
)
async def test_what_cannot_be_right_is_refused_at_once(options: dict[str, object], code: Code) -> None:
    async with InProcess() as system, system.client() as client:
        with pytest.raises(SchedError) as error:
            client.submit(SECOND, **options)  # type: ignore[arg-type]  # on purpose
        assert error.value.code is code
        assert client.ledger.bytes_in() == 0


class CountingObjectStore(MemoryObjectStore):
    def __init__(self) -> None:
        self.n_puts = 0

    def put(self, payloads: Sequence[Payload]) -> object:
        self.n_puts += 1
        return super().put(payloads)


@pytest.mark.parametrize(("inline_bytes", "n_puts"), [(SECOND.nbytes, 0), (SECOND.nbytes - 1, 1), (0, 1)])
async def test_little_audio_goes_in_the_call_and_much_through_the_store(inline_bytes: int, n_puts: int) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        object_store = CountingObjectStore()
        async with Client(system.network, object_store, ClientOptions(inline_bytes=inline_bytes)) as client:
            result = await client.submit(SECOND, src="en")
            assert (result.text, object_store.n_puts) == ("echo of 16000 samples", n_puts)


async def test_a_job_that_has_to_wait_holds_nothing_but_its_audio() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        object_store = CountingObjectStore()
        async with Client(system.network, object_store, ClientOptions(inline_bytes=0)) as client:
            waiting = client.submit(SECOND, src="de")
            await waiting.accepted()
            assert client.ledger.bytes_in(AudioState.STORED) == 0
            assert client.ledger.bytes_in(AudioState.HELD) == SECOND.nbytes


@pytest.mark.parametrize("request_id", ["", "mine"])
@pytest.mark.parametrize(("items", "error"), [([], "StopIteration: "), ([()], "TypeError: tuple is not ready")])
async def test_a_callable_that_raises_fails_its_job_at_once_whoever_chose_the_request_id(
    request_id: str, items: list[tuple[()]], error: str
) -> None:
    left = iter(items)

    def read() -> Samples:
        raise TypeError(f"{type(next(left)).__name__} is not ready")

    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client, asyncio.timeout(5):
            with pytest.raises(SchedError, match=f"the audio source raised {error}") as failure:
                await client.submit(read, src="en", request_id=request_id)
            assert failure.value.code is Code.INVALID_AUDIO
            assert len(client.ledger) == 0


async def test_a_job_of_a_closed_client_is_over_and_cancelling_it_changes_nothing() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            done, left = client.submit(SECOND, src="en"), client.submit(SECOND, src="fr")
            await done
            await left.accepted()
        await done.cancel()
        await left.cancel()
        assert [(await job.result()).status for job in (done, left)] == ["completed", "refused"]


async def test_an_unreadable_file_whose_name_is_no_text_is_a_failed_job_like_any_other() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            result = await client.submit(lambda: os.fsdecode(b"gone\xff.wav"), src="en").result()
            assert result.error is not None
            assert result.error.message == "there is no file gone\\udcff.wav; check the path"
            assert (await client.submit(SECOND, src="en")).status == "completed"
