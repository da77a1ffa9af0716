"""Mailboxes of clients: which process is answered, what it acknowledges, and which call takes its mail along."""

import asyncio

from ray_sched.actors.mailboxes import ClientMailbox, Mailboxes
from ray_sched.core.errors import Code
from ray_sched.core.messages.client_dispatcher import MissingResult, Poll


def missing(session: str) -> MissingResult:
    return MissingResult(session=session, first_index=0, last_index=0, why="a test")


def sessions(mailbox: ClientMailbox) -> list[str]:
    """What is handed out now, by the session it is about."""
    return [event.session for event in mailbox.mail(0).events if isinstance(event, MissingResult)]


def test_an_older_process_is_refused_and_the_newest_one_is_not() -> None:
    mailbox = Mailboxes("e").of("c", generation=2)
    refusal = mailbox.refuse(1)
    assert refusal is not None
    assert refusal.code is Code.CLIENT_REPLACED
    assert (mailbox.refuse(2), mailbox.refuse(3)) == (None, None)
    mail = mailbox.mail_of_refusal(refusal, n_slots=8)
    assert (mail.last, mail.events, mail.slots, mail.refusal) == (0, (), 8, refusal)


def test_a_newer_process_begins_with_an_empty_mailbox_of_another_epoch() -> None:
    mailboxes = Mailboxes("e")
    old = mailboxes.of("c", generation=1)
    old.put(missing("s"))
    new = mailboxes.of("c", generation=2)
    assert (len(old), len(new)) == (1, 0)
    assert (old.mail(0).epoch, new.mail(0).epoch) == ("e/1", "e/2")
    assert mailboxes.of("c", generation=2) is new
    assert mailboxes.of("c") is new


def test_mail_that_came_before_its_client_is_for_the_first_process_that_asks() -> None:
    mailboxes = Mailboxes("e")
    mailboxes.of("c").put(missing("s"))
    assert sessions(mailboxes.of("c", generation=5)) == ["s"]


async def test_a_poll_of_a_process_that_is_replaced_waits_no_longer() -> None:
    mailboxes = Mailboxes("e")
    waiting = asyncio.create_task(mailboxes.of("c", generation=1).wait_for_mail())
    await asyncio.sleep(0)
    mailboxes.of("c", generation=2)
    async with asyncio.timeout(1):
        await waiting


def test_what_was_acknowledged_is_not_handed_out_again_and_another_epoch_acknowledges_nothing() -> None:
    mailbox = Mailboxes("e").of("c", generation=1)
    for session in ("s1", "s2"):
        mailbox.put(missing(session))
    assert sessions(mailbox) == ["s1", "s2"]
    mailbox.handle_poll(Poll(client_id="c", generation=1, epoch="another", acked=2, is_resync=True))
    assert sessions(mailbox) == ["s1", "s2"]
    mailbox.handle_poll(Poll(client_id="c", generation=1, epoch="e/1", acked=1, is_resync=True))
    assert (sessions(mailbox), len(mailbox)) == (["s2"], 1)


async def test_mail_wakes_the_poll_that_waits_unless_an_answer_takes_it_along() -> None:
    mailbox = Mailboxes("e").of("c", generation=1)
    waiting = asyncio.create_task(mailbox.wait_for_mail())
    await asyncio.sleep(0)
    with mailbox.being_answered():
        mailbox.put(missing("s1"))
        await asyncio.sleep(0)
        assert sessions(mailbox) == ["s1"]
    await asyncio.sleep(0)
    assert not waiting.done(), "the answer has taken it along"
    mailbox.put(missing("s2"))
    async with asyncio.timeout(1):
        await waiting
    assert sessions(mailbox) == ["s2"]


async def test_mail_that_an_answer_did_not_take_wakes_the_poll() -> None:
    mailbox = Mailboxes("e").of("c", generation=1)
    waiting = asyncio.create_task(mailbox.wait_for_mail())
    await asyncio.sleep(0)
    with mailbox.being_answered(), mailbox.being_answered():
        mailbox.put(missing("s1"))
    async with asyncio.timeout(1):
        await waiting


async def test_a_poll_that_finds_mail_does_not_wait() -> None:
    mailbox = Mailboxes("e").of("c", generation=1)
    mailbox.put(missing("s1"))
    async with asyncio.timeout(1):
        await mailbox.wait_for_mail()


def test_all_mailboxes_together_know_what_was_not_acknowledged_and_what_clients_hold() -> None:
    mailboxes = Mailboxes("e")
    for number, client in enumerate(("c1", "c2"), start=1):
        mailbox = mailboxes.of(client, generation=1)
        mailbox.put(missing("s"))
        mailbox.handle_poll(Poll(client_id=client, generation=1, acked=0, held_bytes=number, stored_bytes=10 * number))
    assert (mailboxes.n_unacknowledged, mailboxes.held_bytes, mailboxes.stored_bytes) == (2, 3, 30)
    mailboxes.drop("c1")
    assert (len(mailboxes), mailboxes.n_unacknowledged, mailboxes.held_bytes, mailboxes.stored_bytes) == (1, 1, 2, 20)
