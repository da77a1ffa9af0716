"""Which engine ``up`` and ``demo`` start on this machine, and with what."""

from pathlib import Path

import pytest

from ray_sched.cli.engine_options import with_engine
from ray_sched.settings import default_settings

PLAIN = default_settings()


def test_without_options_the_settings_stay_as_they_are() -> None:
    assert with_engine(PLAIN, None, None, {"asr-model": ""}, None) == PLAIN


def test_a_model_means_the_neural_engine_unless_another_is_named() -> None:
    settings = with_engine(PLAIN, None, 3, {"asr-model": "base", "compute-type": "int8"}, ["vad=no"])
    assert (settings.local.engine, settings.local.slots_per_node) == ("neural", 3)
    assert settings.engines == {"neural": {"asr-model": "base", "compute-type": "int8", "vad": "no"}}
    mine = with_engine(PLAIN, "my.Engine", None, {"asr-model": "base"}, None)
    assert (mine.local.engine, mine.engines) == ("my.Engine", {"my.Engine": {"asr-model": "base"}})


def test_options_go_before_what_the_settings_say_of_the_same_engine() -> None:
    told = default_settings(engines={"speech": {"recogniser": "moonshine"}, "echo": {"speed": "3"}})
    settings = with_engine(told, None, None, {}, ["recogniser=pocketsphinx"])
    assert settings.engines == {"speech": {"recogniser": "pocketsphinx"}, "echo": {"speed": "3"}}


def test_paths_become_absolute_as_nodes_have_directories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whisper").mkdir()
    settings = with_engine(PLAIN, None, None, {"asr-model": "whisper"}, ["tts-model=voices"])
    assert settings.engines["neural"] == {"asr-model": str(tmp_path / "whisper"), "tts-model": "voices"}
