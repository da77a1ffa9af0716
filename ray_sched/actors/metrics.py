"""What every control actor exports of itself, beside what its brain tells: its store, its event loop, that it is up."""

from collections.abc import Iterable, Iterator

from ray_sched.actors.commits import Commits
from ray_sched.observe.loop_lag import LoopLag
from ray_sched.observe.samples import Sample, WriteSamples


class ActorMetrics:
    """Reads and writes one actor's samples, at a tick. Nothing is done for it before the first one."""

    def __init__(self, actor: str, commits: Commits, write: WriteSamples) -> None:
        self._actor = actor
        self._commits = commits
        self._write = write
        self._lag: LoopLag | None = None

    def write(self, samples: Iterable[Sample]) -> None:
        """Export these, and the actor's own."""
        if self._lag is None:
            self._lag = LoopLag()
        own = (*self._of_actor(), Sample("event_loop_lag_seconds", (self._actor,), self._lag.take_s()))
        self._write((*samples, *own))

    def read(self, samples: Iterable[Sample]) -> list[Sample]:
        """These, and the actor's own, for somebody else to export."""
        return [*samples, *self._of_actor()]

    def _of_actor(self) -> Iterator[Sample]:
        actor, commits = (self._actor,), self._commits
        yield Sample("up", actor, 1)
        yield Sample("store_up", actor, not commits.store_error)
        yield Sample("store_commit_seconds", actor, commits.latency)
        yield Sample("store_refills", actor, commits.n_refills)
