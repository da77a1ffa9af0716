"""The client's brain, told what may happen in every order."""

from msgspec import structs

from ray_sched.core.client.brain import CALL_AGAIN_AFTER_MS, NO_ANSWER, SUBMIT_AGAIN_AFTER_MS, ClientBrain
from ray_sched.core.client.effects import (
    ClientEffect,
    DiscardResult,
    EndSessions,
    FetchSpeech,
    NotifyAccepted,
    NotifyGap,
    NotifyPartial,
    NotifyRefused,
    NotifyResult,
    PushAudio,
    SendMessage,
    SubmitLater,
)
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    Assigned,
    AudioUnreadable,
    Cancel,
    ClientEvent,
    ClientReply,
    Delivered,
    JobSpec,
    Mail,
    MissingResult,
    Outcome,
    PartialText,
    PushFailed,
    Refused,
    SpeechFetched,
    SpeechLost,
    SpeechReady,
    Submit,
)

OUTCOME = Outcome(status="completed", text="hello")
FULL = Refusal(code=Code.OVERLOADED, message="too many jobs wait", retry_after_ms=500)
ENDING = Refusal(code=Code.SHUTTING_DOWN, message="the scheduler is shutting down and takes no new jobs")
AWAY = Refusal(code=Code.SCHEDULER_DEPENDENCY_DOWN, message="Redis does not answer")
REPLACED = Refusal(code=Code.CLIENT_REPLACED, message="a newer process has taken over this client id")
MISSING = MissingResult(session="s", first_index=0, last_index=0, why="it has not ended")


def assigned(job_id: str, attempt: int = 1) -> Assigned:
    return Assigned(job_id=job_id, attempt=attempt, node="a", agent="agent:a", incarnation=1)


def delivered(job_id: str, session: str = "", index: int | None = None) -> Delivered:
    return Delivered(job_id=job_id, session=session, utterance_index=index, outcome=OUTCOME)


class ClientHarness:
    """A brain, and a Dispatcher whose mail and answers the test writes."""

    def __init__(self) -> None:
        self.brain = ClientBrain("c1", 1, retry_for_ms=10_000)
        self.epoch = "epoch"
        self.last = 0
        self._number = 0

    def submit(self, request_id: str = "", session: str = "") -> SendMessage:
        """A job of the user; what is sent for it."""
        self._number += 1
        spec = JobSpec(request_id=request_id or f"r{self._number}", src="en", tgt="en", session=session)
        assert self.brain.open(self._number, spec, 320) == []
        (sent,) = self.brain.ask(self._number)
        assert isinstance(sent, SendMessage)
        return sent

    def mail(self, *events: ClientEvent, epoch: str = "", refusal: Refusal | None = None) -> Mail:
        if epoch and epoch != self.epoch:
            self.epoch, self.last = epoch, 0
        self.last += len(events)
        return Mail(epoch=self.epoch, last=self.last, events=events, slots=8, refusal=refusal)

    def reply(self, items: list[SendMessage], answers: list[Answer], mail: Mail | None = None) -> list[ClientEffect]:
        mail = mail or self.mail()
        return self.brain.handle_reply(items, ClientReply(answers=tuple(answers), mail=mail))

    def poll(self, *events: ClientEvent, epoch: str = "") -> list[ClientEffect]:
        return self.brain.handle_poll(self.brain.poll(), self.mail(*events, epoch=epoch))

    def accepted(self, job_id: str, session: str = "", index: int | None = None) -> int:
        """A job that was taken; its number."""
        sent = self.submit(session=session)
        self.reply([sent], [Accepted(job_id=job_id, utterance_index=index)])
        return sent.number


# --- answers and mail ----------------------------------------------------------------------------------------------


def test_answers_are_handled_before_the_mail_that_came_with_them() -> None:
    harness = ClientHarness()
    sent = harness.submit()
    effects = harness.reply([sent], [Accepted(job_id="j1")], harness.mail(assigned("j1"), delivered("j1")))
    assert [type(effect) for effect in effects] == [NotifyAccepted, PushAudio, NotifyResult]


