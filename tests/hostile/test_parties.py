"""Clients, nodes and engines that mean harm, on the real shells.

Nobody crashes, nothing leaks, no job of another is touched.
"""

import asyncio
import logging
import string
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from ray_sched.actors.pool import Pool
from ray_sched.agent.agent import NodeAgent
from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, Work
from ray_sched.client.client import Client
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.leases.pool import PoolBrain
from ray_sched.core.ledger import AudioState
from ray_sched.core.messages.agent_dispatcher import (
    AgentBatch,
    AgentMessage,
    AgentOrders,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunRefused,
    RunStopped,
    StopRun,
)
from ray_sched.core.messages.agent_registry import Heartbeat
from ray_sched.core.messages.client_agent import Fetch, Push, PushItem
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Assigned,
    Cancel,
    ClientBatch,
    ClientMessage,
    ClientReply,
    Delivered,
    Mail,
    Poll,
    PushFailed,
    Refused,
    SpeechFetched,
    Submit,
)
from ray_sched.core.messages.pool_dispatcher import NodeOffer, PoolOffer
from ray_sched.core.messages.registry_dispatcher import PoolRemoved
from ray_sched.core.messages.registry_pool import PoolMembers
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.registry import RegistryBrain
from ray_sched.core.ports import Change
from ray_sched.core.rules import DispatchRules, NodeRules, PoolRules
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.wire.auth import agent_key, pool_key
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.samples import Samples
from tests.support.builders import a_beat, a_ray_node, a_spec
from tests.support.in_process import ENGLISH, InProcess

SECOND = np.zeros(16_000, np.int16)
SPEAKS = Capability(engine="echo", asr=("en",), tts=("en",))
GARBAGE: tuple[Any, ...] = (
    b"",
    b"\xc1",
    b"\x93garbage",
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 10_000,
    "text",
    None,
    7,
    {},
)


class Stranger:
    """Speaks to the Dispatcher as a client, in raw messages."""

    def __init__(self, system: InProcess, client_id: str = "stranger") -> None:
        self._system = system
        self._id = client_id

    async def send(self, *messages: ClientMessage) -> ClientReply:
        batch = ClientBatch(client_id=self._id, generation=1, messages=messages)
        return decode(await self._system.dispatcher.client(encode(batch)), ClientReply)

    async def poll(self, **facts: Any) -> Mail:
        poll = msgspec.structs.replace(Poll(client_id=self._id, generation=1, acked=0), **facts)
        return decode(await self._system.dispatcher.poll(encode(poll)), Mail)


async def waiting_job(client: Client) -> str:
    """A job that no node can do: it waits."""
    return await client.submit(SECOND, src="de", deadline_s=60).accepted()


# --- anybody ------------------------------------------------------------------------------------------------------


async def test_garbage_at_every_method_is_refused_and_changes_nothing() -> None:
    async with InProcess() as system:
        agent = await system.add_node("a")
        async with system.client() as client:
            job_id = await waiting_job(client)
            commits = len(system.store.commits)
            doors: list[Callable[[Any], Any]] = [
                system.dispatcher.client,
                system.dispatcher.poll,
                system.dispatcher.alive,
                system.dispatcher.agent,
                system.dispatcher.offer,
                system.dispatcher.pool_closed,
                Pool(PoolBrain("pool", 1, PoolRules()), system.network).members,
                lambda what: agent.push(what, []),
                agent.fetch_speech,
                agent.order,
            ]
            for door in doors:
                for what in GARBAGE:
                    with pytest.raises(SchedError) as error:
                        await door(what)
                    assert error.value.code is Code.INVALID_MESSAGE
            await system.dispatcher.tick("no such tick" * 1_000)
            assert len(system.store.commits) == commits
            assert system.brain.jobs[job_id].status == "pending"
            assert (await client.submit(SECOND, src="en")).node == "a"


