"""Translation with CTranslate2, and what the neural engine makes of it; the weights are random, and so is the sense."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ray_sched.agent.engine import Work
from ray_sched.agent.engines.neural import NeuralEngine
from ray_sched.agent.engines.opus import Translator, pair_of
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from tests.support.random_opus import random_opus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_opus(tmp_path_factory.mktemp("opus") / "en-es")


def translator(folder: Path) -> Translator:
    return Translator(folder, device="cpu", compute_type="int8", cpu_threads=1, workers=2)


def test_each_sentence_is_translated_by_itself(folder: Path) -> None:
    translate = translator(folder)
    first, second = "he was not ill.", "unless to be cold."
    assert translate(f"{first}  {second}") == f"{translate(first)} {translate(second)}"
    assert translate(first)
    assert translate(" ") == ""


def test_several_threads_get_what_each_would_get_alone(folder: Path) -> None:
    translate = translator(folder)
    texts = [f"he was not {word}." for word in ("ill", "cold", "young", "rather", "a man")] * 4
    alone = [translate(text) for text in texts]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(translate, texts)) == alone


def test_the_neural_engine_translates_the_pairs_of_its_folder(folder: Path) -> None:
    engine = NeuralEngine(Capability(engine="neural"), {"mt-model": str(folder.parent)})
    assert engine.capability().mt == ("en:es",)
    engine.load()
    work = Work(job_id="j", attempt=1, src="en", tgt="es", services=("mt",))
    assert engine.run(work, np.zeros(1, np.int16), print).translation == ""


def test_a_part_that_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    for name in ("model.bin", "source.spm"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(SchedError, match=r"has no target\.spm; convert it") as caught:
        translator(tmp_path)
    assert caught.value.code is Code.MISSING_PART


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("en-es", "en:es"),
        ("opus-mt-en-es", "en:es"),
        ("opus-mt-tc-big-en-pt", "en:pt"),
        ("opus-mt-en-de-ctranslate2", "en:de"),
        ("opus", None),
        ("models", None),
    ],
)
def test_the_pair_of_a_model_is_in_its_name(name: str, pair: str | None) -> None:
    assert pair_of(name) == pair
