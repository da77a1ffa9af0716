"""What is said to whoever is refused or fails, in full: the code, the names and the numbers."""

from typing import Any

import pytest

from ray_sched.core.dispatch.admission import overloaded
from ray_sched.core.effects import DrainBegan
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.messages.client_dispatcher import Cancel, Delivered, PushFailed, Refused, SpeechLost
from ray_sched.core.messages.recognition import Hints
from ray_sched.core.queue.waiting import Backlog
from ray_sched.core.rules import DispatchRules
from tests.support.builders import DispatchHarness, a_node, a_spec, accepted, answers, finished, only, stopped, told
from tests.support.saving_harness import SavingHarness

# --- jobs that are not admitted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"request_id": ""}, "a job needs a request id"),
        ({"services": ("asr", "dance", "sing")}, "unknown service 'dance'; there are asr, mt, tts"),
        ({"services": ("asr", "asr")}, "services must be sorted, without repetition, and at least one"),
        ({"services": ("mt", "asr"), "tgt": "es"}, "services must be sorted, without repetition, and at least one"),
        ({"services": ()}, "services must be sorted, without repetition, and at least one"),
        ({"services": ("mt",), "tgt": "es"}, "a job recognises its audio, or has a text instead and no asr"),
        (
            {"services": ("asr",), "hints": Hints(text="Hello.")},
            "a job recognises its audio, or has a text instead and no asr",
        ),
        (
            {"services": ("tts",), "src": "auto", "tgt": "en", "hints": Hints(text="Hello.")},
            "mt goes with two different languages, not with auto:en",
        ),
        (
            {"services": ("mt", "tts"), "src": "auto", "tgt": "en", "hints": Hints(text="Hello.")},
            "the language of a text has to be named",
        ),
        ({"tgt": "es"}, "mt goes with two different languages, not with en:es"),
        ({"services": ("asr", "mt")}, "mt goes with two different languages, not with en:en"),
        ({"audio_ms": 86_400_001}, "the audio is longer than a day; split it"),
        ({"utterance_index": 0}, "an utterance index needs a session"),
        ({"first_index": 0}, "a first index needs a session"),
        (
            {"session": "s", "utterance_index": 3, "first_index": 4},
            "utterance 3 comes before 4, where its session begins",
        ),
    ],
)
def test_a_description_that_makes_no_sense_is_told_what_is_wrong_with_it(wrong: dict[str, Any], says: str) -> None:
    facts = {"request_id": "r1"} | wrong
    assert DispatchHarness().refusal(**facts) == Refusal(code=Code.INVALID_MESSAGE, message=says)


@pytest.mark.parametrize(
    "right",
    [
        {"audio_ms": 86_400_000},
        {"services": ("asr", "mt", "tts"), "tgt": "es"},
        {"services": ("asr", "tts")},
        {"utterance_index": 3, "session": "s"},
        {"utterance_index": 3, "first_index": 3, "session": "s"},
    ],
)
def test_what_is_unusual_and_makes_sense_is_admitted(right: dict[str, Any]) -> None:
    assert DispatchHarness().submit("r1", **right) == "boot-1"


def test_a_request_id_used_for_other_content_is_told_which_job_has_it() -> None:
    harness = DispatchHarness()
    harness.submit("r1")
    says = "request id 'r1' belongs to boot-1, which has other content; use a new request id"
    assert harness.refusal("r1", digest="x") == Refusal(code=Code.DUPLICATE_REQUEST, message=says)
    assert harness.brain.counters.rejected == {Code.DUPLICATE_REQUEST: 1}


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"session": "s"}, True),
        ({"session": "s", "utterance_index": 0}, True),
        ({"session": "s", "utterance_index": 1}, False),
        ({"session": "s", "src": "de"}, False),
        ({"session": "s", "tgt": "de"}, False),
        ({"session": "s", "services": ("asr", "mt")}, False),
        ({"session": "s", "priority": 3, "deadline_ms": 5, "name": "other"}, True),
    ],
)
def test_what_makes_the_content_of_a_repeated_request(changes: dict[str, Any], *, is_same: bool) -> None:
    harness = DispatchHarness()
    harness.submit("r1", session="s")
    assert isinstance(harness.answer("r1", **changes), Refused) != is_same


