"""Processes that decode: what a stranger's bytes can do there, and what becomes of them."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from ray_sched.audio import Limits
from ray_sched.client.decoders import Decoders
from ray_sched.core.errors import Code, SchedError
from tests.support.in_process import InProcess

SECOND = np.zeros(16_000, np.int16)


def wav(rate_hz: int = 8_000, seconds: float = 1) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(rate_hz * seconds)))
    return stream.getvalue()


@cache
def heavy(seconds: int = 60) -> bytes:
    """As much work for a decoder as is allowed: 3 million values for each second, of which a byte or two remain."""
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 384_000, 8, format="FLAC", subtype="PCM_16") as file:
        for _ in range(seconds):
            file.write(np.zeros((384_000, 8), np.int16))
    return stream.getvalue()


Make = Callable[..., Decoders]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Decoders that are closed when the test ends, however it does."""
    made: list[Decoders] = []

    def make_one(stall_s: float = 30, cpu_s: int | None = None, idle_s: float = 60) -> Decoders:
        made.append(Decoders(Limits(), stall_s, cpu_s, idle_s))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


@pytest.fixture
async def decoders(make: Make) -> Decoders:
    return make()


async def refusal(decoders: Decoders, data: bytes, name: str = "x.flac") -> str:
    with pytest.raises(SchedError) as caught:
        await decoders.decode(data, name)
    assert caught.value.code is Code.INVALID_AUDIO
    return caught.value.message


@contextmanager
def ticks() -> Iterator[list[int]]:
    """Counts how often the event loop comes round."""
    count = [0]

    async def tick() -> None:
        while True:
            count[0] += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.ensure_future(tick())
    try:
        yield count
    finally:
        ticking.cancel()


async def busy_pid() -> int:
    """Of the decoder that works, once it does."""
    async with asyncio.timeout(20):
        while True:
            for child in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):  # or a zombie
                    if "decoder_process" in " ".join(child.cmdline()) and child.cpu_times().user > 0.4:
                        return child.pid
            await asyncio.sleep(0.01)


async def test_a_decoder_is_used_again_and_gives_what_was_given(decoders: Decoders) -> None:
    for seconds in (1, 0.5, 7):
        decoded = await decoders.decode(wav(seconds=seconds), "x.wav")
        assert len(decoded.samples) == decoded.report.samples == round(16_000 * seconds)
    assert len(decoders.pids) == 1


async def test_decoding_goes_side_by_side_in_a_few_processes(decoders: Decoders) -> None:
    decoded = await asyncio.gather(*(decoders.decode(wav(seconds=n / 10), "x.wav") for n in range(1, 20)))
    assert [one.report.samples for one in decoded] == [1_600 * n for n in range(1, 20)]
    assert len(decoders.pids) <= min(4, os.cpu_count() or 1)


async def test_a_refusal_comes_back_with_its_sentence(decoders: Decoders) -> None:
    assert await refusal(decoders, b"fLaC", "a.flac") == "a.flac is a FLAC file whose header is damaged; copy it again"


async def test_a_name_that_is_no_text_can_be_told(decoders: Decoders) -> None:
    assert (await refusal(decoders, b"fLaC", "\udcff.flac")).startswith("\\udcff.flac is a FLAC file")


async def test_a_decoder_that_is_killed_fails_its_audio_alone_and_the_next_is_decoded(decoders: Decoders) -> None:
    killed = asyncio.ensure_future(refusal(decoders, heavy(), "x.flac"))
    os.kill(await busy_pid(), signal.SIGKILL)
    assert (await killed).startswith("x.flac ended the process that decoded it (signal 9)")
    assert len((await decoders.decode(wav(), "y.wav")).samples) == 16_000


async def test_a_decoder_that_does_nothing_is_given_up(make: Make) -> None:
    decoders = make(stall_s=0.3)
    stopped = asyncio.ensure_future(refusal(decoders, heavy(), "x.flac"))
    pid = await busy_pid()
    os.kill(pid, signal.SIGSTOP)
    assert (await stopped).startswith("x.flac did not give its audio within 0.3 s")
    assert not psutil.pid_exists(pid)
    assert len((await decoders.decode(wav(), "y.wav")).samples) == 16_000


async def test_audio_that_takes_too_much_cpu_is_refused(make: Make) -> None:
    sentence = "x.flac takes more than 1 s of CPU to decode; convert it to WAV"
    assert await refusal(make(cpu_s=1), heavy(480), "x.flac") == sentence


