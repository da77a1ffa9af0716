"""Long recordings: utterances in order with their places, bounded memory, and no word lost to what goes wrong later."""

import asyncio
import importlib.util
import io
import wave
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest

from ray_sched.agent.engine import EngineResult, Isolation, Work
from ray_sched.agent.engines.echo import EchoEngine
from ray_sched.audio import AudioReport
from ray_sched.client.client import Client
from ray_sched.client.long import Passage
from ray_sched.client.recordings import RecordingSource
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.split.rules import SplitRules
from ray_sched.wire.samples import Samples
from tests.support.in_process import InProcess
from tests.support.recordings import RATE, LoudIsSpeech, in_blocks, repeated, silence

BEEP = np.full(2 * RATE, 1_000, np.int16)
LONG_BEEP = np.full(6 * RATE, 1_000, np.int16)
THREE_BEEPS = np.concatenate([silence(1), BEEP, silence(1), LONG_BEEP, silence(1), BEEP, silence(1)])


class PickyEngine(EchoEngine):
    """Fails on what is longer than five seconds."""

    isolation: ClassVar[Isolation] = "thread"

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        if len(audio) > 5 * RATE:
            raise ValueError("too long for me")
        return super().run(work, audio, emit_partial)


PICKY = f"{PickyEngine.__module__}.{PickyEngine.__name__}"


def transcribed(client: Client, source: RecordingSource, **options: Any) -> AsyncGenerator[Passage, None]:
    return client.transcribe_long(source, src="en", **{"detector": LoudIsSpeech} | options)


async def collect(stream: AsyncGenerator[Passage, None], into: list[Passage]) -> None:
    async for passage in stream:
        into.append(passage)  # noqa: PERF401  # what is there when it raises is the point


def wav(samples: Samples, rate_hz: int = RATE) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate_hz, 0, "NONE", ""))
        writer.writeframes(samples.tobytes())
    return file.getvalue()


async def test_each_utterance_has_a_result_with_its_place_in_the_order_of_one_session() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        passages = [passage async for passage in transcribed(client, in_blocks(THREE_BEEPS), window=2)]
    assert [passage.utterance_index for passage in passages] == [0, 1, 2]
    assert [passage.position for passage in passages] == [0, 1, 2]
    assert len({passage.session for passage in passages}) == 1
    assert passages[0].session
    assert [(passage.start_s, passage.end_s) for passage in passages] == [
        pytest.approx((begin - 0.2, end + 0.2), abs=0.032) for begin, end in [(1, 3), (4, 10), (11, 13)]
    ]
    for passage in passages:
        assert passage.text == f"echo of {round((passage.end_s - passage.start_s) * RATE)} samples"


@pytest.mark.parametrize("kind", ["path", "file", "bytes", "array", "floats", "function", "blocks"])
async def test_a_recording_may_be_whatever_an_utterance_may_be(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "beeps.wav"
    path.write_bytes(wav(THREE_BEEPS))
    sources: dict[str, RecordingSource] = {
        "path": path,
        "file": io.BytesIO(path.read_bytes()),
        "bytes": path.read_bytes(),
        "array": THREE_BEEPS,
        "floats": THREE_BEEPS.astype(np.float32) / 32768,
        "function": lambda: path,
        "blocks": [THREE_BEEPS[:100], THREE_BEEPS[100:]],
    }
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        passages = [passage async for passage in transcribed(client, sources[kind])]
    assert [round(passage.start_s) for passage in passages] == [1, 4, 11]
    assert {passage.name for passage in passages} == {str(path) if kind == "path" else ""}


async def test_samples_without_a_header_are_read_as_their_rate_and_encoding_say() -> None:
    mulaw = np.where(THREE_BEEPS[::2] != 0, 0xCE, 0xFF).astype(np.uint8).tobytes()
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        passages = [p async for p in transcribed(client, mulaw, sample_rate_hz=8_000, encoding="mulaw")]
    assert [round(passage.start_s) for passage in passages] == [1, 4, 11]


async def test_a_failed_passage_is_yielded_with_its_place_and_the_others_go_on() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a", engine=PICKY)
        passages = [passage async for passage in transcribed(client, in_blocks(THREE_BEEPS))]
    assert [passage.status for passage in passages] == ["completed", "failed", "completed"]
    assert passages[1].error is not None
    assert passages[1].error.code is Code.ENGINE_FAILED
    assert (passages[1].start_s, passages[1].end_s) == pytest.approx((3.8, 10.2), abs=0.032)


async def test_what_was_said_before_the_source_failed_is_there_before_the_error() -> None:
    def failing() -> Iterator[Samples]:
        yield from in_blocks(THREE_BEEPS[: 12 * RATE])
        raise OSError("the microphone is gone")

    passages: list[Passage] = []
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        with pytest.raises(OSError, match="the microphone is gone"):
            await collect(transcribed(client, failing()), passages)
    assert [(round(p.start_s), round(p.end_s)) for p in passages] == [(1, 3), (4, 10), (11, 12)]


async def test_a_file_that_is_cut_off_gives_what_is_there_and_then_says_so_or_is_taken_if_that_was_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = wav(THREE_BEEPS)
    cut = whole[: len(whole) - 2 * 2 * RATE]
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        with pytest.raises(SchedError, match=r"cut off|claims") as caught:
            await collect(transcribed(client, cut), [])
        assert caught.value.code is Code.INVALID_AUDIO
        reports: list[AudioReport] = []
        long = transcribed(client, cut, allow_partial=True, on_report=reports.append)
        passages = [passage async for passage in long]
    assert [(report.whole, report.notes) for report in reports] == [(False, passages[-1].audio_notes)]
    assert [round(passage.start_s) for passage in passages] == [1, 4, 11]
    [note] = passages[-1].audio_notes
    assert (passages[-1].audio_is_whole, caplog.messages) == (False, [f"the recording: {note}"])


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("/nowhere/at/all.wav", "there is no file /nowhere/at/all.wav"),
        ("/", "/ is a folder, not an audio file"),
        (b"not audio at all", "audio"),
        (7, "int is no recording; give a path, an open file or blocks of samples"),
        ([np.zeros(5, np.float32)], r"block 0 of the recording is float32 of shape \(5,\); give int16 arrays"),
        ([[1, 2, 3]], "block 0 of the recording is list"),
    ],
)
async def test_what_is_no_recording_is_refused_with_a_sentence(source: Any, sentence: str) -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        with pytest.raises(SchedError, match=sentence) as caught:
            await anext(transcribed(client, source))
    assert caught.value.code is Code.INVALID_AUDIO


