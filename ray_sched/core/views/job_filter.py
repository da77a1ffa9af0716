"""Which jobs a person means: the newest that agree with everything that was said of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:  # a command asks without having a brain
    from ray_sched.core.dispatch.brain import DispatchBrain
    from ray_sched.core.job import Job


class JobFilter(Struct, frozen=True, kw_only=True):
    """What was said of the jobs; what is empty was not said. A name may end with ``*``: all that begin like it."""

    job_ids: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    session: str = ""
    node: str = ""
    name: str = ""
    """Of a file with its folders, or without them."""
    tenant: str = ""
    pair: str = ""
    """Such as ``en:de``; ``en`` alone is ``en:en``."""

    def matches(self, job: "Job") -> bool:
        """Whether the job agrees with all of it."""
        src, _, tgt = self.pair.partition(":")
        return (
            (not self.job_ids or job.job_id in self.job_ids)
            and (not self.statuses or job.status in self.statuses)
            and _is_like(self.session, job.spec.session)
            and _is_like(self.node, job.node)
            and (_is_like(self.name, job.spec.name) or _is_like(self.name, job.spec.name.rpartition("/")[2]))
            and _is_like(self.tenant, job.spec.tenant)
            and (not self.pair or (job.spec.src, job.spec.tgt) == (src, tgt or src))
        )

    def newest(self, brain: "DispatchBrain") -> "Iterator[Job]":
        """The jobs that agree, the newest first."""
        return (job for job in reversed(brain.jobs.values()) if self.matches(job))


def _is_like(wanted: str, value: str) -> bool:
    if wanted.endswith("*"):
        return value.startswith(wanted[:-1])
    return wanted in ("", value)
