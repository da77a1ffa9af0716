"""What an agent holds in Ray's own count, on a real Ray. The GPU is one that Ray only counts."""

from pathlib import Path

import pytest
import ray

from ray_sched.system.local import LocalNode
from tests.support.cluster import RunningCluster, echo_node

pytestmark = pytest.mark.cluster


def test_an_agent_holds_the_gpus_and_cpus_that_it_asks_for_so_that_nobody_else_is_given_them(tmp_path: Path) -> None:
    labels = echo_node("held", option_ray_gpus="1", option_ray_cpus="2").labels
    with RunningCluster([LocalNode(labels=labels, num_cpus=3, num_gpus=1)], tmp_path) as cluster:
        left = ray.available_resources()
        assert (left.get("GPU", 0.0), left["CPU"]) == (0.0, 1.0)
        row = cluster.run(cluster.scheduler.nodes())[0]
        assert (row.status, row.capability.has_gpu) == ("ready", True)
