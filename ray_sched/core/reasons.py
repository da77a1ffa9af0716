"""Why a node is not the one, and why a job waits: the words of both, and for each reason the sentence people read."""

from collections import Counter
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


class Tier(StrEnum):
    """Why a job waits, in one word. Its value is stable; scripts may match on it."""

    STORE_AWAY = "STORE_AWAY"
    """Redis does not answer, so nothing is promised to anybody."""
    CLIENT_BLOCKED = "CLIENT_BLOCKED"
    """Its client, which has the audio, does not answer."""
    NO_NODE = "NO_NODE"
    """There is no node at all."""
    NO_NODE_OFFERS_IT = "NO_NODE_OFFERS_IT"
    """No node could do it even if it were idle: languages, services, tenant, GPU. A matter of configuration."""
    DRAINING = "DRAINING"
    """All nodes that could do it are draining."""
    NOT_READY = "NOT_READY"
    """Nodes could do it, and the best of them are not ready yet, or not any more."""
    RESTING = "RESTING"
    """Nodes could do it, and the best of them are left alone for a while: failures, a missing model, a threshold."""
    ALL_BUSY = "ALL_BUSY"
    """All nodes that could do it now have their slots taken. A matter of capacity."""
    OTHERS_FIRST = "OTHERS_FIRST"
    """There is a slot, and it is for others, or for an earlier utterance of its session."""
    QUOTA = "QUOTA"
    """So many jobs of its tenant, session or client wait that one more would be refused."""


TIER_OF: dict[Reason, Tier] = {
    Reason.TENANT_MISMATCH: Tier.NO_NODE_OFFERS_IT,
    Reason.SERVICE_MISSING: Tier.NO_NODE_OFFERS_IT,
    Reason.ASR_LANG_UNSUPPORTED: Tier.NO_NODE_OFFERS_IT,
    Reason.LANG_PAIR_UNSUPPORTED: Tier.NO_NODE_OFFERS_IT,
    Reason.TTS_LANG_UNSUPPORTED: Tier.NO_NODE_OFFERS_IT,
    Reason.GPU_REQUIRED: Tier.NO_NODE_OFFERS_IT,
    Reason.DRAINING: Tier.DRAINING,
    Reason.NOT_READY: Tier.NOT_READY,
    Reason.SERVICE_UNAVAILABLE: Tier.RESTING,
    Reason.QUARANTINED: Tier.RESTING,
    Reason.EXCLUDED: Tier.RESTING,
    Reason.RESOURCE_THRESHOLD: Tier.RESTING,
    Reason.REFUSED_LATELY: Tier.ALL_BUSY,
    Reason.RESERVED: Tier.ALL_BUSY,
    Reason.NOT_EMPTY: Tier.ALL_BUSY,
    Reason.CAPACITY_FULL: Tier.ALL_BUSY,
}
"""How near a node with this reason is to serving the job."""

_BY_NEARNESS = (Tier.NO_NODE_OFFERS_IT, Tier.DRAINING, Tier.NOT_READY, Tier.RESTING, Tier.ALL_BUSY)


def tier_of(counts: Mapping[Reason, int], n_nodes: int) -> Tier:
    """Why a job waits, by the reasons against so many nodes: that of the nodes which are nearest to serving it."""
    if not n_nodes:
        return Tier.NO_NODE
    if sum(counts.values()) < n_nodes:
        return Tier.OTHERS_FIRST
    return max((TIER_OF[reason] for reason in counts), key=_BY_NEARNESS.index)


def nearest(counts: Counter[Reason], n_nodes: int) -> Reason | Tier:
    """The one reason for which a job found no node: the most frequent of its tier; the tier where no node has one."""
    tier = tier_of(counts, n_nodes)
    return next((reason for reason, _ in counts.most_common() if TIER_OF[reason] is tier), tier)


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
