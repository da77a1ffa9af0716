"""What the Dispatcher knows, and what it has decided in this turn so far; shared by the parts of its brain.

Each part changes what is its own idea; what more than one of them needs stands here. Nothing here decides anything.
"""

from ray_sched.core.capability import Demand
from ray_sched.core.dispatch.cleanup import EndedJobs
from ray_sched.core.dispatch.counters import Counters, Rate
from ray_sched.core.effects import (
    DispatchEffect,
    NotifyClient,
    OrderAgent,
    Save,
)
from ray_sched.core.job import Fenced, Job
from ray_sched.core.messages.agent_dispatcher import DropSpeech, StopRun
from ray_sched.core.messages.client_dispatcher import Assigned, ClientEvent, Delivered, PartialText, SpeechReady
from ray_sched.core.placement.node_table import NodeTable
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.queue.waiting import Waiting
from ray_sched.core.rules import DispatchRules, SelectionRules
from ray_sched.core.timers import DueQueue

DueKey = tuple[str, str, str]
"""What is due: ``("job", id, "")``, ``("gap" | "session", client, session)``, ``("client", id, "")`` or
``("stop", node, attempt and id)``."""


class DispatchState:
    """Jobs, seats, who waits and who is there; and the effects of this turn."""

    def __init__(self, rules: DispatchRules, selection: SelectionRules) -> None:
        self.rules = rules
        self.selection = selection
        self.jobs: dict[str, Job] = {}
        self.waiting = Waiting(self._somebody_stands)
        self.speeds = SpeedBook(selection)
        self.node_table = NodeTable(self.speeds, self.waiting.queue_key, self.waiting.demands)
        self.ended = EndedJobs()
        self.counters = Counters()
        self.rate = Rate()
        self.on_node: dict[str, dict[str, Job]] = {}
        """Jobs by the node where their current attempt is."""
        self.fenced_on: dict[str, dict[str, Job]] = {}
        """Jobs by the nodes that have not confirmed the end of an earlier attempt."""
        self.clients: dict[str, int] = {}
        """When each client was last heard of."""
        self.due: DueQueue[DueKey] = DueQueue()
        self.is_store_away = False
        """Nothing can be saved, so nobody can be told."""
        self.begin_step(0)

    def begin_step(self, now_ms: int) -> None:
        """Nothing is decided yet."""
        self.now_ms = now_ms
        self.effects: list[DispatchEffect] = []
        self.saves: list[Save] = []
        self.touched: dict[str, Job] = {}
        """Jobs to be saved at the end of the turn."""

    def _somebody_stands(self, demand: Demand) -> None:
        self.node_table.groups.enqueue(demand)

    def put_on_node(self, job: Job) -> None:
        """The current attempt is on its node."""
        self.on_node.setdefault(job.node, {})[job.job_id] = job

    def take_off_node(self, job: Job) -> None:
        """The current attempt is on its node no more."""
        _take_out(self.on_node, job.node, job)

    def fence(self, job: Job) -> None:
        """The current attempt counts no more, and its node has not confirmed that it has ended."""
        job.fenced += (Fenced(job.attempt, job.node, job.incarnation),)
        self.fenced_on.setdefault(job.node, {})[job.job_id] = job

    def unfence(self, job: Job, stopped: Fenced) -> None:
        """Its node has confirmed."""
        job.fenced = tuple(fenced for fenced in job.fenced if fenced != stopped)
        if not any(fenced.node == stopped.node for fenced in job.fenced):
            _take_out(self.fenced_on, stopped.node, job)

    def forget(self, job: Job) -> None:
        """The job is known no more."""
        self.take_off_node(job)
        for fenced in job.fenced:
            _take_out(self.fenced_on, fenced.node, job)

    def order(self, job: Job, order: StopRun | DropSpeech) -> None:
        """Tell the agent of a job's current attempt."""
        self.effects.append(OrderAgent(job.agent, job.incarnation, order))

    def notify_client(self, client_id: str, event: ClientEvent) -> None:
        """Tell a client that is there; one that comes back asks again for what it misses."""
        if client_id in self.clients:
            self.effects.append(NotifyClient(client_id, event))

    def notify(self, job: Job, event: Assigned | PartialText | SpeechReady | Delivered) -> None:
        """Tell the submitter of a job."""
        self.notify_client(job.client_id, event)

    def expected_ms(self, job: Job) -> int:
        """Duration of its audio as far as it is known."""
        return job.audio_ms or self.selection.assumed_audio_ms


def _take_out(jobs: dict[str, dict[str, Job]], node: str, job: Job) -> None:
    """Nodes without jobs are not kept."""
    there = jobs.get(node)
    if there and there.pop(job.job_id, None) and not there:
        del jobs[node]
