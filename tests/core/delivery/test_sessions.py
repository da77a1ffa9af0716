"""Sessions: which index a job gets, and the sentence for a gap."""

from ray_sched.core.delivery.order import Deliver, Gap
from ray_sched.core.delivery.sessions import Session, Sessions
from ray_sched.core.messages.client_dispatcher import Delivered, Outcome


def a_result(job_id: str, index: int) -> Delivered:
    return Delivered(job_id=job_id, session="s1", utterance_index=index, outcome=Outcome(status="completed"))


def test_an_index_in_an_announced_gap_can_still_be_claimed_and_others_before_it_cannot() -> None:
    session = Session(("c1", "s1"), gap_wait_ms=5_000)
    assert session.claim(3) == 3
    session.ready(3, a_result("j3", 3), 0)
    session.announce(5_000)
    assert (session.claim(1), session.claim(3), session.claim(None)) == (1, None, 4)


def test_a_gap_says_whether_its_jobs_run_or_never_came() -> None:
    session = Session(("c1", "s1"), gap_wait_ms=5_000)
    assert session.why_missing(Gap(0, 9)) == "not submitted"
    session.begin(0, "j0")
    session.begin(1, "j1")
    assert session.why_missing(Gap(0, 1)) == "not finished yet: j0, j1"
    assert session.why_missing(Gap(0, 9)) == "2 not finished yet, the others not submitted"


def test_an_index_that_is_withdrawn_may_be_claimed_again_and_the_last_one_is_the_next() -> None:
    session = Session(("c1", "s1"), gap_wait_ms=5_000)
    for index in range(3):
        assert session.claim(None) == index
        session.begin(index, f"j{index}")
    session.withdraw(1)
    assert (session.claim(0), session.claim(1), session.claim(2)) == (None, 1, None)
    session.withdraw(2)
    assert session.claim(None) == 2


def test_a_session_prefers_its_last_node_until_it_was_silent_for_too_long() -> None:
    session = Session(("c1", "s1"), gap_wait_ms=5_000, now_ms=1_000)
    assert (session.affine_node(1_000, 300), session.last_used_ms) == ("", 1_000)
    session.use("node-a", 2_000)
    assert (session.affine_node(2_299, 300), session.affine_node(2_300, 300)) == ("node-a", "")


def test_a_session_is_idle_when_nothing_of_it_is_open_or_held_back() -> None:
    session = Session(("c1", "s1"), gap_wait_ms=5_000)
    was_idle = session.is_idle
    session.begin(0, "j0")
    assert (was_idle, session.is_idle) == (True, False)
    session.begin(1, "j1")
    session.ready(1, a_result("j1", 1), 0)
    session.withdraw(0)
    assert (session.is_idle, session.due_at_ms) == (False, 5_000)
    session.announce(5_000)
    assert (session.is_idle, session.next_index) == (True, 2)


def test_a_session_that_begins_at_an_index_has_delivered_what_came_before() -> None:
    session = Session(("c1", "s1"), gap_wait_ms=5_000)
    session.go_on_at(7)
    assert (session.next_index, session.claim(6), session.claim(None), session.claim(8)) == (7, None, 7, 8)


def test_a_session_that_begins_at_an_index_awaits_nothing_before_it_and_takes_what_comes_late() -> None:
    session = Session(("c1", "s1"), gap_wait_ms=5_000)
    assert session.begin_at(7) == []
    assert (session.next_index, session.claim(None), session.claim(6)) == (7, 7, 6)
    assert session.ready(7, a_result("j7", 7), 0) == [Deliver(a_result("j7", 7), is_late=False)]
    assert session.ready(6, a_result("j6", 6), 0) == [Deliver(a_result("j6", 6), is_late=True)]
    assert session.begin_at(3) == [], "it is behind that"
    assert (session.next_index, session.claim(None)) == (8, 8)


def test_a_gap_names_three_of_its_jobs_at_most_and_only_its_own() -> None:
    session = Session(("c1", "s1"), gap_wait_ms=5_000)
    for index in range(6):
        session.begin(index, f"j{9 - index}")
    assert session.why_missing(Gap(1, 4)) == "not finished yet: j5, j6, j7"
    assert session.why_missing(Gap(5, 9)) == "1 not finished yet, the others not submitted"
    assert session.why_missing(Gap(6, 6)) == "not submitted"


def test_sessions_are_kept_by_client_the_one_used_longest_ago_first() -> None:
    sessions = Sessions(gap_wait_ms=5_000)
    one, two = sessions.open(("c1", "one"), 0), sessions.open(("c1", "two"), 0)
    sessions.open(("c2", "one"), 0)
    sessions.touch(one)
    assert sessions.of_client("c1") == [("c1", "two"), ("c1", "one")]
    assert [sessions.n_of_client(client) for client in ("c1", "c2", "c3")] == [2, 1, 0]
    assert (sessions.idle_of_client("c1"), sessions.get(("c1", "one")), sessions.get(("c3", "one"))) == (two, one, None)
    two.begin(0, "j0")
    assert sessions.idle_of_client("c1") is one
    one.begin(0, "j1")
    assert sessions.idle_of_client("c1") is None


def test_a_closed_session_goes_on_once_where_it_was_if_its_client_is_there() -> None:
    sessions = Sessions(gap_wait_ms=5_000)
    for name, index, is_client_there in (("there", 3, True), ("gone", 3, False), ("new", 0, True)):
        session = sessions.open(("c1", name), 0)
        session.go_on_at(index)
        sessions.close(session, is_client_there=is_client_there)
    assert (sessions.by_key, sessions.of_client("c1"), sessions.n_of_client("c1")) == ({}, [], 0)
    resume_at = [sessions.pop_resume_at(("c1", name)) for name in ("there", "gone", "new", "there")]
    assert resume_at == [3, 0, 0, 0]


def test_of_ten_thousand_closed_sessions_the_newest_are_remembered() -> None:
    sessions = Sessions(gap_wait_ms=5_000)

    def close(name: str, next_index: int) -> None:
        session = sessions.open(("c1", name), 0)
        session.go_on_at(next_index)
        sessions.close(session, is_client_there=True)

    for n in range(10_000):
        close(f"s{n}", n + 1)
    close("s0", 7)
    close("one more", 5)
    resume_at = [sessions.pop_resume_at(("c1", name)) for name in ("s0", "s1", "s2", "s9999", "one more")]
    assert resume_at == [7, 0, 3, 10_000, 5]
