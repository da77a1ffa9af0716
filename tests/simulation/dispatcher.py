"""The Dispatcher's shell in virtual time, and the disk under it.

It does what ``ray_sched/actors/dispatcher.py`` does: decide, save, tell; turns that meet are committed together; a
client's mail is in a box with a name. It can crash between any two of these steps, and begins again with the disk.
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


class Box:
    """A client's mailbox and its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mailbox = Mailbox()

    def mail(self) -> Mail:
        """What was not handed out yet."""
        last, events = self.mailbox.take()
        return Mail(epoch=self.name, last=last, events=events)


class Turn:
    """What one event led to, until it is told."""

    def __init__(self, effects: Effects, reply: Reply[Effects]) -> None:
        self.effects = effects
        self.changes = [effect.change for effect in effects if isinstance(effect, Save)]
        self.reply = reply


class Dispatcher:
    """Actor ``dispatcher``: the real brain, a disk, and the ways to lose one without the other."""

    tells_before_it_saves = False
    """A planted bug."""
    waits_its_turn = True
    """What needs no save is told after what was decided before it and is still being saved."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng: random.Random = world.rng
        self.disk = Disk()
        self.n_lives = 0
        self.is_up = False
        self.boxes: dict[str, Box] = {}
        self.told: dict[str, Delivered] = {}
        """The first outcome told of each job."""
        self._turns: list[Turn] = []
        self._committing: list[Turn] = []
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
        self._boot = f"{self._world.net.now_ms:x}"
        self.brain = DispatchBrain(self._boot, RULES, DeliveryRules(), SelectionRules())
        self.boxes, self._n_boxes = {}, 0
        self._turns, self._committing = [], []
        jobs = [from_record(record) for record in self.disk.jobs.values()]
        self._rng.shuffle(jobs)
        self.brain.speeds.load(self.disk.speeds)
        effects = self.brain.restore(jobs, self._world.net.now_ms)
        turn = Turn(effects, lambda _effects: None)
        self.disk.commit(turn.changes)
        self._tell(turn.effects)
        self.is_up = True
        self._world.note("", f"dispatcher {self._boot} begins with {len(jobs)} jobs")

    def crash(self) -> None:
        """The process is gone. A commit on its way has reached the disk, or it has not; nothing is told of it."""
        if not self.is_up or "dispatcher" in self.disk.is_emptied_for:  # both at once are not promised
            return
        if self._committing and self._world.net.now_ms >= self.disk.is_away_until_ms and self._rng.random() < 0.5:
            self.disk.commit([change for turn in self._committing for change in turn.changes])
        self.is_up = False
        self.n_lives += 1
        self._crash_in = 0
        self._world.note("", f"dispatcher {self._boot} crashes")
        self._world.net.after(self._rng.randint(1_000, 2_000), self.start)

    def crash_soon(self) -> None:
        """Crash in one of the next turns that save something, just before or just after the save."""
        self._crash_in = self._rng.randint(1, 4)
        self._crash_after_save = self._rng.random() < 0.5

    def crash_no_more(self) -> None:
        """What was to come does not."""
        self._crash_in = 0

    # --- turns

    def tick(self) -> None:
        """Time has passed; a store that was emptied is noticed."""
        if self.is_up and "dispatcher" in self.disk.is_emptied_for:
            self.handle(StoreWasEmptied(), lambda _effects: self.disk.is_emptied_for.discard("dispatcher"))
        self.handle(Swept())

    def handle(self, event: DispatchEvent, reply: Reply[Effects] = lambda _effects: None) -> None:
        """Decide, save, tell, reply. Nothing at all if it is down."""
        if not self.is_up:
            return
        turn = Turn(self.brain.handle(event, self._world.net.now_ms), reply)
        kinds = [isinstance(effect, Save) for effect in turn.effects]
        self._world.expect(kinds == sorted(kinds, reverse=True), "something is told before it is saved")
        if self.tells_before_it_saves:
            self._end(turn)
            turn.effects, turn.reply = [], lambda _effects: None
        elif not turn.changes and not (self._committing and self._waits(turn, event)):
            self._end(turn)
            return
        self._turns.append(turn)
        if not self._committing:
            self._commit()

    def _waits(self, turn: Turn, event: DispatchEvent) -> bool:
        return self.waits_its_turn and bool(turn.effects or isinstance(event, AgentSpoke))

    def _commit(self) -> None:
        life = self.n_lives
        self._committing, self._turns = self._turns, []
        if self._crash_in and not self.disk.is_emptied_for and any(turn.changes for turn in self._committing):
            self._crash_in -= 1
            if not self._crash_in:
                if self._crash_after_save:
                    self.disk.commit([change for turn in self._committing for change in turn.changes])
                self._committing = []
                self.crash()
                return

        def saved() -> None:
            if life != self.n_lives:
                return
            turns = self._committing
            self.disk.commit([change for turn in turns for change in turn.changes])
            self._committing = []
            for turn in turns:
                self._end(turn)
            if self._turns and not self._committing:
                self._commit()

        delay_ms = self._world.commit_ms()
        if delay_ms:
            self._world.net.after(delay_ms, saved)
        else:
            saved()

    def _end(self, turn: Turn) -> None:
        self._tell(turn.effects)
        turn.reply(turn.effects)

    def _tell(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case NotifyClient():
                    self._notify_client(effect)
                case DropClient():
                    self.boxes.pop(effect.client_id, None)
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
            self._nothing_is_told_before_it_is_saved(event)
        elif isinstance(event, Assigned):
            self._world.count_served(event.job_id)
        if self._world.is_traced:
            self._world.note(getattr(event, "job_id", ""), f"{effect.client_id} is told {event}")
        self._box(effect.client_id).mailbox.put(event)

    def _nothing_is_told_before_it_is_saved(self, event: Delivered) -> None:
        record = self.disk.jobs.get(event.job_id)
        saved = from_record(record).outcome if record else None
        self._world.expect(record is None or saved == event.outcome, "told before it is saved", event.job_id)
        first = self.told.setdefault(event.job_id, event)
        self._world.expect(first.outcome == event.outcome, "one job, two outcomes", event.job_id)

    def cleanup(self) -> None:
        """Forget all finished jobs."""
        self.handle(CleanupDue(0))

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was decided is on the disk."""
        return self.is_up and not self._turns and not self._committing and not self.disk.is_emptied_for

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
        box = self._box(client_id)

        def answer(effects: Effects) -> None:
            answers = next(effect.answers for effect in effects if isinstance(effect, AnswerClient))
            reply((answers, box.mail()))

        self.handle(ClientSpoke(client_id, messages), answer)

    def poll(self, client_id: str, name: str, acked: int, reply: Reply[Mail], *, is_resync: bool) -> None:
        """A client's poll: its mail. A number of another mailbox acknowledges nothing."""
        if not self.is_up:
            return
        box = self._box(client_id)
        if name == box.name:
            box.mailbox.acknowledge(acked)
        if is_resync:
            box.mailbox.resync()
        self.handle(ClientPolled(client_id), lambda _effects: reply(box.mail()))

    def _box(self, client_id: str) -> Box:
        if client_id not in self.boxes:
            self._n_boxes += 1
            self.boxes[client_id] = Box(f"{self._boot}/{self._n_boxes}")
        return self.boxes[client_id]