def test_an_utterance_index_that_is_taken_is_told_with_its_session() -> None:
    harness = DispatchHarness()
    harness.submit("r1", session="s", utterance_index=4)
    says = "utterance 4 of session 's' was submitted before; use the next index"
    assert harness.refusal("r2", session="s", utterance_index=4) == Refusal(code=Code.DUPLICATE_INDEX, message=says)


def test_a_session_too_many_is_told_how_many_there_are_and_when_to_come_back() -> None:
    harness = DispatchHarness(DispatchRules(max_sessions_per_client=2))
    for n in range(2):
        harness.submit(f"r{n}", session=f"s{n}")
    says = "2 sessions of this client have jobs that have not ended; try again in 50 ms"
    assert harness.refusal("r2", session="s2") == Refusal(code=Code.OVERLOADED, message=says, retry_after_ms=50)


def test_a_scheduler_that_shuts_down_says_so() -> None:
    harness = DispatchHarness()
    harness.handle(DrainBegan())
    says = "the scheduler is shutting down and takes no new jobs"
    assert harness.refusal("r1") == Refusal(code=Code.SHUTTING_DOWN, message=says)


def test_who_cancels_a_job_that_is_not_there_is_told_its_id() -> None:
    answer = only(answers(DispatchHarness().send(Cancel(job_id="boot-7"))))
    says = "there is no job boot-7 of this client"
    assert answer == Refused(refusal=Refusal(code=Code.UNKNOWN_JOB, message=says))


# --- a queue that is full -----------------------------------------------------------------------------------------

ROOM = DispatchRules(max_waiting_jobs=320, max_waiting_jobs_per_session=100)
"""Of 320 places the last ten are for tenants that have less, the ten before them for flows that have less."""


@pytest.mark.parametrize(
    ("backlog", "session", "says"),
    [
        ((320, 1, 0), "s", "320 jobs wait already"),
        ((319, 1, 0), "s", "1 jobs of tenant 't' wait already; the room left is for others"),
        ((319, 0, 0), "s", None),
        ((310, 10, 0), "s", "10 jobs of tenant 't' wait already; the room left is for others"),
        ((310, 9, 9), "s", None),
        ((309, 300, 0), "s", None),
        ((309, 300, 1), "s", "1 jobs of session 's' wait already; the room left is for others"),
        ((309, 300, 1), "", "1 jobs of this client wait already; the room left is for others"),
        ((300, 300, 9), "s", None),
        ((300, 300, 10), "s", "10 jobs of session 's' wait already; the room left is for others"),
        ((299, 299, 99), "s", None),
        ((299, 299, 100), "s", "100 jobs of session 's' wait already"),
        ((299, 299, 299), "", None),
    ],
)
def test_who_finds_a_place_in_a_queue_that_is_nearly_full(backlog: Backlog, session: str, says: str | None) -> None:
    refusal = overloaded(backlog, a_spec(session=session, tenant="t"), ROOM, 0.0)
    if says is None:
        assert refusal is None
    else:
        message = f"{says}; try again in 1 s"
        assert refusal == Refusal(code=Code.OVERLOADED, message=message, retry_after_ms=1_000)


@pytest.mark.parametrize(
    ("ended_per_s", "retry_after_ms", "says"),
    [
        (0.0, 1_000, "1 s"),
        (0.5, 10_000, "10 s"),
        (3.2, 10_000, "10 s"),
        (10.0, 3_200, "3.2 s"),
        (100.0, 320, "320 ms"),
        (640.0, 50, "50 ms"),
        (10_000.0, 50, "50 ms"),
    ],
)
def test_who_finds_no_place_is_told_to_come_back_when_a_tenth_of_those_before_it_is_gone(
    ended_per_s: float, retry_after_ms: int, says: str
) -> None:
    refusal = overloaded((320, 0, 0), a_spec(), ROOM, ended_per_s)
    assert refusal is not None
    assert refusal.retry_after_ms == retry_after_ms
    assert refusal.message == f"320 jobs wait already; try again in {says}"


@pytest.mark.parametrize(
    ("backlog", "retry_after_ms"), [((319, 20, 0), 200), ((309, 300, 30), 300), ((299, 200, 100), 1_000)]
)
def test_the_share_that_is_full_says_how_long_it_takes(backlog: Backlog, retry_after_ms: int) -> None:
    refusal = overloaded(backlog, a_spec(session="s"), ROOM, 10.0)
    assert refusal is not None
    assert refusal.retry_after_ms == retry_after_ms


