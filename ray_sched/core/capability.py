"""What a node can do and what a job needs.

Both are values. A node's :class:`Capability` comes from its labels and is refined by its engine with what is really
installed; a job's :class:`Demand` comes from its language pair and services. ``uncovered`` compares them and names
what is missing. Nothing here knows load, health or time.
"""

from typing import Annotated

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

Language = Annotated[str, Meta(pattern=r"\A[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}\Z")]
"""A BCP 47 tag such as ``en`` or ``pt-BR``."""

Name = Annotated[str, Meta(max_length=128, pattern=r"\A[A-Za-z0-9]([A-Za-z0-9._:/ -]*[A-Za-z0-9])?\Z")]
"""A short printable name: tenants, nodes, engines."""


class Capability(Struct, frozen=True, kw_only=True):
    """What a node can do. Equal capabilities share a pool.

    Languages are sorted tuples of tags; ``mt`` holds directed pairs ``"en:es"``, either side may be ``any``.
    """

    engine: str
    asr: tuple[str, ...] = ()
    mt: tuple[str, ...] = ()
    tts: tuple[str, ...] = ()
    tenant: str = ""
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
        """The canonical name of this capability, used as pool id."""
        parts = [self.engine]
        for name, values in ((ASR, self.asr), (MT, self.mt), (TTS, self.tts)):
            if values:
                parts.append(f"{name}={'.'.join(values)}")
        if self.tenant:
            parts.append(f"tenant={self.tenant}")
        if self.has_gpu:
            parts.append("gpu")
        return "/".join(parts)


class Demand(Struct, frozen=True, kw_only=True):
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
