"""The judge is judged: what is planted is found, and what is right is not."""

import pytest

from tests.chaos.oracle import CalledOff, Died, Ended, Event, Gap, Heard, Oracle, Spoken, Taken, Verdict

CLEAN = Verdict(lost=(), duplicates=(), out_of_order=())


def a_job(number: int, *, code: str = "", nodes: tuple[str, ...] = ("node-a",)) -> list[Event]:
    """An utterance of session ``s`` from its first to its last word."""
    request, job = f"r{number}", f"j{number}"
    status = "failed" if code else "completed"
    return [
        Spoken("c", request, "s"),
        Taken("c", request, job),
        Ended("c", request, job, status, code, "why", nodes),
        Heard("c", "s", number, job),
    ]


def judged(*events: Event, harmed: tuple[str, ...] = (), open_orphans: tuple[str, ...] = ()) -> Verdict:
    oracle = Oracle()
    for event in events:
        oracle.handle(event)
    return oracle.verdict(harmed, open_orphans)


def test_a_session_that_hears_everything_in_order_is_clean() -> None:
    assert judged(*a_job(0), *a_job(1), *a_job(2)) == CLEAN


def test_a_missing_outcome_is_found() -> None:
    verdict = judged(*a_job(0), Spoken("c", "r1", "s"), Taken("c", "r1", "j1"))
    assert verdict.lost == ("r1 of c has no outcome",)


def test_an_outcome_that_its_session_never_heard_is_found() -> None:
    verdict = judged(*a_job(0), *a_job(1)[:-1])
    assert verdict.lost == ("j1 of c was not heard by s",)


def test_a_result_delivered_twice_is_found() -> None:
    verdict = judged(*a_job(0), *a_job(1), Heard("c", "s", 0, "j0"))
    assert verdict.duplicates == ("j0, s[0] of c was delivered 2 times",)


def test_a_second_outcome_is_found() -> None:
    verdict = judged(*a_job(0), Ended("c", "r0", "j0", "failed"))
    assert len(verdict.duplicates) == 1


def test_two_results_in_each_others_place_are_found() -> None:
    first, second = a_job(0), a_job(1)
    verdict = judged(*first[:-1], *second[:-1], second[-1], first[-1])
    assert len(verdict.out_of_order) == 2


def test_a_result_that_was_skipped_without_a_word_is_found() -> None:
    assert len(judged(*a_job(0), *a_job(2)).out_of_order) == 1


def test_a_gap_that_is_announced_and_filled_late_is_clean() -> None:
    late = a_job(1)
    late[-1] = Heard("c", "s", 1, "j1", is_late=True)
    assert judged(*a_job(0), Gap("c", "s", 1, 1), *a_job(2), *late) == CLEAN


def test_a_late_result_whose_gap_was_not_announced_is_found() -> None:
    assert len(judged(*a_job(0), Heard("c", "s", 5, "j5", is_late=True)).out_of_order) == 1


def test_a_gap_announced_for_what_was_delivered_is_found() -> None:
    assert len(judged(*a_job(0), *a_job(1), Gap("c", "s", 1, 1)).out_of_order) == 1


@pytest.mark.parametrize(("harmed", "n_lost"), [(("node-a",), 0), (("node-b",), 1), ((), 1)])
def test_a_failed_job_is_lost_unless_each_of_its_nodes_was_harmed(harmed: tuple[str, ...], n_lost: int) -> None:
    assert len(judged(*a_job(0, code="NODE_LOST"), harmed=harmed).lost) == n_lost


def test_a_job_that_found_no_node_is_lost_whatever_was_harmed() -> None:
    assert len(judged(*a_job(0, code="NO_AVAILABLE_NODE", nodes=()), harmed=("node-a",)).lost) == 1


def test_a_cancelled_job_is_lost_unless_its_speaker_called_it_off() -> None:
    cancelled = a_job(0, code="CANCELLED")
    assert len(judged(*cancelled).lost) == 1
    assert judged(CalledOff("c", "r0"), *cancelled) == CLEAN


def test_a_killed_speaker_is_owed_nothing_but_its_jobs_have_to_end() -> None:
    spoken: list[Event] = [Spoken("c", "r0"), Taken("c", "r0", "j0"), Died("c")]
    assert judged(*spoken) == CLEAN
    assert judged(*spoken, open_orphans=("j0",)).lost == ("j0 of a killed speaker is still open",)