def test_an_event_that_comes_before_its_answer_waits_for_it() -> None:
    harness = ClientHarness()
    sent = harness.submit()
    assert harness.poll(assigned("j1")) == []
    effects = harness.reply([sent], [Accepted(job_id="j1")])
    assert [type(effect) for effect in effects] == [NotifyAccepted, PushAudio]


def test_an_event_that_nobody_can_be_meant_by_any_more_is_nobodys_though_later_questions_wait() -> None:
    harness = ClientHarness()
    first = harness.submit()
    assert harness.poll(assigned("stranger"), delivered("stranger-2")) == []
    harness.submit()
    effects = harness.reply([first], [Accepted(job_id="j1")])
    assert effects[1:] == [SendMessage(Cancel(job_id="stranger")), DiscardResult(delivered("stranger-2"))]


def test_results_of_a_session_keep_their_order_while_the_first_of_them_waits_for_its_answer() -> None:
    harness = ClientHarness()
    known = harness.accepted("j2", session="s", index=1)
    unknown = harness.submit(session="s")
    gap = MissingResult(session="s", first_index=2, last_index=2, why="not submitted")
    assert harness.poll(delivered("j1", "s", 0), delivered("j2", "s", 1), gap) == []
    effects = harness.reply([unknown], [Accepted(job_id="j1", utterance_index=0)])
    assert effects[1:] == [
        NotifyResult((unknown.number,), delivered("j1", "s", 0)),
        NotifyResult((known,), delivered("j2", "s", 1)),
        NotifyGap(gap),
    ]


def test_what_is_not_of_the_same_session_goes_on_meanwhile() -> None:
    harness = ClientHarness()
    pushed, other = harness.accepted("j2", session="s", index=1), harness.accepted("j3", session="t", index=0)
    harness.submit(session="s")
    effects = harness.poll(delivered("j1", "s", 0), assigned("j2"), delivered("j3", "t", 0))
    assert [type(effect) for effect in effects] == [PushAudio, NotifyResult]
    assert [effect.number for effect in effects if isinstance(effect, PushAudio)] == [pushed]
    assert [effect.numbers for effect in effects if isinstance(effect, NotifyResult)] == [(other,)]


def test_events_go_to_the_user_as_they_come() -> None:
    harness = ClientHarness()
    number = harness.accepted("j1")
    ready = SpeechReady(job_id="j1", attempt=1, agent="agent:a", n_bytes=640, rate_hz=16_000)
    partial = PartialText(job_id="j1", attempt=1, text="hel")
    assert harness.poll(partial, ready, MISSING) == [
        NotifyPartial(number, "hel"),
        FetchSpeech(number, ready),
        NotifyGap(MISSING),
    ]
    assert harness.brain.slots == 8


def test_partials_and_speech_of_a_job_that_nobody_waits_for_change_nothing() -> None:
    ready = SpeechReady(job_id="j1", attempt=1, agent="agent:a", n_bytes=640, rate_hz=16_000)
    assert ClientHarness().poll(PartialText(job_id="j1", attempt=1, text="hel"), ready) == []


# --- epochs and calls that fail ------------------------------------------------------------------------------------


def test_in_a_new_epoch_what_was_taken_is_submitted_again_at_its_old_place() -> None:
    harness = ClientHarness()
    number = harness.accepted("j1", session="s", index=4)
    (sent,) = harness.poll(epoch="next")
    assert isinstance(sent, SendMessage)
    assert isinstance(sent.message, Submit)
    assert (sent.number, sent.message.spec.utterance_index) == (number, 4)
    assert harness.poll(delivered("j1", "s", 4)) == [], "whether this job is j1 is not known before the answer"
    effects = harness.reply([sent], [Accepted(job_id="j1", is_duplicate=True, utterance_index=4)])
    assert effects == [NotifyAccepted(number, "j1", 4, True), NotifyResult((number,), delivered("j1", "s", 4))]


