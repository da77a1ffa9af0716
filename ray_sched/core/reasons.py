"""Why a node is not the one: the words a selection answers with, and the sentence a person reads for each."""

from collections.abc import Mapping
from enum import StrEnum


class Reason(StrEnum):
    """Why a node was passed over for a job. The member's value is stable; scripts may match on it."""

    NOT_READY = "NOT_READY"
    DRAINING = "DRAINING"
    TENANT_MISMATCH = "TENANT_MISMATCH"
    SERVICE_MISSING = "SERVICE_MISSING"
    ASR_LANG_UNSUPPORTED = "ASR_LANG_UNSUPPORTED"
    LANG_PAIR_UNSUPPORTED = "LANG_PAIR_UNSUPPORTED"
    TTS_LANG_UNSUPPORTED = "TTS_LANG_UNSUPPORTED"
    GPU_REQUIRED = "GPU_REQUIRED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    QUARANTINED = "QUARANTINED"
    EXCLUDED = "EXCLUDED"
    REFUSED_LATELY = "REFUSED_LATELY"
    RESOURCE_THRESHOLD = "RESOURCE_THRESHOLD"
    RESERVED = "KEPT_EMPTY"
    NOT_EMPTY = "NOT_EMPTY"
    CAPACITY_FULL = "CAPACITY_FULL"


SENTENCE: dict[Reason, str] = {
    Reason.NOT_READY: "the node is not ready: still loading its engine, unhealthy, silent, or its lease ran out",
    Reason.DRAINING: "the node is draining and takes no new work",
    Reason.TENANT_MISMATCH: "the node serves another tenant only",
    Reason.SERVICE_MISSING: "the node does not offer one of the services the job needs",
    Reason.ASR_LANG_UNSUPPORTED: "the node does not recognise the source language",
    Reason.LANG_PAIR_UNSUPPORTED: "the node does not translate this pair in this direction",
    Reason.TTS_LANG_UNSUPPORTED: "the node does not speak the target language",
    Reason.GPU_REQUIRED: "the job asks for a GPU and the node has none",
    Reason.SERVICE_UNAVAILABLE: "the node reported that a model for this service is not available at the moment",
    Reason.QUARANTINED: "the node failed too many of its last jobs and rests",
    Reason.EXCLUDED: "the job's last attempt failed on this node",
    Reason.REFUSED_LATELY: "the node refused a job a moment ago and is left alone for a little while",
    Reason.RESOURCE_THRESHOLD: "the node's CPU, GPU or memory is at or above its threshold",
    Reason.RESERVED: "the node is kept empty for a job that has to run alone",
    Reason.NOT_EMPTY: "agents died while the job ran beside others: it has to run alone, and others run on the node",
    Reason.CAPACITY_FULL: "every slot of the node is taken",
}


_NO_WORDS: Mapping[str, str] = {}


def reasons_text(reasons: Mapping[str, Reason], because: Mapping[str, str] = _NO_WORDS) -> str:
    """Counts and sample nodes per reason, most frequent first: ``2 x CAPACITY_FULL (node-a, node-b)``.

    ``because``: node to the words of its pool; of one that has reached a threshold they say which, beside its name.
    """
    nodes: dict[Reason, list[str]] = {}
    for node, reason in sorted(reasons.items()):
        over = because.get(node) if reason is Reason.RESOURCE_THRESHOLD else ""
        nodes.setdefault(reason, []).append(f"{node}: {over}" if over else node)
    by_count = sorted(nodes.items(), key=lambda item: -len(item[1]))
    return "; ".join(
        f"{len(names)} x {reason} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"  # noqa: PLR2004  # samples
        for reason, names in by_count
    )
