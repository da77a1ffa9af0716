"""Batches without waiting."""

import asyncio

import pytest

from ray_sched.wire.outbox import Outbox, OutboxClosedError


class Recorder:
    """Takes batches; each call waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.let_go = asyncio.Event()
        self.is_broken = False

    async def send(self, batch: list[int]) -> list[int]:
        self.batches.append(batch)
        await self.let_go.wait()
        if self.is_broken:
            raise ConnectionError("broken")
        return [item * 10 for item in batch]


async def settle() -> None:
    """Let every task that can run, run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_put_while_a_call_is_in_flight_goes_together_in_the_next() -> None:
    to = Recorder()
    outbox: Outbox[int, int] = Outbox(to.send)
    outbox.put(1)
    await settle()
    for item in (2, 3, 4):
        outbox.put(item)
    await settle()
    assert to.batches == [[1]]
    to.let_go.set()
    await outbox.flush()
    assert to.batches == [[1], [2, 3, 4]]


async def test_a_batch_is_never_larger_than_its_bound() -> None:
    to = Recorder()
    to.let_go.set()
    outbox: Outbox[int, int] = Outbox(to.send, max_batch=2)
    for item in range(5):
        outbox.put(item)
    await outbox.flush()
    assert to.batches == [[0, 1], [2, 3], [4]]


async def test_each_who_asks_gets_the_reply_to_his_own_item() -> None:
    to = Recorder()
    to.let_go.set()
    outbox: Outbox[int, int] = Outbox(to.send)
    assert await asyncio.gather(*(outbox.ask(item) for item in (1, 2, 3))) == [10, 20, 30]


async def test_a_failed_call_fails_those_who_asked_tells_on_lost_and_the_next_call_works() -> None:
    to = Recorder()
    to.let_go.set()
    lost: list[list[int]] = []
    outbox: Outbox[int, int] = Outbox(to.send, on_lost=lambda items, _error: lost.append(items))
    to.is_broken = True
    with pytest.raises(ConnectionError):
        await outbox.ask(1)
    to.is_broken = False
    assert await outbox.ask(2) == 20
    assert lost == [[1]]


async def test_a_closed_outbox_takes_nothing_and_leaves_nobody_waiting() -> None:
    to = Recorder()
    outbox: Outbox[int, int] = Outbox(to.send)
    asked = [outbox.ask(1), outbox.ask(2)]
    await settle()
    late = outbox.ask(3)
    await outbox.close()
    with pytest.raises(OutboxClosedError):
        outbox.put(4)
    with pytest.raises(OutboxClosedError):
        await late
    for future in asked:
        assert future.cancelled() or isinstance(future.exception(), OutboxClosedError)