def test_what_the_first_reply_of_a_new_epoch_has_taken_is_not_submitted_again() -> None:
    harness = ClientHarness()
    harness.accepted("j1")
    sent = harness.submit()
    effects = harness.reply([sent], [Accepted(job_id="k1")], harness.mail(assigned("k1"), epoch="next"))
    assert [type(effect) for effect in effects] == [SendMessage, NotifyAccepted, PushAudio]


def test_what_a_past_epoch_had_taken_is_asked_of_the_present_one() -> None:
    harness = ClientHarness()
    harness.poll()
    sent = harness.submit()
    late = harness.mail()
    harness.poll(epoch="next")
    assert harness.reply([sent], [Accepted(job_id="j1")], late) == [sent]
    effects = harness.reply([sent], [Accepted(job_id="k1")])
    assert effects == [NotifyAccepted(sent.number, "k1", None, False)]


def test_late_mail_of_a_past_epoch_changes_nothing() -> None:
    harness = ClientHarness()
    late = harness.mail(MISSING)
    harness.poll()
    harness.poll(epoch="next")
    assert harness.brain.handle_poll(harness.brain.poll(), late) == []
    assert (harness.brain.poll().epoch, harness.brain.poll().acked) == ("next", 0)


def test_a_poll_acknowledges_what_was_handled_and_asks_for_what_a_failed_call_may_have_lost() -> None:
    harness = ClientHarness()
    harness.poll(MISSING)
    assert harness.brain.poll_failed() == CALL_AGAIN_AFTER_MS
    poll = harness.brain.poll()
    assert (poll.epoch, poll.acked, poll.is_resync) == ("epoch", 1, True)
    harness.brain.handle_poll(poll, harness.mail())
    assert not harness.brain.poll().is_resync


def test_a_call_that_failed_while_a_resync_was_under_way_is_not_forgotten() -> None:
    harness = ClientHarness()
    poll = harness.brain.poll()
    harness.brain.call_failed(0)
    harness.brain.handle_poll(poll, harness.mail())
    assert harness.brain.poll().is_resync


def test_each_call_says_whose_it_is() -> None:
    brain = ClientBrain("c1", 7, retry_for_ms=10_000)
    batch, poll = brain.batch([]), brain.poll()
    assert (batch.client_id, batch.generation, batch.messages) == ("c1", 7, ())
    assert (poll.client_id, poll.generation, poll.epoch, poll.acked, poll.is_resync) == ("c1", 7, "", 0, False)


def test_a_poll_tells_how_much_audio_is_held_and_stored() -> None:
    harness = ClientHarness()
    harness.accepted("j1")
    harness.accepted("j2")
    (push,) = harness.poll(assigned("j1"))
    assert isinstance(push, PushAudio)
    assert harness.brain.transfers.begin(push)
    poll = harness.brain.poll()
    assert (poll.held_bytes, poll.stored_bytes) == (320, 320)


def test_a_batch_is_sent_again_until_its_time_is_over_and_then_its_submits_are_refused() -> None:
    harness = ClientHarness()
    sent = harness.submit()
    assert harness.brain.batch([sent]).messages == (sent.message,)
    assert harness.brain.call_failed(9_999) == CALL_AGAIN_AFTER_MS
    assert harness.brain.call_failed(10_000) is None
    cancel = SendMessage(Cancel(job_id="j0"))
    assert harness.brain.give_up([cancel, sent]) == [NotifyRefused(sent.number, NO_ANSWER)]
    assert harness.brain.audio.ledger.bytes_in() == 0


def test_what_waited_for_an_answer_is_nobodys_once_the_question_is_given_up() -> None:
    harness = ClientHarness()
    sent = harness.submit()
    harness.poll(assigned("j1"))
    assert harness.brain.give_up([sent])[1:] == [SendMessage(Cancel(job_id="j1"))]


