"""Audio that is put into the store while its job is asked for: of one job at a time, and for no longer than that."""

from ray_sched.core.client.brain import ClientBrain
from ray_sched.core.client.effects import ClientEffect, DropAhead, PushAudio, SendMessage
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.ledger import AudioState
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    Assigned,
    ClientEvent,
    ClientReply,
    Delivered,
    JobSpec,
    Mail,
    Outcome,
    Refused,
)

N_BYTES = 320
ASSIGNED = Assigned(job_id="j1", attempt=1, node="a", agent="agent:a", incarnation=1)
DONE = Delivered(job_id="j1", session="", utterance_index=None, outcome=Outcome(status="completed"))


def asked(brain: ClientBrain, number: int = 1) -> SendMessage:
    """A job whose samples are kept, of which the Dispatcher was asked."""
    brain.open(number, JobSpec(request_id=f"r{number}", src="en", tgt="en"), N_BYTES)
    (sent,) = brain.ask(number)
    assert isinstance(sent, SendMessage)
    return sent


def replied(brain: ClientBrain, sent: SendMessage, answer: Answer, *events: ClientEvent) -> list[ClientEffect]:
    mail = Mail(epoch="e", last=len(events), events=events)
    return brain.handle_reply([sent], ClientReply(answers=(answer,), mail=mail))


def stored(brain: ClientBrain) -> int:
    return brain.audio.ledger.bytes_in(AudioState.STORED)


def a_brain() -> ClientBrain:
    return ClientBrain("c1", 1, retry_for_ms=10_000)


def test_the_copy_that_was_put_ahead_is_that_of_the_push() -> None:
    brain = a_brain()
    sent = asked(brain)
    assert brain.transfers.begin_ahead(1)
    assert stored(brain) == N_BYTES
    effects = replied(brain, sent, Accepted(job_id="j1"), ASSIGNED)
    (push,) = [effect for effect in effects if isinstance(effect, PushAudio)]
    assert DropAhead() not in effects
    assert brain.transfers.is_ahead(push)
    assert brain.transfers.begin(push)
    assert (stored(brain), brain.transfers.is_ahead(push)) == (N_BYTES, False)
    brain.transfers.returned(push)
    assert stored(brain) == 0


def test_a_job_that_is_not_assigned_with_its_answer_leaves_nothing_in_the_store() -> None:
    brain = a_brain()
    sent = asked(brain)
    assert brain.transfers.begin_ahead(1)
    assert replied(brain, sent, Accepted(job_id="j1"))[-1] == DropAhead()
    brain.transfers.end_ahead()
    assert (stored(brain), brain.audio.ledger.bytes_in()) == (0, N_BYTES)


def test_nor_does_one_that_is_refused_or_whose_client_ends() -> None:
    no = Refusal(code=Code.OVERLOADED, message="too many jobs wait")
    for is_refused in (True, False):
        brain = a_brain()
        sent = asked(brain)
        assert brain.transfers.begin_ahead(1)
        effects = replied(brain, sent, Refused(refusal=no)) if is_refused else brain.close()
        assert DropAhead() in effects
        brain.transfers.end_ahead()
        assert (stored(brain), len(brain.audio.ledger)) == (0, 0)


def test_a_job_that_ends_before_its_push_has_begun_takes_nothing_from_the_store() -> None:
    brain = a_brain()
    sent = asked(brain)
    assert brain.transfers.begin_ahead(1)
    effects = replied(brain, sent, Accepted(job_id="j1"), ASSIGNED, DONE)
    (push,) = [effect for effect in effects if isinstance(effect, PushAudio)]
    assert effects[-1] == DropAhead()
    brain.transfers.end_ahead()
    assert not brain.transfers.begin(push)
    assert (stored(brain), len(brain.audio.ledger)) == (0, 0)


def test_nothing_is_put_ahead_of_two_jobs_nor_twice_nor_when_the_answer_is_there() -> None:
    brain = a_brain()
    sent = asked(brain)
    assert brain.transfers.begin_ahead(1)
    assert not brain.transfers.begin_ahead(1)
    brain.transfers.end_ahead()
    asked(brain, 2)
    assert not brain.transfers.begin_ahead(1)
    assert not brain.transfers.begin_ahead(2)
    brain = a_brain()
    sent = asked(brain)
    replied(brain, sent, Accepted(job_id="j1"))
    assert not brain.transfers.begin_ahead(1)
    assert stored(brain) == 0