@pytest.mark.parametrize(
    "key", [b"", b"x" * 16, pool_key(b"", "another pool"), pool_key(b"a secret of before", "pool")]
)
async def test_an_offer_members_and_an_end_that_are_not_of_their_pool_change_nothing(key: bytes) -> None:
    async with InProcess() as system:
        await system.add_node("a")
        mine = NodeOffer(node="a", incarnation=9, agent="agent:mine", status=NodeStatus.READY, slots=4, total_slots=4)
        offer = PoolOffer(pool="pool", key=key, epoch=9, number=9, capability=SPEAKS, term_ms=60_000, nodes=(mine,))
        members = PoolMembers(pool="pool", key=key, epoch=9, number=9, capability=SPEAKS, nodes=())
        pool = Pool(PoolBrain("pool", 1, PoolRules()), system.network)
        for door, forged in (
            (system.dispatcher.offer, offer),
            (system.dispatcher.pool_closed, PoolRemoved(pool="pool", key=key)),
            (pool.members, members),
        ):
            with pytest.raises(SchedError) as error:
                await door(encode(forged))
            assert error.value.code is Code.UNAUTHENTICATED
        assert [(node, state.incarnation) for node, state in system.brain.node_states.items()] == [("a", 1)]
        async with system.client() as client:
            assert (await client.submit(SECOND, src="en")).node == "a"


async def test_an_id_of_ten_megabytes_does_not_come_back_in_the_answer() -> None:
    async with InProcess() as system:
        with pytest.raises(SchedError) as error:
            await system.dispatcher.explain("x" * 10**7)
        assert error.value.code is Code.UNKNOWN_JOB
        assert len(error.value.message) < 1_000


# --- clients ------------------------------------------------------------------------------------------------------


async def test_a_client_cannot_touch_the_jobs_of_another() -> None:
    async with InProcess(DispatchRules(push_timeout_ms=60_000)) as system:
        agent = await system.add_node("a", capability=SPEAKS, speed="1")
        async with system.client() as owner:
            waiting = await waiting_job(owner)
            running = owner.submit(SECOND[:8_000], src="en", session="s", speech=True)
            job_id = await running.accepted()
            await until(lambda: system.brain.jobs[job_id].status == "processing")
            stranger = Stranger(system)
            for job in (waiting, job_id):
                reply = await stranger.send(
                    Cancel(job_id=job),
                    PushFailed(job_id=job, attempt=1, why="mine"),
                    SpeechFetched(job_id=job, attempt=1),
                )
                (answer,) = reply.answers
                assert isinstance(answer, Refused)
                assert answer.refusal.code is Code.UNKNOWN_JOB
            item = PushItem(
                job_id=job_id, attempt=2, src="en", tgt="en", services=("asr",), wants_partials=False, n_bytes=2
            )
            push = encode(Push(incarnation=1, items=(item,)))
            await agent.push(push, [np.zeros(2, np.uint8)])  # without a token: ignored
            with pytest.raises(SchedError, match="no token"):
                await agent.fetch_speech(encode(Fetch(job_id=job_id, attempt=1, token="0" * 32)))
            with pytest.raises(SchedError, match="from the dispatcher only"):
                await agent.order(encode(AgentOrders(incarnation=1, orders=(StopRun(job_id=job_id, attempt=1),))))
            result = await running
            assert (result.text, len(result.speech), result.attempt) == ("echo of 8000 samples", 16_000, 1)
            assert system.brain.jobs[waiting].status == "pending"
        await until(lambda: system.registry.beats["a"].audio_bytes == 0)
        assert system.registry.beats["a"].accepted == 1, "the push without a token was ignored"


