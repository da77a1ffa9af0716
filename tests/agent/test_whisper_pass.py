"""Several utterances in one pass of Whisper: each has what it would have alone; the rest is heard alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_sched.agent.engine import BatchItem, EngineResult, ModelNotAvailableError, Work
from ray_sched.agent.engines.neural import NeuralEngine
from ray_sched.agent.engines.opus import Translator
from ray_sched.agent.engines.whisper_pass import cut_at_times, judge
from ray_sched.core.messages.recognition import Hints
from ray_sched.data.word_errors import word_error_rate
from ray_sched.wire.samples import Samples
from tests.support.random_opus import random_opus
from tests.support.weights import whisper_tiny_en
from tests.support.whisper import SILENCE, loaded, loaded_base, recognised, recordings

TEN_PERCENT = 0.10
THRESHOLDS = {"log_prob_threshold": -1.0, "no_speech_threshold": 0.6, "compression_ratio_threshold": 2.4}
TIME = 1000
"""The token of 0.00 s in the tests of cutting."""


@pytest.fixture(scope="module")
def tiny() -> NeuralEngine:
    return loaded(whisper_tiny_en())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> NeuralEngine:
    return loaded_base(tmp_path_factory.mktemp("weights"))


def together(engine: NeuralEngine, audios: Sequence[Samples], src: str = "en", **work: Any) -> list[Any]:
    facts: dict[str, Any] = {"attempt": 1, "src": src, "tgt": src, "services": ("asr",)} | work
    items = [BatchItem(Work(job_id=f"j{n}", **facts), audio, print) for n, audio in enumerate(audios)]
    assert len({engine.batch_key(item.work) for item in items}) == 1
    return list(engine.run_batch(items))


@pytest.fixture
def passes(tiny: NeuralEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many windows each encoding had, from now on."""
    del tiny
    model = pytest.importorskip("ctranslate2").models.Whisper
    seen: list[int] = []
    encode = model.encode

    def counted(self: Any, features: Any, **options: Any) -> Any:
        seen.append(features.shape[0])
        return encode(self, features, **options)

    monkeypatch.setattr(model, "encode", counted)
    return seen


def times(result: EngineResult) -> list[int]:
    segments = [time_ms for one in result.recognition.segments for time_ms in (one.start_ms, one.end_ms)]
    return segments + [time_ms for one in result.recognition.words for time_ms in (one.start_ms, one.end_ms)]


def test_five_recordings_in_one_pass_have_the_texts_times_and_words_that_each_has_alone(
    tiny: NeuralEngine, passes: list[int]
) -> None:
    texts, audios = zip(*recordings(), strict=True)
    hints = Hints(words=True)
    batch = together(tiny, audios, hints=hints)
    assert passes == [5]
    assert word_error_rate(list(zip(texts, (one.text for one in batch), strict=True))) < TEN_PERCENT
    for audio, one in zip(audios, batch, strict=True):
        alone = recognised(tiny, audio, hints=hints)
        assert word_error_rate([(alone.text, one.text)]) <= TEN_PERCENT
        if one.text == alone.text:  # numbers of a batch are rounded in another order, so one word may differ
            assert np.allclose(times(one), times(alone), atol=40)
            for mine, other in zip(one.recognition.segments, alone.recognition.segments, strict=True):
                assert mine.confidence == pytest.approx(other.confidence, abs=0.05)
    assert sum(one.text == recognised(tiny, audio).text for audio, one in zip(audios, batch, strict=True)) >= 4


def test_speech_between_silences_has_its_times_in_the_whole_audio(tiny: NeuralEngine) -> None:
    audio = next(recordings())[1]
    late = np.concatenate([SILENCE, audio, SILENCE])
    hints = Hints(words=True)
    _, moved = together(tiny, [audio, late], hints=hints)
    alone = recognised(tiny, late, hints=hints)
    assert moved.text == alone.text
    assert np.allclose(times(moved), times(alone), atol=40)
    assert 2_500 < moved.recognition.words[0].start_ms < 4_000
    assert moved.recognition.words[-1].end_ms < len(late) / 16 - 2_000


def test_silence_and_what_is_longer_than_a_window_are_heard_alone(tiny: NeuralEngine, passes: list[int]) -> None:
    audios = [audio for _, audio in recordings()]
    long = np.concatenate([*audios, *audios])
    silent, whole, short, other = together(tiny, [SILENCE, long, audios[0], audios[1]])
    assert passes[0] == 2
    assert silent.text == ""
    assert whole.text == recognised(tiny, long).text
    assert len(whole.recognition.segments) > 5
    assert all(one.text for one in (short, other))


def test_a_text_that_is_doubted_is_heard_again_as_it_would_be_alone(tiny: NeuralEngine, passes: list[int]) -> None:
    audios = [audio for _, audio in recordings()][:2]
    together(tiny, audios, hints=Hints(options={"log_prob_threshold": -0.000_001}, words=False))
    assert passes[0] == 2
    assert passes[1:] == [1, 1]


