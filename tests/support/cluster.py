"""A real Ray of several raylets with a running scheduler, for tests that are not coroutines themselves."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ray_sched.core.rules import PoolRules
from ray_sched.settings import Settings, default_settings
from ray_sched.system.local import LocalCluster, LocalNode
from ray_sched.system.running import RunOptions, running

if TYPE_CHECKING:
    from ray_sched.system.start import Scheduler

T = TypeVar("T")

ONE_MACHINE = PoolRules(cpu_threshold_percent=101, memory_threshold_percent=101)
"""All nodes of a test share a machine, so its load says nothing about any of them."""


class RunningCluster:
    """Start with ``with``; ``run`` runs a coroutine beside the scheduler."""

    def __init__(
        self, nodes: Sequence[LocalNode], data_dir: Path, /, *, is_head_a_node: bool = True, **rules: Any
    ) -> None:
        """The first node is the head, too, which no test may harm then; ``rules`` are groups of settings."""
        self.settings: Settings = default_settings(data_dir=data_dir, **({"pools": ONE_MACHINE} | rules))
        self._nodes = nodes
        self._runner = asyncio.Runner()
        self._block = running(self.settings, RunOptions(local_nodes=nodes, is_head_a_node=is_head_a_node))
        self.scheduler: Scheduler

    def __enter__(self) -> Self:
        self.scheduler = self.run(self._block.__aenter__())
        self.run(self.scheduler.wait_for_nodes(len(self._nodes)))
        return self

    def __exit__(self, *what: object) -> None:
        self.run(self._block.__aexit__(None, None, None))
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine."""
        return self._runner.run(work)


class ClusterOfOurs(RunningCluster):
    """A running scheduler on a Ray whose machines a test starts and stops: ``ray``."""

    def __init__(self, nodes: Sequence[LocalNode], data_dir: Path, /, **rules: Any) -> None:
        super().__init__(nodes, data_dir, **rules)
        self.ray = LocalCluster(nodes, self.settings.local.object_store_mb)

    def __enter__(self) -> Self:
        try:
            self.address = self.ray.start()
            self._block = running(self.settings, RunOptions(address=self.address))
            return super().__enter__()
        except BaseException:
            self.ray.stop()
            raise

    def __exit__(self, *what: object) -> None:
        try:
            super().__exit__(*what)
        finally:
            self.ray.stop()


def wait_until(is_so: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Seconds until it was so. Fails the test if it never was."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


def echo_node(name: str, *, slots: int = 4, **labels: str) -> LocalNode:
    """A node with the echo engine that recognises English unless its labels say otherwise."""
    options = {key.replace("option_", "option.").replace("_", "-"): value for key, value in labels.items()}
    return LocalNode(labels={"engine": "echo", "asr": "en", "node": name, "slots": str(slots)} | options)