async def test_absurd_numbers_and_texts_are_refused_before_they_are_sent() -> None:
    async with InProcess() as system, system.client() as client:
        for absurd in (
            {"deadline_s": float("nan")},
            {"deadline_s": float("inf")},
            {"deadline_s": 1e300},
            {"priority": 10**30},
            {"priority": 2**63},
            {"utterance_index": -1, "session": "s"},
            {"utterance_index": 2**64, "session": "s"},
            {"session": "s" * 10**7},
            {"session": "\ud800"},
            {"session": 5},
            {"request_id": "r" * 257},
            {"trace_id": object()},
            {"name": "n" * 10**7},
        ):
            with pytest.raises(SchedError) as error:
                client.submit(SECOND, src="en", **absurd)
            assert error.value.code is Code.INVALID_MESSAGE
            assert len(error.value.message) < 1_000
        for tag in ("\ud800", "e" * 10**6, 5):
            with pytest.raises(SchedError) as error:
                client.submit(SECOND, src=tag)  # type: ignore[arg-type]  # that is what is tested
            assert error.value.code is Code.INVALID_LANGUAGE
        assert client.ledger.bytes_in() == 0
        assert system.brain.jobs == {}


async def test_twenty_thousand_submits_in_one_batch_stay_within_the_bound() -> None:
    async with InProcess() as system:
        stranger = Stranger(system)
        reply = await stranger.send(*(Submit(spec=a_spec(f"r{n}", src="de", tgt="de")) for n in range(20_000)))
        accepted = [answer for answer in reply.answers if isinstance(answer, Accepted)]
        refused = [answer.refusal for answer in reply.answers if isinstance(answer, Refused)]
        assert 9_000 < len(accepted) <= 10_000, "the last places are kept for others"
        assert len(accepted) + len(refused) == 20_000
        assert {refusal.code for refusal in refused} == {Code.OVERLOADED}
        assert all(refusal.retry_after_ms > 0 for refusal in refused)
        assert len(system.brain.waiting) == len(accepted)


async def test_a_refusal_waits_for_no_commit() -> None:
    async with InProcess(DispatchRules(max_waiting_jobs_per_session=1)) as system:
        stranger = Stranger(system)
        await stranger.send(Submit(spec=a_spec("r1", session="s", src="de", tgt="de")))
        go_on = asyncio.Event()
        commit = system.store.commit

        async def slow(changes: Sequence[Change]) -> None:
            await go_on.wait()
            await commit(changes)

        system.store.commit = slow  # type: ignore[method-assign]  # that is what is tested
        saving = asyncio.create_task(stranger.send(Submit(spec=a_spec("r2", src="de", tgt="de"))))
        await asyncio.sleep(0)
        (answer,) = (await stranger.send(Submit(spec=a_spec("r3", session="s", src="de", tgt="de")))).answers
        assert isinstance(answer, Refused)
        assert answer.refusal.code is Code.OVERLOADED
        assert not saving.done()
        go_on.set()
        (taken,) = (await saving).answers
        assert isinstance(taken, Accepted)


async def test_acknowledgements_never_handed_out_and_endless_bytes_change_nothing() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        stranger = Stranger(system)
        first = (await stranger.send(Submit(spec=a_spec("r1")))).mail
        assert [type(event) for event in first.events] == [Assigned]
        await stranger.poll(epoch=first.epoch, acked=2**53, held_bytes=2**53, stored_bytes=2**53, is_resync=True)
        again = await stranger.poll(epoch="another", acked=1, is_resync=True)
        assert again.events == first.events


async def test_clients_that_come_and_go_leave_nothing_behind() -> None:
    async with InProcess(DispatchRules(client_ttl_ms=1)) as system:
        for number in range(300):
            await Stranger(system, f"guess-{number}").send(Submit(spec=a_spec("r", session=f"s{number}")))
        await asyncio.sleep(0.01)
        for _ in range(3):
            await system.dispatcher.tick("sweep")
            await asyncio.sleep(0.01)
        await system.dispatcher.cleanup(0)
        assert len(system.dispatcher.mailboxes) <= 1
        assert (len(system.brain.jobs), len(system.brain.sessions), len(system.brain.waiting)) == (0, 0, 0)


