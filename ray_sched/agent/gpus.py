"""The GPUs of this node as NVML reads them: how much of each is used, and how much of that by others.

NVML names the processes on a GPU. Own ones are the agent and all that it has started. What others on this machine use
is theirs; what no process of this machine accounts for (NVML inside a container names processes of the host, or none)
is own where the agent holds its GPUs in Ray's accounting, else theirs.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from ray_sched.core.messages.agent_registry import MAX_GPUS, GpuUse

log = logging.getLogger(__name__)

_OPEN_AGAIN_S = 10.0
"""NVML is opened again so often at most, as a driver may be loaded late or anew: each time takes many milliseconds."""


class Nvml(Protocol):
    """What is used of NVML's Python binding, the module ``pynvml``. Each call may raise NVMLError."""

    NVMLError: type[Exception]
    NVMLError_NotFound: type[Exception]
    NVMLError_NotSupported: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: D102  # documented by NVML; so are those below
    def nvmlShutdown(self) -> None: ...  # noqa: D102
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: D102
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: D102
    def nvmlDeviceGetUUID(self, handle: Any) -> str: ...  # noqa: D102
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...  # noqa: D102
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...  # noqa: D102
    def nvmlDeviceGetProcessUtilization(self, handle: Any, since_us: int) -> Sequence[Any]: ...  # noqa: D102
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> Sequence[Any]: ...  # noqa: D102
    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Any) -> Sequence[Any]: ...  # noqa: D102
    def nvmlDeviceGetMigMode(self, handle: Any) -> Sequence[int]: ...  # noqa: D102
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int: ...  # noqa: D102
    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any: ...  # noqa: D102


class Parts(NamedTuple):
    """An amount, by whose it is."""

    own: float
    others: float
    unknown: float
    """Of processes that this machine, or container, does not have."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.own + self.others + self.unknown


class Owner(NamedTuple):
    """Whose a process on a GPU is."""

    pids: Collection[int]
    """Of the agent and all that it has started."""
    is_here: Callable[[int], bool]
    """Whether this machine, or container, has a process of this number at all."""
    holds_gpus: bool
    """The agent holds its GPUs in Ray's accounting: what is unknown is own."""

    def parts(self, amounts: Iterable[tuple[int, float]]) -> Parts:
        """Sort amounts, each with its process, by whose they are."""
        own = others = unknown = 0.0
        for pid, amount in amounts:
            if pid in self.pids:
                own += amount
            elif self.is_here(pid):
                others += amount
            else:
                unknown += amount
        return Parts(own, others, unknown)

    def theirs(self, parts: Parts) -> float:
        """What counts as the others'."""
        return parts.others + (0.0 if self.holds_gpus else parts.unknown)


class _Device(NamedTuple):
    """A GPU, or a part of one that MIG has cut off."""

    name: str
    """Its number; of a part, that of its GPU and its own: ``0:1``."""
    handle: Any
    uuid: str


