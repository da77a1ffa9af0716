import numpy as np
import pytest

from ray_sched.agent.engine import Work
from ray_sched.agent.engines.echo import EchoEngine, EchoFailedError
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError

DECLARED = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("es",))
AUDIO = np.arange(1600, dtype=np.int16)


def work(number: int = 1, services: tuple[str, ...] = ("asr",)) -> Work:
    return Work(job_id=f"b-{number}", attempt=1, src="en", tgt="es", services=services)


def test_it_can_do_whatever_is_declared() -> None:
    assert EchoEngine(DECLARED, {}).capability() == DECLARED


def test_without_options_it_answers_at_once_and_without_partials() -> None:
    heard: list[str] = []
    result = EchoEngine(DECLARED, {}).run(work(), AUDIO, heard.append)
    assert (result.text, result.translation, result.speech, heard) == ("echo of 1600 samples", "", b"", [])


def test_asked_for_everything_it_gives_the_audio_back_as_speech() -> None:
    result = EchoEngine(DECLARED, {}).run(work(services=("asr", "mt", "tts")), AUDIO, print)
    assert result.translation == "echo of 1600 samples"
    assert result.speech == AUDIO.tobytes()
    assert result.speech_rate_hz == 16_000


def test_speech_can_have_any_length() -> None:
    engine = EchoEngine(DECLARED, {"speech-bytes": "5000"})
    assert len(engine.run(work(services=("tts",)), AUDIO, print).speech) == 5000


def test_with_a_speed_there_is_a_partial_half_way() -> None:
    heard: list[str] = []
    EchoEngine(DECLARED, {"speed": "1000"}).run(work(), AUDIO, heard.append)
    assert heard == ["echo of 1600 samples"]


def failures(engine: EchoEngine) -> list[int]:
    failed = []
    for number in range(1000):
        try:
            engine.run(work(number), AUDIO, print)
        except EchoFailedError:
            failed.append(number)
    return failed


def test_about_the_given_percentage_fails_and_always_the_same_attempts() -> None:
    failed = failures(EchoEngine(DECLARED, {"failure-percent": "10"}))
    assert 70 < len(failed) < 130
    assert failures(EchoEngine(DECLARED, {"failure-percent": "10"})) == failed


def test_another_attempt_of_a_failing_job_may_succeed() -> None:
    engine = EchoEngine(DECLARED, {"failure-percent": "50"})
    attempts = set()
    for attempt in range(20):
        again = Work(job_id="b-1", attempt=attempt, src="en", tgt="en", services=("asr",))
        try:
            attempts.add(engine.run(again, AUDIO, print).text)
        except EchoFailedError:
            attempts.add("failed")
    assert attempts == {"failed", "echo of 1600 samples"}


def test_refusals_come_as_a_sentence() -> None:
    assert EchoEngine(DECLARED, {"refusal-percent": "100"}).admit(work()) == (
        "echo refuses 100 % of the attempts, as refusal-percent says"
    )
    assert EchoEngine(DECLARED, {}).admit(work()) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("speed", "fast"),
        ("speed", "-1"),
        ("speed", "nan"),
        ("speed", "inf"),
        ("failure-percent", "101"),
        ("refusal-percent", ""),
        ("speech-bytes", "3"),
        ("speech-bytes", "-2"),
    ],
)
def test_a_wrong_option_is_named(name: str, value: str) -> None:
    with pytest.raises(SchedError, match=f"option {name} of the echo engine") as caught:
        EchoEngine(DECLARED, {name: value})
    assert caught.value.code is Code.INVALID_CONFIGURATION
