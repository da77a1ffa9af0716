"""A trial in a process of its own: everything it started ends with it, and Ray reads its environment anew.

One line of JSON goes in, what to do; lines come out: steps, and at the end its result or why there is none.
The process leaves, and ends its cluster, when its stdin is closed: by a parent that wants no more, or has died.
"""

import asyncio
import logging
import os
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any, overload

import msgspec
from msgspec import Struct

from ray_sched.bench.contest import Notify
from ray_sched.bench.engine_trial import EngineRun, EngineTrial, run_engine_trial
from ray_sched.bench.environment import EnvironmentPlan, isolated_contestant
from ray_sched.bench.trial import Trial, TrialResult, run_trial
from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import Settings, checked_settings

_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from ray_sched.bench.trial_process import main; main()"
_LONGEST_LINE = 2**24
_QUIET_S = 60.0


class Order(Struct, frozen=True, kw_only=True):
    """Parent to process, first and once: which contestant, where, and what to measure."""

    contestant: str
    environment: EnvironmentPlan
    trial: Trial | EngineTrial
    settings: dict[str, Any]


class Step(Struct, frozen=True, tag=True):
    """Process to parent, often: what it does now."""

    sentence: str


class Done(Struct, frozen=True, tag=True):
    """Process to parent, last: the result of the trial."""

    results: TrialResult | EngineRun


class Failed(Struct, frozen=True, tag=True):
    """Process to parent instead of Done: an error that was to be expected."""

    code: Code
    message: str


Answer = Step | Done | Failed
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


class TrialFailedError(Exception):
    """The process ended without an answer; what it printed is on stderr."""


@overload
async def in_a_process(
    settings: Settings, contestant: str, environment: EnvironmentPlan, trial: Trial, notify: Notify
) -> TrialResult: ...
@overload
async def in_a_process(
    settings: Settings, contestant: str, environment: EnvironmentPlan, trial: EngineTrial, notify: Notify
) -> EngineRun: ...
async def in_a_process(
    settings: Settings, contestant: str, environment: EnvironmentPlan, trial: Trial | EngineTrial, notify: Notify
) -> TrialResult | EngineRun:
    """Start the process, pass on its steps, and wait for its end. Raises SchedError, TrialFailedError."""
    order = Order(
        contestant=contestant, environment=environment, trial=trial, settings=settings.model_dump(mode="json")
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, *sys.path),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,  # Ctrl-C is for the parent, which lets the process end in order
        limit=_LONGEST_LINE,
    )
    try:
        return await _result(process, order, notify)
    finally:
        await _end(process)


async def _result(process: Process, order: Order, notify: Notify) -> TrialResult | EngineRun:
    assert process.stdin is not None  # noqa: S101  it was made with pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(msgspec.json.encode(order) + b"\n")
    async for line in process.stdout:
        match _answers.decode(line):
            case Step(sentence):
                notify(sentence)
            case Done(results):
                return results
            case Failed(code, message):
                raise SchedError(code, message)
    raise TrialFailedError(f"the trial of {order.contestant} ended with exit status {await process.wait()}")


async def _end(process: Process) -> None:
    """Close its stdin and wait until it has ended its cluster; one that does not is killed, and Ray ends with it."""
    assert process.stdin is not None  # noqa: S101  it was made with a pipe
    process.stdin.close()
    try:
        async with asyncio.timeout(_QUIET_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def main() -> None:
    """Run the one trial that stdin asks for."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Ray prints

    def answer(what: Answer) -> None:
        answers.write(msgspec.json.encode(what) + b"\n")
        answers.flush()

    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    with suppress(asyncio.CancelledError, BrokenPipeError):
        asyncio.run(_obey(order, answer))


async def _obey(order: Order, answer: Callable[[Answer], None]) -> None:
    _leave_when_stdin_ends()

    def notify(what: str) -> None:
        answer(Step(what))

    try:
        settings = checked_settings(order.settings, "the order")
        async with isolated_contestant(settings, order.environment, order.contestant, notify) as one:
            match order.trial:
                case EngineTrial() as trial:
                    results: TrialResult | EngineRun = await run_engine_trial(one, trial, notify)
                case Trial() as trial:
                    results = await run_trial(one, trial, notify)
    except SchedError as error:
        answer(Failed(error.code, error.message))
    else:
        answer(Done(results))


def _leave_when_stdin_ends() -> None:
    """Call off the task that calls this once the parent closes the pipe or is gone."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  it is called by one

    def watch() -> None:
        os.read(0, 1)
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(task.cancel)

    threading.Thread(target=watch, name="stdin", daemon=True).start()
