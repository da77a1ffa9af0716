"""What a node's machine has for an engine's processes, and what each is told of it before it imports anything."""

import os
from collections.abc import Mapping
from typing import Any

import pynvml
from msgspec import Struct

from ray_sched.agent.cgroups import ControlGroups

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""How many threads libraries take; the first one holds for CTranslate2, PyTorch and whatever is made with OpenMP."""
_OMP = THREAD_VARIABLES[0]
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


class Machine(Struct, frozen=True, kw_only=True):
    """What there is for all replicas of a node together."""

    environment: Mapping[str, str]
    """Of the agent's process."""
    cores: int
    gpus: tuple[str, ...] = ()
    """Each as CUDA_VISIBLE_DEVICES names it."""


def this_machine(environment: Mapping[str, str], nvml: Any = pynvml) -> Machine:
    """The machine as this process may use it: its own cores, no more than its container's, and the GPUs it sees."""
    return Machine(environment=environment, cores=usable_cores(), gpus=_gpus(environment, nvml))


def usable_cores() -> int:
    """The cores that this process may use, no more than its container's."""
    quota = ControlGroups().cpu()
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, round(quota.cores))) if quota else cores


def _gpus(environment: Mapping[str, str], nvml: Any) -> tuple[str, ...]:
    visible = environment.get(_VISIBLE_GPUS)
    if visible is not None:
        return tuple(word.strip() for word in visible.split(",") if word.strip())
    try:
        nvml.nvmlInit()
        n_gpus = nvml.nvmlDeviceGetCount()
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return ()
    return tuple(map(str, range(n_gpus)))


def child_environment(machine: Machine, number: int, n_replicas: int, n_threads: int = 0) -> dict[str, str]:
    """The environment of replica ``number``: as many threads as its share of the cores, and one GPU if there are any.

    ``n_threads`` goes before everything; 0: the share, unless a variable says otherwise. Ray sets OMP_NUM_THREADS to 1
    for every actor without CPUs such as the agent, so a 1 there is nobody's wish.
    """
    share = max(1, machine.cores // n_replicas)
    environment = dict(machine.environment)
    if environment.get(_OMP) == "1":
        del environment[_OMP]
    for variable in THREAD_VARIABLES:
        if n_threads or not environment.get(variable):
            environment[variable] = str(n_threads or share)
    if machine.gpus:
        environment[_VISIBLE_GPUS] = machine.gpus[number % len(machine.gpus)]
    return environment
