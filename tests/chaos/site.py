"""The machines of a run: a head that is never harmed, and nodes in namespaces of their own that are."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psutil

from ray_sched.system.local import LocalCluster, LocalNode
from tests.chaos.network import Network
from tests.support.processes import raylet_of

T = TypeVar("T")


class Machine:
    """One node: what it declares, and its raylet while it has one."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node
        self.name = node.labels["node"]
        self.slots = int(node.labels["slots"])
        self.raylet: Any = None

    @property
    def processes(self) -> list[psutil.Process]:
        """Raylet, agent, engines: everything of this machine, the raylet first."""
        raylet = self.raylet_process()
        if raylet is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return [raylet, *raylet.children(recursive=True)]
        return []

    def raylet_process(self) -> psutil.Process | None:
        """The raylet, if it lives."""
        if self.raylet is None:
            return None
        for kind, process in self.raylet.live_processes():
            if kind == "raylet":
                with suppress(psutil.NoSuchProcess):
                    return psutil.Process(process.pid)
        return None


class Site:
    """Starts, harms and repairs machines. Ray's own starting and ending blocks, so it has a thread, always the same:
    the kernel ends a raylet with the thread that started it."""

    def __init__(self, nodes: Sequence[LocalNode], object_store_mb: int, network: Network | None) -> None:
        self.machines = {machine.name: machine for machine in map(Machine, nodes)}
        self._network = network
        self._cluster = LocalCluster([], object_store_mb, head_ip=network.head_ip if network else "")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="site")

    @property
    def network(self) -> Network:
        """Where cables are pulled."""
        if self._network is None:
            raise RuntimeError("this site has no network of its own")
        return self._network

    def start(self) -> str:
        """Start the head and return its address. Blocks; call it in the main thread."""
        address = self._cluster.start()
        import ray._private.worker  # noqa: PLC0415  # Ray reads its environment when it is imported

        # of each node that dies Ray prints thirty lines on stdout, and here they die by our hand
        ray._private.worker.print_to_stdstream = lambda *_args, **_options: None
        return address

    async def power_on(self, name: str) -> None:
        """Start a machine's raylet, a new one after an old one."""
        await self._in_thread(lambda: self._power_on_with_retries(self.machines[name]))

    async def power_off(self, name: str, *, is_graceful: bool) -> None:
        """End a machine's raylet, if it is still there, and everything it has left."""
        await self._in_thread(lambda: self._power_off(self.machines[name], is_graceful=is_graceful))

    def _power_on_with_retries(self, machine: Machine) -> None:
        """A raylet gives up when its dashboard agent is not up in 15 s, as on a busy machine: start another one."""
        for is_last in (False, False, False, True):
            try:
                self._power_on(machine)
            except Exception:
                if is_last:
                    raise
                _kill_all(_half_started(machine.name))
            else:
                return

    def _power_on(self, machine: Machine) -> None:
        with _no_signal_handlers():
            if self._network is None:
                machine.raylet = self._cluster.add_node(machine.node)
                return
            address = self._network.join(machine.name)
            with self._network.inside(machine.name):
                machine.raylet = self._cluster.add_node(machine.node, address)

    def _power_off(self, machine: Machine, *, is_graceful: bool) -> None:
        left = [] if is_graceful else _held(machine)
        _send(left, signal.SIGKILL)
        if machine.raylet is not None:
            left = left or machine.processes
            self._cluster.remove_node(machine.raylet, is_graceful=is_graceful)
            machine.raylet = None
        _kill_all(left)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def stop(self) -> None:
        """End everything, frozen or cut off or neither. Blocks."""
        left = [process for machine in self.machines.values() for process in _held(machine)]
        _kill_all(left)
        self._cluster.stop()
        self._thread.shutdown()


def freeze(processes: Sequence[psutil.Process]) -> None:
    """SIGSTOP, the first one first: a raylet that is stopped does not notice what becomes of its workers."""
    _send(processes, signal.SIGSTOP)


def thaw(processes: Sequence[psutil.Process]) -> None:
    """SIGCONT to those that still live."""
    _send(processes, signal.SIGCONT)


def _held(machine: Machine) -> list[psutil.Process]:
    """Everything of a machine, stopped: a raylet that is going to be killed starts no more workers."""
    raylet = machine.raylet_process()
    if raylet:
        freeze([raylet])
    return machine.processes


def _half_started(node: str) -> list[psutil.Process]:
    """The raylet of a start that failed."""
    with suppress(AssertionError):
        return [raylet_of(node)]
    return []


def _kill_all(processes: Sequence[psutil.Process]) -> None:
    _send(processes, signal.SIGKILL)
    psutil.wait_procs([process for process in processes if process.is_running()], timeout=10)


def _send(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@contextmanager
def _no_signal_handlers() -> Iterator[None]:
    """Ray sets a handler of SIGTERM for each node, which Python allows in the main thread only."""
    import ray._private.utils  # noqa: PLC0415  # Ray reads its environment when it is imported

    rays_own = ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = lambda _handler: None
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = rays_own