def test_a_job_that_was_taken_once_is_submitted_again_later_to_a_scheduler_whose_store_is_away() -> None:
    harness = ClientHarness()
    number = harness.accepted("j1")
    (sent,) = harness.poll(epoch="next")
    assert isinstance(sent, SendMessage)
    assert harness.reply([sent], [Refused(refusal=AWAY)]) == [SubmitLater(number, SUBMIT_AGAIN_AFTER_MS)]
    assert harness.brain.submit_again(number) == [sent]
    assert harness.brain.give_up([sent]) == [SubmitLater(number, SUBMIT_AGAIN_AFTER_MS)]
    harness.reply([sent], [Accepted(job_id="j1", is_duplicate=True)])
    assert harness.brain.submit_again(number) == []


def test_a_job_that_was_taken_once_is_submitted_again_when_a_full_scheduler_says() -> None:
    harness = ClientHarness()
    number = harness.accepted("j1")
    (sent,) = harness.poll(epoch="next")
    assert isinstance(sent, SendMessage)
    full = Refusal(code=Code.OVERLOADED, message="too many jobs wait", retry_after_ms=2_000)
    assert harness.reply([sent], [Refused(refusal=full)]) == [SubmitLater(number, 2_000)]


def test_the_jobs_of_a_session_are_submitted_again_in_the_order_of_the_session() -> None:
    harness = ClientHarness()
    second, first = (harness.accepted(f"j{index}", "s", index) for index in (1, 0))
    again = [effect for effect in harness.poll(epoch="next") if isinstance(effect, SendMessage)]
    assert [sent.number for sent in again] == [first, second]


def test_a_job_that_was_never_taken_is_refused_while_the_store_is_away() -> None:
    harness = ClientHarness()
    sent = harness.submit()
    assert harness.reply([sent], [Refused(refusal=AWAY)]) == [NotifyRefused(sent.number, AWAY)]


def test_a_refused_job_is_over_and_its_audio_let_go() -> None:
    harness = ClientHarness()
    sent = harness.submit()
    assert harness.reply([sent], [Refused(refusal=FULL)]) == [NotifyRefused(sent.number, FULL)]
    assert len(harness.brain.audio.ledger) == 0


# --- one request id, two submissions -------------------------------------------------------------------------------


def test_a_request_id_that_is_submitted_twice_is_one_job_with_one_result_for_both() -> None:
    harness = ClientHarness()
    first, second = harness.submit("r"), harness.submit("r")
    harness.reply([first, second], [Accepted(job_id="j1"), Accepted(job_id="j1", is_duplicate=True)])
    pushes = [effect for effect in harness.poll(assigned("j1")) if isinstance(effect, PushAudio)]
    assert [push.number for push in pushes] == [first.number]
    assert harness.poll(delivered("j1")) == [NotifyResult((first.number, second.number), delivered("j1"))]
    assert len(harness.brain.audio.ledger) == 0


def test_the_followers_of_a_submission_that_becomes_a_follower_itself_have_the_result_too() -> None:
    harness = ClientHarness()
    first, second = harness.submit("r"), harness.submit("r")
    harness.reply([first, second], [Accepted(job_id="j1"), Accepted(job_id="j1", is_duplicate=True)])
    third = harness.submit("r")
    (asked_again,) = (effect for effect in harness.poll(epoch="next") if isinstance(effect, SendMessage))
    known = Accepted(job_id="j1", is_duplicate=True)
    effects = harness.reply([third, asked_again], [known, known], harness.mail(delivered("j1")))
    (result,) = (effect for effect in effects if isinstance(effect, NotifyResult))
    assert sorted(result.numbers) == [1, 2, 3]


def test_followers_are_told_of_the_job_that_has_taken_the_place_of_theirs_so_that_they_cancel_the_right_one() -> None:
    harness = ClientHarness()
    first, second = harness.submit("r"), harness.submit("r")
    harness.reply([first, second], [Accepted(job_id="j1"), Accepted(job_id="j1", is_duplicate=True)])
    (asked_again,) = (effect for effect in harness.poll(epoch="next") if isinstance(effect, SendMessage))
    assert harness.reply([asked_again], [Accepted(job_id="j2")]) == [
        NotifyAccepted(1, "j2", None, is_duplicate=False),
        NotifyAccepted(2, "j2", None, is_duplicate=False),
    ]


