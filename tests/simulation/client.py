"""A client in virtual time: the brain that ships, calls that get lost, and a user who checks what it is given."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from msgspec import structs

from ray_sched.core.client.brain import ClientBrain
from ray_sched.core.client.effects import (
    Call,
    ClientEffect,
    DiscardResult,
    DropAhead,
    EndSessions,
    FetchSpeech,
    Notice,
    NotifyAccepted,
    NotifyGap,
    NotifyPartial,
    NotifyRefused,
    NotifyResult,
    PushAudio,
    SendMessage,
    SubmitLater,
)
from ray_sched.core.errors import ABOUT, About, Code, Refusal
from ray_sched.core.ledger import Ledger
from ray_sched.core.messages.client_dispatcher import Answer, Cancel, ClientReply, Delivered, JobSpec, Mail
from ray_sched.core.messages.fields import MAX_BATCH

if TYPE_CHECKING:
    from tests.simulation.world import World


_FORGOTTEN_AFTER_MS = 9_000
"""A client that is silent for longer has to begin its sessions anew: the Dispatcher may have forgotten them."""
_RETRY_FOR_MS = 10_000
_BYTES_PER_MS = 32


class Want:
    """What a user wants to be done, and what it knows of it."""

    def __init__(self, number: int, spec: JobSpec, *, is_kept: bool, before: "Want | None" = None) -> None:
        self.number = number
        self.spec = spec
        self.is_kept = is_kept
        """Its audio is in memory until the job is over; else it is read for each push."""
        self.before = before
        """What the same user has asked for with the same request id."""
        self.is_after = before is not None and before.is_over
        """That had ended for the user when this was asked for."""
        self.job_id = ""
        self.is_refused = False
        self.is_abandoned = False
        self.is_repeated = False
        """The same user has asked for it again, with the same request id."""
        self.delivered: Delivered | None = None

    @property
    def n_bytes(self) -> int:
        """Of one copy of its audio."""
        return self.spec.audio_ms * _BYTES_PER_MS

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.is_refused or self.delivered is not None


class User:
    """Who submits, and checks what it is told: one result for each job, in order within a session."""

    def __init__(self, world: "World", client_id: str) -> None:
        self.world = world
        self.client_id = client_id
        self.wants: dict[int, Want] = {}
        self.cancelled: set[str] = set()
        """Jobs that it wanted to be cancelled, whoever waits for them."""
        self.n_lives = 0
        """How often the Dispatcher may have forgotten this client's sessions."""
        self._done_in: dict[str, int] = {}
        self._missing: dict[str, set[int]] = {}
        self._newest: dict[str, tuple[int, int]] = {}
        """By session: the number of the newest want that was taken, and its index."""

    def notify(self, effect: Notice) -> None:
        """The user is given what the brain says it is to be given."""
        match effect:
            case NotifyAccepted():
                self._accept(self.wants[effect.number], effect)
            case NotifyResult():
                wants = [self.wants[number] for number in effect.numbers]
                for want in wants:
                    self._deliver(want, effect.delivered)
                self._check_place(wants, effect.delivered)
            case NotifyRefused():
                self._refuse(self.wants[effect.number], effect)
            case NotifyGap():
                missing = range(effect.missing.first_index, effect.missing.last_index + 1)
                self._missing.setdefault(effect.missing.session, set()).update(missing)
            case DiscardResult():  # a submit that was refused arrived once more, late, and was taken
                if effect.delivered.utterance_index is not None:
                    self._missing.setdefault(effect.delivered.session, set()).add(effect.delivered.utterance_index)
            case NotifyPartial() | EndSessions():
                pass
            case _:
                assert_never(effect)

    def _accept(self, want: Want, effect: NotifyAccepted) -> None:
        what = f"one submission, two jobs: {want.job_id} and {effect.job_id}"
        is_same = want.job_id in {"", effect.job_id} or want.before or want.is_repeated  # or it is that of another call
        self.world.expect(bool(is_same) or self.world.was_given_up(want.job_id), what, want.job_id)
        want.job_id = effect.job_id
        if effect.utterance_index is not None and not want.before and want.spec.session.endswith(f"/{self.n_lives}"):
            self._check_turn(want, effect.utterance_index)

    def _check_turn(self, want: Want, index: int) -> None:
        """A session is numbered in the order in which it was submitted, whatever was read, lost and refused when."""
        number, before = self._newest.get(want.spec.session, (0, -1))
        is_in_turn = (want.number > number) == (index > before)
        self.world.expect(is_in_turn, f"submitted as {want.number} after {number}: {index}, {before}", want.job_id)
        self._newest[want.spec.session] = max((number, before), (want.number, index))

    def _refuse(self, want: Want, effect: NotifyRefused) -> None:
        self.world.note(want.job_id, f"{self.client_id} is refused {want.spec.request_id}: {effect.refusal}")
        self.world.expect(not want.job_id, f"an accepted job is refused: {effect.refusal}", want.job_id)
        want.is_refused = True

    def _deliver(self, want: Want, event: Delivered) -> None:
        self.world.note(event.job_id, f"{self.client_id} has its result {event}")
        self.world.expect(not want.is_over, "delivered twice", event.job_id)
        want.delivered = event
        error = event.outcome.error
        is_cancelled = error is not None and error.code is Code.CANCELLED
        is_wanted = not want.is_abandoned and event.job_id not in self.cancelled
        self.world.expect(not (is_cancelled and is_wanted), "cancelled, and somebody waits for it", event.job_id)
        if want.before and want.before.delivered and want.is_after:
            self._check_again(event, want.before.delivered)

    def _check_place(self, wants: list[Want], event: Delivered) -> None:
        """A result that has a place comes in the order of its session, unless a call for the request had it before."""
        requests = {want.spec.request_id for want in wants}
        before = [one.delivered for one in self.wants.values() if one.spec.request_id in requests]
        is_again = any(one and one is not event and one.utterance_index == event.utterance_index for one in before)
        if event.utterance_index is not None and not is_again and event.session.endswith(f"/{self.n_lives}"):
            self._check_order(event, event.utterance_index)

    def _check_again(self, event: Delivered, before: Delivered) -> None:
        """A request that ended well, or whose job was to blame, has the same answer; any other is a new job."""
        error = before.outcome.error
        is_new = error is not None and ABOUT[error.code] is not About.JOB
        if event.job_id == before.job_id:
            self.world.expect(not is_new, f"the same answer after {error}", event.job_id)
            self.world.expect(event.outcome == before.outcome, "one job, two outcomes for its user", event.job_id)
        else:
            was_forgotten = before.job_id not in self.world.dispatcher.brain.jobs
            self.world.expect(is_new or was_forgotten, f"run again after {before.outcome}", event.job_id)

    def _check_order(self, event: Delivered, index: int) -> None:
        """In session order, what is left out was announced, what comes after that is marked late."""
        missing = self._missing.setdefault(event.session, set())
        if event.is_late:
            self.world.expect(index in missing, f"{event.session}: {index} is late, never missing", event.job_id)
            missing.discard(index)
            return
        before = self._done_in.get(event.session, -1)
        self.world.expect(index > before, f"{event.session}: {index} after {before}", event.job_id)
        left_out = set(range(before + 1, index)) - missing
        self.world.expect(not left_out, f"{event.session}: nobody said what is before {index}", event.job_id)
        self._done_in[event.session] = index


