"""Commits: steps that meet are saved together, a store that is away is asked again, one that was emptied is filled."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from ray_sched.actors.background import Background
from ray_sched.actors.commits import Commits
from ray_sched.core.ports import ForgetNode
from tests.support.in_process import MemoryStore

ONE, TWO, THREE = (ForgetNode(node_id=name) for name in ("one", "two", "three"))


class Writer:
    """Remembers what becomes of its store, and puts in everything again when it was emptied."""

    def __init__(self, store: MemoryStore) -> None:
        self.commits = Commits(store, self, Background("writer"))
        self.facts: list[str] = []
        self.everything: list[ForgetNode] = []

    def handle_store_away(self) -> None:
        self.facts.append("away")

    def handle_store_back(self) -> None:
        self.facts.append("back")

    def handle_store_emptied(self) -> Awaitable[None] | None:
        self.facts.append("emptied")
        return self.commits.ask(self.everything) if self.everything else None


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.002)


async def test_what_comes_during_a_commit_goes_into_the_next_one_together() -> None:
    store = MemoryStore()
    commits = Writer(store).commits
    first = commits.ask([ONE])
    await asyncio.sleep(0)
    others = [commits.ask([TWO]), commits.ask([THREE])]
    await asyncio.gather(first, *others)
    assert store.commits == [[ONE], [TWO, THREE]]
    assert commits.is_idle


async def test_a_step_that_saves_nothing_waits_for_those_before_it_and_writes_nothing() -> None:
    store = MemoryStore()
    commits = Writer(store).commits
    done: list[str] = []
    commits.ask([ONE]).add_done_callback(lambda _saved: done.append("saves"))
    commits.ask([]).add_done_callback(lambda _saved: done.append("saves nothing"))
    await until(lambda: len(done) == 2)
    assert done == ["saves", "saves nothing"]
    assert store.commits == [[ONE]]


async def test_a_store_that_is_away_is_told_once_and_has_the_changes_when_it_is_back() -> None:
    store = MemoryStore()
    writer = Writer(store)
    store.is_down = True
    saved = writer.commits.ask([ONE])
    await until(lambda: bool(writer.commits.store_error))
    assert writer.commits.store_error == "the test took it away"
    assert not saved.done()
    store.is_down = False
    await saved
    assert (store.commits, writer.facts, writer.commits.store_error) == ([[ONE]], ["away", "back"], "")


async def test_a_probe_notices_that_the_store_is_away_although_there_is_nothing_to_save() -> None:
    store = MemoryStore()
    writer = Writer(store)
    store.is_down = True
    writer.commits.probe()
    await until(lambda: writer.facts == ["away"])
    store.is_down = False
    await until(lambda: writer.facts == ["away", "back"])
    await until(lambda: writer.commits.is_idle)
    assert store.commits == []


async def test_a_store_that_was_emptied_is_filled_once_and_vouched_for_after_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    writer = Writer(store)
    writer.everything = [ONE, TWO]
    await store.vouch()
    store.empty()
    caplog.set_level(logging.ERROR)
    await writer.commits.ask([THREE])
    assert not store.is_vouched_for
    await until(lambda: store.is_vouched_for)
    assert (store.commits, writer.facts) == ([[THREE], [ONE, TWO]], ["emptied"])
    assert [record.getMessage() for record in caplog.records] == ["the test emptied it; all is written again"]
    store.empty()
    await writer.commits.ask([THREE])
    await until(lambda: store.is_vouched_for)
    assert writer.facts == ["emptied", "emptied"]


async def test_an_emptied_store_that_nobody_had_anything_in_is_vouched_for_at_once() -> None:
    store = MemoryStore()
    writer = Writer(store)
    await store.vouch()
    store.empty()
    writer.commits.probe()
    await until(lambda: store.is_vouched_for)
    assert store.commits == []
