"""What a client is told, in order and once, whether or not its connection is cut in between."""

from hypothesis import given
from hypothesis import strategies as st

from ray_sched.gateway.realtime.outbox import Outbox


@given(st.lists(st.sampled_from(["put", "send", "lose", "back", "back and say"]), max_size=60))
async def test_a_client_that_says_what_it_has_heard_hears_everything_once(steps: list[str]) -> None:
    outbox, n_put, heard = Outbox(), 0, list[str]()
    for step in [*steps, "back and say", *["send"] * 60]:
        if step == "put":
            n_put += 1
            outbox.put({"n": n_put})
        elif step in {"send", "lose"} and outbox.unsent_bytes:
            sent = await outbox.next()
            assert sent is not None
            outbox.record_sent(sent)
            if step == "send":
                heard.append(sent.text)
            else:  # it was written, and the connection was cut
                outbox.rewind(f"event_{len(heard)}")
        elif step == "back and say":
            outbox.rewind(f"event_{len(heard)}")
    assert heard == [f'{{"event_id":"event_{n}","n":{n}}}' for n in range(1, n_put + 1)]


async def test_what_was_heard_is_not_kept_for_ever() -> None:
    outbox = Outbox()
    for number in range(5_000):
        outbox.put({"n": number})
        sent = await outbox.next()
        assert sent is not None
        outbox.record_sent(sent)
    assert len(outbox._events) <= 512
    outbox.rewind("event_1")
    first = await outbox.next()
    assert first is not None
    assert first.number > 4_000, "it goes on with what there still is"


async def test_nonsense_instead_of_an_event_changes_nothing() -> None:
    outbox = Outbox()
    outbox.put({})
    sent = await outbox.next()
    assert sent is not None
    outbox.record_sent(sent)
    for last in ("", "event_", "event_-1", "event_x", "event_" + "9" * 40, "\u0664"):
        outbox.rewind(last)
        assert outbox.unsent_bytes == 0