async def test_client_ids_cannot_be_guessed_and_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ids = set()
    async with InProcess() as system:
        await system.add_node("a")
        for _ in range(5):
            async with system.client() as client:
                handle = client.submit(SECOND, src="en", session="s")
                await handle
                ids.add(client.client_id)
                told = repr(
                    (
                        await system.dispatcher.status(),
                        await system.dispatcher.jobs(JobFilter(), 50),
                        await system.dispatcher.explain(handle.job_id),
                        system.registry.beats,
                    )
                )
                assert client.client_id not in told + caplog.text + handle.job_id
    assert all(len(client_id) == 32 and set(client_id) <= set(string.hexdigits) for client_id in ids)
    assert len(ids) == 5


# --- nodes --------------------------------------------------------------------------------------------------------


async def report(system: InProcess, node: str, *messages: AgentMessage, incarnation: int = 1) -> None:
    """As the node's own agent would: with the key of its incarnation."""
    key = agent_key(b"", node, incarnation)
    await system.dispatcher.agent(
        encode(AgentBatch(node=node, incarnation=incarnation, key=key, messages=messages)),
    )


async def test_a_node_that_answers_for_jobs_it_never_had_changes_none() -> None:
    async with InProcess(DispatchRules(push_timeout_ms=60_000)) as system:
        await system.add_node("good", speed="2")
        async with system.client() as client:
            running = client.submit(SECOND, src="en")
            job_id = await running.accepted()
            waiting = await waiting_job(client)
            for job in (job_id, waiting, "never-1"):
                await report(
                    system,
                    "evil",
                    RunAccepted(job_id=job, attempt=1, audio_ms=86_400_000, audio_bytes=2**53),
                    RunFinished(job_id=job, attempt=1, text="all your base", run_ms=1),
                    RunFailed(job_id=job, attempt=1, code=Code.ENGINE_FAILED, why="x"),
                    RunRefused(job_id=job, attempt=1, why="x"),
                    RunStopped(job_id=job, attempt=1),
                )
            assert (await running).text == "echo of 16000 samples"
            assert (await running).attempt == 1
            assert system.brain.jobs[waiting].status == "pending"
            assert system.brain.counters.late_messages >= 15


async def test_nobody_speaks_for_a_node_without_its_key() -> None:
    async with InProcess(DispatchRules(push_timeout_ms=60_000)) as system:
        await system.add_node("good", speed="2")
        async with system.client() as client:
            running = client.submit(SECOND, src="en")
            job_id = await running.accepted()
            lie = RunFinished(job_id=job_id, attempt=1, text="all your base", run_ms=1)
            for key in (b"", agent_key(b"", "evil", 1), agent_key(b"", "good", 2), b"x" * 64):
                with pytest.raises(SchedError) as error:
                    await system.dispatcher.agent(
                        encode(AgentBatch(node="good", incarnation=1, key=key, messages=(lie,))),
                    )
                assert error.value.code is Code.UNAUTHENTICATED
            assert (await running).text == "echo of 16000 samples"


async def test_a_node_that_refuses_everything_ends_the_job_and_not_the_scheduler() -> None:
    async with InProcess(DispatchRules(max_refusals=5)) as system:
        options: dict[str, Any] = {"refusal-percent": "100"}
        await system.add_node("lazy", **options)
        async with system.client() as client, asyncio.timeout(20):
            handle = client.submit(SECOND, src="en", deadline_s=30)
            while not handle.is_done:
                await system.dispatcher.tick("sweep")
                await asyncio.sleep(0.01)
            result = await handle.result()
        assert result.error is not None
        assert result.error.code is Code.NODE_REFUSED
        assert system.brain.node_states["lazy"].n_acquired == 0
        assert client.ledger.bytes_in(AudioState.STORED) == 0


async def test_models_that_nobody_has_heard_of_are_not_remembered() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            stranger = Stranger(system)
            for number in range(20):
                (answer,) = (await stranger.send(Submit(spec=a_spec(f"r{number}")))).answers
                assert isinstance(answer, Accepted)
                failed = RunFailed(
                    job_id=answer.job_id, attempt=1, code=Code.MODEL_NOT_AVAILABLE, why="x", service=f"s{number}"
                )
                await report(system, "a", failed)
                await stranger.send(Cancel(job_id=answer.job_id))
            assert system.brain.counters.requeued >= 20
            assert set(system.brain.node_states["a"].unavailable_until_ms) <= {"asr", "mt", "tts"}
            assert (await client.submit(SECOND, src="en")).node == "a"