def test_what_was_given_up_is_not_cancelled_while_the_same_request_is_asked_for_once_more() -> None:
    harness = ClientHarness()
    other, lost = harness.submit(), harness.submit("r")
    assert harness.poll(assigned("j1")) == []
    harness.brain.give_up([lost])
    again = harness.submit("r")
    assert [type(effect) for effect in harness.reply([other], [Accepted(job_id="j2")])] == [NotifyAccepted]
    effects = harness.reply([again], [Accepted(job_id="j1", is_duplicate=True)])
    assert [type(effect) for effect in effects] == [NotifyAccepted, PushAudio]


def test_what_was_given_up_is_cancelled_when_the_same_request_has_become_another_job() -> None:
    harness = ClientHarness()
    other, lost = harness.submit(), harness.submit("r")
    harness.poll(assigned("j1"))
    harness.brain.give_up([lost])
    again = harness.submit("r")
    harness.reply([other], [Accepted(job_id="j2")])
    effects = harness.reply([again], [Accepted(job_id="j3")])
    assert effects[1:] == [SendMessage(Cancel(job_id="j1"))]
    later = harness.submit("r")  # by now it is known what has become of the request
    assert harness.poll(assigned("j4")) == []
    assert harness.reply([later], [Accepted(job_id="j3")])[1:] == [SendMessage(Cancel(job_id="j4"))]


def test_a_result_that_comes_twice_is_that_of_the_call_whose_answer_is_still_on_its_way_too() -> None:
    harness = ClientHarness()
    first = harness.submit("r")
    harness.reply([first], [Accepted(job_id="j1")])
    again = harness.submit("r")
    (result,) = harness.poll(delivered("j1"), delivered("j1"))
    assert isinstance(result, NotifyResult)
    assert result.numbers == (1,)
    effects = harness.reply([again], [Accepted(job_id="j1", is_duplicate=True)])
    assert effects[1:] == [NotifyResult((2,), delivered("j1"))]


def test_followers_are_refused_with_the_one_they_follow() -> None:
    harness = ClientHarness()
    first, second = harness.submit("r"), harness.submit("r")
    harness.reply([first, second], [Accepted(job_id="j1"), Accepted(job_id="j1", is_duplicate=True)])
    (again,) = harness.poll(epoch="next")
    assert isinstance(again, SendMessage)
    refused = harness.reply([again], [Refused(refusal=ENDING)])
    assert refused == [NotifyRefused(first.number, ENDING), NotifyRefused(second.number, ENDING)]


# --- audio and speech ----------------------------------------------------------------------------------------------


def a_push(harness: ClientHarness, job_id: str = "j1") -> PushAudio:
    harness.accepted(job_id)
    (push,) = harness.poll(assigned(job_id))
    assert isinstance(push, PushAudio)
    return push


def test_an_attempt_is_pushed_once_at_a_time() -> None:
    harness = ClientHarness()
    push = a_push(harness)
    assert harness.poll(assigned("j1")) == []
    assert harness.poll(assigned("j1", attempt=2)) == [PushAudio(push.number, push.spec, assigned("j1", attempt=2))]
    assert harness.poll(assigned("j1")) == [], "the push of its first attempt is under way as before"
    assert harness.brain.transfers.begin(push)
    harness.brain.transfers.returned(push)
    assert harness.poll(assigned("j1")) == [push]


def test_a_push_that_failed_is_told_to_the_dispatcher_unless_the_job_is_over() -> None:
    harness = ClientHarness()
    push = a_push(harness)
    (sent,) = harness.brain.transfers.failed(push, "no answer" * 1_000)
    assert isinstance(sent, SendMessage)
    assert sent.message == PushFailed(job_id="j1", attempt=1, why=("no answer" * 1_000)[:1_000])
    harness.poll(delivered("j1"))
    assert harness.brain.transfers.failed(push, "no answer") == []


