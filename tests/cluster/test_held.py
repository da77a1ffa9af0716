"""What an agent holds in Ray's own count, on a real Ray. The GPU is one that Ray only counts."""

from pathlib import Path

import pytest
import ray

from ray_sched.core.views.nodes import NodeRow
from ray_sched.system.local import LocalNode
from tests.support.cluster import RunningCluster, echo_node, wait_until
from tests.support.processes import agent_of

pytestmark = pytest.mark.cluster


class Other:
    """Somebody else's actor."""

    def is_there(self) -> bool:
        return True


def test_what_an_agent_holds_nobody_else_is_given_and_while_somebody_has_it_nodes_says_so(tmp_path: Path) -> None:
    labels = echo_node("held", option_ray_gpus="1", option_ray_cpus="2").labels
    with RunningCluster([LocalNode(labels=labels, num_cpus=3, num_gpus=1)], tmp_path) as cluster:

        def row() -> NodeRow:
            return cluster.run(cluster.scheduler.nodes())[0]

        left = ray.available_resources()
        assert (left.get("GPU", 0.0), left["CPU"]) == (0.0, 1.0)
        assert (row().status, row().capability.has_gpu) == ("ready", True)
        other = ray.remote(Other).options(num_gpus=1, num_cpus=0).remote()
        is_there = other.is_there.remote()
        assert ray.wait([is_there], timeout=1) == ([], [is_there]), "the agent has the GPU"
        agent_of("held").kill()
        assert ray.get(is_there, timeout=60)
        wait_until(lambda: row().why.endswith("its agent asks Ray for 1 GPU and 2 CPUs"), 60, "the next agent waits")
        ray.kill(other)
        wait_until(lambda: row().status == "ready", 90, "the next agent has the GPU")
