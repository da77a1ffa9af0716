"""How busy the node is: CPU used by others, memory, and the GPU when there is one."""

import shutil
import subprocess
import time

import psutil

from ray_sched.core.messages.agent_registry import Load

_GPU_EVERY_S = 2.0
_GPU_TIMEOUT_S = 2.0
_GPU_QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")


class LoadMeter:
    """Measures between one call and the next. Blocking, a few milliseconds: call it in a thread."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._own_cpu_s = self._own_time_s()
        self._at_s = time.monotonic()
        self._gpu_tool = shutil.which("nvidia-smi")
        self._gpu = (0.0, 0.0)
        self._gpu_at_s = 0.0
        psutil.cpu_percent()

    def measure(self) -> Load:
        """The load since the last call. CPU leaves out what this agent and its engines used: slots bound that."""
        now_s, own_s = time.monotonic(), self._own_time_s()
        cores = psutil.cpu_count() or 1
        own = 100 * max(own_s - self._own_cpu_s, 0) / max(now_s - self._at_s, 0.001) / cores
        self._at_s, self._own_cpu_s = now_s, own_s
        gpu, gpu_memory = self._measure_gpu(now_s)
        return Load(
            cpu=min(max(psutil.cpu_percent() - own, 0.0), 100.0),
            memory=psutil.virtual_memory().percent,
            gpu=gpu,
            gpu_memory=gpu_memory,
        )

    def _own_time_s(self) -> float:
        total = 0.0
        for process in [self._own, *self._own.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def _measure_gpu(self, now_s: float) -> tuple[float, float]:
        """Utilisation and memory of the busiest GPU in percent; zeros without one."""
        if self._gpu_tool is None or now_s - self._gpu_at_s < _GPU_EVERY_S:
            return self._gpu
        self._gpu_at_s = now_s
        try:
            listed = subprocess.run(  # noqa: S603  # a fixed command found on the PATH
                [self._gpu_tool, *_GPU_QUERY], capture_output=True, text=True, timeout=_GPU_TIMEOUT_S, check=True
            ).stdout
            rows = [[float(x) for x in line.split(",")] for line in listed.splitlines() if line.strip()]
            self._gpu = (max(row[0] for row in rows), max(100 * row[1] / row[2] for row in rows))
        except (subprocess.SubprocessError, ValueError, IndexError, ZeroDivisionError):
            self._gpu_tool = None
        return self._gpu
