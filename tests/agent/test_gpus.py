"""GPUs as NVML reads them: own use is told from others', and a reading that fails leaves nothing behind."""

import pytest

from ray_sched.agent.gpus import GpuMeter, Owner
from ray_sched.core.messages.agent_registry import GpuUse
from tests.support.fake_nvml import MIB, FakeGpu, FakeNvml, FakeProcess

AGENT, ENGINE, OTHER, OF_THE_HOST = 100, 101, 900, 7_777
GB = 1_000 * MIB


def an_owner(*, holds_gpus: bool = False) -> Owner:
    return Owner({AGENT, ENGINE}, lambda pid: pid in {AGENT, ENGINE, OTHER}, holds_gpus)


def measured(*gpus: FakeGpu, holds_gpus: bool = False, visible: str | None = None) -> tuple[GpuUse, ...]:
    return GpuMeter(FakeNvml(*gpus), visible).measure(an_owner(holds_gpus=holds_gpus), 0.0)


def a_use(name: str = "0", **percent: float) -> GpuUse:
    nothing = {"use": 0.0, "others_use": 0.0, "memory": 0.0, "others_memory": 0.0}
    return GpuUse(name=name, **(nothing | percent))


def test_at_99_percent_by_own_work_others_use_nothing() -> None:
    gpu = FakeGpu("GPU-a", use=99, processes=[FakeProcess(ENGINE, 23_760 * MIB, use=97)])
    assert measured(gpu) == (a_use(use=99, memory=99),)


def test_at_99_percent_by_another_process_all_of_it_is_theirs() -> None:
    gpu = FakeGpu("GPU-a", use=99, processes=[FakeProcess(OTHER, 23_760 * MIB, use=97)])
    assert measured(gpu) == (a_use(use=99, others_use=99, memory=99, others_memory=99),)


def test_a_shared_gpu_is_divided_as_its_samples_say() -> None:
    processes = [FakeProcess(ENGINE, 6 * GB, use=60), FakeProcess(OTHER, 12 * GB, use=20)]
    gpu = FakeGpu("GPU-a", use=80, processes=processes)
    assert measured(gpu) == (a_use(use=80, others_use=20, memory=75, others_memory=50),)


def test_each_gpu_counts_by_itself() -> None:
    own, theirs = FakeProcess(ENGINE, 12 * GB, use=90), FakeProcess(OTHER, 24 * GB, use=50)
    gpus = (FakeGpu("GPU-a", use=90, processes=[own]), FakeGpu("GPU-b", use=50, processes=[theirs]))
    first, second = measured(*gpus)
    assert first == a_use("0", use=90, memory=50)
    assert second == a_use("1", use=50, others_use=50, memory=100, others_memory=100)


def test_samples_that_were_counted_are_not_counted_again() -> None:
    gpu = FakeGpu("GPU-a", use=50, processes=[FakeProcess(ENGINE, use=50)])
    nvml = FakeNvml(gpu)
    meter = GpuMeter(nvml)
    assert meter.measure(an_owner(), 0.0) == (a_use(use=50),)
    nvml.clock_us -= 1
    gpu.processes = [FakeProcess(OTHER, use=50)]
    assert meter.measure(an_owner(), 0.5)[0].others_use == 50, "by who is there, as there is no newer sample"


@pytest.mark.parametrize(
    ("pids", "others_use"), [([ENGINE], 0.0), ([OTHER], 80.0), ([ENGINE, OTHER], 80.0), ([], 80.0)]
)
def test_without_samples_it_is_theirs_as_soon_as_one_of_them_is_there(pids: list[int], others_use: float) -> None:
    gpu = FakeGpu("GPU-a", use=80, has_samples=False, processes=[FakeProcess(pid) for pid in pids])
    assert measured(gpu)[0].others_use == others_use


