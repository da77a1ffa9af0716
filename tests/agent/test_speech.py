import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ray_sched.agent.engine import ModelNotAvailableError, Work
from ray_sched.agent.engines import speech
from ray_sched.agent.engines.recognisers import Moonshine, PocketSphinx, find_recogniser
from ray_sched.agent.engines.speech import SpeechEngine, apertium_modes, espeak_languages, speak, translate
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.data import samples
from ray_sched.data.word_errors import normalised, word_error_rate
from ray_sched.wire.samples import Samples

OPEN = Capability(engine="speech")

needs_apertium = pytest.mark.skipif("en:es" not in apertium_modes(), reason="apertium-eng-spa is not installed")
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def work(*services: str, src: str = "en", tgt: str = "es", wants_partials: bool = False) -> Work:
    return Work(job_id="b-1", attempt=1, src=src, tgt=tgt, services=services, wants_partials=wants_partials)


def fail(text: str) -> None:
    raise AssertionError(f"nobody wanted to know of {text!r}")


def audio_of(path: Path) -> Samples:
    samples_16k: Samples = soundfile.read(path, dtype="int16")[0]
    return samples_16k


MOST_WORD_ERRORS = {"moonshine": 0.10, "pocketsphinx": 0.45}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in MOST_WORD_ERRORS]
)
def engine(request: pytest.FixtureRequest) -> SpeechEngine:
    engine = SpeechEngine(OPEN, {"recogniser": request.param})
    engine.load()
    return engine


@pytest.fixture(scope="module")
def texts(engine: SpeechEngine) -> list[str]:
    """What an engine that has heard nothing else understands of the samples, in their order."""
    return [engine.run(work("asr"), audio_of(sample.path), fail).text for sample in samples()]


