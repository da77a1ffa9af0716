"""Tiny engines for the tests of the host: each misbehaves in one way. The tests tell them what to do by language."""

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from msgspec import structs

from ray_sched.agent.engine import BatchItem, EngineResult, Isolation, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.engines.echo import EchoEngine
from ray_sched.agent.machine import Machine
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.wire.samples import Samples

MACHINE = Machine(environment=dict(os.environ), cores=2)
"""For hosts in tests."""


class PlainEngine:
    """Says which process it is; what it does otherwise is in the source language of the work."""

    isolation: ClassVar[Isolation] = "process"

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        self.declared = declared
        self.options = options

    def capability(self) -> Capability:
        return self.declared

    def load(self) -> None:
        pass

    def admit(self, work: Work) -> str | None:
        return "no French today" if work.src == "fr" else None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        print(f"noise of {work.job_id} on stdout")  # noqa: T201
        sys.stdout.flush()
        emit_partial(f"heard {len(audio)}")
        return EngineResult(text=str(os.getpid()), speech=audio.tobytes(), speech_rate_hz=16_000)


class CrashingEngine(PlainEngine):
    """``die`` kills its process, ``hang`` never comes back, ``raise``, ``miss`` and ``refuse`` raise."""

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        match work.src:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                emit_partial("hanging")
                threading.Event().wait()
            case "raise":
                raise ValueError("three\nlegs")
            case "miss":
                raise ModelNotAvailableError("mt", "the weights are gone")
            case "refuse":
                raise RefusedError("too hot")
        return super().run(work, audio, emit_partial)


class SharedEngine(CrashingEngine):
    """One process for many slots; ``meet`` waits until two such runs are in it at the same time."""

    is_thread_safe: ClassVar[bool] = True

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        super().__init__(declared, options)
        self.meeting = threading.Barrier(2)

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        if work.src == "meet":
            self.meeting.wait(20)
        if work.src == "exit":
            sys.exit("enough")
        return super().run(work, audio, emit_partial)


class BatchEngine(CrashingEngine):
    """Says with whom a run shared its pass; ``hld`` stays until the file of its option ``release`` is there.

    Targets say the rest: ``odd`` fails by itself, ``strict`` raises for all if it is not by itself, ``short`` loses
    results, ``kil`` kills the process.
    """

    def batch_key(self, work: Work) -> str:
        if work.src == "xx":
            raise LookupError("nobody speaks xx")
        return work.src

    def run_batch(self, items: Sequence[BatchItem]) -> list[EngineResult | Exception]:
        for item in items:
            match item.work.src, item.work.tgt:
                case ("hld", _):
                    item.emit_partial("holding")
                    while not os.path.exists(self.options["release"]):  # noqa: PTH110  # as short as it gets
                        time.sleep(0.005)
                case (_, "kil"):
                    os.kill(os.getpid(), signal.SIGKILL)
                case (_, "strict") if len(items) > 1:
                    raise ValueError("by itself only")
        names = " ".join(item.work.job_id for item in items)
        n_results = len(items) - any(item.work.tgt == "short" for item in items)
        return [
            ValueError("odd") if item.work.tgt == "odd" else EngineResult(text=names, speech=item.audio.tobytes())
            for item in items[:n_results]
        ]


class HeavyEngine(SharedEngine):
    """Holds so many MB; each load leaves a letter in a file, and waits while there is a file ``closed``.

    ``stay`` runs as long as there is a file ``busy``.
    """

    def load(self) -> None:
        folder = Path(self.options["folder"])
        with (folder / "loads").open("a") as loads:
            loads.write("x")
        while (folder / "closed").exists():
            time.sleep(0.005)
        self.held = bytearray(b"x") * (int(self.options.get("hold-mb", "0")) * 2**20)

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        while work.src == "stay" and (Path(self.options["folder"]) / "busy").exists():
            time.sleep(0.005)
        return super().run(work, audio, emit_partial)


class EnglishBatchEngine(BatchEngine):
    """Hears English, says what it hears in the targets of the others, and gathers runs."""

    def capability(self) -> Capability:
        return Capability(engine="tests.support.engines.EnglishBatchEngine", asr=("en",), mt=("en:odd",))


class VariableEngine(SharedEngine):
    """Returns the value of a variable of its environment, as it was when this module was imported."""

    environment: ClassVar[dict[str, str]] = dict(os.environ)

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        del work, audio, emit_partial
        return EngineResult(text=self.environment.get(self.options["variable"], ""))


class ThreadEngine(CrashingEngine):
    """The same in threads; ``wait`` stays until the test sets the event."""

    isolation: ClassVar[Isolation] = "thread"
    go_on: ClassVar[threading.Event] = threading.Event()

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        if work.src == "wait":
            emit_partial("waiting")
            self.go_on.wait()
        return super().run(work, audio, emit_partial)


class UnloadableEngine(PlainEngine):
    """Dies while loading."""

    def load(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class IncompleteEngine(PlainEngine):
    """Says what it misses while loading."""

    def load(self) -> None:
        raise SchedError(Code.MISSING_PART, "the weights are missing; put them there")


class ParentEngine(PlainEngine):
    """Runs a program for ever and tells its process id first."""

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        del work, audio
        import subprocess  # noqa: PLC0415

        with subprocess.Popen(["sleep", "1000"]) as child:
            emit_partial(str(child.pid))
        return EngineResult(text="")


class SlowEngine(PlainEngine):
    """Needs a moment to load."""

    def load(self) -> None:
        time.sleep(0.2)


class NonsenseEngine(PlainEngine):
    """Returns what is no result, or writes into every pipe it finds: ``huge`` claims 4 GB, ``noise`` is a print."""

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        match work.src:
            case "huge":
                _write_into_pipes(b"\xff\xff\xff\xff")
            case "noise":
                _write_into_pipes(b"Loading ...\n" + bytes(64))
            case "number":
                return EngineResult(text=5)  # type: ignore[arg-type]  # that is what it is for
            case "half":
                return EngineResult(text="half a \ud800")
        return super().run(work, audio, emit_partial)


def _write_into_pipes(data: bytes) -> None:
    for handle in range(3, 256):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(handle).st_mode):
                os.write(handle, data)


class RealTimeEngine(EchoEngine):
    """Takes as long as the audio lasts, for English, whatever was declared."""

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        super().__init__(structs.replace(declared, asr=("en",)), options | {"speed": "1"})
