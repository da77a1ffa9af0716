"""What a node can do and what a job needs.

Both are values. A node's :class:`Capability` comes from its labels and is refined by its engine with what is really
installed; a job's :class:`Demand` comes from its language pair and services. ``uncovered`` compares them and names
what is missing. Nothing here knows load, health or time.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ray_sched.core.reasons import Reason

ASR = "asr"
MT = "mt"
TTS = "tts"
SERVICES = (ASR, MT, TTS)
ANY = "any"
"""In an MT pair: any language on that side (``any:en`` translates everything into English)."""

LABEL_PREFIX = "ray-sched.io/"
"""Ray node labels with this prefix declare a node (Ray allows letters, digits, ``-``, ``_`` and ``.`` in values)."""

LANGUAGE = r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}"
"""What a tag looks like, as a regular expression."""
Language = Annotated[str, Meta(pattern=rf"\A{LANGUAGE}\Z")]
"""A BCP 47 tag such as ``en`` or ``pt-BR``."""

Pair = Annotated[str, Meta(pattern=rf"\A{LANGUAGE}:{LANGUAGE}\Z")]
"""A directed pair such as ``en:es``, of which either side may be ``any``."""

MAX_NAME = 64
"""One more than Ray allows in a label's value."""
_NAME = r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?"
Name = Annotated[str, Meta(max_length=MAX_NAME, pattern=rf"\A{_NAME}\Z")]
"""What a label may hold: engines and nodes. It becomes part of actor names and of keys in Redis."""
NameOrNone = Annotated[str, Meta(max_length=MAX_NAME, pattern=rf"\A({_NAME})?\Z")]
"""A name, or nothing."""

Languages = Annotated[tuple[Language, ...], Meta(max_length=1_000)]
Pairs = Annotated[tuple[Pair, ...], Meta(max_length=10_000)]

MAX_POOL_NAME = 128
"""A longer name of a pool counts what it does not spell out."""


class Capability(Struct, frozen=True, kw_only=True):
    """What a node can do. Equal capabilities share a pool.

    Languages are sorted tuples of tags; ``mt`` holds directed pairs ``"en:es"``, either side may be ``any``.
    """

    engine: Name
    asr: Languages = ()
    mt: Pairs = ()
    tts: Languages = ()
    tenant: NameOrNone = ""
    """The one tenant this node serves; empty: everyone."""
    has_gpu: bool = False

    @property
    def services(self) -> frozenset[str]:
        """The services this node offers at all."""
        return frozenset(s for s, has in ((ASR, self.asr), (MT, self.mt), (TTS, self.tts)) if has)

    def translates(self, src: str, tgt: str) -> bool:
        """Whether an MT pair covers the directed pair."""
        return any(pair in self.mt for pair in (f"{src}:{tgt}", f"{ANY}:{tgt}", f"{src}:{ANY}", f"{ANY}:{ANY}"))

    def text(self) -> str:
        """The canonical name of this capability, used as pool id: equal for equal capabilities and for no others.

        A model of a hundred languages gets a name that counts them and ends with a fingerprint, at most 256 letters.
        """
        spelled = self._text({name: ".".join(values) for name, values in self.lists()})
        if len(spelled) <= MAX_POOL_NAME:
            return spelled
        counted = self._text({name: f"{len(values)}-languages" for name, values in self.lists()})
        return f"{counted}/{blake2b(spelled.encode(), digest_size=8).hexdigest()}"

    def lists(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What is offered for each service, without those that are not offered."""
        return tuple((name, values) for name, values in ((ASR, self.asr), (MT, self.mt), (TTS, self.tts)) if values)

    def _text(self, lists: dict[str, str]) -> str:
        parts = [self.engine, *(f"{name}={spelled}" for name, spelled in lists.items())]
        if self.tenant:
            parts.append(f"tenant={self.tenant}")
        if self.has_gpu:
            parts.append("gpu")
        return "/".join(parts)


class BadCapabilityError(ValueError):
    """A capability that an engine reports is not valid; the sentence names the field."""


def checked(capability: Capability) -> Capability:
    """The capability with its lists sorted and without repetitions. Raises BadCapabilityError.

    A capability that an engine made was never decoded, so nobody has looked at it yet.
    """
    try:
        valid = msgspec.convert(msgspec.to_builtins(capability), Capability)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
        raise BadCapabilityError(f"the engine's capability cannot be: {str(error)[:200]}") from None
    lists = {name: tuple(sorted(set(values))) for name, values in valid.lists()}
    return msgspec.structs.replace(valid, **lists)


class Demand(Struct, frozen=True, kw_only=True, cache_hash=True):
    """What a job needs of a node. Jobs with equal demands wait in one queue."""

    src: str
    tgt: str
    services: tuple[str, ...]
    """Sorted names out of SERVICES."""
    tenant: str = ""
    needs_gpu: bool = False

    @property
    def pair(self) -> str:
        """The directed pair, ``en:es``; equal sides mean transcription."""
        return f"{self.src}:{self.tgt}"


@lru_cache(4_096)
def demand_of(src: str, tgt: str, services: tuple[str, ...], tenant: str, needs_gpu: bool) -> Demand:  # noqa: FBT001  # for the cache
    """The demand with these parts, made once: it is looked up several times for every job."""
    return Demand(src=src, tgt=tgt, services=services, tenant=tenant, needs_gpu=needs_gpu)


def uncovered(demand: Demand, capability: Capability) -> Reason | None:
    """The first thing the capability lacks for this demand, or None if it covers it."""
    missing = set(demand.services) - capability.services
    if capability.tenant and capability.tenant != demand.tenant:
        return Reason.TENANT_MISMATCH
    if missing:
        return Reason.SERVICE_MISSING
    if ASR in demand.services and demand.src not in capability.asr:
        return Reason.ASR_LANG_UNSUPPORTED
    if MT in demand.services and not capability.translates(demand.src, demand.tgt):
        return Reason.LANG_PAIR_UNSUPPORTED
    if TTS in demand.services and demand.tgt not in capability.tts:
        return Reason.TTS_LANG_UNSUPPORTED
    if demand.needs_gpu and not capability.has_gpu:
        return Reason.GPU_REQUIRED
    return None
