"""Reading sources that are slow, hang, raise, or are awaited."""

import asyncio
import gzip
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_sched.audio import Limits
from ray_sched.client.audio import AudioSource
from ray_sched.client.reader import Reader
from ray_sched.client.sources import Source, how_to_read
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.ledger import AudioState
from ray_sched.data import samples
from ray_sched.wire.samples import Samples
from tests.support.in_process import InProcess

SPEECH = samples()[1].path
N_SAMPLES = 47_840
SECOND = np.zeros(16_000, np.int16)


async def heard(audio: AudioSource, timeout_s: float = 10, rate_hz: int | None = None) -> Samples:
    reader = Reader(Limits(), timeout_s)
    source = Source(audio, how_to_read(rate_hz), reader)
    try:
        await source.prepare()
        return await source.samples()
    finally:
        reader.close()


async def refusal(audio: AudioSource, timeout_s: float = 10) -> str:
    with pytest.raises(SchedError) as caught:
        await heard(audio, timeout_s)
    assert caught.value.code is Code.INVALID_AUDIO
    return caught.value.message


class Upload:
    """A web framework's open file: its ``read`` is a coroutine."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        await asyncio.sleep(0)
        return self._data.read(min(size, 10_000))


async def test_a_reader_that_is_awaited_is_read_to_its_end() -> None:
    assert len(await heard(Upload(SPEECH.read_bytes()))) == N_SAMPLES


async def test_a_coroutine_function_gives_audio_like_any_other() -> None:
    async def fetch() -> Path:
        return await asyncio.sleep(0, SPEECH)

    assert len(await heard(fetch)) == N_SAMPLES


async def test_a_source_that_never_answers_is_given_up_with_a_sentence(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    message = await refusal(pipe, timeout_s=0.3)
    assert message.startswith(f"{pipe} did not give its audio within 0.3 s")
    pipe.write_bytes(b"")

    over = threading.Event()
    assert "the audio source did not give" in await refusal(over.wait, timeout_s=0.3)  # type: ignore[arg-type]
    over.set()

    async def hang() -> bytes:
        await asyncio.Event().wait()
        return b""

    assert "the audio source did not give" in await refusal(hang, timeout_s=0.3)


async def test_a_source_that_gives_a_little_all_the_time_is_not_given_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = SPEECH.read_bytes()

    def speak() -> None:
        with pipe.open("wb", buffering=0) as stream:
            for start in range(0, len(data), 8_000):
                stream.write(data[start : start + 8_000])
                over.wait(0.1)

    over = threading.Event()
    writer = threading.Thread(target=speak)
    writer.start()
    assert len(await heard(pipe, timeout_s=0.8)) == N_SAMPLES
    writer.join()


async def test_an_open_file_may_be_closed_right_after_the_submit() -> None:
    with SPEECH.open("rb") as stream:
        stream.read(0)
        source = Source(stream, how_to_read(None), Reader(Limits(), 10))
        assert stream.read() == b"", "it was read to its end, as far as its owner sees"
    await source.prepare()
    assert len(await source.samples()) == N_SAMPLES


async def test_the_rest_of_an_open_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(np.arange(100, dtype="<i2").tobytes())
    with path.open("rb") as stream:
        stream.read(20)
        assert (await heard(stream, rate_hz=16_000)).tolist() == list(range(10, 100))


async def test_an_open_file_that_decompresses_is_read_through_itself(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav.gz"
    path.write_bytes(gzip.compress(SPEECH.read_bytes()))
    with gzip.open(path) as stream:
        assert len(await heard(stream)) == N_SAMPLES  # type: ignore[arg-type]


async def test_a_pipe_that_gives_less_than_asked_for_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    data = SPEECH.read_bytes()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as stream:
            stream.write(data[:40_000])
            stream.write(data[40_000:])

    threading.Thread(target=write).start()
    with os.fdopen(reading, "rb", buffering=0) as stream:
        assert len(await heard(stream)) == N_SAMPLES


def closed() -> Any:
    stream = SPEECH.open("rb")
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("give", "sentence"),
    [
        (closed, f"{SPEECH} raised ValueError: read of closed file"),
        (lambda: io.StringIO("text"), "the open file is open for text; open it with mode 'rb'"),
        (lambda: io.BytesIO(b""), "is empty"),
    ],
)
async def test_an_open_file_that_gives_no_audio_is_refused(give: Callable[[], Any], sentence: str) -> None:
    assert sentence in await refusal(give())


async def test_a_pipe_that_does_not_block_is_refused() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as stream, os.fdopen(writing, "wb"):
        assert "does not block" in await refusal(stream)


async def test_sources_that_never_answer_hold_up_nobody(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client(read_timeout_s=30) as client, asyncio.timeout(20):
            hanging = [client.submit(pipe, src="en") for _ in range(20)]
            good = [client.submit(SPEECH, src="en") for _ in range(20)]
            assert {(await one).audio_ms for one in good} == {2_990}
            assert not any(one.is_done for one in hanging)
            assert system.brain.counters.assigned == 20, "no slot was given to what is not there"
        pipe.write_bytes(b"")


async def test_a_source_that_was_given_up_is_the_error_of_its_own_job_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client(read_timeout_s=0.3) as client, asyncio.timeout(20):
            late, good = client.submit(pipe, src="en", session="s"), client.submit(SECOND, src="en", session="s")
            error = (await late.result()).error
            assert error is not None
            assert (error.code, "within 0.3 s" in error.message) == (Code.INVALID_AUDIO, True)
            assert (await good).utterance_index == 0
        pipe.write_bytes(b"")


async def test_what_a_pipe_gave_is_kept_for_the_next_attempt(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(SPEECH.read_bytes()))
    writer.start()
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        handle = client.submit(pipe, src="en")
        await handle.accepted()
        assert client.ledger.bytes_in(AudioState.HELD) == 2 * N_SAMPLES
        await system.add_node("a")
        assert (await handle).audio_ms == 2_990
        assert len(client.ledger) == 0
    writer.join()


async def test_a_missing_file_is_refused_before_it_is_asked_for(tmp_path: Path) -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(5):
        error = (await client.submit(tmp_path / "none.wav", src="en").result()).error
        assert error is not None
        assert error.message.startswith(f"there is no file {tmp_path}/none.wav")
        assert system.brain.counters.submitted == 0


async def test_how_long_a_file_is_the_dispatcher_hears_before_it_is_read() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(5):
        job_id = await client.submit(SPEECH, src="en").accepted()
        assert system.brain.jobs[job_id].audio_ms == 2_990
