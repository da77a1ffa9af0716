"""A cluster in virtual time around the real DispatchBrain: its clients and agents are a queue of what happens when.

Nothing waits: time is what the next event says. An agent accepts what it is given at once and is done when the audio
divided by its speed has passed; other slots of the node make no difference unless ``slowdown`` says so.
"""

import heapq
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.effects import (
    AgentSpoke,
    CleanupDue,
    ClientSpoke,
    DispatchEffect,
    DispatchEvent,
    NotifyClient,
    PoolOffered,
)
from ray_sched.core.messages.client_dispatcher import Assigned, Delivered, Submit
from ray_sched.core.placement.policy import DEFAULT_POLICY, PlacementPolicy
from ray_sched.core.rules import DeliveryRules, DispatchRules, SelectionRules
from tests.support.builders import a_node, a_spec, accepted, an_offer, finished

AUDIO_MS = (600.0, 0.9)
"""Median of the jobs' audio, and the standard deviation of its logarithm."""
MEAN_AUDIO_MS = 899.6


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job comes."""

    at_ms: float
    audio_ms: int


def poisson(jobs_per_s: float, n_jobs: int, seed: int) -> Iterator[Arrival]:
    """Jobs that come independently of each other, with audio of lognormal length."""
    rng = random.Random(seed)  # noqa: S311  # the same every time
    at_ms = 0.0
    for _ in range(n_jobs):
        at_ms += rng.expovariate(jobs_per_s / 1000)
        yield Arrival(at_ms, max(1, round(AUDIO_MS[0] * rng.lognormvariate(0.0, AUDIO_MS[1]))))


@dataclass(slots=True)
class VirtualCluster:
    """Nodes of known speed, and one client that submits what arrives."""

    speeds: Mapping[str, float]
    """Node to audio-seconds per second on each of its slots."""
    slots: int = 4
    slowdown: float = 0.0
    """A run takes longer by this part for each other slot that is busy when it begins."""
    policy: PlacementPolicy = DEFAULT_POLICY
    selection: SelectionRules = field(default_factory=SelectionRules)
    brain: DispatchBrain = field(init=False)
    took_ms: dict[str, float] = field(init=False, default_factory=dict)
    """Job to the time from its submission to its end."""
    went_to: dict[str, str] = field(init=False, default_factory=dict)
    """Job to its node."""
    _now_ms: float = field(init=False, default=0.0)
    _queue: list[tuple[float, int, DispatchEvent]] = field(init=False, default_factory=list)
    _n_events: int = field(init=False, default=0)
    _audio_ms: dict[str, int] = field(init=False, default_factory=dict)
    _submitted_at_ms: dict[str, float] = field(init=False, default_factory=dict)
    _running: dict[str, int] = field(init=False, default_factory=dict)
    _nodes: dict[str, tuple[float, int]] = field(init=False, default_factory=dict)
    """Node to its speed and its incarnation."""
    _cold_ms: dict[str, float] = field(init=False, default_factory=dict)
    """Node to what each run takes longer that begins before its first one has ended."""
    _n_offers: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """All nodes are ready."""
        rules = DispatchRules(max_waiting_jobs=100_000, max_waiting_jobs_per_session=100_000)
        self.brain = DispatchBrain("virtual", rules, DeliveryRules(), self.selection, self.policy)
        self._running = dict.fromkeys(self.speeds, 0)
        self._nodes = {node: (speed, 1) for node, speed in self.speeds.items()}
        self._offer()

    def join(self, node: str, speed: float, cold_ms: float = 0.0) -> None:
        """A node comes, or comes back as a new incarnation; nothing runs at this moment."""
        _, incarnation = self._nodes.get(node, (0.0, 0))
        self._nodes[node] = (speed, incarnation + 1)
        self._running[node], self._cold_ms[node] = 0, cold_ms
        self._offer()

    def _offer(self) -> None:
        self._n_offers += 1
        incarnations = ((node, incarnation) for node, (_, incarnation) in self._nodes.items())
        nodes = (a_node(node, slots=self.slots, incarnation=incarnation) for node, incarnation in incarnations)
        self._handle(PoolOffered(an_offer(*nodes, number=self._n_offers)))

    def run(self, arrivals: Iterable[Arrival]) -> list[float]:
        """Have these jobs arrive from now on and return when all have ended: how long each took, in milliseconds."""
        before = len(self._audio_ms)
        began_ms = self._now_ms
        for number, arrival in enumerate(arrivals, start=before + 1):
            self._audio_ms[f"virtual-{number}"] = arrival.audio_ms
            self._submitted_at_ms[f"virtual-{number}"] = began_ms + arrival.at_ms
            submit = Submit(spec=a_spec(f"r{number}", audio_ms=arrival.audio_ms))
            self._at(began_ms + arrival.at_ms, ClientSpoke("c1", (submit,)))
        while self._queue:
            self._now_ms, _, event = heapq.heappop(self._queue)
            self._handle(event)
        return [self.took_ms[job] for job in list(self._audio_ms)[before:]]

    def clean_up(self) -> None:
        """The clean-up tick, as it comes once a minute."""
        self._handle(CleanupDue(300_000))

    def _at(self, at_ms: float, event: DispatchEvent) -> None:
        self._n_events += 1
        heapq.heappush(self._queue, (at_ms, self._n_events, event))

    def _handle(self, event: DispatchEvent) -> None:
        for effect in self.brain.handle(event, 1_000_000 + int(self._now_ms)):
            self._perform(effect)

    def _perform(self, effect: DispatchEffect) -> None:
        match effect:
            case NotifyClient(event=Assigned() as event):
                self._begin_run(event)
            case NotifyClient(event=Delivered() as event):
                assert event.outcome.status == "completed", event.outcome
                self.took_ms[event.job_id] = self._now_ms - self._submitted_at_ms[event.job_id]
                self._running[event.outcome.node] -= 1
                self._cold_ms.pop(event.outcome.node, None)
            case _:
                pass

    def _begin_run(self, event: Assigned) -> None:
        audio_ms = self._audio_ms[event.job_id]
        speed, incarnation = self._nodes[event.node]
        run_ms = audio_ms / speed * (1 + self.slowdown * self._running[event.node]) + self._cold_ms.get(event.node, 0.0)
        self._running[event.node] += 1
        self.went_to[event.job_id] = event.node
        self._at(self._now_ms, AgentSpoke(event.node, incarnation, (accepted(event.job_id, audio_ms=audio_ms),)))
        report = finished(event.job_id, run_ms=max(1, round(run_ms)))
        self._at(self._now_ms + run_ms, AgentSpoke(event.node, incarnation, (report,)))
