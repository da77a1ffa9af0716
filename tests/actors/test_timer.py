import asyncio

import pytest

from ray_sched.actors.timer import Timer
from ray_sched.core.timers import Tick
from ray_sched.wire.keep_up import SURPRISES
from tests.support.in_process import Network


class Told:
    """An actor that counts its ticks, and takes as long as it is made to."""

    def __init__(self) -> None:
        self.ticks: list[str] = []
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def tick(self, what: str) -> None:
        self.ticks.append(what)
        await self.let_go.wait()


async def until_told(told: Told, n_ticks: int) -> None:
    async with asyncio.timeout(5):
        while len(told.ticks) < n_ticks:  # noqa: ASYNC110  # the timer is the thing tested
            await asyncio.sleep(0.002)


async def test_an_actor_is_told_its_tick_again_and_again() -> None:
    network, told = Network(), Told()
    network.actors["a"] = told
    Timer((Tick("a", "sweep", 5),), network)
    await until_told(told, 3)
    assert set(told.ticks) == {"sweep"}


async def test_a_slow_actor_is_not_told_again_before_it_has_answered_and_holds_up_nobody() -> None:
    network, slow, quick = Network(), Told(), Told()
    slow.let_go.clear()
    network.actors |= {"slow": slow, "quick": quick}
    Timer((Tick("slow", "t", 2), Tick("quick", "t", 2)), network)
    await until_told(quick, 10)
    assert len(slow.ticks) == 1
    slow.let_go.set()
    await until_told(slow, 2)


async def test_an_actor_that_fails_at_its_tick_is_told_again_and_its_failure_is_logged_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(Told):
        async def tick(self, what: str) -> None:
            await super().tick(what)
            raise KeyError(what)

    network, failing = Network(), Failing()
    network.actors["a"] = failing
    before = SURPRISES["the t tick of a"]
    Timer((Tick("a", "t", 2),), network)
    await until_told(failing, 3)
    assert SURPRISES["the t tick of a"] >= before + 2
    assert "a has failed at its t tick" in caplog.text


async def test_an_actor_that_is_away_is_told_again_when_it_is_back() -> None:
    network, told = Network(), Told()
    Timer((Tick("a", "t", 2),), network)
    await asyncio.sleep(0.02)
    network.actors["a"] = told
    await until_told(told, 1)
