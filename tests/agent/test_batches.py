"""Runs that share a pass of one model, in a real process."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from ray_sched.agent.engine import EngineResult, RefusedError, Work
from ray_sched.agent.engine_errors import EngineCrashedError, EngineFailedError
from ray_sched.agent.host import EngineHost
from ray_sched.core.capability import Capability
from tests.support.engines import MACHINE

DECLARED = Capability(engine="test", asr=("en",))


class Model:
    """A host of one batch engine, its one process held in a pass until the test releases it."""

    def __init__(self, folder: Path, **options: str) -> None:
        self._release = folder / "release"
        options = {"release": str(self._release)} | {name.replace("_", "-"): text for name, text in options.items()}
        self.host = EngineHost("tests.support.engines.BatchEngine", DECLARED, options, 8, MACHINE)

    async def hold(self) -> None:
        """Begin a pass that goes on until :meth:`release`."""
        holding = asyncio.Event()
        self.holder = self.begin("holder", "hld", emit_partial=lambda _: holding.set())
        async with asyncio.timeout(20):
            await holding.wait()

    def release(self) -> None:
        self._release.touch()

    def begin(
        self,
        job_id: str,
        src: str = "en",
        tgt: str = "es",
        *,
        n_samples: int = 160,
        has_own_pass: bool = False,
        emit_partial: Callable[[str], None] = print,
    ) -> asyncio.Task[EngineResult]:
        work = Work(job_id=job_id, attempt=1, src=src, tgt=tgt, services=("asr",), has_own_pass=has_own_pass)
        return asyncio.create_task(self.host.run(work, np.full(n_samples, ord(job_id[0]), np.int16), emit_partial))


MakeModel = Callable[..., Awaitable[Model]]


@pytest.fixture
async def make_model(tmp_path: Path) -> AsyncIterator[MakeModel]:
    made: list[Model] = []

    async def make(*, is_held: bool = True, **options: str) -> Model:
        model = Model(tmp_path, **options)
        made.append(model)
        await model.host.start()
        if is_held:
            await model.hold()
        return model

    yield make
    for model in made:
        await model.host.stop()


async def test_what_came_during_a_pass_shares_the_next_one_if_its_key_is_the_same(make_model: MakeModel) -> None:
    model = await make_model()
    runs = [model.begin("a"), model.begin("b", "fr"), model.begin("c"), model.begin("d", "fr")]
    await asyncio.sleep(0)
    model.release()
    results = await asyncio.gather(*runs)
    assert [result.text for result in results] == ["a c", "b d", "a c", "b d"]
    assert [result.speech[:1] for result in results] == [b"a", b"b", b"c", b"d"]
    assert (await model.holder).text == "holder"
    assert len(model.host.pids) == 1


@pytest.mark.parametrize(
    ("options", "texts"),
    [({"max_batch": "2"}, ["a b", "a b", "c"]), ({"max_batch_audio_s": "1"}, ["a", "b c", "b c"])],
)
async def test_a_pass_holds_no_more_than_it_may(
    options: dict[str, str], texts: list[str], make_model: MakeModel
) -> None:
    model = await make_model(**options)
    runs = [model.begin("a", n_samples=12_000), model.begin("b", n_samples=8_000), model.begin("c", n_samples=8_000)]
    await asyncio.sleep(0)
    model.release()
    assert [result.text for result in await asyncio.gather(*runs)] == texts


async def test_an_idle_model_waits_for_company_as_long_as_it_is_told(make_model: MakeModel) -> None:
    model = await make_model(is_held=False, max_batch="2", max_batch_wait_ms="60000")
    first = model.begin("a")
    await asyncio.sleep(0.05)
    assert not first.done()
    assert (await model.begin("b")).text == (await first).text == "a b"


async def test_one_run_of_a_batch_may_fail_and_the_others_have_their_results(make_model: MakeModel) -> None:
    model = await make_model()
    odd, good = model.begin("a", tgt="odd"), model.begin("b")
    await asyncio.sleep(0)
    model.release()
    with pytest.raises(EngineFailedError, match=r"^ValueError: odd$"):
        await odd
    assert (await good).text == "a b"


@pytest.mark.parametrize("how", ["strict", "short"])
async def test_the_runs_of_a_batch_that_fails_as_a_whole_are_run_by_themselves(how: str, make_model: MakeModel) -> None:
    model = await make_model()
    culprit, good = model.begin("a", tgt=how), model.begin("b")
    await asyncio.sleep(0)
    model.release()
    assert (await good).text == "b"
    if how == "strict":
        assert (await culprit).text == "a"
    else:
        with pytest.raises(EngineFailedError, match="run_batch returned 0 results for 1 runs"):
            await culprit


async def test_the_crash_of_a_batch_is_blamed_on_its_runs_and_on_no_other(make_model: MakeModel) -> None:
    model = await make_model()
    killer, beside, waiting = model.begin("a", tgt="kil"), model.begin("b"), model.begin("c", "fr")
    await asyncio.sleep(0)
    model.release()
    for run in (killer, beside):
        with pytest.raises(EngineCrashedError, match="ended with signal 9 in the middle of a run, with 1 others") as it:
            await run
        assert not it.value.was_alone
    with pytest.raises(RefusedError, match="ended with signal 9 before this run had begun"):
        await waiting
    assert (await model.begin("d")).text == "d"


async def test_a_process_that_is_killed_from_outside_in_the_middle_of_a_batch_comes_back(make_model: MakeModel) -> None:
    model = await make_model()
    os.kill(model.host.pids[0], signal.SIGKILL)
    with pytest.raises(EngineCrashedError, match=r"in the middle of a run$") as caught:
        await model.holder
    assert caught.value.was_alone
    assert (await model.begin("a")).text == "a"


async def test_a_run_that_has_its_pass_for_itself_is_blamed_alone(make_model: MakeModel) -> None:
    model = await make_model()
    innocent, killer = model.begin("a", has_own_pass=True), model.begin("b", tgt="kil", has_own_pass=True)
    after = model.begin("c")
    await asyncio.sleep(0)
    model.release()
    assert (await innocent).text == "a"
    with pytest.raises(EngineCrashedError, match=r"in the middle of a run$") as caught:
        await killer
    assert caught.value.was_alone
    with pytest.raises(RefusedError):
        await after


async def test_a_run_that_is_cancelled_before_its_pass_frees_its_slot_at_once(make_model: MakeModel) -> None:
    model = await make_model()
    dropped, other = model.begin("a"), model.begin("b")
    await asyncio.sleep(0)
    assert model.host.free_slots == 5
    dropped.cancel()
    async with asyncio.timeout(20):
        while model.host.free_slots < 6:  # noqa: ASYNC110  # the host has no event for this
            await asyncio.sleep(0.005)
    model.release()
    assert (await other).text == "b"


async def test_a_run_whose_key_cannot_be_found_fails_alone(make_model: MakeModel) -> None:
    model = await make_model()
    with pytest.raises(EngineFailedError, match="LookupError: nobody speaks xx"):
        await model.begin("a", "xx")
    model.release()
    assert (await model.begin("b")).text == "b"
