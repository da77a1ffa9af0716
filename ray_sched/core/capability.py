"""What a node can do and what a job needs.

Both are values. A node's :class:`Capability` comes from its labels and is refined by its engine with what is really
installed; a job's :class:`Demand` comes from its language pair and services. ``uncovered`` compares them and names
what is missing. A tag with a region is served by its language where nobody has the region: ``en-US`` by ``en``.
Nothing here knows load, health or time.
"""

from collections.abc import Iterator
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
ALL = "all"
"""Instead of languages in a declaration: what the engine itself says."""
AUTO = "auto"
"""As the source of a job: its engine finds out which language is spoken. Among the ASR languages of a node: it can."""

LABEL_PREFIX = "ray-sched.io/"
"""Ray node labels with this prefix declare a node (Ray allows letters, digits, ``-``, ``_`` and ``.`` in values)."""

LANGUAGE = r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}"
"""What a tag looks like, as a regular expression."""
Language = Annotated[str, Meta(pattern=rf"\A{LANGUAGE}\Z")]
"""A BCP 47 tag such as ``en`` or ``pt-BR``."""

SpokenLanguage = Annotated[str, Meta(pattern=rf"\A({LANGUAGE}|{AUTO})\Z")]
"""A tag, or AUTO."""

Pair = Annotated[str, Meta(pattern=rf"\A{LANGUAGE}:{LANGUAGE}\Z")]
"""A directed pair such as ``en:es``, of which either side may be ``any``."""

MAX_NAME = 64
"""One more than Ray allows in a label's value."""
_NAME = r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?"
Name = Annotated[str, Meta(max_length=MAX_NAME, pattern=rf"\A{_NAME}\Z")]
"""What a label may hold: engines and nodes. It becomes part of actor names and of keys in Redis."""
NameOrNone = Annotated[str, Meta(max_length=MAX_NAME, pattern=rf"\A({_NAME})?\Z")]
"""A name, or nothing."""

MAX_LANGUAGES = 1_000
Languages = Annotated[tuple[Language, ...], Meta(max_length=MAX_LANGUAGES)]
SpokenLanguages = Annotated[tuple[SpokenLanguage, ...], Meta(max_length=MAX_LANGUAGES)]
Pairs = Annotated[tuple[Pair, ...], Meta(max_length=10_000)]

MAX_POOL_NAME = 128
"""A longer name of a pool counts what it does not spell out."""


class Capability(Struct, frozen=True, kw_only=True):
    """What a node can do. Equal capabilities share a pool.

    Languages are sorted tuples of tags; ``mt`` holds directed pairs ``"en:es"``, either side may be ``any``; ``auto``
    in ``asr`` says that the engine recognises which of the others is spoken.
    """

    engine: Name
    asr: SpokenLanguages = ()
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


class Offer(Struct, frozen=True, kw_only=True):
    """What a node offers of what its engine can do."""

    services: tuple[str, ...] = ()
    """These and no others, sorted; empty: all."""
    found: tuple[str, ...] = ()
    """Those whose languages were declared as ``all``, so that the engine has to say them."""


class BadCapabilityError(ValueError):
    """A capability that an engine reports is not valid, or not what was declared; the sentence says what is wrong."""


def offered(capability: Capability, offer: Offer) -> Capability:
    """What a node offers of its engine's capability. Raises BadCapabilityError for a service that it does not have."""
    silent = [service for service in offer.found if service not in capability.services]
    if silent:
        raise BadCapabilityError(
            f"{silent[0]}={ALL} leaves it to engine {capability.engine} to say which languages it has, and it names"
            f" none: name them, or give it a model for {silent[0]}"
        )
    missing = [service for service in offer.services if service not in capability.services]
    if missing:
        has = ", ".join(sorted(capability.services)) or "nothing"
        raise BadCapabilityError(f"services names {missing[0]}, but engine {capability.engine} has {has} here")
    if not offer.services:
        return capability
    kept = {name: values if name in offer.services else () for name, values in capability.lists()}
    return msgspec.structs.replace(capability, **kept)


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
    candidates: tuple[str, ...] = ()
    """With ``auto`` as the source: the languages it may be, sorted; empty: any that the node recognises."""

    @property
    def pair(self) -> str:
        """The directed pair, ``en:es``; equal sides mean transcription."""
        return f"{self.src}:{self.tgt}"


