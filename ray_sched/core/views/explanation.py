"""What those are answered with who ask why a job waits. They need nothing of the brain that is asked."""

from msgspec import Struct

from ray_sched.core.views.jobs import JobView

CANDIDATE = "CANDIDATE"
"""Instead of a reason: nothing speaks against the node."""


class NodeVerdict(Struct, frozen=True, kw_only=True):
    """What the placement policy says of one node for one job."""

    node: str
    reason: str = ""
    """Empty: nothing speaks against the node."""
    sentence: str = ""
    score: float | None = None
    """Product of the scores; smaller is better."""
    parts: dict[str, float] = {}
    """Each score by name: expected completion in seconds, affinity factor."""


class Forecast(Struct, frozen=True, kw_only=True):
    """When a job will start if nobody else comes and every node stays as it is.

    In virtual time, on nodes of three speeds whose runs vary by 30 %, half of the jobs started within 5 % of what was
    foretold, nine of ten within 15 %, and three of four within the spread.
    """

    in_ms: int
    earliest_ms: int
    latest_ms: int
    """The spread: how far runs of this pair were from what was expected of them, for each round of runs until then."""
    node: str
    """Whose slot it will probably be."""
    audio_ahead_s: float
    """Seconds of audio that have to be done before, of what runs on the nodes that could take it and what is ahead."""
    is_guess: bool
    """No run of such a job has been seen: a speed was assumed."""


class WhatIf(Struct, frozen=True, kw_only=True):
    """What would have to be otherwise for a job to start on a node."""

    node: str
    reasons: tuple[str, ...]
    """What speaks against it, one after the other."""
    facts: tuple[str, ...]
    """What would have to be true instead, each as a clause after *if*. Empty: it would start there now."""
    is_enough: bool
    """Whether the policy places the job there then."""
    in_ms: int = 0
    """When it would start then; more than 0 where those ahead of it would take all slots of that node first."""
    by_itself_in_ms: int | None = None
    """When the last of it comes true without anybody's help, as far as is known; null: somebody has to do something."""


class Then(Struct, frozen=True, kw_only=True):
    """How a job was placed, as it was then."""

    attempt: int
    node: str
    ago_ms: int
    nodes: tuple[NodeVerdict, ...]
    """The candidates that were compared, sixteen at most, the best first."""


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a job is where it is."""

    job: JobView
    summary: str
    """One sentence."""
    tier: str
    """Why it waits, in one word; empty: it does not wait."""
    counts: dict[str, int]
    """Nodes by the reason against them, ``CANDIDATE`` for none: together all nodes there are."""
    ahead: int | None
    """For a waiting job: jobs that compete for the same nodes and will be served before it, if nobody else comes."""
    starts: Forecast | None
    """For a waiting job: when it will start as things are; null: never, or nobody can know."""
    otherwise: tuple[WhatIf, ...]
    """For a waiting job: what would have to be otherwise for it to start now, the nearest first."""
    nodes: tuple[NodeVerdict, ...]
    """What the placement policy would decide now: for a waiting job the answer, for others a dry run."""
    then: Then | None = None
    """For a job that was placed lately: the scores of its candidates then; null: it was not, or it is forgotten."""
    story: tuple[tuple[int, int, str], ...]
    """Milliseconds since submission, attempt, what happened."""


class WaitingRow(Struct, kw_only=True):
    """The jobs that wait for one reason."""

    tier: str
    reason: str
    """Of the nodes that are nearest to serving them; the tier where no node has one."""
    jobs: int = 0
    nodes: int = 0
    """Most nodes that this speaks against, for one of these jobs."""
    pairs: tuple[str, ...] = ()
    """Some of the jobs' languages."""
    oldest_ms: int = 0
    oldest_job: str = ""
