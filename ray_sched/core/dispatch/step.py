"""One step of the Dispatcher's brain: when it is, and what comes out of it.

An event leads to one step. Handlers change the state by its verbs and give out, by the verbs here, what the shell has
to do. Nothing here decides anything or outlives the step.
"""

from collections.abc import Callable, Container, Mapping

from ray_sched.core.dispatch.decisions import Decision
from ray_sched.core.dispatch.history import HistoryLine, What
from ray_sched.core.effects import (
    AnswerClient,
    AnswerPool,
    DispatchEffect,
    DropClient,
    Log,
    NotifyClient,
    OrderAgent,
    ReportCleanup,
    Save,
)
from ray_sched.core.errors import Refusal
from ray_sched.core.job import Job, SessionKey
from ray_sched.core.messages.agent_dispatcher import AgentOrder
from ray_sched.core.messages.client_dispatcher import ClientEvent
from ray_sched.core.ports import ForgetJob, SaveJob, SaveSpeeds


class Step:
    """The time of a step and its output. ``clients`` are those that are there now: the state's own index, read only."""

    def __init__(self, now_ms: int, clients: Container[str]) -> None:
        self.now_ms = now_ms
        self.colocated: dict[str, str] = {}
        """The node of the newest job of each client that was assigned in this step."""
        self.full: dict[SessionKey, Refusal] = {}
        """Sessions of which this step has refused a job, as there was no room, and what it said."""
        self._clients = clients
        self._jobs: dict[str, Job] = {}
        self._changes: list[Save] = []
        self._effects: list[DispatchEffect] = []
        self.decisions: list[Decision] = []
        """Who was compared for each job that was assigned in this step."""
        self.lines: list[HistoryLine] = []
        """What has happened in this step."""

    def record(self, job: Job, what: What, text: str, at_ms: int = 0) -> None:
        """Something has happened to a job, now or at ``at_ms``: it is in the job's story, and in the history."""
        at_ms = at_ms or self.now_ms
        job.record(at_ms, text)
        spec = job.spec
        self.lines.append(
            HistoryLine(at_ms, what, text, job.job_id, job.attempt, job.node, spec.session, spec.trace_id)
        )

    def record_node(self, node: str, what: What, text: str) -> None:
        """Something has happened to a node."""
        self.lines.append(HistoryLine(self.now_ms, what, text, node=node))

    def save(self, job: Job) -> None:
        """Have a job saved as it is at the end of the step, once however often it changes."""
        self._jobs[job.job_id] = job

    def forget(self, job_id: str) -> None:
        """Have the record of a job removed from the store."""
        self._jobs.pop(job_id, None)
        self._changes.append(Save(ForgetJob(job_id=job_id)))

    def save_speeds(self, speeds: Mapping[str, dict[str, float]]) -> None:
        """Have the learned speeds of these nodes saved: node to pair to audio-seconds per second."""
        self._changes += [Save(SaveSpeeds(node_id=node, speeds=by_pair)) for node, by_pair in speeds.items()]

    def notify(self, client_id: str, event: ClientEvent) -> None:
        """Notify a client, if it is there. One that comes back submits again, and gets then what it has missed."""
        if client_id in self._clients:
            self._effects.append(NotifyClient(client_id, event))

    def order(self, agent: str, incarnation: int, order: AgentOrder) -> None:
        """Order this incarnation of an agent to do something. The order may be lost."""
        self._effects.append(OrderAgent(agent, incarnation, order))

    def answer(self, answer: AnswerClient | AnswerPool | ReportCleanup) -> None:
        """Answer the event that led to this step."""
        self._effects.append(answer)

    def drop_client(self, client_id: str) -> None:
        """Have the mailbox of a client that is gone forgotten."""
        self._effects.append(DropClient(client_id))

    def log(self, text: str, node: str = "") -> None:
        """Log what a person on call wants to read, of a node if one is named; it is in the history, too."""
        self._effects.append(Log(text, node))
        self.record_node(node, What.NOTED, text)

    def output(self, record_of: Callable[[Job], SaveJob]) -> list[DispatchEffect]:
        """Everything that the shell has to do: first what it has to save, with the jobs' records as they are now."""
        jobs: list[DispatchEffect] = [Save(record_of(job)) for job in self._jobs.values()]
        return [*jobs, *self._changes, *self._effects]
