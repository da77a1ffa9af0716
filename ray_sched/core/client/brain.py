"""The client's brain: from what its user, the Dispatcher and the agents do, it decides what the client does.

Facts are calls of its methods, effects are what they return; nothing is awaited. Everything that is sent is repeated
until it was answered, and every event is handled once.
"""

from collections.abc import Iterable, Sequence
from typing import assert_never

from msgspec import structs

from ray_sched.core.client.effects import (
    ClientEffect,
    EndSessions,
    FetchSpeech,
    NotifyAccepted,
    NotifyGap,
    NotifyPartial,
    NotifyRefused,
    NotifyResult,
    SendMessage,
    SubmitLater,
)
from ray_sched.core.client.held import HeldEvents, unclaimed
from ray_sched.core.client.inbox import Inbox
from ray_sched.core.client.submissions import Submission, Submissions
from ray_sched.core.client.transfers import Transfers
from ray_sched.core.client.turns import Turns
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.ledger import AudioState
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Alive,
    Answer,
    Assigned,
    Cancel,
    ClientBatch,
    ClientEvent,
    ClientReply,
    Delivered,
    JobSpec,
    Mail,
    MissingResult,
    PartialText,
    Poll,
    Refused,
    SpeechReady,
    Submit,
)

CALL_AGAIN_AFTER_MS = 100
"""Between a call that failed and its repetition."""
SUBMIT_AGAIN_AFTER_MS = 500
"""At least, before a job that was taken once is submitted again to a scheduler that could not take it just now."""
NO_ANSWER = Refusal(code=Code.SCHEDULER_NOT_RUNNING, message="the scheduler does not answer; is it running?")
_ABANDONED = Refusal(code=Code.CANCELLED, message="nobody waited for it any more")
_CLOSED = Refusal(code=Code.CANCELLED, message="this client is closed")
_FOR_NOW = frozenset({Code.SCHEDULER_DEPENDENCY_DOWN, Code.SCHEDULER_NOT_RUNNING, Code.OVERLOADED})


