"""What is wrong in a file or a variable: one sentence that names the place, the key, and what it should be."""

from pathlib import Path

import pytest

from ray_sched.core.errors import SchedError
from ray_sched.settings import checked_settings


def refusal(told: dict[str, object]) -> str:
    with pytest.raises(SchedError) as raised:
        checked_settings(told, "f.yaml")
    return str(raised.value)


@pytest.mark.parametrize(
    ("told", "hint"),
    [
        ({"cleanup": {"kep_ms": 1}}, "did you mean 'cleanup.keep_ms'?"),
        ({"local": {"slots": 2}}, "did you mean 'local.slots_per_node'?"),
        ({"selection": {"company_ms": 5}}, "did you mean 'selection.colocate_ms'?"),
        ({"nodes": {"keep_ms": 5}}, "did you mean 'cleanup.keep_ms'?"),
        ({"clean": {"keep_ms": 5}}, "did you mean 'cleanup'?"),
        ({"datadir": "d"}, "did you mean 'data_dir'?"),
        ({"cleanup_keep_ms": 5}, "did you mean 'cleanup.keep_ms'?"),
        ({"redis_url": "redis://r"}, "did you mean 'store.redis_url'?"),
    ],
)
def test_the_nearest_setting_is_named_where_one_is_near(told: dict[str, object], hint: str) -> None:
    assert refusal(told).endswith(hint)


def test_where_none_is_near_the_settings_of_the_section_are_named() -> None:
    told = refusal({"client": {"zzz": 5}})
    assert told.endswith("client has retry_for_ms, read_timeout_ms, max_audio_s, inline_bytes, keeps_memory")


def test_where_not_even_the_section_is_near_the_sections_are_named() -> None:
    assert "; there are address, namespace, data_dir, store, dispatch, " in refusal({"foo": 1})


def test_a_section_that_is_no_section_is_shown_how_to_be_one() -> None:
    assert refusal({"cleanup": 5}) == "f.yaml: cleanup: it has settings of its own, such as every_ms, not 5"


def test_a_wrong_value_of_a_variable_is_not_laid_to_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SCHED_CLEANUP__KEEP_MS", "abc")
    assert refusal({"namespace": "n"}).startswith("RAY_SCHED_CLEANUP__KEEP_MS: cleanup.keep_ms: Input should be")


def test_the_home_of_a_data_dir_is_found_and_that_of_nobody_is_refused() -> None:
    assert checked_settings({"data_dir": "~/data"}, "f.yaml").data_dir == Path.home() / "data"
    assert refusal({"data_dir": "~nobody-here/data"}).endswith("write the whole path")


def test_engines_have_options_of_their_own_names_which_are_texts() -> None:
    told = {"neural": {"asr-model": "base.en", "workers": 2, "vad": False}, "node-1": {"asr-model": "tiny"}}
    settings = checked_settings({"engines": told}, "f.yaml")
    assert settings.engines == {
        "neural": {"asr-model": "base.en", "workers": "2", "vad": "no"},
        "node-1": {"asr-model": "tiny"},
    }
    assert "engines.neural.asr-model" in refusal({"engines": {"neural": {"asr-model": ["a"]}}})


def test_token_hashes_come_from_the_file_or_as_json_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    known = "ab" * 32
    assert checked_settings({"gateway": {"token_hashes": {"acme": known}}}, "f.yaml").gateway.token_hashes == {
        "acme": known
    }
    assert "make one with ray-sched token acme" in refusal({"gateway": {"token_hashes": {"acme": "secret"}}})
    monkeypatch.setenv("RAY_SCHED_GATEWAY__TOKEN_HASHES", f'{{"bolt": "{known}"}}')
    assert checked_settings({}, "f.yaml").gateway.token_hashes == {"bolt": known}
    monkeypatch.setenv("RAY_SCHED_GATEWAY__TOKEN_HASHES", "nonsense")
    assert "it must be JSON in a variable" in refusal({})
