"""Listing: what Ray's list of nodes comes to: who declares what, who is left out and why, whose profile is to be read.

Labels are read when they are new or changed, and what is wrong with them is logged once. A profile is looked for in the
settings first, then in a file on the node, which takes a moment.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from ray_sched.core.effects import Log
from ray_sched.core.nodes.declarations import (
    BadLabelError,
    Declaration,
    RayNode,
    declare,
    declare_profile,
    labels_of,
    name_after,
    named_profile,
)
from ray_sched.core.nodes.profiles import BadProfileError, Profile

_READ_AGAIN_MS = 10_000
"""A profile that cannot be used is read again: somebody may have mended its file."""


class Declared(NamedTuple):
    """A living Ray node and what it declares."""

    ray_node: RayNode
    declaration: Declaration


class LeftOut(NamedTuple):
    """A living Ray node that declares something and cannot join."""

    ray_node_id: str
    engine: str
    """As its label says, or the profile."""
    why: str

    @classmethod
    def of(cls, ray_node: RayNode, why: str) -> "LeftOut":
        """A node, and what is wrong with it in a sentence."""
        labels = labels_of(ray_node)
        return cls(ray_node.ray_node_id, labels.get("engine") or labels.get("profile", ""), why)

    @property
    def name(self) -> str:
        """After Ray's id: the name that it declares may be another node's."""
        return name_after(self.ray_node_id)

    def complaint(self) -> Log:
        """The sentence for the log."""
        return Log(f"Ray node {self.ray_node_id[:8]} is left out: {self.why}")


class _Read(NamedTuple):
    """What was read of a Ray node, and what came of it."""

    ray_node: RayNode
    declarations: list[Declaration]

    def holds_for(self, ray_node: RayNode) -> bool:
        """Whether nothing has changed of what is read."""
        before = self.ray_node
        return (before.labels, before.gpus, before.cpus) == (ray_node.labels, ray_node.gpus, ray_node.cpus)


class NodeProfiles:
    """The profiles of the settings, and those that were read on nodes, by Ray's node id."""

    def __init__(self, told: Mapping[str, Profile]) -> None:
        self._told = told
        self._known: dict[str, Profile] = {}
        self._failed: dict[str, str] = {}
        """Why those that were read last cannot be used."""
        self._wanted: dict[str, str] = {}
        self._asked_at_ms: dict[str, int] = {}

    def of(self, ray_node_id: str, name: str) -> Profile | None:
        """The profile of this name there; None: it is to be read. Raises BadProfileError."""
        if name in self._told:
            return self._told[name]
        if ray_node_id in self._known:
            return self._known[ray_node_id]
        self._wanted[ray_node_id] = name
        if ray_node_id in self._failed:
            raise BadProfileError(self._failed[ray_node_id])
        return None

    def handle_read(self, ray_node_id: str, profile: Profile) -> None:
        """The file on that node has this."""
        self._known[ray_node_id] = profile
        self._failed.pop(ray_node_id, None)

    def handle_failed(self, ray_node_id: str, why: str) -> None:
        """What was read there cannot be used; it is read again after a while."""
        self._known.pop(ray_node_id, None)
        self._failed[ray_node_id] = why

    def take_wanted(self, listed: AbstractSet[str], now_ms: int) -> Iterator[tuple[str, str]]:
        """Ray's node ids, and the profiles to be read there now. What is of a node that is not listed is forgotten."""
        for mine in (self._known, self._failed, self._asked_at_ms):
            for absent in [it for it in mine if it not in listed]:
                del mine[absent]
        wanted, self._wanted = self._wanted, {}
        for ray_node_id, name in wanted.items():
            asked_at_ms = self._asked_at_ms.get(ray_node_id)
            if asked_at_ms is None or now_ms - asked_at_ms >= _READ_AGAIN_MS:
                self._asked_at_ms[ray_node_id] = now_ms
                yield ray_node_id, name


class Declarations:
    """Reads Ray's list of nodes. Remembers what was read and who is left out, so that each is logged once."""

    def __init__(self, default_slots: int, profiles: Mapping[str, Profile] | None = None) -> None:
        """``profiles``: those of the settings."""
        self._default_slots = default_slots
        self.profiles = NodeProfiles(profiles or {})
        self._read: dict[str, _Read] = {}
        """By Ray's node id: Ray lists all nodes four times a second, and labels rarely change."""
        self.left_out: dict[str, LeftOut] = {}
        """By Ray's node id: those that declare something and join nothing, by the last list."""
        self.undecided: set[str] = set()
        """Ray's ids of living nodes whose profile is not known, or cannot be used: what runs there goes on."""

    def handle_ray_nodes(
        self, ray_nodes: list[RayNode], in_use: AbstractSet[str]
    ) -> tuple[dict[str, Declared], list[Log]]:
        """The living nodes that declare something, by their name, and new complaints about the others.

        Where two Ray nodes declare one name, the one whose id is ``in_use`` keeps it, else the first one listed.
        """
        alive = [ray_node for ray_node in ray_nodes if ray_node.is_alive]
        declared: dict[str, Declared] = {}
        left_out: list[LeftOut] = []
        self.undecided.clear()
        for ray_node in sorted(alive, key=lambda it: it.ray_node_id not in in_use):
            try:
                declarations = self._declarations(ray_node)
            except (BadLabelError, BadProfileError) as error:
                left_out.append(LeftOut.of(ray_node, str(error)))
                continue
            taken = next((one.node for one in declarations if one.node in declared), "")
            if taken:
                left_out.append(LeftOut.of(ray_node, f"two nodes are called {taken}"))
            else:
                declared |= {one.node: Declared(ray_node, one) for one in declarations}
        listed = {ray_node.ray_node_id for ray_node in alive}
        self._read = {it: what for it, what in self._read.items() if it in listed}
        known, self.left_out = self.left_out, {one.ray_node_id: one for one in left_out}
        return declared, [one.complaint() for one in left_out if known.get(one.ray_node_id) != one]

    def _declarations(self, ray_node: RayNode) -> list[Declaration]:
        known = self._read.get(ray_node.ray_node_id)
        if known and known.holds_for(ray_node):
            return known.declarations
        if name := named_profile(ray_node):
            profile = self._profile(ray_node.ray_node_id, name)
            if profile is None:
                return []
            declarations = self._of_profile(ray_node, profile)
        else:
            one = declare(ray_node, self._default_slots)
            declarations = [one] if one else []
        self._read[ray_node.ray_node_id] = _Read(ray_node, declarations)
        return declarations

    def _profile(self, ray_node_id: str, name: str) -> Profile | None:
        self.undecided.add(ray_node_id)
        return self.profiles.of(ray_node_id, name)

    def _of_profile(self, ray_node: RayNode, profile: Profile) -> list[Declaration]:
        try:
            declarations = declare_profile(ray_node, profile, self._default_slots)
        except BadProfileError as error:
            self.profiles.handle_failed(ray_node.ray_node_id, str(error))
            raise
        self.undecided.discard(ray_node.ray_node_id)
        return declarations
