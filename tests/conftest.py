"""How tests are spread over processes, and the environment of Ray, which is set before anything imports it.

With pytest-xdist a run of more than one file has several workers. Tests of one ``xdist_group`` run one after the other
on one of them, so that what they share is started once; all others run anywhere. A single file, ``-n 0``, ``--pdb`` and
``-p no:xdist`` are one process. That is decided here and not in ``addopts``: there ``-n`` would be unknown without the
plugin, and would start workers for a single test.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from ray_sched.system.local import prepare_environment

prepare_environment()

# A busy machine is no failure: no test is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

LONGEST_NAME = 2_000
"""Letters of a test's name with its parameters."""

LONGEST_FIRST = (
    "tests/bench_command/test_bench_command.py",
    "tests/cli/test_up.py",
    "tests/observe/test_prometheus.py",
    "tests/chaos/test_chaos.py",
    "tests/cli/test_split.py",
    "tests/cli/test_interrupted.py",
    "tests/deploy/",
    "tests/cluster/test_drain.py",
    "tests/cluster/test_failures.py",
    "tests/cluster/test_redis.py",
    "tests/cli/test_sigterm.py",
    "tests/cluster/test_overload.py",
)
"""Where the tests are that take longest: they begin first, so that no worker is left alone with one at the end."""


@pytest.hookimpl(tryfirst=True)  # before xdist's own, which makes workers of the options that it finds
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask for workers where there are several files and the command line says nothing of workers."""
    option = config.option
    if hasattr(config, "workerinput"):
        option.loadgroup = config.workerinput["keeps_groups"]
        return
    if not config.pluginmanager.hasplugin("xdist"):
        return
    if option.numprocesses is None and not _is_a_single_file(config.args):
        option.numprocesses = "auto"
    if option.numprocesses and option.dist == "no":
        option.dist = "loadgroup"
        option.loadscopereorder = False  # in the order of collection, which is ours


@pytest.hookimpl(optionalhook=True)  # xdist's hook: unknown without it
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: most of the time is waiting for real processes, of which each worker has some."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker, which reads the command line anew, what was decided: it is who names the group of each test."""
    node.workerinput["keeps_groups"] = node.config.option.dist == "loadgroup"


def _is_a_single_file(args: list[str]) -> bool:
    paths = {arg.partition("::")[0] for arg in args}
    return len(paths) == 1 and Path(*paths).is_file()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For workers: the longest first, then the other real clusters, then everything else, each in its order.

    Every process that a test starts inherits the test's name in a variable, so that a name of a megabyte starts none.
    """
    if long := [item.nodeid[:200] for item in items if len(item.nodeid) > LONGEST_NAME]:
        raise pytest.UsageError(f"give the parameters of these tests ids that are read: {', '.join(long)}")
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    for number, path in enumerate(LONGEST_FIRST):
        if item.nodeid.startswith(path):
            return number
    return len(LONGEST_FIRST) + (item.get_closest_marker("cluster") is None)
