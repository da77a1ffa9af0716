"""A model that is needed rarely: its process ends when nobody needs it, and a job that comes starts it again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from ray_sched.agent.engine import EngineResult, RefusedError, Work
from ray_sched.agent.host import EngineHost
from ray_sched.core.capability import Capability
from ray_sched.core.errors import SchedError
from tests.support.engines import MACHINE

DECLARED = Capability(engine="test", asr=("en",))
AUDIO = np.zeros(1_600, dtype=np.int16)

MakeHost = Callable[..., Awaitable[EngineHost]]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110  # the host has no event for this
            await asyncio.sleep(0.01)


@pytest.fixture
async def make_host(tmp_path: Path) -> AsyncIterator[MakeHost]:
    hosts: list[EngineHost] = []

    async def make(slots: int = 1, **options: str) -> EngineHost:
        told = {"folder": str(tmp_path), "idle-unload-s": "1"} | {k.replace("_", "-"): v for k, v in options.items()}
        host = EngineHost("tests.support.engines.HeavyEngine", DECLARED, told, slots, MACHINE, restart_backoff_s=0.01)
        hosts.append(host)
        await host.start()
        return host

    before = set(psutil.Process().children(recursive=True))
    yield make
    for host in hosts:
        await host.stop()
    assert set(psutil.Process().children(recursive=True)) <= before, "stop() leaves no process and no zombie"


class Caller:
    """Who runs work on a host, and how often it was told that a model had to be loaded first."""

    def __init__(self, host: EngineHost) -> None:
        self.host = host
        self.n_waited = 0
        self._n_runs = 0

    def begin(self, src: str = "en") -> "asyncio.Task[EngineResult]":
        self._n_runs += 1
        work = Work(job_id=f"j{self._n_runs}", attempt=1, src=src, tgt=src, services=("asr",))
        return asyncio.create_task(self.host.run(work, AUDIO, lambda _text: None, self._handle_loaded))

    def _handle_loaded(self) -> None:
        self.n_waited += 1


def n_loads(folder: Path) -> int:
    return len((folder / "loads").read_text())


async def test_the_memory_of_a_model_nobody_needs_is_given_back_and_a_job_loads_it_again(
    make_host: MakeHost,
) -> None:
    host = await make_host(2, hold_mb="100")
    caller = Caller(host)
    assert (host.progress, host.loads_in_s, host.loads_within_s) == ("", 0.0, 0)
    engine = psutil.Process(host.pids[0])
    assert engine.memory_info().rss > 100 * 2**20
    first = await caller.begin()
    await until(lambda: not host.pids)
    assert not engine.is_running()
    about_s = max(round(host.loads_in_s), 1)
    assert host.progress == f"unloaded (loads in about {about_s} s)"
    assert (host.why_unhealthy, host.free_slots, host.loads_within_s) == ("", 2, 600)
    again = await caller.begin()
    assert (again.text, caller.n_waited) == (str(host.pids[0]), 1)
    assert again.text != first.text
    assert (host.progress, host.loads_in_s) == ("", 0.0)
    await caller.begin()
    assert caller.n_waited == 1, "it was loaded"


async def test_jobs_that_come_while_a_model_loads_wait_for_that_one_load(make_host: MakeHost, tmp_path: Path) -> None:
    host = await make_host(2)
    caller = Caller(host)
    await until(lambda: not host.pids)
    (tmp_path / "closed").touch()
    runs = [caller.begin(), caller.begin()]
    await until(lambda: n_loads(tmp_path) == 2)
    assert host.progress.startswith("loads again (about ")
    assert host.free_slots == 0
    (tmp_path / "closed").unlink()
    results = await asyncio.gather(*runs)
    assert {result.text for result in results} == {str(host.pids[0])}
    assert (n_loads(tmp_path), caller.n_waited) == (2, 2)


async def test_as_many_replicas_are_woken_as_are_needed(make_host: MakeHost, tmp_path: Path) -> None:
    host = await make_host(2, replicas="2")
    caller = Caller(host)
    await until(lambda: not host.pids)
    (tmp_path / "busy").touch()
    run = caller.begin("stay")
    await until(lambda: caller.n_waited == 1)
    assert len(host.pids) == 1
    assert host.progress.startswith("1 of 2 replicas: unloaded (loads in about ")
    assert host.loads_in_s > 0, "no slot is free in the one that is loaded"
    more = caller.begin("stay")
    await until(lambda: caller.n_waited == 2)
    assert len(host.pids) == 2
    (tmp_path / "busy").unlink()
    results = await asyncio.gather(run, more)
    assert {result.text for result in results} == set(map(str, host.pids))


async def test_a_model_that_runs_is_not_idle(make_host: MakeHost, tmp_path: Path) -> None:
    host = await make_host(2)
    (pid,) = host.pids
    (tmp_path / "busy").touch()
    run = Caller(host).begin("stay")
    assert not (await asyncio.wait([run], timeout=1.5))[0], "longer than it may be idle"
    assert host.pids == [pid]
    (tmp_path / "busy").unlink()
    assert (await run).text == str(pid)


async def test_a_load_that_takes_too_long_refuses_the_job_and_is_tried_again(
    make_host: MakeHost, tmp_path: Path
) -> None:
    host = await make_host(load_timeout_s="1")
    caller = Caller(host)
    await until(lambda: not host.pids)
    (tmp_path / "closed").touch()
    with pytest.raises(RefusedError, match="the engine has not loaded again within 1 s"):
        await caller.begin()
    await until(lambda: n_loads(tmp_path) == 3)
    assert host.why_unhealthy == ""
    (tmp_path / "closed").unlink()
    await caller.begin()


async def test_a_job_that_is_cancelled_while_its_model_loads_leaves_the_slot(
    make_host: MakeHost, tmp_path: Path
) -> None:
    host = await make_host()
    caller = Caller(host)
    await until(lambda: not host.pids)
    (tmp_path / "closed").touch()
    run = caller.begin()
    await until(lambda: n_loads(tmp_path) == 2)
    run.cancel()
    await asyncio.wait([run])
    assert (run.cancelled(), host.free_slots) == (True, 1)
    (tmp_path / "closed").unlink()
    await caller.begin()
    assert n_loads(tmp_path) == 2


async def test_an_unloaded_host_ends_like_any_other(make_host: MakeHost) -> None:
    host = await make_host()
    await until(lambda: not host.pids)
    await host.stop()
    assert host.why_unhealthy == "the engine was stopped"


def test_an_engine_in_threads_cannot_be_unloaded_and_says_so() -> None:
    with pytest.raises(SchedError) as refused:
        EngineHost("echo", DECLARED, {"idle-unload-s": "60"}, 1, MACHINE)
    assert str(refused.value) == "idle-unload-s ends the engine's process, and this engine has none: leave it out"
    with pytest.raises(SchedError, match="option idle-unload-s is 'soon'; it must be a whole number from 0 to 2592000"):
        EngineHost("tests.support.engines.HeavyEngine", DECLARED, {"idle-unload-s": "soon"}, 1, MACHINE)