def test_a_node_that_keeps_changing_what_it_can_opens_four_pools_and_no_more() -> None:
    registry = RegistryBrain(1, NodeRules(), PoolRules())
    registry.handle_ray_nodes([a_ray_node()], 0)
    for number in range(200):
        asr = (f"{string.ascii_lowercase[number % 26]}{string.ascii_lowercase[number // 26]}",)
        registry.handle_heartbeat(a_beat(capability=Capability(engine="echo", asr=asr)), number)
    assert len(registry.pools) == 4


def test_a_heartbeat_for_another_node_or_incarnation_changes_nothing() -> None:
    registry = RegistryBrain(1, NodeRules(), PoolRules())
    registry.handle_ray_nodes([a_ray_node()], 0)
    for node, incarnation in (("node-b", 1), ("node-a", 2), ("", 0), ("x" * 256, 2**53)):
        reply, effects = registry.handle_heartbeat(a_beat(node, incarnation), 1)
        assert not reply.is_current
        assert effects == []
    assert registry.pools == {}


def test_a_node_that_lies_about_its_load_gets_no_more_than_its_slots() -> None:
    registry = RegistryBrain(1, NodeRules(), PoolRules())
    registry.handle_ray_nodes([a_ray_node()], 0)
    registry.handle_heartbeat(a_beat(running=2**53, most_running=2**53, accepted=2**53, audio_bytes=2**53), 1)
    assert [node.declaration.slots for node in registry.nodes.values()] == [2]
    with pytest.raises(SchedError):
        decode(encode(a_beat(running=-1)), Heartbeat)


# --- engines ------------------------------------------------------------------------------------------------------