# --- jobs that end without a result -------------------------------------------------------------------------------


def error_of(harness: DispatchHarness, job: str) -> Refusal | None:
    outcome = harness.job(job).outcome
    assert outcome is not None
    return outcome.error


def test_a_cancelled_job_says_who_cancelled_it() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    error = only(told(harness.cancel(job), Delivered)).outcome.error
    assert error == Refusal(code=Code.CANCELLED, message="cancelled by its submitter")


def test_a_job_that_found_no_node_says_what_it_needed_and_how_long_it_waited() -> None:
    harness = DispatchHarness()
    job = harness.submit(tgt="es", services=("asr", "mt"))
    harness.wait(10_000)
    says = "no node for en:es (asr+mt) in 10 s: there is no node at all"
    assert error_of(harness, job) == Refusal(code=Code.NO_AVAILABLE_NODE, message=says)


def test_a_job_whose_own_deadline_was_missed_though_it_is_served_says_so() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    harness.report(accepted(harness.submit("r1")))
    own, usual = harness.submit("r2", deadline_ms=3_000), harness.submit("r3")
    unserved = harness.submit("r4", deadline_ms=3_000, src="de", tgt="de")
    harness.wait(10_000)
    codes = [error and error.code for error in (error_of(harness, job) for job in (own, usual, unserved))]
    assert codes == [Code.DEADLINE_EXCEEDED, Code.NO_AVAILABLE_NODE, Code.NO_AVAILABLE_NODE]


def test_a_job_whose_client_is_gone_says_what_it_died_of() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    harness.wait(10_000, polling=())
    harness.offer()
    says = "the node left its pool; the client that holds the audio is gone"
    assert error_of(harness, job) == Refusal(code=Code.CLIENT_GONE, message=says)


# --- why an attempt was over, and the story of a job --------------------------------------------------------------


def whys(harness: DispatchHarness, job: str) -> list[str]:
    return [note.why for note in harness.job(job).attempts]


def test_speech_that_was_lost_ends_the_attempt_with_its_reason() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job), finished(job, speech_bytes=640))
    harness.send(SpeechLost(job_id=job, attempt=1, why="no such object"))
    assert whys(harness, job) == ["NODE_LOST: speech lost: no such object"]


def test_an_attempt_says_what_ended_it() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit(deadline_ms=60_000)
    harness.send(PushFailed(job_id=job, attempt=1, why="no way"))
    harness.wait(1_000)
    harness.report(stopped(job, 2))
    harness.crash()
    harness.offer(a_node("node-a", incarnation=2))
    assert whys(harness, job) == [
        "PUSH_FAILED: no way",
        "NODE_LOST: the node no longer has it",
        "NODE_LOST: the node came back as a new incarnation",
    ]


def test_a_story_tells_every_step_of_a_job_with_its_time_and_its_attempt() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    began_ms = harness.now_ms
    harness.now_ms += 10
    harness.offer(a_node("node-a"))
    harness.now_ms += 10
    harness.send(PushFailed(job_id=job, attempt=1, why="no way"))
    harness.now_ms += 1_000
    harness.offer(a_node("node-a"))
    harness.now_ms += 20
    harness.report(accepted(job, 2))
    harness.now_ms += 300
    harness.report(finished(job, 2, run_ms=290))
    assert [(line.at_ms - began_ms, line.attempt, line.what) for line in harness.job(job).story] == [
        (0, 1, "submitted"),
        (10, 1, "assigned to node-a"),
        (20, 1, "back to pending: no way"),
        (1_020, 2, "assigned to node-a"),
        (1_040, 2, "accepted by node-a"),
        (1_340, 2, "ran 290 ms on node-a"),
        (1_340, 2, "completed"),
    ]


def test_the_story_of_a_job_without_a_result_ends_with_the_reason() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    harness.cancel(job)
    assert [line.what for line in harness.job(job).story] == ["submitted", "cancelled: cancelled by its submitter"]


def test_the_story_of_a_job_that_speaks_tells_that_its_speech_waits() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job), finished(job, run_ms=290, speech_bytes=640))
    assert harness.job(job).story[-1].what == "ran 290 ms on node-a; speech waits to be fetched"
