import sys
from pathlib import Path

import numpy as np
import pytest

from ray_sched.agent.engine import ModelNotAvailableError, Work
from ray_sched.agent.engines import ENGINES, find_engine
from ray_sched.agent.engines.echo import EchoEngine
from ray_sched.agent.engines.neural import NeuralEngine
from ray_sched.agent.engines.piper import voices
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from tests.support.engines import CrashingEngine

DECLARED = Capability(engine="neural", asr=("en",), mt=("any:en", "en:es"), tts=("es",))


@pytest.mark.parametrize("name", ENGINES)
def test_every_shipped_engine_is_found(name: str) -> None:
    assert find_engine(name).__name__ == f"{name.capitalize()}Engine"


def test_an_engine_of_ones_own_is_named_by_its_path() -> None:
    assert find_engine("tests.support.engines.CrashingEngine") is CrashingEngine
    assert find_engine("echo") is EchoEngine


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ecko", "did you mean 'echo'"),
        ("xyz", "the shipped ones are echo, speech, neural, openai"),
        ("no.such.Engine", "cannot be imported on this node"),
        ("tests.support.engines.Nothing", "has no class Nothing"),
        ("pathlib.Path", "the class has no isolation"),
    ],
)
def test_an_unknown_engine_is_refused_with_what_is_wrong(name: str, sentence: str) -> None:
    with pytest.raises(SchedError, match=sentence) as caught:
        find_engine(name)
    assert caught.value.code is Code.INVALID_CONFIGURATION


def test_neural_needs_a_model() -> None:
    with pytest.raises(SchedError, match="at least one of the options asr-model") as caught:
        NeuralEngine(DECLARED, {})
    assert caught.value.code is Code.INVALID_CONFIGURATION


def test_neural_offers_only_what_has_a_model(tmp_path: Path) -> None:
    for pair in ("en-es", "es-en", "opus-mt-en-de"):
        (tmp_path / "opus" / pair).mkdir(parents=True)
    models = {"mt-model": "opus", "model-dir": str(tmp_path)}
    can = NeuralEngine(DECLARED, models).capability()
    assert (can.asr, can.mt, can.tts) == ((), ("en:es",), ())
    undeclared = NeuralEngine(Capability(engine="neural"), models).capability()
    assert undeclared.mt == ("en:de", "en:es", "es:en")
    single = NeuralEngine(DECLARED, {"mt-model": str(tmp_path / "opus" / "en-es")}).capability()
    assert single.mt == ("en:es",)


def test_piper_s_voices_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("es", "pt_BR-faber-medium", "en_US-joe-medium", "en_GB-alan-low"):
        (tmp_path / f"{name}.onnx").touch()
    found = voices(tmp_path)
    assert set(found) == {"es", "pt", "pt-BR", "en", "en-US", "en-GB"}
    assert found["en-US"].stem == "en_US-joe-medium"
    assert voices(tmp_path / "en_GB-alan-low.onnx") == {"en": found["en-GB"], "en-GB": found["en-GB"]}


@pytest.mark.parametrize(
    ("service", "model", "what"),
    [
        ("asr", "no model", "no model is no name of a repository such as Systran/faster-whisper-tiny"),
        ("mt", "tiny", "holds no folder named after a pair"),
        ("mt", "en-es", "is no name of a repository"),
        ("tts", "es", "must be a Piper voice or a folder of them"),
    ],
)
def test_neural_names_a_model_that_is_not_there(service: str, model: str, what: str, tmp_path: Path) -> None:
    engine = NeuralEngine(DECLARED, {f"{service}-model": model, "model-dir": str(tmp_path / "models")})
    with pytest.raises(SchedError, match=what) as caught:
        engine.capability()
    assert caught.value.code is Code.MISSING_PART


class Hub:
    """Hugging Face's library: a cache that has some, and a network that is there or not."""

    def __init__(self, cache: dict[str, Path], network: dict[str, Path] | None) -> None:
        self.cache = cache
        self.network = network
        self.asked: list[tuple[str, bool]] = []

    def snapshot_download(self, repository: str, *, local_files_only: bool = False) -> str:
        self.asked.append((repository, local_files_only))
        if local_files_only or self.network is None:
            if repository not in self.cache:
                raise ConnectionError("no route to the hub")
            return str(self.cache[repository])
        return str(self.network[repository])


def test_a_name_is_looked_for_in_the_cache_and_then_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vocabulary.txt").write_text("a\nb\n")
    tiny = "Systran/faster-whisper-tiny"
    options = {"asr-model": "tiny", "model-dir": str(tmp_path / "none")}
    for hub, asked in (
        (Hub({tiny: tmp_path}, None), [(tiny, True)]),
        (Hub({}, {tiny: tmp_path}), [(tiny, True), (tiny, False)]),
    ):
        monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
        assert NeuralEngine(DECLARED, options).capability().asr == ("en",)
        assert hub.asked == asked
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub({}, None))
    with pytest.raises(SchedError, match=r"cannot be downloaded .no route to the hub.; copy its files") as caught:
        NeuralEngine(DECLARED, options).capability()
    assert caught.value.code is Code.MISSING_PART
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub({"me/mine": tmp_path}, None))
    assert NeuralEngine(DECLARED, options | {"asr-model": "me--mine"}).capability().asr == ("en",)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("compute-type", "int9", "it is one of default, auto, int8"),
        ("workers", "many", "it must be a number from 1 to 1024"),
        ("vad", "maybe", "it must be yes or no"),
    ],
)
def test_neural_refuses_options_that_cannot_be(name: str, value: str, what: str) -> None:
    with pytest.raises(SchedError, match=what) as caught:
        NeuralEngine(DECLARED, {"asr-model": "tiny", name: value})
    assert caught.value.code is Code.INVALID_CONFIGURATION


@pytest.mark.parametrize(
    ("service", "file", "extra", "module"),
    [
        ("asr", "vocabulary.txt", "neural", "faster_whisper"),
        ("mt", "en-es", "neural", "sentencepiece"),
        ("tts", "es.onnx", "piper", "piper"),
    ],
)
def test_neural_names_the_package_to_install(
    service: str, file: str, extra: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    if service == "mt":
        (tmp_path / "m" / file).mkdir(parents=True)
    else:
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / file).write_text("a\n")
    with pytest.raises(SchedError, match=rf"run: pip install 'ray-sched\[{extra}\]'") as caught:
        NeuralEngine(DECLARED, {f"{service}-model": "m", "model-dir": str(tmp_path)}).load()
    assert caught.value.code is Code.MISSING_PART


def test_neural_without_a_loaded_model_says_which_service_is_missing() -> None:
    engine = NeuralEngine(DECLARED, {"asr-model": "m"})
    work = Work(job_id="b-1", attempt=1, src="en", tgt="es", services=("mt",))
    with pytest.raises(ModelNotAvailableError, match="no mt model for en:es"):
        engine.run(work, np.zeros(1, np.int16), print)
