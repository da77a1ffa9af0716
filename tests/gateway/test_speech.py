"""OpenAI's own client, unmodified, against the gateway: texts that are spoken."""

import asyncio
import io
import json
from typing import Any

import av
import httpx2
import openai
import pytest

from ray_sched.core.capability import Capability
from tests.gateway.conftest import OpenDoor
from tests.support.in_process import InProcess

SPEAKING = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("en", "es"))
TEXT = "The late owner of this estate was a single man. He lived to a very advanced age, and had a companion."


@pytest.mark.parametrize(("name", "codec"), [("mp3", "mp3float"), ("opus", "opus"), ("flac", "flac"), ("aac", "aac")])
async def test_a_text_is_spoken_in_the_format_that_was_asked_for(open_door: OpenDoor, name: Any, codec: str) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=SPEAKING)
        async with open_door(system) as door, door.client() as client:
            spoken = await client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format=name)
        jobs = [(job.spec.services, job.spec.hints.text) for job in system.brain.jobs.values() if job.spec.hints]
    assert jobs == [(("tts",), "The late owner of this estate was a single man."), (("tts",), TEXT[48:])]
    with av.open(io.BytesIO(spoken.content), "r") as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == codec
        n_samples = sum(frame.samples * 24_000 // frame.sample_rate for frame in container.decode(audio=0))
    assert n_samples / 24_000 == pytest.approx((len(TEXT) - 1) / 16, abs=0.2)


async def test_another_language_is_translated_first_and_events_carry_the_audio(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=SPEAKING)
        async with open_door(system) as door, httpx2.AsyncClient() as plain:
            body = {"input": TEXT, "to_language": "es", "response_format": "pcm", "stream_format": "sse", "new": 1}
            answer = await plain.post(f"{door.url}/v1/audio/speech", json=body)
        assert [job.spec.services for job in system.brain.jobs.values()] == [("mt", "tts")] * 2
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * (len(events) - 1) + ["speech.audio.done"]


async def test_what_is_wrong_with_a_text_is_told(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=SPEAKING)
        async with open_door(system) as door, httpx2.AsyncClient() as plain:

            async def error(**body: Any) -> Any:
                answer = await plain.post(f"{door.url}/v1/audio/speech", json={"input": "Hello.", "voice": "a"} | body)
                assert answer.status_code in {400, 404}
                return answer.json()["error"]

            assert (await error(input=7))["param"] == "input"
            assert (await error(input="x" * 4_097))["param"] == "input"
            assert (await error(input=" "))["message"] == "there is nothing to say in the input"
            assert (await error(speed=9))["param"] == "speed"
            assert (await error(response_format="au"))["message"].startswith("response_format is 'au'; say one of mp3")
            assert (await error(model="tts-9"))["code"] == "model_not_found"
            assert (await error(language="nowhere at all"))["code"] == "invalid_language"
            wrong = await plain.post(f"{door.url}/v1/audio/speech", content=b"\xff{")
            assert wrong.json()["error"]["message"].startswith("the body is not JSON")
        assert not system.brain.jobs


async def test_who_hangs_up_cancels_what_was_not_spoken(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=SPEAKING, speed="0.005")
        async with open_door(system) as door:
            async with httpx2.AsyncClient() as plain:
                body = {"input": TEXT}
                posting = asyncio.ensure_future(plain.post(f"{door.url}/v1/audio/speech", json=body, timeout=30))
                while len(system.brain.jobs) < 2:  # noqa: ASYNC110  # the Dispatcher has no event for it
                    await asyncio.sleep(0.01)
                posting.cancel()
            async with asyncio.timeout(5):
                while not all(job.is_terminal for job in system.brain.jobs.values()):  # noqa: ASYNC110  # as above
                    await asyncio.sleep(0.01)
        assert {str(job.status) for job in system.brain.jobs.values()} == {"cancelled"}


async def test_the_same_request_id_with_another_text_is_refused(open_door: OpenDoor) -> None:
    async with InProcess() as system:
        await system.add_node("a", capability=SPEAKING)
        async with open_door(system) as door, door.client(retries=2) as client:

            async def spoken(text: str) -> Any:
                return await client.audio.speech.create(
                    model="tts-1", voice="alloy", input=text, extra_headers={"Idempotency-Key": "k"}
                )

            first, again = await spoken("Hello."), await spoken("Hello.")
            assert first.content == again.content
            with pytest.raises(openai.ConflictError) as caught:
                await spoken("Good-bye.")
        assert caught.value.code == "duplicate_request"
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert len(system.brain.jobs) == 2, "the second was spoken again, since nobody keeps speech"
