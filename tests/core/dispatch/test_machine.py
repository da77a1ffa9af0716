"""The Dispatcher's brain alone, under any order of facts, with agents that are models of their slots."""

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ray_sched.core.effects import CleanupDue, ClientBlocked, DispatchEffect, NotifyClient, OrderAgent
from ray_sched.core.errors import ABOUT, About, Code
from ray_sched.core.job import JobStatus
from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.messages.agent_dispatcher import AgentMessage, StopRun
from ray_sched.core.messages.client_dispatcher import Assigned, Delivered, MissingResult, PushFailed, Refused, Submit
from ray_sched.core.rules import DispatchRules
from tests.support.builders import (
    DispatchHarness,
    a_draining_node,
    a_node,
    a_spec,
    accepted,
    answers,
    failed,
    finished,
    refused,
    stopped,
)

NODES = ("node-a", "node-b", "node-c")
SLOTS = 2
AUDIO_BYTES = 32_000
Key = tuple[str, int]
ON_A_NODE = {JobStatus.ASSIGNED, JobStatus.PROCESSING}
which = st.integers(0, 1_000)


class ModelAgent:
    """What really is on a node."""

    def __init__(self) -> None:
        self.running: set[Key] = set()
        self.fenced: set[Key] = set()


class DispatchMachine(RuleBasedStateMachine):
    """Clients, agents and time do anything they may do."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = DispatchHarness(DispatchRules(run_timeout_ms=5_000, run_timeout_factor=1.0))
        self.agents: dict[str, ModelAgent] = {}
        self.incarnations = dict.fromkeys(NODES, 0)
        self.pushes: list[Assigned] = []
        self.stops: list[tuple[OrderAgent, StopRun]] = []
        self.said: list[tuple[str, int, AgentMessage]] = []
        self.delivered: dict[str, Delivered] = {}
        self.last_index: dict[str, int] = {}
        self.missing: dict[str, set[int]] = {}
        self.ledger: Ledger[str] = Ledger()
        self.n_submitted = 0
        self.n_calls = 0

    # --- what the brain says

    def handle(self, effects: list[DispatchEffect]) -> None:
        for effect in effects:
            if isinstance(effect, NotifyClient):
                self.handle_event(effect)
            elif isinstance(effect, OrderAgent) and isinstance(effect.order, StopRun):
                self.stops.append((effect, effect.order))

    def handle_event(self, effect: NotifyClient) -> None:
        event = effect.event
        if isinstance(event, Assigned):
            self.pushes.append(event)
        elif isinstance(event, MissingResult):
            self.missing.setdefault(event.session, set()).update(range(event.first_index, event.last_index + 1))
        elif isinstance(event, Delivered):
            assert event.job_id not in self.delivered, "delivered twice"
            self.delivered[event.job_id] = event
            self.ledger.move(event.job_id, AudioState.RELEASED)
            self.never_out_of_order(event)

    def never_out_of_order(self, event: Delivered) -> None:
        if event.utterance_index is None:
            return
        missing = self.missing.setdefault(event.session, set())
        assert event.is_late == (event.utterance_index in missing)
        if event.is_late:
            missing.discard(event.utterance_index)
            return
        before = self.last_index.get(event.session, -1)
        assert event.utterance_index > before
        assert set(range(before + 1, event.utterance_index)) <= missing | {
            job.utterance_index for job in self.late_ones(event.session)
        }
        self.last_index[event.session] = event.utterance_index

    def late_ones(self, session: str) -> list[Delivered]:
        return [event for event in self.delivered.values() if event.session == session and event.is_late]

    def report(self, node: str, *messages: AgentMessage) -> None:
        for message in messages:
            self.said.append((node, self.incarnations[node], message))
        self.handle(self.harness.report(*messages, node=node, incarnation=self.incarnations[node]))

    def offer(self, *, draining: str = "") -> None:
        nodes = [
            a_draining_node(node, slots=SLOTS, incarnation=self.incarnations[node])
            if node == draining
            else a_node(node, slots=SLOTS, incarnation=self.incarnations[node])
            for node in self.agents
        ]
        self.handle(self.harness.offer(*nodes))

    # --- rules

    @initialize()
    def begin(self) -> None:
        self.start("node-a")
        self.start("node-b")

    @rule(session=st.sampled_from(["", "s1", "s2"]), priority=st.integers(-1, 1), n=st.integers(1, 4))
    def submit(self, session: str, priority: int, n: int) -> None:
        for _ in range(n):
            self.n_submitted += 1
            before = set(self.harness.brain.jobs)

            spec = a_spec(f"r{self.n_submitted}", session=session, priority=priority)
            effects = self.harness.send(Submit(spec=spec))
            assert len(answers(effects)) == 1
            (job,) = set(self.harness.brain.jobs) - before
            self.ledger.open(job, AudioState.HELD, AUDIO_BYTES)
            self.handle(effects)

    @rule(n=which)
    def submit_again(self, n: int) -> None:
        """The same request id after a failure: a new job in the old one's place, unless that was about the job."""
        brain = self.harness.brain
        over = sorted(job_id for job_id in self.delivered if job_id in brain.jobs)
        if not over:
            return
        old = brain.jobs[over[n % len(over)]]
        error = self.delivered[old.job_id].outcome.error
        index = old.utterance_index
        before = set(brain.jobs)
        self.n_calls += 1
        spec = msgspec.structs.replace(old.spec, submission=f"call {self.n_calls}", utterance_index=index)
        effects = self.harness.send(Submit(spec=spec))
        new = set(brain.jobs) - before
        answer = answers(effects)[0]
        if isinstance(answer, Refused):  # only a session that was forgotten, and begun anew, has another job there
            assert index is not None
            return
        if answer.is_duplicate:
            newest = brain.jobs[answer.job_id]
            known = newest.outcome.error if newest.outcome else None
            assert (newest.job_id == old.job_id) == (error is None or ABOUT[error.code] is About.JOB)
            assert not newest.is_terminal or known is None or ABOUT[known.code] is About.JOB or not newest.is_delivered
            self.handle([effect for effect in effects if not _is_told_again(effect)])
            return
        assert new == {answer.job_id}
        assert answer.utterance_index == index
        self.n_submitted += 1
        self.ledger.open(answer.job_id, AudioState.HELD, AUDIO_BYTES)
        if index is not None:
            self.missing.setdefault(old.spec.session, set()).add(index)
        self.handle(effects)

    @rule(n=which)
    def cancel(self, n: int) -> None:
        jobs = sorted(self.harness.brain.jobs)
        if jobs:
            self.handle(self.harness.cancel(jobs[n % len(jobs)]))

    @precondition(lambda self: self.pushes)
    @rule(n=which, is_moody=st.booleans(), is_lost=st.booleans())
    def push(self, n: int, *, is_moody: bool, is_lost: bool) -> None:
        """A push arrives: in any order, at an agent that may be another incarnation, or not at all."""
        event = self.pushes.pop(n % len(self.pushes))
        key = (event.job_id, event.attempt)
        agent = self.agents.get(event.node)
        if is_lost and n % 3 == 0:
            self.handle(self.harness.send(PushFailed(job_id=event.job_id, attempt=event.attempt, why="lost")))
        elif agent is None or event.incarnation != self.incarnations[event.node]:
            return
        elif key in agent.running:  # whoever asks again is told again where to push
            self.report(event.node, accepted(*key))
        elif key in agent.fenced or (is_moody and n % 2 == 0):
            self.report(event.node, refused(*key))
        else:
            agent.running.add(key)
            assert len(agent.running) <= SLOTS, "never_oversold: the agent was brought more than its slots"
            self.report(event.node, accepted(*key))

    @rule(n=which, ending=st.sampled_from([finished, finished, failed, stopped]), is_silent=st.booleans())
    def run_ends(self, n: int, ending: object, *, is_silent: bool) -> None:
        running = sorted((node, key) for node, agent in self.agents.items() for key in agent.running)
        if not running:
            return
        node, key = running[n % len(running)]
        self.agents[node].running.discard(key)
        self.agents[node].fenced.add(key)
        if ending is finished:
            self.report(node, finished(*key, text="" if is_silent else "hello"))
        elif ending is failed:
            self.report(node, failed(*key, code=Code.MODEL_NOT_AVAILABLE if is_silent else Code.ENGINE_FAILED))
        else:
            self.report(node, stopped(*key))

    @precondition(lambda self: self.stops)
    @rule(n=which, is_lost=st.booleans())
    def stop_arrives(self, n: int, *, is_lost: bool) -> None:
        effect, order = self.stops.pop(n % len(self.stops))
        node = effect.agent.removeprefix("agent:")
        if is_lost or node not in self.agents or effect.incarnation != self.incarnations[node]:
            return
        key = (order.job_id, order.attempt)
        self.agents[node].running.discard(key)
        self.agents[node].fenced.add(key)
        self.report(node, stopped(*key))

    @precondition(lambda self: self.said)
    @rule(n=which)
    def said_again(self, n: int) -> None:
        """A report comes once more, however old: of this node, but perhaps of an incarnation that is gone.

        Only those that end an attempt may come after later ones; an acceptance is repeated right after itself.
        """
        node, incarnation, message = self.said[n % len(self.said)]
        key = (message.job_id, message.attempt)
        is_on_its_way_out = node in self.agents and key not in self.agents[node].running
        if is_on_its_way_out or (node, incarnation, message) == self.said[-1]:
            self.handle(self.harness.report(message, node=node, incarnation=incarnation))

    @rule(node=st.sampled_from(NODES))
    def start(self, node: str) -> None:
        """A node joins, or comes back as a new incarnation."""
        self.incarnations[node] += 1
        self.agents[node] = ModelAgent()
        self.offer()

    @rule(node=st.sampled_from(NODES))
    def lose(self, node: str) -> None:
        self.agents.pop(node, None)
        self.offer()

    @rule(node=st.sampled_from(NODES))
    def drain(self, node: str) -> None:
        self.offer(draining=node)

    @rule(duration_ms=st.sampled_from([1, 60, 1_000, 2_500, 6_000, 12_000]))
    def wait(self, duration_ms: int) -> None:
        self.handle(self.harness.wait(duration_ms))

    @rule(duration_ms=st.sampled_from([100, 2_500, 6_000]))
    def block(self, duration_ms: int) -> None:
        """The client says that it lives, and does not answer for a while."""
        effects = self.harness.handle(ClientBlocked("c1"))
        assert not any(isinstance(effect, NotifyClient) and isinstance(effect.event, Assigned) for effect in effects)
        self.handle(effects + self.harness.wait(duration_ms, polling=()))

    @rule(max_age_ms=st.sampled_from([0, 5_000, 300_000]))
    def clean_up(self, max_age_ms: int) -> None:
        self.handle(self.harness.handle(CleanupDue(max_age_ms)))

    # --- what must never happen

    @invariant()
    def never_two_live_attempts(self) -> None:
        brain = self.harness.brain
        for job in brain.jobs.values():
            is_waiting = job.job_id in brain.waiting
            assert is_waiting == (job.status is JobStatus.PENDING)
            where = [node for node, agent in self.agents.items() if (job.job_id, job.attempt) in agent.running]
            assert where in ([], [job.node])

    @invariant()
    def indexes_say_what_the_jobs_say(self) -> None:
        brain = self.harness.brain
        for node in NODES:
            there = [job for job in brain.jobs.values() if job.node == node and job.status in ON_A_NODE]
            assert sorted(job.job_id for job in brain.jobs_on(node)) == sorted(job.job_id for job in there)
            fenced = {job.job_id for job in brain.jobs.values() if node in {it.node for it in job.fenced}}
            assert {job.job_id for job in brain.fenced_on(node)} == fenced

    @invariant()
    def the_census_says_what_the_jobs_say(self) -> None:
        brain = self.harness.brain
        for status in JobStatus:
            there = [job for job in brain.jobs.values() if job.status is status]
            assert brain.census.jobs[status] == len(there)
            assert brain.census.audio_ms[status] == sum(brain.census.expected_ms(job) for job in there)

    @invariant()
    def never_oversold(self) -> None:
        for node, node_state in self.harness.brain.node_states.items():
            assert node_state.n_free + node_state.n_acquired <= SLOTS
            assert node_state.n_acquired <= node_state.n_leased
            assert self.agents[node].running <= set(node_state.attempts())
            assert node_state.in_flight_ms == 1_000 * node_state.n_acquired

    @invariant()
    def ledger_adds_up(self) -> None:
        n_open = self.n_submitted - len(self.delivered)
        assert self.ledger.bytes_in(AudioState.HELD) == AUDIO_BYTES * n_open
        assert self.ledger.released_bytes == AUDIO_BYTES * len(self.delivered)

    @invariant()
    def ended_jobs_add_up(self) -> None:
        brain = self.harness.brain
        n_ended = sum(job.is_terminal for job in brain.jobs.values())
        assert n_ended == len(brain.ended)
        assert sum(brain.counters.ended.values()) == n_ended + brain.counters.cleaned

    def teardown(self) -> None:
        self.every_job_ends()

    def every_job_ends(self) -> None:
        """With a good node, a client that answers and time, everything comes to its end and every slot is free."""
        self.lose("node-a")
        self.lose("node-b")
        self.start("node-c")
        for _ in range(200):
            while self.pushes:
                self.push(0 if len(self.pushes) % 2 else 1, is_moody=False, is_lost=False)
            while self.stops:
                self.stop_arrives(0, is_lost=False)
            while self.agents["node-c"].running:
                self.run_ends(0, finished, is_silent=False)
            self.offer()
            self.wait(1_000)
            if len(self.delivered) == self.n_submitted:
                break
        self.wait(6_000)
        brain = self.harness.brain
        assert len(self.delivered) == self.n_submitted
        assert [node_state.n_acquired for node_state in brain.node_states.values()] == [0]
        assert [node_state.n_free for node_state in brain.node_states.values()] == [SLOTS]
        assert (len(brain.waiting), self.ledger.bytes_in()) == (0, 0)
        self.harness.clean_up(0)
        assert brain.jobs == {}
        assert all(session.is_idle for session in brain.sessions.values())


def _is_told_again(effect: DispatchEffect) -> bool:
    return isinstance(effect, NotifyClient) and isinstance(effect.event, Delivered)


DispatchMachine.TestCase.settings = settings(
    max_examples=500, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestDispatch = DispatchMachine.TestCase
