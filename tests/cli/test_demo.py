"""``demo`` on real speech: texts, word errors, and nothing left behind."""

import re
import signal
from pathlib import Path

import pytest

from tests.cli.command import ECHO, Command
from tests.support.weights import whisper_tiny_en

pytestmark = pytest.mark.cluster


def test_the_demo_recognises_the_shipped_speech_and_leaves_no_bytes_and_no_process(tmp_path: Path) -> None:
    command = Command(["demo", "--json"], tmp_path)
    try:
        ended = command.end(100)
        assert ended.status == 0
        report = ended.json
        assert len(report["utterances"]) == 5
        assert report["utterances"][4]["text"].startswith("He might even have been made")
        assert {row["node"] for row in report["utterances"]} == {"node-1", "node-2"}
        assert 0 < report["wer"] < 0.1
        assert (report["recogniser"], report["advice"]) == ("Moonshine (tiny, English)", None)
        assert (report["ledger_bytes"], report["object_store_bytes"]) == (0, 0)
        assert "\x1b" not in ended.err
        assert command.left_behind() == []
    finally:
        command.kill()


def test_the_demo_recognises_with_the_model_that_is_named(tmp_path: Path) -> None:
    options: list[str | Path] = [
        "--asr-model",
        whisper_tiny_en(),
        "--compute-type",
        "int8",
        "--nodes",
        "1",
        "--slots",
        "2",
    ]
    command = Command(["demo", "--json", "--from", "en-US", *options, "--option", "beam-size=3"], tmp_path)
    try:
        ended = command.end(150)
        assert ended.status == 0, ended.err
        report = ended.json
        assert 0 < report["wer"] < 0.1
        assert (report["recogniser"], report["advice"]) == ("whisper model", None)
        assert {row["language"] for row in report["utterances"]} == {"en"}
        assert all(row["segments"] for row in report["utterances"])
        assert (report["ledger_bytes"], report["object_store_bytes"]) == (0, 0)
        assert command.left_behind() == []
    finally:
        command.kill()


def test_nodes_that_may_not_be_used_are_named_with_the_threshold_they_have_reached(tmp_path: Path) -> None:
    variables = {**ECHO, "RAY_SCHED_POOLS__MEMORY_THRESHOLD_PERCENT": "0.5"}
    command = Command(["demo", "--nodes", "1"], tmp_path, **variables)
    try:
        ended = command.end(60)
        assert ended.status == 7
        said = r"ray-sched: 1 node is ready, none may be used: memory at \d+ %, limit 0.5 %"
        assert re.fullmatch(said, ended.err.splitlines()[-1])
    finally:
        command.kill()


def test_ctrl_c_in_the_demo_leaves_no_process(tmp_path: Path) -> None:
    command = Command(["demo", "--nodes", "1"], tmp_path)
    try:
        command.wait_for_line("starting the scheduler")
        command.signal(signal.SIGINT)
        ended = command.end()
        assert ended.status == 130
        assert ended.out == ""
        assert ended.err.splitlines()[-1] == "ray-sched: interrupted; nothing is left running"
        assert command.left_behind() == []
    finally:
        command.kill()