async def test_a_recording_longer_than_was_said_is_refused() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        with pytest.raises(SchedError, match="at most 10 s are taken"):
            await collect(transcribed(client, wav(THREE_BEEPS), max_duration_s=10), [])


async def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", dict[str, None]().get)
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        with pytest.raises(SchedError, match=r"pip install 'ray-sched\[vad\]'") as caught:
            await anext(client.transcribe_long(THREE_BEEPS, src="en"))
    assert caught.value.code is Code.MISSING_PART


async def test_silence_has_no_passages() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        assert [passage async for passage in transcribed(client, silence(60))] == []


async def test_no_more_is_read_than_there_is_room_for() -> None:
    n_read = 0

    def blocks() -> Iterator[Samples]:
        nonlocal n_read
        for _ in range(40):
            n_read += 1
            yield np.concatenate([BEEP, silence(1)])

    n_passages, most_ahead = 0, 0
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        async for _ in transcribed(client, blocks(), window=3):
            n_passages += 1
            most_ahead = max(most_ahead, n_read - n_passages)
    assert n_passages == 40
    assert most_ahead <= 3 + 1, "the window, and the utterance that waits to be asked for"


async def test_leaving_the_loop_lets_go_of_the_source_and_of_the_detector() -> None:
    detectors: list[LoudIsSpeech] = []
    is_closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Watched(LoudIsSpeech):
        def __init__(self) -> None:
            super().__init__()
            detectors.append(self)

        def close(self) -> None:
            super().close()
            loop.call_soon_threadsafe(is_closed.set)

    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        async with aclosing(transcribed(client, repeated(3_600), detector=Watched)) as passages:
            assert (await anext(passages)).utterance_index == 0
        await is_closed.wait()
        n_heard = detectors[0].n_heard
        assert n_heard < 600 * RATE
        await client.submit(BEEP, src="en")
        assert (len(detectors), detectors[0].n_heard) == (1, n_heard)


async def test_other_rules_split_in_other_places() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        rules = SplitRules(min_silence=40, max_windows=120, search=60)
        passages = [passage async for passage in transcribed(client, THREE_BEEPS, rules=rules)]
    assert max(passage.end_s - passage.start_s for passage in passages) <= 120 * 0.032
    assert all(before.end_s <= after.start_s for before, after in pairwise(passages))


async def test_two_hours_of_speech_need_the_memory_of_what_is_in_flight() -> None:
    n_in_flight = 8
    process = psutil.Process()
    async with InProcess() as system, system.client() as client, asyncio.timeout(150):
        await system.add_node("a")
        before, most = 0, 0
        last_s, n_passages = 0.0, 0
        async for passage in transcribed(client, repeated(7_200), window=n_in_flight):
            n_passages += 1
            assert passage.error is None
            assert last_s <= passage.start_s < passage.end_s
            last_s = passage.end_s
            if n_passages == 100:
                before = process.memory_info().rss
            if n_passages % 100 == 0:
                await system.say_of_node("a", NodeStatus.READY)  # its leases have a term
            if n_passages > 100:
                most = max(most, process.memory_info().rss - before)
        assert client.ledger.bytes_in() == 0
    assert n_passages > 1_000
    assert last_s == pytest.approx(7_200, abs=2)
    in_flight = (n_in_flight + 2) * 30 * RATE * 2
    assert most < in_flight + 16 * 2**20, "all of it is 230 MB"
