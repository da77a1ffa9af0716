"""What is asked of the nodes: languages, checked before anything is started, and whether any node can do it."""

from typing import TYPE_CHECKING

from msgspec import structs

from ray_sched.core.capability import MT, Capability, Demand, uncovered
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.reasons import SENTENCE

if TYPE_CHECKING:
    from ray_sched.core.views.nodes import NodeRow

_APERTIUM = {"ca": "apertium-eng-cat", "eo": "apertium-eo-en", "es": "apertium-eng-spa", "gl": "apertium-en-gl"}
"""Debian's packages that translate from English, by target."""


def spoken(text: str) -> str | list[str]:
    """What ``--from`` says: a tag, ``auto``, or several tags with commas between them."""
    return [tag for tag in text.split(",") if tag] if "," in text else text


def demand(src: str, to: str | None, *, speech: bool, tenant: str = "", needs_gpu: bool = False) -> Demand:
    """What a job with these options needs of a node. Raises SchedError INVALID_LANGUAGE."""
    from ray_sched.client.job_spec import languages, services

    source, tgt, candidates = languages(spoken(src), to, speech=speech)
    return Demand(
        src=source,
        tgt=tgt,
        services=services(source, tgt, speech=speech),
        tenant=tenant,
        needs_gpu=needs_gpu,
        candidates=candidates,
    )


def is_covered(demanded: Demand, rows: "list[NodeRow]") -> bool:
    """Whether a node can do it at all."""
    return any(uncovered(demanded, row.capability) is None for row in rows)


def not_covered(demanded: Demand, rows: "list[NodeRow]") -> SchedError:
    """Why no node of this machine can do it, and what to install."""
    if MT in demanded.services and not any(_translates(demanded, row.capability) for row in rows):
        return SchedError(Code.NO_AVAILABLE_NODE, _translation_advice(demanded))
    reasons = {reason for row in rows if (reason := uncovered(demanded, row.capability))}
    why = "; ".join(SENTENCE[reason] for reason in sorted(reasons)) or "there is no node"
    known = sorted({tag for row in rows for tag in row.capability.asr})
    return SchedError(
        Code.NO_AVAILABLE_NODE,
        f"no node serves {demanded.pair}: {why}; recognised here: {', '.join(known) or 'nothing'}",
    )


def _translates(demanded: Demand, capability: Capability) -> bool:
    translation = structs.replace(demanded, services=(MT,), tenant=capability.tenant)
    return uncovered(translation, capability) is None


def _translation_advice(demanded: Demand) -> str:
    package = _APERTIUM.get(demanded.tgt) if demanded.src == "en" else None
    if package:
        return f"no node translates {demanded.pair}; on Debian run: apt install apertium {package} espeak-ng"
    return (
        f"no node translates {demanded.pair} and Debian has no Apertium package for it; from English there are"
        f" {', '.join(_APERTIUM)}, such as --to es with: apt install apertium {_APERTIUM['es']} espeak-ng"
    )
