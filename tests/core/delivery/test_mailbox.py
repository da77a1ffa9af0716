"""Mailboxes: numbered without holes, kept until acknowledged, handed out again after a failed call."""

from ray_sched.core.delivery.mailbox import Mailbox
from ray_sched.core.messages.client_dispatcher import MissingResult, PartialText


def an_event(number: int) -> MissingResult:
    return MissingResult(session="s1", first_index=number, last_index=number, why="test")


def a_partial(text: str, job: str = "j1") -> PartialText:
    return PartialText(job_id=job, attempt=1, text=text)


def a_box(n_events: int) -> Mailbox:
    box = Mailbox()
    for number in range(n_events):
        box.put(an_event(number))
    return box


def test_events_are_handed_out_once_in_order() -> None:
    box = a_box(2)
    assert box.take() == (2, (an_event(0), an_event(1)))
    assert box.take() == (2, ())
    box.put(an_event(2))
    assert (box.has_mail, box.take()) == (True, (3, (an_event(2),)))


def test_what_was_not_acknowledged_is_handed_out_again_after_a_resync() -> None:
    box = a_box(3)
    box.take()
    box.acknowledge(1)
    box.resync()
    assert box.take() == (3, (an_event(1), an_event(2)))


def test_what_is_acknowledged_is_forgotten() -> None:
    box = a_box(3)
    box.take()
    box.acknowledge(3)
    box.acknowledge(2)
    box.resync()
    assert (len(box), box.take()) == (0, (3, ()))


def test_what_was_never_handed_out_is_not_acknowledged_by_anybody() -> None:
    box = a_box(3)
    box.acknowledge(2)
    assert box.take() == (3, (an_event(0), an_event(1), an_event(2)))


def test_a_newer_partial_text_replaces_one_that_nobody_has_seen() -> None:
    box = Mailbox()
    for text in ("he", "hel", "hello"):
        box.put(a_partial(text))
    box.put(a_partial("other", job="j2"))
    assert box.take() == (2, (a_partial("hello"), a_partial("other", job="j2")))
    box.put(a_partial("news", job="j2"))
    assert box.take() == (3, (a_partial("news", job="j2"),))


def test_a_mail_has_256_events_at_most_and_the_next_one_goes_on_behind_it() -> None:
    box = a_box(300)
    assert (box.take(), box.has_mail) == ((256, tuple(an_event(number) for number in range(256))), True)
    box.acknowledge(100)
    assert (len(box), box.take()) == (200, (300, tuple(an_event(number) for number in range(256, 300))))
    assert (box.has_mail, len(box)) == (False, 200)
    box.resync()
    assert box.take() == (300, tuple(an_event(number) for number in range(100, 300)))


def test_a_number_beyond_what_was_handed_out_acknowledges_nothing_and_the_last_one_everything() -> None:
    box = a_box(3)
    box.take()
    box.put(an_event(3))
    box.acknowledge(4)
    assert len(box) == 4
    box.acknowledge(3)
    assert (len(box), box.take()) == (1, (4, (an_event(3),)))


def test_only_the_newest_partial_text_of_the_same_job_is_replaced() -> None:
    box = Mailbox()
    for event in (a_partial("he"), an_event(1), a_partial("hel"), a_partial("x", job="j2"), a_partial("hell")):
        box.put(event)
    assert box.last_put == 5
    assert box.take() == (
        5,
        (a_partial("he"), an_event(1), a_partial("hel"), a_partial("x", job="j2"), a_partial("hell")),
    )


def test_a_partial_text_that_was_handed_out_is_not_replaced_even_when_it_is_handed_out_again() -> None:
    box = Mailbox()
    box.put(a_partial("he"))
    box.take()
    box.put(a_partial("hello"))
    assert box.take() == (2, (a_partial("hello"),))
    box.resync()
    assert box.take() == (2, (a_partial("he"), a_partial("hello")))
