"""A client's place in its mail."""

from ray_sched.core.client.inbox import Inbox
from ray_sched.core.messages.client_dispatcher import ClientEvent, Mail, MissingResult


def mail(epoch: str, last: int, *numbers: int) -> Mail:
    """Events that say their own number."""
    events = tuple(MissingResult(session="s", first_index=n, last_index=n, why="") for n in numbers)
    return Mail(epoch=epoch, last=last, events=events)


def numbers(events: tuple[ClientEvent, ...]) -> list[int]:
    return [event.first_index for event in events if isinstance(event, MissingResult)]


def begun(epoch: str = "one") -> Inbox:
    inbox = Inbox()
    inbox.begin(epoch)
    return inbox


def test_events_that_come_again_are_handled_once() -> None:
    inbox = begun()
    assert numbers(inbox.take(mail("one", 2, 1, 2))) == [1, 2]
    assert numbers(inbox.take(mail("one", 3, 1, 2, 3))) == [3]
    assert numbers(inbox.take(mail("one", 2, 1, 2))) == []
    assert inbox.acked == 3


def test_what_comes_behind_a_hole_is_not_taken_and_a_resync_is_needed() -> None:
    inbox = begun()
    inbox.take(mail("one", 1, 1))
    assert numbers(inbox.take(mail("one", 3, 3))) == []
    assert (inbox.acked, inbox.needs_resync) == (1, True)
    assert numbers(inbox.take(mail("one", 3, 2, 3))) == [2, 3]


def test_mail_without_events_shows_a_hole_before_it() -> None:
    inbox = begun()
    inbox.take(mail("one", 1, 1))
    assert numbers(inbox.take(mail("one", 1))) == []
    assert not inbox.needs_resync
    inbox.take(mail("one", 2))
    assert (inbox.acked, inbox.needs_resync) == (1, True)


def test_the_first_epoch_is_none_that_anything_was_said_in_and_the_next_one_is() -> None:
    inbox = Inbox()
    assert not inbox.begin("one")
    inbox.take(mail("one", 5, 1, 2, 3, 4, 5))
    assert not inbox.begin("one")
    assert inbox.begin("two")
    assert (inbox.epoch, inbox.acked) == ("two", 0)


def test_only_epochs_that_were_left_are_past() -> None:
    inbox = begun("one")
    inbox.begin("two")
    assert [inbox.is_past(epoch) for epoch in ("", "one", "two", "three")] == [False, True, False, False]
