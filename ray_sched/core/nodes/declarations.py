"""Declarations: what the labels of Ray's nodes declare.

Labels are read when they are new or changed, and what is wrong with them is logged once. A node without an engine
label belongs to somebody else and is never touched.
"""

import re
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ray_sched.core.capability import AUTO, LABEL_PREFIX, LANGUAGE, Capability, Name
from ray_sched.core.effects import Log
from ray_sched.core.messages.fields import MAX_SLOTS, Slots, Text

_LANGUAGE = re.compile(LANGUAGE)
_PAIR = re.compile(rf"{LANGUAGE}_{LANGUAGE}")
_NUMBER = re.compile(r"[0-9]{1,4}")
_AMOUNT = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})?")
_USE_NO_GPU = frozenset({"echo", "speech", "openai"})
"""Shipped engines that leave the GPUs of their node to others."""


class RayNode(Struct, frozen=True, kw_only=True):
    """A node as Ray lists it."""

    ray_node_id: str
    labels: dict[str, str]
    cpus: float = 0.0
    """In Ray's own count, whoever uses them; so are GPUs."""
    gpus: float = 0.0
    is_alive: bool = True
    is_draining: bool = False
    """Ray itself drains the node."""
    drain_ends_in_ms: int | None = None
    """How long Ray leaves it then; None: Ray names no end."""


class Held(Struct, frozen=True, kw_only=True):
    """What the agent takes of its node in Ray's own count, so that Ray gives it to nobody else."""

    cpus: float = 0.0
    gpus: float = 0.0

    def __str__(self) -> str:
        parts = ((self.gpus, "GPUs"), (self.cpus, "CPUs"))
        return " and ".join(f"{n:g} {what[:-1] if n == 1 else what}" for n, what in parts if n)


class Declaration(Struct, frozen=True, kw_only=True):
    """What a node's labels say of it."""

    node: Text
    engine: str
    capability: Capability
    slots: Slots
    options: dict[str, str] = {}
    """The engine's own options."""
    held: Held = Held()


class BadLabelError(ValueError):
    """A node's labels do not say what a node can do; the sentence names the label."""


def declare(ray_node: RayNode, default_slots: int) -> Declaration | None:
    """What the labels declare; None without an engine label. Raises BadLabelError.

    A node that names no slots gets ``default_slots``, one that names no name is called after Ray's id.
    """
    labels = {k.removeprefix(LABEL_PREFIX): v for k, v in ray_node.labels.items() if k.startswith(LABEL_PREFIX)}
    engine = labels.get("engine")
    if not engine:
        return None
    _check_names(labels, "engine", "tenant", "node")
    capability = Capability(
        engine=engine,
        asr=_languages(labels, "asr", AUTO),
        mt=_pairs(labels),
        tts=_languages(labels, "tts"),
        tenant=labels.get("tenant", ""),
        has_gpu=ray_node.gpus > 0,
    )
    options = {k.removeprefix("option."): v for k, v in labels.items() if k.startswith("option.")}
    held = Held(
        cpus=_held(options.pop("ray-cpus", "0"), "ray-cpus", ray_node.cpus),
        gpus=_held(options.pop("ray-gpus", _own_gpus(engine, ray_node)), "ray-gpus", ray_node.gpus),
    )
    return Declaration(
        node=labels.get("node") or _name_of(ray_node.ray_node_id),
        engine=engine,
        capability=capability,
        slots=_slots(labels, default_slots),
        options=options,
        held=held,
    )


def _name_of(ray_node_id: str) -> str:
    """Of a node that names none."""
    return f"node-{ray_node_id[:8]}"


def _check_names(labels: dict[str, str], *names: str) -> None:
    """These become names of actors and keys in Redis. Ray allows nothing else in a label; this does not rely on it."""
    for name in names:
        try:
            msgspec.convert(labels.get(name) or "none", Name)
        except (msgspec.ValidationError, UnicodeError):
            raise BadLabelError(f"{LABEL_PREFIX}{name}={labels[name][:80]!r} is not a name such as node-1") from None


def _slots(labels: dict[str, str], default_slots: int) -> int:
    text = labels.get("slots", str(default_slots))
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MAX_SLOTS:
        raise BadLabelError(f"{LABEL_PREFIX}slots={text[:80]!r} must be a number from 1 to {MAX_SLOTS}")
    return int(text)


def _own_gpus(engine: str, ray_node: RayNode) -> str:
    """As many as an engine holds whose labels do not say it: all, if it may use them at all."""
    return "0" if engine in _USE_NO_GPU else f"{ray_node.gpus:g}"


