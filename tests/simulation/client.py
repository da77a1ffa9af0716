"""A client in virtual time, as ``ray_sched/client`` is, with a user who checks what it is given."""

from typing import TYPE_CHECKING

import msgspec

from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    Assigned,
    Cancel,
    ClientEvent,
    ClientMessage,
    Delivered,
    JobSpec,
    Mail,
    MissingResult,
    PartialText,
    PushFailed,
    Refused,
    SpeechLost,
    SpeechReady,
    SpeechTaken,
    Submit,
)

if TYPE_CHECKING:
    from tests.simulation.world import World


_FORGOTTEN_AFTER_MS = 9_000
"""A client that is silent for longer has to begin its sessions anew: the Dispatcher may have forgotten them."""


class Want:
    """What a client wants to be done, and what it knows of it."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.job_id = ""
        self.index: int | None = None
        self.n_pushing = 0
        self.is_refused = False
        self.delivered: Delivered | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.is_refused or self.delivered is not None


class Client:
    """A client: repeats what was not answered, pushes when told, takes speech, submits again in a new mailbox."""

    def __init__(self, world: "World", client_id: str) -> None:
        self.world = world
        self.client_id = client_id
        self.wants: dict[str, Want] = {}
        self.ledger: Ledger[str] = Ledger()
        self.is_asleep = False
        self.is_dead = False
        self.n_lives = 0
        """How often the Dispatcher may have forgotten this client's sessions."""
        self._jobs: dict[str, Want] = {}
        self._unanswered: dict[str, Want] = {}
        self._early: list[ClientEvent] = []
        self._box = ""
        self._left: set[str] = set()
        self._acked = 0
        self._slept_ms = 0
        self._is_resync = False
        self._outbox: list[ClientMessage] = []
        self._is_sending = False
        self._done_in: dict[str, int] = {}
        self._missing: dict[str, set[int]] = {}
        world.net.after(1, self._poll)
        world.net.every(500, self._send)

    # --- what its user asks

    def submit(self, **changes: object) -> Want:
        """One more job, with a request id of its own. Sessions that were forgotten are not gone on with."""
        facts: dict[str, object] = {"request_id": f"{self.client_id}-{len(self.wants)}", "src": "en", "tgt": "en"}
        facts |= {"audio_ms": self.world.rng.randint(100, 2_000)} | changes
        if facts.get("session"):
            facts["session"] = f"{facts['session']}/{self.n_lives}"
        want = Want(JobSpec(**facts))  # type: ignore[arg-type]
        self.wants[want.spec.request_id] = self._unanswered[want.spec.request_id] = want
        self.ledger.open(want.spec.request_id, AudioState.HELD, want.spec.audio_ms * 32)
        self._send_message(Submit(spec=want.spec))
        return want

    def cancel(self, want: Want) -> None:
        """The job is no longer wanted; nothing happens before its id is known."""
        if want.job_id:
            self._send_message(Cancel(job_id=want.job_id))

    def die(self) -> None:
        """The process is gone and never comes back."""
        self.is_dead = self.is_asleep = True

    # --- calls

    def _send_message(self, message: ClientMessage) -> None:
        self._outbox.append(message)
        self._send()

    def _send(self) -> None:
        if self._is_sending or not self._outbox or self.is_asleep:
            return
        batch = tuple(self._outbox)
        self._outbox.clear()
        self._is_sending = True

        def answered(reply: tuple[tuple[Answer, ...], Mail]) -> None:
            self._is_sending = False
            self._take(reply[1])  # before those who asked go on
            asked = [message for message in batch if isinstance(message, Submit | Cancel)]
            for message, answer in zip(asked, reply[0], strict=True):
                if isinstance(message, Submit):
                    self._handle_answer(self.wants[message.spec.request_id], answer)
            self._send()

        def failed() -> None:
            self._is_sending = False
            self._is_resync = True
            self._outbox[:0] = batch

        self.world.net.call(lambda reply: self.world.dispatcher.batch(self.client_id, batch, reply), answered, failed)

    def _handle_answer(self, want: Want, answer: Answer) -> None:
        self._unanswered.pop(want.spec.request_id, None)
        if isinstance(answer, Accepted):
            what = f"one request id, two jobs: {want.job_id} and {answer.job_id}"
            self.world.expect(want.job_id in {"", answer.job_id}, what, want.job_id)
            want.job_id, want.index = answer.job_id, answer.utterance_index
            if not want.is_over:
                self._jobs[answer.job_id] = want
        elif isinstance(answer, Refused):
            self.world.note(want.job_id, f"{self.client_id} is refused {want.spec.request_id}: {answer.refusal}")
            self.world.expect(not want.job_id, f"an accepted job is refused: {answer.refusal}", want.job_id)
            want.is_refused = True
            self._release(want)
        early, self._early = self._early, []
        for event in early:
            self._handle(event)

    def _submit_again(self) -> None:
        again = list(self._jobs.values())
        self._jobs.clear()
        for want in again:
            want.spec = msgspec.structs.replace(want.spec, utterance_index=want.index)
            self._unanswered[want.spec.request_id] = want
            self._outbox.append(Submit(spec=want.spec))
        self._send()

    def _poll(self) -> None:
        if self.is_asleep:
            self._slept_ms += 200
            self.n_lives += self._slept_ms == _FORGOTTEN_AFTER_MS
            self.world.net.after(200, self._poll)
            return
        self._slept_ms = 0
        box, acked, is_resync = self._box, self._acked, self._is_resync

        def answered(mail: Mail) -> None:
            self._is_resync = self._is_resync and not is_resync
            self._take(mail)
            self.world.net.after(100, self._poll)

        def failed() -> None:
            self._is_resync = True
            self._poll()

        poll = self.world.dispatcher.poll
        self.world.net.call(
            lambda reply: poll(self.client_id, box, acked, reply, is_resync=is_resync), answered, failed
        )

    def _take(self, mail: Mail) -> None:
        """Mail overlaps after a resync and has a hole when an answer was lost or is still on its way."""
        if self.is_dead:
            return
        if mail.epoch in self._left:
            return
        if mail.epoch != self._box:
            self._left.add(self._box)
            was, self._box, self._acked = self._box, mail.epoch, 0
            if was:
                self.world.note("", f"{self.client_id} has mailbox {mail.epoch} after {was}")
                self.n_lives += 1
                self._submit_again()
        first = mail.last - len(mail.events) + 1
        if first > self._acked + 1:
            self._is_resync = True
            return
        for number, event in enumerate(mail.events, start=first):
            if number > self._acked:
                self._acked = number
                self._handle(event)

    # --- events

    def _handle(self, event: ClientEvent) -> None:
        if isinstance(event, MissingResult):
            missing = range(event.first_index, event.last_index + 1)
            self._missing.setdefault(event.session, set()).update(missing)
            return
        want = self._jobs.get(event.job_id)
        if want:
            self._handle_job_event(want, event)
        elif isinstance(event, Delivered) and event.utterance_index is not None and not self._unanswered:
            # a submit that was refused arrived once more, late, and was taken: its result is nobody's
            self._missing.setdefault(event.session, set()).add(event.utterance_index)
        elif self._unanswered:
            self._early.append(event)
        elif isinstance(event, Assigned):
            self._send_message(Cancel(job_id=event.job_id))

    def _handle_job_event(self, want: Want, event: Assigned | PartialText | SpeechReady | Delivered) -> None:
        match event:
            case Assigned():
                self._push(want, event)
            case SpeechReady():
                self._fetch(event)
            case Delivered():
                del self._jobs[event.job_id]
                self._deliver(want, event)
            case _:
                pass

    def _push(self, want: Want, event: Assigned) -> None:
        want.n_pushing += 1
        request_id = want.spec.request_id
        if self.ledger.state(request_id) is AudioState.HELD:
            self.ledger.move(request_id, AudioState.STORED)

        def over() -> None:
            want.n_pushing -= 1
            if not want.n_pushing and self.ledger.state(request_id) is AudioState.STORED:
                self.ledger.move(request_id, AudioState.HELD)

        def answered(why_not: str | None) -> None:
            over()
            if why_not is None:
                self._send_message(PushFailed(job_id=event.job_id, attempt=event.attempt, why="there is no agent"))

        def failed() -> None:
            over()
            self._send_message(PushFailed(job_id=event.job_id, attempt=event.attempt, why="no answer"))

        self.world.net.call(lambda reply: self.world.push(event, want.spec, reply), answered, failed)

    def _fetch(self, event: SpeechReady) -> None:
        key = (event.job_id, event.attempt)

        def answered(is_there: object) -> None:
            taken = SpeechTaken(job_id=event.job_id, attempt=event.attempt)
            self._send_message(
                taken if is_there else SpeechLost(job_id=event.job_id, attempt=event.attempt, why="gone")
            )

        def failed() -> None:
            self._send_message(SpeechLost(job_id=event.job_id, attempt=event.attempt, why="no answer"))

        self.world.net.call(lambda reply: self.world.take_speech(event.agent, key, reply), answered, failed)

    def _deliver(self, want: Want, event: Delivered) -> None:
        """The user gets a result: one for each job, and those of a session in its order."""
        self.world.note(event.job_id, f"{self.client_id} has its result {event}")
        self.world.expect(want.delivered is None, "delivered twice", event.job_id)
        want.delivered = event
        self._release(want)
        if event.utterance_index is not None and event.session.endswith(f"/{self.n_lives}"):
            self._check_order(event, event.utterance_index)

    def _check_order(self, event: Delivered, index: int) -> None:
        """In session order, what is left out was announced, what comes after that is marked late."""
        missing = self._missing.setdefault(event.session, set())
        if event.is_late:
            self.world.expect(index in missing, f"{event.session}: {index} is late, never missing", event.job_id)
            missing.discard(index)
            return
        before = self._done_in.get(event.session, -1)
        self.world.expect(index > before, f"{event.session}: {index} after {before}", event.job_id)
        held = (one for one in self._early if isinstance(one, Delivered) and one.session == event.session)
        early = {one.utterance_index for one in held}
        left_out = set(range(before + 1, index)) - missing - early  # what is early and somebody's is found out of order
        self.world.expect(not left_out, f"{event.session}: nobody said what is before {index}", event.job_id)
        self._done_in[event.session] = index

    def _release(self, want: Want) -> None:
        if self.ledger.state(want.spec.request_id) is not AudioState.RELEASED:
            self.ledger.move(want.spec.request_id, AudioState.RELEASED)
