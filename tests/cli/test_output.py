"""What a call prints where printing is not easy: a full disk, a reader that has gone, names that are no text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINT = """
import sys
from ray_sched.cli.call import Call, CommonOptions, run_call

async def body(call):
    call.out.is_stream = True
    for number in range(1000):
        call.out.show_part({"file": sys.argv[1], "number": number}, f"{sys.argv[1]} {number}")

sys.exit(run_call(Call(CommonOptions(json=sys.argv[2] == "json")), body, {}))
"""


def print_to(stdout: int, name: str, how: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", PRINT, name, how]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60)


@pytest.mark.parametrize("how", ["json", "people"])
def test_what_a_full_disk_does_not_take_goes_to_stderr(how: str) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = print_to(full, "a.wav", how)
    finally:
        os.close(full)
    sentence, *lines = done.stderr.decode().splitlines()
    assert sentence == ("ray-sched: stdout cannot be written (No space left on device); what is not there follows here")
    numbers = [json.loads(line)["number"] if how == "json" else int(line.split()[1]) for line in lines]
    assert numbers == list(range(1000))
    assert done.returncode == 14


def test_a_reader_that_has_gone_ends_the_call_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = print_to(writing, "a.wav", "json")
    finally:
        os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 141


def test_a_name_that_is_no_text_comes_back_from_json_and_can_be_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"b\xff\n.wav")
    for how, shown in (("json", '{"file": "b\\udcff\\n.wav", "number": 0}'), ("people", "b\\udcff\\n.wav 0")):
        with (tmp_path / "out").open("wb") as out:
            assert print_to(out.fileno(), name, how).stderr == b""
        first = (tmp_path / "out").read_text(encoding="utf-8").splitlines()[0]
        assert first == shown
    assert json.loads('"b\\udcff\\n.wav"') == name
