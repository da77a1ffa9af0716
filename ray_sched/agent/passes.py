"""The passes of an engine in its replica's process: runs that wait are gathered, run, and answered for.

Which runs share a pass is decided by :mod:`ray_sched.core.agent.batches`.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import NoReturn, cast

from ray_sched.agent.audio_memory import AudioView
from ray_sched.agent.engine import BatchEngine, BatchItem, Engine, EngineResult, ModelNotAvailableError, RefusedError
from ray_sched.agent.engine_messages import (
    DropRun,
    EngineFailed,
    EngineFinished,
    FromProcess,
    LoadEngine,
    PartialEmitted,
    PassBegan,
    RunDropped,
    RunWork,
    describe_error,
    passable,
)
from ray_sched.core.agent.batches import PassQueue
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

logger = logging.getLogger(__name__)

Reply = Callable[[FromProcess], None]
Outcome = EngineResult | Exception


class Passes:
    """One engine's runs. Each thread that calls ``work`` makes one pass at a time."""

    def __init__(self, engine: Engine, load: LoadEngine, reply: Reply) -> None:
        self._engine = engine
        self._batches = cast("BatchEngine", engine) if load.is_batched else None
        self._audio = AudioView(load.audio)
        self._reply = reply
        self._has_many_slots = load.slots > 1
        self.at_once = 1 if self._batches else load.slots
        """How many passes there may be at the same time, and so how many threads have something to do."""
        self._queue = PassQueue(load.limits, self.at_once)
        self._messages: dict[int, RunWork] = {}
        """The runs that wait."""
        self._changed = threading.Condition()

    def put(self, message: RunWork) -> None:
        """A run has come. From any thread."""
        try:
            key = self._key(message)
        except Exception as error:
            logger.exception("job %s attempt %d cannot be batched", message.work.job_id, message.work.attempt)
            self._reply(EngineFailed(message.run, describe_error(error)))
            return
        audio_ms = message.n_bytes * 1000 // (SAMPLE_RATE_HZ * BYTES_PER_SAMPLE)
        with self._changed:
            self._messages[message.run] = message
            self._queue.add(message.run, key, audio_ms, _now_ms(), is_alone=message.work.has_own_pass)
            self._changed.notify()

    def drop(self, message: DropRun) -> None:
        """A run is not wanted any more; what has begun goes on. From any thread."""
        with self._changed:
            has_dropped = self._queue.drop(message.run)
            if has_dropped:
                del self._messages[message.run]
        if has_dropped:
            self._reply(RunDropped(message.run))

    def work(self) -> NoReturn:
        """Make one pass after another, for ever."""
        while True:
            self._pass(self._begin())
            with self._changed:
                self._queue.end()
                self._changed.notify()

    def _begin(self) -> list[RunWork]:
        with self._changed:
            while not (runs := self._queue.begin(now_ms := _now_ms())):
                due_at_ms = self._queue.due_at_ms
                self._changed.wait(None if due_at_ms is None else (due_at_ms - now_ms) / 1000)
            messages = [self._messages.pop(run) for run in runs]
            if self._messages:
                self._changed.notify()  # another thread may begin what came while nothing could
            return messages

    def _key(self, message: RunWork) -> Hashable:
        return self._batches.batch_key(message.work) if self._batches else None

    def _pass(self, messages: Sequence[RunWork]) -> None:
        if self._has_many_slots and (self._batches or messages[0].work.has_own_pass):
            self._reply(PassBegan(tuple(message.run for message in messages)))
        items = [self._item(message) for message in messages]
        outcomes = self._run_batch(self._batches, items) if self._batches else [self._run(items[0])]
        for message, outcome in zip(messages, outcomes, strict=True):
            self._reply(_answer(message, outcome))

    def _item(self, message: RunWork) -> BatchItem:
        run, audio = message.run, self._audio.samples(message.place, message.n_bytes)
        return BatchItem(message.work, audio, lambda text: self._reply(PartialEmitted(run, text)))

    def _run(self, item: BatchItem) -> Outcome:
        try:
            return self._engine.run(*item)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001  # it is answered, and logged then
            return error

    def _run_batch(self, engine: BatchEngine, items: Sequence[BatchItem]) -> list[Outcome]:
        """An outcome for each. What a batch raises may be the fault of one: then each is run by itself."""
        try:
            outcomes = list(engine.run_batch(items))
            if len(outcomes) != len(items):
                raise ValueError(f"run_batch returned {len(outcomes)} results for {len(items)} runs")  # noqa: TRY301  # as if it had raised it
        except BrokenPipeError:
            raise
        except (ModelNotAvailableError, RefusedError) as error:
            return [error] * len(items)
        except Exception as error:
            if len(items) == 1:
                return [error]
            logger.exception("a batch of %d runs failed; now each is run by itself", len(items))
            return [outcome for item in items for outcome in self._run_batch(engine, [item])]
        return outcomes


def _answer(message: RunWork, outcome: Outcome) -> EngineFinished | EngineFailed:
    if not isinstance(outcome, Exception):
        try:
            return passable(EngineFinished(message.run, outcome))
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it, this run has failed
            outcome = error
    match outcome:
        case ModelNotAvailableError():
            return EngineFailed(message.run, outcome.message, missing_service=outcome.service)
        case RefusedError():
            return EngineFailed(message.run, str(outcome), is_refusal=True)
        case _:
            logger.error("job %s attempt %d failed", message.work.job_id, message.work.attempt, exc_info=outcome)
            return EngineFailed(message.run, describe_error(outcome))


def _now_ms() -> int:
    return round(time.monotonic() * 1000)
