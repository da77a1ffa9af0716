"""Poison: a job that kills agents is failed before it has killed many, and those beside it are not failed with it.

Evidence is counted at the death of a process, never at silence: a frozen or cut-off node accuses nobody.

- The engine's own process died while it ran this job alone: a kill.
- The engine's own process died in a pass of several jobs: each of them is suspected, and has its passes for itself from
  then on, which costs little: nothing has to wait but that model.
- The agent's process died while this job ran there and no other attempt held a slot: a kill. From then on the job is
  exclusive: a node is reserved for it, on which nothing runs beside it, so that nobody can share its blame.
- The agent's process died while several ran there: each of them is suspected, and exclusive from its second suspicion
  on.

A kill weighs as much as two suspicions, and two kills are poison: a job that is exclusive, or has its engine or its
pass for itself, kills twice; one that runs beside others first kills three times at most; and an innocent one that ran
beside a killer proves its innocence with one run for itself: after one pass with it, or after two agents.
"""

from ray_sched.core.job import Job

_KILL = 2
_POISON = 2 * _KILL
_SUSPICIONS_BEFORE_EXCLUSIVE = 2


def engine_died(job: Job, *, was_alone: bool) -> None:
    """The process of the engine that ran this job ended in the middle of it; alone: it ran nothing else."""
    job.has_own_pass = True
    if was_alone:
        job.kills += 1
    else:
        job.suspicions += 1


def agent_died(job: Job, *, was_alone: bool) -> None:
    """The process of the agent where this job ran has ended."""
    if was_alone:
        job.kills += 1
        job.is_exclusive = True
        return
    job.suspicions += 1
    job.is_exclusive = job.is_exclusive or job.suspicions >= _SUSPICIONS_BEFORE_EXCLUSIVE


def is_poison(job: Job) -> bool:
    """Whether there is enough evidence."""
    return _KILL * job.kills + job.suspicions >= _POISON
