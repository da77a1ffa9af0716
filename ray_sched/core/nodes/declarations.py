"""Declarations: what the labels of a Ray node, or each engine of the profile that they name, declare.

One engine of one machine is one node of the scheduler. A Ray node whose labels name neither an engine nor a profile
belongs to somebody else and is never touched.
"""

import re
from collections.abc import Mapping
from math import floor

import msgspec
from msgspec import Struct

from ray_sched.core.capability import ALL, ANY, AUTO, LABEL_PREFIX, LANGUAGE, SERVICES, Capability, Name, Offer
from ray_sched.core.messages.fields import MAX_SLOTS, Slots, Text
from ray_sched.core.nodes.profiles import BadProfileError, Profile

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
    """What is declared of a node."""

    node: Text
    engine: str
    capability: Capability
    slots: Slots
    options: dict[str, str] = {}
    """The engine's own options."""
    held: Held = Held()
    offer: Offer = Offer()


class BadLabelError(ValueError):
    """A node's labels do not say what a node can do; the sentence names the label."""


Labels = Mapping[str, str]
"""Without their prefix."""


def labels_of(ray_node: RayNode) -> dict[str, str]:
    """Those that are ours, without their prefix."""
    return {k.removeprefix(LABEL_PREFIX): v for k, v in ray_node.labels.items() if k.startswith(LABEL_PREFIX)}


def declare(ray_node: RayNode, default_slots: int) -> Declaration | None:
    """What the labels declare; None without an engine label. Raises BadLabelError.

    A node that names no slots gets ``default_slots``, one that names no name is called after Ray's id.
    """
    labels = labels_of(ray_node)
    engine = labels.get("engine")
    if not engine:
        return None
    own_gpus = 0.0 if engine in _USE_NO_GPU else ray_node.gpus
    try:
        return _declared(labels, engine, ray_node, default_slots, own_gpus, _named(ray_node, labels))
    except _WrongError as wrong:
        raise BadLabelError(f"{LABEL_PREFIX}{wrong}") from None


def named_profile(ray_node: RayNode) -> str:
    """The profile that the labels name; empty: none. Raises BadLabelError.

    Beside it they may say the node's name and tenant; all else is said in the profile.
    """
    labels = labels_of(ray_node)
    if not labels.get("profile"):
        return ""
    beside = sorted(set(labels) - {"profile", "node", "tenant"})
    if beside:
        raise BadLabelError(f"{LABEL_PREFIX}{beside[0]} is said beside a profile; it belongs into the profile")
    try:
        _check_names(labels, "profile", "tenant", "node")
    except _WrongError as wrong:
        raise BadLabelError(f"{LABEL_PREFIX}{wrong}") from None
    return labels["profile"]


def declare_profile(ray_node: RayNode, profile: Profile, default_slots: int) -> list[Declaration]:
    """What each engine of the node's profile declares: a node called after the Ray node and the engine's name.

    GPUs are shared out among the engines that may use them and do not say how many. Raises BadProfileError.
    """
    labels = labels_of(ray_node)
    own_gpus = _shared_out(ray_node.gpus, sum(one["engine"] not in _USE_NO_GPU for one in profile.values()))
    declared = []
    for name, said in profile.items():
        gpus = 0.0 if said["engine"] in _USE_NO_GPU else own_gpus
        tenant = {"tenant": labels["tenant"]} if labels.get("tenant") else {}
        node = f"{_named(ray_node, labels)}/{name}"
        try:
            declared.append(_declared(said | tenant, said["engine"], ray_node, default_slots, gpus, node))
        except _WrongError as wrong:
            raise BadProfileError(f"profile {labels['profile']}, {name}: {wrong}") from None
    return declared


class _WrongError(ValueError):
    """What is wrong with one label, beginning with its name."""


