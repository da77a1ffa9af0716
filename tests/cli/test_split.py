"""``submit --split`` on a real cluster with a real recogniser: what was said and when, also when cut short."""

import json
import re
import signal
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ray_sched.data import samples
from ray_sched.data.word_errors import word_error_rate
from ray_sched.wire.samples import Samples
from tests.cli.command import SPEECH, Command, Ended, piped, ray_sched, script
from tests.support.recordings import RATE, joined, repeated, shipped, silence

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("split")]

DOCUMENT = Path(__file__).parents[2] / "ray_sched/README.md"


def write(path: Path, recording: Samples) -> None:
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes(recording.tobytes())


def shortest() -> list[Samples]:
    """The two shortest of the shipped recordings: six seconds, of 2.99 and 3.29."""
    return sorted(shipped(), key=len)[:2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where an ``up`` has its data, with a course that is the shipped recordings with pauses, and a short lecture."""
    made = tmp_path_factory.mktemp("split")
    write(made / "course.wav", joined(1.0))
    write(made / "lecture.wav", joined(1.0, shortest()))
    up = Command(["up", "--nodes", "1", "--no-dashboard"], made)
    try:
        up.wait_for_line("backlog: 0")
        assert ray_sched(made, "wait", "--nodes", "1").status == 0
        yield made
    finally:
        up.kill()


def split(folder: Path, *args: str) -> Ended:
    return ray_sched(folder, "submit", "--split", "--from", "en", *args)


def test_recordings_joined_by_silence_are_understood_as_well_as_each_by_itself(folder: Path) -> None:
    ended = split(folder, "course.wav", "--json")
    assert ended.status == 0
    [row] = ended.json
    passages = row["passages"]
    assert (row["audio_is_whole"], row["audio_notes"]) == (True, [])
    assert [passage["utterance_index"] for passage in passages] == [0, 1, 2, 3, 4]
    begins = np.cumsum([0, *(len(audio) / RATE + 1 for audio in shipped())])
    for passage, begin, end in zip(passages, begins[:-1], begins[1:], strict=True):
        assert begin - 0.2 <= passage["start_s"] < passage["end_s"] <= end - 0.5

    single = ray_sched(folder, "submit", *map(str, sorted(SPEECH.glob("*.wav"))), "--from", "en", "--json").json
    spoken = [sample.transcript for sample in samples()]
    by_itself = word_error_rate(zip(spoken, [row["text"] for row in single], strict=True))
    in_one = word_error_rate(zip(spoken, [passage["text"] for passage in passages], strict=True))
    assert in_one <= by_itself + 0.02


def test_a_transcript_has_lines_with_times_as_text(folder: Path) -> None:
    ended = split(folder, "lecture.wav")
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"\[00:00:\d\d\.\d{3} --> 00:00:\d\d\.\d{3}\] \S.*", line) for line in lines)


def test_files_one_after_another_go_into_a_folder_and_a_bad_one_stops_no_other(folder: Path) -> None:
    (folder / "letter.wav").write_text("Dear Sir\n")
    write(folder / "nobody.wav", np.zeros(5 * RATE, np.int16))
    names = ("letter.wav", "nobody.wav", "lecture.wav")
    ended = split(folder, *names, "--format", "srt", "--out", "transcripts")
    assert ended.status == 3
    assert ended.out.splitlines() == ["transcripts/nobody.srt", "transcripts/lecture.srt"]
    assert "letter.wav is a text, not audio" in ended.err
    assert "nobody.wav: nobody speaks in it" in ended.err
    assert (folder / "transcripts/nobody.srt").read_text() == ""
    cues = (folder / "transcripts/lecture.srt").read_text().split("\n\n")
    assert [cue.split("\n")[0] for cue in cues] == ["1", "2", ""]

    rows = split(folder, *names, "--json").json
    assert [row["error"] and row["error"]["code"] for row in rows] == ["INVALID_AUDIO", None, None]
    assert [len(row["passages"]) for row in rows] == [0, 0, 2]
    lines = split(folder, "lecture.wav", "--json", "--stream").out.splitlines()
    assert [json.loads(line)["utterance_index"] for line in lines] == [0, 1]


def test_after_ctrl_c_what_was_said_is_there(folder: Path) -> None:
    write(folder / "day.wav", np.concatenate(list(repeated(3_600))))
    submitting = Command(
        ["submit", "--split", "day.wav", "lecture.wav", "--from", "en", "--format", "vtt", "--out", "cut", "--json"],
        folder,
    )
    try:
        while not (folder / "cut/day.vtt").exists() or len((folder / "cut/day.vtt").read_text().split("\n\n")) < 4:
            assert submitting.is_running, submitting.end()
            time.sleep(0.1)
        submitting.signal(signal.SIGINT)
        ended = submitting.end()
        assert submitting.left_behind() == []
    finally:
        submitting.kill()
    assert ended.status == 130
    cues = (folder / "cut/day.vtt").read_text().split("\n\n")
    assert (cues[0], cues[-1]) == ("WEBVTT", "")
    day, lecture = ended.json
    assert [(cue.split("\n")[1]) for cue in cues[1:-1]] == [p["text"] for p in day["passages"] if p["text"]]
    assert (day["error"]["code"], lecture["error"]["code"]) == ("CANCELLED", "CANCELLED")


def test_the_example_in_the_documents_runs(folder: Path) -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Long recordings")[2].partition("\n## ")[0]
    [example] = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    ended = script(folder, example)
    assert ended.status == 0, ended.err
    assert len(ended.out.splitlines()) == 2
    assert all(line.endswith(" None") for line in ended.out.splitlines())
    shell = re.findall(r"^ray-sched submit (.*)$", section, re.MULTILINE)
    assert len(shell) == 2
    assert [ray_sched(folder, "submit", *line.split()).status for line in shell] == [0, 0]


def test_ordinary_code_iterates_over_passages_too(folder: Path) -> None:
    ended = script(
        folder,
        "import ray_sched\n"
        "with ray_sched.BlockingClient() as client:\n"
        "    for passage in client.transcribe_long('lecture.wav', src='en'):\n"
        "        print(passage.utterance_index, round(passage.start_s), passage.status)\n",
    )
    assert ended.status == 0, ended.err
    assert ended.out.splitlines() == [f"{n} {at} completed" for n, at in enumerate([0, 4])]


def test_talk_shows_what_comes_through_a_pipe_line_by_line_with_its_place(folder: Path) -> None:
    spoken = shipped()[1]
    (folder / "raw").write_bytes(np.concatenate([silence(0.5), spoken, silence(1)]).tobytes())
    ended = piped(folder, folder / "raw", "talk", "-", "--from", "en")
    assert ended.status == 0, ended.err
    [line] = ended.out.splitlines()
    place, said = line.split(maxsplit=1)
    assert place.startswith("00:00:00.")
    assert word_error_rate([(samples()[1].transcript, said)]) <= 0.3
    lecture = ray_sched(folder, "talk", "lecture.wav", "--json")
    assert [row["utterance_index"] for row in map(json.loads, lecture.out.splitlines())] == [0, 1]
    refused = ray_sched(folder, "talk", "lecture.wav", "--to", "xx")
    assert refused.status == 7
