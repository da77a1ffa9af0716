"""The Dispatcher's shell in virtual time, and the disk under it.

It does what ``ray_sched/actors/dispatcher.py`` does: decide, save, notify; steps that meet are committed together; a
client's mail is in a mailbox with a name. It can crash between any two of these steps, and begins again with the disk.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ray_sched.core.delivery.mailbox import Mailbox
from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.effects import (
    AgentSpoke,
    AnswerClient,
    CleanupDue,
    ClientBlocked,
    ClientPolled,
    ClientSpoke,
    DispatchEffect,
    DispatchEvent,
    DropClient,
    NotifyClient,
    OrderAgent,
    Save,
    StoreWasEmptied,
    Swept,
)
from ray_sched.core.job import from_record
from ray_sched.core.messages.client_dispatcher import Accepted, Answer, Assigned, ClientMessage, Delivered, Mail
from ray_sched.core.ports import Change, ForgetJob, ForgetNode, SaveJob, SaveNode, SaveSpeeds
from ray_sched.core.rules import DeliveryRules, DispatchRules, SelectionRules
from tests.simulation.network import Reply

if TYPE_CHECKING:
    from tests.simulation.world import World

RULES = DispatchRules(run_timeout_ms=3_000, run_timeout_factor=2.0, max_waiting_jobs=100)
Effects = list[DispatchEffect]


class Disk:
    """Exactly what was committed."""

    def __init__(self) -> None:
        self.jobs: dict[str, bytes] = {}
        self.nodes: dict[str, bytes] = {}
        self.speeds: dict[str, dict[str, float]] = {}
        self.ever: set[str] = set()
        """Job ids that were ever on it."""
        self.is_away_until_ms = 0
        self.is_emptied_for: set[str] = set()
        """Who has not written again yet what it had here."""

    def empty(self) -> None:
        """It was started again with nothing on it; both who write notice at their next tick."""
        self.jobs.clear()
        self.nodes.clear()
        self.speeds.clear()
        self.is_emptied_for = {"dispatcher", "registry"}

    def commit(self, changes: Sequence[Change]) -> None:
        """All of it, in order."""
        for change in changes:
            match change:
                case SaveJob():
                    self.jobs[change.job_id] = change.record
                    self.ever.add(change.job_id)
                case ForgetJob():
                    self.jobs.pop(change.job_id, None)
                case SaveNode():
                    self.nodes[change.node_id] = change.record
                case ForgetNode():
                    self.nodes.pop(change.node_id, None)
                    self.speeds.pop(change.node_id, None)
                case SaveSpeeds():
                    self.speeds[change.node_id] = change.speeds


class ClientMailbox:
    """A client's mailbox and its epoch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kept = Mailbox()

    def mail(self) -> Mail:
        """What was not handed out yet."""
        last, events = self.kept.take()
        return Mail(epoch=self.name, last=last, events=events)


class Step:
    """The effects of one event, until they are performed."""

    def __init__(self, effects: Effects, reply: Reply[Effects]) -> None:
        self.effects = effects
        self.changes = [effect.change for effect in effects if isinstance(effect, Save)]
        self.reply = reply


