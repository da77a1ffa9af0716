"""A client's submissions: what was asked of the Dispatcher, what it has taken, and what is one job."""

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from ray_sched.core.client.effects import SendMessage
from ray_sched.core.messages.client_dispatcher import Accepted, Cancel, JobSpec, Submit
from ray_sched.core.messages.fields import AttemptKey

_REMEMBERED_REQUESTS = 10_000


class Submission:
    """One call of ``submit``. Several of them may be one job, if they have the same request id."""

    __slots__ = ("asked", "followers", "is_abandoned", "job_id", "number", "pushing", "spec", "utterance_index")

    def __init__(self, number: int, spec: JobSpec) -> None:
        self.number = number
        self.spec = spec
        self.job_id = ""
        """By the newest Accepted; empty before the first."""
        self.utterance_index = spec.utterance_index
        self.asked = 0
        """Number of its Submit among all that were sent, counted from 1, while that is not answered; else 0."""
        self.followers: tuple[int, ...] = ()
        """Numbers of later submissions that turned out to be the same job: they get the same result."""
        self.pushing: tuple[AttemptKey, ...] = ()
        """Attempts of which a push is under way."""
        self.is_abandoned = False
        """Nobody waits for its result any more."""

    def submit(self) -> SendMessage:
        """What is sent for it."""
        return SendMessage(Submit(spec=self.spec), self.number)


class Submissions:
    """All submissions of this client that have no result yet."""

    def __init__(self) -> None:
        self._open: dict[int, Submission] = {}
        self._jobs: dict[str, Submission] = {}
        """Submissions that the Dispatcher of the current epoch has taken, by job id."""
        self._unanswered: dict[int, Submission] = {}
        """By ``Submission.asked``, oldest first."""
        self._same: dict[str, list[Submission]] = {}
        """By request id."""
        self._given_up: OrderedDict[str, None] = OrderedDict()
        """Request ids that may have become a job of which this client does not know, newest last."""
        self.n_asked = 0
        """Submits that were sent so far."""

    def open(self, number: int, spec: JobSpec) -> Submission:
        """Add a submission, of which the Dispatcher was not asked yet."""
        submission = self._open[number] = Submission(number, spec)
        self._same.setdefault(spec.request_id, []).append(submission)
        return submission

    def get(self, number: int) -> Submission | None:
        """The submission of this number, if it has no result yet."""
        return self._open.get(number)

    @property
    def is_only(self) -> bool:
        """Whether there is one submission, and no other."""
        return len(self._open) == 1

    def of_job(self, job_id: str) -> Submission | None:
        """The first submission of a job that was taken and has no result yet."""
        return self._jobs.get(job_id)

    def job_ids(self) -> Iterator[str]:
        """Jobs that were taken and have no result yet."""
        return iter(self._jobs)

    def ask(self, submission: Submission) -> SendMessage:
        """The Submit that asks the Dispatcher to take this submission."""
        self.n_asked += 1
        submission.asked = self.n_asked
        self._unanswered[submission.asked] = submission
        return submission.submit()

    def is_answered(self, asked: int) -> bool:
        """Whether the Dispatcher has answered the Submit of this number and all before it."""
        return next(iter(self._unanswered), asked + 1) > asked

    def give_up(self, request_id: str) -> None:
        """A Submit is not sent any more: whether it has become a job is not known."""
        self._given_up[request_id] = None
        self._given_up.move_to_end(request_id)
        if len(self._given_up) > _REMEMBERED_REQUESTS:
            self._given_up.popitem(last=False)

    @property
    def may_find_a_job(self) -> bool:
        """Whether an answer is awaited that may name a job of a Submit that was given up: the same request again."""
        return any(submission.spec.request_id in self._given_up for submission in self._unanswered.values())

    def accept(self, submission: Submission, answer: Accepted) -> tuple[int, ...]:
        """The Dispatcher has taken the submission as a job, new or known, and with it those that follow it.

        Returns the numbers of all of them, its own first.
        """
        self._answered(submission)
        self._given_up.pop(submission.spec.request_id, None)
        numbers = (submission.number, *submission.followers)
        for number in numbers:
            taken = self._open[number]
            taken.job_id, taken.utterance_index = answer.job_id, answer.utterance_index
        first = self._jobs.setdefault(answer.job_id, submission)
        if first is not submission:
            first.followers += numbers
            submission.followers = ()
        return numbers

    def finish(self, submission: Submission) -> tuple[int, ...]:
        """A submission has its result or refusal, as have all of the same job. Returns their numbers, its own first."""
        self._answered(submission)
        if self._jobs.get(submission.job_id) is submission:
            del self._jobs[submission.job_id]
        numbers = (submission.number, *submission.followers)
        for number in numbers:
            ended = self._open.pop(number, None)
            if ended:
                self._leave(ended)
        return numbers

    def cancel_unwanted(self, request_id: str) -> list[SendMessage]:
        """The Cancel of what was taken for a request id, if nobody waits for any submission of it any more."""
        same = self._same.get(request_id, ())
        if not all(submission.is_abandoned for submission in same):
            return []
        taken = {submission.job_id: None for submission in same if submission.job_id}
        return [SendMessage(Cancel(job_id=job_id)) for job_id in taken]

    def _leave(self, submission: Submission) -> None:
        same = self._same[submission.spec.request_id]
        same.remove(submission)
        if not same:
            del self._same[submission.spec.request_id]

    def ask_again(self) -> list[SendMessage]:
        """Submits for all jobs that were taken, at their indexes: the Dispatcher may not know them any more.

        In the order of their indexes, as a session that is not known any more may begin with the first one.
        """
        taken, self._jobs = self._jobs, {}
        known = sorted(taken.values(), key=lambda submission: submission.utterance_index or 0)
        for submission in known:
            place = submission.utterance_index
            submission.spec = msgspec.structs.replace(submission.spec, utterance_index=place)
        return [self.ask(submission) for submission in known]

    def clear(self) -> list[int]:
        """Forget all of them. Returns their numbers."""
        numbers = list(self._open)
        for known in (self._open, self._jobs, self._unanswered, self._same):
            known.clear()
        return numbers

    def _answered(self, submission: Submission) -> None:
        self._unanswered.pop(submission.asked, None)
        submission.asked = 0
