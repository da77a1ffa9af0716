"""What an agent reports of its node's load, with files and cards that the test describes."""

import asyncio
import os
from collections.abc import Callable, Collection
from pathlib import Path

import psutil
import pytest

from ray_sched.agent.agent import NodeAgent
from ray_sched.agent.cgroups import ControlGroups
from ray_sched.agent.failed_host import FailedHost
from ray_sched.agent.load import GpuShare, LoadMeter, Measured
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.leases.pool import PoolBrain
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat, Load
from ray_sched.core.rules import PoolRules
from ray_sched.core.views.nodes import NodeRow
from ray_sched.wire.codec import decode, encode
from tests.support.builders import a_beat, a_ray_node, only
from tests.support.fake_nvml import MIB, FakeGpu, FakeNvml, FakeProcess
from tests.support.in_process import Network
from tests.support.registry_harness import RegistryHarness, members

NO_GPU = FakeNvml()
GPUS_ONLY = PoolRules(cpu_threshold_percent=101, memory_threshold_percent=101)
UNUSED_HOST = FailedHost(SchedError(Code.INVALID_CONFIGURATION, "nothing is run here"))


def a_container(root: Path, **files: str) -> ControlGroups:
    """Version 2; in the names of files an underscore stands for the dot."""
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text("0::/\n")
    (root / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
    for name, text in {"cgroup_controllers": "cpu memory", **files}.items():
        (root / "sys/fs/cgroup" / name.replace("_", ".", 1)).write_text(text)
    return ControlGroups(root)


def test_a_container_at_92_percent_of_its_memory_reports_92(tmp_path: Path) -> None:
    groups = a_container(tmp_path, memory_current=f"{920 * MIB}", memory_max=f"{1000 * MIB}")
    assert LoadMeter(groups=groups, nvml=NO_GPU).measure().load.memory == 92.0


def test_a_machine_that_is_fuller_than_its_container_counts(tmp_path: Path) -> None:
    groups = a_container(tmp_path, memory_current="1", memory_max=f"{1000 * MIB}")
    assert LoadMeter(groups=groups, nvml=NO_GPU).measure().load.memory == pytest.approx(
        psutil.virtual_memory().percent, abs=5
    )


def test_cpu_is_what_others_use_of_the_containers_quota(tmp_path: Path) -> None:
    groups = a_container(tmp_path, cpu_max="100000 100000", cpu_stat="usage_usec 0")
    meter = LoadMeter(groups=groups, nvml=NO_GPU)
    meter.measure()
    a_container(tmp_path, cpu_stat="usage_usec 3600000000")
    assert meter.measure().load.cpu == 100.0
    assert meter.measure().load.cpu == 0.0, "nobody has used anything since"


def test_the_busiest_gpu_counts_and_each_is_told() -> None:
    own, theirs = FakeProcess(os.getpid(), 240 * MIB, use=90), FakeProcess(os.getppid(), 12_000 * MIB, use=40)
    nvml = FakeNvml(FakeGpu("a", use=90, processes=[own]), FakeGpu("b", use=40, processes=[theirs]))
    measured = LoadMeter(nvml=nvml).measure()
    assert (measured.load.gpu, measured.load.gpu_memory) == (40.0, 50.0)
    assert [(gpu.use, gpu.others_use) for gpu in measured.gpus] == [(90.0, 0.0), (40.0, 40.0)]
    assert LoadMeter(GpuShare(visible="0"), nvml=nvml).measure().load.gpu == 0.0


def test_what_the_other_engines_of_the_machine_use_is_no_load_of_others() -> None:
    theirs = FakeProcess(os.getppid(), 23_760 * MIB, use=98)
    meter = LoadMeter(nvml=FakeNvml(FakeGpu("a", use=99, processes=[theirs])))
    assert meter.measure().load.gpu == 99.0
    assert meter.measure(siblings=(os.getppid(),)).load.gpu == 0.0
    assert meter.measure(siblings=(2**22 + 1,)).load.gpu == 99.0, "a sibling that has ended"


async def test_the_registry_s_answer_names_those_other_engines_to_the_meter() -> None:
    network, registry = Network(), Registry(siblings=(11, 12))
    network.actors["registry"] = registry
    meter = FailingMeter()
    options = AgentOptions(node="a", incarnation=1, slots=1, pid=10)
    agent = NodeAgent(options, UNUSED_HOST, network, 5, lambda: None, lambda: meter)
    try:
        async with asyncio.timeout(20):
            while meter.siblings != (11, 12):
                assert (await registry.beats.get()).pid == 10
    finally:
        await agent.stop()


def what_follows(nvml: FakeNvml) -> tuple[int, str, str]:
    """Slots that the pool offers of a node with these cards, why not all, and what people are shown of the node."""
    measured = LoadMeter(nvml=nvml).measure()
    harness = RegistryHarness(GPUS_ONLY)
    harness.look(a_ray_node())
    effects = harness.beat(a_beat(load=measured.load, gpus=measured.gpus))
    offer = PoolBrain("p", 1, GPUS_ONLY).handle_members(members(effects))
    assert offer
    node = harness.brain.nodes["node-a"]
    row = NodeRow.of(node, 0, harness.now_ms, harness.brain.threshold_reached(node))
    return only(offer.nodes).slots, only(offer.nodes).because, row.threshold


def test_a_gpu_at_99_percent_by_own_work_serves_on() -> None:
    own = FakeProcess(os.getpid(), 23_760 * MIB, use=98)
    slots, because, shown = what_follows(FakeNvml(FakeGpu("a", use=99, processes=[own])))
    assert (slots, because, shown) == (2, "", "")


def test_a_gpu_at_99_percent_by_another_process_rests_and_says_so() -> None:
    theirs = FakeProcess(os.getppid(), 23_760 * MIB, use=98)
    slots, because, shown = what_follows(FakeNvml(FakeGpu("a", use=99, processes=[theirs])))
    assert slots == 0
    for said in (because, shown):
        assert said == "GPU used by others at 99 %, limit 85 %, GPU memory of others at 99 %, limit 85 %"


class FailingMeter:
    """Measures 90 % of memory, but for the calls that fail."""

    def __init__(self, *failing: int, error: type[Exception] = OSError) -> None:
        self.n_calls = 0
        self.siblings: tuple[int, ...] = ()
        self._failing = failing
        self._error = error

    def measure(self, siblings: Collection[int] = ()) -> Measured:
        self.siblings = tuple(siblings)
        self.n_calls += 1
        if self.n_calls in self._failing:
            raise self._error("too many open files")
        return Measured(Load(memory=90.0))


class Registry:
    """Keeps the heartbeats."""

    def __init__(self, siblings: tuple[int, ...] = ()) -> None:
        self.beats: asyncio.Queue[Heartbeat] = asyncio.Queue()
        self._siblings = siblings

    async def beat(self, raw: bytes) -> bytes:
        self.beats.put_nowait(decode(raw, Heartbeat))
        return encode(BeatReply(is_current=True, siblings=self._siblings))


async def memory_of_beats(make_meter: Callable[[], FailingMeter], *wanted: float) -> None:
    """Read heartbeats until their memory has been what is wanted, in that order."""
    network, registry = Network(), Registry()
    network.actors["registry"] = registry
    options = AgentOptions(node="a", incarnation=1, slots=1)
    agent = NodeAgent(options, UNUSED_HOST, network, 5, lambda: None, make_meter)
    try:
        async with asyncio.timeout(20):
            for memory in wanted:
                while (await registry.beats.get()).load.memory != memory:
                    pass
    finally:
        await agent.stop()


async def test_a_measurement_that_fails_as_nobody_foresaw_does_not_freeze_the_load() -> None:
    meter = FailingMeter(2, error=RuntimeError)
    await memory_of_beats(lambda: meter, 90.0, 0.0, 90.0)


async def test_a_measurement_that_fails_neither_freezes_the_load_nor_keeps_the_old_one() -> None:
    meter = FailingMeter(10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
    await memory_of_beats(lambda: meter, 90.0, 0.0, 90.0)


async def test_a_meter_that_cannot_be_made_yet_is_made_later() -> None:
    n_made = 0

    def make_meter() -> FailingMeter:
        nonlocal n_made
        n_made += 1
        if n_made < 3:
            raise OSError("too many open files")
        return FailingMeter()

    await memory_of_beats(make_meter, 0.0, 90.0)
