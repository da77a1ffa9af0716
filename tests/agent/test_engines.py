from pathlib import Path

import pytest

from ray_sched.agent.engine import ModelNotAvailableError, Work
from ray_sched.agent.engines import ENGINES, find_engine
from ray_sched.agent.engines.echo import EchoEngine
from ray_sched.agent.engines.neural import NeuralEngine
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
        ("xyz", "the shipped ones are echo, speech, neural"),
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


def test_neural_offers_only_what_has_a_model() -> None:
    can = NeuralEngine(DECLARED, {"mt-model": "opus"}).capability()
    assert (can.asr, can.mt, can.tts) == ((), ("en:es",), ())


@pytest.mark.parametrize(
    ("service", "path"), [("asr", "models/tiny"), ("mt", "models/tiny/en-es"), ("tts", "models/tiny/es.onnx")]
)
def test_neural_names_a_model_that_is_not_there(service: str, path: str, tmp_path: Path) -> None:
    engine = NeuralEngine(DECLARED, {f"{service}-model": "tiny", "model-dir": str(tmp_path / "models")})
    with pytest.raises(SchedError, match=f"the {service} model {tmp_path}/{path} .* is not on this node") as caught:
        engine.load()
    assert caught.value.code is Code.MISSING_PART


@pytest.mark.parametrize(
    ("service", "file", "wheel", "module"),
    [
        ("asr", "x", "faster-whisper", "faster_whisper"),
        ("mt", "en-es", "sentencepiece", "sentencepiece"),
        ("tts", "es.onnx", "piper-tts", "piper"),
    ],
)
def test_neural_names_the_package_to_install(
    service: str, file: str, wheel: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    (tmp_path / "m" / file).mkdir(parents=True)
    with pytest.raises(SchedError, match=f"run: pip install {wheel}") as caught:
        NeuralEngine(DECLARED, {f"{service}-model": "m", "model-dir": str(tmp_path)}).load()
    assert caught.value.code is Code.MISSING_PART


def test_neural_without_a_loaded_model_says_which_service_is_missing() -> None:
    engine = NeuralEngine(DECLARED, {"asr-model": "m"})
    work = Work(job_id="b-1", attempt=1, src="en", tgt="es", services=("mt",))
    with pytest.raises(ModelNotAvailableError, match="no mt model for en:es"):
        engine.run(work, __import__("numpy").zeros(1, "int16"), print)