@lru_cache(4_096)
def demand_of(  # the parts of a Demand, in their order
    src: str,
    tgt: str,
    services: tuple[str, ...],
    tenant: str,
    needs_gpu: bool,  # noqa: FBT001  # for the cache
    candidates: tuple[str, ...] = (),
) -> Demand:
    """The demand with these parts, made once: it is looked up several times for every job."""
    return Demand(src=src, tgt=tgt, services=services, tenant=tenant, needs_gpu=needs_gpu, candidates=candidates)


def uncovered(demand: Demand, capability: Capability) -> Reason | None:
    """The first thing the capability lacks for this demand, or None if it covers it."""
    missing = set(demand.services) - capability.services
    if capability.tenant and capability.tenant != demand.tenant:
        return Reason.TENANT_MISMATCH
    if missing:
        return Reason.SERVICE_MISSING
    reason = _unserved(demand, demand.src, demand.tgt, capability)
    if reason and served_as(demand, capability) is None:
        return reason
    if demand.needs_gpu and not capability.has_gpu:
        return Reason.GPU_REQUIRED
    return None


def served_as(demand: Demand, capability: Capability) -> tuple[str, str] | None:
    """The languages that really serve this demand's, nearest first: ``en-US`` to ``pt-BR`` may become en to pt.

    None if none do. ``auto`` stays as it is.
    """
    has_target, is_translated = MT in demand.services or TTS in demand.services, MT in demand.services
    for src in broader(demand.src):
        for tgt in broader(demand.tgt) if has_target else (src,):
            if not (is_translated and src == tgt) and _unserved(demand, src, tgt, capability) is None:
                return src, tgt
    return None


def broader(tag: str) -> Iterator[str]:
    """The tag, then what it is a kind of: ``zh-Hant-TW``, ``zh-Hant``, ``zh``."""
    yield tag
    while "-" in tag:
        tag = tag.rpartition("-")[0]
        yield tag


def nearest(tag: str, known: tuple[str, ...]) -> str | None:
    """The tag itself if it is known, else the nearest that it is a kind of."""
    return next((it for it in broader(tag) if it in known), None)


def _unserved(demand: Demand, src: str, tgt: str, capability: Capability) -> Reason | None:
    """The first service that the capability does not have for exactly these languages."""
    services = demand.services
    if ASR in services and not _recognises(src, demand.candidates, capability):
        return Reason.ASR_LANG_UNSUPPORTED
    if MT in services and not _translates(src, tgt, demand.candidates, capability):
        return Reason.LANG_PAIR_UNSUPPORTED
    if TTS in services and tgt not in capability.tts:
        return Reason.TTS_LANG_UNSUPPORTED
    return None


def _recognises(src: str, candidates: tuple[str, ...], capability: Capability) -> bool:
    return src in capability.asr and all(nearest(candidate, capability.asr) for candidate in candidates)


def _translates(src: str, tgt: str, candidates: tuple[str, ...], capability: Capability) -> bool:
    """Of an unknown source: what may be spoken can be translated; if it may be anything, one language can."""
    if src != AUTO:
        return capability.translates(src, tgt)
    if candidates:
        return all(translated_as(candidate, tgt, capability) is not None for candidate in candidates)
    return any(translated_as(source, tgt, capability) for source in capability.asr if source != AUTO)


def translated_as(found: str, tgt: str, capability: Capability) -> str | None:
    """The source of the pair that translates what was found; empty if it is the target already; None without one."""
    if tgt in broader(found):
        return ""
    return next((source for source in broader(found) if capability.translates(source, tgt)), None)
