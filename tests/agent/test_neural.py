"""Real neural weights: word errors, the language that is spoken, and when each word is said."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]  # it has no types

from ray_sched.agent.engine import ModelNotAvailableError, Work
from ray_sched.agent.engines.neural import NeuralEngine
from ray_sched.agent.engines.opus import Translator
from ray_sched.agent.engines.whisper import WhisperOptions, partial_ends
from ray_sched.agent.host import EngineHost
from ray_sched.agent.warm_up import load_and_warm_up
from ray_sched.core.capability import Capability
from ray_sched.core.messages.recognition import Hints, Option
from ray_sched.data.word_errors import word_error_rate
from tests.support.engines import MACHINE
from tests.support.in_process import InProcess
from tests.support.random_opus import random_opus
from tests.support.weights import piper_voice, whisper_base, whisper_tiny_en
from tests.support.whisper import SILENCE, UNDECLARED, loaded, loaded_base, recognised, recordings

HALF, TEN_PERCENT, FIVE_PERCENT = 0.50, 0.10, 0.05


@pytest.fixture(scope="module")
def tiny() -> NeuralEngine:
    return loaded(whisper_tiny_en())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> NeuralEngine:
    return loaded_base(tmp_path_factory.mktemp("weights"))


def errors(engine: NeuralEngine, src: str = "en") -> float:
    return word_error_rate([(text, recognised(engine, audio, src).text) for text, audio in recordings()])


def test_the_recordings_have_less_than_ten_percent_word_errors(tiny: NeuralEngine) -> None:
    assert errors(tiny) < TEN_PERCENT


def test_the_base_model_finds_the_language_and_makes_fewer_errors(base: NeuralEngine) -> None:
    assert errors(base, "auto") < FIVE_PERCENT
    found = recognised(base, next(recordings())[1], "auto").recognition
    assert found.language == "en"
    assert found.language_confidence is not None
    assert found.language_confidence > 0.9


def test_a_language_is_found_among_those_that_may_be_spoken(base: NeuralEngine) -> None:
    audio = next(recordings())[1]
    forced = recognised(base, audio, "auto", hints=Hints(candidates=("de", "es"))).recognition
    assert forced.language in {"de", "es"}
    assert forced.language_confidence is not None
    assert forced.language_confidence < 0.1


def test_english_models_know_english_and_others_find_languages_out(tmp_path: Path) -> None:
    assert NeuralEngine(UNDECLARED, {"asr-model": str(whisper_tiny_en())}).capability().asr == ("en",)
    folder = str(whisper_base(tmp_path))
    everything = NeuralEngine(UNDECLARED, {"asr-model": folder}).capability().asr
    assert {"auto", "en", "de", "he", "zh"} < set(everything)
    assert len(everything) == 100
    some = Capability(engine="neural", asr=("de", "en-US", "xx"))
    assert NeuralEngine(some, {"asr-model": folder}).capability().asr == ("auto", "de", "en-US")
    german = Capability(engine="neural", asr=("de",))
    assert NeuralEngine(german, {"asr-model": folder}).capability().asr == ("de",)


def test_words_have_times_that_rise_inside_the_audio(tiny: NeuralEngine) -> None:
    for _, audio in recordings():
        result = recognised(tiny, audio, hints=Hints(words=True))
        words, length_ms = result.recognition.words, len(audio) / 16
        assert "".join(word.text for word in words) == result.text.replace(" ", "")
        starts = [word.start_ms for word in words]
        assert starts == sorted(starts)
        assert all(word.start_ms <= word.end_ms <= length_ms + 500 for word in words)
        assert words[-1].end_ms > length_ms / 2
        assert all(0 < (word.confidence or 0) <= 1 for word in words)


def test_segments_are_the_text_and_say_how_sure_the_model_is(tiny: NeuralEngine) -> None:
    result = recognised(tiny, next(recordings())[1])
    found = result.recognition
    assert "".join(segment.text for segment in found.segments).replace(" ", "") == result.text.replace(" ", "")
    assert all(0 < (segment.confidence or 0) < 1 for segment in found.segments)
    assert (found.model, found.words) == ("whisper model", ())


def test_nothing_is_heard_in_silence(tiny: NeuralEngine) -> None:
    assert recognised(tiny, SILENCE).text == ""
    assert recognised(tiny, SILENCE, hints=Hints(words=True, options={"vad_filter": True})).recognition.segments == ()


def test_several_threads_are_served_by_one_model_and_hear_the_same(tiny: NeuralEngine) -> None:
    audios = [audio for _, audio in recordings()]
    alone = [recognised(tiny, audio).text for audio in audios]
    both_run = threading.Barrier(2, timeout=60)

    def run(position: int) -> str:
        if position < 2:  # the first two wait for one another
            both_run.wait()
        return recognised(tiny, audios[position]).text

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(run, range(len(audios)))) == alone


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1, "condition_on_previous_text": False, "no_speech_threshold": 0.5},
        {"beam_size": 10_000_000, "best_of": -1, "patience": "high", "vad_filter": 7, "unknown": True, "beam": 1.5},
        {"beam_size": 2.5, "repetition_penalty": 10**9},
    ],
)
def test_options_of_a_job_are_used_or_left_out_and_never_break_a_run(
    tiny: NeuralEngine, options: dict[str, Option]
) -> None:
    hints = Hints(options=options, prompt="Jane Austen.", hotwords=("Frank", "Churchill"), temperature=0.0)
    assert len(recognised(tiny, next(recordings())[1], hints=hints).text) > 20


@pytest.mark.parametrize("hints", [Hints(prompt="Some are ill-disposed."), Hints(hotwords=("ill-disposed",))])
def test_a_word_that_was_said_before_or_is_likely_is_heard(tiny: NeuralEngine, hints: Hints) -> None:
    _, (_, audio), *_ = recordings()
    assert "ill-disposed" not in recognised(tiny, audio).text
    assert "ill-disposed" in recognised(tiny, audio, hints=hints).text


def test_what_was_found_and_nobody_translates_is_named(base: NeuralEngine) -> None:
    work = {"tgt": "cs", "services": ("asr", "mt")}
    with pytest.raises(ModelNotAvailableError, match="no mt model for en:cs") as caught:
        recognised(base, next(recordings())[1], "auto", **work)
    assert caught.value.service == "mt:en:cs"


def test_what_piper_speaks_is_heard_again() -> None:
    models = {"asr-model": str(whisper_tiny_en()), "tts-model": str(piper_voice())}
    engine = NeuralEngine(UNDECLARED, models)
    assert engine.capability().tts == ("en", "en-US")
    engine.load()
    # it speaks a little differently each time: 5 to 27 % word errors were seen
    said = recognised(engine, next(recordings())[1], tgt="en-US", services=("asr", "tts"))
    speech = soxr.resample(np.frombuffer(said.speech, np.int16), said.speech_rate_hz, 16_000).astype(np.int16)
    assert (
        word_error_rate([(said.text, recognised(engine, speech).text)]) < HALF
    )  # it speaks a little differently each time


def test_partial_texts_grow_and_are_what_will_be_said(tiny: NeuralEngine) -> None:
    partials: list[str] = []
    audio = next(recordings())[1]
    work = Work(job_id="j", attempt=1, src="en", tgt="en", services=("asr",), wants_partials=True)
    text = tiny.run(work, audio, partials.append).text
    assert len(partials) >= 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(partials))
    assert word_error_rate([(" ".join(text.split()[: len(partials[-1].split())]), partials[-1])]) <= TEN_PERCENT


@pytest.mark.parametrize(("seconds", "passes"), [(1, 0), (1.5, 0), (2, 1), (6, 3), (30, 5), (600, 5)])
def test_partial_texts_cost_a_few_passes(seconds: float, passes: int) -> None:
    ends = partial_ends(int(seconds * 16_000))
    assert len(ends) == passes
    assert all(0 < end < seconds * 16_000 for end in ends)


async def test_a_node_of_two_slots_loads_one_model_and_serves_both() -> None:
    english = Capability(engine="neural", asr=("en",))
    host = EngineHost("neural", english, {"asr-model": str(whisper_tiny_en())}, 2, MACHINE)
    audios = [audio for _, audio in recordings()]
    async with InProcess() as system:
        await system.add_node("a", slots=2, capability=english, host=host, within_s=60)
        assert len(host.pids) == 1
        async with system.client() as client:
            results = [it async for it in client.map(audios, src="en-US", words=True, order="input")]
    pairs = [(text, result.text) for (text, _), result in zip(recordings(), results, strict=True)]
    assert word_error_rate(pairs) < TEN_PERCENT
    for result in results:
        assert (result.language, result.model) == ("en", "whisper model")
        times = [time_ms for word in result.words for time_ms in (word.start_ms, word.end_ms)]
        assert [word.start_ms for word in result.words] == sorted(word.start_ms for word in result.words)
        assert max(times) <= result.audio_ms


def test_each_model_has_run_once_when_the_engine_has_warmed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def count(kind: type, name: str) -> None:
        inner = getattr(kind, name)

        def counted(*args: object) -> object:
            ran.append(kind.__name__)
            return inner(*args)

        monkeypatch.setattr(kind, name, counted)

    class FakeVoice:
        def __init__(self, path: Path, *, has_gpu: bool) -> None:
            self.path, self.has_gpu = path, has_gpu

        def __call__(self, text: str) -> tuple[bytes, int]:
            ran.append(f"{self.path.stem}: {len(text) > 0}")
            return b"", 0

    folder = whisper_tiny_en()
    count(pytest.importorskip("faster_whisper").WhisperModel, "encode")
    count(Translator, "__call__")
    monkeypatch.setattr("ray_sched.agent.engines.neural.Voice", FakeVoice)
    for pair in ("en-es", "es-en"):
        random_opus(tmp_path / "mt" / pair)
    (tmp_path / "es_ES-davefx-medium.onnx").touch()
    models = {"asr-model": str(folder), "mt-model": str(tmp_path / "mt"), "tts-model": str(tmp_path)}
    load_and_warm_up(NeuralEngine(UNDECLARED, models))
    assert ran == ["WhisperModel", "Translator", "Translator", "es_ES-davefx-medium: True"]


@pytest.mark.parametrize(
    ("options", "n_slots", "workers", "threads"),
    [
        ({"threads": "2"}, 16, 2, 1),
        ({"threads": "4"}, 1, 1, 4),
        ({"threads": "4", "workers": "8"}, 16, 8, 1),
        ({"threads": "8"}, 4, 4, 2),
    ],
)
def test_without_a_gpu_no_more_runs_go_on_at_the_same_time_than_there_are_cores(
    options: dict[str, str], n_slots: int, workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[WhisperOptions] = []
    monkeypatch.setattr("ray_sched.agent.engines.neural.Whisper", lambda *given: loads.append(given[-1]))
    engine = NeuralEngine(UNDECLARED, {"asr-model": str(whisper_tiny_en())} | options)
    engine.share(n_slots)
    engine.load()
    assert [(one.workers, one.cpu_threads) for one in loads] == [(workers, threads)]