class Liar:
    """A host whose engine returns whatever it is told to."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.why_unhealthy = ""
        self.progress = ""
        self.is_stuck = False
        self.loads_in_s = 0.0
        self.loads_within_s = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def capability(self) -> Capability:
        return ENGLISH

    def admit(self, work: Work) -> str | None:
        del work
        return None

    async def run(
        self, work: Work, audio: Samples, emit_partial: Callable[[str], None], handle_loaded: Callable[[], None]
    ) -> EngineResult:
        del work, audio, handle_loaded
        for number in range(1_000):
            emit_partial(f"partial {number} \ud800")
        if isinstance(self.result, Exception):
            raise self.result
        result: EngineResult = self.result
        return result


async def add_liar(system: InProcess, result: Any) -> NodeAgent:
    await system.add_node("a")
    agent = NodeAgent(AgentOptions(node="a", incarnation=1, slots=4), Liar(result), system.network, 20, lambda: None)
    system._agents.append(agent)
    system.network.actors["agent:a"] = agent
    await until(lambda: agent.brain.is_loaded)
    return agent


@pytest.mark.parametrize(
    "result",
    [
        None,
        "text",
        EngineResult(text=None),  # type: ignore[arg-type]  # that is what is tested
        EngineResult(text="half a \ud800"),
        EngineResult(text="x" * 10**7),
        EngineResult(text="x", speech="not bytes"),  # type: ignore[arg-type]  # that is what is tested
        EngineResult(text="x", speech=b"xx", speech_rate_hz=-(2**70)),
        RuntimeError("no engine error at all"),
        ModelNotAvailableError("\ud800" * 1_000, "x" * 10**6),
    ],
    ids=["nothing", "a text", "no text", "half", "10 MB", "no bytes", "rate", "surprise", "service"],
)
async def test_a_result_that_cannot_be_passed_on_fails_its_job_and_frees_its_slot(result: Any) -> None:
    async with InProcess(DispatchRules(max_engine_retries=0, max_failovers=0)) as system:
        agent = await add_liar(system, result)
        async with system.client() as client, asyncio.timeout(20):
            ended = await client.submit(SECOND, src="en", partials=True).result()
        assert ended.error is not None
        assert ended.error.code in {Code.ENGINE_FAILED, Code.MODEL_NOT_AVAILABLE}
        assert len(ended.error.message) < 2_000
        await until(lambda: agent.brain.running == [])
        assert system.brain.node_states["a"].n_acquired == 0


async def test_a_talkative_engine_fills_no_memory() -> None:
    async with InProcess() as system:
        agent = await add_liar(system, EngineResult(text="done"))
        system.network.lose_requests["agent"] = 2
        async with system.client() as client, asyncio.timeout(20):
            handle = client.submit(SECOND, src="en", partials=True)
            result = await handle
            partials = [text async for text in handle.partials()]
        assert result.text == "done"
        assert len(partials) <= 2
        assert agent.brain.unsent_reports == 0


async def test_a_capability_that_cannot_be_is_said_in_every_heartbeat_and_leases_nothing() -> None:
    async with InProcess() as system:
        await system.add_node("good")
        liar = Liar(None)
        liar.capability = lambda: Capability(engine="e" * 10**7, asr=("English",))  # type: ignore[method-assign]  # a lie
        agent = NodeAgent(AgentOptions(node="b", incarnation=1, slots=4), liar, system.network, 20, lambda: None)
        system._agents.append(agent)
        await until(lambda: "b" in system.registry.beats and not system.registry.beats["b"].is_healthy)
        beat = system.registry.beats["b"]
        assert not beat.is_loaded
        assert beat.capability is None
        assert beat.why.startswith("the engine's capability cannot be")


# --- pushes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "audio_batch",
    [None, [], "bytes", [b"bytes"], [np.zeros(32_000)], [np.zeros((2, 2), np.uint8)], [None, None]],
    ids=["nothing", "empty", "text", "bytes", "floats", "a table", "too many"],
)
async def test_a_parcel_that_is_none_is_refused(audio_batch: Any) -> None:
    async with InProcess() as system:
        agent = await system.add_node("a")
        stranger = Stranger(system)
        mail = (await stranger.send(Submit(spec=a_spec("r1")))).mail
        (assigned,) = [event for event in mail.events if isinstance(event, Assigned)]
        item = PushItem(
            job_id=assigned.job_id,
            attempt=1,
            src="en",
            tgt="en",
            services=("asr",),
            wants_partials=False,
            n_bytes=32_000,
            token=assigned.token,
        )
        with pytest.raises(SchedError) as error:
            await agent.push(encode(Push(incarnation=1, items=(item,))), audio_batch)
        assert error.value.code is Code.INVALID_MESSAGE
        good = [np.zeros(32_000, np.uint8)]
        await agent.push(encode(Push(incarnation=1, items=(item,))), good)
        await until(lambda: len(system.dispatcher.mailboxes.of("stranger")) >= 2)
        again = await stranger.poll(epoch=mail.epoch, acked=mail.last)
        assert [event.outcome.text for event in again.events if isinstance(event, Delivered)] == [
            "echo of 16000 samples"
        ]


async def test_an_agent_whose_answer_never_comes_costs_a_failover_and_no_byte() -> None:
    async with InProcess(DispatchRules(push_timeout_ms=50)) as system:
        await system.add_node("mute")

        async def never(raw: bytes, *audio_batch: Any) -> bytes:
            del raw, audio_batch
            await asyncio.Event().wait()
            return b""

        system.network.actors["agent:mute"].push = never
        async with system.client(push_timeout_s=0.05) as client, asyncio.timeout(20):
            handle = client.submit(SECOND, src="en")
            await handle.accepted()
            await system.add_node("good")
            while not handle.is_done:
                await system.dispatcher.tick("sweep")
                await asyncio.sleep(0.01)
            result = await handle
            assert (result.node, result.attempts[0].node) == ("good", "mute")
            await until(lambda: client.ledger.bytes_in() == 0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # whatever it is, it has no event of its own
            await asyncio.sleep(0.005)
