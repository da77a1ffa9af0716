"""The engine protocol: what a model has to offer to run jobs on a node.

An engine never touches Ray, Redis or the network. It runs outside the agent's event loop (``isolation``), so
that a stuck or crashing model never silences a heartbeat.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol

from msgspec import Struct

from ray_sched.core.capability import Capability
from ray_sched.core.messages.recognition import NO_HINTS, NOTHING_MORE, Hints, Recognition
from ray_sched.wire.samples import Samples


class Work(Struct, frozen=True, kw_only=True):
    """One attempt of one job, as it is given to an engine."""

    job_id: str
    attempt: int
    src: str
    """As the engine's capability has it, ``en`` where a job says ``en-US``; ``auto`` if the engine is to find out."""
    tgt: str
    services: tuple[str, ...]
    """Sorted names out of ``asr``, ``mt``, ``tts``."""
    wants_partials: bool = False
    """Whether anybody looks at what is recognised so far; an engine for which it costs something may leave it out."""
    has_own_pass: bool = False
    """Nothing else is in the model while this runs: a process has ended in a pass that it was in."""
    hints: Hints = NO_HINTS
    """What the job says beyond that; leave out what cannot be used."""


class EngineResult(Struct, frozen=True, kw_only=True):
    """What a run produced. An empty ``text`` means that nothing was said."""

    text: str
    translation: str = ""
    speech: bytes = b""
    """Signed 16-bit mono samples, little endian; empty unless ``tts`` was asked for."""
    speech_rate_hz: int = 0
    recognition: Recognition = NOTHING_MORE
    """What is known beyond the text; times are put in order and into the audio by whoever passes them on."""


class ModelNotAvailableError(Exception):
    """A model this run needs is not there at the moment, so it is tried elsewhere; nothing counts as failed.

    ``service``: ``asr``, ``mt`` or ``tts``, which is skipped on this node for a while; anything narrower, such as
    ``mt:cs:en`` for a language that was found and cannot be translated here, is not.
    """

    def __init__(self, service: str, message: str) -> None:
        super().__init__(message)
        self.service = service
        self.message = message

    def __reduce__(self) -> tuple[type["ModelNotAvailableError"], tuple[str, str]]:
        """Keep the service when the error crosses a process."""
        return ModelNotAvailableError, (self.service, self.message)


class RefusedError(Exception):
    """The engine refuses this job now; it goes to another node and nothing counts as failed."""


Isolation = Literal["thread", "process", "process_per_slot"]
"""Where an engine runs.

``thread``: loaded once, in the agent's own process, where ``run`` releases the GIL or is short.
``process``: loaded once per replica, a process that serves many slots. An engine that does not say that it can be
shared (:class:`BatchEngine`, :class:`SharedEngine`) is loaded once per slot all the same.
``process_per_slot``: one process per slot, killed when stuck.
"""


class Engine(Protocol):
    """A model, or a chain of them. Made once per process that runs it, with the options of the node's labels."""

    isolation: ClassVar[Isolation]
    """What fits this engine; the node's option ``isolation`` goes before it."""

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        """Take the capability that the labels declare and the engine's own options; touch nothing yet."""
        ...

    def capability(self) -> Capability:
        """What is really installed: the declaration narrowed or widened. Cheap, needs no ``load``."""
        ...

    def load(self) -> None:
        """Load the models. Called once, before the first run; may take minutes."""
        ...

    def admit(self, work: Work) -> str | None:
        """Why this work is refused right now, or None to accept it. Called in the event loop: must be quick."""
        ...

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Do the work. ``audio`` is 16 kHz mono, and holds something else as soon as this returns.

        Raises :class:`ModelNotAvailableError`; every other exception fails this attempt.
        """
        ...


class BatchItem(NamedTuple):
    """One run of a batch: what :meth:`Engine.run` is given."""

    work: Work
    audio: Samples
    emit_partial: Callable[[str], None]


class BatchEngine(Engine, Protocol):
    """An engine that serves several runs in one pass of its model; in its process it makes one pass at a time."""

    def batch_key(self, work: Work) -> Hashable:
        """What the runs of a pass must have in common, such as their services and languages. Must be quick."""
        ...

    def run_batch(self, items: Sequence[BatchItem]) -> Sequence[EngineResult | Exception]:
        """Do the work of one run or more, of equal keys: for each, in order, its result or why it failed.

        If it raises, every run of a larger batch is run by itself. The class may say how much fits into a pass:
        ``max_batch`` (``max_batch_without_gpu`` where that differs), ``max_batch_audio_s`` and ``max_batch_wait_ms``;
        the node's options, with dashes, go before it. Where a pass takes one run only, an engine whose ``run`` several
        threads may call is given no batches but as many threads as there are slots.
        """
        ...


class WarmedEngine(Engine, Protocol):
    """An engine whose first run takes longer than the others: its node is ready when it has warmed up."""

    warms_up: ClassVar[bool]
    """True: after ``load`` it runs once on a second of silence, in its first language."""

    def warm_up(self) -> None:
        """Run each model once. Called after ``load``; an engine for which the run on silence is enough has none.

        What it raises fails the loading, but for ModelNotAvailableError and RefusedError.
        """
        ...


class SharedEngine(Engine, Protocol):
    """An engine whose ``run`` may be called by several threads of its process at the same time."""

    is_thread_safe: ClassVar[bool]
    """True: it is loaded once per replica, and as many threads call ``run`` as the replica has slots."""

    def share(self, n_slots: int) -> None:
        """How many threads will call ``run``. Called before ``load``; an engine that need not know it has none."""
        ...