def test_prompts_and_options_are_those_of_the_whole_pass(tiny: NeuralEngine) -> None:
    _, (_, audio), *_ = recordings()
    assert ["ill-disposed" in one.text for one in together(tiny, [audio, audio])] == [False, False]
    hinted = together(tiny, [audio, audio], hints=Hints(hotwords=("ill-disposed",), prompt="A novel."))
    assert ["ill-disposed" in one.text for one in hinted] == [True, True]


def test_each_has_its_own_language(base: NeuralEngine, passes: list[int]) -> None:
    audios = [audio for _, audio in recordings()][:2]
    found = [one.recognition for one in together(base, audios, "auto", hints=Hints(words=True))]
    assert [one.language for one in found] == ["en", "en"]
    assert all((one.language_confidence or 0) > 0.9 for one in found)
    assert all(one.words for one in found)
    assert passes == [2]
    with_candidates = together(base, audios, "auto", hints=Hints(candidates=("de", "es")))
    assert all(one.recognition.language in {"de", "es"} for one in with_candidates)


def test_one_that_nobody_translates_fails_alone(base: NeuralEngine) -> None:
    audios = [audio for _, audio in recordings()][:2]
    failed = together(base, audios, "auto", tgt="cs", services=("asr", "mt"))
    assert [(type(one), one.service) for one in failed] == [(ModelNotAvailableError, "mt:en:cs")] * 2
    assert all(one.text == one.translation for one in together(base, audios, "auto", tgt="en", services=("asr", "mt")))


def test_who_may_share_a_pass(tiny: NeuralEngine) -> None:
    def key(job_id: str = "j", hints: Hints | None = None, **work: Any) -> object:
        facts: dict[str, Any] = {"attempt": 1, "src": "en", "tgt": "en", "services": ("asr",)} | work
        return tiny.batch_key(Work(job_id=job_id, hints=hints or Hints(), **facts))

    assert key() == key("other", Hints(words=True)) == key(attempt=2)
    others = [
        key(src="de"),
        key(tgt="es"),
        key(services=("asr", "mt")),
        key(hints=Hints(prompt="Hello.")),
        key(hints=Hints(hotwords=("Emma",))),
        key(hints=Hints(options={"beam_size": 1})),
        key("a", Hints(temperature=0.5)),
        key("b", Hints(temperature=0.5)),
        key("c", wants_partials=True),
        key("d", wants_partials=True),
    ]
    assert len({key(), *others}) == len(others) + 1


def test_a_translator_takes_the_sentences_of_several_texts(tmp_path: Path) -> None:
    folder = random_opus(tmp_path / "en-es")
    translate = Translator(folder, device="cpu", compute_type="int8", cpu_threads=1, workers=1)
    texts = ["he was not ill. he was cold.", "", "unless to be cold."]
    assert translate.translate(texts) == [translate(text) for text in texts]
    assert translate.translate(["", " "]) == ["", ""]


@pytest.mark.parametrize(
    ("log_probability", "compression", "no_speech", "verdict"),
    [
        (-0.3, 1.5, 0.1, True),
        (-0.3, 1.5, 0.9, True),
        (-1.2, 1.5, 0.9, False),
        (-1.2, 1.5, 0.1, None),
        (-0.3, 2.5, 0.1, None),
    ],
)
def test_a_window_holds_speech_or_none_or_is_to_be_heard_again(
    log_probability: float,
    compression: float,
    no_speech: float,
    verdict: bool | None,  # noqa: FBT001  # of a table
) -> None:
    assert judge(log_probability, compression, no_speech, THRESHOLDS) is verdict


@pytest.mark.parametrize(
    ("tokens", "pieces", "is_whole"),
    [
        ([TIME, 7, TIME + 100], [(0.0, 2.0)], True),
        ([7, 8], [(0.0, 5.0)], True),
        ([TIME, 7], [(0.0, 5.0)], True),
        ([TIME, 7, TIME + 100, TIME + 120, 8, TIME + 200], [(0.0, 2.0), (2.4, 4.0)], True),
        ([TIME, 7, TIME + 100, TIME + 100, 8], [(0.0, 2.0)], False),
        ([TIME, 7, TIME + 100, TIME + 100], [(0.0, 2.0)], False),
        ([TIME, 7, TIME + 250, TIME + 250], [(0.0, 5.0)], True),
        ([], [(0.0, 5.0)], True),
    ],
)
def test_a_window_of_five_seconds_is_cut_where_two_times_meet(
    tokens: list[int],
    pieces: list[tuple[float, float]],
    is_whole: bool,  # noqa: FBT001  # of a table
) -> None:
    cut = cut_at_times(tokens, TIME, 5.0)
    assert cut.is_whole is is_whole
    assert [piece[:2] for piece in cut.pieces] == [pytest.approx(piece) for piece in pieces]
    assert [token for piece in cut.pieces for token in piece[2]] == tokens[: sum(len(piece[2]) for piece in cut.pieces)]
