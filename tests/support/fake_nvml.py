"""NVML without a GPU: the functions of ``pynvml`` that the agent calls, over cards that a test describes.

Made after NVML's own documentation: memory of a process is in the list of processes, use of the processors in samples
that are newer than a time; a part that MIG has cut off has memory and processes of its own, and no utilisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

MIB = 2**20


class FakeNvmlError(Exception):
    """What any call may raise."""


class FakeNotFoundError(FakeNvmlError):
    """There is nothing of that kind."""


class FakeNotSupportedError(FakeNvmlError):
    """This GPU cannot say it."""


@dataclass
class FakeProcess:
    """A process on a card."""

    pid: int
    memory: int = 0
    """Bytes on the card."""
    use: int = 0
    """Percent of the card's processors."""


@dataclass
class FakeGpu:
    """A card, or a part of one."""

    uuid: str
    use: int = 0
    """Percent of its time."""
    memory_total: int = 24_000 * MIB
    memory_reserved: int = 0
    """By the driver."""
    processes: list[FakeProcess] = field(default_factory=list)
    hidden_memory: int = 0
    """Of processes that NVML does not name here."""
    has_samples: bool = True
    parts: "dict[int, FakeGpu] | None" = None
    """The parts that MIG has made, by their number; None: MIG is off."""
    is_part: bool = False


class FakeNvml:
    """As the module ``pynvml``."""

    NVMLError: type[Exception] = FakeNvmlError
    NVMLError_NotFound: type[Exception] = FakeNotFoundError
    NVMLError_NotSupported: type[Exception] = FakeNotSupportedError

    def __init__(self, *gpus: FakeGpu) -> None:
        self.gpus = list(gpus)
        self.is_open = False
        self.n_opened = 0
        self.clock_us = 1_000_000
        self.failing: list[str] = []
        """Functions whose next calls fail, one entry for each call; ``"*"`` stands for any of them, for ever."""
        self.lost: dict[str, str] = {}
        """Card to the function that fails for it, for ever."""

    def nvmlInit(self) -> None:
        self.n_opened += 1
        self._check("nvmlInit", is_open=True)
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self._check("nvmlShutdown", is_open=self.is_open)
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        self._check("nvmlDeviceGetCount", is_open=self.is_open)
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        self._check("nvmlDeviceGetHandleByIndex", is_open=self.is_open)
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, handle: FakeGpu) -> str:
        self._check("nvmlDeviceGetUUID", is_open=self.is_open)
        self._check_lost("nvmlDeviceGetUUID", handle)
        return handle.uuid

    def nvmlDeviceGetMemoryInfo(self, handle: FakeGpu) -> Any:
        self._check("nvmlDeviceGetMemoryInfo", is_open=self.is_open)
        self._check_lost("nvmlDeviceGetMemoryInfo", handle)
        used = handle.memory_reserved + handle.hidden_memory + sum(process.memory for process in handle.processes)
        return SimpleNamespace(total=handle.memory_total, used=used, free=handle.memory_total - used)

    def nvmlDeviceGetUtilizationRates(self, handle: FakeGpu) -> Any:
        self._check("nvmlDeviceGetUtilizationRates", is_open=self.is_open)
        if handle.is_part or handle.parts is not None:
            raise FakeNotSupportedError("Not Supported")
        return SimpleNamespace(gpu=handle.use, memory=0)

    def nvmlDeviceGetProcessUtilization(self, handle: FakeGpu, since_us: int) -> Sequence[Any]:
        self._check("nvmlDeviceGetProcessUtilization", is_open=self.is_open)
        if not handle.has_samples:
            raise FakeNotSupportedError("Not Supported")
        self.clock_us += 1
        busy = [process for process in handle.processes if process.use]
        if not busy or self.clock_us <= since_us:
            raise FakeNotFoundError("Not Found")
        return [SimpleNamespace(pid=it.pid, smUtil=it.use, timeStamp=self.clock_us) for it in busy]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: FakeGpu) -> Sequence[Any]:
        self._check("nvmlDeviceGetComputeRunningProcesses", is_open=self.is_open)
        return [SimpleNamespace(pid=it.pid, usedGpuMemory=it.memory) for it in handle.processes]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: FakeGpu) -> Sequence[Any]:
        self._check("nvmlDeviceGetGraphicsRunningProcesses", is_open=self.is_open)
        if handle.is_part:
            raise FakeNotSupportedError("Not Supported")
        return []

    def nvmlDeviceGetMigMode(self, handle: FakeGpu) -> Sequence[int]:
        self._check("nvmlDeviceGetMigMode", is_open=self.is_open)
        return [int(handle.parts is not None)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: FakeGpu) -> int:
        self._check("nvmlDeviceGetMaxMigDeviceCount", is_open=self.is_open)
        return 7 if handle.parts is not None else 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: FakeGpu, index: int) -> FakeGpu:
        self._check("nvmlDeviceGetMigDeviceHandleByIndex", is_open=self.is_open)
        if handle.parts is None or index not in handle.parts:
            raise FakeNotFoundError("Not Found")
        return handle.parts[index]

    def _check_lost(self, function: str, handle: FakeGpu) -> None:
        if self.lost.get(handle.uuid) == function:
            raise FakeNvmlError("GPU is lost")

    def _check(self, function: str, *, is_open: bool) -> None:
        if function in self.failing:
            self.failing.remove(function)
            raise FakeNvmlError("Unknown Error")
        if "*" in self.failing:
            raise FakeNvmlError("GPU is lost")
        if not is_open:
            raise FakeNvmlError("Uninitialized")
