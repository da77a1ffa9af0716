"""A network of our own: a bridge for the head and a network namespace for each machine, so that cuts are real."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

IP = "/usr/sbin/ip"


class NoNamespacesError(Exception):
    """This machine gives us no network namespaces; the sentence says why."""


class Network:
    """Machines with addresses of their own, joined by a bridge. Its names and addresses come from our process id."""

    def __init__(self) -> None:
        number = os.getpid()
        self._name = f"rs{number % 10**7}"
        self._subnet = f"10.{128 + number % 100}.{number // 100 % 256}"
        self._addresses: dict[str, str] = {}
        self.head_ip = f"{self._subnet}.1"

    def open(self) -> None:
        """Make the bridge. Raises NoNamespacesError."""
        if os.geteuid() != 0:
            raise NoNamespacesError("network namespaces need root: leave out the fault cut, or run as root")
        try:
            self._ip("link", "add", self._name, "type", "bridge")
            self._ip("addr", "add", f"{self.head_ip}/24", "dev", self._name)
            self._ip("link", "set", self._name, "up")
            self._ip("netns", "add", f"{self._name}-probe")
            self._ip("netns", "del", f"{self._name}-probe")
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            told = getattr(error, "stderr", b"") or str(error).encode()
            raise NoNamespacesError(f"no network namespaces here: {told.decode().strip()}") from None

    def close(self) -> None:
        """Take everything away. What still runs in a namespace loses its network."""
        for number in range(1, len(self._addresses) + 1):
            self._ip("netns", "del", self._space(number), is_checked=False)
        self._ip("link", "del", self._name, is_checked=False)
        self._addresses.clear()

    def join(self, machine: str) -> str:
        """Give a machine its namespace and return its address."""
        if machine not in self._addresses:
            number = len(self._addresses) + 1
            self._addresses[machine] = address = f"{self._subnet}.{number + 1}"
            space, cable = self._space(number), self._cable(number)
            self._ip("netns", "add", space)
            self._ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            self._ip("link", "set", cable, "master", self._name, "up")
            self._ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            self._ip("-n", space, "link", "set", "eth0", "up")
            self._ip("-n", space, "link", "set", "lo", "up")
        return self._addresses[machine]

    def cut(self, machine: str) -> None:
        """Pull the cable."""
        self._ip("link", "set", self._cable(self._number(machine)), "down")

    def heal(self, machine: str) -> None:
        """Plug it in again."""
        self._ip("link", "set", self._cable(self._number(machine)), "up")

    @contextmanager
    def inside(self, machine: str) -> Iterator[None]:
        """What Ray starts within this block runs on this machine."""
        from ray._private import services  # noqa: PLC0415  # Ray reads its environment when it is imported

        rays_own = services.ConsolePopen
        services.ConsolePopen = partial(_started_in, f"/run/netns/{self._space(self._number(machine))}", rays_own)
        try:
            yield
        finally:
            services.ConsolePopen = rays_own

    def _number(self, machine: str) -> int:
        return list(self._addresses).index(machine) + 1

    def _space(self, number: int) -> str:
        return f"{self._name}-{number}"

    def _cable(self, number: int) -> str:
        return f"{self._name}-{number}"

    def _ip(self, *words: str, is_checked: bool = True) -> None:
        subprocess.run([IP, *words], check=is_checked, capture_output=True)


def _started_in(space: str, popen: Callable[..., Any], command: list[str], **options: Any) -> Any:
    return popen(["nsenter", f"--net={space}", "--", *command], **options)
