import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import numpy as np
import psutil
import pytest
from msgspec import structs

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.engine_errors import EngineCrashedError, EngineFailedError
from ray_sched.agent.host import EngineHost
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from tests.support.engines import MACHINE, ThreadEngine

DECLARED = Capability(engine="test", asr=("en",))
AUDIO = np.arange(16_000, dtype=np.int16)
HERE = "tests.support.engines."

MakeHost = Callable[..., Awaitable[EngineHost]]


def work(number: int = 1, src: str = "en") -> Work:
    return Work(job_id=f"b-{number}", attempt=1, src=src, tgt="es", services=("asr",))


class Ear:
    """Collects partials and lets a test wait for the first one."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._has_heard = asyncio.Event()

    def __call__(self, text: str) -> None:
        asyncio.get_running_loop()  # fails outside the event loop's thread
        self.heard.append(text)
        self._has_heard.set()

    async def first(self) -> str:
        async with asyncio.timeout(20):
            await self._has_heard.wait()
        return self.heard[0]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  the host has no event for this
            await asyncio.sleep(0)


@pytest.fixture
async def make_host() -> AsyncIterator[MakeHost]:
    hosts: list[EngineHost] = []

    async def make(engine: str = "CrashingEngine", slots: int = 1, **options: str) -> EngineHost:
        name = engine if engine == "echo" else HERE + engine
        host = EngineHost(name, DECLARED, options, slots, MACHINE, restart_backoff_s=0.01)
        hosts.append(host)
        await host.start()
        return host

    before = set(psutil.Process().children(recursive=True))
    yield make
    for host in hosts:
        await host.stop()
    assert set(psutil.Process().children(recursive=True)) <= before, "stop() leaves no process and no zombie"


def begin(host: EngineHost, work: Work, ear: Callable[[str], None] = print) -> asyncio.Task[EngineResult]:
    return asyncio.create_task(host.run(work, AUDIO, ear))


async def test_a_process_engine_runs_outside_the_agent_and_its_noise_does_no_harm(make_host: MakeHost) -> None:
    host, ear = await make_host(), Ear()
    result = await host.run(work(), AUDIO, ear)
    assert result.text == str(host.pids[0]) != str(os.getpid())
    assert result.speech == AUDIO.tobytes()
    assert ear.heard == ["heard 16000"]


async def test_audio_may_be_bytes_or_samples_in_either_isolation(make_host: MakeHost) -> None:
    for engine in ("PlainEngine", "ThreadEngine"):
        host = await make_host(engine)
        assert (await host.run(work(), AUDIO.tobytes(), print)).speech == AUDIO.tobytes()
        assert (await host.run(work(), AUDIO, print)).speech == AUDIO.tobytes()


async def test_every_slot_of_an_engine_that_cannot_be_shared_has_its_own_process(make_host: MakeHost) -> None:
    host = await make_host("PlainEngine", 2)
    results = await asyncio.gather(*(host.run(work(n), AUDIO, print) for n in (1, 2)))
    assert {result.text for result in results} == set(map(str, host.pids))
    assert len(host.pids) == 2


async def test_an_engine_that_can_be_shared_is_loaded_once_and_serves_all_slots_at_the_same_time(
    make_host: MakeHost,
) -> None:
    host = await make_host("SharedEngine", 4)
    results = await asyncio.gather(*(host.run(work(n, "meet"), AUDIO, print) for n in range(4)))
    assert [result.text for result in results] == [str(host.pids[0])] * 4
    assert len(host.pids) == 1


async def test_runs_are_dealt_out_to_the_replicas(make_host: MakeHost) -> None:
    host = await make_host("SharedEngine", 4, replicas="2")
    results = await asyncio.gather(*(host.run(work(n, "meet"), AUDIO, print) for n in range(4)))
    assert sorted(result.text for result in results) == sorted(2 * list(map(str, host.pids)))
    assert len(host.pids) == 2


async def test_partials_of_runs_in_one_process_reach_the_right_ears(make_host: MakeHost) -> None:
    host, ears = await make_host("SharedEngine", 4), [Ear() for _ in range(4)]
    runs = (host.run(work(n), AUDIO[: 1_000 * (n + 1)], ear) for n, ear in enumerate(ears))
    await asyncio.gather(*runs)
    assert [ear.heard for ear in ears] == [["heard 1000"], ["heard 2000"], ["heard 3000"], ["heard 4000"]]


@pytest.mark.parametrize(("src", "how"), [("die", "signal 9"), ("exit", "status 1")])
async def test_a_crash_of_a_shared_process_ends_all_its_runs_and_all_its_slots_come_back(
    src: str, how: str, make_host: MakeHost
) -> None:
    host, ear = await make_host("SharedEngine", 2), Ear()
    beside = begin(host, work(1, "hang"), ear)
    await ear.first()
    killer = begin(host, work(2, src))
    for run in (beside, killer):
        with pytest.raises(EngineCrashedError, match=f"ended with {how} in the middle of a run"):
            await run
    results = await asyncio.gather(*(host.run(work(n, "meet"), AUDIO, print) for n in (3, 4)))
    assert {result.text for result in results} == {str(host.pids[0])}


async def test_cancelling_one_run_of_a_shared_process_leaves_the_others_alone(make_host: MakeHost) -> None:
    host, ear = await make_host("SharedEngine", 3), Ear()
    stuck, waiting = begin(host, work(1, "hang"), ear), begin(host, work(2, "meet"))
    await ear.first()
    (pid,) = host.pids
    stuck.cancel()
    await asyncio.sleep(0)
    assert host.free_slots == 1
    assert (await host.run(work(3, "meet"), AUDIO, print)).text == (await waiting).text == str(pid)
    assert not stuck.done(), "its slot is not free"


async def test_a_run_that_goes_on_for_too_long_after_it_was_cancelled_takes_its_process_with_it(
    make_host: MakeHost,
) -> None:
    host = await make_host("SharedEngine", 3, **{"stuck-after-s": "1"})
    ears = [Ear(), Ear()]
    stuck, beside = (begin(host, work(n, "hang"), ear) for n, ear in enumerate(ears))
    for ear in ears:
        await ear.first()
    stuck.cancel()
    with pytest.raises(EngineCrashedError, match="with 1 others") as caught:
        await beside
    assert not caught.value.was_alone
    with pytest.raises(asyncio.CancelledError):
        await stuck
    assert host.free_slots == 3


async def test_on_threads_a_run_for_itself_begins_when_the_others_have_ended_and_is_blamed_alone(
    make_host: MakeHost,
) -> None:
    host = await make_host("SharedEngine", 4)
    first = begin(host, work(1, "meet"))
    beside = begin(host, work(2, "meet"))
    killer = begin(host, structs.replace(work(3, "die"), has_own_pass=True))
    late = begin(host, work(4, "hang"))
    assert (await first).text == (await beside).text
    with pytest.raises(EngineCrashedError, match=r"ended with signal 9 in the middle of a run$") as caught:
        await killer
    assert caught.value.was_alone
    with pytest.raises(RefusedError, match="before this run had begun"):
        await late


async def test_capability_and_admission_are_the_engines(make_host: MakeHost) -> None:
    host = await make_host()
    assert host.capability() == DECLARED
    assert host.admit(work()) is None
    assert host.admit(work(src="fr")) == "no French today"


async def test_a_crash_ends_the_run_and_the_slot_comes_back(make_host: MakeHost) -> None:
    host = await make_host()
    with pytest.raises(EngineCrashedError, match="ended with signal 9 in the middle of a run"):
        await host.run(work(src="die"), AUDIO, print)
    assert host.is_healthy
    assert (await host.run(work(2), AUDIO, print)).text == str(host.pids[0])


async def test_killing_the_process_from_outside_is_a_crash(make_host: MakeHost) -> None:
    host, ear = await make_host(), Ear()
    running = begin(host, work(src="hang"), ear)
    await ear.first()
    os.kill(host.pids[0], signal.SIGKILL)
    with pytest.raises(EngineCrashedError):
        await running
    await host.run(work(2), AUDIO, print)


async def test_cancelling_kills_a_stuck_process_and_starts_another(make_host: MakeHost) -> None:
    host, ear = await make_host(), Ear()
    running = begin(host, work(src="hang"), ear)
    await ear.first()
    (stuck,) = host.pids
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert host.free_slots == 1
    assert (await host.run(work(2), AUDIO, print)).text != str(stuck)
    assert not psutil.pid_exists(stuck)


async def test_cancelling_kills_the_programs_the_engine_started(make_host: MakeHost) -> None:
    host, ear = await make_host("ParentEngine"), Ear()
    running = begin(host, work(), ear)
    program = psutil.Process(int(await ear.first()))
    running.cancel()
    await asyncio.to_thread(psutil.wait_procs, [program], 10)
    assert not program.is_running() or program.status() == psutil.STATUS_ZOMBIE


async def test_a_run_that_waits_for_a_slot_can_be_cancelled(make_host: MakeHost) -> None:
    host, ear = await make_host("SlowEngine"), Ear()
    os.kill(host.pids[0], signal.SIGKILL)
    await until(lambda: not host.pids)
    waiting = begin(host, work(), ear)
    await asyncio.sleep(0)
    assert host.free_slots == 0
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert host.free_slots == 1


async def test_a_run_that_is_cancelled_before_it_began_leaves_the_slot_and_its_process_alone(
    make_host: MakeHost,
) -> None:
    host = await make_host()
    pids = host.pids
    running = begin(host, work(src="hang"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await host.run(work(), AUDIO, print)).text == str(pids[0])
    assert host.pids == pids


async def test_cancelling_a_run_that_has_ended_changes_nothing(make_host: MakeHost) -> None:
    host = await make_host()
    pids = host.pids
    running = begin(host, work())
    await running
    assert not running.cancel()
    assert (await host.run(work(), AUDIO, print)).text == str(pids[0])
    assert (host.pids, host.free_slots) == (pids, 1)


async def test_a_full_host_refuses(make_host: MakeHost) -> None:
    host, ear = await make_host(), Ear()
    begin(host, work(src="hang"), ear)
    await ear.first()
    assert host.admit(work(2)) == "all 1 slots of the engine are taken"
    with pytest.raises(RefusedError, match="all 1 slots"):
        await host.run(work(2), AUDIO, print)
    with pytest.raises(RefusedError, match="attempt 1 of job b-1 is running here already"):
        await host.run(work(), AUDIO, print)


@pytest.mark.parametrize("engine", ["CrashingEngine", "ThreadEngine"])
async def test_what_the_engine_raises_reaches_the_caller_and_the_slot_goes_on(engine: str, make_host: MakeHost) -> None:
    host = await make_host(engine)
    with pytest.raises(EngineFailedError, match=r"^ValueError: three legs$"):
        await host.run(work(src="raise"), AUDIO, print)
    with pytest.raises(ModelNotAvailableError, match="the weights are gone") as caught:
        await host.run(work(src="miss"), AUDIO, print)
    assert caught.value.service == "mt"
    with pytest.raises(RefusedError, match="too hot"):
        await host.run(work(src="refuse"), AUDIO, print)
    await host.run(work(), AUDIO, print)


async def test_a_cancelled_thread_keeps_its_slot_until_it_ends_and_its_result_is_thrown_away(
    make_host: MakeHost,
) -> None:
    ThreadEngine.go_on.clear()
    host, ear = await make_host("ThreadEngine"), Ear()
    running = begin(host, work(src="wait"), ear)
    await ear.first()
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
    assert not running.done(), "its slot is not free"
    assert (host.free_slots, host.is_healthy) == (0, True)
    ThreadEngine.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert host.free_slots == 1
    assert ear.heard == ["waiting"]
    assert (await host.run(work(2), AUDIO, ear)).text == str(os.getpid())


async def test_a_thread_that_goes_on_for_too_long_after_its_run_was_cancelled_makes_the_host_unhealthy(
    make_host: MakeHost,
) -> None:
    ThreadEngine.go_on.clear()
    host, ear = await make_host("ThreadEngine", 2, **{"stuck-after-s": "1"}), Ear()
    running = begin(host, work(src="wait"), ear)
    await ear.first()
    running.cancel()
    await until(lambda: host.is_stuck)
    assert host.why_unhealthy == "of its runs 1 went on for 1 s after they were cancelled"
    assert host.admit(work(2)) == host.why_unhealthy
    ThreadEngine.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (host.is_stuck, host.is_healthy) == (False, True)


async def test_an_engine_that_fails_different_jobs_in_a_row_is_loaded_anew_when_its_last_run_has_ended(
    make_host: MakeHost,
) -> None:
    host = await make_host("SharedEngine", 3)
    beside, (pid,) = begin(host, work(9, "meet")), host.pids
    for number in range(3):
        with pytest.raises(EngineFailedError):
            await host.run(work(number, "raise"), AUDIO, print)
    partner = begin(host, work(4, "meet"))  # it waits for the new process, so nobody meets the first one in the old
    await asyncio.sleep(0.1)
    assert host.pids == [pid]
    beside.cancel()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(asyncio.CancelledError):
        await beside
    results = await asyncio.gather(partner, host.run(work(5, "meet"), AUDIO, print))
    assert {result.text for result in results} == {str(host.pids[0])} != {str(pid)}


@pytest.mark.parametrize("engine", ["CrashingEngine", "SharedEngine"])
async def test_failures_of_one_job_or_with_a_success_between_them_say_nothing_of_the_engine(
    engine: str, make_host: MakeHost
) -> None:
    host = await make_host(engine)
    (pid,) = host.pids
    for number, src in enumerate(("raise", "raise", "en", "raise", "raise", "miss", "refuse", "miss", "refuse", "en")):
        with suppress(EngineFailedError, ModelNotAvailableError, RefusedError):
            await host.run(work(number, src), AUDIO, print)
    for _ in range(3):
        with pytest.raises(EngineFailedError):
            await host.run(work(8, "raise"), AUDIO, print)
        await host.run(work(9), AUDIO, print)
    assert (await host.run(work(10), AUDIO, print)).text == str(pid)
    for number in range(3):
        with pytest.raises(EngineFailedError):
            await host.run(work(number, "raise"), AUDIO, print)
    assert (await host.run(work(11), AUDIO, print)).text != str(pid)


async def test_an_engine_that_dies_while_loading_is_given_up_after_three_times(make_host: MakeHost) -> None:
    host = await make_host("UnloadableEngine")
    assert not host.is_healthy
    assert host.why_unhealthy == "the engine's process ended with signal 9 while loading"
    assert host.admit(work()) == host.why_unhealthy
    with pytest.raises(RefusedError, match="while loading"):
        await host.run(work(), AUDIO, print)


async def test_an_engine_that_says_what_it_misses_is_given_up_at_once(make_host: MakeHost) -> None:
    host = await make_host("IncompleteEngine", 2)
    assert host.why_unhealthy == "the weights are missing; put them there"


async def test_a_stopped_host_ends_its_runs_and_refuses_more(make_host: MakeHost) -> None:
    host, ear = await make_host(), Ear()
    running = begin(host, work(src="hang"), ear)
    await ear.first()
    (pid,) = host.pids
    await host.stop()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not psutil.pid_exists(pid)
    with pytest.raises(RefusedError, match="the engine was stopped"):
        await host.run(work(2), AUDIO, print)


async def test_echo_runs_in_threads(make_host: MakeHost) -> None:
    host = await make_host("echo", 4)
    results = await asyncio.gather(*(host.run(work(n), AUDIO, print) for n in range(4)))
    assert [result.text for result in results] == ["echo of 16000 samples"] * 4
    assert host.pids == []


def test_wrong_options_are_told_before_anything_starts() -> None:
    with pytest.raises(SchedError) as caught:
        EngineHost("echo", DECLARED, {"speed": "fast"}, 1, MACHINE)
    assert caught.value.code is Code.INVALID_CONFIGURATION


ORPHAN = """
import asyncio, os, sys
from ray_sched.agent.host import EngineHost
from ray_sched.core.capability import Capability
from tests.support.engines import MACHINE

async def main():
    host = EngineHost("tests.support.engines.PlainEngine", Capability(engine="test"), {}, 1, MACHINE)
    await host.start()
    print(host.pids[0], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_engine_dies_with_its_agent() -> None:
    agent = await asyncio.create_subprocess_exec(sys.executable, "-c", ORPHAN, stdout=asyncio.subprocess.PIPE)
    assert agent.stdout is not None
    engine = psutil.Process(int(await agent.stdout.readline()))
    agent.kill()
    await agent.wait()
    await asyncio.to_thread(psutil.wait_procs, [engine], 10)
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