@pytest.mark.parametrize("is_named", [True, False], ids=["with the host's numbers", "not at all"])
def test_in_a_container_what_nobody_accounts_for_is_own_where_the_gpu_is_held(is_named: bool) -> None:  # noqa: FBT001  # a parameter of the test
    named = FakeGpu("GPU-a", use=99, processes=[FakeProcess(OF_THE_HOST, 12 * GB, use=97)])
    hidden = FakeGpu("GPU-a", use=99, hidden_memory=12 * GB)
    gpu = named if is_named else hidden
    assert measured(gpu, holds_gpus=True) == (a_use(use=99, memory=50),)
    assert measured(gpu, holds_gpus=False) == (a_use(use=99, others_use=99, memory=50, others_memory=50),)


def test_who_holds_its_gpu_still_sees_a_process_that_is_here_and_not_its_own() -> None:
    gpu = FakeGpu("GPU-a", use=99, processes=[FakeProcess(OTHER, 12 * GB, use=97)])
    assert measured(gpu, holds_gpus=True)[0].others_use == 99


def test_parts_that_mig_has_cut_off_count_by_their_memory() -> None:
    parts = {
        0: FakeGpu("MIG-x", memory_total=5 * GB, processes=[FakeProcess(ENGINE, 4 * GB)], is_part=True),
        2: FakeGpu("MIG-y", memory_total=5 * GB, processes=[FakeProcess(OTHER, 5 * GB)], is_part=True),
    }
    gpu = FakeGpu("GPU-a", parts=parts)
    assert measured(gpu) == (a_use("0:0", memory=80), a_use("0:2", memory=100, others_memory=100))
    assert measured(gpu, visible="MIG-x") == (a_use("0:0", memory=80),)


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, "012"), ("", ""), ("-1", ""), ("1", "1"), ("2,0", "02"), ("GPU-b", "1"), ("GPU-bcd,2", "12")],
)
def test_only_gpus_that_the_agent_may_use_count(visible: str | None, names: str) -> None:
    gpus = (FakeGpu("GPU-abc"), FakeGpu("GPU-bcd"), FakeGpu("GPU-cde"))
    assert [use.name for use in measured(*gpus, visible=visible)] == list(names)


def test_a_reading_that_fails_once_is_tried_again() -> None:
    nvml = FakeNvml(FakeGpu("GPU-a", use=30, processes=[FakeProcess(OTHER, use=30)]))
    meter = GpuMeter(nvml)
    nvml.failing = ["nvmlDeviceGetMemoryInfo"]
    assert meter.measure(an_owner(), 0.0) == (a_use(use=30, others_use=30),)
    assert nvml.n_opened == 2


def test_a_hiccup_keeps_no_old_value_and_the_next_reading_counts() -> None:
    gpu = FakeGpu("GPU-a", use=99, processes=[FakeProcess(OTHER, 24 * GB, use=99)])
    nvml = FakeNvml(gpu, FakeGpu("GPU-b"))
    meter = GpuMeter(nvml)
    assert meter.measure(an_owner(), 0.0)[0].others_memory == 100
    nvml.failing = ["nvmlDeviceGetMemoryInfo"] * 4
    assert meter.measure(an_owner(), 0.5) == (), "nothing is known of either: both were asked twice"
    assert nvml.failing == []
    gpu.processes, gpu.use = [], 0
    assert meter.measure(an_owner(), 1.0) == (a_use("0"), a_use("1"))


@pytest.mark.parametrize("failing", ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUUID"])
def test_a_card_that_is_lost_neither_hides_the_others_nor_has_nvml_opened_all_the_time(failing: str) -> None:
    nvml = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b", use=5))
    nvml.lost = {"GPU-a": failing}
    meter = GpuMeter(nvml)
    for n in range(20):
        assert meter.measure(an_owner(holds_gpus=True), n / 2) == (a_use("1", use=5),)
    assert nvml.n_opened <= 2


def test_a_machine_without_nvml_is_asked_again_after_a_while_only() -> None:
    nvml = FakeNvml(FakeGpu("GPU-a"))
    meter = GpuMeter(nvml)
    nvml.failing = ["*"]
    for now_s in (0.0, 0.5, 1.0):
        assert meter.measure(an_owner(), now_s) == ()
    assert nvml.n_opened == 1
    nvml.failing = []
    assert meter.measure(an_owner(), 20.0) == (a_use(),), "its driver was loaded meanwhile"
