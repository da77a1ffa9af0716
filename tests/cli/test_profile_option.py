"""The option ``--profile`` of ``up`` and ``demo``: which file, which profile of it, and how many nodes that makes."""

from pathlib import Path

import pytest
import typer

from ray_sched.cli.local_nodes import local_nodes
from ray_sched.cli.profile_option import n_expected, with_profile
from ray_sched.core.errors import SchedError
from ray_sched.settings import LocalRules, checked_settings, default_settings
from tests.cli.command import ray_sched

PLAIN = default_settings()
ONE = "speech: {a: {engine: echo, asr: en}, b: {engine: echo, asr: es}}\n"


def file(folder: Path, text: str = ONE) -> Path:
    path = folder / "profiles.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_it_the_settings_stay_as_they_are() -> None:
    assert with_profile(PLAIN, "", is_local=True) is PLAIN
    assert n_expected(PLAIN) == PLAIN.local.nodes


def test_an_engine_that_is_named_goes_before_a_profile_of_the_settings() -> None:
    told = default_settings(local=LocalRules(profile="speech"))
    assert with_profile(told, "", (None, "", None), is_local=True).local.profile == "speech"
    assert with_profile(told, "", ("echo", "", None), is_local=True).local.profile == ""


def test_the_nodes_of_this_machine_have_the_profile_of_the_file(tmp_path: Path) -> None:
    settings = with_profile(PLAIN, str(file(tmp_path)), is_local=True)
    assert [node.labels for node in local_nodes(settings.local)] == [
        {"profile": "speech", "node": "node-1"},
        {"profile": "speech", "node": "node-2"},
    ]
    assert settings.profiles == {"speech": {"a": {"engine": "echo", "asr": "en"}, "b": {"engine": "echo", "asr": "es"}}}
    assert n_expected(settings) == 4


def test_of_several_profiles_one_has_to_be_named_where_nodes_are_started(tmp_path: Path) -> None:
    path = file(tmp_path, ONE + "other: {c: {engine: echo}}\n")
    with pytest.raises(typer.BadParameter) as refused:
        with_profile(PLAIN, str(path), is_local=True)
    assert refused.value.message == (
        f"say which one the nodes of this machine have, such as --profile {path}:NAME; there is speech, other"
    )
    assert with_profile(PLAIN, f"{path}:other", is_local=True).local.profile == "other"
    with pytest.raises(typer.BadParameter, match="has no profile 'speach'; there is speech, other"):
        with_profile(PLAIN, f"{path}:speach", is_local=True)
    joined = with_profile(PLAIN, str(path), is_local=False)
    assert (sorted(joined.profiles), joined.local.profile) == (["other", "speech"], "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("speech: {a: {engin: echo}}", "{}: profile speech, a: there is no 'engin'; did you mean 'engine'?"),
        ("speech: [", "{} is not YAML"),
        ("1: {a: {engine: echo}}", "{}: '1' is no name for a profile, such as whisper"),
        ("- a", "{} must hold keys and values"),
    ],
)
def test_a_bad_file_is_one_sentence_before_anything_is_started(tmp_path: Path, text: str, sentence: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(SchedError) as refused:
        with_profile(PLAIN, str(path), is_local=True)
    assert str(refused.value).startswith(sentence.format(path))


def test_the_setting_holds_the_same_and_names_the_place_of_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"profiles": {"speech": {"a": {"engine": "echo", "slots": 2, "asr": ["en", "es"]}}}}
    settings = checked_settings(told, "f.yaml")
    assert settings.profiles == {"speech": {"a": {"engine": "echo", "slots": "2", "asr": "en.es"}}}
    with pytest.raises(SchedError) as refused:
        checked_settings({"profiles": {"speech": {"a": {"slots": 2}}}}, "f.yaml")
    assert str(refused.value) == (
        "f.yaml: profiles: profile speech, a: engine is missing; it names one, such as neural, or package.module.Class"
    )
    monkeypatch.setenv("RAY_SCHED_PROFILES", '{"speech": {"a": {"engine": "echo"}}}')
    assert checked_settings({}, "f.yaml").profiles == {"speech": {"a": {"engine": "echo"}}}


@pytest.mark.parametrize("verb", ["up", "demo"])
def test_a_file_that_is_not_there_or_options_that_contradict_it_end_the_command_at_once(
    tmp_path: Path, verb: str
) -> None:
    missing = ray_sched(tmp_path, verb, "--profile", "nothing.yaml")
    assert (missing.status, missing.err) == (14, "ray-sched: there is no file of profiles nothing.yaml\n")
    both = ray_sched(tmp_path, verb, "--profile", str(file(tmp_path)), "--engine", "echo")
    assert both.status == 2
    assert "a profile says which engines there are" in both.err
