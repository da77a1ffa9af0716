"""How runs end, what the Dispatcher is told of it and when, and how long speech is kept."""

import pytest

from ray_sched.core.agent.effects import (
    CancelRun,
    ForgetSpeech,
    RunCancelled,
    RunDeclined,
    RunEnd,
    RunErred,
    RunReturned,
)
from ray_sched.core.agent.options import SPEECH_TTL_MS
from ray_sched.core.errors import Code
from ray_sched.core.ledger import AudioState
from ray_sched.core.messages.agent_dispatcher import (
    AgentMessage,
    DropSpeech,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
    StopRun,
)
from tests.support.agent_harness import DONE, AgentHarness

SPOKEN = RunReturned(text="hello", translation="hola", speech_bytes=640, speech_rate_hz=22_050)
NO_MODEL = RunErred(code=Code.MODEL_NOT_AVAILABLE, why="no voice", service="tts")
ENDS: list[tuple[RunEnd, AgentMessage]] = [
    (DONE, RunFinished(job_id="j1", attempt=1, text="done", run_ms=30)),
    (
        SPOKEN,
        RunFinished(
            job_id="j1",
            attempt=1,
            text="hello",
            translation="hola",
            speech_bytes=640,
            speech_rate_hz=22_050,
            run_ms=30,
        ),
    ),
    (
        NO_MODEL,
        RunFailed(job_id="j1", attempt=1, code=Code.MODEL_NOT_AVAILABLE, why="no voice", service="tts"),
    ),
    (RunDeclined(why="too hot"), RunRefused(job_id="j1", attempt=1, why="too hot")),
    (RunCancelled(), RunStopped(job_id="j1", attempt=1)),
]


def of(agent: AgentHarness, job_id: str) -> list[type[AgentMessage]]:
    return [type(message) for message in agent.sent() if message.job_id == job_id]


@pytest.mark.parametrize(("end", "report"), ENDS, ids=[type(end).__name__ + str(n) for n, (end, _) in enumerate(ENDS)])
def test_each_end_frees_the_slot_and_is_reported_as_what_it_is(end: RunEnd, report: AgentMessage) -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.wait(30)
    assert agent.end(end=end) == []
    assert agent.sent()[1:] == [report]
    assert agent.brain.running == []


def test_the_end_of_the_last_run_is_sent_at_once_with_all_that_waits() -> None:
    agent = AgentHarness()
    agent.push("j1")
    assert agent.sent() == []
    agent.end("j1")
    assert of(agent, "j1") == [RunAccepted, RunFinished]


def test_the_end_of_a_run_waits_a_millisecond_for_those_that_run_beside_it() -> None:
    agent = AgentHarness()
    agent.push("j1", "j2")
    agent.wait(20)
    agent.sent()
    agent.end("j1")
    assert agent.sent() == []
    assert agent.brain.next_due_ms() == agent.now_ms + 1
    agent.wait(1)
    assert of(agent, "j1") == [RunFinished]


def test_an_acceptance_is_in_no_hurry_but_leaves_within_its_time() -> None:
    agent = AgentHarness()
    agent.push("j1")
    assert agent.brain.next_due_ms() == agent.now_ms + 20
    agent.wait(19)
    assert agent.sent() == []
    agent.wait(1)
    assert of(agent, "j1") == [RunAccepted]
    assert agent.brain.next_due_ms() is None


def test_a_run_that_was_ordered_to_stop_is_reported_as_stopped_and_keeps_no_speech_whatever_the_engine_brings() -> None:
    agent = AgentHarness()
    agent.push("j1")
    assert agent.order(StopRun(job_id="j1", attempt=1)) == [CancelRun(("j1", 1))]
    assert agent.end(end=SPOKEN) == [ForgetSpeech(("j1", 1))]
    assert of(agent, "j1") == [RunAccepted, RunStopped]
    assert (agent.brain.ledger.bytes_in(), agent.brain.next_due_ms()) == (0, None)


