"""``ray-sched audio``: what the scheduler hears in files."""

from pathlib import Path

import pytest
import typer

from ray_sched.cli.audio_options import files_to_read
from tests.cli.command import SPEECH, piped, ray_sched

FIELDS = {
    "file", "container", "codec", "source_rate_hz", "channels", "samples", "duration_s", "level_db", "whole", "notes",
    "error",
}  # fmt: skip
WHOLE = SPEECH / "austen-0880.wav"


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    path = tmp_path / "cut.wav"
    path.write_bytes(WHOLE.read_bytes()[:32_044])
    return path


def test_each_file_has_what_is_heard_in_it_or_why_it_is_refused(tmp_path: Path, cut: Path) -> None:
    ended = ray_sched(tmp_path, "audio", WHOLE, cut, tmp_path / "none.wav", "--json")
    assert ended.status == 3, "as submit ends with audio that cannot be read"
    good, short, none = ended.json
    assert set(good) == FIELDS
    assert (good["file"], good["container"], good["codec"]) == (str(WHOLE), "wav", "pcm_s16le")
    assert (good["source_rate_hz"], good["channels"], good["samples"]) == (16_000, 1, 47_840)
    assert (good["duration_s"], good["whole"], good["notes"], good["error"]) == (2.99, True, [], None)
    assert -60 < good["level_db"] < 0
    assert (short["samples"], short["whole"]) == (0, False)
    assert short["error"]["code"] == none["error"]["code"] == "INVALID_AUDIO"
    assert "was cut off" in short["error"]["message"]
    assert f"there is no file {tmp_path}/none.wav" in ended.err


def test_a_part_is_taken_if_that_is_enough_and_said_to_be_one(tmp_path: Path, cut: Path) -> None:
    ended = ray_sched(tmp_path, "audio", cut, "--allow-partial", "--json")
    [row] = ended.json
    assert (ended.status, row["samples"], row["whole"]) == (0, 16_000, False)
    assert "was cut off" in row["notes"][0]


def test_files_without_a_header_are_samples_of_the_rate_that_is_given(tmp_path: Path) -> None:
    path = tmp_path / "call.raw"
    path.write_bytes(bytes(range(256)) * 100)
    ended = ray_sched(tmp_path, "audio", path, "--raw", "8000:mulaw", "--json")
    [row] = ended.json
    assert (ended.status, row["codec"], row["source_rate_hz"], row["samples"]) == (0, "pcm_mulaw", 8_000, 51_200)
    assert ray_sched(tmp_path, "audio", path).status == 3


@pytest.mark.parametrize("raw", ["fast", "8000:mp3", ":mulaw", "8000:mp3:x", "-1"])
def test_a_rate_that_is_none_is_a_wrong_command_line(tmp_path: Path, raw: str) -> None:
    for verb in (("audio",), ("submit", "--from", "en")):
        ended = ray_sched(tmp_path, *verb, WHOLE, f"--raw={raw}")
        assert ended.status == 2


def test_people_get_a_table(tmp_path: Path) -> None:
    ended = ray_sched(tmp_path, "audio", WHOLE)
    assert ended.status == 0
    assert "austen-0880.wav  wav        pcm_s16le   2.99" in ended.out
    assert "whole" in ended.out


def test_a_dash_is_what_is_piped_in(tmp_path: Path) -> None:
    [row] = piped(tmp_path, WHOLE, "audio", "-", "--json").json
    assert (row["file"], row["samples"], row["whole"]) == ("/dev/stdin", 47_840, True)


def test_what_is_piped_in_can_be_read_once(tmp_path: Path) -> None:
    ended = piped(tmp_path, WHOLE, "audio", "-", "-", COLUMNS="200")
    assert ended.status == 2
    assert "give it once" in ended.err


def test_a_terminal_is_no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(typer.BadParameter, match="piped in, as in: arecord"):
        files_to_read([Path("-")])
    assert files_to_read([WHOLE]) == [WHOLE]
