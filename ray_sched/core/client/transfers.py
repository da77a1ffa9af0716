"""What goes between a client and the agents: audio to them, speech back; and what the Dispatcher is sent about it."""

from ray_sched.core.client.audio import AudioBook
from ray_sched.core.client.effects import ClientEffect, DropAhead, PushAudio, SendMessage
from ray_sched.core.client.submissions import Submission, Submissions
from ray_sched.core.errors import Refusal
from ray_sched.core.messages.client_dispatcher import (
    Assigned,
    AudioUnreadable,
    PushFailed,
    SpeechFetched,
    SpeechLost,
    SpeechReady,
)
from ray_sched.core.messages.fields import MAX_WHY


class Transfers:
    """Called by the shell after each push and each fetch; ``audio`` after each copy that was made or dropped."""

    def __init__(self, submissions: Submissions) -> None:
        self._submissions = submissions
        self.audio = AudioBook()
        self._ahead = 0
        """Number of the submission whose audio was put into the store ahead of its push; 0: of none."""

    def push(self, submission: Submission, assigned: Assigned) -> list[ClientEffect]:
        """An attempt is assigned to an agent. No effects if that comes again while its push is under way."""
        attempt = (assigned.job_id, assigned.attempt)
        if attempt in submission.pushing:
            return []
        submission.pushing += (attempt,)
        return [PushAudio(submission.number, submission.spec, assigned)]

    def is_wanted(self, number: int) -> bool:
        """Whether the audio of this submission is still to be brought anywhere."""
        return self._submissions.get(number) is not None

    def unreadable(self, push: PushAudio, refusal: Refusal) -> list[ClientEffect]:
        """When it was time to push, the audio could not be read: the job fails."""
        self._end(push)
        job_id, attempt = push.assigned.job_id, push.assigned.attempt
        return [SendMessage(AudioUnreadable(job_id=job_id, attempt=attempt, refusal=refusal))]

    def begin_ahead(self, number: int) -> bool:
        """Samples that are kept may be put into the store while their job is being asked for. True: now they are.

        The submission is the only one, so the store holds one such copy of each client at most.
        """
        submission = self._submissions.get(number)
        if self._ahead or submission is None or not submission.asked or not self._submissions.is_only:
            return False
        self._ahead = number
        self.audio.push_began(number)
        return True

    def is_ahead(self, push: PushAudio) -> bool:
        """Whether the copy that this push is to bring is in the store already."""
        return push.number == self._ahead

    def settle_ahead(self) -> list[ClientEffect]:
        """Called after each answer and each mail: what was put ahead and is not pushed at once does not stay there."""
        submission = self._submissions.get(self._ahead)
        if not self._ahead or (submission and (submission.asked or submission.pushing)):
            return []
        return [DropAhead()]

    def end_ahead(self) -> None:
        """What was put ahead, if anything was, is dropped."""
        number, self._ahead = self._ahead, 0
        if number:
            self.audio.push_ended(number)

    def begin(self, push: PushAudio) -> bool:
        """The push of audio that was read is about to begin. False if nobody wants it any more: it is to be dropped."""
        if not self.is_wanted(push.number):
            self.audio.drop(push.number)
            return False
        if self.is_ahead(push):
            self._ahead = 0
        else:
            self.audio.push_began(push.number)
        return True

    def returned(self, push: PushAudio) -> None:
        """A push that had begun has returned, or was given up: its copy of the audio is gone."""
        self.audio.push_ended(push.number)
        self._end(push)

    def failed(self, push: PushAudio, why: str) -> list[ClientEffect]:
        """A push did not get through, as far as this client knows: the job is tried again."""
        self._end(push)
        if not self.is_wanted(push.number):
            return []
        job_id, attempt = push.assigned.job_id, push.assigned.attempt
        return [SendMessage(PushFailed(job_id=job_id, attempt=attempt, why=why[:MAX_WHY]))]

    def speech_fetched(self, ready: SpeechReady) -> list[ClientEffect]:
        """The speech is here: the job completes."""
        return [SendMessage(SpeechFetched(job_id=ready.job_id, attempt=ready.attempt))]

    def speech_lost(self, ready: SpeechReady, why: str) -> list[ClientEffect]:
        """The speech could not be fetched: the job runs again."""
        return [SendMessage(SpeechLost(job_id=ready.job_id, attempt=ready.attempt, why=why[:MAX_WHY]))]

    def _end(self, push: PushAudio) -> None:
        submission = self._submissions.get(push.number)
        if submission:
            attempt = (push.assigned.job_id, push.assigned.attempt)
            submission.pushing = tuple(one for one in submission.pushing if one != attempt)
