"""Submissions that nobody waits for any more: their jobs are cancelled, and nobody else's."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ray_sched.core.client.brain import ClientBrain
from ray_sched.core.client.effects import ClientEffect, NotifyRefused, NotifyResult, SendMessage
from ray_sched.core.errors import Code
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    Cancel,
    ClientReply,
    Delivered,
    JobSpec,
    Mail,
    Outcome,
    Submit,
)

IDS = ("mine", "yours")


class AbandonMachine(RuleBasedStateMachine):
    """A client whose user gives up, and a Dispatcher that has one job for each request id until it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.brain = ClientBrain("c1", 1, retry_for_ms=10_000)
        self.ids: dict[int, str] = {}
        self.unread: set[int] = set()
        self.waited_for: set[int] = set()
        self.over: set[int] = set()
        self.outbox: list[SendMessage] = []
        self.job_of: dict[str, str] = {}
        self.jobs: dict[str, str] = {}
        """Request id by job, open ones."""
        self.cancelled: set[str] = set()
        self.n_events = self.n_jobs = 0

    def perform(self, effects: list[ClientEffect]) -> None:
        for effect in effects:
            if isinstance(effect, SendMessage):
                self.outbox.append(effect)
                if isinstance(effect.message, Cancel):
                    self.nobody_waits_for(effect.message.job_id)
            elif isinstance(effect, NotifyResult | NotifyRefused):
                numbers = effect.numbers if isinstance(effect, NotifyResult) else (effect.number,)
                assert not self.over & set(numbers), "ended twice"
                self.over |= set(numbers)
                if isinstance(effect, NotifyRefused):
                    assert effect.refusal.code is Code.CANCELLED
                    assert effect.number not in self.waited_for, "somebody waits for it"

    def nobody_waits_for(self, job_id: str) -> None:
        request_id = self.jobs.get(job_id, "")
        waiting = [n for n in self.waited_for - self.over if self.ids[n] == request_id]
        assert not waiting, f"{job_id} is cancelled, and {waiting} wait for it"

    @rule(request_id=st.sampled_from(IDS), is_read=st.booleans(), is_waited_for=st.booleans())
    def submit(self, request_id: str, *, is_read: bool, is_waited_for: bool) -> None:
        number = len(self.ids) + 1
        self.ids[number] = request_id
        self.waited_for |= {number}
        self.perform(self.brain.open(number, JobSpec(request_id=request_id, src="en", tgt="en"), 320))
        if is_read:
            self.perform(self.brain.ask(number, "digest"))
        else:
            self.unread.add(number)
        if not is_waited_for:
            self.give_up(number)

    @precondition(lambda self: self.unread)
    @rule()
    def read(self) -> None:
        self.perform(self.brain.ask(self.unread.pop(), "digest"))

    @precondition(lambda self: self.ids)
    @rule(n=st.integers(0, 100))
    def abandon(self, n: int) -> None:
        self.give_up(n % len(self.ids) + 1)

    def give_up(self, number: int) -> None:
        self.waited_for.discard(number)
        self.perform(self.brain.abandon(number))

    @precondition(lambda self: self.outbox)
    @rule(n=st.integers(1, 3))
    def answer(self, n: int) -> None:
        items, self.outbox = self.outbox[:n], self.outbox[n:]
        answers = tuple(self.take(item.message) for item in items)
        self.perform(self.brain.handle_reply(items, ClientReply(answers=answers, mail=self.mail())))
        for item in items:
            if isinstance(item.message, Cancel) and item.message.job_id in self.jobs:
                self.cancelled.add(item.message.job_id)
                self.deliver(item.message.job_id)

    def take(self, message: object) -> Answer:
        if isinstance(message, Cancel):
            return Accepted(job_id=message.job_id)
        assert isinstance(message, Submit)
        request_id = message.spec.request_id
        is_new = self.job_of.get(request_id, "") not in self.jobs
        if is_new:
            self.n_jobs += 1
            self.job_of[request_id] = f"j{self.n_jobs}"
            self.jobs[self.job_of[request_id]] = request_id
        return Accepted(job_id=self.job_of[request_id], is_duplicate=not is_new)

    def mail(self, *events: Delivered) -> Mail:
        self.n_events += len(events)
        return Mail(epoch="epoch", last=self.n_events, events=events)

    @precondition(lambda self: self.jobs)
    @rule(n=st.integers(0, 100))
    def end(self, n: int) -> None:
        self.deliver(sorted(self.jobs)[n % len(self.jobs)])

    def deliver(self, job_id: str) -> None:
        del self.jobs[job_id]
        outcome = Outcome(status="cancelled" if job_id in self.cancelled else "completed")
        event = Delivered(job_id=job_id, session="", utterance_index=None, outcome=outcome)
        self.perform(self.brain.handle_poll(self.brain.poll(), self.mail(event)))

    @invariant()
    def what_nobody_waits_for_is_cancelled(self) -> None:
        """Once it was taken and all was answered; what was never asked for is over at once."""
        if self.outbox:
            return
        for job_id, request_id in self.jobs.items():
            mine = {n for n, known in self.ids.items() if known == request_id} - self.over - self.unread
            assert not mine or mine & self.waited_for or job_id in self.cancelled or self.is_awaited(request_id)
        assert not (self.unread - self.waited_for) - self.over

    def is_awaited(self, request_id: str) -> bool:
        """Whether somebody waits for it whose audio has not been read yet."""
        return any(self.ids[n] == request_id for n in self.unread & self.waited_for)

    def teardown(self) -> None:
        while self.unread or self.outbox or self.jobs:
            while self.unread:
                self.read()
            while self.outbox:
                self.answer(3)
            if self.jobs:
                self.end(0)
        assert self.over == set(self.ids)


AbandonMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAbandon = AbandonMachine.TestCase


def test_a_submission_that_is_abandoned_before_it_was_taken_is_cancelled_as_soon_as_it_is() -> None:
    brain = ClientBrain("c1", 1, retry_for_ms=10_000)
    brain.open(1, JobSpec(request_id="r", src="en", tgt="en"), 320)
    asked = [effect for effect in brain.ask(1) if isinstance(effect, SendMessage)]
    assert brain.abandon(1) == []
    mail = Mail(epoch="epoch", last=0, events=())
    effects = brain.handle_reply(asked, ClientReply(answers=(Accepted(job_id="j1"),), mail=mail))
    assert effects[1:] == [SendMessage(Cancel(job_id="j1"))]


def test_a_submission_that_is_abandoned_lets_the_next_of_its_session_go() -> None:
    brain = ClientBrain("c1", 1, retry_for_ms=10_000)
    for number in (1, 2):
        brain.open(number, JobSpec(request_id=f"r{number}", src="en", tgt="en", session="s"), 320)
    assert brain.ask(2) == []
    refused, sent = brain.abandon(1)
    assert isinstance(refused, NotifyRefused)
    assert (refused.number, refused.refusal.message) == (1, "nobody waited for it any more")
    assert isinstance(sent, SendMessage)
    assert sent.number == 2
    assert brain.abandon(1) == []