def test_a_clock_that_stands_still_makes_no_negative_duration() -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.now_ms -= 5
    agent.end()
    agent.now_ms += 5
    assert agent.sent()[-1] == RunFinished(job_id="j1", attempt=1, text="done", run_ms=0)


# --- speech -------------------------------------------------------------------------------------------------------


def a_speaking_agent() -> AgentHarness:
    agent = AgentHarness()
    agent.push("j1")
    agent.end("j1", SPOKEN)
    agent.sent()
    return agent


def bytes_of(agent: AgentHarness) -> tuple[int, int, int]:
    """Audio, speech, and what was released."""
    ledger = agent.brain.ledger
    return ledger.bytes_in(AudioState.RUNNING), ledger.bytes_in(AudioState.SPOKEN), ledger.released_bytes


def test_the_entry_of_an_attempts_audio_becomes_that_of_its_speech() -> None:
    agent = AgentHarness()
    agent.push("j1")
    assert bytes_of(agent) == (32_000, 0, 0)
    agent.end("j1", SPOKEN)
    assert bytes_of(agent) == (0, 640, 32_000)
    agent.order(DropSpeech(job_id="j1", attempt=1))
    assert bytes_of(agent) == (0, 0, 32_640)


@pytest.mark.parametrize("order", [DropSpeech(job_id="j1", attempt=1), StopRun(job_id="j1", attempt=1)])
def test_speech_is_freed_once_when_the_dispatcher_orders_it(order: DropSpeech | StopRun) -> None:
    agent = a_speaking_agent()
    assert agent.order(order) == [ForgetSpeech(("j1", 1))]
    assert agent.order(order) == []
    assert agent.brain.next_due_ms() == (None if isinstance(order, DropSpeech) else agent.now_ms)


def test_an_order_to_drop_speech_that_was_never_there_does_nothing() -> None:
    agent = AgentHarness()
    agent.push("j1")
    assert agent.order(DropSpeech(job_id="j1", attempt=1), DropSpeech(job_id="j2", attempt=1)) == []
    agent.end("j1")
    assert of(agent, "j1") == [RunAccepted, RunFinished]


def test_speech_that_nobody_fetches_is_kept_for_its_time_and_no_longer() -> None:
    agent = a_speaking_agent()
    assert agent.brain.next_due_ms() == agent.now_ms + SPEECH_TTL_MS
    assert agent.wait(SPEECH_TTL_MS - 1) == []
    assert bytes_of(agent) == (0, 640, 32_000)
    assert agent.wait(1) == [ForgetSpeech(("j1", 1))]
    assert bytes_of(agent) == (0, 0, 32_640)
    assert agent.wait(SPEECH_TTL_MS) == []


def test_speech_expires_in_the_order_in_which_it_was_spoken() -> None:
    agent = AgentHarness()
    agent.push("j1", "j2")
    agent.end("j2", SPOKEN)
    agent.wait(10)
    agent.end("j1", SPOKEN)
    agent.sent()
    assert agent.wait(SPEECH_TTL_MS - 10) == [ForgetSpeech(("j2", 1))]
    assert agent.wait(10) == [ForgetSpeech(("j1", 1))]


def test_whatever_is_due_first_wakes_the_agent() -> None:
    agent = a_speaking_agent()
    agent.push("j2")
    assert agent.brain.next_due_ms() == agent.now_ms + 20
    agent.wait(SPEECH_TTL_MS - 10)
    assert agent.brain.next_due_ms() == agent.now_ms - SPEECH_TTL_MS + 10 + 20


def test_a_partial_text_is_reported_while_its_attempt_runs_and_never_after_its_end() -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.partial("hel")
    assert agent.sent()[1:] == [RunPartial(job_id="j1", attempt=1, text="hel")]
    agent.end()
    agent.sent()
    agent.partial("hello")
    assert agent.sent() == []