def _held(text: str, name: str, limit: float) -> float:
    """A part of what the node has. Ray hands out a GPU, or several whole ones, or less than one to share it."""
    if not _AMOUNT.fullmatch(text) or float(text) > limit:
        raise BadLabelError(
            f"{LABEL_PREFIX}option.{name}={text[:80]!r} must be a number from 0 to {limit:g}, what Ray counts there"
        )
    return float(text)


def _languages(labels: dict[str, str], name: str, other: str = "") -> tuple[str, ...]:
    tags = [tag for tag in labels.get(name, "").split(".") if tag]
    for tag in tags:
        if tag != other and not _LANGUAGE.fullmatch(tag):
            raise BadLabelError(
                f"{LABEL_PREFIX}{name}={labels[name][:80]!r}: {tag[:80]!r} is not a language tag such as en"
            )
    return tuple(sorted(set(tags)))


def _pairs(labels: dict[str, str]) -> tuple[str, ...]:
    pairs = []
    for text in filter(None, labels.get("mt", "").split(".")):
        match = _PAIR.fullmatch(text)
        if not match:
            raise BadLabelError(f"{LABEL_PREFIX}mt={labels['mt'][:80]!r}: {text[:80]!r} is not a pair such as en_es")
        source, target = text.split("_")
        pairs.append(f"{source}:{target}")
    return tuple(sorted(set(pairs)))


class Declared(NamedTuple):
    """A living Ray node and what it declares."""

    ray_node: RayNode
    declaration: Declaration


class LeftOut(NamedTuple):
    """A living Ray node that declares something and cannot join."""

    ray_node_id: str
    engine: str
    """As its label says."""
    why: str

    @classmethod
    def of(cls, ray_node: RayNode, why: str) -> "LeftOut":
        """A node, and what is wrong with it in a sentence."""
        return cls(ray_node.ray_node_id, ray_node.labels.get(f"{LABEL_PREFIX}engine", ""), why)

    @property
    def name(self) -> str:
        """After Ray's id: the name that it declares may be another node's."""
        return _name_of(self.ray_node_id)

    def complaint(self) -> Log:
        """The sentence for the log."""
        return Log(f"Ray node {self.ray_node_id[:8]} is left out: {self.why}")


class _Read(NamedTuple):
    """Labels that were read, and what came of it."""

    ray_node: RayNode
    declaration: Declaration | None

    def holds_for(self, ray_node: RayNode) -> bool:
        """Whether nothing has changed of what is read."""
        before = self.ray_node
        return (before.labels, before.gpus, before.cpus) == (ray_node.labels, ray_node.gpus, ray_node.cpus)


class Declarations:
    """Reads Ray's list of nodes. Remembers what was read and who is left out, so that each is logged once."""

    def __init__(self, default_slots: int) -> None:
        self._default_slots = default_slots
        self._read: dict[str, _Read] = {}
        """By Ray's node id: Ray lists all nodes four times a second, and labels rarely change."""
        self.left_out: dict[str, LeftOut] = {}
        """By Ray's node id: those that declare something and join nothing, by the last list."""

    def handle_ray_nodes(
        self, ray_nodes: list[RayNode], in_use: AbstractSet[str]
    ) -> tuple[dict[str, Declared], list[Log]]:
        """The living nodes that declare something, by their name, and new complaints about the others.

        Where two Ray nodes declare one name, the one whose id is ``in_use`` keeps it, else the first one listed.
        """
        alive = [ray_node for ray_node in ray_nodes if ray_node.is_alive]
        declared: dict[str, Declared] = {}
        left_out: list[LeftOut] = []
        for ray_node in sorted(alive, key=lambda it: it.ray_node_id not in in_use):
            try:
                declaration = self._declaration(ray_node)
            except BadLabelError as error:
                left_out.append(LeftOut.of(ray_node, str(error)))
                continue
            if declaration is None:
                continue
            if declaration.node in declared:
                left_out.append(LeftOut.of(ray_node, f"two nodes are called {declaration.node}"))
            else:
                declared[declaration.node] = Declared(ray_node, declaration)
        listed = {ray_node.ray_node_id for ray_node in alive}
        self._read = {it: what for it, what in self._read.items() if it in listed}
        known, self.left_out = self.left_out, {one.ray_node_id: one for one in left_out}
        return declared, [one.complaint() for one in left_out if known.get(one.ray_node_id) != one]

    def _declaration(self, ray_node: RayNode) -> Declaration | None:
        known = self._read.get(ray_node.ray_node_id)
        if known and known.holds_for(ray_node):
            return known.declaration
        declaration = declare(ray_node, self._default_slots)
        self._read[ray_node.ray_node_id] = _Read(ray_node, declaration)
        return declaration