def test_audio_that_cannot_be_read_is_told_to_the_dispatcher() -> None:
    harness = ClientHarness()
    push = a_push(harness)
    refusal = Refusal(code=Code.INVALID_AUDIO, message="there is no such file")
    assert harness.brain.transfers.unreadable(push, refusal) == [
        SendMessage(AudioUnreadable(job_id="j1", attempt=1, refusal=refusal))
    ]


def test_the_audio_of_a_job_that_is_over_is_not_pushed() -> None:
    harness = ClientHarness()
    push = a_push(harness)
    assert harness.brain.transfers.is_wanted(push.number)
    harness.poll(delivered("j1"))
    assert not harness.brain.transfers.is_wanted(push.number)
    assert not harness.brain.transfers.begin(push)
    assert len(harness.brain.audio.ledger) == 0


def test_the_dispatcher_is_told_whether_speech_was_fetched() -> None:
    harness = ClientHarness()
    ready = SpeechReady(job_id="j1", attempt=2, agent="agent:a", n_bytes=640, rate_hz=16_000)
    fetched, lost = harness.brain.transfers.speech_fetched(ready), harness.brain.transfers.speech_lost(ready, "gone")
    assert fetched == [SendMessage(SpeechFetched(job_id="j1", attempt=2))]
    assert lost == [SendMessage(SpeechLost(job_id="j1", attempt=2, why="gone"))]


# --- the end -------------------------------------------------------------------------------------------------------


def test_a_client_that_was_replaced_refuses_all_it_has_and_all_that_follows() -> None:
    harness = ClientHarness()
    number, sent = harness.accepted("j1"), harness.submit()
    effects = harness.reply([sent], [], harness.mail(refusal=REPLACED))
    assert effects == [NotifyRefused(number, REPLACED), NotifyRefused(sent.number, REPLACED), EndSessions()]
    spec = JobSpec(request_id="late", src="en", tgt="en")
    assert harness.brain.open(9, spec, 320) == [NotifyRefused(9, REPLACED)]
    assert harness.brain.ask(9) == []
    assert (harness.brain.ended, len(harness.brain.audio.ledger)) == (REPLACED, 0)
    poll = harness.brain.poll()
    assert harness.brain.handle_poll(poll, harness.mail(refusal=REPLACED)) == []


def test_a_closed_client_cancels_what_was_taken_and_what_is_taken_later() -> None:
    harness = ClientHarness()
    number, sent = harness.accepted("j1"), harness.submit()
    effects = harness.brain.close()
    assert effects[0] == SendMessage(Cancel(job_id="j1"))
    refused = [effect for effect in effects if isinstance(effect, NotifyRefused)]
    closed = Refusal(code=Code.CANCELLED, message="the client was closed before the result came")
    assert refused == [NotifyRefused(number, closed), NotifyRefused(sent.number, closed)]
    taken = harness.reply([sent], [Accepted(job_id="j2")], harness.mail(assigned("j1")))
    assert taken == [SendMessage(Cancel(job_id="j2"))]
    assert harness.brain.close() == []
    assert harness.brain.ended is not None
    assert harness.brain.ended.message == "this client is closed"


def test_a_job_whose_audio_cannot_be_read_before_it_is_asked_for_is_refused() -> None:
    harness = ClientHarness()
    harness.brain.open(1, JobSpec(request_id="r", src="en", tgt="en"), 0)
    refusal = Refusal(code=Code.INVALID_AUDIO, message="there is no such file")
    assert harness.brain.refuse(1, refusal) == [NotifyRefused(1, refusal)]
    assert harness.brain.refuse(1, refusal) == []


