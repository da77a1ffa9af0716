"""Work that goes on for ever, whatever it raises."""

import asyncio
import logging

import pytest

from ray_sched.core.errors import Code, SchedError
from ray_sched.wire.keep_up import SURPRISES, keep_up


class Work:
    """Fails with each of these errors, one after the other, then ends on purpose."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = iter(errors)

    async def __call__(self) -> None:
        if error := next(self._errors, None):
            raise error


async def test_it_begins_again_after_whatever_is_raised_and_ends_when_the_work_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = SURPRISES["the work"]
    await keep_up("the work", Work(RuntimeError("no"), OSError(28, "No space left on device")), pause_s=0.001)
    assert SURPRISES["the work"] == before + 2
    first, second = caplog.records
    assert first.getMessage() == "the work has failed and begins again in 0.001 s: RuntimeError: no"
    assert second.getMessage().endswith("in 0.002 s: OSError: [Errno 28] No space left on device")
    assert first.exc_info
    assert not second.exc_info, "once in a row is enough"


async def test_a_sentence_that_says_what_to_do_has_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    await keep_up("it", Work(SchedError(Code.PORT_IN_USE, "port 1 is in use")), pause_s=0.001)
    (record,) = caplog.records
    assert record.getMessage() == "it has failed and begins again in 0.001 s: port 1 is in use"
    assert (record.levelno, record.exc_info) == (logging.ERROR, None)


async def test_its_pauses_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr("ray_sched.wire.keep_up.asyncio.sleep", sleep)
    await keep_up("it", Work(*[RuntimeError()] * 9))
    assert paused == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]


async def test_it_is_cancelled_as_any_task_is() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_up("it", for_ever))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
