"""Which threshold a node has reached, in a sentence."""

from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.rules import PoolRules
from ray_sched.core.thresholds import reached


def test_a_node_below_all_of_them_has_reached_none() -> None:
    assert not reached(Load(cpu=84.9, memory=84.9, gpu=84.9, gpu_memory=84.9), PoolRules())


def test_each_is_said_with_its_value_and_its_limit() -> None:
    assert reached(Load(memory=92.6), PoolRules()) == "memory at 93 %, limit 85 %"
    rules = PoolRules(cpu_threshold_percent=50, memory_threshold_percent=60.5, gpu_threshold_percent=70)
    assert reached(Load(cpu=50, memory=61, gpu=99, gpu_memory=70), rules) == (
        "CPU used by others at 50 %, limit 50 %, memory at 61 %, limit 60.5 %,"
        " GPU used by others at 99 %, limit 70 %, GPU memory of others at 70 %, limit 70 %"
    )


def test_101_is_never_reached() -> None:
    never = PoolRules(cpu_threshold_percent=101, memory_threshold_percent=101, gpu_threshold_percent=101)
    assert not reached(Load(cpu=100, memory=100, gpu=100, gpu_memory=100), never)