class ClientBrain:
    """One client process. Submissions have numbers, given by the shell, from 1 on."""

    def __init__(self, client_id: str, generation: int, retry_for_ms: int) -> None:
        """``generation``: start time of the process in microseconds; ``retry_for_ms``: of a call without an answer."""
        self._client_id = client_id
        self._generation = generation
        self._retry_for_ms = retry_for_ms
        self._submissions = Submissions()
        self.transfers = Transfers(self._submissions)
        self.audio = self.transfers.audio
        self.inbox = Inbox()
        self.slots = 0
        """Slots of the cluster, by the last mail."""
        self.ended: Refusal | None = None
        """Why nothing more will come, if so."""
        self._held = HeldEvents()
        self.turns = Turns()

    # --- the user ------------------------------------------------------------------------------------------------

    def open(self, number: int, spec: JobSpec, kept_bytes: int) -> list[ClientEffect]:
        """The user submits a job. ``kept_bytes``: of samples in memory; 0: read later. To be followed by ``ask``."""
        spec = self.turns.with_first_index(spec)
        submission = self._submissions.open(number, spec)
        self.audio.open(number, kept_bytes)
        if self.ended:
            return self._refuse(submission, self.ended)
        self.turns.open(number, spec)
        return []

    def ask(self, number: int, digest: str = "", audio_ms: int = 0) -> list[ClientEffect]:
        """Ask the Dispatcher to take a submission, and those of its session that had to wait for it.

        ``digest``: of the audio, if the user chose the request id; ``audio_ms``: if it is known only now.
        """
        submission = self._submissions.get(number)
        if submission is None:
            return []
        if digest or audio_ms:
            call = f"{self._generation}-{number}" if digest else ""
            audio_ms = audio_ms or submission.spec.audio_ms
            submission.spec = structs.replace(submission.spec, digest=digest, submission=call, audio_ms=audio_ms)
        return self._ask(self.turns.ready(number, submission.spec))

    def refuse(self, number: int, refusal: Refusal) -> list[ClientEffect]:
        """Refuse a submission that the Dispatcher was not asked for yet: its audio cannot be read."""
        submission = self._submissions.get(number)
        if submission is None:
            return []
        return self._refuse(submission, refusal) + self._ask(self.turns.leave(number, submission.spec))

    def abandon(self, number: int) -> list[ClientEffect]:
        """Nobody waits for this submission any more: its job is cancelled, unless somebody waits for the same job."""
        submission = self._submissions.get(number)
        if submission is None or submission.is_abandoned:
            return []
        if not (submission.asked or submission.job_id):
            return self.refuse(number, _ABANDONED)
        submission.is_abandoned = True
        return [*self._submissions.cancel_unwanted(submission.spec.request_id)]

    def submit_again(self, number: int) -> list[ClientEffect]:
        """The time of ``SubmitLater`` has come."""
        submission = self._submissions.get(number)
        return [submission.submit()] if submission and submission.asked else []

    def close(self) -> list[ClientEffect]:
        """The user closes the client: cancel every job that was taken, and refuse every submission without a result."""
        cancels: list[ClientEffect] = [SendMessage(Cancel(job_id=job_id)) for job_id in self._submissions.job_ids()]
        ended = self._end(Refusal(code=Code.CANCELLED, message="the client was closed before the result came"))
        self.ended = _CLOSED if ended else self.ended
        return cancels + ended

    def _ask(self, numbers: Iterable[int]) -> list[ClientEffect]:
        waiting = (self._submissions.get(number) for number in numbers)
        return [self._submissions.ask(submission) for submission in waiting if submission]

    # --- calls to the dispatcher -----------------------------------------------------------------------------------

    def batch(self, items: Iterable[SendMessage]) -> ClientBatch:
        """The message that carries these effects to the Dispatcher."""
        messages = tuple(item.message for item in items)
        return ClientBatch(client_id=self._client_id, generation=self._generation, messages=messages)

    def handle_reply(self, items: Sequence[SendMessage], reply: ClientReply) -> list[ClientEffect]:
        """The Dispatcher has answered a batch: first its epoch, then the answers, then the mail that is about them.

        A new epoch comes first, so that what it has just taken is not submitted to it again. Answers of a past epoch
        count for nothing but a no: what it took, the present one may not know.
        """
        mail = reply.mail
        if mail.refusal:
            return self._end(mail.refusal)
        is_past = self.inbox.is_past(mail.epoch)
        effects = [] if is_past else self._begin(mail.epoch)
        asked = (item for item in items if isinstance(item.message, Submit | Cancel))
        for item, answer in zip(asked, reply.answers, strict=True):
            if isinstance(item.message, Submit):
                effects += self._handle_answer(item, answer, is_past=is_past)
        return effects + self._handle_mail(mail)

    def call_failed(self, waited_ms: float) -> int | None:
        """No answer to a batch that was sent first so long ago. Milliseconds after which to send it again, or None."""
        self.inbox.needs_resync = True
        return CALL_AGAIN_AFTER_MS if waited_ms < self._retry_for_ms else None

    def give_up(self, items: Sequence[SendMessage], refusal: Refusal = NO_ANSWER) -> list[ClientEffect]:
        """The shell does not send this batch again: its submits are refused."""
        no, effects = Refused(refusal=refusal), list[ClientEffect]()
        for item in items:
            if isinstance(item.message, Submit):
                self._submissions.give_up(item.message.spec.request_id)
                effects += self._handle_answer(item, no, is_past=False)
        return effects + self._handle_events(())

    def poll(self) -> Poll:
        """The next poll."""
        return Poll(
            client_id=self._client_id,
            generation=self._generation,
            epoch=self.inbox.epoch,
            acked=self.inbox.acked,
            is_resync=self.inbox.needs_resync,
            held_bytes=self.audio.ledger.bytes_in(AudioState.HELD),
            stored_bytes=self.audio.ledger.bytes_in(AudioState.STORED),
        )

    def handle_poll(self, poll: Poll, mail: Mail) -> list[ClientEffect]:
        """The Dispatcher has answered this poll."""
        self.inbox.needs_resync = self.inbox.needs_resync and not poll.is_resync
        if mail.refusal:
            return self._end(mail.refusal)
        effects = [] if self.inbox.is_past(mail.epoch) else self._begin(mail.epoch)
        return effects + self._handle_mail(mail)

    def lose(self, refusal: Refusal) -> list[ClientEffect]:
        """No answer to a poll can be handled: nobody waits any longer."""
        return self._end(refusal)

    def alive(self) -> Alive:
        """What is said while the event loop is blocked."""
        return Alive(client_id=self._client_id, generation=self._generation)

    def poll_failed(self) -> int:
        """No answer to a poll. Milliseconds after which to poll again."""
        self.inbox.needs_resync = True
        return CALL_AGAIN_AFTER_MS

    # --- answers ---------------------------------------------------------------------------------------------------

    def _handle_answer(self, item: SendMessage, answer: Answer, *, is_past: bool) -> list[ClientEffect]:
        submission = self._submissions.get(item.number)
        if submission is None:  # given up meanwhile
            return [SendMessage(Cancel(job_id=answer.job_id))] if isinstance(answer, Accepted) else []
        match answer:
            case Accepted():
                return [submission.submit()] if is_past else self._accept(submission, answer)
            case Refused():
                if submission.job_id and answer.refusal.code in _FOR_NOW:  # a job that was taken once is not given up
                    return [SubmitLater(submission.number, max(answer.refusal.retry_after_ms, SUBMIT_AGAIN_AFTER_MS))]
                return self._refuse(submission, answer.refusal)
            case _:
                assert_never(answer)

    def _accept(self, submission: Submission, answer: Accepted) -> list[ClientEffect]:
        numbers, job = self._submissions.accept(submission, answer), (answer.job_id, answer.utterance_index)
        told = [NotifyAccepted(number, *job, is_duplicate=answer.is_duplicate) for number in numbers]
        return [*told, *self._submissions.cancel_unwanted(submission.spec.request_id)]

    def _refuse(self, submission: Submission, refusal: Refusal) -> list[ClientEffect]:
        refused = [NotifyRefused(number, refusal) for number in self._finish(submission)]
        return [*refused, *self._submissions.cancel_unwanted(submission.spec.request_id)]

    def _finish(self, submission: Submission) -> tuple[int, ...]:
        """A job is over for the user: its audio is released. Returns the numbers of all its submissions."""
        numbers = self._submissions.finish(submission)
        for number in numbers:
            self.audio.release(number)
        return numbers

    def _end(self, refusal: Refusal) -> list[ClientEffect]:
        """Nothing more will come: every submission that has no result is refused."""
        if self.ended:
            return []
        self.ended = refusal
        self.turns.clear()
        numbers = self._submissions.clear()
        for number in numbers:
            self.audio.release(number)
        return [*(NotifyRefused(number, refusal) for number in numbers), EndSessions(), *self.transfers.settle_ahead()]

    # --- mail ------------------------------------------------------------------------------------------------------

    def _begin(self, epoch: str) -> list[ClientEffect]:
        """In a new epoch the Dispatcher may not know this client's jobs: they are submitted again.

        Submits are idempotent: a job that it does know comes back as it is, with its result if it has ended.
        """
        if not self.inbox.begin(epoch):
            return []
        return [*self._submissions.ask_again()]

    def _handle_mail(self, mail: Mail) -> list[ClientEffect]:
        self.slots = mail.slots
        is_current = mail.epoch == self.inbox.epoch
        return self._handle_events(self.inbox.take(mail) if is_current else ())

    def _handle_events(self, events: Sequence[ClientEvent]) -> list[ClientEffect]:
        """Handle these events, and those held before that need not wait any more, in the order in which they came."""
        if self.ended:
            return []
        ready = self._held.add(events, self._submissions.n_asked, self._may_handle)
        effects = [effect for event in ready for effect in self._handle_event(event)]
        return effects + self.transfers.settle_ahead()

    def _may_handle(self, event: ClientEvent, last_asked: int) -> bool:
        """Whether it is known which submission an event is for, or that it is for none of this client."""
        if isinstance(event, MissingResult) or self._submissions.of_job(event.job_id):
            return True
        may_be_found = isinstance(event, Assigned) and self._submissions.may_find_a_job  # or it would be cancelled
        return self._submissions.is_answered(last_asked) and not may_be_found

    def _handle_event(self, event: ClientEvent) -> list[ClientEffect]:
        if isinstance(event, MissingResult):
            return [NotifyGap(event)]
        submission = self._submissions.of_job(event.job_id)
        if submission is None:
            return unclaimed(event)
        match event:
            case Assigned():
                return self.transfers.push(submission, event)
            case PartialText():
                return [NotifyPartial(submission.number, event.text)]
            case SpeechReady():
                return [FetchSpeech(submission.number, event)]
            case Delivered():
                return [NotifyResult(self._finish(submission), event)]
            case _:
                assert_never(event)
