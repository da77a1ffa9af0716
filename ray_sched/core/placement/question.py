"""The question that a placement answers: one job that looks for a node, at one moment."""

import zlib

from msgspec import Struct

from ray_sched.core.capability import Demand
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.rules import SelectionRules


class Question(Struct, frozen=True, kw_only=True):
    """One job that looks for a node: everything a filter or a score may look at besides the node itself."""

    demand: Demand
    pair: str
    audio_ms: int
    """Duration of the job's audio, assumed if it is not known yet."""
    now_ms: int
    rules: SelectionRules
    speeds: SpeedBook
    tie_key: str
    """Names the attempt: decides between nodes that are equally good, the same way every time."""
    job_id: str = ""
    is_exclusive: bool = False
    """The job needs a node without any other attempt on it."""
    excluded_node: str = ""
    """The node where its last attempt failed; avoided as long as another node could do the job before long."""
    excluded_until_ms: int = 0
    """Until then the excluded node is avoided even if there is no other."""
    is_late: bool = False
    """Half of its time to wait is up: it is tried where it, or others, have failed rather than nowhere."""
    affine_node: str = ""
    """Where its session was served last."""
    colocated_node: str = ""
    """Where the submitter's job before this one went in the same step."""


def tie_number(q: Question) -> int:
    """A number made of the attempt's name: even, and the same whenever the same question is asked."""
    return zlib.crc32(q.tie_key.encode())