def install(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, apart from the shell's own tools."""
    monkeypatch.setenv("PATH", f"{tmp_path}")
    install(tmp_path, "sleep", "exec /bin/sleep $1")
    return tmp_path


def test_few_words_of_the_samples_are_wrong(texts: list[str], request: pytest.FixtureRequest) -> None:
    pairs = [(sample.transcript, text) for sample, text in zip(samples(), texts, strict=True)]
    name = request.node.callspec.params["engine"]
    assert word_error_rate(pairs) < MOST_WORD_ERRORS[name]
    assert name == "moonshine" or all(text == text.lower() for _, text in pairs)


def test_partials_come_about_once_per_second_of_audio_to_who_wants_them(engine: SpeechEngine) -> None:
    heard: list[str] = []
    for sample in samples():
        engine.run(work("asr", wants_partials=True), audio_of(sample.path), heard.append)
    assert len(heard) >= 10, "of 24 seconds"


def test_the_better_recogniser_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_recogniser() is Moonshine
    monkeypatch.setattr(Moonshine, "package", "not_installed_anywhere")
    assert find_recogniser() is PocketSphinx
    assert find_recogniser("moonshine") is None
    with pytest.raises(SchedError, match="does not have the recogniser moonshine; run: pip install") as caught:
        SpeechEngine(OPEN, {"recogniser": "moonshine"}).load()
    assert caught.value.code is Code.MISSING_PART


def test_a_recogniser_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(SchedError, match="no recogniser 'sphinx' for the speech engine; say moonshine or pocketsphinx"):
        SpeechEngine(OPEN, {"recogniser": "sphinx"})


def test_what_was_said_before_leaves_no_word_in_what_comes_after(engine: SpeechEngine) -> None:
    silence = np.zeros(16_000, dtype=np.int16)
    for sample in sorted(samples(), key=lambda one: one.path.stat().st_size)[:2]:
        once = normalised(engine.run(work("asr"), audio_of(sample.path), fail).text)
        assert engine.run(work("asr"), silence, fail).text == ""
        assert normalised(engine.run(work("asr"), audio_of(sample.path), fail).text) == once


def test_an_utterance_is_understood_alike_whatever_came_before_it(engine: SpeechEngine, texts: list[str]) -> None:
    audios = [audio_of(sample.path) for sample in samples()]
    backwards = [engine.run(work("asr"), audio, fail).text for audio in reversed(audios)]
    assert backwards[::-1] == texts


def test_silence_and_nothing_at_all_give_an_empty_text(engine: SpeechEngine) -> None:
    for n_samples in (0, 1, 16_000):
        silence = np.zeros(n_samples, dtype=np.int16)
        assert engine.run(work("asr", "mt", "tts"), silence, print) == engine.run(work("asr"), silence, print)
        assert engine.run(work("asr"), silence, print).text == ""


@needs_apertium
@needs_espeak
def test_an_utterance_is_recognised_translated_and_spoken(engine: SpeechEngine) -> None:
    shortest = audio_of(samples()[4].path)
    result = engine.run(work("asr", "mt", "tts"), shortest, print)
    assert "amiable" in result.text
    assert "él" in result.translation.lower()
    assert result.speech_rate_hz == 22_050
    assert len(result.speech) > 22_050, "more than half a second"


@needs_apertium
@needs_espeak
def test_an_open_declaration_is_widened_by_what_is_found() -> None:
    can = SpeechEngine(OPEN, {}).capability()
    assert can.asr == ("en",)
    assert {"en:es", "es:en"} <= set(can.mt)
    assert {"en", "es"} <= set(can.tts)


@needs_apertium
@needs_espeak
def test_a_declaration_is_narrowed_to_what_is_found() -> None:
    declared = Capability(engine="speech", asr=("de", "en"), mt=("en:any", "en:xx"), tts=("es", "xx"), tenant="t")
    can = SpeechEngine(declared, {}).capability()
    assert can == Capability(engine="speech", asr=("en",), mt=("en:es",), tts=("es",), tenant="t")


def test_without_programs_only_recognition_is_left(programs: Path) -> None:
    assert programs.exists()
    can = SpeechEngine(OPEN, {}).capability()
    assert (can.asr, can.mt, can.tts) == (("en",), (), ())


def test_without_a_recogniser_nothing_is_recognised(monkeypatch: pytest.MonkeyPatch, programs: Path) -> None:
    assert programs.exists()
    monkeypatch.setattr(speech, "find_recogniser", lambda _wanted: None)
    engine = SpeechEngine(OPEN, {})
    engine.load()
    assert engine.capability() == OPEN
    with pytest.raises(ModelNotAvailableError, match="no recogniser is installed") as caught:
        engine.run(work("asr"), np.zeros(16, dtype=np.int16), print)
    assert caught.value.service == "asr"


def test_apertiums_modes_become_pairs_of_two_letter_tags(programs: Path) -> None:
    install(programs, "apertium", "echo '  eng-spa'; echo '  spa-eng_US'; echo '  zzz-cat'; echo oddity")
    assert apertium_modes() == {"en:es": "eng-spa", "zzz:ca": "zzz-cat"}


def test_espeaks_voices_become_tags_with_their_base_languages(programs: Path) -> None:
    install(
        programs, "espeak-ng", "echo Pty; echo ' 5 pt-BR --/M Portuguese roa/pt (pt 6)'; echo ' 5 af --/M A gmw/af'"
    )
    assert espeak_languages() == {"pt-br", "pt", "af"}


def test_a_broken_listing_counts_as_not_installed(programs: Path) -> None:
    install(programs, "apertium", "exit 3")
    assert apertium_modes() == {}


def test_a_program_that_vanished_is_a_missing_model(programs: Path) -> None:
    assert programs.exists()
    with pytest.raises(ModelNotAvailableError, match="apertium cannot be started") as caught:
        translate("hello", "eng-spa")
    assert caught.value.service == "mt"
    with pytest.raises(ModelNotAvailableError, match="espeak-ng cannot be started") as caught:
        speak("hola", "es")
    assert caught.value.service == "tts"


def test_a_pair_that_is_not_installed_is_a_missing_model() -> None:
    with pytest.raises(ModelNotAvailableError, match="does not translate xx to yy"):
        SpeechEngine(OPEN, {}).run(work("mt", src="xx", tgt="yy"), np.zeros(1, dtype=np.int16), print)


def test_a_failing_program_is_quoted(programs: Path) -> None:
    install(programs, "apertium", "echo no such mode >&2; exit 1")
    with pytest.raises(ModelNotAvailableError, match="apertium failed with status 1: no such mode"):
        translate("hello", "eng-spa")


def test_a_program_that_gives_no_wav_is_a_missing_model(programs: Path) -> None:
    install(programs, "espeak-ng", "echo nonsense")
    with pytest.raises(ModelNotAvailableError, match="gave no speech for language es"):
        speak("hola", "es")


def test_a_stuck_program_is_ended_with_all_it_started(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(programs, "apertium", f"/bin/sleep 1000 & echo $! >{programs}/pid; wait")
    monkeypatch.setattr(speech, "APERTIUM_LIMIT_S", 0.5)
    with pytest.raises(ModelNotAvailableError, match=r"did not answer within 0\.5 s"):
        translate("hello", "eng-spa")
    pid = (programs / "pid").read_text().strip()
    state = subprocess.run(["/bin/ps", "-o", "state=", "-p", pid], capture_output=True, text=True, check=False)
    assert state.stdout.strip() in {"", "Z"}


@needs_apertium
def test_unknown_words_stay_without_a_mark() -> None:
    assert translate("the zorblax", "eng-spa") == "El zorblax"
    assert translate("  ", "eng-spa") == ""


@needs_espeak
def test_speech_is_plain_samples_without_a_header() -> None:
    pcm, rate_hz = speak("-v hola", "es")
    assert rate_hz == 22_050
    assert len(pcm) % 2 == 0
    assert not pcm.startswith(b"RIFF")
    assert np.abs(np.frombuffer(pcm, dtype="<i2")).max() > 1000
    assert speak("", "es") == (b"", 0)
