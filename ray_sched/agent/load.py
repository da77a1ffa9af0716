"""How busy the node is: CPU used by others, memory, and its GPUs when there are any."""

import os
import time
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

import psutil
import pynvml

from ray_sched.agent.cgroups import ControlGroups
from ray_sched.agent.gpus import GpuMeter, Nvml, Owner
from ray_sched.core.messages.agent_registry import GpuUse, Load


class GpuShare(NamedTuple):
    """Which GPUs are the agent's."""

    visible: str | None = None
    """What CUDA_VISIBLE_DEVICES says; None: it is not set, and all may be used."""
    is_held: bool = False
    """The agent holds them in Ray's accounting, see ``agent.gpus``."""


_ALL_GPUS = GpuShare()


class Measured(NamedTuple):
    """The load, and each GPU by itself."""

    load: Load = Load()
    gpus: tuple[GpuUse, ...] = ()


class LoadMeter:
    """Measures between one call and the next. Blocking, a few milliseconds: call it in a thread."""

    def __init__(
        self, share: GpuShare = _ALL_GPUS, *, groups: ControlGroups | None = None, nvml: Nvml = pynvml
    ) -> None:
        self._share = share
        self._groups = groups or ControlGroups()
        self._gpus = GpuMeter(nvml, share.visible)
        self._own = psutil.Process()
        self._at_s = time.monotonic()
        self._own_cpu_s, _ = self._own_use()
        self._group_cpu_s: float | None = None
        self._cpus = os.sched_getaffinity(0)
        psutil.cpu_percent(percpu=True)

    def measure(self, siblings: Collection[int] = ()) -> Measured:
        """The load since the last call. CPU and GPUs leave out what this agent and its engines used: slots bound that.

        So do ``siblings``: the agents of the other engines of this machine's profile, by their process ids.

        Raises OSError or psutil.Error if the system does not say; the next call may be answered again.
        """
        now_s = time.monotonic()
        own_cpu_s, pids = self._own_use(siblings)
        passed_s, own_s = max(now_s - self._at_s, 0.001), max(own_cpu_s - self._own_cpu_s, 0.0)
        self._at_s, self._own_cpu_s = now_s, own_cpu_s
        gpus = self._gpus.measure(Owner(pids, psutil.pid_exists, self._share.is_held), now_s)
        load = Load(
            cpu=min(max(self._cpu_of_others(own_s, passed_s), 0.0), 100.0),
            memory=self._memory(),
            gpu=max((gpu.others_use for gpu in gpus), default=0.0),
            gpu_memory=max((gpu.others_memory for gpu in gpus), default=0.0),
        )
        return Measured(load, gpus)

    def _own_use(self, siblings: Collection[int] = ()) -> tuple[float, set[int]]:
        """CPU seconds of the agent, its siblings and all they have started, and their process ids."""
        total, pids = 0.0, set()
        for process in {it.pid: it for pid in (self._own.pid, *siblings) for it in _family(pid)}.values():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            pids.add(process.pid)
        return total, pids

    def _cpu_of_others(self, own_s: float, passed_s: float) -> float:
        """Percent of the container's quota if it has one, else of the cores that this process may run on."""
        each = psutil.cpu_percent(percpu=True)
        group, before_s = self._groups.cpu(), self._group_cpu_s
        self._group_cpu_s = group.used_s if group else None
        if group and before_s is not None:
            return 100 * (group.used_s - before_s - own_s) / passed_s / group.cores
        allowed = [percent for cpu, percent in enumerate(each) if cpu in self._cpus] or each
        return sum(allowed) / len(allowed) - 100 * own_s / passed_s / len(allowed)

    def _memory(self) -> float:
        group = self._groups.memory()
        return max(psutil.virtual_memory().percent, group.percent if group else 0.0)


def _family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started; none if it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
