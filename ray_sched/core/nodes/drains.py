"""Drains: until when a node may finish what it has, when it has finished, and which machines were drained.

A drain ends a node without losing a job: it is over when nothing can run there any more, or at its deadline.
"""

from collections.abc import Container, Iterable

from ray_sched.core.messages.registry_pool import MembersVersion

_BEATS_TO_BE_EMPTY = 2
"""The first heartbeat of a drain may be older than the last push before it."""
_REMEMBER_AWAY_MS = 600_000


class Drain:
    """One node's drain: its deadline, and whether a job may still run there or be on its way there."""

    def __init__(self, ends_at_ms: int, version: MembersVersion) -> None:
        """``version``: of the first members message that notifies the node's pool of the drain."""
        self._ends_at_ms = ends_at_ms
        self._version = version
        self._may_have_jobs = True
        self._n_beats = 0

    def handle_heartbeat(self) -> None:
        """The agent has sent a heartbeat since the drain began."""
        self._n_beats += 1

    def handle_acquired(self, version: MembersVersion, n_acquired: int) -> None:
        """The Dispatcher has acquired so many of the node's slots, by a receipt that answers this members version.

        A receipt for members without the drain changes nothing: a job may have been assigned there since.
        """
        if version >= self._version:
            self._may_have_jobs = n_acquired > 0

    def may_have_jobs(self, *, is_in_pool: bool) -> bool:
        """Whether a job may run there, or be on its way, unknown to the agent's last heartbeat.

        A node that was never in a pool was never given a job.
        """
        return self._n_beats < _BEATS_TO_BE_EMPTY or (is_in_pool and self._may_have_jobs)

    def is_due(self, now_ms: int) -> bool:
        """Whether its deadline has passed."""
        return now_ms >= self._ends_at_ms


def named_by(name: str, names: Iterable[str]) -> list[str]:
    """The node of this name, or else all engines of the machine of this name, sorted."""
    known = sorted(set(names))
    return [name] if name in known else [it for it in known if it.startswith(f"{name}/")]


class DrainedMachines:
    """The machines that were drained: no agent is started on them again.

    A machine is known by its node's name and Ray's node id; one that was restarted has a new id and may join again.
    """

    def __init__(self) -> None:
        self._machines: set[tuple[str, str]] = set()
        self._away_since_ms: dict[tuple[str, str], int] = {}
        """Machines that Ray does not list any more."""

    @property
    def names(self) -> set[str]:
        """Of the nodes that were drained."""
        return {name for name, _ in self._machines}

    def add(self, name: str, ray_node_id: str) -> None:
        """A drain has begun: no agent is started on this machine under this name again."""
        self._machines.add((name, ray_node_id))

    def discard(self, name: str) -> bool:
        """Forget the machines of this name, which may join again. False: none was drained."""
        machines = {machine for machine in self._machines if machine[0] == name}
        self._machines -= machines
        return bool(machines)

    def __contains__(self, machine: tuple[str, str]) -> bool:
        return machine in self._machines

    def forget_absent(self, listed: Container[str], shown: Container[str], now_ms: int) -> list[tuple[str, str]]:
        """Forget the machines that Ray has not listed for ten minutes: they never come back under this id.

        ``listed``: Ray's ids of living nodes. ``shown``: names of nodes that are still shown to people; their machines
        stay. Returns those that were forgotten now.
        """
        away = [machine for machine in self._machines if machine[1] not in listed and machine[0] not in shown]
        self._away_since_ms = {machine: self._away_since_ms.get(machine, now_ms) for machine in away}
        forgotten = [machine for machine in away if now_ms - self._away_since_ms[machine] >= _REMEMBER_AWAY_MS]
        self._machines.difference_update(forgotten)
        return forgotten