async def test_the_event_loop_turns_while_strangers_bytes_are_decoded(decoders: Decoders) -> None:
    data = heavy()
    with ticks() as count:
        assert (await decoders.decode(data, "x.flac")).report.duration_s == 60
    assert count[0] > 100


def flac_of_8_channels_at_655_khz() -> bytes:
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 655_350, 8, format="FLAC", subtype="PCM_16") as file:
        file.write(np.zeros((655_350, 8), np.int16))
    return stream.getvalue()


def ogg_of_200_channels() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros((20_000, 200), np.float32), 48_000, format="OGG", subtype="VORBIS")
    return stream.getvalue()


def flac_that_claims_three_thousand_million_samples() -> bytes:
    data = bytearray(heavy(1))
    bits = int.from_bytes(data[18:26], "big")
    data[18:26] = (bits & ~(2**36 - 1) | 3_000_000_000).to_bytes(8, "big")
    return bytes(data)


def most_bytes(pid: int) -> int:
    """Of memory that a process has ever had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (flac_of_8_channels_at_655_khz, "the rate of x is 655350 Hz"),
        (ogg_of_200_channels, "x has 200 channels"),
        (flac_that_claims_three_thousand_million_samples, "x is "),
    ],
)
async def test_an_attack_is_refused_in_bounded_memory(
    decoders: Decoders, attack: Callable[[], bytes], sentence: str
) -> None:
    assert (await refusal(decoders, attack(), "x")).startswith(sentence)
    [pid] = decoders.pids
    assert most_bytes(pid) < 150 * 2**20
    assert len((await decoders.decode(wav(), "y.wav")).samples) == 16_000


async def test_other_jobs_of_the_client_end_while_strangers_bytes_are_decoded() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client, asyncio.timeout(150):
            attack = client.submit(heavy(), src="en")
            pid = await busy_pid()
            os.kill(pid, signal.SIGSTOP)
            others = [await client.submit(SECOND, src="en") for _ in range(20)]
            assert not attack.is_done
            assert [one.status for one in others] == ["completed"] * 20
            os.kill(pid, signal.SIGCONT)
            assert (await attack).audio_ms == 60_000


def test_no_decoder_outlives_a_client_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav())
    script = (
        "import asyncio, sys, time\n"
        "from ray_sched.audio import Limits\n"
        "from ray_sched.client.decoders import Decoders\n"
        "decoders = Decoders(Limits(), 30)\n"
        "asyncio.run(decoders.decode(open(sys.argv[1], 'rb'), 'x'))\n"
        "print(*decoders.pids, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        decoder = psutil.Process(int(client.stdout.readline()))
        client.kill()
    assert psutil.wait_procs([decoder], timeout=10)[1] == []


async def test_no_decoder_outlives_a_client_that_is_closed(decoders: Decoders) -> None:
    await decoders.decode(wav(), "x")
    busy = asyncio.ensure_future(refusal(decoders, heavy()))
    pids = [await busy_pid(), *decoders.pids]
    decoders.close()
    await busy
    assert not any(map(psutil.pid_exists, pids))
    await refusal(decoders, wav())
    assert decoders.pids == []


async def test_a_decoder_that_is_not_needed_any_more_ends_and_another_one_comes_when_it_is(make: Make) -> None:
    decoders = make(idle_s=0.1)
    await asyncio.gather(*(decoders.decode(wav(), "x") for _ in range(8)))
    async with asyncio.timeout(10):
        while decoders.pids:  # noqa: ASYNC110  # a process that ends tells nobody
            await asyncio.sleep(0.01)
    assert len((await decoders.decode(wav(), "x")).samples) == 16_000


LIMITED = """
import os, socket, numpy
from ray_sched.audio import decoder_process
decoder_process.warm_up()
decoder_process.set_limits(2)
first = os.open("/dev/null", os.O_RDONLY)
for name, attempt in {
    "memory": lambda: numpy.ones(300 * 2**20, numpy.uint8),
    "file": lambda: os.open("/etc/hostname", os.O_RDONLY),
    "network": lambda: socket.socket(),
}.items():
    try:
        attempt()
    except (MemoryError, OSError) as error:
        print(name, type(error).__name__)
"""


def test_a_decoder_has_no_more_memory_and_opens_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["memory MemoryError", "file OSError", "network OSError"]
