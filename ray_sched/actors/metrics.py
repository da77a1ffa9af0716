"""What every control actor exports of itself, beside what its brain tells: its store, its event loop, that it is up."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ray_sched.actors.commits import Commits
from ray_sched.actors.mailboxes import Mailboxes
from ray_sched.core.distribution import SIZE_BOUNDARIES, Distribution
from ray_sched.observe.dispatcher import call_samples, dispatcher_samples
from ray_sched.observe.loop_lag import LoopLag
from ray_sched.observe.samples import Sample, WriteSamples

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain


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


def call_sizes(**others: Distribution) -> dict[str, Distribution]:
    """How many messages came in a call to the Dispatcher, by who sent them; and the sizes that others count."""
    return {edge: Distribution(SIZE_BOUNDARIES) for edge in ("client", "agent")} | others


def samples_of_dispatcher(
    brain: "DispatchBrain", mailboxes: Mailboxes, sizes: Mapping[str, Distribution]
) -> Iterator[Sample]:
    """What the Dispatcher exports, beside what every actor does."""
    ledger = {"held": mailboxes.held_bytes, "stored": mailboxes.stored_bytes}
    yield from dispatcher_samples(brain, ledger=ledger, n_mail=mailboxes.n_unacknowledged)
    yield from call_samples(sizes)