def test_the_digest_goes_with_the_question() -> None:
    harness = ClientHarness()
    harness.brain.open(1, JobSpec(request_id="r", src="en", tgt="en"), 320)
    (sent,) = harness.brain.ask(1, "fingerprint")
    assert isinstance(sent, SendMessage)
    assert isinstance(sent.message, Submit)
    assert sent.message.spec.digest == "fingerprint"


def opened(harness: ClientHarness, number: int, session: str, index: int | None = None) -> None:
    spec = JobSpec(request_id=f"r{number}", src="en", tgt="en", session=session, utterance_index=index)
    assert harness.brain.open(number, spec, 320) == []


def asked(effects: list[ClientEffect]) -> list[int]:
    return [effect.number for effect in effects if isinstance(effect, SendMessage)]


def test_a_session_begins_where_its_user_says_for_what_is_submitted_from_then_on() -> None:
    harness = ClientHarness()
    spec = JobSpec(request_id="r", src="en", tgt="en", session="s")
    harness.brain.open(1, spec, 320)
    harness.brain.turns.begin_session("s", 17)
    harness.brain.open(2, spec, 320)
    harness.brain.open(3, structs.replace(spec, session="another"), 320)
    harness.brain.turns.end_session("s")
    harness.brain.open(4, spec, 320)
    asked = [effect for number in (1, 2, 3, 4) for effect in harness.brain.ask(number)]
    assert [spec.first_index for spec in specs(asked)] == [None, 17, None, None]


def specs(effects: list[ClientEffect]) -> list[JobSpec]:
    messages = [effect.message for effect in effects if isinstance(effect, SendMessage)]
    return [message.spec for message in messages if isinstance(message, Submit)]


def test_each_call_with_the_same_request_id_is_another_one_and_a_generated_id_says_itself_which_call_it_is() -> None:
    harness = ClientHarness()
    for number in (1, 2, 3):
        harness.brain.open(number, JobSpec(request_id="r", src="en", tgt="en"), 320)
    first, second, generated = specs([*harness.brain.ask(1, "d"), *harness.brain.ask(2, "d"), *harness.brain.ask(3)])
    assert (first.submission, second.submission, generated.submission) == ("1-1", "1-2", "")


def test_a_session_is_asked_for_in_the_order_in_which_it_was_spoken_whatever_each_digest_takes() -> None:
    harness = ClientHarness()
    for number in (1, 2, 3):
        opened(harness, number, "s")
    opened(harness, 4, "another")
    opened(harness, 5, "s", index=7)
    opened(harness, 6, "")
    assert asked(harness.brain.ask(2, "second")) == []
    assert asked(harness.brain.ask(4)) == [4], "another session waits for none of this one"
    assert asked(harness.brain.ask(5)) == [5], "it says itself where it belongs"
    assert asked(harness.brain.ask(6)) == [6]
    effects = harness.brain.ask(1, "first")
    assert asked(effects) == [1, 2]
    digests = [
        effect.message.spec.digest
        for effect in effects
        if isinstance(effect, SendMessage) and isinstance(effect.message, Submit)
    ]
    assert digests == ["first", "second"]
    assert asked(harness.brain.ask(3)) == [3]


def test_audio_that_cannot_be_read_lets_the_next_of_its_session_go() -> None:
    harness = ClientHarness()
    for number in (1, 2, 3):
        opened(harness, number, "s")
    assert harness.brain.ask(2) == []
    unreadable = Refusal(code=Code.INVALID_AUDIO, message="there is no file")
    effects = harness.brain.refuse(1, unreadable)
    assert effects[0] == NotifyRefused(1, unreadable)
    assert asked(effects) == [2]
    assert harness.brain.refuse(1, unreadable) == []
    assert asked(harness.brain.ask(3)) == [3]


def test_a_client_that_has_ended_asks_for_nobody_who_waited() -> None:
    harness = ClientHarness()
    opened(harness, 1, "s")
    opened(harness, 2, "s")
    assert harness.brain.ask(2) == []
    harness.brain.close()
    assert harness.brain.ask(1) == []
