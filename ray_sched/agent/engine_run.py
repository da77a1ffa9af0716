"""One run in the engine's host, from its start to the fact of its end.

Nobody has looked at what an engine returned or raised: here it becomes a fact whose fields have the types and lengths
of the messages that report it, or the failure of that engine.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.engine_errors import EngineCrashedError, EngineFailedError
from ray_sched.agent.recognition import passable
from ray_sched.core.agent.effects import RunDeclined, RunEnd, RunErred, RunReturned
from ray_sched.core.capability import Capability, Demand, served_as
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ, PushItem
from ray_sched.core.messages.fields import MAX_LONG_TEXT, MAX_TEXT
from ray_sched.core.messages.recognition import NO_HINTS, Recognition
from ray_sched.wire.codec import decode, encode, plain
from ray_sched.wire.samples import Samples

log = logging.getLogger(__name__)


class Host(Protocol):
    """Where the engine runs (``host.EngineHost``)."""

    async def start(self) -> None:
        """Load the engine in every slot."""
        ...

    async def stop(self) -> None:
        """End the engine and its processes."""
        ...

    def capability(self) -> Capability:
        """What is really installed."""
        ...

    def admit(self, work: Work) -> str | None:
        """Why this work is refused right now, or None."""
        ...

    async def run(
        self, work: Work, audio: Samples, emit_partial: Callable[[str], None], handle_loaded: Callable[[], None]
    ) -> EngineResult:
        """Run on a free slot. Cancel the task that awaits this to end the run.

        ``handle_loaded`` is called when it has waited for a model, and that is loaded.
        """
        ...

    @property
    def loads_in_s(self) -> float:
        """About how long a run that comes now waits for a model; 0: not at all, or nobody knows."""
        ...

    @property
    def loads_within_s(self) -> int:
        """How long it waits at most; 0: not at all."""
        ...

    @property
    def progress(self) -> str:
        """How far loading is, for people; empty if there is nothing to say."""
        ...

    @property
    def why_unhealthy(self) -> str:
        """What is wrong, or nothing."""
        ...

    @property
    def is_stuck(self) -> bool:
        """A run was cancelled and goes on in a thread of this process, which nothing but the end of it will end."""
        ...


def work_of(item: PushItem, capability: Capability) -> Work:
    """The work of a pushed job, as it is given to engines: a region that they do not know becomes its language."""
    src, tgt = item.src, item.tgt
    if "-" in src or "-" in tgt:
        demand = Demand(
            src=src, tgt=tgt, services=item.services, candidates=item.hints.candidates if item.hints else ()
        )
        src, tgt = served_as(demand, capability) or (src, tgt)
    return Work(
        job_id=item.job_id,
        attempt=item.attempt,
        src=src,
        tgt=tgt,
        services=item.services,
        wants_partials=item.wants_partials,
        has_own_pass=item.has_own_pass,
        hints=item.hints or NO_HINTS,
    )


async def run_to_end(
    host: Host,
    item: PushItem,
    audio: Samples,
    emit_partial: Callable[[str], None],
    handle_loaded: Callable[[], None],
) -> tuple[RunEnd, bytes]:
    """Run on a free slot; how it ended, and the speech. Raises nothing but CancelledError.

    ``emit_partial`` is called with texts that can travel, and only if the job's client wants them; ``handle_loaded`` if
    the run had to wait for its model.
    """

    def emit(text: str) -> None:
        if item.wants_partials:
            emit_partial(plain(text, MAX_LONG_TEXT))

    work = work_of(item, host.capability())
    try:
        return _passable(
            await host.run(work, audio, emit, handle_loaded), item, work, len(audio) * 1000 // SAMPLE_RATE_HZ
        )
    except Exception as error:  # noqa: BLE001  # whatever it is, the slot must not be lost with it
        end = _end_of(item, error)
        _forget_frames(error)
        return end, b""


def _end_of(item: PushItem, error: Exception) -> RunEnd:
    match error:
        case RefusedError():
            return RunDeclined(why=plain(str(error)))
        case ModelNotAvailableError():
            service = plain(error.service, MAX_TEXT)
            return RunErred(code=Code.MODEL_NOT_AVAILABLE, why=plain(error.message), service=service)
        case EngineCrashedError():
            return RunErred(code=Code.ENGINE_CRASHED, why=plain(str(error)), was_alone=error.was_alone)
        case EngineFailedError():
            return RunErred(code=Code.ENGINE_FAILED, why=plain(str(error)))
        case _:
            log.error("job %s attempt %d failed", item.job_id, item.attempt, exc_info=error)
            return RunErred(code=Code.ENGINE_FAILED, why=plain(f"{type(error).__name__}: {error}"))


def _forget_frames(error: BaseException | None) -> None:
    """Whoever keeps the error would keep, with the frames it went through, the audio that is freed now."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _passable(result: EngineResult, item: PushItem, work: Work, audio_ms: int) -> tuple[RunEnd, bytes]:
    """The result as a fact, or the failure of an engine that returned what cannot be passed on."""
    try:
        return _returned(result, passable(result.recognition, item, work.src, audio_ms)), result.speech
    except (SchedError, AttributeError, TypeError, ValueError, OverflowError) as error:
        why = plain(f"the engine's result cannot be passed on: {error}")
        return RunErred(code=Code.ENGINE_FAILED, why=why), b""


def _returned(result: EngineResult, recognition: Recognition | None) -> RunReturned:
    """The fact, read once as the Dispatcher will read it. Raises one of many errors if it is none."""
    if not isinstance(result.speech, bytes):
        raise TypeError(f"speech is {type(result.speech).__name__}, not bytes")
    fact = RunReturned(
        text=result.text,
        translation=result.translation,
        speech_bytes=len(result.speech),
        speech_rate_hz=result.speech_rate_hz,
        recognition=recognition,
    )
    return decode(encode(fact), RunReturned)
