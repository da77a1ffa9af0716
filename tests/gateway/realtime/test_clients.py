"""Clients that others have written, unmodified, each with the five recordings: no worse than the files one by one.

LiveKit's and Pipecat's run as programs of their own, in the Python that the variable REALTIME_CLIENTS_PYTHON names, an
environment with the extra `clients`: Pipecat asks for an older protobuf than others here. They are skipped without.
"""

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ray_sched.core.capability import Capability
from ray_sched.data import samples
from ray_sched.data.word_errors import word_error_rate
from tests.gateway.conftest import Door, opened
from tests.gateway.realtime.talking import pcm, quiet
from tests.support.in_process import InProcess
from tests.support.recordings import joined, shipped

ENGLISH = Capability(engine="speech", asr=("en",))
MORE_ERRORS = 0.02
SAID = [one.transcript for one in samples()]
PROGRAMS = "tests.gateway.realtime.clients"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> AsyncIterator[Door]:
    async with InProcess() as system:
        await system.add_node("a", capability=ENGLISH, engine="speech", slots=2, within_s=60)
        async with opened(system) as door:
            yield door


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def most_errors(door: Door) -> float:
    """Two points more than the recordings have as files."""
    async with door.system.client() as client:
        return MORE_ERRORS + errors([(await client.submit(audio, src="en")).text for audio in shipped()])


def errors(texts: list[str]) -> float:
    return word_error_rate(zip(SAID, texts, strict=True))


def python_with(package: str) -> str:
    """A Python that has this package; the test is skipped where there is none."""
    python = os.environ.get("REALTIME_CLIENTS_PYTHON", "")
    if python and subprocess.run([python, "-c", f"import {package}"], check=False, capture_output=True).returncode == 0:
        return python
    pytest.skip(f"{package} is not installed; see the extra `clients`")


async def run(python: str, program: str, *arguments: str) -> list[str]:
    """What a program of others has heard."""
    process = await asyncio.create_subprocess_exec(
        python, "-m", f"{PROGRAMS}.{program}", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-3_000:]
    heard: list[str] = json.loads(out.splitlines()[-1])
    return heard


async def test_openai_s_own_client_hears_five_utterances_in_one_stream(door: Door, most_errors: float) -> None:
    audio = quiet(0.5) + pcm(joined(pause_s=1.0))
    async with door.client() as client, client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        texts: list[str] = []

        async def speak() -> None:
            for first in range(0, len(audio), 4_800):
                chunk = base64.b64encode(audio[first : first + 4_800]).decode()
                await connection.input_audio_buffer.append(audio=chunk)

        speaking = asyncio.ensure_future(speak())
        async for event in connection:
            assert event.type != "error"
            if event.type == "conversation.item.input_audio_transcription.completed":
                texts.append(event.transcript)
            if len(texts) == len(SAID):
                break
        await speaking
    assert errors(texts) <= most_errors


async def test_livekit_hears_five_utterances_in_one_stream(door: Door, most_errors: float, tmp_path: Path) -> None:
    python = python_with("livekit.plugins.openai")
    file = tmp_path / "audio"
    file.write_bytes(joined(pause_s=1.0).tobytes())
    texts = await run(python, "livekit_stt", door.url, str(file), str(len(SAID)))
    assert errors(texts) <= most_errors


async def test_pipecat_hears_each_utterance_that_it_commits(door: Door, most_errors: float, tmp_path: Path) -> None:
    python = python_with("pipecat.services.openai.stt")
    files = [tmp_path / str(number) for number in range(len(SAID))]
    for file, audio in zip(files, shipped(), strict=True):
        file.write_bytes(audio.tobytes())
    texts = await run(python, "pipecat_stt", door.url, *map(str, files))
    assert errors(texts) <= most_errors
