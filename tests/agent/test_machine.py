"""What a replica's process is told of the machine before it imports anything."""

import os
from collections.abc import Mapping

import numpy as np
import pytest

from ray_sched.agent.engine import Work
from ray_sched.agent.host import EngineHost
from ray_sched.agent.machine import THREAD_VARIABLES, Machine, child_environment, this_machine
from ray_sched.core.capability import Capability

WORK = Work(job_id="b-1", attempt=1, src="en", tgt="en", services=("asr",))


def threads(environment: Mapping[str, str]) -> set[str]:
    return {environment[variable] for variable in THREAD_VARIABLES}


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, n_gpus: int | None) -> None:
        self.n_gpus = n_gpus

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's name; so is the next one
        if self.n_gpus is None:
            raise self.NVMLError

    def nvmlDeviceGetCount(self) -> int | None:  # noqa: N802
        return self.n_gpus

    def nvmlShutdown(self) -> None: ...  # noqa: N802


@pytest.mark.parametrize(("n_replicas", "share"), [(1, "8"), (2, "4"), (3, "2"), (9, "1")])
def test_each_replica_has_its_share_of_the_cores(n_replicas: int, share: str) -> None:
    machine = Machine(environment={"OMP_NUM_THREADS": "1", "HOME": "/root"}, cores=8)
    environment = child_environment(machine, 0, n_replicas)
    assert threads(environment) == {share}
    assert environment["HOME"] == "/root"


def test_a_variable_that_somebody_set_stays_and_the_option_goes_before_it() -> None:
    machine = Machine(environment={"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "1"}, cores=8)
    environment = child_environment(machine, 0, 1)
    assert [environment[name] for name in THREAD_VARIABLES[:3]] == ["3", "1", "8"]
    assert threads(child_environment(machine, 0, 1, 5)) == {"5"}


def test_each_replica_has_a_gpu_of_its_own_while_there_are_enough() -> None:
    machine = Machine(environment={}, cores=8, gpus=("0", "GPU-1f"))
    visible = [child_environment(machine, number, 3)["CUDA_VISIBLE_DEVICES"] for number in range(3)]
    assert visible == ["0", "GPU-1f", "0"]
    assert "CUDA_VISIBLE_DEVICES" not in child_environment(Machine(environment={}, cores=8), 0, 1)


@pytest.mark.parametrize(
    ("environment", "n_gpus", "gpus"),
    [
        ({}, None, ()),
        ({}, 2, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": "1, GPU-1f"}, 4, ("1", "GPU-1f")),
        ({"CUDA_VISIBLE_DEVICES": ""}, 4, ()),
    ],
)
def test_the_gpus_are_those_that_the_process_may_see(
    environment: dict[str, str], n_gpus: int | None, gpus: tuple[str, ...]
) -> None:
    assert this_machine(environment, FakeNvml(n_gpus)).gpus == gpus


def test_there_is_at_least_one_core_and_no_more_than_this_process_may_use() -> None:
    assert 1 <= this_machine({}, FakeNvml(None)).cores <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("options", "has_gpu", "variable", "values"),
    [
        ({"replicas": "2"}, False, "OMP_NUM_THREADS", {"3"}),
        ({"replicas": "2", "threads": "5"}, False, "OPENBLAS_NUM_THREADS", {"5"}),
        ({}, True, "CUDA_VISIBLE_DEVICES", {"0", "1"}),
        ({}, False, "CUDA_VISIBLE_DEVICES", {""}),
    ],
)
async def test_an_engine_finds_it_in_its_environment(
    options: dict[str, str], *, has_gpu: bool, variable: str, values: set[str]
) -> None:
    machine = Machine(environment={**os.environ, "OMP_NUM_THREADS": "1"}, cores=6, gpus=("0", "1"))
    declared = Capability(engine="test", asr=("en",), has_gpu=has_gpu)
    host = EngineHost("tests.support.engines.VariableEngine", declared, options | {"variable": variable}, 2, machine)
    try:
        await host.start()
        audio = np.zeros(160, np.int16)
        found = {(await replica.run(WORK, audio, print)).text for replica in host._replicas}
        assert found == values
    finally:
        await host.stop()
