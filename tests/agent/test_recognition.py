"""What a job asks of its engine beyond its languages, and what comes back beyond the text."""

import json
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
import pytest

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, Work
from ray_sched.agent.recognition import in_order
from ray_sched.client.results import Result
from ray_sched.core.capability import ASR, MT, Capability, nearest, translated_as
from ray_sched.core.dispatch.admission import invalid
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.agent_dispatcher import RunFinished
from ray_sched.core.messages.client_agent import PushItem
from ray_sched.core.messages.client_dispatcher import JobSpec, Outcome
from ray_sched.core.messages.recognition import Hints, Recognition, Segment, Word
from ray_sched.core.ports import SaveJob
from ray_sched.wire.codec import encode
from ray_sched.wire.samples import Samples
from tests.support.builders import a_spec
from tests.support.in_process import InProcess

POLYGLOT = Capability(engine="x", asr=("auto", "cs", "de", "en"), mt=("de:en", "en:de"))
SECOND = np.ones(16_000, np.int16)
ENGINE = "tests.agent.test_recognition.PolyglotEngine"


class PolyglotEngine:
    """Finds the language that the first sample of the audio stands for, and says what it was given."""

    isolation: ClassVar[Literal["thread", "process"]] = "thread"
    languages: ClassVar = ("cs", "de", "en")

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        del options
        self._declared = declared

    def capability(self) -> Capability:
        return self._declared

    def load(self) -> None:
        pass

    def admit(self, work: Work) -> str | None:
        del work
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        del emit_partial
        found = self.languages[audio[0]] if work.src == "auto" else work.src
        candidates = [nearest(tag, self.languages) or tag for tag in work.hints.candidates]
        if candidates and found not in candidates:
            found = min(candidates)
        translation = ""
        if MT in work.services:
            source = translated_as(found, work.tgt, self._declared)
            if source is None:
                raise ModelNotAvailableError(f"mt:{found}:{work.tgt}", f"nobody translates {found} here")
            translation = f"{source or found} to {work.tgt}"
        return EngineResult(
            text=json.dumps([work.src, msgspec.to_builtins(work.hints)]),
            translation=translation,
            recognition=Recognition(
                language=found if work.src == "auto" else "",
                language_confidence=0.98765 if work.src == "auto" else None,
                segments=(Segment(0, 400, "three"), Segment(300, 90_000, "words here", math.nan)),
                words=(Word(0, 100, "three"), Word(900, 800, "words", 1.0000001), Word(850, 1_200, "here", 0.5)),
                model="polyglot",
            ),
        )


async def run_one(first_sample: int = 2, *, engine: str = ENGINE, **options: Any) -> Result:
    audio = SECOND.copy()
    audio[0] = first_sample
    async with InProcess() as system:
        await system.add_node("a", engine=engine, capability=POLYGLOT)
        async with system.client() as client:
            return await client.submit(audio, **options)


async def test_an_engine_says_what_it_has_found_and_when_it_was_said() -> None:
    result = await run_one(src="auto", words=True)
    assert (result.pair, result.language, result.language_confidence, result.model) == (
        "auto:auto",
        "en",
        0.988,
        "polyglot",
    )
    assert result.segments == (Segment(0, 400, "three"), Segment(300, 1_000, "words here"))
    assert result.words == (Word(0, 100, "three"), Word(900, 900, "words", 1.0), Word(900, 1_000, "here", 0.5))


async def test_words_come_only_when_they_are_asked_for() -> None:
    result = await run_one(src="en")
    assert result.words == ()
    assert result.segments


async def test_a_translation_starts_from_the_language_that_was_found() -> None:
    german = await run_one(1, src="auto", tgt="en")
    assert (german.language, german.translation) == ("de", "de to en")
    english = await run_one(2, src="auto", tgt="de")
    assert (english.language, english.translation) == ("en", "en to de")


async def test_what_is_found_and_cannot_be_translated_fails_and_the_node_goes_on_translating() -> None:
    async with InProcess() as system:
        await system.add_node("a", engine=ENGINE, capability=POLYGLOT)
        async with system.client() as client:
            with pytest.raises(SchedError, match="nobody translates cs here") as caught:
                await client.submit(SECOND * 0, src="auto", tgt="en", deadline_s=5)
            assert caught.value.code is Code.MODEL_NOT_AVAILABLE
            assert (await client.submit(SECOND, src="auto", tgt="en")).translation == "de to en"


async def test_one_of_several_languages_is_found_among_them() -> None:
    result = await run_one(0, src=["en", "de"])
    assert result.language == "de"
    assert (await run_one(0, src=["de-AT"])).language == "de"


async def test_a_regional_tag_is_served_by_its_language_and_the_answer_says_so() -> None:
    result = await run_one(src="en-US")
    assert json.loads(result.text)[0] == "en"
    assert (result.pair, result.language) == ("en-US:en-US", "en")
    echoed = await run_one(src="en-US", engine="echo")
    assert echoed.language == "en"
    assert (await run_one(src="en", engine="echo")).language == "en"