class Client:
    """The shell: carries out what the brain decides, over the virtual network. Decides nothing."""

    def __init__(self, world: "World", client_id: str) -> None:
        self.world = world
        self.client_id = client_id
        self.brain = ClientBrain(client_id, 1, _RETRY_FOR_MS)
        self.user = User(world, client_id)
        self.is_asleep = False
        self.is_blocked = False
        """It is asleep, and a thread of it says that it lives."""
        self.is_dead = False
        self.n_read: Counter[int] = Counter()
        """Copies of audio that are really in memory to be pushed, by number."""
        self.n_pushed: Counter[int] = Counter()
        """Copies of audio that are really in the store or on their way, by number."""
        self._ahead = 0
        """Number of the submission whose audio is in the store ahead of its push."""
        self._slept_ms = 0
        self._outbox: list[SendMessage] = []
        self._sending: list[SendMessage] = []
        self._sending_since_ms = 0
        world.net.after(1, self._poll)

    # --- what its user asks

    @property
    def wants(self) -> dict[int, Want]:
        """All that was ever submitted."""
        return self.user.wants

    @property
    def ledger(self) -> Ledger[int]:
        """Where its audio is."""
        return self.brain.audio.ledger

    def submit(self, **changes: object) -> Want:
        """One more job, with a request id of its own. Sessions that were forgotten are not gone on with."""
        number = len(self.wants) + 1
        facts: dict[str, object] = {"request_id": f"{self.client_id}-{number}", "src": "en", "tgt": "en"}
        facts |= {"audio_ms": self.world.rng.randint(100, 2_000)} | changes
        if facts.get("session"):
            facts["session"] = f"{facts['session']}/{self.user.n_lives}"
        spec = JobSpec(**facts)  # type: ignore[arg-type]
        want = self.wants[number] = Want(number, spec, is_kept=number % 3 != 0)
        self._perform(self.brain.open(number, spec, want.n_bytes if want.is_kept else 0))
        if self.world.is_wild and self.world.rng.random() < 0.3:  # its audio has to be read for its digest
            self.world.net.after(self.world.rng.randint(1, 1_500), lambda: self._ask(number, want))
        else:
            self._ask(number, want)
        return want

    def submit_again(self, want: Want) -> None:
        """The same request once more, when it has ended or is cancelled: another call, with its id and content."""
        is_given_up = want.is_abandoned or want.job_id in self.user.cancelled
        if self.is_dead or not (want.is_over or is_given_up):
            return
        number, want.is_repeated = len(self.wants) + 1, True
        spec = structs.replace(want.spec, submission=f"call {number}")
        again = self.wants[number] = Want(number, spec, is_kept=number % 3 != 0, before=want)
        self._perform(self.brain.open(number, spec, again.n_bytes if again.is_kept else 0))
        self._ask(number, again)

    def _ask(self, number: int, want: Want) -> None:
        if self.is_dead:
            return
        self._perform(self.brain.ask(number))
        if want.is_kept and self.brain.transfers.begin_ahead(number):
            self._ahead = number
            self.n_pushed[number] += 1

    def _drop_ahead(self) -> None:
        if self._ahead:
            self.n_pushed[self._ahead] -= 1
            self._ahead = 0
        self.brain.transfers.end_ahead()

    def cancel(self, want: Want) -> None:
        """The job is no longer wanted; nothing happens before its id is known."""
        if want.job_id:
            self.user.cancelled.add(want.job_id)
            self._perform([SendMessage(Cancel(job_id=want.job_id))])
            self._perhaps_again(want)

    def abandon(self, want: Want) -> None:
        """Nobody waits for this any more; perhaps somebody waits for the same job."""
        if not self.is_dead and not want.is_over:
            want.is_abandoned = True
            self._perform(self.brain.abandon(want.number))
            self._perhaps_again(want)

    def _perhaps_again(self, want: Want) -> None:
        if self.world.rng.random() < 0.3:  # its user has changed its mind
            self.world.net.after(self.world.rng.randint(1, 500), lambda: self.submit_again(want))

    def die(self) -> None:
        """The process is gone and never comes back."""
        self.is_dead = self.is_asleep = True

    # --- what the brain decides

    def _perform(self, effects: list[ClientEffect]) -> None:
        if self.is_dead:
            return
        for effect in effects:
            if isinstance(effect, SendMessage | SubmitLater | PushAudio | DropAhead | FetchSpeech):
                self._call(effect)
            else:
                self.user.notify(effect)

    def _call(self, effect: Call) -> None:
        match effect:
            case SendMessage():
                self._outbox.append(effect)
                self._send()
            case SubmitLater():
                number = effect.number
                self.world.net.after(effect.after_ms, lambda: self._perform(self.brain.submit_again(number)))
            case PushAudio():
                self._read(effect)
            case DropAhead():
                self._drop_ahead()
            case FetchSpeech():
                self._fetch(effect)
            case _:
                assert_never(effect)

    # --- calls to the dispatcher

    def _send(self) -> None:
        if self._sending or not self._outbox:
            return
        self._sending, self._outbox = self._outbox[:MAX_BATCH], self._outbox[MAX_BATCH:]
        self._sending_since_ms = self.world.net.now_ms
        self._call_dispatcher()

    def _call_dispatcher(self) -> None:
        if self.is_asleep:
            self.world.net.after(500, self._call_dispatcher)
            return
        items = self._sending
        batch = self.brain.batch(items)

        def answered(reply: tuple[tuple[Answer, ...], Mail]) -> None:
            self._sending = []
            self._step(lambda: self.brain.handle_reply(items, ClientReply(answers=reply[0], mail=reply[1])))
            self._send()

        def failed() -> None:
            if self.is_dead:
                return
            again_after_ms = self.brain.call_failed(self.world.net.now_ms - self._sending_since_ms)
            if again_after_ms is None:
                self._sending = []
                self._perform(self.brain.give_up(items))
                self._send()
            else:
                self.world.net.after(again_after_ms, self._call_dispatcher)

        self.world.net.call(
            lambda reply: self.world.dispatcher.batch(self.client_id, batch.messages, reply), answered, failed
        )

    def _poll(self) -> None:
        if self.is_asleep and self.is_blocked and not self.is_dead:
            self.world.net.post(lambda: self.world.dispatcher.alive(self.client_id))
            self.world.net.after(500, self._poll)
            return
        if self.is_asleep:
            self._slept_ms += 200
            self.user.n_lives += self._slept_ms == _FORGOTTEN_AFTER_MS
            self.world.net.after(200, self._poll)
            return
        self._slept_ms = 0
        poll = self.brain.poll()

        def answered(mail: Mail) -> None:
            self._step(lambda: self.brain.handle_poll(poll, mail))
            self.world.net.after(100, self._poll)

        def failed() -> None:
            self.world.net.after(self.brain.poll_failed(), self._poll)

        ask = self.world.dispatcher.poll
        self.world.net.call(
            lambda reply: ask(self.client_id, poll.epoch, poll.acked, reply, is_resync=poll.is_resync),
            answered,
            failed,
        )

    def _step(self, step: Callable[[], list[ClientEffect]]) -> None:
        """The brain is told an answer, perhaps with mail of a new epoch: then its user goes on with new sessions."""
        if self.is_dead:
            return
        was = self.brain.inbox.epoch
        effects = step()
        if was not in {"", self.brain.inbox.epoch}:
            self.world.note("", f"{self.client_id} has mail of epoch {self.brain.inbox.epoch} after {was}")
            self.user.n_lives += 1
        self._perform(effects)

    # --- calls to agents

    def _read(self, push: PushAudio) -> None:
        """Audio that is kept goes at once; other audio is read, in a while, and waits for more that goes with it."""
        want = self.wants[push.number]
        if want.is_kept:
            self._push(push, want)
        else:
            self.world.net.after(self.world.rng.randint(1, 40), lambda: self._read_file(push, want))

    def _read_file(self, push: PushAudio, want: Want) -> None:
        if self.is_dead:
            return
        if not self.brain.transfers.is_wanted(push.number):
            return
        if self.world.is_wild and self.world.rng.random() < 0.02:
            refusal = Refusal(code=Code.INVALID_AUDIO, message="there is no such file any more")
            self._perform(self.brain.transfers.unreadable(push, refusal))
            return
        self.n_read[push.number] += 1
        self.brain.audio.read(push.number, want.n_bytes)
        self.world.net.after(self.world.rng.randint(1, 40), lambda: self._push(push, want))

    def _push(self, push: PushAudio, want: Want) -> None:
        if self.is_dead:
            return
        if self._ahead and (self._ahead != push.number or self.world.rng.random() < 0.3):  # others go with it
            self._drop_ahead()
        self.n_read[push.number] -= not want.is_kept
        if not self.brain.transfers.begin(push):
            return
        if self._ahead:
            self._ahead = 0
        else:
            self.n_pushed[push.number] += 1

        def ended(why_not: str) -> None:
            if self.is_dead:
                return
            self.n_pushed[push.number] -= 1
            self.brain.transfers.returned(push)
            if why_not:
                self._perform(self.brain.transfers.failed(push, why_not))

        def answered(why_refused: str | None) -> None:
            ended("there is no agent" if why_refused is None else "")

        self.world.net.call(
            lambda reply: self.world.push(push.assigned, push.spec, reply), answered, lambda: ended("no answer")
        )

    def _fetch(self, effect: FetchSpeech) -> None:
        ready, transfers = effect.ready, self.brain.transfers
        key = (ready.job_id, ready.attempt)

        def answered(is_there: object) -> None:
            self._perform(transfers.speech_fetched(ready) if is_there else transfers.speech_lost(ready, "gone"))

        def failed() -> None:
            self._perform(transfers.speech_lost(ready, "no answer"))

        self.world.net.call(lambda reply: self.world.fetch_speech(ready.agent, key, reply), answered, failed)
