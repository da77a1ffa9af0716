"""Sessions: which index a job gets, and the sentence for a gap."""

from ray_sched.core.delivery.order import Gap
from ray_sched.core.delivery.sessions import Session
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