async def test_hints_reach_the_engine_as_they_were_given() -> None:
    result = await run_one(
        src="de",
        prompt="Guten Tag.",
        hotwords=["Ray", "Redis"],
        temperature=0.5,
        options={"beam_size": 3, "vad": True, "best": "yes", "p": 0.25},
    )
    assert json.loads(result.text)[1] == {
        "prompt": "Guten Tag.",
        "hotwords": ["Ray", "Redis"],
        "temperature": 0.5,
        "options": {"beam_size": 3, "vad": True, "best": "yes", "p": 0.25},
    }


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"src": "en", "tgt": "auto"}, Code.INVALID_LANGUAGE),
        ({"src": "auto", "speech": True}, Code.INVALID_LANGUAGE),
        ({"src": []}, Code.INVALID_LANGUAGE),
        ({"src": ["en", "english"]}, Code.INVALID_LANGUAGE),
        ({"src": 7}, Code.INVALID_LANGUAGE),
        ({"src": "en", "prompt": "x" * 4_001}, Code.INVALID_MESSAGE),
        ({"src": "en", "hotwords": ["x"] * 201}, Code.INVALID_MESSAGE),
        ({"src": "en", "hotwords": 7}, Code.INVALID_MESSAGE),
        ({"src": "en", "temperature": 2.1}, Code.INVALID_MESSAGE),
        ({"src": "en", "temperature": math.nan}, Code.INVALID_MESSAGE),
        ({"src": "en", "options": {f"o{n}": 1 for n in range(33)}}, Code.INVALID_MESSAGE),
        ({"src": "en", "options": {"o": "x" * 1_001}}, Code.INVALID_MESSAGE),
        ({"src": "en", "options": {"o": math.inf}}, Code.INVALID_MESSAGE),
        ({"src": "en", "options": {"o": [1]}}, Code.INVALID_MESSAGE),
    ],
)
async def test_the_client_refuses_what_is_too_much_before_it_is_sent(options: dict[str, Any], code: Code) -> None:
    async with InProcess() as system, system.client() as client:
        with pytest.raises(SchedError) as caught:
            client.submit(SECOND, **options)
        assert caught.value.code is code


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (a_spec(src="en", tgt="auto", services=("asr", "mt")), "auto is a target only for"),
        (a_spec(src="auto", tgt="auto", services=("asr", "tts")), "auto is a target only for"),
        (a_spec(src="en", tgt="en", hints=Hints(candidates=("de", "en"))), "go with auto as the source"),
        (a_spec(src="auto", tgt="auto", hints=Hints(candidates=("en", "de"))), "must be sorted"),
    ],
)
def test_the_dispatcher_refuses_what_no_client_of_ours_sends(spec: JobSpec, why: str) -> None:
    refusal = invalid(spec)
    assert refusal is not None
    assert refusal.code is Code.INVALID_MESSAGE
    assert why in refusal.message


async def test_a_record_of_a_job_keeps_all_of_it() -> None:
    async with InProcess() as system:
        await system.add_node("a", engine=ENGINE, capability=POLYGLOT)
        async with system.client() as client:
            await client.submit(SECOND, src="auto", words=True, options={"o": 1})
        saved = [change for commit in system.store.commits for change in commit if isinstance(change, SaveJob)]
    record = json.loads(saved[-1].record)
    assert record["spec"]["hints"] == {"words": True, "options": {"o": 1}}
    assert record["outcome"]["recognition"]["words"][0] == [0, 100, "three", None]


def test_a_job_without_hints_carries_nothing_for_them() -> None:
    spec = a_spec(services=(ASR,))
    assert b"hints" not in encode(spec)
    item = PushItem(job_id="j", attempt=1, src="en", tgt="en", services=(ASR,), wants_partials=False, n_bytes=2)
    assert b"hints" not in encode(item)
    assert b"recognition" not in encode(RunFinished(job_id="j", attempt=1, text="x", run_ms=1))
    assert b"recognition" not in encode(Outcome(status="completed", text="x"))


def test_times_rise_and_lie_inside_the_audio() -> None:
    wild = (Word(50, 20, "a"), Word(10, 30, "b"), Word(70, 10**6, "c"), Word(10**6, 10**6, "d"))
    assert [(word.start_ms, word.end_ms) for word in in_order(wild, 100)] == [(50, 50), (50, 50), (70, 100), (100, 100)]


async def test_a_request_id_with_other_hints_is_another_job() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client:
            await client.submit(SECOND, src="en", request_id="r")
            with pytest.raises(SchedError) as caught:
                await client.submit(SECOND, src="en", request_id="r", words=True)
    assert caught.value.code is Code.DUPLICATE_REQUEST