class GpuMeter:
    """Reads the GPUs that this process may use. Blocking, a few milliseconds."""

    def __init__(self, nvml: Nvml, visible: str | None = None) -> None:
        """``visible``: what CUDA_VISIBLE_DEVICES says; None: it is not set, and all GPUs may be used."""
        self._nvml = nvml
        self._visible = visible
        self._devices: list[_Device] | None = None
        self._open_again_at_s = 0.0
        self._last_sample_us: dict[str, int] = {}
        """GPU to the time of the newest sample of its processes' use."""
        self._failed = ""
        """What failed at the last reading, so that it is logged once."""

    def measure(self, owner: Owner, now_s: float) -> tuple[GpuUse, ...]:
        """Each GPU's use now; none without GPUs.

        A reading that fails is tried again, once, with NVML opened anew unless that was a moment ago. A GPU that cannot
        be read even then is left out: nothing is known of it at this moment, and the next call asks again.
        """
        found: dict[str, GpuUse] = {}
        failed = self._read_all(found, owner, now_s)
        if failed:
            self._open_anew(now_s)
            failed = self._read_all(found, owner, now_s)
        if failed != self._failed:
            self._failed = failed
            log.warning(failed or "every GPU can be read again")
        return tuple(found[name] for name in sorted(found))

    def _read_all(self, found: dict[str, GpuUse], owner: Owner, now_s: float) -> str:
        """Add those that are not there yet. Returns what failed last, or nothing."""
        failed = ""
        for device in self._opened(now_s):
            if device.name not in found:
                try:
                    found[device.name] = self._read(device, owner)
                except self._nvml.NVMLError as error:
                    failed = f"GPU {device.name} cannot be read: {error}"
        return failed

    def _opened(self, now_s: float) -> list[_Device]:
        if self._devices is None and now_s >= self._open_again_at_s:
            try:
                self._nvml.nvmlInit()
                self._devices = list(self._list())[:MAX_GPUS]
            except self._nvml.NVMLError as error:
                self._open_again_at_s = now_s + _OPEN_AGAIN_S
                log.debug("NVML cannot be opened: %s", error)
        return self._devices or []

    def _open_anew(self, now_s: float) -> None:
        if now_s >= self._open_again_at_s:
            self._close()
            self._opened(now_s)
            self._open_again_at_s = now_s + _OPEN_AGAIN_S

    def _close(self) -> None:
        self._devices = None
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError as error:
            log.debug("NVML cannot be closed: %s", error)

    def _list(self) -> Iterator[_Device]:
        """The GPUs that may be used, in NVML's order; of one that is cut up, its parts."""
        nvml = self._nvml
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                gpu = _Device(str(index), handle, nvml.nvmlDeviceGetUUID(handle))
                parts = list(self._parts(gpu))
            except nvml.NVMLError as error:  # a card that is lost
                log.warning("GPU %d is left out: %s", index, error)
                continue
            yield from (part for part in parts if self._may_use(part) or self._may_use(gpu))
            if not parts and self._may_use(gpu):
                yield gpu

    def _parts(self, gpu: _Device) -> Iterator[_Device]:
        nvml = self._nvml
        try:
            is_cut = nvml.nvmlDeviceGetMigMode(gpu.handle)[0]
        except nvml.NVMLError_NotSupported:
            return
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu.handle) if is_cut else 0):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu.handle, index)
            except nvml.NVMLError_NotFound:
                continue
            yield _Device(f"{gpu.name}:{index}", handle, nvml.nvmlDeviceGetUUID(handle))

    def _may_use(self, device: _Device) -> bool:
        if self._visible is None:
            return True
        words = [word.strip() for word in self._visible.split(",") if word.strip()]
        return any(word == device.name or (word[0].isalpha() and device.uuid.startswith(word)) for word in words)

    def _read(self, device: _Device, owner: Owner) -> GpuUse:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(device.handle)
        processes = self._processes(device)
        parts = owner.parts(processes.items())
        rest = max(memory.used - parts.total, 0)  # the driver's, or of processes which NVML does not name here
        parts = parts._replace(unknown=parts.unknown + rest)
        use, others_use = self._use(device, owner, processes)
        return GpuUse(
            name=device.name,
            use=use,
            others_use=others_use,
            memory=_percent(memory.used, memory.total),
            others_memory=_percent(min(owner.theirs(parts), memory.used), memory.total),
        )

    def _processes(self, device: _Device) -> dict[int, int]:
        """The processes on a GPU and the bytes of its memory that each has."""
        nvml = self._nvml
        questions = (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses)
        found: dict[int, int] = {}
        for question in questions:
            try:
                found |= {process.pid: process.usedGpuMemory or 0 for process in question(device.handle)}
            except nvml.NVMLError_NotSupported:
                continue
        return found

    def _use(self, device: _Device, owner: Owner, processes: Collection[int]) -> tuple[float, float]:
        """Percent of its time that the GPU computes, and that it does so for others.

        By the samples of its processes; without them all is others' as soon as one of theirs is on it. Of a part that
        MIG has cut off NVML says nothing: 0.
        """
        try:
            use = float(self._nvml.nvmlDeviceGetUtilizationRates(device.handle).gpu)
        except self._nvml.NVMLError_NotSupported:
            return 0.0, 0.0
        sampled = owner.parts(self._samples(device))
        if sampled.total:
            return use, use * owner.theirs(sampled) / sampled.total
        present = owner.parts((pid, 1.0) for pid in processes)
        is_theirs = owner.theirs(present) or not (present.total or owner.holds_gpus)
        return use, use if is_theirs else 0.0

    def _samples(self, device: _Device) -> Iterator[tuple[int, float]]:
        """Processes and their use of the GPU's processors since the last call; nothing where NVML has no samples."""
        since_us = self._last_sample_us.get(device.uuid, 0)
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(device.handle, since_us)
        except self._nvml.NVMLError:  # none since then, not supported, or, by a slip of the binding, none at all
            return
        for sample in samples:
            if sample.timeStamp > since_us:
                self._last_sample_us[device.uuid] = max(self._last_sample_us.get(device.uuid, 0), sample.timeStamp)
                yield sample.pid, float(sample.smUtil)


def _percent(part: float, whole: float) -> float:
    return min(100 * part / whole, 100.0) if whole else 0.0