def _declared(  # what two kinds of declarations have in common
    labels: Labels, engine: str, ray_node: RayNode, default_slots: int, own_gpus: float, node: str
) -> Declaration:
    _check_names(labels, "engine", "tenant", "node")
    options = {k.removeprefix("option."): v for k, v in labels.items() if k.startswith("option.")}
    return Declaration(
        node=node,
        engine=engine,
        capability=Capability(
            engine=engine,
            asr=_languages(labels, "asr", AUTO),
            mt=_pairs(labels),
            tts=_languages(labels, "tts"),
            tenant=labels.get("tenant", ""),
            has_gpu=ray_node.gpus > 0,
        ),
        slots=_slots(labels, default_slots),
        held=Held(
            cpus=_held(options.pop("ray-cpus", "0"), "ray-cpus", ray_node.cpus),
            gpus=_held(options.pop("ray-gpus", f"{own_gpus:g}"), "ray-gpus", ray_node.gpus),
        ),
        options=options,
        offer=Offer(
            services=_services(labels), found=tuple(service for service in SERVICES if labels.get(service) == ALL)
        ),
    )


def name_after(ray_node_id: str) -> str:
    """Of a node that names none."""
    return f"node-{ray_node_id[:8]}"


def _named(ray_node: RayNode, labels: Labels) -> str:
    return labels.get("node") or name_after(ray_node.ray_node_id)


def _check_names(labels: Labels, *names: str) -> None:
    """These become names of actors and keys in Redis. Ray allows nothing else in a label; this does not rely on it."""
    for name in names:
        try:
            msgspec.convert(labels.get(name) or "none", Name)
        except (msgspec.ValidationError, UnicodeError):
            raise _WrongError(f"{name}={labels[name][:80]!r} is not a name such as node-1") from None


def _slots(labels: Labels, default_slots: int) -> int:
    text = labels.get("slots", str(default_slots))
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MAX_SLOTS:
        raise _WrongError(f"slots={text[:80]!r} must be a number from 1 to {MAX_SLOTS}")
    return int(text)


def _shared_out(gpus: float, n_engines: int) -> float:
    """Whole ones if there are enough of them, as Ray hands out several only whole; rounded down, never more."""
    if n_engines <= 1:
        return gpus
    share = gpus / n_engines
    return float(floor(share)) if share >= 1 else floor(share * 1e4) / 1e4


def _held(text: str, name: str, limit: float) -> float:
    """A part of what the node has. Ray hands out a GPU, or several whole ones, or less than one to share it."""
    if not _AMOUNT.fullmatch(text) or float(text) > limit:
        raise _WrongError(f"option.{name}={text[:80]!r} must be a number from 0 to {limit:g}, what Ray counts there")
    return float(text)


def _services(labels: Labels) -> tuple[str, ...]:
    """Those that are offered, and no others; none: all that the engine has."""
    told = _parts(labels, "services")
    for service in told:
        if service not in SERVICES:
            known = ", ".join(SERVICES)
            raise _WrongError(f"services={labels['services'][:80]!r}: {service[:80]!r} is not one of {known}")
    return tuple(sorted(set(told)))


def _languages(labels: Labels, name: str, other: str = "") -> tuple[str, ...]:
    """None for ``all``: then the engine says which."""
    if labels.get(name) == ALL:
        return ()
    tags = _parts(labels, name)
    for tag in tags:
        if tag in {ALL, ANY}:
            raise _WrongError(f"{name}={labels[name][:80]!r}: say {ALL} alone for what the engine itself says")
        if tag != other and not _LANGUAGE.fullmatch(tag):
            raise _WrongError(f"{name}={labels[name][:80]!r}: {tag[:80]!r} is not a language tag such as en")
    return tuple(sorted(set(tags)))


def _pairs(labels: Labels) -> tuple[str, ...]:
    if labels.get("mt") == ALL:
        return ()
    pairs = []
    for text in _parts(labels, "mt"):
        match = _PAIR.fullmatch(text)
        if not match:
            raise _WrongError(f"mt={labels['mt'][:80]!r}: {text[:80]!r} is not a pair such as en_es")
        source, target = text.split("_")
        pairs.append(f"{source}:{target}")
    return tuple(sorted(set(pairs)))


def _parts(labels: Labels, name: str) -> list[str]:
    return [part for part in labels.get(name, "").split(".") if part]