class Dispatcher:
    """Actor ``dispatcher``: the real brain, a disk, and the ways to lose one without the other."""

    notifies_before_it_saves = False
    """A planted bug."""
    keeps_order = True
    """What needs no save is performed after what was decided before it and is still being saved."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng: random.Random = world.rng
        self.disk = Disk()
        self.n_lives = 0
        self.is_up = False
        self.mailboxes: dict[str, ClientMailbox] = {}
        self.delivered: dict[str, Delivered] = {}
        """The first outcome delivered of each job."""
        self._steps: list[Step] = []
        self._committing: list[Step] = []
        self._crash_in = 0
        self._crash_after_save = False
        self.start()

    # --- its lives

    def start(self) -> None:
        """Begin, with what is on the disk, as soon as it is there."""
        if self._world.net.now_ms < self.disk.is_away_until_ms:
            self._world.net.after(self.disk.is_away_until_ms - self._world.net.now_ms, self.start)
            return
        self.n_lives += 1
        self._epoch = f"{self._world.net.now_ms:x}"
        self.brain = DispatchBrain(self._epoch, RULES, DeliveryRules(), SelectionRules())
        self.mailboxes, self._n_mailboxes = {}, 0
        self._steps, self._committing = [], []
        jobs = [from_record(record) for record in self.disk.jobs.values()]
        self._rng.shuffle(jobs)
        self.brain.speeds.load(self.disk.speeds)
        effects = self.brain.restore(jobs, self._world.net.now_ms)
        step = Step(effects, lambda _effects: None)
        self.disk.commit(step.changes)
        self._perform_all(step.effects)
        self.is_up = True
        self._world.note("", f"dispatcher {self._epoch} begins with {len(jobs)} jobs")

    def crash(self) -> None:
        """The process is gone. A commit on its way has reached the disk, or it has not; nothing follows from it."""
        if not self.is_up or "dispatcher" in self.disk.is_emptied_for:  # both at once are not promised
            return
        if self._committing and self._world.net.now_ms >= self.disk.is_away_until_ms and self._rng.random() < 0.5:
            self.disk.commit([change for step in self._committing for change in step.changes])
        self.is_up = False
        self.n_lives += 1
        self._crash_in = 0
        self._world.note("", f"dispatcher {self._epoch} crashes")
        self._world.net.after(self._rng.randint(1_000, 2_000), self.start)

    def crash_soon(self) -> None:
        """Crash in one of the next steps that save something, just before or just after the save."""
        self._crash_in = self._rng.randint(1, 4)
        self._crash_after_save = self._rng.random() < 0.5

    def crash_no_more(self) -> None:
        """What was to come does not."""
        self._crash_in = 0

    # --- steps

    def tick(self) -> None:
        """Time has passed; a store that was emptied is noticed."""
        if self.is_up and "dispatcher" in self.disk.is_emptied_for:
            self.handle(StoreWasEmptied(), lambda _effects: self.disk.is_emptied_for.discard("dispatcher"))
        self.handle(Swept())

    def handle(self, event: DispatchEvent, reply: Reply[Effects] = lambda _effects: None) -> None:
        """Decide, save, tell, reply. Nothing at all if it is down."""
        if not self.is_up:
            return
        step = Step(self.brain.handle(event, self._world.net.now_ms), reply)
        kinds = [isinstance(effect, Save) for effect in step.effects]
        self._world.expect(kinds == sorted(kinds, reverse=True), "something is told before it is saved")
        if self.notifies_before_it_saves:
            self._end(step)
            step.effects, step.reply = [], lambda _effects: None
        elif not step.changes and not (self._committing and self._waits(step, event)):
            self._end(step)
            return
        self._steps.append(step)
        if not self._committing:
            self._commit()

    def _waits(self, step: Step, event: DispatchEvent) -> bool:
        return self.keeps_order and bool(step.effects or isinstance(event, AgentSpoke))

    def _commit(self) -> None:
        life = self.n_lives
        self._committing, self._steps = self._steps, []
        if self._crash_in and not self.disk.is_emptied_for and any(step.changes for step in self._committing):
            self._crash_in -= 1
            if not self._crash_in:
                if self._crash_after_save:
                    self.disk.commit([change for step in self._committing for change in step.changes])
                self._committing = []
                self.crash()
                return

        def saved() -> None:
            if life != self.n_lives:
                return
            steps = self._committing
            self.disk.commit([change for step in steps for change in step.changes])
            self._committing = []
            for step in steps:
                self._end(step)
            if self._steps and not self._committing:
                self._commit()

        delay_ms = self._world.commit_ms()
        if delay_ms:
            self._world.net.after(delay_ms, saved)
        else:
            saved()

    def _end(self, step: Step) -> None:
        self._perform_all(step.effects)
        step.reply(step.effects)

    def _perform_all(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case NotifyClient():
                    self._notify_client(effect)
                case DropClient():
                    self.mailboxes.pop(effect.client_id, None)
                case OrderAgent():
                    self._world.note(effect.order.job_id, f"{effect.agent} is ordered {effect.order}")
                    self._world.order(effect)
                case AnswerClient():
                    for answer in effect.answers:
                        if isinstance(answer, Accepted):
                            is_saved = answer.job_id in self.disk.ever
                            self._world.expect(is_saved, "accepted before it is saved", answer.job_id)
                case _:
                    pass

    def _notify_client(self, effect: NotifyClient) -> None:
        event = effect.event
        if isinstance(event, Delivered):
            self._expect_saved(event)
        elif isinstance(event, Assigned):
            self._world.count_served(event.job_id)
        if self._world.is_traced:
            self._world.note(getattr(event, "job_id", ""), f"{effect.client_id} is told {event}")
        self._mailbox_of(effect.client_id).kept.put(event)

    def _expect_saved(self, event: Delivered) -> None:
        record = self.disk.jobs.get(event.job_id)
        saved = from_record(record).outcome if record else None
        self._world.expect(record is None or saved == event.outcome, "told before it is saved", event.job_id)
        first = self.delivered.setdefault(event.job_id, event)
        self._world.expect(first.outcome == event.outcome, "one job, two outcomes", event.job_id)

    def cleanup(self) -> None:
        """Forget all finished jobs."""
        self.handle(CleanupDue(0))

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was decided is on the disk."""
        return self.is_up and not self._steps and not self._committing and not self.disk.is_emptied_for

    # --- clients

    def batch(
        self,
        client_id: str,
        messages: tuple[ClientMessage, ...],
        reply: Reply[tuple[tuple[Answer, ...], Mail]],
    ) -> None:
        """A client's batch: the answers, and mail."""
        if not self.is_up:
            return
        mailbox = self._mailbox_of(client_id)

        def answer(effects: Effects) -> None:
            answers = next(effect.answers for effect in effects if isinstance(effect, AnswerClient))
            reply((answers, mailbox.mail()))

        self.handle(ClientSpoke(client_id, messages), answer)

    def poll(self, client_id: str, name: str, acked: int, reply: Reply[Mail], *, is_resync: bool) -> None:
        """A client's poll: its mail. A number of another mailbox acknowledges nothing."""
        if not self.is_up:
            return
        mailbox = self._mailbox_of(client_id)
        if name == mailbox.name:
            mailbox.kept.acknowledge(acked)
        if is_resync:
            mailbox.kept.resync()
        self.handle(ClientPolled(client_id), lambda _effects: reply(mailbox.mail()))

    def alive(self, client_id: str) -> None:
        """A client says that it lives, though it does not answer."""
        if self.is_up:
            self._mailbox_of(client_id)
            self.handle(ClientBlocked(client_id))

    def _mailbox_of(self, client_id: str) -> ClientMailbox:
        if client_id not in self.mailboxes:
            self._n_mailboxes += 1
            self.mailboxes[client_id] = ClientMailbox(f"{self._epoch}/{self._n_mailboxes}")
        return self.mailboxes[client_id]
