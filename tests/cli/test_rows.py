"""Rows as they come: each file has one, whatever becomes of the others; speech that cannot be kept costs no text."""

import asyncio
import io
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import structs

from ray_sched.cli.output import Output
from ray_sched.cli.row_writer import RowWriter
from ray_sched.cli.rows import Row, SpeechFolder, shown_pair
from ray_sched.client.results import Result
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.messages.recognition import Word

FILES = [Path("a.wav"), Path("b.wav"), Path("c.wav")]
GONE = Refusal(code=Code.SCHEDULER_NOT_RUNNING, message="the scheduler does not answer")
SPOKEN = Result(
    job_id="j1", name="a", status="completed", pair="en:es", text="good day",
    speech=bytes(200_000), speech_rate_hz=16_000,
)  # fmt: skip


class Screen:
    """stdout and stderr of a call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_json: bool, is_stream: bool = False) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", self._out)
        monkeypatch.setattr(sys, "stderr", self._err)
        self.out = Output(is_json=is_json)
        self.out.is_stream = is_stream
        self.rows = RowWriter(self.out, FILES, "en:en", has_translation=False)

    @property
    def lines(self) -> list[str]:
        return self._out.getvalue().splitlines()

    @property
    def notes(self) -> list[str]:
        return self._err.getvalue().splitlines()


def row(file: Path, text: str = "good day") -> Row:
    return Row(file=str(file), status="completed", node="node-1", pair="en:en", text=text)


def refused(file: Path) -> Row:
    return Row.refused(file, "en:en", SchedError(Code.INVALID_AUDIO, f"{file} is empty"))


def test_people_read_each_row_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, is_json=False)
    screen.rows.add(1, row(FILES[1]))
    assert [line.split() for line in screen.lines] == [
        ["file", "node", "pair", "audio", "s", "wait", "ms", "run", "ms", "text"],
        ["b.wav", "node-1", "en:en", "0.0", "0", "0", "good", "day"],
    ]
    screen.rows.add(0, row(FILES[0]))
    assert screen.lines[2].split()[0] == "a.wav"
    assert screen.rows.end() == 0
    assert len(screen.lines) == 3


def test_a_stream_has_a_line_for_each_row_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, is_json=True, is_stream=True)
    screen.rows.add(1, row(FILES[1]))
    assert [json.loads(line)["file"] for line in screen.lines] == ["b.wav"]
    screen.rows.add(0, refused(FILES[0]))
    assert [json.loads(line)["file"] for line in screen.lines] == ["b.wav", "a.wav"]
    assert screen.rows.end() == 3
    assert len(screen.lines) == 2
    assert screen.notes == ["ray-sched: a.wav is empty"]


@pytest.mark.parametrize("is_stream", [False, True])
def test_after_ctrl_c_each_file_has_a_row(monkeypatch: pytest.MonkeyPatch, *, is_stream: bool) -> None:
    screen = Screen(monkeypatch, is_json=True, is_stream=is_stream)
    screen.rows.add(1, row(FILES[1]))
    with pytest.raises(asyncio.CancelledError), screen.rows.whatever_happens():
        raise asyncio.CancelledError
    rows = [json.loads(line) for line in screen.lines] if is_stream else json.loads("\n".join(screen.lines))
    ended = {row["file"]: row["error"] and row["error"]["code"] for row in rows}
    assert ended == {"a.wav": "CANCELLED", "b.wav": None, "c.wav": "CANCELLED"}
    assert len(rows) == 3


def test_a_call_that_had_no_result_leaves_the_json_to_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, is_json=True)
    with pytest.raises(SchedError), screen.rows.whatever_happens():
        raise SchedError.of(GONE)
    assert not screen.out.has_shown


def test_the_end_of_the_scheduler_is_the_row_of_each_file_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, is_json=True)
    screen.rows.add(0, row(FILES[0]))
    assert screen.rows.end(GONE) == 11
    rows = json.loads("\n".join(screen.lines))
    assert [row["file"] for row in rows] == ["a.wav", "b.wav", "c.wav"]
    assert [row["error"] and row["error"]["code"] for row in rows] == [None, *["SCHEDULER_NOT_RUNNING"] * 2]


def test_people_are_told_how_many_files_came_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, is_json=False)
    screen.rows.add(0, row(FILES[0]))
    screen.rows.end(GONE)
    assert screen.notes == ["ray-sched: 2 files were not submitted any more: the scheduler does not answer"]


@contextmanager
def no_room(n_bytes: int) -> Iterator[None]:
    """A disk on which no file gets longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_speech_that_cannot_be_kept_costs_no_text_and_leaves_no_part_of_it(tmp_path: Path) -> None:
    folder = SpeechFolder(tmp_path, FILES)
    (tmp_path / "b.es.wav").mkdir()
    with no_room(100_000):
        made = [folder.row(file, SPOKEN) for file in FILES[:2]]
    made.append(folder.row(FILES[2], SPOKEN))
    assert [row.text for row in made] == ["good day"] * 3
    assert [row.error and row.error.code for row in made] == [Code.INVALID_CONFIGURATION] * 2 + [None]
    assert made[0].error is not None
    assert "a.es.wav cannot be written (File too large); choose another --out" in made[0].error.message
    assert made[2].speech_file == str(tmp_path / "c.es.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.es.wav", "c.es.wav"]


def test_a_disk_that_is_full_leaves_the_speech_of_before(tmp_path: Path) -> None:
    (tmp_path / "a.es.wav").write_bytes(b"before")
    with no_room(100_000):
        SpeechFolder(tmp_path, FILES).row(FILES[0], SPOKEN)
    assert (tmp_path / "a.es.wav").read_bytes() == b"before"


def test_people_read_the_language_that_was_found() -> None:
    found = Row(file="a.wav", pair="auto:es", language="en")
    assert shown_pair(found) == "en:es"
    assert shown_pair(Row(file="a.wav", pair="auto:es")) == "auto:es"
    assert shown_pair(Row(file="a.wav", pair="en-US:es", language="en")) == "en-US:es"


def test_programs_read_words_by_the_names_of_their_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, is_json=True)
    said = structs.replace(SPOKEN, words=(Word(0, 340, "good", 0.9), Word(340, 600, "day")), language="en")
    screen.rows.add(0, Row.of(FILES[0], said))
    screen.rows.end()
    [printed] = json.loads("".join(screen.lines))
    assert printed["words"] == [
        {"start_ms": 0, "end_ms": 340, "text": "good", "confidence": 0.9},
        {"start_ms": 340, "end_ms": 600, "text": "day", "confidence": None},
    ]
    assert (printed["language"], printed["segments"]) == ("en", [])
