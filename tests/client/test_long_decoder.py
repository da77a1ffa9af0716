"""The process that decodes a long recording: a block at a time, never far ahead, and its end is nobody else's."""

import gzip
import io
import os
import signal
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import psutil
import pytest

from ray_sched.audio import Limits, RawFormat
from ray_sched.audio.decoder_process import Order
from ray_sched.client.long_decoder import decoded_blocks
from ray_sched.core.errors import Code, SchedError
from ray_sched.wire.samples import Samples

RATE = 16_000


def order(raw: RawFormat | None = None, cpu_s: int = 10, **limits: float) -> Order:
    return Order(name="talk.wav", limits=Limits(**{"max_duration_s": 7_200} | limits), cpu_s=cpu_s, raw=raw)  # type: ignore[arg-type]  # of Limits, as the test says


def samples(seconds: int) -> Samples:
    return np.random.default_rng(seconds).integers(-9_000, 9_000, seconds * RATE).astype(np.int16)


def wav(audio: Samples) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes(audio.tobytes())
    return file.getvalue()


def fill(pipe: int, data: bytes) -> None:
    with os.fdopen(pipe, "wb") as file:
        file.write(data)


def children() -> list[psutil.Process]:
    """Those that decode; other tests have others."""
    return [child for child in psutil.Process().children() if is_decoder(child)]


def is_decoder(child: psutil.Process) -> bool:
    try:
        return "block_process" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # or a zombie
        return False


def refusal(blocks: Iterator[Samples]) -> str:
    with pytest.raises(SchedError) as caught:
        list(blocks)
    assert caught.value.code is Code.INVALID_AUDIO
    return caught.value.message


@pytest.mark.parametrize("kind", ["file", "read before", "memory", "pipe", "gzip"])
def test_whatever_the_stream_is_all_that_is_left_in_it_is_decoded(kind: str, tmp_path: Path) -> None:
    audio = samples(12)
    path = tmp_path / "talk.wav"
    path.write_bytes((b"junk!" if kind == "read before" else b"") + wav(audio))
    stream: BinaryIO = path.open("rb")
    if kind == "read before":
        stream.read(5)
    elif kind == "memory":
        stream.close()
        stream = io.BytesIO(wav(audio))
    elif kind == "pipe":
        stream.close()
        read, write = os.pipe()
        stream = os.fdopen(read, "rb")
        threading.Thread(target=fill, args=(write, wav(audio)), daemon=True).start()
    elif kind == "gzip":
        stream.close()
        (tmp_path / "talk.wav.gz").write_bytes(gzip.compress(wav(audio)))
        stream = cast("BinaryIO", gzip.GzipFile(tmp_path / "talk.wav.gz"))
    with stream:
        assert np.array_equal(np.concatenate(list(decoded_blocks(stream, order()))), audio)
    assert children() == []


def test_a_recording_of_whole_blocks_ends_as_any_other() -> None:
    audio = samples(5)
    assert np.array_equal(np.concatenate(list(decoded_blocks(io.BytesIO(wav(audio)), order()))), audio)


def test_the_position_of_an_ordinary_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(samples(12)))
    with path.open("rb") as stream:
        n_samples = sum(map(len, decoded_blocks(stream, order())))
        assert (n_samples, stream.tell()) == (12 * RATE, 0)


def test_samples_without_a_header_are_decoded_as_was_said() -> None:
    audio = samples(1)
    assert np.array_equal(
        np.concatenate(list(decoded_blocks(io.BytesIO(audio.tobytes()), order(raw=RawFormat(rate_hz=RATE))))), audio
    )


def test_a_refusal_has_its_sentence() -> None:
    assert "talk.wav is a text, not audio" in refusal(decoded_blocks(io.BytesIO(b"Dear Sir\n"), order()))
    assert "at most 5 s are taken" in refusal(decoded_blocks(io.BytesIO(wav(samples(12))), order(max_duration_s=5)))


def test_a_text_stream_is_refused() -> None:
    stream = cast("BinaryIO", io.StringIO("Dear Sir"))
    assert refusal(decoded_blocks(stream, order())) == "talk.wav is open for text; open it with mode 'rb'"


def test_more_than_is_taken_of_a_pipe_is_refused() -> None:
    most = order(max_source_bytes=2**20)
    assert (
        refusal(decoded_blocks(io.BytesIO(bytes(2**20 + 1)), most))
        == "talk.wav holds more than 1 MiB; cut it into parts"
    )


def test_it_is_never_far_ahead_and_ends_when_nobody_wants_more() -> None:
    blocks = decoded_blocks(io.BytesIO(wav(samples(600))), order())
    assert len(next(blocks)) >= RATE
    [process] = children()
    n_waits = 0
    while n_waits < 20:
        before = sum(process.cpu_times()[:2])
        threading.Event().wait(0.1)
        n_waits = n_waits + 1 if sum(process.cpu_times()[:2]) == before else 0
    assert process.is_running(), "it waits to be asked for the rest"
    blocks.close()
    assert children() == []


def test_a_process_that_is_killed_is_the_end_of_its_recording_after_what_it_has_given() -> None:
    blocks = decoded_blocks(io.BytesIO(wav(samples(600))), order())
    next(blocks)
    children()[0].send_signal(signal.SIGKILL)
    with pytest.raises(SchedError, match="ended the process that decoded it") as caught:
        list(blocks)
    assert caught.value.code is Code.INVALID_AUDIO
    assert children() == []
    assert len(list(decoded_blocks(io.BytesIO(wav(samples(12))), order()))) == 3
